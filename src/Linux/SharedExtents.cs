using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>Two files with the same bytes may lie in the same blocks, on file systems that can share them (xfs, btrfs, …).</summary>
public static unsafe class SharedExtents
{
    /// <summary>
    /// FIDEDUPERANGE of ioctl_fideduperange(2): the kernel compares the ranges, with both files locked, and when they are equal gives the second file the blocks of the first. Times and
    /// owners stay, readers notice nothing. The files need to be open for reading only, which suffices for root.
    /// </summary>
    /// <param name="source">Whose blocks stay.</param>
    /// <param name="target">Whose blocks are given back.</param>
    /// <param name="offset">In both files; a multiple of the file system's block.</param>
    /// <param name="length">A multiple of the block, or up to the end of both files.</param>
    /// <param name="shared">How much of it was equal and is shared now; less than asked for when the file system does less at once, 0 when the ranges differ.</param>
    public static Errno Share(SafeFileHandle source, SafeFileHandle target, long offset, long length, out long shared)
    {
        shared = 0;
        using var from = new DirectoryArgument(source);
        using var to = new DirectoryArgument(target);
        var range = new DedupeRange
        {
            SourceOffset = (ulong)offset, SourceLength = (ulong)length, TargetCount = 1,
            TargetFd = to.Fd, TargetOffset = (ulong)offset,
        };
        if (LibC.ioctl(from.Fd, DedupeRange.FIDEDUPERANGE, (nint)(&range)) < 0) return LibC.LastErrno;
        if (range.Status < 0) return (Errno)(-range.Status);
        if (range.Status != DedupeRange.Differs) shared = (long)range.BytesDeduped;
        return Errno.Success;
    }
}
