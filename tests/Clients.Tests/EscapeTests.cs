using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>What an image tries in order to get at the host, end to end: daemon, monitor and kernel as users have them. (tests/Kernel.Tests has the runtime's part.)</summary>
public sealed class EscapeTests(SharedDaemon shared) : IClassFixture<SharedDaemon>, IDisposable
{
    private readonly TestDaemon _daemon = shared.Daemon;
    private readonly TestDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    /// <summary>
    /// CVE-2019-5736: a command that is /proc/self/exe runs the engine's own executable inside the container, where the dynamic loader is the image's.
    /// The loader here keeps that executable open, becomes a shell, and writes to it.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_monitor_cannot_be_overwritten_by_a_container_that_runs_it(bool exec)
    {
        Assert.SkipUnless(RuntimeInformation.ProcessArchitecture == Architecture.X64, "the loader of this test is written for x64");
        var monitor = Repository.Executable("berth-monitor");
        var before = SHA256.HashData(File.ReadAllBytes(monitor));
        var loader = $"{Loader()}:/lib64/ld-linux-x86-64.so.2:ro";

        CommandResult result;
        if (exec)
        {
            var container = (await _daemon.Docker("run", "-d", "--privileged", "-v", loader, shared.Image, "sleep", "1000")).Line;
            result = await _daemon.Docker("exec", "--privileged", container, "/proc/self/exe").MayFail();
            await _daemon.Docker("rm", "-f", container);
        }
        else
        {
            result = await _daemon.Docker("run", "--rm", "--privileged", "-v", loader, shared.Image, "/proc/self/exe").MayFail();
        }

        Assert.StartsWith(Convert.ToHexStringLower(before), result.Output); // it had the right file open
        Assert.Contains("Read-only file system", result.Error);
        Assert.Equal(before, SHA256.HashData(File.ReadAllBytes(monitor)));
    }

    private string Loader()
    {
        const string Source = """
            .globl _start
            _start:
                mov $2, %eax            # open(exe, O_RDONLY)
                lea exe(%rip), %rdi
                xor %esi, %esi
                syscall
                mov %eax, %edi
                mov $33, %eax           # dup2(fd, 9)
                mov $9, %esi
                syscall
                xor %eax, %eax
                push %rax
                lea script(%rip), %rcx
                push %rcx
                lea option(%rip), %rcx
                push %rcx
                lea shell(%rip), %rdi
                push %rdi
                mov %rsp, %rsi
                xor %edx, %edx
                mov $59, %eax           # execve("/bin/sh", ["/bin/sh", "-c", script], NULL)
                syscall
                mov $99, %edi
                mov $60, %eax
                syscall
            exe:    .asciz "/proc/self/exe"
            shell:  .asciz "/bin/sh"
            option: .asciz "-c"
            script: .asciz "sha256sum < /proc/self/fd/9; mount -o remount,rw,bind /proc/self/fd/9 2>/dev/null; echo overwritten > /proc/self/fd/9"

            """;
        var source = Path.Combine(_directory.Path, "loader.s");
        File.WriteAllText(source, Source);
        foreach (var (program, arguments) in new[] { ("as", "-o loader.o loader.s"), ("ld", "-o loader loader.o") })
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { WorkingDirectory = _directory.Path })!;
            process.WaitForExit();
            Assert.Equal(0, process.ExitCode);
        }
        return Path.Combine(_directory.Path, "loader");
    }
}
