using Berth.Linux.Cgroups;
using Berth.Testing;

namespace Berth.Fast.Tests.Linux;

public class CgroupPlanTests
{
    private static readonly DeviceRule[] SomeDevices =
    [
        DeviceRule.DenyAll,
        new(true, DeviceKind.Character, 1, 3, DeviceAccess.All),
        new(true, DeviceKind.Block, 8, null, DeviceAccess.Read),
        .. DeviceList.RuntimeDefaults,
    ];

    private static readonly CgroupLimits Everything = new()
    {
        MemoryLimitBytes = 100 << 20, MemorySwapBytes = 200 << 20, MemoryReservationBytes = 50 << 20, MemorySwappiness = 10, DisableOomKiller = true, KernelMemoryTcpBytes = 1 << 20,
        CpuShares = 512, CpuQuotaMicroseconds = 150_000, CpuPeriodMicroseconds = 100_000, CpuBurstMicroseconds = 1000, CpuIdle = 0,
        CpuRealtimeRuntimeMicroseconds = 950, CpuRealtimePeriodMicroseconds = 1000,
        CpusetCpus = "0-1", CpusetMems = "0", PidsLimit = 100,
        BlkioWeight = 300, BlkioLeafWeight = 20, BlkioWeightDevices = [new(8, 0, 500, 30)],
        ThrottleReadBps = [new(8, 0, 1 << 20)], ThrottleWriteBps = [new(8, 16, 2 << 20)], ThrottleReadIops = [new(8, 0, 100)], ThrottleWriteIops = [new(8, 0, 0)],
        HugePageLimits = new Dictionary<string, ulong> { ["2MB"] = 4 << 20, ["1GB"] = 0 },
        Devices = SomeDevices,
    };

    [Fact]
    public void No_limits_write_nothing()
    {
        Assert.Empty(CgroupV1Plan.For(CgroupLimits.None));
        Assert.Empty(CgroupV2Plan.For(CgroupLimits.None));
        Assert.Empty(CgroupV1Plan.For(new() { MemoryLimitBytes = 0, MemorySwapBytes = 0, CpuShares = 0, CpusetCpus = "", PidsLimit = 0, BlkioWeight = 0 }));
    }

    [Fact]
    public void All_limits_on_v1()
    {
        var (expected, actual) = Golden.Read("CgroupV1Plan.txt", CgroupWrite.Print(CgroupV1Plan.For(Everything)));
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void All_limits_on_v2()
    {
        var (expected, actual) = Golden.Read("CgroupV2Plan.txt", CgroupWrite.Print(CgroupV2Plan.For(Everything with
        {
            Unified = new Dictionary<string, string> { ["memory.high"] = "80000000", ["cpu.uclamp.min"] = "10" },
        })));
        Assert.Equal(expected, actual);
    }

    [Theory]
    [InlineData(100L, 200L, long.MaxValue, "limit memsw")] // a new cgroup: memory first, it may not be above memory+swap
    [InlineData(100L, -1L, long.MaxValue, "memsw limit")]
    [InlineData(300L, 600L, 200L, "memsw limit")] // raised: room first
    [InlineData(100L, 200L, 300L, "limit memsw")] // lowered
    [InlineData(-1L, 0L, 300L, "memsw limit")] // unlimited memory takes swap along
    [InlineData(100L, 0L, 300L, "limit")]
    public void Memory_and_swap_are_written_in_the_order_the_kernel_takes(long memory, long swap, long current, string order)
    {
        var plan = CgroupV1Plan.For(new() { MemoryLimitBytes = memory, MemorySwapBytes = swap }, current);
        Assert.Equal(order, string.Join(' ', plan.Select(w => w.File == "memory.limit_in_bytes" ? "limit" : "memsw")));
    }

    [Theory]
    [InlineData(100L, 300L, "200")]
    [InlineData(100L, 100L, "0")] // no swap at all
    [InlineData(100L, -1L, "max")]
    [InlineData(-1L, 0L, "max")]
    public void Swap_is_counted_alone_on_v2(long memory, long swap, string written) =>
        Assert.Equal(written, CgroupV2Plan.For(new() { MemoryLimitBytes = memory, MemorySwapBytes = swap }).Single(w => w.File == "memory.swap.max").Value);

    [Theory]
    [InlineData(0L, 100L, "unable to set swap limit without memory limit")]
    [InlineData(200L, 100L, "memory+swap limit should be >= memory limit")]
    public void Swap_that_makes_no_sense_is_refused_on_v2(long memory, long swap, string message) =>
        Assert.Equal(message, Assert.Throws<CgroupLimitException>(() => CgroupV2Plan.For(new() { MemoryLimitBytes = memory, MemorySwapBytes = swap })).Message);

    [Theory]
    [InlineData(1UL, "the minimum allowed cpu-shares is 2")]
    [InlineData(262145UL, "the maximum allowed cpu-shares is 262144")]
    public void Shares_the_kernel_would_clamp_are_refused_on_v1(ulong shares, string message) =>
        Assert.Equal(message, Assert.Throws<CgroupLimitException>(() => CgroupV1Plan.For(new() { CpuShares = shares })).Message);

    [Theory]
    [InlineData(2UL, 1UL)]
    [InlineData(1024UL, 100UL)] // default to default
    [InlineData(512UL, 59UL)]
    [InlineData(262144UL, 10000UL)]
    public void Shares_become_weights(ulong shares, ulong weight) => Assert.Equal(weight, CgroupV2Plan.CpuWeight(shares));

    [Theory]
    [InlineData(10, 1UL)]
    [InlineData(100, 910UL)]
    [InlineData(1000, 10000UL)]
    public void Block_weights_become_io_weights(ushort blkio, ulong io) => Assert.Equal(io, CgroupV2Plan.IoWeight(blkio));

    [Fact]
    public void A_privileged_container_needs_no_device_writes() => Assert.Empty(DeviceList.ForV1([DeviceRule.DenyAll, DeviceRule.AllowAll, .. DeviceList.RuntimeDefaults]));

    [Theory]
    [InlineData("/berth", "1f", "/berth/1f")]
    [InlineData("a/b", "1f", "/a/b/1f")]
    [InlineData("/", "1f", "/1f")]
    [InlineData("", "1f", "/1f")]
    [InlineData("../../x/./y//z/..", "1f", "/x/y/1f")]
    [InlineData("foo.slice", "1f", "/foo.slice/1f")]
    public void A_cgroup_parent_cannot_leave_the_root(string parent, string id, string path) => Assert.Equal(path, CgroupPath.Of(parent, id));

    [Theory]
    [InlineData("0-2,5", true, 4)]
    [InlineData("", true, 0)]
    [InlineData("0\n", true, 1)]
    [InlineData("3-1", false, 0)]
    [InlineData("1,", false, 0)]
    [InlineData("a", false, 0)]
    [InlineData("-1", false, 0)]
    [InlineData("0-9999999", false, 0)]
    public void A_list_of_processors_parses_or_not(string text, bool parses, int count)
    {
        Assert.Equal(parses, CpuList.TryParse(text, out var list));
        if (parses) Assert.Equal(count, list!.Numbers.Count);
    }

    [Fact]
    public void Hierarchies_are_found_on_a_hybrid_machine()
    {
        const string Mountinfo = """
            30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
            31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
            32 30 0:28 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
            36 30 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
            37 30 0:33 / /sys/fs/cgroup/my\040memory rw,nosuid - cgroup cgroup rw,memory
            99 30 0:33 /x /var/lib/elsewhere/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
            """;
        const string Self = "7:memory:/user\n3:cpu,cpuacct:/\n1:name=systemd:/init.scope\n0::/\n";
        var found = CgroupMounts.WithUnifiedControllers(CgroupMounts.Parse(Mountinfo, Self), path => path == "/sys/fs/cgroup/unified/cgroup.controllers" ? "hugetlb misc\n" : null);
        Assert.Equal(
            ["1 systemd name=systemd /sys/fs/cgroup/systemd", "3 cpu,cpuacct cpu,cpuacct /sys/fs/cgroup/cpu,cpuacct", "7 my memory memory /sys/fs/cgroup/my memory", "0 unified hugetlb,misc /sys/fs/cgroup/unified"],
            found.Select(h => $"{h.Id} {h.Name} {string.Join(',', h.Controllers)} {h.MountPoint}"));
        Assert.Equal(CgroupVersion.V1, CgroupHost.Of(found).Version);
    }

    [Fact]
    public void One_unified_mount_is_v2()
    {
        var found = CgroupMounts.Parse("29 23 0:25 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n", "0::/user.slice\n");
        Assert.Equal(CgroupVersion.V2, CgroupHost.Of(found).Version);
        Assert.Equal("/sys/fs/cgroup/berth/x", found[0].DirectoryOf("/berth/x"));
    }
}
