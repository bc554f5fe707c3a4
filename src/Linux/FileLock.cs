using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>
/// A file that one process holds, flock(2): the kernel lets go of it when that process ends, however it ends. The file itself stays: removing it would let another process
/// lock a new one beside the holder's.
/// </summary>
public sealed class FileLock : IDisposable
{
    private const int LOCK_EX = 2, LOCK_NB = 4;

    private FileLock(SafeFileHandle file) => File = file;

    /// <summary>Open for reading and writing, for whatever is to be told to those who find it held.</summary>
    public SafeFileHandle File { get; }

    /// <summary>Null when another process, or another holder in this one, has it. The file is made when there is none.</summary>
    public static FileLock? TryTake(string path)
    {
        var file = FileAt.Open(null, path, OpenFlags.ReadWrite | OpenFlags.Create, 0x1B6); // 0666 less the process's mask
        if (LibC.flock(file, LOCK_EX | LOCK_NB) == 0) return new FileLock(file);
        var errno = LibC.LastErrno; // before Dispose
        file.Dispose();
        return errno == Errno.EAGAIN ? null : throw new LinuxException("flock", $"\"{path}\", LOCK_EX | LOCK_NB", errno);
    }

    public void Dispose() => File.Dispose();
}
