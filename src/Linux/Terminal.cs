using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>Pseudo terminals, by their master.</summary>
public static unsafe class Terminal
{
    private const uint TIOCSWINSZ = 0x5414;

    /// <summary>Sets the size; the foreground process group gets SIGWINCH if it is another one.</summary>
    public static void Resize(SafeFileHandle terminal, ushort columns, ushort rows)
    {
        using var fd = new DirectoryArgument(terminal);
        var size = new WinSize { Rows = rows, Columns = columns };
        LibC.Check(LibC.ioctl(fd.Fd, TIOCSWINSZ, (nint)(&size)), "ioctl", $"TIOCSWINSZ, {columns}x{rows}");
    }

    /// <summary>struct winsize of include/uapi/asm-generic/termios.h.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct WinSize
    {
        internal ushort Rows;
        internal ushort Columns;
        internal ushort XPixels;
        internal ushort YPixels;
    }
}
