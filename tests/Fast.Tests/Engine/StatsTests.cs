using System.Text.Json;
using Berth.Api;
using Berth.Engine;
using Berth.Linux;
using Berth.Linux.Cgroups;

namespace Berth.Fast.Tests.Engine;

/// <summary>Samples as Docker words them; v1 is also compared on the running kernel by the clients' tests, v2 only here where a machine has v1.</summary>
public class StatsTests
{
    private const ulong Machine = 1000;
    private static readonly InterfaceCounters Eth0 = new("eth0", 1, 2, 3, 4, 5, 6, 7, 8);

    private static ContainerStats Read(CgroupSample sample, CgroupVersion version, params InterfaceCounters[] interfaces) =>
        StatsReading.For(sample, version, interfaces, (9000, 2), Machine, DateTimeOffset.UnixEpoch);

    private static readonly CgroupSample Sample = new()
    {
        Cpu = new CgroupCpuUsage(30, 20, 10, [], 1, 2, 3),
        Memory = new CgroupMemoryUsage(400, 0, ulong.MaxValue, 1, new Dictionary<string, ulong> { ["anon"] = 7, ["unknown_to_docker"] = 1 }),
        Pids = new CgroupPids(4, ulong.MaxValue),
        Io = new CgroupIo { Bytes = [new CgroupIoEntry(8, 0, "read", 10), new CgroupIoEntry(8, 0, "write", 20)] },
    };

    [Fact]
    public void A_sample_of_v2_reads_as_Dockers()
    {
        var json = JsonSerializer.Serialize(Read(Sample, CgroupVersion.V2, Eth0), ApiJson.Wire.ContainerStats);
        Assert.StartsWith("""{"read":"1970-01-01T00:00:00Z","preread":"0001-01-01T00:00:00Z","pids_stats":{"current":4,"limit":18446744073709551615},"blkio_stats":{"io_service_bytes_recursive":[{"major":8,"minor":0,"op":"read","value":10},{"major":8,"minor":0,"op":"write","value":20}],"io_serviced_recursive":null,"io_queue_recursive":null,"io_service_time_recursive":null,"io_wait_time_recursive":null,"io_merged_recursive":null,"io_time_recursive":null,"sectors_recursive":null},"num_procs":0,"storage_stats":{},"cpu_stats":{"cpu_usage":{"total_usage":30,"usage_in_kernelmode":10,"usage_in_usermode":20},"system_cpu_usage":9000,"online_cpus":2,"throttling_data":{"periods":1,"throttled_periods":2,"throttled_time":3}},"precpu_stats":{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},"memory_stats":{"usage":400,"stats":{"active_anon":0,""", json);
        Assert.EndsWith(""","workingset_refault":0},"failcnt":1,"limit":1000},"networks":{"eth0":{"rx_bytes":1,"rx_packets":2,"rx_errors":3,"rx_dropped":4,"tx_bytes":5,"tx_packets":6,"tx_errors":7,"tx_dropped":8}}}""", json);
        Assert.DoesNotContain("unknown_to_docker", json);
        Assert.Contains("\"anon\":7", json);
    }

    [Fact]
    public void Empty_lists_of_v1_are_lists_and_no_limit_is_the_machines_memory()
    {
        var stats = Read(Sample with { Io = new CgroupIo(), Pids = new CgroupPids(4, null) }, CgroupVersion.V1);
        Assert.Empty(stats.Blkio.Sectors!);
        Assert.Equal((0UL, Machine), (stats.Pids.Limit, stats.Memory.Limit));
        Assert.Null(stats.Networks);
    }

    [Fact]
    public void A_limit_below_the_machines_memory_is_told() =>
        Assert.Equal(64UL, Read(Sample with { Memory = Sample.Memory! with { LimitBytes = 64 } }, CgroupVersion.V2).Memory.Limit);
}
