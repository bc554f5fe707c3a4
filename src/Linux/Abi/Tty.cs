using System.Runtime.InteropServices;

namespace Berth.Linux.Abi;

/// <summary>From include/uapi/asm-generic/{ioctls,termbits}.h (x64 and arm64 agree).</summary>
internal static class Tty
{
    internal const nuint TCGETS = 0x5401;
    internal const nuint TCSETS = 0x5402;
    internal const nuint TIOCGWINSZ = 0x5413;

    internal const uint IGNBRK = 0x1, BRKINT = 0x2, PARMRK = 0x8, ISTRIP = 0x20, INLCR = 0x40, IGNCR = 0x80, ICRNL = 0x100, IXON = 0x400;
    internal const uint OPOST = 0x1;
    internal const uint ISIG = 0x1, ICANON = 0x2, ECHO = 0x8, ECHONL = 0x40, IEXTEN = 0x8000;
    internal const uint CSIZE = 0x30, CS8 = 0x30, PARENB = 0x100;
    internal const int VTIME = 5, VMIN = 6;
}

/// <summary>struct termios of the kernel (not of libc), 36 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Termios
{
    internal uint InputFlags, OutputFlags, ControlFlags, LocalFlags;
    internal byte Line;
    internal fixed byte ControlCharacters[19];
}

/// <summary>struct winsize.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Winsize
{
    internal ushort Rows, Columns, XPixels, YPixels;
}
