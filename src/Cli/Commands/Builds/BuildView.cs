using System.Globalization;
using System.Text;
using System.Text.Json;
using Berth.Api;

namespace Berth.Cli.Commands.Builds;

/// <summary>Shows a build while it goes on: on a terminal, as lines, as JSON, or not at all.</summary>
internal abstract class BuildView(CommandContext context, Func<byte[]?> dockerfile, string dockerfileName, bool explain) : IDisposable
{
    protected readonly CommandContext Context = context;
    protected readonly Dictionary<int, Step> Steps = [];
    private readonly List<BuildEvent> _warnings = [];

    public static BuildView Create(string mode, CommandContext context, Func<byte[]?> dockerfile, string dockerfileName, bool explain) => mode switch
    {
        "tty" => new LiveBuildView(context, dockerfile, dockerfileName, explain),
        "plain" => new PlainBuildView(context, dockerfile, dockerfileName, explain),
        "rawjson" => new JsonBuildView(context, dockerfile, dockerfileName, explain),
        _ => new SilentBuildView(context, dockerfile, dockerfileName, explain),
    };

    /// <summary>What ended the build; null when nothing did.</summary>
    public BuildEvent? Failure { get; private set; }

    public BuildEvent? Result { get; private set; }

    public int Warnings => _warnings.Count;

    public virtual void Show(BuildEvent line)
    {
        var step = line.Step == 0 ? null : Steps.TryGetValue(line.Step, out var known) ? known : Steps[line.Step] = new Step(line.Step);
        switch (line.Kind)
        {
            case "start":
                (step!.Title, step.Begun) = (line.Name ?? "", line.At);
                Started(step);
                break;
            case "cached":
                step!.IsCached = true;
                break;
            case "miss":
                step!.Why = line.Text;
                Missed(step);
                break;
            case "status":
                step!.Status = line.Total > 0 ? $"{line.Name} {line.Text} {Output.Units.HumanSize(line.Current)}/{Output.Units.HumanSize(line.Total)}" : string.IsNullOrEmpty(line.Name) ? line.Text! : $"{line.Name} {line.Text}";
                Told(step, line);
                break;
            case "output":
                Printed(step!, line.Text ?? "", line);
                break;
            case "end":
                (step!.Ended, step.Error) = (line.At, line.Text);
                Finished(step);
                break;
            case "warning": _warnings.Add(line); break;
            case "error":
                Failure = line;
                End(line.At);
                break;
            case "result":
                Result = line;
                End(line.At);
                Warn();
                break;
        }
    }

    protected virtual void Started(Step step) { }
    protected virtual void Missed(Step step) { }
    protected virtual void Told(Step step, BuildEvent line) { }
    protected virtual void Printed(Step step, string text, BuildEvent line) { }
    protected virtual void Finished(Step step) { }

    /// <summary>Nothing more comes.</summary>
    protected virtual void End(long at) { }

    protected virtual bool ShowsWarnings => true;

    private void Warn()
    {
        if (_warnings.Count == 0 || !ShowsWarnings) return;
        var hint = explain ? "" : $" (use {Context.ProgramName} --debug to expand)";
        Context.Err.Write($"\n {_warnings.Count} warning{(_warnings.Count == 1 ? "" : "s")} found{hint}:\n");
        foreach (var warning in _warnings)
        {
            Context.Err.Write($" - {warning.Name}: {warning.Text}{(warning.FirstLine > 0 ? $" (line {warning.FirstLine})" : "")}\n");
            if (!explain) continue;
            Context.Err.Write($"More info: {warning.Url}\n{Source(warning.FirstLine, warning.LastLine)}\n");
        }
    }

    /// <summary>The failure with the lines it is about.</summary>
    public string Explain(BuildEvent failure, string text) => Source(failure.FirstLine, failure.LastLine) + "ERROR: failed to build: " + text;

    // "Dockerfile:3", then the lines with two on each side.
    private string Source(int first, int last)
    {
        if (first <= 0 || dockerfile() is not { } bytes) return "";
        var lines = Encoding.UTF8.GetString(bytes).Split('\n');
        if (lines is [.., ""]) lines = lines[..^1];
        if (first > lines.Length) return "";
        last = Math.Clamp(last, first, lines.Length);
        var (from, to) = (Math.Max(1, first - 2), Math.Min(lines.Length, last + 2));
        var text = new StringBuilder($"{dockerfileName}:{first}\n--------------------\n");
        for (var i = from; i <= to; i++) text.Append(CultureInfo.InvariantCulture, $"{i,4} | {(i >= first && i <= last ? ">>>" : "   ")} {lines[i - 1].TrimEnd('\r')}\n");
        return text.Append("--------------------\n").ToString();
    }

    public virtual void Dispose() { }

    protected static string Seconds(long nanoseconds) => (nanoseconds / 1e9).ToString("F1", CultureInfo.InvariantCulture) + "s";

    internal sealed class Step(int number)
    {
        public int Number { get; } = number;
        public string Title { get; set; } = "";
        public long Begun { get; set; }

        /// <summary>0: it goes on.</summary>
        public long Ended { get; set; }
        public bool IsCached { get; set; }
        public string? Why { get; set; }
        public string? Status { get; set; }
        public string? Error { get; set; }

        /// <summary>The last lines it printed.</summary>
        public LinkedList<string> Lines { get; } = [];
        public StringBuilder Unfinished { get; } = new();

        /// <summary>Whole lines of what was printed now.</summary>
        public List<string> Take(string text)
        {
            var whole = new List<string>();
            foreach (var c in text)
            {
                if (c == '\n')
                {
                    whole.Add(Unfinished.ToString().TrimEnd('\r'));
                    Unfinished.Clear();
                }
                else Unfinished.Append(c);
            }
            return whole;
        }
    }
}

/// <summary>Lines, each with the number of its step, as BuildKit prints them: for logs.</summary>
internal sealed class PlainBuildView(CommandContext context, Func<byte[]?> dockerfile, string dockerfileName, bool explain) : BuildView(context, dockerfile, dockerfileName, explain)
{
    private int _last;

    protected override void Started(Step step) => Line(step, step.Title);
    protected override void Missed(Step step) => Line(step, "not cached: " + step.Why);

    protected override void Told(Step step, BuildEvent line)
    {
        // Bars are for terminals.
        if (line.Total == 0) Line(step, step.Status!);
    }

    protected override void Printed(Step step, string text, BuildEvent line)
    {
        foreach (var whole in step.Take(text)) Line(step, $"{((line.At - step.Begun) / 1e9).ToString("F3", CultureInfo.InvariantCulture)} {whole}");
    }

    protected override void Finished(Step step)
    {
        if (step.Unfinished.Length > 0) Line(step, step.Unfinished.ToString());
        Line(step, step.Error is { } error ? "ERROR: " + error : step.IsCached ? "CACHED" : "DONE " + Seconds(step.Ended - step.Begun));
        Context.Err.Write("\n");
        _last = 0;
    }

    private void Line(Step step, string text)
    {
        if (_last != 0 && _last != step.Number)
        {
            Context.Err.Write("\n");
            if (text != step.Title) Context.Err.Write($"#{step.Number} {step.Title}\n");
        }
        _last = step.Number;
        Context.Err.Write($"#{step.Number} {text}\n");
    }
}

/// <summary>
/// For a terminal: what is done scrolls away above, steps from the cache folded into a line; what runs is at the bottom with its time and the last of its output, painted again
/// and again in its place.
/// </summary>
internal sealed class LiveBuildView : BuildView
{
    /// <summary>Lines of a running step's output that are shown, and of one that failed.</summary>
    private const int TailLines = 6, FailureLines = 50;

    private const long BriefNanoseconds = 100_000_000;

    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(100);

    private readonly Lock _lock = new();
    private readonly Timer _timer;
    private readonly long _begun;
    private readonly bool _color;
    private readonly StringBuilder _frame = new();
    private int _painted, _cached, _done;
    private long _ahead; // of our clock, the engine's
    private bool _ended;

    public LiveBuildView(CommandContext context, Func<byte[]?> dockerfile, string dockerfileName, bool explain) : base(context, dockerfile, dockerfileName, explain)
    {
        _begun = context.Time.GetTimestamp();
        _color = string.IsNullOrEmpty(context.Variable("NO_COLOR"));
        _timer = new Timer(_ => Repaint(), null, Interval, Interval);
    }

    private long Now => (long)Context.Time.GetElapsedTime(_begun).TotalNanoseconds + _ahead;

    public override void Show(BuildEvent line)
    {
        lock (_lock)
        {
            if (line.At > 0) _ahead = line.At - (long)Context.Time.GetElapsedTime(_begun).TotalNanoseconds;
            base.Show(line);
        }
    }

    protected override void Printed(Step step, string text, BuildEvent line)
    {
        foreach (var whole in step.Take(text))
        {
            step.Lines.AddLast(whole);
            if (step.Lines.Count > FailureLines) step.Lines.RemoveFirst();
        }
    }

    protected override void Finished(Step step)
    {
        _done++;
        if (step.IsCached)
        {
            _cached++;
            return;
        }
        // What took no time and is in every build is not worth a line.
        if (step.Error is null && step.Ended - step.Begun < BriefNanoseconds && (step.Title.Contains("] FROM ", StringComparison.Ordinal) || step.Title.StartsWith("[internal]", StringComparison.Ordinal) || step.Title.StartsWith("exporting", StringComparison.Ordinal))) return;
        Above(() =>
        {
            var time = Seconds(step.Ended - step.Begun);
            if (step.Error is null)
            {
                Row($"{Paint("32", "✔")} {step.Title}", time);
                if (step.Why is { Length: > 0 } why) Row(Paint("2", $"    not cached: {why}"), "");
                return;
            }
            Row($"{Paint("31", "✘")} {step.Title}", time);
            if (step.Unfinished.Length > 0) step.Lines.AddLast(step.Unfinished.ToString());
            foreach (var line in step.Lines) _frame.Append("    ").Append(Clean(line)).Append('\n');
        });
    }

    protected override void End(long at)
    {
        Above(() =>
        {
            if (_cached > 0) Row(Paint("36", $"= {_cached} step{(_cached == 1 ? "" : "s")} from the cache"), "");
            if (Result is { } result) Row(Paint("1", result.Image is { Length: > 19 } image ? $"built {image[7..19]}{Named(result)}" : "built"), Seconds(at));
        });
        _ended = true;
    }

    private static string Named(BuildEvent result) => result.Metadata?.GetValueOrDefault("image.name") is { Length: > 0 } name ? " " + name.Replace("docker.io/library/", "", StringComparison.Ordinal).Replace("docker.io/", "", StringComparison.Ordinal) : "";

    // Something that stays: what is painted below it goes, and comes again.
    private void Above(Action write)
    {
        _frame.Clear();
        Erase();
        write();
        Context.Err.Write(_frame.ToString());
        Context.Err.Flush();
    }

    private void Erase()
    {
        if (_painted > 0) _frame.Append(CultureInfo.InvariantCulture, $"\u001b[{_painted}A\r\u001b[J");
        _painted = 0;
    }

    private void Repaint()
    {
        lock (_lock)
        {
            if (_ended) return;
            _frame.Clear();
            Erase();
            var (height, _) = Context.Terminal.Size;
            var room = Math.Max(4, (height > 0 ? height : 24) - 2);
            List<Step> running = [];
            foreach (var step in Steps.Values) if (step.Ended == 0 && step.Title.Length > 0) running.Add(step);
            Row(Paint("1", $"building {Seconds(Now)}, {_done} done{(_cached > 0 ? $" ({_cached} from the cache)" : "")}, {running.Count} running"), "");
            _painted = 1;
            foreach (var step in running)
            {
                if (_painted >= room) break;
                Row($"{Paint("33", "›")} {step.Title}", Seconds(Now - step.Begun));
                _painted++;
                if (step.Why is { Length: > 0 } why && _painted < room)
                {
                    Row(Paint("2", $"    not cached: {why}"), "");
                    _painted++;
                }
                if (step.Status is { } status && step.Lines.Count == 0 && _painted < room)
                {
                    Row(Paint("2", "    " + Clean(status)), "");
                    _painted++;
                }
                var tail = new List<string>();
                for (var line = step.Lines.Last; line is not null && tail.Count < Math.Min(TailLines, (room - _painted) / Math.Max(1, running.Count)); line = line.Previous) tail.Insert(0, line.Value);
                foreach (var line in tail)
                {
                    Row(Paint("2", "    " + Clean(line)), "");
                    _painted++;
                }
            }
            Context.Err.Write(_frame.ToString());
            Context.Err.Flush();
        }
    }

    // One line of the terminal, never two.
    private void Row(string left, string right)
    {
        var width = Context.Terminal.Size.Width is > 20 and var known ? known : 80;
        var room = width - right.Length - 1;
        var visible = 0;
        var at = 0;
        for (; at < left.Length; at++)
        {
            if (left[at] == '\u001b')
            {
                while (at < left.Length && left[at] != 'm') at++;
                continue;
            }
            if (visible == room - 1) break;
            visible++;
        }
        var cut = at < left.Length;
        _frame.Append(left, 0, at);
        if (cut) _frame.Append('…');
        if (_color && cut) _frame.Append("\u001b[0m");
        if (right.Length > 0) _frame.Append(' ', Math.Max(1, width - visible - (cut ? 1 : 0) - right.Length)).Append(right);
        _frame.Append('\n');
    }

    private string Paint(string code, string text) => _color ? $"\u001b[{code}m{text}\u001b[0m" : text;

    // A command's own colours and cursor movements would paint over ours.
    private static string Clean(string line)
    {
        var carriage = line.LastIndexOf('\r');
        if (carriage >= 0) line = line[(carriage + 1)..];
        if (!line.AsSpan().ContainsAnyInRange('\0', '\u001f')) return line;
        var text = new StringBuilder();
        for (var i = 0; i < line.Length; i++)
        {
            if (line[i] == '\u001b')
            {
                if (i + 1 < line.Length && line[i + 1] == '[')
                    for (i += 2; i < line.Length && line[i] is not (>= '@' and <= '~');) i++;
                else i++;
            }
            else if (line[i] == '\t') text.Append("    ");
            else if (line[i] >= ' ') text.Append(line[i]);
        }
        return text.ToString();
    }

    public override void Dispose()
    {
        _timer.Dispose();
        lock (_lock)
        {
            if (_ended) return;
            _ended = true;
            Above(() => { });
        }
    }
}

/// <summary>Nothing but what goes wrong.</summary>
internal sealed class SilentBuildView(CommandContext context, Func<byte[]?> dockerfile, string dockerfileName, bool explain) : BuildView(context, dockerfile, dockerfileName, explain)
{
    protected override bool ShowsWarnings => false;
}

/// <summary>A line of JSON for each event, with BuildKit's names.</summary>
internal sealed class JsonBuildView(CommandContext context, Func<byte[]?> dockerfile, string dockerfileName, bool explain) : BuildView(context, dockerfile, dockerfileName, explain)
{
    private readonly DateTimeOffset _begun = context.Time.GetUtcNow();

    protected override bool ShowsWarnings => false;

    protected override void Started(Step step) => Vertex(step);
    protected override void Finished(Step step) => Vertex(step);

    protected override void Told(Step step, BuildEvent line) => Write("statuses", json =>
    {
        json.WriteString("id", line.Name);
        json.WriteString("vertex", Digest(step));
        json.WriteString("name", line.Text);
        json.WriteNumber("current", line.Current);
        json.WriteNumber("total", line.Total);
        json.WriteString("timestamp", Time(line.At));
    });

    protected override void Printed(Step step, string text, BuildEvent line) => Write("logs", json =>
    {
        json.WriteString("vertex", Digest(step));
        json.WriteNumber("stream", line.Stderr ? 2 : 1);
        json.WriteBase64String("data", Encoding.UTF8.GetBytes(text));
        json.WriteString("timestamp", Time(line.At));
    });

    private void Vertex(Step step) => Write("vertexes", json =>
    {
        json.WriteString("digest", Digest(step));
        json.WriteString("name", step.Title);
        json.WriteString("started", Time(step.Begun));
        if (step.Ended > 0) json.WriteString("completed", Time(step.Ended));
        if (step.IsCached) json.WriteBoolean("cached", true);
        if (step.Error is { } error) json.WriteString("error", error);
    });

    private void Write(string kind, Action<Utf8JsonWriter> write)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream))
        {
            json.WriteStartObject();
            json.WriteStartArray(kind);
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
            json.WriteEndArray();
            json.WriteEndObject();
        }
        Context.Err.Write(Encoding.UTF8.GetString(stream.ToArray()) + "\n");
    }

    private string Time(long at) => (_begun + TimeSpan.FromTicks(at / 100)).UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fffffff'Z'", CultureInfo.InvariantCulture);

    private static string Digest(Step step) => "sha256:" + Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(Encoding.UTF8.GetBytes($"{step.Number} {step.Title}")));
}
