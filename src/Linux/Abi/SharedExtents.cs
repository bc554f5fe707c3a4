using System.Runtime.InteropServices;

namespace Berth.Linux.Abi;

/// <summary>struct file_dedupe_range with one struct file_dedupe_range_info, of include/uapi/linux/fs.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct DedupeRange
{
    internal const nuint FIDEDUPERANGE = 0xc0189436;

    /// <summary>FILE_DEDUPE_RANGE_DIFFERS.</summary>
    internal const int Differs = 1;

    internal ulong SourceOffset;
    internal ulong SourceLength;
    internal ushort TargetCount;
    internal ushort Reserved1;
    internal uint Reserved2;

    internal long TargetFd;
    internal ulong TargetOffset;
    internal ulong BytesDeduped;
    internal int Status;
    internal uint Reserved3;
}
