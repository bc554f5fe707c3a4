using Microsoft.Win32.SafeHandles;

namespace Berth.Networks;

/// <summary>Files below /proc/sys/net show the namespace of the thread that opens them.</summary>
internal static class Sysctl
{
    /// <summary>False: the kernel has no such setting, or does not let us.</summary>
    internal static bool TryWrite(string path, string value)
    {
        using var handle = TryOpen(path);
        if (handle is null) return false;
        try
        {
            RandomAccess.Write(handle, System.Text.Encoding.ASCII.GetBytes(value), 0);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    internal static SafeFileHandle? TryOpen(string path)
    {
        try
        {
            return File.OpenHandle(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
