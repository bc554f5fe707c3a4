using System.Diagnostics;
using Berth.Linux;
using Berth.Linux.Cgroups;

namespace Berth.Kernel.Tests.Linux;

/// <summary>What every backend must do, on the real kernel, in a cgroup of its own.</summary>
public abstract class CgroupContract : IDisposable
{
    private readonly string _parent = $"/berth-test-{Guid.NewGuid():N}";
    private readonly List<Process> _processes = [];
    private readonly CgroupHost? _host;

    protected CgroupContract(Func<IReadOnlyList<CgroupHierarchy>, IReadOnlyList<CgroupHierarchy>> choose)
    {
        var hierarchies = choose(CgroupHost.Detect().Hierarchies);
        if (hierarchies.Count > 0) _host = CgroupHost.Of(hierarchies);
    }

    protected CgroupHost Host
    {
        get
        {
            Assert.SkipWhen(_host is null, "this machine has no such cgroup hierarchy");
            return _host;
        }
    }

    protected string NewPath() => $"{_parent}/{Guid.NewGuid():N}";

    protected ICgroup New(CgroupLimits? limits = null) => Host.Create(NewPath(), limits ?? CgroupLimits.None);

    /// <summary>A shell that first moves itself in, as a container's first process does.</summary>
    protected Process Start(ICgroup cgroup, string script)
    {
        using var entry = cgroup.OpenEntry();
        var enter = entry.Tasks.Select(t => $"echo 0 > '{t.Path}'").ToList();
        if (entry.Directory is not null) enter.Add($"echo 0 > '{Host.Hierarchies.Single(h => h.IsUnified).DirectoryOf(cgroup.Path)}/cgroup.procs'");
        var info = new ProcessStartInfo("/bin/sh", ["-c", string.Join(" && ", [.. enter, "echo in"]) + " || exit; " + script]) { RedirectStandardOutput = true, RedirectStandardInput = true };
        var process = Process.Start(info)!;
        _processes.Add(process);
        Assert.Equal("in", process.StandardOutput.ReadLine());
        return process;
    }

    public void Dispose()
    {
        GC.SuppressFinalize(this);
        if (_host is null) return;
        foreach (var name in _host.Children(_parent)) _host.Open($"{_parent}/{name}")?.Remove();
        _host.RemoveEmpty(_parent);
        foreach (var process in _processes) process.Dispose();
        foreach (var hierarchy in _host.Hierarchies) Assert.False(Directory.Exists(hierarchy.DirectoryOf(_parent)), "left behind: " + hierarchy.DirectoryOf(_parent));
    }

    [Fact]
    public void A_removed_cgroup_is_gone_from_every_hierarchy()
    {
        var cgroup = New();
        Assert.All(Host.Hierarchies, h => Assert.True(Directory.Exists(h.DirectoryOf(cgroup.Path))));
        cgroup.Remove();
        Assert.All(Host.Hierarchies, h => Assert.False(Directory.Exists(h.DirectoryOf(cgroup.Path))));
        cgroup.Remove();
        Assert.Null(Host.Open(cgroup.Path));
    }

    [Fact]
    public void A_process_that_entered_is_listed_and_its_children_too()
    {
        var cgroup = New();
        var shell = Start(cgroup, "sleep 1000 & echo $!; wait");
        var child = int.Parse(shell.StandardOutput.ReadLine()!);
        Assert.Equal([shell.Id, child], cgroup.Processes().Order());
    }

    [Fact]
    public void Processes_in_a_cgroup_made_below_are_listed_killed_and_removed_with_it()
    {
        var cgroup = New();
        foreach (var hierarchy in Host.Hierarchies) Directory.CreateDirectory(hierarchy.DirectoryOf(cgroup.Path) + "/sub/sub");
        if (Host.Hierarchies.Any(h => h.Controllers.Contains("cpuset") && !h.IsUnified))
        {
            var cpuset = Host.Hierarchies.Single(h => h.Controllers.Contains("cpuset") && !h.IsUnified).DirectoryOf(cgroup.Path);
            foreach (var directory in new[] { "/sub", "/sub/sub" })
                foreach (var file in new[] { "/cpuset.cpus", "/cpuset.mems" })
                    File.WriteAllText(cpuset + directory + file, File.ReadAllText(cpuset + file));
        }
        var sub = Host.Open(cgroup.Path + "/sub/sub")!;
        var shell = Start(sub, "read x");
        Assert.Equal([shell.Id], cgroup.Processes());
        cgroup.Remove();
        shell.WaitForExit();
        Assert.Equal(128 + 9, shell.ExitCode);
    }

    [Fact]
    public async Task A_frozen_process_stands_still_until_thawed()
    {
        var cgroup = New();
        var shell = Start(cgroup, "while read x; do echo $x; done");
        cgroup.Freeze();
        Assert.True(cgroup.IsFrozen);
        await shell.StandardInput.WriteLineAsync("hello");
        var answer = shell.StandardOutput.ReadLineAsync();
        // Frozen it cannot take it from the pipe; the state of a process that could would change within this time.
        await Assert.ThrowsAsync<TimeoutException>(() => answer.WaitAsync(TimeSpan.FromMilliseconds(50)));
        cgroup.Thaw();
        Assert.False(cgroup.IsFrozen);
        Assert.Equal("hello", await answer.WaitAsync(TimeSpan.FromSeconds(10)));
    }

    [Fact]
    public void A_frozen_fork_bomb_is_killed_to_the_last_process()
    {
        var cgroup = New();
        var shell = Start(cgroup, "f() { sleep 1000 & }; i=0; while [ $i -lt 50 ]; do f; i=$((i+1)); done; echo ready; while :; do (:) & wait $!; done");
        Assert.Equal("ready", shell.StandardOutput.ReadLine());
        cgroup.Freeze();
        cgroup.Kill();
        shell.WaitForExit();
        cgroup.Remove();
        Assert.Empty(cgroup.Processes());
    }

    [Fact]
    public void Removing_a_cgroup_in_use_kills_what_is_in_it()
    {
        var cgroup = New();
        var shell = Start(cgroup, "trap '' TERM INT HUP; while :; do sleep 1000; done");
        cgroup.Remove();
        shell.WaitForExit();
        Assert.Equal(128 + 9, shell.ExitCode);
    }

    [Fact]
    public void A_left_over_cgroup_is_made_anew_but_not_one_in_use()
    {
        var cgroup = New();
        var again = Host.Create(cgroup.Path, CgroupLimits.None);
        var shell = Start(again, "read x");
        var error = Assert.Throws<LinuxException>(() => Host.Create(cgroup.Path, CgroupLimits.None));
        Assert.Equal(Errno.EBUSY, error.Errno);
        Assert.Equal([shell.Id], again.Processes());
    }

    [Fact]
    public void Children_of_a_parent_are_found_again()
    {
        var (a, b) = (New(), New());
        Assert.Equal(new[] { a.Path, b.Path }.Order(StringComparer.Ordinal), Host.Children(_parent).Select(name => $"{_parent}/{name}"));
        Assert.NotNull(Host.Open(a.Path));
    }

    [Fact]
    public void A_nested_parent_is_made_and_removed_when_empty()
    {
        var cgroup = Host.Create(CgroupPath.Of(_parent + "/deep/er", "id"), CgroupLimits.None);
        Start(cgroup, "read x");
        cgroup.Remove();
        Host.RemoveEmpty(_parent + "/deep/er");
        Assert.All(Host.Hierarchies, h => Assert.False(Directory.Exists(h.DirectoryOf(_parent))));
    }
}

/// <summary>All hierarchies of the machine, as the engine uses them.</summary>
public sealed class MachineCgroupTests() : CgroupContract(all => all)
{
    private string FileOf(ICgroup cgroup, string v1Controller, string file)
    {
        var hierarchy = Host.Hierarchies.FirstOrDefault(h => h.Controllers.Contains(v1Controller));
        Assert.SkipWhen(hierarchy is null || !File.Exists($"{hierarchy.DirectoryOf(cgroup.Path)}/{file}"), $"no {file} here");
        return File.ReadAllText($"{hierarchy.DirectoryOf(cgroup.Path)}/{file}").Trim();
    }

    [Fact]
    public void Limits_are_in_the_kernel_files()
    {
        var cgroup = New(new()
        {
            MemoryLimitBytes = 64 << 20, MemorySwapBytes = 128 << 20, MemoryReservationBytes = 32 << 20, CpuShares = 512, CpuQuotaMicroseconds = 50_000,
            CpuPeriodMicroseconds = 100_000, PidsLimit = 77, CpusetCpus = "0", CpusetMems = "0",
        });
        Assert.SkipUnless(Host.Version == CgroupVersion.V1, "a v1 machine");
        Assert.Equal($"{64 << 20}", FileOf(cgroup, "memory", "memory.limit_in_bytes"));
        Assert.Equal($"{32 << 20}", FileOf(cgroup, "memory", "memory.soft_limit_in_bytes"));
        Assert.Equal("512", FileOf(cgroup, "cpu", "cpu.shares"));
        Assert.Equal("50000", FileOf(cgroup, "cpu", "cpu.cfs_quota_us"));
        Assert.Equal("77", FileOf(cgroup, "pids", "pids.max"));
        Assert.Equal("0", FileOf(cgroup, "cpuset", "cpuset.cpus"));
        Assert.Equal($"{128 << 20}", FileOf(cgroup, "memory", "memory.memsw.limit_in_bytes"));

        cgroup.Update(new() { MemoryLimitBytes = 256 << 20, MemorySwapBytes = -1, CpuPeriodMicroseconds = 20_000, CpuQuotaMicroseconds = 20_000, PidsLimit = -1 });
        Assert.Equal($"{256 << 20}", FileOf(cgroup, "memory", "memory.limit_in_bytes"));
        Assert.Equal("20000", FileOf(cgroup, "cpu", "cpu.cfs_period_us"));
        Assert.Equal("max", FileOf(cgroup, "pids", "pids.max"));
        Assert.Equal("512", FileOf(cgroup, "cpu", "cpu.shares"));
    }

    [Fact]
    public void Forks_beyond_the_pids_limit_fail()
    {
        Assert.SkipUnless(Host.HasController("pids"), "no pids controller");
        var shell = Start(New(new() { PidsLimit = 3 }), "(sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait) 2>/dev/null || echo refused");
        Assert.Equal("refused", shell.StandardOutput.ReadLine());
    }

    [Fact]
    public void A_process_over_its_memory_is_killed_and_counted()
    {
        Assert.SkipUnless(Host.HasController("memory"), "no memory controller");
        var cgroup = New(new() { MemoryLimitBytes = 20 << 20, MemorySwapBytes = 20 << 20 });
        Assert.Equal(0, cgroup.OomKillCount());
        var shell = Start(cgroup, "head -c 100m /dev/zero 2>/dev/null | tail -c 90m | wc -c");
        shell.WaitForExit();
        Assert.True(cgroup.OomKillCount() > 0);
    }

    [Fact]
    public void Only_listed_devices_can_be_opened()
    {
        Assert.SkipUnless(Host.Features.Devices, "no device controller");
        var cgroup = New(new() { Devices = [DeviceRule.DenyAll, .. DeviceList.RuntimeDefaults] });
        var node = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName()); // kmsg, which root can open anywhere else
        var shell = Start(cgroup, $"head -c 1 /dev/zero >/dev/null && echo zero; mknod {node} c 1 11 && echo made; (: < {node}) 2>/dev/null || echo refused; rm {node}");
        Assert.Equal(["zero", "made", "refused"], shell.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public void A_limit_that_fails_leaves_nothing_behind()
    {
        Assert.SkipUnless(Host.Features.Cpuset, "no cpuset controller");
        var path = NewPath();
        var error = Assert.Throws<CgroupLimitException>(() => Host.Create(path, new() { CpusetCpus = "4000" }));
        Assert.Contains("failed to write \"4000\": write /", error.Message);
        Assert.Null(Host.Open(path));
    }
}

/// <summary>As on a machine without a v2 mount.</summary>
public sealed class PureV1CgroupTests() : CgroupContract(all => [.. all.Where(h => !h.IsUnified)]);

/// <summary>The v2 hierarchy alone; beside v1 it has few or no controllers, but freeze, kill and devices work.</summary>
public sealed class V2CgroupTests() : CgroupContract(all => [.. all.Where(h => h.IsUnified)])
{
    [Fact]
    public void Only_listed_devices_can_be_opened()
    {
        var cgroup = New(new() { Devices = [DeviceRule.DenyAll, .. DeviceList.RuntimeDefaults] });
        var node = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName()); // kmsg, which root can open anywhere else
        var shell = Start(cgroup, $"head -c 1 /dev/zero >/dev/null && echo zero; mknod {node} c 1 11 && echo made; (: < {node}) 2>/dev/null || echo refused; read x; (: < {node}) && echo opened; rm {node}");
        Assert.Equal("zero made refused", string.Join(' ', shell.StandardOutput.ReadLine(), shell.StandardOutput.ReadLine(), shell.StandardOutput.ReadLine()));
        cgroup.Update(new() { Devices = [DeviceRule.DenyAll, DeviceRule.AllowAll] });
        shell.StandardInput.WriteLine();
        Assert.Equal("opened", shell.StandardOutput.ReadLine());
    }

    [Fact]
    public void A_limit_without_its_controller_is_refused_by_name()
    {
        Assert.SkipWhen(Host.HasController("memory"), "the memory controller is here");
        Assert.Contains("memory controller is not available", Assert.Throws<CgroupLimitException>(() => New(new() { MemoryLimitBytes = 1 << 30 })).Message);
    }
}
