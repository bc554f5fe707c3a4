namespace Berth.Engine;

/// <summary>The little languages of NetworkMode, PidMode, IpcMode, …: "host", "private", "container:x".</summary>
internal static class Modes
{
    private const string ContainerPrefix = "container:";

    public static bool IsContainer(string mode) => mode.StartsWith(ContainerPrefix, StringComparison.Ordinal);

    /// <summary>What follows "container:"; empty otherwise.</summary>
    public static string ContainerOf(string mode) => IsContainer(mode) ? mode[ContainerPrefix.Length..] : "";

    public static string OfContainer(string id) => ContainerPrefix + id;

    public static bool IsHost(string mode) => mode == "host";

    /// <summary>A network namespace of its own: neither the host's nor another container's.</summary>
    public static bool HasOwnNetwork(string mode) => !IsHost(mode) && !IsContainer(mode);

    /// <summary>Name of the network that a container's mode stands for.</summary>
    public static string NetworkName(string mode) => mode is "" or "default" ? "bridge" : mode;
}
