using Berth.Images.Layers;
using Berth.Linux;

namespace Berth.Images;

public sealed partial class ImageStore
{
    /// <summary>Layers are gone through for files that others have as well after so long without a new one: a pull has the disk for itself, and the container that is started from it, too.</summary>
    internal static readonly TimeSpan SharingQuiet = TimeSpan.FromMinutes(1);

    private readonly LayerSharing sharing;
    private readonly CancellationTokenSource sharingEnd = new();
    private readonly Lock sharingGate = new();
    private ITimer? sharingTimer;
    private Task sharingRun = Task.CompletedTask;

    // A new layer came, or the store was opened: a killed process may have left some that nobody went through.
    private void ShareLater()
    {
        lock (sharingGate)
        {
            if (sharingEnd.IsCancellationRequested) return;
            sharingTimer ??= options.Time.CreateTimer(static store => ((ImageStore)store!).StartSharing(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            sharingTimer.Change(SharingQuiet, Timeout.InfiniteTimeSpan);
        }
    }

    private void StartSharing()
    {
        lock (sharingGate)
        {
            if (sharingEnd.IsCancellationRequested || !sharing.IsPossible) return;
            if (sharingRun.IsCompleted) sharingRun = BackgroundThread.Run(() => ShareIdenticalFiles(sharingEnd.Token));
            else sharingTimer!.Change(SharingQuiet, Timeout.InfiniteTimeSpan); // what came meanwhile is gone through after it
        }
    }

    /// <returns>Bytes that lie in the same blocks as others now.</returns>
    internal long ShareIdenticalFiles(CancellationToken cancellation) => sharing.IsPossible ? sharing.Run(cancellation) : 0;

    private void EndSharing()
    {
        lock (sharingGate)
        {
            sharingEnd.Cancel();
            sharingTimer?.Dispose();
        }
        // At most a step of the kernel's.
        sharingRun.Wait(DiscardGrace);
    }
}
