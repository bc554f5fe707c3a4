using System.Buffers;
using System.Text;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux.Cgroups;

/// <summary>
/// The few things done with cgroup files. One write(2) is one command to the kernel, so there is no buffering, no seeking and no
/// truncation here; <c>Try</c> methods return the error where the caller has a use for it.
/// </summary>
internal static unsafe class CgroupFile
{
    /// <summary>Most that is read of one file: cgroup.procs of a cgroup with four million processes (the kernel's PID_MAX_LIMIT).</summary>
    internal const int MaxBytes = 32 << 20;

    /// <summary>Longest value written: a page, which is where kernfs stops.</summary>
    private const int MaxValueBytes = 4096;

    internal static void Write(string path, string value)
    {
        var errno = TryWrite(path, value, out var call);
        if (errno != Errno.Success) throw Failure(call, path, value, errno);
    }

    internal static LinuxException Failure(string call, string path, string value, Errno errno) =>
        new(call, call == "write" ? $"\"{path}\", \"{value}\"" : $"\"{path}\", O_WRONLY", errno);

    /// <param name="call"><c>open</c> or <c>write</c>, whichever failed.</param>
    internal static Errno TryWrite(string path, string value, out string call)
    {
        call = "open";
        using var file = LibC.openat(At.FDCWD, path, (OpenFlags.WriteOnly | OpenFlags.CloseOnExec).ToKernel(), 0);
        if (file.IsInvalid) return LibC.LastErrno;
        call = "write";
        return TryWrite(file, value);
    }

    internal static Errno TryWrite(SafeFileHandle file, string value)
    {
        if (value.Length >= MaxValueBytes) return Errno.E2BIG;
        Span<byte> bytes = stackalloc byte[Encoding.UTF8.GetMaxByteCount(value.Length)];
        var length = Encoding.UTF8.GetBytes(value, bytes);
        using var fd = new DirectoryArgument(file);
        fixed (byte* p = bytes)
        {
            while (LibC.write(fd.Fd, p, (nuint)length) < 0)
                if (LibC.LastErrno is var errno && errno != Errno.EINTR)
                    return errno;
        }
        return Errno.Success;
    }

    internal static string Read(string path) =>
        TryRead(path, out var errno) ?? throw new LinuxException("read", $"\"{path}\"", errno);

    /// <summary>The whole file; null and the error otherwise (ENOENT: the cgroup is gone before we opened, ENODEV: since).</summary>
    internal static string? TryRead(string path, out Errno errno)
    {
        using var file = LibC.openat(At.FDCWD, path, (OpenFlags.ReadOnly | OpenFlags.CloseOnExec).ToKernel(), 0);
        errno = file.IsInvalid ? LibC.LastErrno : Errno.Success;
        return file.IsInvalid ? null : TryRead(file, out errno);
    }

    /// <summary>From the beginning, at whatever position the descriptor is.</summary>
    internal static string? TryRead(SafeFileHandle file, out Errno errno)
    {
        using var fd = new DirectoryArgument(file);
        var buffer = ArrayPool<byte>.Shared.Rent(4096);
        try
        {
            for (var length = 0; ;)
            {
                if (length == buffer.Length)
                {
                    if (length >= MaxBytes) throw new LinuxException("read", $"more than {MaxBytes} bytes", Errno.E2BIG);
                    var larger = ArrayPool<byte>.Shared.Rent(length * 2);
                    buffer.AsSpan(0, length).CopyTo(larger);
                    ArrayPool<byte>.Shared.Return(buffer);
                    buffer = larger;
                }
                nint count;
                fixed (byte* p = buffer) count = LibC.pread(fd.Fd, p + length, (nuint)(buffer.Length - length), length);
                if (count < 0)
                {
                    errno = LibC.LastErrno;
                    if (errno == Errno.EINTR) continue;
                    return null;
                }
                if (count == 0)
                {
                    errno = Errno.Success;
                    return Encoding.UTF8.GetString(buffer, 0, length);
                }
                length += (int)count;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>The beginning of a file, in one call: whatever a counter's file says, the kernel gives at once if there is room.</summary>
    /// <returns>Bytes read, or -1 and the error.</returns>
    internal static int ReadOnce(SafeFileHandle file, Span<byte> buffer, out Errno errno)
    {
        using var fd = new DirectoryArgument(file);
        nint count;
        fixed (byte* p = buffer)
        {
            do count = LibC.pread(fd.Fd, p, (nuint)buffer.Length, 0);
            while (count < 0 && LibC.LastErrno == Errno.EINTR);
        }
        errno = count < 0 ? LibC.LastErrno : Errno.Success;
        return (int)count;
    }

    /// <summary>The number behind a name in a file of <c>name number</c> lines (memory.events, memory.oom_control, cgroup.events).</summary>
    internal static long? Value(ReadOnlySpan<char> text, ReadOnlySpan<char> name)
    {
        foreach (var line in text.EnumerateLines())
            if (line.Length > name.Length && line.StartsWith(name) && line[name.Length] == ' ' && long.TryParse(line[(name.Length + 1)..], out var value))
                return value;
        return null;
    }

    internal static Errno TryMakeDirectory(string path) => LibC.mkdirat(At.FDCWD, path, 0x1ED /* 0755 */) < 0 ? LibC.LastErrno : Errno.Success;

    // On the directory itself, so that whoever comes after a crash knows it, too; root alone sees it.
    private const string MadeByUs = "trusted.berth";

    /// <summary>As <see cref="TryMakeDirectory"/>, for one that is shared and may be removed when nobody is in it any more: see <see cref="IsMadeByUs"/>.</summary>
    internal static unsafe Errno TryMakeParent(string path)
    {
        var errno = TryMakeDirectory(path);
        var mark = (byte)'1';
        // Without the mark it stays, which is no reason to fail.
        if (errno == Errno.Success) _ = LibC.lsetxattr(path, MadeByUs, &mark, 1, 0);
        return errno;
    }

    internal static unsafe bool IsMadeByUs(string path) => LibC.lgetxattr(path, MadeByUs, null, 0) >= 0;

    internal static Errno TryRemoveDirectory(string path) => LibC.unlinkat(At.FDCWD, path, At.REMOVEDIR) < 0 ? LibC.LastErrno : Errno.Success;

    /// <summary>Full paths of the cgroups directly below; empty when the directory is gone.</summary>
    internal static IReadOnlyList<string> Subdirectories(string directory)
    {
        try
        {
            return Directory.GetDirectories(directory);
        }
        catch (DirectoryNotFoundException)
        {
            return [];
        }
    }

    /// <summary>Process ids of a cgroup and all below it, each once.</summary>
    internal static void CollectProcesses(string directory, HashSet<int> processes)
    {
        // A process that moves between two of these while we read is found in neither or both; callers that need all of them freeze first or look again.
        var text = TryRead(directory + "/cgroup.procs", out var errno);
        // A threaded v2 cgroup has no list of processes of its own (EOPNOTSUPP); its threads name them.
        if (text is null && errno == Errno.EOPNOTSUPP) text = TryRead(directory + "/cgroup.threads", out _);
        foreach (var line in text.AsSpan().EnumerateLines())
            if (int.TryParse(line, out var pid) && pid > 0) // 0: a process of another pid namespace
                processes.Add(pid);
        foreach (var child in Subdirectories(directory)) CollectProcesses(child, processes);
    }
}
