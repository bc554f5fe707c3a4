using System.Globalization;
using Berth.Api;

namespace Berth.Cli.Commands.Containers;

/// <summary>What -p and --expose say: [[ip:][hostPort[-hostPort]]:]containerPort[-containerPort][/protocol].</summary>
internal static class PortSpecs
{
    /// <summary>Adds what one -p means. The long form published=8080,target=80,protocol=udp is understood as well.</summary>
    /// <exception cref="FormatException">Docker's words.</exception>
    public static void Publish(string spec, SortedSet<string> exposed, SortedDictionary<string, List<PortBinding>> bindings)
    {
        if (spec.Contains('=')) spec = FromLongForm(spec);
        var parts = spec.Split(':');
        var container = parts[^1];
        var host = parts.Length > 1 ? parts[^2] : "";
        var ip = parts.Length > 2 ? string.Join(':', parts[..^2]) : "";
        (var protocol, container) = SplitProtocol(container);

        if (ip.StartsWith('[')) ip = ip.EndsWith(']') ? ip[1..^1] : throw new FormatException($"invalid IP address {ip}: address {ip}:: missing ']' in address");
        if (ip.Length > 0 && !IpText.TryParse(ip, out _)) throw new FormatException($"invalid IP address: {ip}");
        if (container.Length == 0) throw new FormatException($"no port specified: {spec}<empty>");
        if (!TryRange(container, out var first, out var last)) throw new FormatException($"invalid containerPort: {container}");
        int hostFirst = 0, hostLast = 0;
        if (host.Length > 0 && !TryRange(host, out hostFirst, out hostLast)) throw new FormatException($"invalid hostPort: {host}");
        // One container port and a range of host ports: the engine takes a free one of the range.
        if (host.Length > 0 && last - first != hostLast - hostFirst && last != first)
            throw new FormatException($"invalid ranges specified for container and host Ports: {container} and {host}");
        if (protocol.ToLowerInvariant() is not ("tcp" or "udp" or "sctp")) throw new FormatException($"invalid proto: {protocol}");

        for (var i = 0; i <= last - first; i++)
        {
            var port = $"{first + i}/{protocol.ToLowerInvariant()}";
            var hostPort = host.Length == 0 ? "" : (hostFirst + i).ToString(CultureInfo.InvariantCulture);
            if (first == last && hostFirst != hostLast) hostPort += $"-{hostLast}";
            exposed.Add(port);
            if (!bindings.TryGetValue(port, out var list)) bindings[port] = list = [];
            list.Add(new PortBinding { HostIp = ip, HostPort = hostPort });
        }
    }

    /// <exception cref="FormatException">Docker's words.</exception>
    public static void Expose(string spec, SortedSet<string> exposed)
    {
        if (spec.Contains(':')) throw new FormatException($"invalid port format for --expose: {spec}");
        var (protocol, port) = SplitProtocol(spec);
        if (!TryRange(port, out var first, out var last)) throw new FormatException($"invalid range format for --expose: {spec}, error: {WrongWith(port)}");
        for (var i = first; i <= last; i++) exposed.Add($"{i}/{protocol.ToLowerInvariant()}");
    }

    private static (string Protocol, string Port) SplitProtocol(string text)
    {
        var slash = text.IndexOf('/');
        if (slash < 0) return ("tcp", text);
        var protocol = text[(slash + 1)..].Split('/')[0];
        return (slash == 0 ? "" : protocol.Length == 0 ? "tcp" : protocol, text[..slash]);
    }

    private static bool TryRange(string text, out int first, out int last)
    {
        var dash = text.IndexOf('-');
        last = 0;
        var valid = TryPort(dash < 0 ? text : text[..dash], out first) && (dash < 0 || TryPort(text[(dash + 1)..].Split('-')[0], out last));
        if (dash < 0) last = first;
        return valid && last >= first;
    }

    private static string WrongWith(string range)
    {
        if (range.Length == 0) return "empty string specified for ports";
        try
        {
            foreach (var part in range.Split('-')) GoText.ParseUInt(part, 16);
            return "invalid range specified for port: " + range;
        }
        catch (FormatException e)
        {
            return e.Message;
        }
    }

    private static bool TryPort(string text, out int port)
    {
        var valid = ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value);
        port = value;
        return valid;
    }

    private static string FromLongForm(string spec)
    {
        string published = "", target = "", protocol = "tcp";
        foreach (var field in spec.Split(','))
        {
            var equals = field.IndexOf('=');
            if (equals <= 0) throw new FormatException($"invalid publish opts format (should be name=value but got '{field}')");
            var value = field[(equals + 1)..];
            switch (field[..equals])
            {
                case "published": published = value; break;
                case "target": target = value; break;
                case "protocol": protocol = value; break;
            }
        }
        return $"{published}:{target}/{protocol}";
    }
}
