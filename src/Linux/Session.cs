using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>What a process does to itself to become a daemon.</summary>
public static class Session
{
    /// <summary>A session of its own: the terminal's signals and the end of the caller's session do not reach it. Nothing happens to one that leads a group already.</summary>
    public static void Begin() => LibC.setsid();

    public static void SetFileModeMask(uint mask) => LibC.umask(mask);

    /// <summary>Standard input, output and error are these from now on; null leaves one as it is. They are inherited by children, unlike everything else.</summary>
    public static void SetStandard(SafeFileHandle? input, SafeFileHandle? output, SafeFileHandle? error)
    {
        Set(input, 0);
        Set(output, 1);
        Set(error, 2);
    }

    /// <summary>A line to standard output or error in one write, without System.Console, which would bring its own signal handling and half a megabyte. Errors are ignored.</summary>
    public static void WriteStandard(bool error, string text)
    {
        using var standard = new SafeFileHandle(error ? 2 : 1, ownsHandle: false);
        Descriptor.TryWrite(standard, Encoding.UTF8.GetBytes(text), out _);
    }

    private static void Set(SafeFileHandle? handle, int standard)
    {
        if (handle is null) return;
        using var fd = new DirectoryArgument(handle);
        LibC.Check(LibC.dup2(fd.Fd, standard), "dup2", $"{fd.Fd}, {standard}");
    }
}
