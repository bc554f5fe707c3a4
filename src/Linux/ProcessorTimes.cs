using System.Buffers.Text;
using Berth.Linux.Abi;
using Berth.Linux.Cgroups;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>The machine's processor time, from one descriptor of /proc/stat. Not thread-safe.</summary>
public sealed class ProcessorTimes : IDisposable
{
    private const ulong NanosecondsPerTick = 10_000_000; // USER_HZ is 100
    private const int CountedFields = 7; // user to softirq; what guests used is in user already

    // The lines of the processors come first; 2,000 of them.
    private readonly byte[] _buffer = new byte[256 * 1024];
    private readonly SafeFileHandle _file;

    public ProcessorTimes()
    {
        _file = LibC.openat(At.FDCWD, "/proc/stat", (OpenFlags.ReadOnly | OpenFlags.CloseOnExec).ToKernel(), 0);
        if (_file.IsInvalid) throw new LinuxException("open", "\"/proc/stat\"", LibC.LastErrno);
    }

    /// <returns>Nanoseconds of all processors together, idle ones included, and how many are online.</returns>
    public (ulong TotalNanoseconds, uint Processors) Read()
    {
        var length = CgroupFile.ReadOnce(_file, _buffer, out var errno);
        return length < 0 ? throw new LinuxException("read", "\"/proc/stat\"", errno) : Parse(_buffer.AsSpan(0, length));
    }

    internal static (ulong TotalNanoseconds, uint Processors) Parse(ReadOnlySpan<byte> text)
    {
        ulong ticks = 0;
        uint processors = 0;
        while (text.StartsWith("cpu"u8))
        {
            var end = text.IndexOf((byte)'\n');
            var line = (end < 0 ? text : text[..end])[3..];
            text = end < 0 ? default : text[(end + 1)..];
            if (line.Length > 0 && line[0] is >= (byte)'0' and <= (byte)'9') processors++;
            if (line.Length == 0 || line[0] != ' ') continue;
            for (var i = 0; i < CountedFields && Utf8Parser.TryParse(line = line.TrimStart((byte)' '), out ulong value, out var used); i++)
            {
                ticks += value;
                line = line[used..];
            }
        }
        return (ticks * NanosecondsPerTick, processors);
    }

    public void Dispose() => _file.Dispose();
}
