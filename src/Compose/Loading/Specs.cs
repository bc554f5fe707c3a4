using System.Globalization;
using System.Net;
using System.Text;
using Berth.Compose.Yaml;

namespace Berth.Compose.Loading;

/// <summary>The one-line forms of ports, volumes and commands.</summary>
internal static class Specs
{
    /// <summary>"[[ip:]host:]container[/protocol]", each a port or a range.</summary>
    /// <exception cref="ComposeException">go-connections' words.</exception>
    public static List<Node> Ports(string text, Position at)
    {
        var parts = text.Split(':');
        var container = parts[^1];
        var host = parts.Length > 1 ? parts[^2] : "";
        var ip = parts.Length > 2 ? string.Join(':', parts[..^2]) : "";
        var protocol = "tcp";
        var slash = container.IndexOf('/');
        if (slash >= 0)
        {
            protocol = container[(slash + 1)..].ToLowerInvariant();
            container = container[..slash];
            if (protocol.Length == 0) protocol = "tcp";
        }
        if (protocol is not ("tcp" or "udp" or "sctp")) throw new ComposeException($"invalid proto: {protocol} ({at})");
        if (ip.StartsWith('[') && ip.EndsWith(']')) ip = ip[1..^1];
        if (ip.Length > 0 && !IPAddress.TryParse(ip, out _)) throw new ComposeException($"invalid IP address: {ip} ({at})");
        if (container.Length == 0) throw new ComposeException($"no port specified: {text}<empty> ({at})");
        if (!TryRange(container, out var first, out var last)) throw new ComposeException($"invalid containerPort: {container} ({at})");
        int firstHost = 0, lastHost = 0;
        if (host.Length > 0)
        {
            if (!TryRange(host, out firstHost, out lastHost)) throw new ComposeException($"invalid hostPort: {host} ({at})");
            if (last - first != lastHost - firstHost && last != first) throw new ComposeException($"invalid ranges specified for container and host Ports: {container} and {host} ({at})");
        }
        var ports = new List<Node>();
        for (var i = 0; i <= last - first; i++)
        {
            var port = Node.Map(at);
            port["mode"] = Node.Of("ingress", at);
            if (ip.Length > 0) port["host_ip"] = Node.Of(ip, at);
            port["target"] = Node.Of((long)(first + i), at);
            if (host.Length > 0)
            {
                var published = (firstHost + i).ToString(CultureInfo.InvariantCulture);
                if (first == last && firstHost != lastHost) published += "-" + lastHost.ToString(CultureInfo.InvariantCulture);
                port["published"] = Node.Of(published, at);
            }
            port["protocol"] = Node.Of(protocol, at);
            ports.Add(port);
        }
        // In the order of their keys as texts: 100 before 99.
        ports.Sort(static (a, b) => string.CompareOrdinal(a.TextOf("target") + "/", b.TextOf("target") + "/"));
        return ports;
    }

    private static bool TryRange(string text, out int first, out int last)
    {
        var dash = text.IndexOf('-');
        if (dash < 0) return TryPort(text, out first) & TryPort(text, out last);
        return TryPort(text[..dash], out first) & TryPort(text[(dash + 1)..], out last) && last >= first;
    }

    private static bool TryPort(string text, out int port) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out port) && port <= 65535;

    /// <summary>"[source:]target[:options]".</summary>
    public static Node Volume(string text, Position at)
    {
        if (text.Length == 0) throw new ComposeException($"invalid empty volume spec ({at})");
        var volume = Node.Map(at);
        if (text.Length <= 2)
        {
            volume["type"] = Node.Of("volume", at);
            volume["target"] = Node.Of(text, at);
            return volume;
        }
        string source = "", target = "";
        Node? bind = null, named = null;
        var readOnly = false;
        var parts = Split(text);
        for (var i = 0; i < parts.Count; i++)
        {
            var part = parts[i];
            var last = i == parts.Count - 1;
            if (part.Length == 0) throw new ComposeException($"invalid spec: {text}: empty section between colons ({at})");
            if (source.Length == 0 && last) target = part;
            else if (source.Length == 0) source = part;
            else if (target.Length == 0) target = part;
            else if (!last) throw new ComposeException($"invalid spec: {text}: too many colons ({at})");
            else
            {
                foreach (var option in part.Split(','))
                {
                    switch (option)
                    {
                        case "ro": readOnly = true; break;
                        case "rw": readOnly = false; break;
                        case "nocopy": (named = Node.Map(at))["nocopy"] = Node.Of(true, at); break;
                        case "rprivate" or "private" or "rshared" or "shared" or "rslave" or "slave": (bind ??= Node.Map(at))["propagation"] = Node.Of(option, at); break;
                        case "z" or "Z": (bind ??= Node.Map(at))["selinux"] = Node.Of(option, at); break;
                    }
                }
            }
        }
        if (IsPath(source)) (bind ??= Node.Map(at))["create_host_path"] = Node.Of(true, at);
        else named ??= Node.Map(at);
        volume["type"] = Node.Of(IsPath(source) ? "bind" : "volume", at);
        if (source.Length > 0) volume["source"] = Node.Of(source, at);
        volume["target"] = Node.Of(CleanPath(target), at);
        if (readOnly) volume["read_only"] = Node.Of(true, at);
        if (bind is not null) volume["bind"] = bind;
        if (named is not null) volume["volume"] = named;
        return volume;
    }

    // At colons, but not those of C:\ and of ${VARIABLE:-default}.
    private static List<string> Split(string text)
    {
        var parts = new List<string>();
        var part = new StringBuilder();
        var braces = 0;
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            if (c == '$' && i + 1 < text.Length && text[i + 1] == '{') braces++;
            if (c == '}' && braces > 0) braces--;
            var drive = c == ':' && part.Length == 1 && char.IsLetter(part[0]);
            if (c == ':' && braces == 0 && !drive)
            {
                parts.Add(part.ToString());
                part.Clear();
            }
            else part.Append(c);
        }
        parts.Add(part.ToString());
        return parts;
    }

    private static bool IsPath(string source) =>
        source.Length > 0 && (source[0] is '.' or '/' or '~' || source.StartsWith("\\\\", StringComparison.Ordinal) || (source.Length > 1 && char.IsLetter(source[0]) && source[1] == ':'));

    /// <summary>Go's path.Clean: no ".", no "..", no double slashes.</summary>
    public static string CleanPath(string path)
    {
        if (path.Length == 0) return ".";
        var rooted = path[0] == '/';
        var kept = new List<string>();
        foreach (var part in path.Split('/'))
        {
            if (part is "" or ".") continue;
            if (part != ".." || (kept.Count == 0 && !rooted) || (kept.Count > 0 && kept[^1] == "..")) kept.Add(part);
            else if (kept.Count > 0) kept.RemoveAt(kept.Count - 1);
        }
        var joined = string.Join('/', kept);
        return rooted ? "/" + joined : joined.Length == 0 ? "." : joined;
    }

    /// <summary>A command line as a shell would take it apart: quotes and backslashes, nothing expanded.</summary>
    public static List<string> Words(string line)
    {
        var words = new List<string>();
        var word = new StringBuilder();
        bool any = false, escaped = false, doubled = false, single = false;
        foreach (var c in line)
        {
            if (escaped)
            {
                if (c == 't') word.Append('\t');
                else if (c == 'n') word.Append('\n');
                else word.Append(c);
                escaped = false;
                any = true;
                continue;
            }
            if (c == '\\')
            {
                if (single) word.Append(c);
                else escaped = true;
                continue;
            }
            if (c is ' ' or '\t' or '\r' or '\n')
            {
                if (single || doubled) word.Append(c);
                else if (any || word.Length > 0)
                {
                    words.Add(word.ToString());
                    word.Clear();
                    any = false;
                }
                continue;
            }
            if (c == '"' && !single)
            {
                if (doubled) any = true;
                doubled = !doubled;
                continue;
            }
            if (c == '\'' && !doubled)
            {
                if (single) any = true;
                single = !single;
                continue;
            }
            if (!single && !doubled && c is ';' or '&' or '|' or '<' or '>' && !single && !doubled) break;
            word.Append(c);
            any = true;
        }
        if (any || word.Length > 0) words.Add(word.ToString());
        if (escaped || single || doubled) throw new ComposeException("invalid command line string");
        return words;
    }

    /// <summary>A time span with days and weeks too ("1w2d3h"), in nanoseconds.</summary>
    public static long Nanoseconds(string text)
    {
        var weeksAndDays = 0L;
        var rest = text;
        while (true)
        {
            var unit = rest.AsSpan().IndexOfAny('w', 'd');
            if (unit <= 0 || !long.TryParse(rest.AsSpan(0, unit), NumberStyles.None, CultureInfo.InvariantCulture, out var number)) break;
            weeksAndDays += number * (rest[unit] == 'w' ? 7 : 1);
            rest = rest[(unit + 1)..];
        }
        const long day = 86_400L * 1_000_000_000;
        return rest.Length == 0 && weeksAndDays > 0 ? weeksAndDays * day : weeksAndDays * day + GoDuration.ParseNanoseconds(rest);
    }
}
