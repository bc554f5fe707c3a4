using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>
/// Network namespaces by descriptor, without a name in any file system: the kernel removes one, and every interface in it, when the
/// last descriptor and the last process in it are gone. setns(2) and unshare(2) change the calling thread only, so each call here
/// is carried out by a thread that does nothing else; the pool's threads never leave the engine's namespace.
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
        var failure = Traveller.Send(() => result = body());
        if (failure is not null) System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        return result;
    }

    /// <summary>
    /// A thread that goes elsewhere and comes home again. One is kept for the next call: starting a thread makes its starter spin until it runs, which on a busy machine
    /// costs more than what it is to do.
    /// </summary>
    private sealed class Traveller
    {
        private static readonly Lock Gate = new();
        private static Traveller? resting;

        private readonly object door = new();
        private Errand? next;

        private sealed class Errand(Action task)
        {
            public readonly Action Task = task;
            public Exception? Failure;
            public bool IsDone;
        }

        /// <summary>Runs it on a thread of ours and waits; what it threw, or null.</summary>
        public static Exception? Send(Action task)
        {
            Traveller? traveller;
            lock (Gate) (traveller, resting) = (resting, null);
            if (traveller is null)
            {
                traveller = new Traveller();
                new Thread(traveller.Live, maxStackSize: 256 * 1024) { IsBackground = true, Name = "berth-netns" }.Start();
            }
            var errand = new Errand(task);
            lock (traveller.door)
            {
                traveller.next = errand;
                Monitor.Pulse(traveller.door);
            }
            lock (errand)
                while (!errand.IsDone) Monitor.Wait(errand);
            return errand.Failure;
        }

        private void Live()
        {
            SafeFileHandle? home = null;
            bool stays;
            do
            {
                Errand errand;
                lock (door)
                {
                    while (next is null) Monitor.Wait(door);
                    (errand, next) = (next, null);
                }
                try
                {
                    home ??= FileAt.Open(null, "/proc/self/ns/net", OpenFlags.ReadOnly); // the first thread's, which never leaves
                    errand.Task();
                }
                catch (Exception e)
                {
                    errand.Failure = e;
                }
                stays = home is not null && TryRest(home);
                lock (errand)
                {
                    errand.IsDone = true;
                    Monitor.Pulse(errand);
                }
            }
            while (stays);
            home?.Dispose();
        }

        // Before the caller is told that it is done, so that its next call finds a thread. One that can't come home, or is one too many, ends.
        private bool TryRest(SafeFileHandle home)
        {
            if (LibC.setns((int)home.DangerousGetHandle(), CLONE_NEWNET) != 0) return false;
            lock (Gate)
            {
                if (resting is not null) return false;
                resting = this;
                return true;
            }
        }
    }
}
