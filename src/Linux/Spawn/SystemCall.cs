using System.Runtime.InteropServices;

namespace Berth.Linux.Spawn;

/// <summary>A system call by name, with its numbers (arch/x86/entry/syscalls/syscall_64.tbl; include/uapi/asm-generic/unistd.h for arm64). Since 424 both tables count alike.</summary>
public readonly record struct SystemCall
{
    private SystemCall(string name, int x64, int arm64) => (Name, Number) = (name, RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? arm64 : x64);

    public string Name { get; }

    internal int Number { get; }

    public static readonly SystemCall Write = new("write", 1, 64);
    public static readonly SystemCall Close = new("close", 3, 57);
    public static readonly SystemCall RtSigaction = new("rt_sigaction", 13, 134);
    public static readonly SystemCall RtSigprocmask = new("rt_sigprocmask", 14, 135);
    public static readonly SystemCall Ioctl = new("ioctl", 16, 29);
    public static readonly SystemCall Execve = new("execve", 59, 221);
    public static readonly SystemCall Fchdir = new("fchdir", 81, 50);
    public static readonly SystemCall Fchmod = new("fchmod", 91, 52);
    public static readonly SystemCall Fchown = new("fchown", 93, 55);
    public static readonly SystemCall Umask = new("umask", 95, 166);
    public static readonly SystemCall Setsid = new("setsid", 112, 157);
    public static readonly SystemCall Setgroups = new("setgroups", 116, 159);
    public static readonly SystemCall Setresuid = new("setresuid", 117, 147);
    public static readonly SystemCall Setresgid = new("setresgid", 119, 149);
    public static readonly SystemCall Capset = new("capset", 126, 91);
    public static readonly SystemCall PivotRoot = new("pivot_root", 155, 41);
    public static readonly SystemCall Prctl = new("prctl", 157, 167);
    public static readonly SystemCall Chroot = new("chroot", 161, 51);
    public static readonly SystemCall Mount = new("mount", 165, 40);
    public static readonly SystemCall Umount2 = new("umount2", 166, 39);
    public static readonly SystemCall Sethostname = new("sethostname", 170, 161);
    public static readonly SystemCall Setdomainname = new("setdomainname", 171, 162);
    public static readonly SystemCall ExitGroup = new("exit_group", 231, 94);
    public static readonly SystemCall Keyctl = new("keyctl", 250, 219);
    public static readonly SystemCall Openat = new("openat", 257, 56);
    public static readonly SystemCall Mkdirat = new("mkdirat", 258, 34);
    public static readonly SystemCall Mknodat = new("mknodat", 259, 33);
    public static readonly SystemCall Fchownat = new("fchownat", 260, 54);
    public static readonly SystemCall Symlinkat = new("symlinkat", 266, 36);
    public static readonly SystemCall Faccessat = new("faccessat", 269, 48);
    public static readonly SystemCall Unshare = new("unshare", 272, 97);
    public static readonly SystemCall Dup3 = new("dup3", 292, 24);
    public static readonly SystemCall Prlimit64 = new("prlimit64", 302, 261);
    public static readonly SystemCall Setns = new("setns", 308, 268);
    public static readonly SystemCall Seccomp = new("seccomp", 317, 277);
    public static readonly SystemCall OpenTree = new("open_tree", 428, 428);
    public static readonly SystemCall MoveMount = new("move_mount", 429, 429);
    public static readonly SystemCall Fsopen = new("fsopen", 430, 430);
    public static readonly SystemCall Fsconfig = new("fsconfig", 431, 431);
    public static readonly SystemCall Fsmount = new("fsmount", 432, 432);
    public static readonly SystemCall CloseRange = new("close_range", 436, 436);
    public static readonly SystemCall Openat2 = new("openat2", 437, 437);
    public static readonly SystemCall Faccessat2 = new("faccessat2", 439, 439);
    public static readonly SystemCall MountSetattr = new("mount_setattr", 442, 442);

    public override string ToString() => Name;
}
