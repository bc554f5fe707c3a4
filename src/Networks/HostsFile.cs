using System.Net;
using System.Text;

namespace Berth.Networks;

/// <summary>What /etc/hosts of a container says. Pure: the caller writes the file.</summary>
public static class HostsFile
{
    /// <summary>In --add-host, stands for the address under which the container reaches the host.</summary>
    public const string HostGatewayName = "host-gateway";

    private const string Localhost =
        "127.0.0.1\tlocalhost\n" +
        "::1\tlocalhost ip6-localhost ip6-loopback\n" +
        "fe00::\tip6-localnet\n" +
        "ff00::\tip6-mcastprefix\n" +
        "ff02::1\tip6-allnodes\n" +
        "ff02::2\tip6-allrouters\n";

    /// <summary>A container with its own network namespace.</summary>
    /// <param name="addresses">The container's own addresses, empty with network none.</param>
    /// <param name="hostname">Host name, which may be a fully qualified one.</param>
    /// <param name="domainname">Appended to the host name after a dot, when not empty.</param>
    /// <param name="extraHosts">--add-host: "name:address", where address may be host-gateway.</param>
    /// <param name="hostGateways">What host-gateway stands for, an address of each family at most; empty: an entry that names it is refused.</param>
    /// <exception cref="NetworkException">InvalidArgument, in Docker's words.</exception>
    public static string For(IReadOnlyList<string> addresses, string hostname, string domainname, IReadOnlyList<string> extraHosts, IReadOnlyList<string> hostGateways)
    {
        var text = new StringBuilder(Localhost);
        AppendExtra(text, extraHosts, hostGateways);
        var names = NamesOf(hostname, domainname);
        foreach (var address in addresses) text.Append(address).Append('\t').Append(names).Append('\n');
        return text.ToString();
    }

    /// <summary>A build's command: its name is the loopback's, and no address of its own is told.</summary>
    /// <exception cref="NetworkException">InvalidArgument, in Docker's words.</exception>
    public static string ForStep(string hostname, IReadOnlyList<string> extraHosts, IReadOnlyList<string> hostGateways)
    {
        var text = new StringBuilder("127.0.0.1\tlocalhost ").Append(hostname).Append("\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        AppendExtra(text, extraHosts, hostGateways);
        return text.ToString();
    }

    /// <summary>What stands behind the container's own addresses.</summary>
    public static string NamesOf(string hostname, string domainname)
    {
        var names = domainname.Length == 0 ? hostname : $"{hostname}.{domainname}";
        return names.IndexOf('.') is var dot and >= 0 ? $"{names} {names[..dot]}" : names;
    }

    /// <summary>--network host: the host's own file; but with --add-host a plain one, so that an entry there can be overridden.</summary>
    /// <exception cref="NetworkException">InvalidArgument, in Docker's words.</exception>
    public static string ForHostNetwork(string hostText, IReadOnlyList<string> extraHosts, IReadOnlyList<string> hostGateways)
    {
        if (extraHosts.Count == 0) return hostText;
        var text = new StringBuilder(Localhost);
        AppendExtra(text, extraHosts, hostGateways);
        return text.ToString();
    }

    /// <summary>Checks an --add-host entry as the API gives it.</summary>
    /// <exception cref="NetworkException">InvalidArgument, in Docker's words.</exception>
    public static void Validate(string extraHost)
    {
        // The address may be an IPv6 one, so the first colon parts them.
        var colon = extraHost.IndexOf(':');
        if (colon <= 0) throw new NetworkException(NetworkErrorKind.InvalidArgument, $"bad format for add-host: \"{extraHost}\"");
        var address = extraHost[(colon + 1)..];
        if (address != HostGatewayName && !IPAddress.TryParse(address, out _))
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"invalid IP address in add-host: \"{address}\"");
    }

    private static void AppendExtra(StringBuilder text, IReadOnlyList<string> extraHosts, IReadOnlyList<string> hostGateways)
    {
        foreach (var extra in extraHosts)
        {
            Validate(extra);
            var colon = extra.IndexOf(':');
            var address = extra[(colon + 1)..];
            IReadOnlyList<string> addresses = address == HostGatewayName ? hostGateways : [address.Trim('[', ']')];
            if (addresses.Count == 0) throw new NetworkException(NetworkErrorKind.InvalidArgument, "unable to derive the IP value for host-gateway");
            foreach (var one in addresses) text.Append(one).Append('\t').Append(extra.AsSpan(0, colon)).Append('\n');
        }
    }
}
