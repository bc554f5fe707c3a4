using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>syncfs(2).</summary>
public static class FileSystemSync
{
    /// <summary>Returns when everything written to the file system that holds the directory is on the disk.</summary>
    public static void Sync(string directory)
    {
        using var handle = FileAt.Open(null, directory, Abi.OpenFlags.ReadOnly | Abi.OpenFlags.Directory);
        using var fd = new DirectoryArgument(handle);
        LibC.Check(LibC.syncfs(fd.Fd), "syncfs", $"\"{directory}\"");
    }
}
