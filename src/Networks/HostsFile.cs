namespace Berth.Networks;

/// <summary>What /etc/hosts of a container says. Pure: the caller writes the file.</summary>
public static class HostsFile
{
    /// <summary>A container with its own network namespace.</summary>
    /// <param name="addresses">The container's own addresses, empty with network none.</param>
    /// <param name="hostname">Host name, and after a dot the domain name if there is one.</param>
    /// <param name="extraHosts">--add-host: "name:address", where address may be host-gateway.</param>
    /// <param name="hostGateway">What host-gateway stands for; null: an entry that names it is refused.</param>
    public static string For(IReadOnlyList<string> addresses, string hostname, string domainname, IReadOnlyList<string> extraHosts, string? hostGateway) => throw new NotImplementedException();

    /// <summary>--network host: the host's own file, with --add-host entries below.</summary>
    public static string ForHostNetwork(string hostText, IReadOnlyList<string> extraHosts, string? hostGateway) => throw new NotImplementedException();
}
