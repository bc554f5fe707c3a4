using System.Diagnostics;
using Berth.Linux;
using Berth.Linux.Abi;

namespace Berth.Kernel.Tests.Linux;

/// <summary>How somebody else's children end, where a pidfd does not tell.</summary>
public sealed class ProcessExitsTests
{
    [Fact]
    public async Task The_end_of_a_process_is_known_to_one_who_is_not_its_parent()
    {
        using var exits = ProcessExits.TryOpen();
        Assert.SkipWhen(exits is null, "the kernel tells no ends (CONFIG_PROC_EVENTS), or not in this namespace");
        // Its parent is the shell, which reaps it and goes on.
        using var shell = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", "exec 3<&0; sh -c 'read line <&3; exit 7' & echo $!; sh -c 'read line <&3; kill -9 $$' & echo $!; wait; read line"]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        int[] pids = [int.Parse((await shell.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken))!), int.Parse((await shell.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken))!)];
        var processes = pids.Select(PidFd.Open).ToList();
        foreach (var pid in pids) exits.Watch(pid);

        await shell.StandardInput.WriteAsync("a\nb\n");
        foreach (var process in processes) Assert.NotEqual(PollEvents.None, Descriptor.Poll(process, PollEvents.Readable, 10_000));

        Assert.True(exits.TryTake(pids[0], out var end));
        Assert.Equal(new ProcessEnd(7, null), end);
        Assert.True(exits.TryTake(pids[1], out end));
        Assert.Equal(new ProcessEnd(null, 9), end);
        Assert.True(exits.IsIdle);
        Assert.False(exits.TryTake(pids[0], out _));
        await shell.StandardInput.WriteAsync("c\n");
        await shell.WaitForExitAsync(TestContext.Current.CancellationToken);
        processes.ForEach(process => process.Dispose());
    }
}
