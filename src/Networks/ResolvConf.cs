using System.Net;
using System.Net.Sockets;
using System.Text;
using Berth.Networks.Dns;

namespace Berth.Networks;

/// <summary>What /etc/resolv.conf of a container says. Pure: the caller reads the host's file and writes the container's.</summary>
public static class ResolvConf
{
    public const string DefaultHostPath = "/etc/resolv.conf";
    private const string SystemdResolvedPath = "/run/systemd/resolve/resolv.conf";

    /// <summary>For a container that would otherwise have no server at all; the ones Docker falls back to.</summary>
    private static readonly string[] FallbackServers = ["8.8.8.8", "8.8.4.4"];
    private static readonly string[] FallbackServers6 = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

    /// <summary>The file to start from: /etc/resolv.conf, or the one systemd-resolved keeps for those who can't reach its stub on 127.0.0.53.</summary>
    /// <param name="readAllText">Content of a file, or null when it can't be read.</param>
    /// <param name="ownNamespace">False for --network host, from where the stub can be reached.</param>
    public static string HostPath(Func<string, string?> readAllText, bool ownNamespace = true) =>
        ownNamespace && Parse(readAllText(DefaultHostPath) ?? "").Servers is ["127.0.0.53"] ? SystemdResolvedPath : DefaultHostPath;

    /// <param name="hostText">Content of the host's file; empty when it has none.</param>
    /// <param name="hostPath">Its path, for the trailing comment.</param>
    /// <param name="dns">--dns; replaces the host's servers when not empty.</param>
    /// <param name="search">--dns-search; "." alone means no search list.</param>
    /// <param name="options">--dns-option.</param>
    /// <param name="ownNamespace">False for --network host: the host's loopback servers are then reachable and are kept.</param>
    /// <param name="ipv6">The container has IPv6.</param>
    /// <exception cref="NetworkException">InvalidArgument: an entry of <paramref name="dns"/> is not an address.</exception>
    public static string For(string hostText, string hostPath, IReadOnlyList<string> dns, IReadOnlyList<string> search, IReadOnlyList<string> options, bool ownNamespace, bool ipv6 = false)
    {
        var host = Parse(hostText);
        var overrides = new List<string>();
        var servers = host.Servers;
        var usedFallback = false;
        if (dns.Count > 0)
        {
            foreach (var server in dns)
                if (!IPAddress.TryParse(server, out _)) throw new NetworkException(NetworkErrorKind.InvalidArgument, $"bad nameserver address {server}");
            servers = [.. dns];
            overrides.Add("nameservers");
        }
        else if (ownNamespace)
        {
            // Loopback would be the container's own.
            servers = [.. servers.Where(s => IPAddress.Parse(s) is var a && (ipv6 || a.AddressFamily == AddressFamily.InterNetwork) && !IPAddress.IsLoopback(a))];
            usedFallback = servers.Count == 0;
            if (usedFallback) servers = ipv6 ? [.. FallbackServers, .. FallbackServers6] : [.. FallbackServers];
        }
        var searchList = host.Search;
        if (search.Count > 0)
        {
            searchList = [.. search.Where(s => s != ".")];
            overrides.Add("search");
        }
        var optionList = host.Options;
        if (options.Count > 0)
        {
            optionList = [.. options];
            overrides.Add("options");
        }

        var text = new StringBuilder();
        foreach (var server in servers) text.Append("nameserver ").Append(server).Append('\n');
        if (searchList.Count > 0) text.Append("search ").AppendJoin(' ', searchList).Append('\n');
        if (optionList.Count > 0) text.Append("options ").AppendJoin(' ', optionList).Append('\n');
        foreach (var line in host.Other) text.Append(line).Append('\n');
        text.Append("\n# Made by Berth from the host's ").Append(hostPath).Append('\n');
        if (usedFallback) text.Append("# The host has no name server that a container could reach: these are fallbacks.\n");
        if (overrides.Count > 0) text.Append("# Given for this container: ").AppendJoin(", ", overrides).Append('\n');
        return text.ToString();
    }

    /// <summary>
    /// For a container with name service: 127.0.0.11 is its only server, and asks the others. With Docker's comment lines, which tell where things are from.
    /// </summary>
    /// <param name="hostText">Content of the host's file; its loopback servers count, since they are asked from the host.</param>
    /// <exception cref="NetworkException">InvalidArgument: an entry of <paramref name="dns"/> is not an address.</exception>
    public static (string Text, ResolverSettings Settings) ForNameService(string hostText, string hostPath, IReadOnlyList<string> dns, IReadOnlyList<string> search, IReadOnlyList<string> options)
    {
        var host = Parse(hostText);
        foreach (var server in dns)
            if (!IPAddress.TryParse(server, out _)) throw new NetworkException(NetworkErrorKind.InvalidArgument, $"bad nameserver address {server}");
        UpstreamServer[] servers = dns.Count > 0
            ? [.. dns.Select(s => new UpstreamServer(IPAddress.Parse(s), FromHost: false))]
            : [.. host.Servers.Select(s => new UpstreamServer(IPAddress.Parse(s), FromHost: true))];
        IReadOnlyList<string> searchList = search.Count > 0 ? [.. search.Where(s => s != ".")] : host.Search;
        List<string> optionList = [.. options.Count > 0 ? options : host.Options];
        var ndotsFrom = options.Count > 0 ? "override" : "host";
        // One without a number is none; ours is added where there is no other.
        optionList.RemoveAll(o => o is "ndots" or "ndots:" || o.StartsWith("ndots:", StringComparison.Ordinal) && !uint.TryParse(o.AsSpan(6), out _));
        var ndotsSet = optionList.Exists(o => o.StartsWith("ndots:", StringComparison.Ordinal));
        if (!ndotsSet)
        {
            optionList.Add("ndots:0");
            ndotsFrom = "internal";
        }

        var text = new StringBuilder().Append("nameserver ").Append(NameServer.Address).Append('\n');
        if (searchList.Count > 0) text.Append("search ").AppendJoin(' ', searchList).Append('\n');
        text.Append("options ").AppendJoin(' ', optionList).Append('\n');
        foreach (var line in host.Other) text.Append(line).Append('\n');
        text.Append("\n# Based on host file: '").Append(hostPath).Append("' (internal resolver)\n");
        if (servers.Length == 0) text.Append("# NO EXTERNAL NAMESERVERS DEFINED\n");
        else text.Append("# ExtServers: [").AppendJoin(' ', servers).Append("]\n");
        string[] overrides = [.. new[] { dns.Count > 0 ? "nameservers" : "", search.Count > 0 ? "search" : "", options.Count > 0 ? "options" : "" }.Where(o => o.Length > 0)];
        text.Append("# Overrides: [").AppendJoin(' ', overrides).Append("]\n# Option ndots from: ").Append(ndotsFrom).Append('\n');
        return (text.ToString(), new ResolverSettings { Servers = servers, NdotsSet = ndotsSet });
    }

    private sealed record Parsed(List<string> Servers, List<string> Search, List<string> Options, List<string> Other);

    // resolv.conf(5): the last search line counts, options add up, domain is an old name for search.
    private static Parsed Parse(string text)
    {
        var parsed = new Parsed([], [], [], []);
        foreach (var line in text.Split('\n'))
        {
            var fields = line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length == 0 || fields[0][0] is '#' or ';') continue;
            switch (fields[0])
            {
                case "nameserver":
                    if (fields.Length > 1 && IPAddress.TryParse(fields[1], out _)) parsed.Servers.Add(fields[1]);
                    break;
                case "search" or "domain":
                    if (fields.Length > 1)
                    {
                        parsed.Search.Clear();
                        parsed.Search.AddRange(fields[1..]);
                    }
                    break;
                case "options":
                    parsed.Options.AddRange(fields[1..]);
                    break;
                default:
                    parsed.Other.Add(line.TrimEnd('\r'));
                    break;
            }
        }
        return parsed;
    }
}
