using System.Diagnostics;
using System.Text;
using Berth.Api;
using Berth.Builder;
using Berth.Dockerfile;
using Berth.Images;

namespace Berth.Daemon.Routes;

/// <summary>
/// What happens in a build as <see cref="BuildEvent"/>s, for a client that shows it live; and outputs that are files, which go the same way.
/// </summary>
/// <param name="send">Never waits.</param>
/// <param name="waiting">How many events were sent and not taken.</param>
internal sealed class BuildEvents(Action<BuildEvent> send, Func<int> waiting) : IBuildProgress, IOutputSink
{
    /// <summary>Bytes of an output in one event.</summary>
    private const int PieceBytes = 256 * 1024;

    /// <summary>Events that may wait while an output is sent: what is not taken stays in memory.</summary>
    private const int MaxWaiting = 32;

    private readonly long _begin = Stopwatch.GetTimestamp();
    private readonly Lock _lock = new();
    private readonly Dictionary<BuildStep, Told> _told = new(ReferenceEqualityComparer.Instance);

    private long Now => (long)Stopwatch.GetElapsedTime(_begin).TotalNanoseconds;

    public void Begin(BuildPlan plan)
    {
        foreach (var finding in plan.Checks.Findings) Warn(finding);
        send(new BuildEvent { Kind = "plan", Total = plan.Steps.Count(s => s is not ScratchStep) });
    }

    public void Warn(Finding finding) => send(new BuildEvent { Kind = "warning", Name = finding.Rule.Name, Text = finding.Message, Url = finding.Rule.Url, FirstLine = finding.Lines.First, LastLine = finding.Lines.Last });

    public void Started(BuildStep step) => Send(step, n => new BuildEvent { Kind = "start", Step = n, Name = step.Title, FirstLine = step.Lines.First, LastLine = step.Lines.Last });

    public void Cached(BuildStep step) => Send(step, n => new BuildEvent { Kind = "cached", Step = n });

    public void Missed(BuildStep step, string why) => Send(step, n => new BuildEvent { Kind = "miss", Step = n, Text = why });

    public void Output(BuildStep step, ReadOnlyMemory<byte> bytes, bool stderr)
    {
        lock (_lock)
        {
            // A character may be cut by the end of a piece.
            var decoder = Find(step) is var told && stderr ? told.Stderr : told.Stdout;
            var text = new char[Encoding.UTF8.GetMaxCharCount(bytes.Length)];
            var count = decoder.GetChars(bytes.Span, text, flush: false);
            if (count > 0) send(new BuildEvent { Kind = "output", Step = told.Number, Text = new string(text, 0, count), Stderr = stderr, At = Now });
        }
    }

    public void Pulling(BuildStep step, JsonMessage progress)
    {
        if (progress.Status is null) return;
        Send(step, n => new BuildEvent { Kind = "status", Step = n, Name = progress.Id, Text = progress.Status, Current = progress.ProgressDetail?.Current ?? 0, Total = progress.ProgressDetail?.Total ?? 0 });
    }

    public void Ended(BuildStep step, Exception? failure) => Send(step, n => new BuildEvent { Kind = "end", Step = n, Text = failure?.Message });

    public void Finish(BuildResult result) => send(new BuildEvent { Kind = "result", Image = result.Image.IsEmpty ? "" : result.Image.ToString(), Metadata = new(result.Metadata), At = Now });

    public void Fail(Exception e)
    {
        var lines = e switch { BuildException build => build.Lines, DockerfileException file => file.Lines, _ => null };
        send(new BuildEvent { Kind = "error", Text = e.Message, FirstLine = lines?.First ?? 0, LastLine = lines?.Last ?? 0, ExitCode = (e as BuildException)?.ExitCode ?? 0 });
    }

    public Task<Stream?> OpenFileAsync(BuildOutput output, IReadOnlyDictionary<string, string> metadata, CancellationToken cancellation) =>
        Task.FromResult<Stream?>(new BufferedStream(new Pieces(this, int.Parse(output.Id, System.Globalization.CultureInfo.InvariantCulture), cancellation), PieceBytes));

    public async Task SendFilesAsync(BuildOutput output, FileSet files, CancellationToken cancellation)
    {
        await using var stream = (await OpenFileAsync(output, new Dictionary<string, string>(), cancellation))!;
        await files.WriteTarAsync(stream, cancellation);
    }

    private void Send(BuildStep step, Func<int, BuildEvent> make)
    {
        lock (_lock) send(make(Find(step).Number) with { At = Now });
    }

    private Told Find(BuildStep step) => _told.TryGetValue(step, out var told) ? told : _told[step] = new Told(_told.Count + 1);

    private sealed class Told(int number)
    {
        public int Number { get; } = number;
        public Decoder Stdout { get; } = Encoding.UTF8.GetDecoder();
        public Decoder Stderr { get; } = Encoding.UTF8.GetDecoder();
    }

    // A tar in pieces. Whoever takes them slowly slows the writer down.
    private sealed class Pieces(BuildEvents events, int output, CancellationToken cancellation) : SequentialStream
    {
        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            while (events.Waiting() > MaxWaiting) await Task.Delay(5, cancellation);
            if (buffer.Length > 0) events.Send(new BuildEvent { Kind = "data", Output = output, Data = buffer.ToArray() });
        }

        public override ValueTask DisposeAsync()
        {
            events.Send(new BuildEvent { Kind = "data", Output = output, Data = [] });
            return base.DisposeAsync();
        }

        public override bool CanWrite => true;
    }

    private int Waiting() => waiting();

    private void Send(BuildEvent line) => send(line);
}
