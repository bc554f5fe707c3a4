using Berth.Linux;

namespace Berth.Engine;

/// <summary>Deletes trees that are already gone for every reader.</summary>
internal static class TrashCan
{
    /// <summary>Never throws: what can't be deleted now (an immutable file) is tried again by the next start.</summary>
    public static bool Delete(string path)
    {
        try
        {
            FileTree.Remove(path);
            return true;
        }
        catch (LinuxException)
        {
            // Mounts that somebody made in a container's directory, most likely: not ours, and no reason to keep it.
        }
        try
        {
            UnmountBelow(path);
            FileTree.Remove(path);
            return true;
        }
        catch (LinuxException)
        {
            return false;
        }
    }

    /// <summary>Takes away, lazily, what is mounted at a directory of ours and below it.</summary>
    public static void UnmountBelow(string directory)
    {
        // The last mounted first.
        foreach (var mount in MountTable.Read().Where(m => MountTable.IsAtOrBelow(m.Point, directory)).Reverse()) HostMount.Unmount(mount.Point);
    }
}
