using Berth.Linux;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Launching;

/// <summary>The container's root file system, mounted nowhere yet.</summary>
internal static class OverlayMount
{
    /// <exception cref="LaunchException">A layer is missing, or the overlay can't be made.</exception>
    public static SafeFileHandle Create(RootFilesystem root)
    {
        try
        {
            return DetachedMount.Overlay(root.LowerDirectories, root.UpperDirectory, root.WorkDirectory, 0, root.IsVolatile);
        }
        catch (LinuxException exception)
        {
            throw new LaunchException(LaunchErrorKind.Mount, ErrorTexts.Create($"error preparing rootfs: {exception.Message}"), exception.Errno, inner: exception);
        }
    }
}
