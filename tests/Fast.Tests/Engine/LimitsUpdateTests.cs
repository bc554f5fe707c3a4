using Berth.Api;
using Berth.Engine;
using Berth.Linux.Cgroups;

namespace Berth.Fast.Tests.Engine;

public class LimitsUpdateTests
{
    private static string V1(HostConfig before, HostConfig change) => CgroupWrite.Print(CgroupV1Plan.For(LimitsUpdate.For(change, LimitsUpdate.Merge(before, change)), before.Memory));

    private static string V2(HostConfig before, HostConfig change) => CgroupWrite.Print(CgroupV2Plan.For(LimitsUpdate.For(change, LimitsUpdate.Merge(before, change))));

    [Fact]
    public void Only_what_changes_is_written()
    {
        var before = new HostConfig { Memory = 64 << 20, MemorySwap = 128 << 20, NanoCpus = 500_000_000, CpusetCpus = "0", CpuShares = 512, PidsLimit = 7 };
        Assert.Equal("", V1(before, new HostConfig()));
        Assert.Equal("pids.max = max\n", V1(before, new HostConfig { PidsLimit = 0 }));
        Assert.Equal("cpu.weight = 100\n", V2(before, new HostConfig { CpuShares = 1024 }));
        Assert.Equal("cpuset.cpus = 0-1\n", V1(before, new HostConfig { CpusetCpus = "0-1" }));
    }

    [Fact]
    public void What_one_file_holds_together_is_written_together()
    {
        var quota = new HostConfig { CpuQuota = 20_000 };
        Assert.Equal("cpu.max = 20000 50000\n", V2(quota, new HostConfig { CpuPeriod = 50_000 }));
        var memory = new HostConfig { Memory = 64 << 20, MemorySwap = 128 << 20 };
        // v2 counts swap alone, and 100 MB of memory and swap are 36 MB of swap beside 64 of memory.
        Assert.Equal("memory.swap.max = 37748736\nmemory.max = 67108864\n", V2(memory, new HostConfig { MemorySwap = 100 << 20 }));
        Assert.Equal("memory.swap.max = 100663296\nmemory.max = 33554432\n", V2(memory, new HostConfig { Memory = 32 << 20 }));
    }

    [Theory]
    [InlineData(64, 128, 256, 512, "memory.memsw.limit_in_bytes = 536870912\nmemory.limit_in_bytes = 268435456\n")] // up: the outer limit first
    [InlineData(256, 512, 64, 128, "memory.limit_in_bytes = 67108864\nmemory.memsw.limit_in_bytes = 134217728\n")] // down: the inner one first
    public void Memory_is_never_above_memory_and_swap(long memory, long swap, long newMemory, long newSwap, string writes) =>
        Assert.Equal(writes, V1(new HostConfig { Memory = memory << 20, MemorySwap = swap << 20 }, new HostConfig { Memory = newMemory << 20, MemorySwap = newSwap << 20 }));

    [Fact]
    public void Changes_that_contradict_what_is_set_are_refused()
    {
        Refused("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set", new HostConfig { NanoCpus = 1 }, new HostConfig { CpuQuota = 5000 });
        Refused("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set", new HostConfig { NanoCpus = 1 }, new HostConfig { CpuPeriod = 5000 });
        Refused("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set", new HostConfig { CpuPeriod = 5000 }, new HostConfig { NanoCpus = 1 });
        Refused("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set", new HostConfig { CpuQuota = 5000 }, new HostConfig { NanoCpus = 1 });
        Refused("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time", new HostConfig { Memory = 5, MemorySwap = 10 }, new HostConfig { Memory = 11 });
        Refused("Restart policy cannot be updated because AutoRemove is enabled for the container", new HostConfig { AutoRemove = true },
            new HostConfig { RestartPolicy = new RestartPolicy { Name = "always" } });

        static void Refused(string message, HostConfig before, HostConfig change)
        {
            var e = Assert.Throws<EngineException>(() => LimitsUpdate.Merge(before, change));
            Assert.Equal((ErrorKind.Conflict, message), (e.Kind, e.Message));
        }
    }
}
