using Berth.Api;

namespace Berth.Cli.Output;

/// <summary>The PORTS column: "0.0.0.0:80->80/tcp, 9000-9002/tcp"; neighbours are joined where host and container port are the same.</summary>
internal static class PortsText
{
    public static string Of(IReadOnlyList<Port> ports)
    {
        var order = new List<string>();
        var open = new Dictionary<string, (int First, int Last)>();
        var result = new List<string>();
        var mapped = new List<string>();
        foreach (var port in ports.OrderBy(p => p.PrivatePort).ThenBy(p => p.IP ?? "", StringComparer.Ordinal).ThenBy(p => p.PublicPort).ThenBy(p => p.Type, StringComparer.Ordinal))
        {
            var key = port.Type;
            if (port.IP is not null)
            {
                if (port.PublicPort != port.PrivatePort)
                {
                    mapped.Add($"{Join(port.IP, port.PublicPort.ToString())}->{port.PrivatePort}/{port.Type}");
                    continue;
                }
                key = port.IP + "/" + port.Type;
            }
            int current = port.PrivatePort;
            if (!open.TryGetValue(key, out var group))
            {
                order.Add(key);
                open[key] = (current, current);
            }
            else if (current == group.Last + 1) open[key] = (group.First, current);
            else
            {
                result.Add(Group(key, group));
                open[key] = (current, current);
            }
        }
        return string.Join(", ", [.. result, .. order.Select(k => Group(k, open[k])), .. mapped]);
    }

    private static string Group(string key, (int First, int Last) group)
    {
        var slash = key.IndexOf('/');
        var range = group.First == group.Last ? $"{group.First}" : $"{group.First}-{group.Last}";
        return slash < 0 ? $"{range}/{key}" : $"{Join(key[..slash], range)}->{range}/{key[(slash + 1)..]}";
    }

    public static string Join(string ip, string port) => ip.Contains(':') ? $"[{ip}]:{port}" : $"{ip}:{port}";
}
