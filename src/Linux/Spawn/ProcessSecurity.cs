using System.Runtime.CompilerServices;
using System.Text;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux.Spawn;

/// <summary>What this process does so that containers can't reach it.</summary>
public static unsafe class ProcessSecurity
{
    /// <summary>
    /// No process without CAP_SYS_PTRACE can look into this one or a child that still shares its memory: not at its memory, descriptors or executable (man 2 ptrace,
    /// "Ptrace access mode checking").
    /// </summary>
    public static void ForbidInspection()
    {
        const int PR_SET_DUMPABLE = 4;
        LibC.Check(LibC.prctl(PR_SET_DUMPABLE, 0), "prctl", "PR_SET_DUMPABLE, 0");
    }

    /// <summary>
    /// Executes this very program again from a read-only mount of its file that is nowhere in the file system, unless it runs from one already. From then on nobody who gets hold of
    /// /proc/PID/exe, as an image with a link to /proc/self/exe does, can open it for writing (CVE-2019-5736). Call it first in Main: everything starts over, with the same arguments.
    /// Does nothing under the JIT, whose host finds its assemblies by the path of the executable.
    /// </summary>
    /// <exception cref="LinuxException">The mount or the execve failed; the program goes on unprotected if the caller wants it to.</exception>
    public static void RunFromReadOnlyImage(string name)
    {
        if (RuntimeFeature.IsDynamicCodeSupported) return;
        using (var self = FileAt.Open(null, "/proc/self/exe", OpenFlags.Path))
        {
            if (IsReadOnly(self))
            {
                SetName(name); // else it is the number of a descriptor
                return;
            }
        }
        using var image = OpenReadOnlyImage("/proc/self/exe");
        Execute(image, File.ReadAllBytes("/proc/self/cmdline"), File.ReadAllBytes("/proc/self/environ"));
    }

    /// <summary>A read-only view of an executable, to be executed by descriptor.</summary>
    public static SafeFileHandle OpenReadOnlyImage(string path)
    {
        var image = DetachedMount.Bind(null, path, recursive: false);
        try
        {
            DetachedMount.SetAttributes(image, MountAttributes.ReadOnly, 0, MountPropagation.Private, recursive: false);
            return image;
        }
        catch
        {
            image.Dispose();
            throw;
        }
    }

    private static bool IsReadOnly(SafeFileHandle file)
    {
        const int FlagsWord = 10; // struct statfs: f_flags is the 11th long
        const long ST_RDONLY = 1;
        var status = stackalloc long[15];
        using var fd = new DirectoryArgument(file);
        LibC.Check(LibC.fstatfs(fd.Fd, status), "fstatfs", "/proc/self/exe");
        return (status[FlagsWord] & ST_RDONLY) != 0;
    }

    private static void SetName(string name)
    {
        const int PR_SET_NAME = 15;
        fixed (byte* p = Encoding.UTF8.GetBytes(name + "\0")) LibC.prctl(PR_SET_NAME, (nuint)p);
    }

    /// <param name="arguments">Each ended by a zero, as in /proc/self/cmdline.</param>
    private static void Execute(SafeFileHandle image, byte[] arguments, byte[] environment)
    {
        // 322 on x64, 281 on arm64; the descriptor is close-on-exec, the kernel holds the file by then.
        var number = System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.Arm64 ? 281 : 322;
        using var fd = new DirectoryArgument(image);
        fixed (byte* a = arguments, e = environment, empty = "\0"u8)
        {
            var argv = Pointers(arguments, a);
            var envp = Pointers(environment, e);
            fixed (nint* ap = argv, ep = envp) LibC.syscall(number, fd.Fd, (nint)empty, (nint)ap, (nint)ep, At.EMPTY_PATH);
        }
        throw new LinuxException("execveat", "/proc/self/exe, read-only", LibC.LastErrno);
    }

    private static nint[] Pointers(byte[] texts, byte* start)
    {
        var pointers = new List<nint>();
        for (var i = 0; i < texts.Length; i = Array.IndexOf(texts, (byte)0, i) + 1)
        {
            pointers.Add((nint)(start + i));
            if (Array.IndexOf(texts, (byte)0, i) < 0) break;
        }
        pointers.Add(0);
        return [.. pointers];
    }
}
