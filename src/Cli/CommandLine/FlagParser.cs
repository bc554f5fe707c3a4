using System.Globalization;
using Berth.Cli.Output;

namespace Berth.Cli.CommandLine;

/// <summary>A command line that does not say what it should; printed as it is, with the exit code.</summary>
internal sealed class UsageException(string message, int exitCode) : Exception(message)
{
    public int ExitCode { get; } = exitCode;
}

/// <summary>What a command was given.</summary>
internal sealed class Arguments
{
    private readonly Dictionary<string, List<string>> _values = new(StringComparer.Ordinal);
    private readonly IReadOnlyList<Flag> _flags;

    public Arguments(IReadOnlyList<Flag> flags) => _flags = flags;

    /// <summary>What is no flag, in order.</summary>
    public List<string> Positional { get; } = [];

    public void Set(Flag flag, string value)
    {
        var name = flag.SpellingOf ?? flag.Name;
        if (!_values.TryGetValue(name, out var list)) _values[name] = list = [];
        if (flag.Kind is not (FlagKind.List or FlagKind.Strings)) list.Clear();
        if (flag.Kind == FlagKind.Strings && value.Length > 0) list.AddRange(Commands.Containers.Csv.Fields(value));
        else if (flag.Kind != FlagKind.Strings) list.Add(value);
        if (flag.Deprecated is { } instead) Notices.Add($"Flag --{flag.Name} has been deprecated, {instead}");
    }

    /// <summary>What is to be said of old spellings that were used.</summary>
    public List<string> Notices { get; } = [];

    public bool Changed(string name) => _values.ContainsKey(name);

    public string String(string name) => _values.TryGetValue(name, out var list) ? list[^1] : _flags.FirstOrDefault(f => f.Name == name)?.Default ?? "";

    public bool Bool(string name) => _values.ContainsKey(name) ? GoText.TryParseBool(String(name), out var value) && value : String(name) == "true";

    public long Long(string name) => String(name) is { Length: > 0 } text ? GoText.ParseInt(text) : 0;

    public int Int(string name) => (int)Long(name);

    public ulong UInt64(string name) => String(name) is { Length: > 0 } text ? GoText.ParseUInt(text, 64) : 0;

    public long Bytes(string name) => String(name) is { Length: > 0 } text ? (text == "-1" ? -1 : Units.ParseRam(text)) : 0;

    /// <summary>Nanoseconds.</summary>
    public long Duration(string name) => String(name) is { Length: > 0 } text ? GoDuration.ParseNanoseconds(text) : 0;

    public IReadOnlyList<string> List(string name) => _values.TryGetValue(name, out var list) ? list : [];
}

/// <summary>
/// Flags the way docker's users type them: <c>-it</c>, <c>-p8080:80</c>, <c>-p=8080:80</c>, <c>--name x</c>, <c>--name=x</c>,
/// <c>--rm=false</c>, <c>--</c> ends them; for run, create and exec the first word that is no flag ends them too.
/// The error texts are those docker's users know.
/// </summary>
internal static class FlagParser
{
    /// <exception cref="FormatException">The message says what is wrong; who reads it adds how the command is used.</exception>
    public static Arguments Parse(IReadOnlyList<Flag> flags, bool interspersed, ReadOnlySpan<string> words)
    {
        var result = new Arguments(flags);
        for (var i = 0; i < words.Length; i++)
        {
            var word = words[i];
            if (word.Length < 2 || word[0] != '-')
            {
                result.Positional.Add(word);
                if (interspersed) continue;
                result.Positional.AddRange(words[(i + 1)..]);
                return result;
            }
            if (word == "--")
            {
                result.Positional.AddRange(words[(i + 1)..]);
                return result;
            }
            if (word[1] == '-') i = Long(flags, result, words, i);
            else i = Short(flags, result, words, i);
        }
        return result;
    }

    private static int Long(IReadOnlyList<Flag> flags, Arguments result, ReadOnlySpan<string> words, int index)
    {
        var word = words[index];
        var name = word[2..];
        if (name[0] is '-' or '=') throw new FormatException("bad flag syntax: " + word);
        string? value = null;
        var equals = name.IndexOf('=');
        if (equals >= 0) (name, value) = (name[..equals], name[(equals + 1)..]);
        var flag = Find(flags, name);
        if (flag is null)
        {
            if (name == "help") throw new HelpRequestedException();
            var near = Suggest.Nearest(name, flags.Where(f => !f.Hidden).Select(f => f.Name));
            throw new FormatException($"unknown flag: --{name}" + (near is null ? "" : $"\n\nDid you mean --{near}?"));
        }
        if (value is null)
        {
            if (flag.Kind == FlagKind.Bool) value = "true";
            else if (index + 1 < words.Length) value = words[++index];
            else throw new FormatException($"flag needs an argument: --{name}");
        }
        result.Set(flag, Check(flag, value));
        return index;
    }

    private static int Short(IReadOnlyList<Flag> flags, Arguments result, ReadOnlySpan<string> words, int index)
    {
        var word = words[index];
        for (var at = 1; at < word.Length; at++)
        {
            var letter = word[at];
            var flag = flags.FirstOrDefault(f => f.Short == letter && letter != '\0');
            if (flag is null)
            {
                if (letter == 'h') throw new HelpRequestedException();
                throw new FormatException($"unknown shorthand flag: '{letter}' in -{word[at..]}");
            }
            if (at + 2 < word.Length && word[at + 1] == '=')
            {
                result.Set(flag, Check(flag, word[(at + 2)..]));
                return index;
            }
            if (flag.Kind == FlagKind.Bool)
            {
                result.Set(flag, "true");
                continue;
            }
            string value;
            if (at + 1 < word.Length) value = word[(at + 1)..];
            else if (index + 1 < words.Length) value = words[++index];
            else throw new FormatException($"flag needs an argument: '{letter}' in -{word[at..]}");
            result.Set(flag, Check(flag, value));
            return index;
        }
        return index;
    }

    private static Flag? Find(IReadOnlyList<Flag> flags, string name)
    {
        foreach (var flag in flags)
            if (flag.Name == name) return flag;
        return null;
    }

    private static string Check(Flag flag, string value)
    {
        try
        {
            switch (flag.Kind)
            {
                case FlagKind.Bool when !GoText.TryParseBool(value, out _):
                    throw new FormatException($"strconv.ParseBool: parsing {GoText.Quote(value)}: invalid syntax");
                case FlagKind.Int: GoText.ParseInt(value); break;
                case FlagKind.UInt16: GoText.ParseUInt(value, 16); break;
                case FlagKind.UInt64: GoText.ParseUInt(value, 64); break;
                case FlagKind.Bytes when value.Length > 0: Units.ParseRam(value); break;
                case FlagKind.BytesOrUnlimited when value is not ("" or "-1"): Units.ParseRam(value); break;
                case FlagKind.Strings when value.Length > 0: Commands.Containers.Csv.Fields(value); break;
                case FlagKind.Duration: GoDuration.ParseNanoseconds(value); break;
                case FlagKind.Decimal when !decimal.TryParse(value, NumberStyles.AllowDecimalPoint | NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out _):
                    throw new FormatException($"failed to parse {value} as a rational number");
            }
            return flag.Normalize is null ? value : flag.Normalize(value);
        }
        catch (FormatException e)
        {
            var name = flag.Short == '\0' ? "--" + flag.Name : $"-{flag.Short}, --{flag.Name}";
            throw new FormatException($"invalid argument {GoText.Quote(value)} for \"{name}\" flag: {e.Message}");
        }
    }
}

/// <summary>--help was met.</summary>
internal sealed class HelpRequestedException : Exception;
