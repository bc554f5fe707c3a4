using System.Globalization;
using System.Text;
using System.Text.Json;
using Berth.Api.BuildKit;

namespace Berth.Cli.Commands.Builds;

/// <summary>Shows a build while it goes on: on a terminal, as lines, as JSON, or not at all. Fed by what Control.Status tells.</summary>
internal abstract class BuildView(CommandContext context, bool explain) : IDisposable
{
    /// <summary>How an engine of ours says why a step was not found in the cache: the id of a status.</summary>
    private const string NotCached = "not cached: ";

    protected readonly CommandContext Context = context;
    protected readonly Dictionary<string, Step> Steps = new(StringComparer.Ordinal); // by digest
    private readonly List<VertexWarning> _warnings = [];
    private DateTimeOffset? _begun;
    private int _started;

    public static BuildView Create(string mode, CommandContext context, bool explain) => mode switch
    {
        "tty" => new LiveBuildView(context, explain),
        "plain" => new PlainBuildView(context, explain),
        "rawjson" => new JsonBuildView(context, explain),
        _ => new SilentBuildView(context, explain),
    };

    /// <summary>What has happened since the last time. It comes in whole, not in order: a step that is short begins and ends in one of them.</summary>
    public virtual void Show(StatusResponse news)
    {
        // Step by step, each in the order of time: what is told of several at once reads as if one came after the other.
        var order = new List<string>();
        foreach (var vertex in news.Vertexes) if (!order.Contains(vertex.Digest)) order.Add(vertex.Digest);
        foreach (var status in news.Statuses) if (!order.Contains(status.Vertex)) order.Add(status.Vertex);
        foreach (var log in news.Logs) if (!order.Contains(log.Vertex)) order.Add(log.Vertex);
        foreach (var digest in order) Show(digest, Find(digest), news);
        _warnings.AddRange(news.Warnings);
    }

    private void Show(string digest, Step step, StatusResponse news)
    {
        foreach (var vertex in news.Vertexes)
        {
            if (vertex.Digest != digest) continue;
            step.Title = vertex.Name;
            step.IsCached |= vertex.Cached;
            if (vertex.Started is not { } started || step.Number > 0) continue;
            step.Number = ++_started;
            step.Begun = At(started);
            Started(step);
        }
        foreach (var status in news.Statuses)
        {
            if (status.Vertex != digest) continue;
            if (status.Id.StartsWith(NotCached, StringComparison.Ordinal))
            {
                step.Why = status.Id[NotCached.Length..];
                Missed(step);
                continue;
            }
            step.Status = status.Total > 0 ? $"{status.Id} {Output.Units.HumanSize(status.Current)}/{Output.Units.HumanSize(status.Total)}"
                : status.Current > 0 ? $"{status.Id} {Output.Units.HumanSize(status.Current)}" : status.Id;
            Told(step, status);
        }
        foreach (var log in news.Logs)
            if (log.Vertex == digest) Printed(step, step.Decode(log), At(log.Timestamp));
        foreach (var vertex in news.Vertexes)
        {
            if (vertex.Digest != digest || vertex.Completed is not { } completed || step.Ended > 0) continue;
            (step.Ended, step.Error) = (Math.Max(At(completed), step.Begun + 1), vertex.Error.Length > 0 ? vertex.Error : null);
            Finished(step);
        }
    }

    private Step Find(string digest) => Steps.TryGetValue(digest, out var known) ? known : Steps[digest] = new Step();

    /// <summary>Nanoseconds since the build began, by the engine's clock.</summary>
    protected long At(DateTimeOffset time) => (time - (_begun ??= time)).Ticks * 100;

    /// <summary>Nothing more comes.</summary>
    /// <param name="result">What the exporters say; null: it failed.</param>
    public void End(IReadOnlyDictionary<string, string>? result)
    {
        Ended(result);
        if (result is not null) Warn();
    }

    protected virtual void Started(Step step) { }
    protected virtual void Missed(Step step) { }
    protected virtual void Told(Step step, VertexStatus status) { }
    protected virtual void Printed(Step step, string text, long at) { }
    protected virtual void Finished(Step step) { }
    protected virtual void Ended(IReadOnlyDictionary<string, string>? result) { }

    protected virtual bool ShowsWarnings => true;

    private void Warn()
    {
        if (_warnings.Count == 0 || !ShowsWarnings) return;
        var hint = explain ? "" : $" (use {Context.ProgramName} --debug to expand)";
        Context.Err.Write($"\n {_warnings.Count} warning{(_warnings.Count == 1 ? "" : "s")} found{hint}:\n");
        foreach (var warning in _warnings)
        {
            Context.Err.Write($" - {warning.Short}\n");
            if (!explain) continue;
            if (warning.Url.Length > 0) Context.Err.Write($"More info: {warning.Url}\n");
            if (warning is { Info: { } info, Range: { } range }) Context.Err.Write(Source(info.Filename, info.Data, range.First, range.Last));
            Context.Err.Write("\n");
        }
    }

    /// <summary>"Dockerfile:3", then the lines with two on each side.</summary>
    public static string Source(string name, byte[] data, int first, int last)
    {
        var lines = Encoding.UTF8.GetString(data).Split('\n');
        if (lines is [.., ""]) lines = lines[..^1];
        if (first <= 0 || first > lines.Length) return "";
        last = Math.Clamp(last, first, lines.Length);
        var (from, to) = (Math.Max(1, first - 2), Math.Min(lines.Length, last + 2));
        var text = new StringBuilder($"{name}:{first}\n--------------------\n");
        for (var i = from; i <= to; i++) text.Append(CultureInfo.InvariantCulture, $"{i,4} | {(i >= first && i <= last ? ">>>" : "   ")} {lines[i - 1].TrimEnd('\r')}\n");
        return text.Append("--------------------\n").ToString();
    }

    public virtual void Dispose() { }

    protected static string Seconds(long nanoseconds) => (nanoseconds / 1e9).ToString("F1", CultureInfo.InvariantCulture) + "s";

    internal sealed class Step
    {
        // A character may be cut by the end of a piece.
        private readonly Decoder _stdout = Encoding.UTF8.GetDecoder(), _stderr = Encoding.UTF8.GetDecoder();

        /// <summary>0: it has not begun.</summary>
        public int Number { get; set; }
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

        public string Decode(VertexLog log)
        {
            var text = new char[Encoding.UTF8.GetMaxCharCount(log.Message.Length)];
            return new string(text, 0, (log.Stream == 2 ? _stderr : _stdout).GetChars(log.Message, text, flush: false));
        }

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
internal sealed class PlainBuildView(CommandContext context, bool explain) : BuildView(context, explain)
{
    private readonly HashSet<(int Step, string Id)> _said = [], _saidDone = [];
    private int _last;

    protected override void Started(Step step) => Line(step, step.Title);
    protected override void Missed(Step step) => Line(step, "not cached: " + step.Why);

    // Bars are for terminals: it is said when it begins and when it is done.
    protected override void Told(Step step, VertexStatus status)
    {
        if (status.Completed is { } completed)
        {
            if (!_saidDone.Add((step.Number, status.Id))) return;
            var time = status.Started is { } started && completed - started > TimeSpan.FromMilliseconds(10) ? $" {(completed - started).TotalSeconds.ToString("F1", CultureInfo.InvariantCulture)}s" : "";
            Line(step, $"{step.Status}{time} done");
        }
        else if (status is { Total: 0, Current: 0 } && _said.Add((step.Number, status.Id))) Line(step, status.Id);
    }

    protected override void Printed(Step step, string text, long at)
    {
        foreach (var whole in step.Take(text)) Line(step, $"{((at - step.Begun) / 1e9).ToString("F3", CultureInfo.InvariantCulture)} {whole}");
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

    public LiveBuildView(CommandContext context, bool explain) : base(context, explain)
    {
        _begun = context.Time.GetTimestamp();
        _color = string.IsNullOrEmpty(context.Variable("NO_COLOR"));
        _timer = new Timer(_ => Repaint(), null, Interval, Interval);
    }

    private long Now => (long)Context.Time.GetElapsedTime(_begun).TotalNanoseconds + _ahead;

    public override void Show(StatusResponse news)
    {
        lock (_lock)
        {
            base.Show(news);
            DateTimeOffset? latest = null;
            foreach (var vertex in news.Vertexes) latest = Later(latest, vertex.Completed ?? vertex.Started);
            foreach (var log in news.Logs) latest = Later(latest, log.Timestamp);
            if (latest is { } known) _ahead = At(known) - (long)Context.Time.GetElapsedTime(_begun).TotalNanoseconds;
        }

        static DateTimeOffset? Later(DateTimeOffset? a, DateTimeOffset? b) => a is null || b > a ? b : a;
    }

    protected override void Printed(Step step, string text, long at)
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

    protected override void Ended(IReadOnlyDictionary<string, string>? result)
    {
        lock (_lock)
        {
            Above(() =>
            {
                if (_cached > 0) Row(Paint("36", $"= {_cached} step{(_cached == 1 ? "" : "s")} from the cache"), "");
                if (result is not null) Row(Paint("1", BuildCommand.ImageOf(result) is { Length: > 19 } image ? $"built {image[7..19]}{Named(result)}" : "built"), Seconds(Now));
            });
            _ended = true;
        }
    }

    private static string Named(IReadOnlyDictionary<string, string> result) => result.GetValueOrDefault("image.name") is { Length: > 0 } name ? " " + name.Replace("docker.io/library/", "", StringComparison.Ordinal).Replace("docker.io/", "", StringComparison.Ordinal) : "";

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
            foreach (var step in Steps.Values) if (step.Number > 0 && step.Ended == 0) running.Add(step);
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
internal sealed class SilentBuildView(CommandContext context, bool explain) : BuildView(context, explain)
{
    protected override bool ShowsWarnings => false;
}

/// <summary>A line of JSON for each message of the builder, as buildx prints them.</summary>
internal sealed class JsonBuildView(CommandContext context, bool explain) : BuildView(context, explain)
{
    protected override bool ShowsWarnings => false;

    public override void Show(StatusResponse news)
    {
        base.Show(news);
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream))
        {
            json.WriteStartObject();
            List(json, "vertexes", news.Vertexes, vertex =>
            {
                json.WriteString("digest", vertex.Digest);
                if (vertex.Inputs.Count > 0)
                {
                    json.WriteStartArray("inputs");
                    foreach (var input in vertex.Inputs) json.WriteStringValue(input);
                    json.WriteEndArray();
                }
                if (vertex.Name.Length > 0) json.WriteString("name", vertex.Name);
                Time(json, "started", vertex.Started);
                Time(json, "completed", vertex.Completed);
                if (vertex.Cached) json.WriteBoolean("cached", true);
                if (vertex.Error.Length > 0) json.WriteString("error", vertex.Error);
            });
            List(json, "statuses", news.Statuses, status =>
            {
                json.WriteString("id", status.Id);
                json.WriteString("vertex", status.Vertex);
                if (status.Name.Length > 0) json.WriteString("name", status.Name);
                if (status.Total != 0) json.WriteNumber("total", status.Total);
                json.WriteNumber("current", status.Current);
                Time(json, "timestamp", status.Timestamp);
                Time(json, "started", status.Started);
                Time(json, "completed", status.Completed);
            });
            List(json, "logs", news.Logs, log =>
            {
                json.WriteString("vertex", log.Vertex);
                json.WriteNumber("stream", log.Stream);
                json.WriteBase64String("data", log.Message);
                Time(json, "timestamp", log.Timestamp);
            });
            List(json, "warnings", news.Warnings, warning =>
            {
                json.WriteString("vertex", warning.Vertex);
                json.WriteNumber("level", warning.Level);
                json.WriteBase64String("short", Encoding.UTF8.GetBytes(warning.Short));
                if (warning.Detail.Count > 0)
                {
                    json.WriteStartArray("detail");
                    foreach (var line in warning.Detail) json.WriteBase64StringValue(Encoding.UTF8.GetBytes(line));
                    json.WriteEndArray();
                }
                if (warning.Url.Length > 0) json.WriteString("url", warning.Url);
            });
            json.WriteEndObject();
        }
        Context.Err.Write(Encoding.UTF8.GetString(stream.ToArray()) + "\n");
    }

    private static void List<T>(Utf8JsonWriter json, string name, IReadOnlyList<T> items, Action<T> write)
    {
        if (items.Count == 0) return;
        json.WriteStartArray(name);
        foreach (var item in items)
        {
            json.WriteStartObject();
            write(item);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void Time(Utf8JsonWriter json, string name, DateTimeOffset? time)
    {
        if (time is { } given) json.WriteString(name, given.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fffffff'Z'", CultureInfo.InvariantCulture));
    }
}
