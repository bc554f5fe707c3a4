using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux.Cgroups;

/// <summary>
/// Reads the counters of one cgroup, again and again: every file is opened once and read with pread(2), which the kernel answers afresh each time.
/// Not thread-safe. It does not keep the cgroup from being removed.
/// </summary>
public abstract class CgroupStatistics : IDisposable
{
    // memory.stat of v2 is the longest, about 1.5 KiB; io.stat has a line per block device.
    private const int FirstBytes = 4096, MaxBytes = 1 << 20;

    private byte[] _buffer = new byte[FirstBytes];
    private readonly List<SafeFileHandle> _files = [];

    /// <summary>Null: the cgroup is gone.</summary>
    public CgroupSample? Read()
    {
        try
        {
            return ReadCore();
        }
        catch (LinuxException e) when (e.Errno is Errno.ENODEV or Errno.ENOENT)
        {
            return null;
        }
    }

    private protected abstract CgroupSample ReadCore();

    /// <summary>A file to be read each time; null when it is not there, which is so for files of another kernel or of a controller that is not enabled.</summary>
    private protected StatisticsFile? Open(string path)
    {
        var handle = LibC.openat(At.FDCWD, path, (OpenFlags.ReadOnly | OpenFlags.CloseOnExec).ToKernel(), 0);
        if (handle.IsInvalid)
        {
            handle.Dispose();
            return null;
        }
        _files.Add(handle);
        return new StatisticsFile(path, handle);
    }

    /// <summary>The whole text; good until the next read.</summary>
    private protected ReadOnlySpan<byte> Text(StatisticsFile file)
    {
        while (true)
        {
            var length = CgroupFile.ReadOnce(file.Handle, _buffer, out var errno);
            if (length < 0) throw new LinuxException("read", $"\"{file.Path}\"", errno);
            if (length < _buffer.Length) return _buffer.AsSpan(0, length);
            if (_buffer.Length >= MaxBytes) throw new LinuxException("read", $"\"{file.Path}\"", Errno.E2BIG);
            _buffer = new byte[_buffer.Length * 4];
        }
    }

    private protected ulong Number(StatisticsFile? file) => file is null ? 0 : StatisticsText.Number(Text(file));

    public void Dispose()
    {
        foreach (var file in _files) file.Dispose();
        _files.Clear();
    }
}

internal sealed record StatisticsFile(string Path, SafeFileHandle Handle);

/// <summary>v1: cpuacct, cpu, memory, pids and blkio, each in its hierarchy.</summary>
internal sealed class CgroupV1Statistics : CgroupStatistics
{
    private const ulong NanosecondsPerTick = 10_000_000; // USER_HZ is 100

    private readonly StatisticsFile? _cpuStat, _throttling, _perCpu, _memoryStat, _memoryUsage, _memoryMax, _memoryFailures, _memoryLimit, _pids, _pidsMax, _throttleOps, _throttleBytes;

    // Of the CFQ and BFQ schedulers of old kernels; where they have no entry Docker looks at the throttle files, and so do we.
    private readonly (StatisticsFile? Sectors, StatisticsFile? Bytes, StatisticsFile? Operations, StatisticsFile? Queued, StatisticsFile? Service, StatisticsFile? Wait, StatisticsFile? Merged, StatisticsFile? Time) _scheduler;

    internal CgroupV1Statistics(Func<string, string?> directoryOf)
    {
        StatisticsFile? File(string controller, string name) => directoryOf(controller) is { } directory ? Open($"{directory}/{name}") : null;
        _cpuStat = File("cpuacct", "cpuacct.stat");
        _perCpu = File("cpuacct", "cpuacct.usage_percpu");
        _throttling = File("cpu", "cpu.stat");
        _memoryStat = File("memory", "memory.stat");
        _memoryUsage = File("memory", "memory.usage_in_bytes");
        _memoryMax = File("memory", "memory.max_usage_in_bytes");
        _memoryFailures = File("memory", "memory.failcnt");
        _memoryLimit = File("memory", "memory.limit_in_bytes");
        _pids = File("pids", "pids.current");
        _pidsMax = File("pids", "pids.max");
        _throttleOps = File("blkio", "blkio.throttle.io_serviced");
        _throttleBytes = File("blkio", "blkio.throttle.io_service_bytes");
        if (File("blkio", "blkio.io_serviced_recursive") is { } operations)
        {
            StatisticsFile? Blkio(string name) => File("blkio", "blkio." + name);
            _scheduler = (Blkio("sectors_recursive"), Blkio("io_service_bytes_recursive"), operations, Blkio("io_queued_recursive"), Blkio("io_service_time_recursive"),
                Blkio("io_wait_time_recursive"), Blkio("io_merged_recursive"), Blkio("time_recursive"));
        }
    }

    private protected override CgroupSample ReadCore()
    {
        CgroupCpuUsage? cpu = null;
        if (_cpuStat is not null && _perCpu is not null)
        {
            var perCpu = StatisticsText.Numbers(Text(_perCpu));
            var total = 0UL;
            foreach (var one in perCpu) total += one;
            var stat = Text(_cpuStat);
            var (user, kernel) = (StatisticsText.Value(stat, "user"u8) * NanosecondsPerTick, StatisticsText.Value(stat, "system"u8) * NanosecondsPerTick);
            var throttling = _throttling is null ? default : Text(_throttling);
            cpu = new CgroupCpuUsage(total, user, kernel, perCpu,
                StatisticsText.Value(throttling, "nr_periods"u8), StatisticsText.Value(throttling, "nr_throttled"u8), StatisticsText.Value(throttling, "throttled_time"u8));
        }
        var memory = _memoryStat is null ? null
            : new CgroupMemoryUsage(Number(_memoryUsage), Number(_memoryMax), _memoryLimit is null ? ulong.MaxValue : Number(_memoryLimit), Number(_memoryFailures), StatisticsText.Table(Text(_memoryStat)));
        return new CgroupSample { Cpu = cpu, Memory = memory, Pids = _pids is null ? null : new CgroupPids(Number(_pids), Limit(_pidsMax)), Io = ReadIo() };
    }

    private ulong? Limit(StatisticsFile? file) => file is not null && Number(file) is > 0 and < ulong.MaxValue and var limit ? limit : null;

    private CgroupIo? ReadIo()
    {
        if (_throttleBytes is null && _scheduler.Operations is null) return null;
        IReadOnlyList<CgroupIoEntry> Entries(StatisticsFile? file) => file is null ? [] : StatisticsText.IoEntries(Text(file));
        if (_scheduler.Operations is not null)
        {
            var io = new CgroupIo
            {
                Sectors = Entries(_scheduler.Sectors), Bytes = Entries(_scheduler.Bytes), Operations = Entries(_scheduler.Operations), Queued = Entries(_scheduler.Queued),
                ServiceTime = Entries(_scheduler.Service), WaitTime = Entries(_scheduler.Wait), Merged = Entries(_scheduler.Merged), Time = Entries(_scheduler.Time),
            };
            if (io.Sectors.Count + io.Bytes.Count + io.Operations.Count + io.Queued.Count + io.ServiceTime.Count + io.WaitTime.Count + io.Merged.Count + io.Time.Count > 0) return io;
        }
        return new CgroupIo { Bytes = Entries(_throttleBytes), Operations = Entries(_throttleOps) };
    }
}

/// <summary>v2: everything in one directory.</summary>
internal sealed class CgroupV2Statistics : CgroupStatistics
{
    private readonly StatisticsFile? _cpu, _memoryStat, _memoryUsage, _memoryLimit, _memoryEvents, _pids, _pidsMax, _io;

    internal CgroupV2Statistics(string directory)
    {
        _cpu = Open(directory + "/cpu.stat");
        _memoryStat = Open(directory + "/memory.stat");
        _memoryUsage = Open(directory + "/memory.current");
        _memoryLimit = Open(directory + "/memory.max");
        _memoryEvents = Open(directory + "/memory.events");
        _pids = Open(directory + "/pids.current");
        _pidsMax = Open(directory + "/pids.max");
        _io = Open(directory + "/io.stat");
    }

    private protected override CgroupSample ReadCore()
    {
        CgroupCpuUsage? cpu = null;
        if (_cpu is not null)
        {
            var text = Text(_cpu);
            cpu = new CgroupCpuUsage(StatisticsText.Value(text, "usage_usec"u8) * 1000, StatisticsText.Value(text, "user_usec"u8) * 1000, StatisticsText.Value(text, "system_usec"u8) * 1000, [],
                StatisticsText.Value(text, "nr_periods"u8), StatisticsText.Value(text, "nr_throttled"u8), StatisticsText.Value(text, "throttled_usec"u8) * 1000);
        }
        var failures = _memoryEvents is null ? 0 : StatisticsText.Value(Text(_memoryEvents), "oom"u8);
        return new CgroupSample
        {
            Cpu = cpu,
            Memory = _memoryStat is null ? null
                : new CgroupMemoryUsage(Number(_memoryUsage), 0, _memoryLimit is null ? ulong.MaxValue : Number(_memoryLimit), failures, StatisticsText.Table(Text(_memoryStat))),
            // "max" is told as it is, which is how Docker tells it on v2.
            Pids = _pids is null ? null : new CgroupPids(Number(_pids), _pidsMax is null ? null : Number(_pidsMax)),
            Io = _io is null ? null : new CgroupIo { Bytes = StatisticsText.UnifiedIo(Text(_io)) },
        };
    }
}
