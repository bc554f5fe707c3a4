using Berth.Networks;
using Berth.Networks.Dns;
using Berth.Runtime.Monitor;

namespace Berth.Engine;

/// <summary>A container's /etc/resolv.conf, from the host's file, the engine's defaults and what was asked for it.</summary>
internal static class NameFiles
{
    /// <summary>On networks of the user's own.</summary>
    /// <exception cref="NetworkException">InvalidArgument.</exception>
    public static (string Text, ResolverSettings Settings) For(ContainerRecord record, EngineOptions options)
    {
        // The host's own file even where it names a server on the host's loopback alone: that one is asked from the host.
        const string path = ResolvConf.DefaultHostPath;
        return ResolvConf.ForNameService(Read(path), path, Dns(record, options), Search(record, options), Options(record, options));
    }

    /// <param name="networks">Null: not its own.</param>
    /// <exception cref="NetworkException">InvalidArgument.</exception>
    public static string WithoutNames(ContainerRecord record, SandboxState? networks, EngineOptions options)
    {
        var ownNetwork = !Modes.IsHost(record.HostConfig.NetworkMode);
        var path = ResolvConf.HostPath(HostFacts.TryRead, ownNetwork);
        return ResolvConf.For(Read(path), path, Dns(record, options), Search(record, options), Options(record, options), ownNetwork, networks?.Endpoints.Any(e => e.IPv6Address.Length > 0) == true);
    }

    private static string Read(string path) => HostFacts.TryRead(path) is { } text ? text + "\n" : "";

    private static IReadOnlyList<string> Dns(ContainerRecord record, EngineOptions options) => record.HostConfig.Dns is { Length: > 0 } dns ? dns : options.Dns;

    private static IReadOnlyList<string> Search(ContainerRecord record, EngineOptions options) => record.HostConfig.DnsSearch is { Length: > 0 } search ? search : options.DnsSearch;

    private static IReadOnlyList<string> Options(ContainerRecord record, EngineOptions options) => record.HostConfig.DnsOptions is { Length: > 0 } given ? given : options.DnsOptions;
}

// The name service of a container: docs/dns.md.
public sealed partial class ContainerService
{
    private static bool HasNames(SandboxState? networks) => networks?.Endpoints.Any(e => e.DnsNames.Count > 0) == true;

    /// <summary>The monitor keeps the sockets, so that queries wait for the next daemon rather than fail.</summary>
    internal async Task KeepNameSocketsAsync(string id)
    {
        try
        {
            using var sockets = _core.Names.SocketsOf(id);
            if (sockets is not null) await _core.Monitor.KeepAsync(new ProcessKey(id), [sockets.Udp, sockets.Tcp], CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e) when (e is MonitorException or Linux.LinuxException or ObjectDisposedException)
        {
            // It has ended, or the monitor is an older one. The next daemon opens them anew.
            _core.Logger.NameSocketsNotKept(id, e.Message);
        }
    }

    /// <summary>A running container has come to a network with names: its resolv.conf names the service from now on, unless it has been changed inside.</summary>
    private void UseNames(Container container, ContainerRecord record)
    {
        var path = Path.Combine(container.Directory, "resolv.conf");
        try
        {
            if (File.ReadAllText(path) != File.ReadAllText(path + ".made")) return;
            // In place: the container has the file mounted.
            File.WriteAllText(path, NameFiles.For(record, _core.Options).Text);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NetworkException)
        {
            _core.Logger.CleanupFailed(container.Id, "writing /etc/resolv.conf", e);
        }
    }
}
