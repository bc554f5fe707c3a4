using System.Runtime.InteropServices;
using Berth.Linux;
using Berth.Runtime.Capabilities;
using Berth.Runtime.Launching;
using Berth.Runtime.Seccomp;

namespace Berth.Kernel.Tests.Runtime;

/// <summary>The kernel takes our programs and does as they say. A filter holds for one thread here, which then makes the calls and ends.</summary>
public class SeccompFilterTests
{
    [Fact]
    public void The_default_profile_denies_what_it_should_and_lets_a_thread_live()
    {
        Assert.SkipUnless(RuntimeInformation.ProcessArchitecture == Architecture.X64, "syscall numbers of x64");
        var program = SeccompCompiler.Compile(OciSeccompProfile.From(SeccompProfiles.Default(Capability.Default)));
        var results = Under(program, "unshare", "keyctl", "mount", "clone3", "listns", "personality", "getpid", "getuid", "socket", "bpf", "perf_event_open", "io_uring_setup");
        Assert.Equal("unshare=EPERM keyctl=EPERM mount=EPERM clone3=ENOSYS listns=ENOSYS personality=ok getpid=ok getuid=ok socket=EAFNOSUPPORT bpf=EPERM perf_event_open=EPERM io_uring_setup=EPERM",
            string.Join(' ', results));
    }

    [Fact]
    public void A_profile_of_ones_own_can_deny_one_call_with_an_error_of_its_own()
    {
        Assert.SkipUnless(RuntimeInformation.ProcessArchitecture == Architecture.X64, "syscall numbers of x64");
        var program = SeccompCompiler.Compile(OciSeccompProfile.From(SeccompProfiles.Load(
            """{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["getuid"],"action":"SCMP_ACT_ERRNO","errnoRet":16}]}""", [])!));
        Assert.Equal("getuid=EBUSY getgid=ok", string.Join(' ', Under(program, "getuid", "getgid")));
    }

    private static List<string> Under(SeccompProgram program, params string[] names)
    {
        var results = new List<string>();
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                Install(program);
                foreach (var name in names)
                    results.Add($"{name}={(LibC.syscall((nint)SyscallTable.Of(SeccompArch.X64)[name]) >= 0 ? "ok" : LibC.LastErrno)}");
            }
            catch (Exception e)
            {
                failure = e;
            }
        });
        thread.Start();
        thread.Join();
        Assert.Null(failure);
        return results;
    }

    private static void Install(SeccompProgram program)
    {
        const int Prctl = 157, SetNoNewPrivs = 38, Seccomp = 317, SetModeFilter = 1;
        Assert.Equal(0, LibC.syscall(Prctl, SetNoNewPrivs, 1));
        // struct sock_fprog: a length and, aligned, a pointer.
        var code = Marshal.AllocHGlobal(program.Instructions.Length);
        var header = Marshal.AllocHGlobal(16);
        Marshal.Copy(program.Instructions.ToArray(), 0, code, program.Instructions.Length);
        Marshal.WriteInt64(header, 0, program.Length);
        Marshal.WriteIntPtr(header, 8, code);
        var result = LibC.syscall(Seccomp, SetModeFilter, (nint)program.Flags, header);
        Assert.True(result == 0, $"seccomp: {LibC.LastErrno}");
        Marshal.FreeHGlobal(header);
        Marshal.FreeHGlobal(code);
    }
}
