namespace Berth.Networks;

/// <summary>What /etc/resolv.conf of a container says. Pure: the caller reads the host's file and writes the container's.</summary>
public static class ResolvConf
{
    /// <summary>The file to start from: /etc/resolv.conf, or the one systemd-resolved keeps for those who can't reach its stub on 127.0.0.53.</summary>
    public static string HostPath(Func<string, string?> readAllText) => throw new NotImplementedException();

    /// <param name="hostText">Content of the host's file; empty when it has none.</param>
    /// <param name="hostPath">Its path, for the trailing comment.</param>
    /// <param name="dns">--dns; replaces the host's servers when not empty.</param>
    /// <param name="search">--dns-search; "." alone means no search list.</param>
    /// <param name="options">--dns-option.</param>
    /// <param name="ownNamespace">False for --network host: the host's loopback servers are then reachable and are kept.</param>
    public static string For(string hostText, string hostPath, IReadOnlyList<string> dns, IReadOnlyList<string> search, IReadOnlyList<string> options, bool ownNamespace) => throw new NotImplementedException();
}
