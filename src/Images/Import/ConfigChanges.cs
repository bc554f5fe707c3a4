using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Berth.Images.Import;

/// <summary>
/// The Dockerfile instructions that <c>docker import -c</c> (and commit -c) take, applied to a container configuration.
/// Pure; the words of its errors are those of Docker's Dockerfile parser.
/// </summary>
public static class ConfigChanges
{
    /// <summary>All changes together; a Dockerfile is a page or two.</summary>
    public const int MaxBytes = 1024 * 1024;

    /// <summary>Ports one EXPOSE range may open: all there are.</summary>
    private const int MaxPort = 65535;

    private static readonly string[] Allowed =
        ["cmd", "entrypoint", "healthcheck", "env", "expose", "label", "onbuild", "stopsignal", "user", "volume", "workdir"];

    /// <exception cref="ImageException">InvalidParameter.</exception>
    public static ContainerConfig Apply(ContainerConfig config, IReadOnlyList<string> changes)
    {
        if (changes.Count == 0) return config;
        var text = string.Join('\n', changes);
        if (text.Length > MaxBytes) throw ImageException.Invalid($"the changes are longer than {MaxBytes} bytes");
        var instructions = Instructions(text);
        if (instructions.Count == 0) throw ImageException.Invalid("file with no instructions");
        foreach (var (name, _) in instructions)
            if (!Allowed.Contains(name.ToLowerInvariant())) throw ImageException.Invalid($"{name} is not a valid change command");
        foreach (var (name, arguments) in instructions) config = Apply(config, name.ToUpperInvariant(), arguments);
        return config;
    }

    private static ContainerConfig Apply(ContainerConfig config, string name, string text)
    {
        switch (name)
        {
            case "CMD": return config with { Cmd = Command(text) };
            case "ENTRYPOINT": return config with { Entrypoint = Command(text) };
            case "ENV":
                var variables = new List<string>(config.Env ?? []);
                foreach (var (key, value) in Pairs(name, text))
                {
                    var expanded = Expand(key, config);
                    if (expanded.Length == 0) throw ImageException.Invalid("ENV names can not be blank");
                    var variable = $"{expanded}={Expand(value, config)}";
                    var at = variables.FindIndex(v => v.StartsWith(expanded + "=", StringComparison.Ordinal));
                    if (at < 0) variables.Add(variable);
                    else variables[at] = variable;
                }
                return config with { Env = variables };
            case "LABEL":
                var labels = new Dictionary<string, string>(config.Labels ?? new Dictionary<string, string>());
                foreach (var (key, value) in Pairs(name, text))
                {
                    var expanded = Expand(key, config);
                    if (expanded.Length == 0) throw ImageException.Invalid("LABEL names can not be blank");
                    labels[expanded] = Expand(value, config);
                }
                return config with { Labels = labels };
            case "EXPOSE":
                var ports = new SortedDictionary<string, EmptyObject>(StringComparer.Ordinal);
                foreach (var port in config.ExposedPorts?.Keys ?? []) ports[port] = EmptyObject.Value;
                foreach (var word in Words(name, text))
                    foreach (var port in Ports(Expand(word, config))) ports[port] = EmptyObject.Value;
                return config with { ExposedPorts = ports };
            case "VOLUME":
                var volumes = new SortedDictionary<string, EmptyObject>(StringComparer.Ordinal);
                foreach (var volume in config.Volumes?.Keys ?? []) volumes[volume] = EmptyObject.Value;
                foreach (var word in JsonList(text) ?? Words(name, text))
                {
                    var path = Expand(word, config).Trim();
                    if (path.Length == 0) throw ImageException.Invalid("VOLUME specified can not be an empty string");
                    volumes[path] = EmptyObject.Value;
                }
                return config with { Volumes = volumes };
            case "USER": return config with { User = Expand(One(name, text), config) };
            case "WORKDIR": return config with { WorkingDir = Directory(config.WorkingDir, Expand(One(name, text), config)) };
            case "STOPSIGNAL":
                var signal = Expand(One(name, text), config);
                if (!IsSignal(signal)) throw ImageException.Invalid($"invalid signal: {signal}");
                return config with { StopSignal = signal };
            case "ONBUILD":
                One(name, text, "at least one argument");
                var trigger = text.Split(' ', 2)[0].ToUpperInvariant();
                if (trigger == "ONBUILD") throw ImageException.Invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
                if (trigger is "FROM" or "MAINTAINER") throw ImageException.Invalid($"{trigger} isn't allowed as an ONBUILD trigger");
                return config with { OnBuild = [.. config.OnBuild ?? [], text] };
            default: return config with { Healthcheck = Healthcheck(text) };
        }
    }

    // Lines with comments taken out and continued ones joined, each cut into instruction and arguments.
    private static List<(string Name, string Arguments)> Instructions(string text)
    {
        var list = new List<(string, string)>();
        var line = new StringBuilder();
        foreach (var raw in text.Split('\n'))
        {
            var trimmed = raw.Trim();
            if (trimmed.StartsWith('#') || (trimmed.Length == 0 && line.Length > 0)) continue;
            if (trimmed.EndsWith('\\'))
            {
                line.Append(line.Length == 0 ? raw.TrimStart().TrimEnd()[..^1] : raw.TrimEnd()[..^1]);
                continue;
            }
            line.Append(line.Length == 0 ? trimmed : raw.TrimEnd());
            Add(line.ToString());
            line.Clear();
        }
        Add(line.ToString());
        return list;

        void Add(string whole)
        {
            whole = whole.Trim();
            if (whole.Length == 0) return;
            var end = whole.AsSpan().IndexOfAny(' ', '\t');
            list.Add(end < 0 ? (whole, "") : (whole[..end], whole[(end + 1)..].Trim()));
        }
    }

    private static IReadOnlyList<string> Command(string text) => JsonList(text) ?? ["/bin/sh", "-c", .. text.Length == 0 ? (string[])[] : [text]];

    // The exec form: a JSON list of strings. Anything that doesn't parse as JSON is the shell form.
    private static IReadOnlyList<string>? JsonList(string text)
    {
        if (!text.StartsWith('[')) return null;
        JsonNode? node;
        try
        {
            node = JsonNode.Parse(text);
        }
        catch (JsonException)
        {
            return null;
        }
        if (node is not JsonArray array) return null;
        return [.. array.Select(item => item is JsonValue value && value.TryGetValue<string>(out var s)
            ? s : throw ImageException.Invalid("when using JSON array syntax, arrays must be comprised of strings only"))];
    }

    private static string One(string name, string text, string what = "exactly one argument") =>
        text.Length > 0 ? text : throw ImageException.Invalid($"{name} requires {what}");

    private static string[] Words(string name, string text) =>
        One(name, text, "at least one argument").Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries);

    // "a=b c='d e'" or the old "a the whole rest".
    private static List<(string Key, string Value)> Pairs(string name, string text)
    {
        var words = QuotedWords(One(name, text, "at least one argument"));
        if (!words[0].Contains('='))
        {
            var cut = text.AsSpan().IndexOfAny(' ', '\t');
            return cut < 0 ? throw ImageException.Invalid($"{name} must have two arguments") : [(text[..cut], text[cut..].Trim())];
        }
        var pairs = new List<(string, string)>();
        foreach (var word in words)
        {
            var equals = word.IndexOf('=');
            if (equals < 0) throw ImageException.Invalid($"Syntax error - can't find = in \"{word}\". Must be of the form: name=value");
            pairs.Add((word[..equals], word[(equals + 1)..]));
        }
        return pairs;
    }

    // Cut at blanks outside quotes; the quotes stay, for Expand.
    private static List<string> QuotedWords(string text)
    {
        var words = new List<string>();
        var word = new StringBuilder();
        var quote = '\0';
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            if (quote == '\0' && c is ' ' or '\t' && quote == '\0')
            {
                if (word.Length > 0) words.Add(word.ToString());
                word.Clear();
                continue;
            }
            if (c == '\\' && quote != '\'' && i + 1 < text.Length)
            {
                word.Append(c).Append(text[++i]);
                continue;
            }
            if (quote == '\0' && c is '"' or '\'' && quote == '\0') quote = c;
            else if (c == quote) quote = '\0';
            word.Append(c);
        }
        if (word.Length > 0) words.Add(word.ToString());
        return words;
    }

    // Takes quotes away and puts the values of earlier ENVs in, as a shell would: $X, ${X}, ${X:-default}, ${X:+other}.
    private static string Expand(string text, ContainerConfig config)
    {
        var result = new StringBuilder();
        var quote = '\0';
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            if (quote == '\0' && c is '"' or '\'' && quote == '\0') quote = c;
            else if (c == quote && quote != '\0') quote = '\0';
            else if (c == '\\' && quote != '\'' && i + 1 < text.Length)
            {
                var next = text[++i];
                if (quote == '"' && next is not ('"' or '$' or '\\')) result.Append('\\');
                result.Append(next);
            }
            else if (c == '$' && quote != '\'') i = Variable(text, i, config, result);
            else result.Append(c);
        }
        if (quote != '\0') throw ImageException.Invalid($"failed to process \"{text}\": unexpected end of statement while looking for matching {(quote == '"' ? "double-quote" : "single-quote")}");
        return result.ToString();
    }

    // Returns the index of the variable's last character.
    private static int Variable(string text, int dollar, ContainerConfig config, StringBuilder result)
    {
        var i = dollar + 1;
        if (i < text.Length && text[i] == '{')
        {
            var close = text.IndexOf('}', i);
            if (close < 0) throw ImageException.Invalid($"failed to process \"{text}\": syntax error: missing '}}'");
            var inner = text[(i + 1)..close];
            var end = 0;
            while (end < inner.Length && (char.IsAsciiLetterOrDigit(inner[end]) || inner[end] == '_')) end++;
            var (name, modifier) = (inner[..end], inner[end..]);
            if (name.Length == 0) throw ImageException.Invalid($"failed to process \"{text}\": bad substitution");
            var value = Lookup(name, config);
            result.Append(modifier switch
            {
                "" => value,
                [':', '-', .. var otherwise] => string.IsNullOrEmpty(value) ? Expand(otherwise, config) : value,
                ['-', .. var otherwise] => value is null ? Expand(otherwise, config) : value,
                [':', '+', .. var instead] => string.IsNullOrEmpty(value) ? "" : Expand(instead, config),
                ['+', .. var instead] => value is null ? "" : Expand(instead, config),
                _ => throw ImageException.Invalid($"failed to process \"{text}\": unsupported modifier ({modifier}) in substitution"),
            });
            return close;
        }
        var start = i;
        while (i < text.Length && (char.IsAsciiLetterOrDigit(text[i]) || text[i] == '_')) i++;
        if (i == start) result.Append('$');
        else result.Append(Lookup(text[start..i], config));
        return i - 1;
    }

    private static string? Lookup(string name, ContainerConfig config) =>
        config.Env?.LastOrDefault(v => v.StartsWith(name + "=", StringComparison.Ordinal)) is { } variable ? variable[(name.Length + 1)..] : null;

    // "80", "80/udp", "8000-8010"; of "host:container" the container's part.
    private static IEnumerable<string> Ports(string text)
    {
        var slash = text.LastIndexOf('/');
        var protocol = slash < 0 ? "tcp" : text[(slash + 1)..].ToLowerInvariant();
        var range = slash < 0 ? text : text[..slash];
        range = range[(range.LastIndexOf(':') + 1)..];
        if (protocol is not ("tcp" or "udp" or "sctp")) throw ImageException.Invalid($"Invalid proto: {protocol}");
        var dash = range.IndexOf('-');
        if (range.Length == 0) throw ImageException.Invalid("No port specified: " + text + "<empty>");
        if (!ParsePort(dash < 0 ? range : range[..dash], out var first) || !ParsePort(dash < 0 ? range : range[(dash + 1)..], out var last) || last < first)
            throw ImageException.Invalid($"Invalid containerPort: {range}");
        for (var port = first; port <= last; port++) yield return $"{port}/{protocol}";
    }

    private static bool ParsePort(string text, out int port) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out port) && port <= MaxPort;

    private static string Directory(string? current, string path)
    {
        if (path.Length == 0) throw ImageException.Invalid("WORKDIR requires exactly one argument");
        var parts = new List<string>();
        foreach (var part in (path.StartsWith('/') ? path : $"{current}/{path}").Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            if (part == ".") continue;
            if (part != "..") parts.Add(part);
            else if (parts.Count > 0) parts.RemoveAt(parts.Count - 1);
        }
        return "/" + string.Join('/', parts);
    }

    private static bool IsSignal(string text)
    {
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number)) return number is >= 1 and <= 64;
        var name = text.ToUpperInvariant();
        if (name.StartsWith("SIG", StringComparison.Ordinal)) name = name[3..];
        if (name.StartsWith("RTMIN+", StringComparison.Ordinal)) return int.TryParse(name[6..], out var up) && up is >= 1 and <= 15;
        if (name.StartsWith("RTMAX-", StringComparison.Ordinal)) return int.TryParse(name[6..], out var down) && down is >= 1 and <= 14;
        return Array.IndexOf(Signals, name) >= 0;
    }

    private static readonly string[] Signals =
    [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "RTMAX", "RTMIN",
        "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
    ];

    private static HealthcheckConfig Healthcheck(string text)
    {
        One("HEALTHCHECK", text, "at least one argument");
        var check = new HealthcheckConfig();
        while (text.StartsWith("--", StringComparison.Ordinal))
        {
            var end = text.AsSpan().IndexOfAny(' ', '\t');
            var flag = end < 0 ? text : text[..end];
            text = end < 0 ? "" : text[end..].Trim();
            var equals = flag.IndexOf('=');
            var (name, value) = equals < 0 ? (flag, "") : (flag[..equals], flag[(equals + 1)..]);
            check = name switch
            {
                "--interval" => check with { Interval = Duration(name, value) },
                "--timeout" => check with { Timeout = Duration(name, value) },
                "--start-period" => check with { StartPeriod = Duration(name, value) },
                "--start-interval" => check with { StartInterval = Duration(name, value) },
                "--retries" => check with { Retries = Retries(value) },
                _ => throw ImageException.Invalid($"unknown flag: {name}"),
            };
        }
        if (text.Length == 0) throw ImageException.Invalid("HEALTHCHECK requires at least one argument");
        var space = text.AsSpan().IndexOfAny(' ', '\t');
        var type = (space < 0 ? text : text[..space]).ToUpperInvariant();
        var rest = space < 0 ? "" : text[space..].Trim();
        switch (type)
        {
            case "NONE":
                if (rest.Length > 0) throw ImageException.Invalid("HEALTHCHECK NONE takes no arguments");
                return new HealthcheckConfig { Test = ["NONE"] };
            case "CMD":
                var list = JsonList(rest);
                if (rest.Length == 0 || list is { Count: 0 }) throw ImageException.Invalid("Missing command after HEALTHCHECK CMD");
                return check with { Test = list is null ? ["CMD-SHELL", rest] : ["CMD", .. list] };
            default:
                throw ImageException.Invalid($"Unknown type \"{type}\" in HEALTHCHECK (try CMD)");
        }
    }

    private static int Retries(string text)
    {
        if (!int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var retries)) throw ImageException.Invalid($"strconv.ParseInt: parsing \"{text}\": invalid syntax");
        return retries >= 0 ? retries : throw ImageException.Invalid($"--retries cannot be negative ({retries})");
    }

    // Go's durations: "1m30s", "500ms", "1.5h". In nanoseconds.
    private static long Duration(string flag, string text)
    {
        decimal total = 0;
        var rest = text.AsSpan();
        while (!rest.IsEmpty)
        {
            var digits = rest.IndexOfAnyExcept("0123456789.");
            if (digits <= 0 || !decimal.TryParse(rest[..digits], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number)) throw Bad();
            rest = rest[digits..];
            var letters = rest.IndexOfAny("0123456789.");
            var unit = letters < 0 ? rest : rest[..letters];
            rest = letters < 0 ? default : rest[letters..];
            total += number * unit switch
            {
                "ns" => 1, "us" or "µs" or "μs" => 1_000, "ms" => 1_000_000, "s" => 1_000_000_000, "m" => 60_000_000_000, "h" => 3_600_000_000_000, _ => throw Bad(),
            };
            if (total > long.MaxValue) throw Bad();
        }
        if (text.Length == 0) throw Bad();
        return total is 0 or >= 1_000_000 ? (long)total : throw ImageException.Invalid($"Interval \"{flag[2..]}\" cannot be less than 1ms");

        ImageException Bad() => ImageException.Invalid($"time: invalid duration \"{text}\"");
    }
}
