using System.Text;
using System.Text.Json;
using Berth.Api.Go;

namespace Berth.Dockerfile;

/// <summary>Cuts one logical line into instruction, flags and arguments, each instruction's by its own rules.</summary>
internal static class ArgumentSplitter
{
    private static readonly char[] Blanks = ['\t', '\v', '\f', '\r', ' '];

    /// <exception cref="DockerfileException">Without lines.</exception>
    public static RawInstruction Split(string line, char escape)
    {
        var trimmed = line.Trim();
        var end = trimmed.IndexOfAny(Blanks);
        var raw = new RawInstruction { Name = end < 0 ? trimmed : trimmed[..end], Line = line };
        var rest = "";
        if (end >= 0)
        {
            var flags = new List<string>();
            rest = TakeFlags(trimmed[end..].TrimStart(Blanks), escape, flags).Trim();
            raw = raw with { Flags = flags };
        }
        switch (raw.Keyword)
        {
            case "env" or "label":
                return raw with { Pairs = Pairs(rest, raw.Keyword.ToUpperInvariant(), escape) };
            case "arg":
                return raw with { Arguments = Words(rest, escape) };
            case "from" or "expose":
                return raw with { Arguments = rest.Split(Blanks, StringSplitOptions.RemoveEmptyEntries) };
            case "add" or "copy" or "volume":
                return JsonList(rest) is { } list ? raw with { Arguments = list, IsJson = true } : raw with { Arguments = rest.Split(Blanks, StringSplitOptions.RemoveEmptyEntries) };
            case "run" or "cmd" or "entrypoint" or "shell":
                return JsonOrText(raw, rest, []);
            case "maintainer" or "stopsignal" or "user" or "workdir":
                return raw with { Arguments = rest.Length == 0 ? [] : [rest] };
            case "healthcheck":
                if (rest.Length == 0) return raw;
                var type = rest.IndexOfAny(Blanks);
                return type < 0 ? raw with { Arguments = [rest] } : JsonOrText(raw, rest[type..].TrimStart(), [rest[..type]]);
            case "onbuild":
                return rest.Length == 0 ? raw : raw with { Trigger = Split(rest, escape) };
            default:
                return raw;
        }
    }

    private static RawInstruction JsonOrText(RawInstruction raw, string rest, string[] before) =>
        rest.Length == 0 ? raw with { Arguments = before } : JsonList(rest) is { } list ? raw with { Arguments = [.. before, .. list], IsJson = true } : raw with { Arguments = [.. before, rest] };

    // Anything that is no JSON is text: [ "$x" ] and [ -f file ] are commands for a shell.
    private static string[]? JsonList(string text)
    {
        if (!text.StartsWith('[')) return null;
        try
        {
            using var document = JsonDocument.Parse(text);
            return [.. document.RootElement.EnumerateArray().Select(item => item.ValueKind == JsonValueKind.String
                ? item.GetString()! : throw new DockerfileException("when using JSON array syntax, arrays must be comprised of strings only"))];
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return null; // the latter: a lone surrogate
        }
    }

    // Returns what follows the flags. "--" alone ends them.
    private static string TakeFlags(string line, char escape, List<string> flags)
    {
        for (var at = 0; ;)
        {
            while (at < line.Length && char.IsWhiteSpace(line[at])) at++;
            if (at + 1 >= line.Length || line[at] != '-' || line[at + 1] != '-') return line[at..];
            var flag = new StringBuilder();
            var quote = '\0';
            for (; at < line.Length && (quote != '\0' || !char.IsWhiteSpace(line[at])); at++)
            {
                var c = line[at];
                if (c == quote) quote = '\0';
                else if (quote == '\0' && c is '\'' or '"') quote = c;
                else if (c != escape) flag.Append(c);
                else if (++at < line.Length) flag.Append(line[at]);
            }
            if (flag.Length == 2 && flag[0] == '-' && flag[1] == '-') return line[at..];
            flags.Add(flag.ToString());
        }
    }

    private static NamedValue[] Pairs(string rest, string name, char escape)
    {
        var words = Words(rest, escape);
        if (words.Count == 0) return [];
        if (!words[0].Contains('='))
        {
            var blank = rest.IndexOfAny(Blanks);
            if (blank < 0) throw new DockerfileException($"{name} must have two arguments");
            return [new NamedValue(rest[..blank], rest[blank..].TrimStart(Blanks), Legacy: true)];
        }
        return [.. words.Select(word => word.IndexOf('=') is var equals and >= 0
            ? new NamedValue(word[..equals], word[(equals + 1)..]) : throw new DockerfileException($"Syntax error - can't find = in {GoText.Quote(word)}. Must be of the form: name=value"))];
    }

    // At blanks that are neither quoted nor escaped. Quotes and escapes stay, for the expansion.
    private static List<string> Words(string rest, char escape)
    {
        var words = new List<string>();
        var word = new StringBuilder();
        var (inside, quote) = (false, '\0');
        for (var at = 0; at < rest.Length; at++)
        {
            var c = rest[at];
            if (quote == '\0' && char.IsWhiteSpace(c))
            {
                if (inside) words.Add(word.ToString());
                word.Clear();
                inside = false;
                continue;
            }
            inside = true;
            if (c == escape && quote != '\'')
            {
                if (at + 1 == rest.Length) break; // nothing is left to escape
                word.Append(c).Append(rest[++at]);
                continue;
            }
            if (c == quote) quote = '\0';
            else if (quote == '\0' && c is '\'' or '"') quote = c;
            word.Append(c);
        }
        if (word.Length > 0) words.Add(word.ToString());
        return words;
    }
}
