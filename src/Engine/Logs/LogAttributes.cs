using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Berth.Api;
using Berth.Runtime.Monitor;

namespace Berth.Engine;

/// <summary>What the options labels, env and tag put beside a container's log lines. Errors are FormatException in the words of start's failure.</summary>
internal static class LogAttributes
{
    /// <summary>Chosen labels and environment variables; the option's names in order, then those that match the expressions.</summary>
    public static SortedDictionary<string, string> Extra(ContainerRecord record, Func<string, string>? key = null)
    {
        var options = record.HostConfig.LogConfig.Config ?? [];
        var extra = new SortedDictionary<string, string>(StringComparer.Ordinal);
        Choose(record.Config.Labels ?? [], options, "labels");
        var environment = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var variable in record.Config.Env ?? [])
        {
            if (variable.IndexOf('=') is >= 0 and var equals) environment[variable[..equals]] = variable[(equals + 1)..];
        }
        Choose(environment, options, "env");
        return extra;

        void Choose(Dictionary<string, string> from, Dictionary<string, string> options, string option)
        {
            foreach (var name in options.GetValueOrDefault(option, "").Split(',', StringSplitOptions.RemoveEmptyEntries))
            {
                if (from.TryGetValue(name, out var value)) Set(name, value);
            }
            if (options.GetValueOrDefault(option + "-regex") is not { Length: > 0 } pattern) return;
            Regex expression;
            try
            {
                expression = new Regex(pattern, RegexOptions.NonBacktracking | RegexOptions.CultureInvariant);
            }
            catch (Exception e) when (e is ArgumentException or NotSupportedException)
            {
                throw new FormatException($"error parsing regexp: {e.Message}");
            }
            foreach (var (name, value) in from)
            {
                if (expression.IsMatch(name)) Set(name, value);
            }
        }

        void Set(string name, string value)
        {
            var shown = key is null ? name : key(name);
            if (shown.Length > 0) extra[shown] = value;
        }
    }

    /// <summary>Of json-file: an object, or null when there is nothing to write.</summary>
    public static string? Json(ContainerRecord record)
    {
        var extra = Extra(record);
        var tag = Tag(record, "");
        if (tag.Length > 0) extra["tag"] = tag;
        if (extra.Count == 0) return null;
        var text = JsonSerializer.Serialize(new Dictionary<string, string>(extra), ApiJson.Wire.DictionaryStringString);
        return Encoding.UTF8.GetByteCount(text) <= MonitorLimits.LogAttributesBytes ? text
            : throw new FormatException($"the labels, env and tag chosen for each log line are longer than {MonitorLimits.LogAttributesBytes} bytes");
    }

    /// <summary>The option tag, or the driver's default template, filled in.</summary>
    public static string Tag(ContainerRecord record, string absent)
    {
        var template = record.HostConfig.LogConfig.Config?.GetValueOrDefault("tag") is { Length: > 0 } given ? given : absent;
        return template.Length == 0 ? "" : LogTag.Fill(template, name => name switch
        {
            "ID" => record.Id[..12],
            "FullID" or "ContainerID" => record.Id,
            "Name" => record.Name,
            "ContainerName" => "/" + record.Name,
            "ImageID" => record.ImageId.Length >= 12 ? record.ImageId[..12] : record.ImageId,
            "ImageFullID" or "ContainerImageID" => record.ImageId,
            "ImageName" or "ContainerImageName" => record.Config.Image,
            "Command" => string.Join(' ', [record.Path, .. record.Args]),
            "ContainerEntrypoint" => record.Path,
            "ContainerCreated" => record.Created.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss.fffffff' +0000 UTC'", CultureInfo.InvariantCulture),
            "DaemonName" => "docker",
            "Hostname" => Environment.MachineName,
            _ => null,
        }, (map, key) => map switch
        {
            "ContainerLabels" => record.Config.Labels?.GetValueOrDefault(key) ?? "",
            "Config" => record.HostConfig.LogConfig.Config?.GetValueOrDefault(key) ?? "",
            _ => null,
        });
    }
}

/// <summary>
/// The part of Go's templates that log tags are written in: {{.Field}}, {{index .ContainerLabels "key"}}, and {{lower x}}, {{upper x}}, {{truncate x n}} of those, also
/// as pipelines.
/// </summary>
internal static class LogTag
{
    private const int MaxActions = 64;

    public static string Fill(string template, Func<string, string?> field, Func<string, string, string?> index)
    {
        var result = new StringBuilder();
        var (at, actions) = (0, 0);
        while (template.IndexOf("{{", at, StringComparison.Ordinal) is >= 0 and var open)
        {
            result.Append(template, at, open - at);
            var close = template.IndexOf("}}", open, StringComparison.Ordinal);
            if (close < 0) throw new FormatException("template: log-tag:1: unclosed action");
            if (++actions > MaxActions) throw new FormatException($"template: log-tag:1: more than {MaxActions} actions");
            result.Append(Action(template[(open + 2)..close].Trim().Trim('-').Trim()));
            at = close + 2;
        }
        return result.Append(template, at, template.Length - at).ToString();

        string Action(string text)
        {
            string? piped = null;
            foreach (var stage in text.Split('|'))
            {
                var words = Words(stage);
                if (words.Count == 0) throw new FormatException("template: log-tag:1: missing value for command");
                if (piped is not null) words.Add(piped);
                piped = Evaluate(words, isPiped: piped is not null);
            }
            return piped!;
        }

        string Evaluate(List<string> words, bool isPiped)
        {
            string Value(int i) => i < words.Count ? isPiped && i == words.Count - 1 ? words[i] : Operand(words[i]) : throw new FormatException($"template: log-tag:1: {words[0]} needs more arguments");
            switch (words[0])
            {
                case "lower": return Value(1).ToLowerInvariant();
                case "upper": return Value(1).ToUpperInvariant();
                case "truncate":
                    var (long_, length) = (Value(1), int.TryParse(Value(2), CultureInfo.InvariantCulture, out var n) && n >= 0 ? n : throw new FormatException("template: log-tag:1: truncate: not a number"));
                    return long_.Length <= length ? long_ : long_[..length];
                case "index":
                    return words.Count == 3 && words[1].StartsWith('.') && index(words[1][1..], Value(2)) is { } found ? found : throw new FormatException($"template: log-tag:1: cannot index {string.Join(' ', words)}");
                default:
                    return words.Count == 1 ? Operand(words[0]) : throw new FormatException($"template: log-tag:1: function {GoText.Quote(words[0])} not defined");
            }
        }

        string Operand(string word)
        {
            if (word.Length >= 2 && word[0] is '"' or '`') return word[1..^1];
            if (word.Length > 0 && char.IsAsciiDigit(word[0])) return word;
            if (!word.StartsWith('.')) throw new FormatException($"template: log-tag:1: function {GoText.Quote(word)} not defined");
            return field(word[1..]) ?? throw new FormatException($"template: log-tag:1:2: executing \"log-tag\" at <{word}>: can't evaluate field {word[1..]} in type *logger.Info");
        }
    }

    private static List<string> Words(string text)
    {
        var words = new List<string>();
        for (var i = 0; i < text.Length;)
        {
            if (text[i] is ' ' or '\t')
            {
                i++;
                continue;
            }
            var start = i;
            if (text[i] is '"' or '`')
            {
                var end = text.IndexOf(text[i], i + 1);
                if (end < 0) throw new FormatException("template: log-tag:1: unterminated quoted string");
                i = end + 1;
            }
            else
            {
                while (i < text.Length && text[i] is not (' ' or '\t')) i++;
            }
            words.Add(text[start..i]);
        }
        return words;
    }
}
