using Berth.Linux;
using Microsoft.Win32.SafeHandles;

namespace Berth.Networks;

/// <summary>The network namespace that stands for the host: the process's own, or one that a test made so that the machine's stays untouched.
/// Sockets belong to the namespace they were opened in, so only opening one (and /proc/sys/net) has to happen inside.</summary>
internal sealed class HostNamespace(SafeFileHandle? target)
{
    internal T Run<T>(Func<T> inside) => target is null ? inside() : NetworkNamespace.Run(target, inside);

    /// <summary>Moves the calling thread there for good: a thread of one's own.</summary>
    internal void Enter()
    {
        if (target is not null) NetworkNamespace.Enter(target);
    }

    internal void Run(Action inside) => Run(() =>
    {
        inside();
        return 0;
    });
}
