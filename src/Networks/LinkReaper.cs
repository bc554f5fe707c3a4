using System.Threading.Channels;
using Berth.Linux;
using Microsoft.Extensions.Logging;

namespace Berth.Networks;

/// <summary>
/// Removes host ends of veth pairs in the background: the kernel takes 30-40 ms for one (RCU grace periods), most of it asleep. Usually
/// the container's namespace is dying too and takes the pair along, which then costs nothing here; the request makes it certain.
/// </summary>
internal sealed class LinkReaper
{
    private readonly Channel<(string? Link, TaskCompletionSource? Reached)> queue = Channel.CreateUnbounded<(string?, TaskCompletionSource?)>(new() { SingleReader = true });
    private readonly ILogger logger;
    private readonly NetlinkSocket socket;

    internal LinkReaper(HostNamespace host, ILogger logger)
    {
        this.logger = logger;
        socket = host.Run(NetlinkSocket.OpenRoute);
        new Thread(Work) { IsBackground = true, Name = "berth-links" }.Start();
    }

    internal void Remove(string link) => queue.Writer.TryWrite((link, null));

    /// <summary>Completes when everything handed over before has been removed.</summary>
    internal Task SettleAsync(CancellationToken cancellationToken)
    {
        var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        if (!queue.Writer.TryWrite((null, reached))) return queue.Reader.Completion.WaitAsync(cancellationToken);
        return reached.Task.WaitAsync(cancellationToken);
    }

    internal void Stop() => queue.Writer.TryComplete();

    private void Work()
    {
        var batch = new NetlinkBatch();
        while (queue.Reader.WaitToReadAsync().AsTask().GetAwaiter().GetResult())
        {
            while (queue.Reader.TryRead(out var item))
            {
                item.Reached?.SetResult();
                if (item.Link is null) continue;
                try
                {
                    batch.Clear();
                    batch.DeleteLink(item.Link);
                    socket.Execute(batch);
                }
                catch (LinuxException e)
                {
                    logger.InterfaceNotRemoved(item.Link, e.Message);
                }
            }
        }
        socket.Dispose();
    }
}
