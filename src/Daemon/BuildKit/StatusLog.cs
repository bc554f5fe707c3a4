using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using Berth.Api;
using Berth.Api.BuildKit;
using Berth.Builder;
using Berth.Dockerfile;
using Berth.Engine;
using Berth.Images;

namespace Berth.Daemon.BuildKit;

/// <summary>What happens in a build, kept until it ends, so that who asks late hears it all: the source of Control.Status.</summary>
internal sealed class StatusLog(string build, TimeProvider time) : IBuildProgress
{
    /// <summary>Of one step's output; the rest is left out, and that is said.</summary>
    private const int MaxOutputBytes = 2 << 20;

    /// <summary>In one message, which has a limit: see <see cref="GrpcFrames.MaxMessageBytes"/>.</summary>
    private const int MaxBatch = 200;

    private readonly Lock _lock = new();
    private readonly Dictionary<BuildStep, Shown> _steps = new(ReferenceEqualityComparer.Instance);
    private readonly List<object> _events = [];
    private TaskCompletionSource _more = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _ended;
    private int _count;

    public void Started(BuildStep step)
    {
        lock (_lock)
        {
            var shown = Find(step);
            if (shown.Vertex.Started is not null) return;
            Say(shown, shown.Vertex with { Started = time.GetUtcNow() });
        }
    }

    public void Cached(BuildStep step)
    {
        lock (_lock)
        {
            var shown = Find(step);
            Say(shown, shown.Vertex with { Cached = true });
        }
    }

    public void Missed(BuildStep step, string why)
    {
        lock (_lock)
        {
            var shown = Find(step);
            Add(new VertexStatus("not cached: " + why, shown.Vertex.Digest) { Timestamp = time.GetUtcNow(), Started = time.GetUtcNow(), Completed = time.GetUtcNow() });
        }
    }

    public void Output(BuildStep step, ReadOnlyMemory<byte> bytes, bool stderr)
    {
        lock (_lock)
        {
            var shown = Find(step);
            if (shown.OutputBytes > MaxOutputBytes) return;
            var left = (int)Math.Min(bytes.Length, MaxOutputBytes - shown.OutputBytes);
            shown.OutputBytes += bytes.Length;
            if (left > 0) Add(new VertexLog(shown.Vertex.Digest, time.GetUtcNow(), stderr ? 2 : 1, bytes[..left].ToArray()));
            if (shown.OutputBytes > MaxOutputBytes) Add(new VertexLog(shown.Vertex.Digest, time.GetUtcNow(), 2, "\n[output clipped, log limit 2MiB reached]\n"u8.ToArray()));
        }
    }

    public void Pulling(BuildStep step, JsonMessage progress)
    {
        if (progress.Id is not { Length: > 0 } id || progress.Status is not { Length: > 0 } status) return;
        lock (_lock)
        {
            var shown = Find(step);
            var done = status is "done" or "Pull complete" or "Already exists" or "Download complete" or "Pushed" or "Layer already exists";
            var now = time.GetUtcNow();
            var began = shown.Parts.TryGetValue(id, out var known) ? known.Started : now;
            // Twice the same is said once, and no more often than somebody could see.
            if (known.Done || (!done && known.Said is { } said && now - said < TimeSpan.FromMilliseconds(100))) return;
            shown.Parts[id] = (began, now, done);
            Add(new VertexStatus(id, shown.Vertex.Digest)
            {
                Name = done ? "done" : status, Current = progress.ProgressDetail?.Current ?? 0, Total = progress.ProgressDetail?.Total ?? 0, Timestamp = now, Started = began, Completed = done ? now : null,
            });
        }
    }

    /// <summary>So many bytes of something have come.</summary>
    public void Transferring(BuildStep step, string what, long bytes, bool done) =>
        Transfer(step, what, bytes, done);

    private void Transfer(BuildStep step, string what, long bytes, bool done)
    {
        lock (_lock)
        {
            var shown = Find(step);
            var now = time.GetUtcNow();
            var began = shown.Parts.TryGetValue(what, out var known) ? known.Started : now;
            if (!done && known.Said is { } said && now - said < TimeSpan.FromMilliseconds(100)) return;
            shown.Parts[what] = (began, now, done);
            Add(new VertexStatus(what, shown.Vertex.Digest) { Name = "transferring", Current = bytes, Timestamp = now, Started = began, Completed = done ? now : null });
        }
    }

    public void Ended(BuildStep step, Exception? failure)
    {
        lock (_lock)
        {
            var shown = Find(step);
            if (shown.Vertex.Completed is not null) return;
            Say(shown, shown.Vertex with { Started = shown.Vertex.Started ?? time.GetUtcNow(), Completed = time.GetUtcNow(), Error = failure is null ? "" : failure is OperationCanceledException ? "context canceled" : failure.Message });
        }
    }

    public void Warn(BuildStep step, Finding finding, SourceInfo source)
    {
        lock (_lock)
        {
            Add(new VertexWarning(Find(step).Vertex.Digest)
            {
                Level = 1, Short = $"{finding.Rule.Name}: {finding.Message} (line {finding.Lines.First})", Detail = [finding.Rule.Description], Url = finding.Rule.Url, Info = source,
                Range = new SourceRange(finding.Lines.First, finding.Lines.Last),
            });
        }
    }

    /// <summary>How the step is called in messages.</summary>
    public string DigestOf(BuildStep step)
    {
        lock (_lock) return Find(step).Vertex.Digest;
    }

    /// <summary>Nothing more will happen.</summary>
    public void End()
    {
        lock (_lock)
        {
            _ended = true;
            _more.TrySetResult();
        }
    }

    /// <summary>All that has happened and all that will, until the end.</summary>
    public async IAsyncEnumerable<StatusResponse> FollowAsync([EnumeratorCancellation] CancellationToken cancellation)
    {
        for (var at = 0; ;)
        {
            List<object> events;
            Task more;
            bool ended;
            lock (_lock)
            {
                events = _events.GetRange(at, Math.Min(MaxBatch, _events.Count - at));
                at += events.Count;
                ended = _ended && at == _events.Count;
                if (_more.Task.IsCompleted && !_ended && at == _events.Count) _more = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                more = at < _events.Count ? Task.CompletedTask : _more.Task;
            }
            if (events.Count > 0) yield return Message(events);
            if (ended) yield break;
            await more.WaitAsync(cancellation);
        }
    }

    private static StatusResponse Message(List<object> events) =>
        new() { Vertexes = [.. events.OfType<Vertex>()], Statuses = [.. events.OfType<VertexStatus>()], Logs = [.. events.OfType<VertexLog>()], Warnings = [.. events.OfType<VertexWarning>()] };

    /// <summary>All that has happened.</summary>
    public IEnumerable<StatusResponse> All()
    {
        List<object> events;
        lock (_lock) events = [.. _events];
        for (var at = 0; at < events.Count; at += MaxBatch) yield return Message(events.GetRange(at, Math.Min(MaxBatch, events.Count - at)));
    }

    /// <summary>Of how many steps it is.</summary>
    public (int Total, int Completed, int Cached, int Warnings) Counts()
    {
        lock (_lock)
        {
            var (completed, cached, warnings) = (0, 0, 0);
            foreach (var (_, shown) in _steps)
            {
                if (shown.Vertex is { Completed: not null, Error: "" }) completed++;
                if (shown.Vertex.Cached) cached++;
            }
            foreach (var happened in _events)
                if (happened is VertexWarning) warnings++;
            return (_steps.Count, completed, cached, warnings);
        }
    }

    private Shown Find(BuildStep step)
    {
        if (_steps.TryGetValue(step, out var shown)) return shown;
        var digest = "sha256:" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{build} {++_count} {step.Title}")));
        shown = _steps[step] = new Shown(new Vertex(digest, step.Title) { Inputs = [.. step.Inputs.Where(i => i is not ScratchStep).Select(i => Find(i).Vertex.Digest)] });
        return shown;
    }

    private void Say(Shown shown, Vertex vertex) => Add(shown.Vertex = vertex);

    private void Add(object what)
    {
        _events.Add(what);
        _more.TrySetResult();
    }

    private sealed class Shown(Vertex vertex)
    {
        public Vertex Vertex { get; set; } = vertex;
        public long OutputBytes { get; set; }
        public Dictionary<string, (DateTimeOffset Started, DateTimeOffset? Said, bool Done)> Parts { get; } = new(StringComparer.Ordinal);
    }
}
