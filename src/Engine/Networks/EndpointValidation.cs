using System.Net;
using System.Net.Sockets;
using Berth.Api;
using Berth.Networks;

namespace Berth.Engine;

/// <summary>What a container may ask of a network, in dockerd's order and words. Pure.</summary>
internal static class EndpointValidation
{
    /// <param name="network">Null when it is not known yet: then its subnets are not looked at.</param>
    /// <returns>What is wrong; null: nothing.</returns>
    public static string? Check(NetworkRecord? network, string name, EndpointSettings endpoint, bool? predefined = null)
    {
        var problems = new List<string>();
        var ipam = endpoint.IPAMConfig;
        var (ipv4, ipv6) = (ipam?.IPv4Address ?? "", ipam?.IPv6Address ?? "");
        if (predefined ?? NetworkManager.IsPredefined(name))
        {
            if (ipv4.Length + ipv6.Length > 0) problems.Add("user specified IP address is supported on user defined networks only");
            if (endpoint.Aliases is { Length: > 0 }) problems.Add("network-scoped alias is supported only for containers in user defined networks");
        }
        if (ipv4.Length > 0 && !(Parse(ipv4) is { AddressFamily: AddressFamily.InterNetwork } four && !four.Equals(IPAddress.Any))) problems.Add($"invalid IPv4 address: {ipv4}");
        if (ipv6.Length > 0 && !(Parse(ipv6) is { AddressFamily: AddressFamily.InterNetworkV6, IsIPv4MappedToIPv6: false } six && !six.Equals(IPAddress.IPv6Any))) problems.Add($"invalid IPv6 address: {ipv6}");
        foreach (var address in ipam?.LinkLocalIPs ?? [])
            if (Parse(address) is not { } linkLocal || linkLocal.Equals(IPAddress.Any) || linkLocal.Equals(IPAddress.IPv6Any)) problems.Add($"invalid link-local IP address: {address}");
        if (network is not null)
        {
            CheckSubnet(network, ipv4, isIPv6: false, problems);
            CheckSubnet(network, ipv6, isIPv6: true, problems);
        }
        if (endpoint.MacAddress.Length > 0 && !MacAddress.TryParse(endpoint.MacAddress, out _)) return $"invalid MAC address {endpoint.MacAddress}";
        if (endpoint.DriverOpts?.GetValueOrDefault("com.docker.network.endpoint.sysctls") is { } sysctls)
        {
            foreach (var sysctl in sysctls.Split(','))
            {
                var parts = sysctl.Split('.', 5);
                if (parts.Length != 5 || parts[1] is not ("ipv4" or "ipv6" or "mpls") || parts[3] is not ("IFNAME" or "ifname"))
                    problems.Add($"unrecognised network interface sysctl '{sysctl}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'");
            }
        }
        if (problems.Count == 0) return null;
        return "invalid endpoint settings:\n" + (problems.Count == 1 ? problems[0] : string.Join('\n', problems.Select(p => "* " + p)));
    }

    private static void CheckSubnet(NetworkRecord network, string text, bool isIPv6, List<string> problems)
    {
        if (text.Length == 0) return;
        var given = network.Spec.Subnets.Where(s => s.Given && s.Subnet.IsIPv6 == isIPv6).ToList();
        // The default bridge counts as one whose subnet was given.
        if (network.Name == "bridge") given = [.. network.Spec.Subnets.Where(s => s.Subnet.IsIPv6 == isIPv6)];
        if (InetAddress.TryParse(text, out var address) && given.Exists(s => s.Subnet.Contains(address))) return;
        problems.Add(given.Count > 0 ? $"no configured subnet or ip-range contain the IP address {text}" : "user specified IP address is supported only when connecting to networks with user configured subnets");
    }

    private static IPAddress? Parse(string text) => InetAddress.TryParse(text, out var address) ? address.ToIPAddress() : null;
}
