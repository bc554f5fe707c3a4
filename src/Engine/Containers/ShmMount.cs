using Berth.Linux;

namespace Berth.Engine;

/// <summary>
/// The /dev/shm of a container with --ipc=shareable: others join it by its path on the host, so it is the one thing mounted there. Below the bundle, unmounted
/// with the container's end.
/// </summary>
internal sealed record ShmMount(string Path)
{
    public static string PathIn(string bundle) => global::System.IO.Path.Combine(bundle, "shm");

    public static ShmMount Mount(string bundle, long sizeBytes)
    {
        var path = PathIn(bundle);
        Unmount(bundle);
        Directory.CreateDirectory(path);
        HostMount.Tmpfs(path, sizeBytes, permissions: 0b001_111_111_111);
        return new ShmMount(path);
    }

    public void Unmount() => HostMount.Unmount(Path);

    public static void Unmount(string bundle) => HostMount.Unmount(PathIn(bundle));
}
