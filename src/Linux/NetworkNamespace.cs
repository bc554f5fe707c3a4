using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>
/// Network namespaces by descriptor, without a name in any file system: the kernel removes one, and every interface in it, when the
/// last descriptor and the last process in it are gone. setns(2) and unshare(2) change the calling thread only, so each call here
/// has a thread of its own that ends with it; the pool's threads never leave the engine's namespace.
/// </summary>
public static class NetworkNamespace
{
    private const int CLONE_NEWNET = (int)CloneFlags.NewNet;
    private const string ThreadNamespace = "/proc/thread-self/ns/net";

    /// <summary>The calling thread's.</summary>
    public static SafeFileHandle Current() => FileAt.Open(null, ThreadNamespace, OpenFlags.ReadOnly);

    /// <summary>That of a process; ENOENT when there is no such process.</summary>
    public static SafeFileHandle OfProcess(int pid) => FileAt.Open(null, $"/proc/{pid}/ns/net", OpenFlags.ReadOnly);

    /// <summary>Makes a namespace and runs <paramref name="inside"/> within it. Its loopback is down, as the kernel makes it.</summary>
    public static SafeFileHandle Create(Action inside) => OnThread(() =>
    {
        LibC.Check(LibC.unshare(CLONE_NEWNET), "unshare", "CLONE_NEWNET");
        var handle = Current();
        try
        {
            inside();
        }
        catch
        {
            handle.Dispose();
            throw;
        }
        return handle;
    });

    /// <summary>Runs <paramref name="inside"/> within a namespace. No await in there: it would go on elsewhere.</summary>
    public static T Run<T>(SafeFileHandle target, Func<T> inside) => OnThread(() =>
    {
        Enter(target);
        return inside();
    });

    /// <summary>Moves the calling thread for good. Only for a thread of one's own that ends by itself, never one of the pool's.</summary>
    public static void Enter(SafeFileHandle target)
    {
        var held = false;
        target.DangerousAddRef(ref held);
        try
        {
            LibC.Check(LibC.setns((int)target.DangerousGetHandle(), CLONE_NEWNET), "setns", "CLONE_NEWNET");
        }
        finally
        {
            target.DangerousRelease();
        }
    }

    private static T OnThread<T>(Func<T> body)
    {
        T result = default!;
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                result = body();
            }
            catch (Exception e)
            {
                failure = e;
            }
        }, maxStackSize: 256 * 1024) { IsBackground = true, Name = "berth-netns" };
        thread.Start();
        thread.Join();
        if (failure is not null) System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        return result;
    }
}
