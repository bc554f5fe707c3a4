namespace Berth.Linux;

/// <summary>A system call failed. The message reads like strace: <c>mount("overlay", "/x", MS_NODEV) = ENODEV (No such device)</c>.</summary>
public sealed class LinuxException : IOException
{
    /// <param name="call">Name of the system call as in its man page.</param>
    /// <param name="arguments">The arguments worth reading, as strace would print them, without the parentheses.</param>
    public LinuxException(string call, string arguments, Errno errno)
        : base($"{call}({arguments}) = {errno} ({errno.Describe()})")
    {
        Call = call;
        Arguments = arguments;
        Errno = errno;
    }

    public string Call { get; }

    public string Arguments { get; }

    public Errno Errno { get; }
}
