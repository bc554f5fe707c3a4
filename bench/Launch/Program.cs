// Times Launcher.Start of `true` with Docker's mounts, cgroups and capabilities, alone: no daemon, no monitor, no client.
//   launch [starts] [cgroup parent]
using System.Diagnostics;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Linux.Cgroups;
using Berth.Runtime;
using Berth.Runtime.Spec;

var starts = args.Length > 0 ? int.Parse(args[0]) : 500;
var parent = args.Length > 1 ? args[1] : "/berth-bench";
var directory = Directory.CreateTempSubdirectory("berth-bench-").FullName;
var cgroups = CgroupHost.Detect();
try
{
    var lower = Path.Combine(directory, "lower");
    foreach (var name in (string[])["bin", "etc", "proc", "sys", "dev"]) Directory.CreateDirectory(Path.Combine(lower, name));
    File.Copy("/bin/busybox", Path.Combine(lower, "bin/busybox"));
    File.CreateSymbolicLink(Path.Combine(lower, "bin/true"), "busybox");
    foreach (var name in (string[])["hosts", "hostname", "resolv.conf"])
    {
        File.WriteAllText(Path.Combine(directory, name), "");
        File.WriteAllText(Path.Combine(lower, "etc", name), "");
    }
    var spec = OciJson.ParseSpec(File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "docker-config.json")));
    spec = spec with
    {
        Mounts = [.. spec.Mounts!.Select(m => m.Type == "bind" ? m with { Source = Path.Combine(directory, Path.GetFileName(m.Destination)) } : m)],
        Process = spec.Process! with { Args = ["true"], Terminal = false },
    };
    if (Environment.GetEnvironmentVariable("BENCH_NO_SECCOMP") is not null) spec = spec with { Linux = spec.Linux! with { Seccomp = null } };

    using var input = FileAt.Open(null, "/dev/null", OpenFlags.ReadOnly);
    using var output = FileAt.Open(null, "/dev/null", OpenFlags.WriteOnly);
    var stdio = new ProcessStdio(input, output, output);
    var started = new List<double>();
    var ended = new List<double>();
    var whole = new List<double>();
    for (var i = -20; i < starts; i++)
    {
        var upper = Path.Combine(directory, $"{i}", "upper");
        var work = Path.Combine(directory, $"{i}", "work");
        Directory.CreateDirectory(upper);
        Directory.CreateDirectory(work);
        var begin = Stopwatch.GetTimestamp();
        var cgroup = cgroups.Create($"{parent}/{i}", CgroupLimits.None);
        var first = Stopwatch.GetTimestamp();
        var process = Launcher.Start(spec, new RootFilesystem([lower], upper, work), stdio, null, cgroup);
        var running = Stopwatch.GetTimestamp();
        Descriptor.Poll(process.PidFd, PollEvents.Readable, -1);
        var exited = Stopwatch.GetTimestamp();
        if (PidFd.TryReap(process.PidFd) is not { Code: 0 } end) throw new InvalidOperationException("true failed");
        process.Dispose();
        cgroup.Remove();
        var gone = Stopwatch.GetTimestamp();
        if (i < 0) continue;
        started.Add(Stopwatch.GetElapsedTime(first, running).TotalMicroseconds);
        ended.Add(Stopwatch.GetElapsedTime(first, exited).TotalMicroseconds);
        whole.Add(Stopwatch.GetElapsedTime(begin, gone).TotalMicroseconds);
    }
    Print("Launcher.Start", started);
    Print("start to exit", ended);
    Print("with making and removing of cgroup and mounts", whole);
}
finally
{
    cgroups.RemoveEmpty(parent);
    Directory.Delete(directory, recursive: true);
}

static void Print(string name, List<double> microseconds)
{
    microseconds.Sort();
    Console.WriteLine($"{name,-48} median {microseconds[microseconds.Count / 2],7:F0} us   p90 {microseconds[microseconds.Count * 9 / 10],7:F0} us   min {microseconds[0],7:F0} us");
}
