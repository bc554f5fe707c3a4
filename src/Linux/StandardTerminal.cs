using Berth.Linux.Abi;

namespace Berth.Linux;

/// <summary>The terminal on one of the process's own standard descriptors (0, 1, 2); ioctl_tty(2).</summary>
public static unsafe class StandardTerminal
{
    public static bool IsTerminal(int fd)
    {
        Termios settings;
        return LibC.ioctl(fd, Tty.TCGETS, (nint)(&settings)) == 0;
    }

    /// <summary>Rows and columns; false when there is no terminal or it does not know.</summary>
    public static bool TryGetSize(int fd, out int rows, out int columns)
    {
        Winsize size;
        var known = LibC.ioctl(fd, Tty.TIOCGWINSZ, (nint)(&size)) == 0;
        (rows, columns) = known ? (size.Rows, size.Columns) : (0, 0);
        return known && (rows > 0 || columns > 0);
    }

    /// <summary>
    /// Hands every key through as it is typed and every byte out as it is written (cfmakeraw(3)), until the result is
    /// disposed, which may be done more than once and from any thread.
    /// </summary>
    /// <exception cref="LinuxException">The descriptor is no terminal.</exception>
    public static IDisposable MakeRaw(int fd)
    {
        Termios settings;
        LibC.Check(LibC.ioctl(fd, Tty.TCGETS, (nint)(&settings)), "ioctl", $"{fd}, TCGETS");
        var before = settings;
        settings.InputFlags &= ~(Tty.IGNBRK | Tty.BRKINT | Tty.PARMRK | Tty.ISTRIP | Tty.INLCR | Tty.IGNCR | Tty.ICRNL | Tty.IXON);
        settings.OutputFlags &= ~Tty.OPOST;
        settings.LocalFlags &= ~(Tty.ECHO | Tty.ECHONL | Tty.ICANON | Tty.ISIG | Tty.IEXTEN);
        settings.ControlFlags = (settings.ControlFlags & ~(Tty.CSIZE | Tty.PARENB)) | Tty.CS8;
        settings.ControlCharacters[Tty.VMIN] = 1;
        settings.ControlCharacters[Tty.VTIME] = 0;
        LibC.Check(LibC.ioctl(fd, Tty.TCSETS, (nint)(&settings)), "ioctl", $"{fd}, TCSETS");
        return new Restore(fd, before);
    }

    /// <summary>Does not echo what is typed (a password) until the result is disposed; the line's end is.</summary>
    /// <exception cref="LinuxException">The descriptor is no terminal.</exception>
    public static IDisposable HideInput(int fd)
    {
        Termios settings;
        LibC.Check(LibC.ioctl(fd, Tty.TCGETS, (nint)(&settings)), "ioctl", $"{fd}, TCGETS");
        var before = settings;
        settings.LocalFlags &= ~Tty.ECHO;
        LibC.Check(LibC.ioctl(fd, Tty.TCSETS, (nint)(&settings)), "ioctl", $"{fd}, TCSETS");
        return new Restore(fd, before);
    }

    private sealed class Restore(int fd, Termios before) : IDisposable
    {
        private int _done;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _done, 1) != 0) return;
            var settings = before;
            LibC.ioctl(fd, Tty.TCSETS, (nint)(&settings));
        }
    }
}
