namespace Berth.Runtime.Init;

/// <summary>
/// The program behind <c>--init</c>: a static ELF of some hundred bytes that starts the command after <c>--</c>, forwards signals to it,
/// reaps orphans and exits with its status (128 + signal).
/// </summary>
public static class InitProgram
{
    /// <summary>File name below the exec root.</summary>
    public const string FileName = "berth-init";

    /// <summary>Where a container sees it, as Docker mounts it; argv is <c>/sbin/docker-init -- command</c>.</summary>
    public const string ContainerPath = "/sbin/docker-init";

    /// <summary>The ELF file for this machine's architecture.</summary>
    public static ReadOnlyMemory<byte> Image => throw new NotImplementedException();

    /// <summary>Writes <c>&lt;execRoot&gt;/berth-init</c> (0755, temporary name and rename) unless it is there with the same content; returns the path.</summary>
    public static string WriteTo(string execRoot) => throw new NotImplementedException();
}
