namespace Berth.Linux;

/// <summary>For descriptors that came from outside as bare numbers (systemd's).</summary>
public static class Descriptors
{
    private const int F_SETFD = 2; // include/uapi/linux/fcntl.h
    private const int FD_CLOEXEC = 1;

    /// <summary>Whether a program that this process starts has the descriptor, too.</summary>
    public static void SetCloseOnExec(int descriptor, bool close = true)
    {
        if (LibC.fcntl(descriptor, F_SETFD, close ? FD_CLOEXEC : 0) < 0)
            throw new LinuxException("fcntl", $"{descriptor}, F_SETFD, {(close ? "FD_CLOEXEC" : "0")}", LibC.LastErrno);
    }
}
