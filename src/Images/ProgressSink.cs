namespace Berth.Images;

/// <summary>Brings the progress of several threads into one order, and keeps counters from flooding the client.</summary>
internal sealed class ProgressSink(Action<ImageProgress> listener, TimeProvider time)
{
    /// <summary>Counters of one id are told at most this often, as by Docker.</summary>
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(100);

    private readonly Lock gate = new();

    /// <summary>A line without a detail: <c>{"status":…,"id":…}</c>.</summary>
    public void Message(string text, string? id = null) => Send(new ImageProgress(id, text));

    /// <summary>A state of a layer: <c>{"status":…,"progressDetail":{},"id":…}</c>.</summary>
    public void Update(string id, string status) => Send(new ImageProgress(id, status, HasDetail: true));

    /// <summary>Text for the user as it is: <c>{"stream":…}</c>.</summary>
    public void Text(string text) => Send(new ImageProgress(null, null, text));

    /// <summary>The outcome of a push: <c>{"progressDetail":{},"aux":{…}}</c>.</summary>
    public void Pushed(PushedManifest manifest) => Send(new ImageProgress(null, null, HasDetail: true) { Pushed = manifest });

    public Counter Count(string id, string status, long total) => new(this, id, status, total);

    private void Send(ImageProgress progress)
    {
        lock (gate) listener(progress);
    }

    internal sealed class Counter(ProgressSink sink, string id, string status, long total)
    {
        private long lastTold = long.MinValue, current;

        /// <summary>More was done; told when it is time.</summary>
        public void Add(long bytes)
        {
            current += bytes;
            var now = sink.time.GetTimestamp();
            if (lastTold != long.MinValue && sink.time.GetElapsedTime(lastTold, now) < Interval && current != total) return;
            lastTold = now;
            Tell();
        }

        public void Tell() => sink.Send(new ImageProgress(id, status, null, current, total > 0 ? total : null, HasDetail: true));
    }

    private readonly TimeProvider time = time;
}
