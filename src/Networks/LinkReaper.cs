using System.Threading.Channels;
using Berth.Linux;
using Microsoft.Extensions.Logging;

namespace Berth.Networks;

/// <summary>
/// Removes host ends of veth pairs in the background: the kernel takes 30-40 ms for one (RCU grace periods), most of it asleep, and no longer for several at once. Usually
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
        var some = new List<string>();
        while (queue.Reader.WaitToReadAsync().AsTask().GetAwaiter().GetResult())
        {
            while (queue.Reader.TryRead(out var item))
            {
                if (item.Link is not null) some.Add(item.Link);
                // Whoever waits does so for what was handed over before; those that wait meanwhile go together.
                if (item.Reached is not null || some.Count == LinkRequests.MaxDeleted || !queue.Reader.TryPeek(out _)) Remove(batch, some);
                item.Reached?.SetResult();
            }
        }
        socket.Dispose();
    }

    private void Remove(NetlinkBatch batch, List<string> some)
    {
        if (some.Count == 0) return;
        try
        {
            batch.Clear();
            batch.DeleteLinks(some);
            socket.Execute(batch);
        }
        catch (LinuxException e)
        {
            logger.InterfaceNotRemoved(string.Join(' ', some), e.Message);
        }
        some.Clear();
    }
}
