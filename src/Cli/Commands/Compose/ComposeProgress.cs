using System.Globalization;
using System.Text;
using Berth.Api;
using Berth.Cli.Output;
using Berth.Compose.Engine;

namespace Berth.Cli.Commands.Compose;

/// <summary>News of one piece of work: "Container web-1" is "Starting"; a layer of "web" is "Downloading".</summary>
/// <param name="Id">What is worked on.</param>
/// <param name="Text">After its name, on the left.</param>
/// <param name="Status">How it stands, on the right.</param>
internal sealed record WorkNews(string Id, string Text, string Status, WorkState State)
{
    /// <summary>The piece of work that this is a part of.</summary>
    public string Parent { get; init; } = "";

    public long Current { get; init; }

    public long Total { get; init; }

    public int Percent { get; init; }
}

/// <summary>
/// How a compose command tells what it does, as docker compose does: lines that are painted again on a terminal, a line for each piece of news elsewhere, JSON lines, or nothing.
/// </summary>
internal abstract class ComposeProgress
{
    public const string DryRunPrefix = " DRY-RUN MODE - ";

    /// <summary>--progress, COMPOSE_PROGRESS and --ansi decide, in docker compose's order.</summary>
    /// <exception cref="CommandException">They contradict each other, or there is no such mode.</exception>
    public static ComposeProgress For(CommandContext context, string mode, string ansi, bool dryRun)
    {
        switch (mode)
        {
            case "" or "auto":
                var live = ansi == "always" || (ansi != "never" && context.Terminal.ErrorIsTerminal);
                return live ? new LiveProgress(context, dryRun) : new PlainProgress(context.Err, dryRun);
            case "tty" when ansi == "never": throw new CommandException("can't use --progress tty while ANSI support is disabled");
            case "tty": return new LiveProgress(context, dryRun);
            case "plain" when ansi == "always": throw new CommandException("can't use --progress plain while ANSI support is forced");
            case "plain": return new PlainProgress(context.Err, dryRun);
            case "json": return new JsonLinesProgress(context.Err, dryRun);
            case "quiet" or "none": return new QuietProgress();
            default: throw new CommandException($"unsupported --progress value {GoText.Quote(mode)}");
        }
    }

    /// <summary>Work of one kind begins: "Running", "Pulling". What is told until the end of it is painted together.</summary>
    public virtual Section Begin(string title) => new(null);

    public abstract void Tell(WorkNews news);

    /// <summary>A sentence that stays to be read after the work.</summary>
    public abstract void TellAtEnd(string text);

    /// <summary>Ends on disposal, at most once.</summary>
    internal sealed class Section(Action? end) : IDisposable
    {
        private Action? _end = end;

        public void Dispose() => Interlocked.Exchange(ref _end, null)?.Invoke();
    }

    private sealed class QuietProgress : ComposeProgress
    {
        public override void Tell(WorkNews news) { }

        public override void TellAtEnd(string text) { }
    }

    private sealed class PlainProgress(TextWriter target, bool dryRun) : ComposeProgress
    {
        private readonly string _prefix = dryRun ? DryRunPrefix : "";

        public override void Tell(WorkNews news)
        {
            lock (target) target.Write($"{_prefix} {news.Id} {news.Text} {news.Status}\n");
        }

        public override void TellAtEnd(string text)
        {
            lock (target) target.Write($"{_prefix}{text}\n");
        }
    }

    private sealed class JsonLinesProgress(TextWriter target, bool dryRun) : ComposeProgress
    {
        public override void Tell(WorkNews news)
        {
            var line = new StringBuilder("{");
            if (dryRun) line.Append("\"dry-run\":true");
            Text(line, "id", news.Id);
            Text(line, "parent_id", news.Parent);
            Text(line, "text", news.Text);
            Text(line, "status", news.Status);
            Number(line, "current", news.Current);
            Number(line, "total", news.Total);
            Number(line, "percent", news.Percent);
            lock (target) target.Write(line.Append("}\n").ToString());
        }

        public override void TellAtEnd(string text)
        {
            var line = new StringBuilder("{");
            if (dryRun) line.Append("\"dry-run\":true");
            line.Append(line.Length > 1 ? "," : "").Append("\"tail\":true");
            Text(line, "text", text);
            lock (target) target.Write(line.Append("}\n").ToString());
        }

        private static void Text(StringBuilder line, string name, string value)
        {
            if (value.Length > 0) line.Append(line.Length > 1 ? "," : "").Append('"').Append(name).Append("\":").Append(JsonText.Quote(value));
        }

        private static void Number(StringBuilder line, string name, long value)
        {
            if (value != 0) line.Append(line.Length > 1 ? "," : "").Append(CultureInfo.InvariantCulture, $"\"{name}\":{value}");
        }
    }
}

/// <summary>
/// "[+] Running 1/2" and a line below it for each piece of work, painted again ten times a second until the section ends. News outside of a section are plain lines.
/// </summary>
internal sealed class LiveProgress : ComposeProgress
{
    private static readonly TimeSpan Beat = TimeSpan.FromMilliseconds(100);

    private readonly CommandContext _context;
    private readonly bool _dryRun;
    private readonly Lock _lock = new();
    private WorkBoard? _board;

    public LiveProgress(CommandContext context, bool dryRun) => (_context, _dryRun) = (context, dryRun);

    public override Section Begin(string title)
    {
        var board = new WorkBoard(title, _context.Time) { Prefix = _dryRun ? DryRunPrefix : "", Coloured = string.IsNullOrEmpty(_context.Variable("NO_COLOR")) };
        lock (_lock)
        {
            if (_board is not null) return new Section(null); // a part of what is painted already
            _board = board;
        }
        var timer = _context.Time.CreateTimer(_ => Paint(), null, Beat, Beat);
        return new Section(() =>
        {
            timer.Dispose();
            lock (_lock)
            {
                Paint();
                foreach (var line in board.Last) _context.Err.Write(line + "\n");
                _context.Err.Flush();
                _board = null;
            }
        });
    }

    private void Paint()
    {
        lock (_lock)
        {
            if (_board is null) return;
            var (height, width) = _context.Terminal.Size;
            lock (_context.Err)
            {
                _context.Err.Write(_board.Paint(height > 0 ? height : 24, width > 0 ? width : 80));
                _context.Err.Flush();
            }
        }
    }

    public override void Tell(WorkNews news)
    {
        lock (_lock)
        {
            if (_board is not null)
            {
                _board.Tell(news);
                return;
            }
        }
        lock (_context.Err) _context.Err.Write($"{(_dryRun ? DryRunPrefix : "")} {news.Id} {news.Text} {news.Status}\n");
    }

    public override void TellAtEnd(string text)
    {
        lock (_lock)
        {
            if (_board is not null)
            {
                _board.Last.Add(((_dryRun ? DryRunPrefix : "") + text).Trim());
                return;
            }
        }
        lock (_context.Err) _context.Err.Write(text + "\n");
    }
}

/// <summary>What is worked on and how it looks; writes nothing itself.</summary>
internal sealed class WorkBoard(string title, TimeProvider time)
{
    private const string Green = "32", Blue = "34", Yellow = "33", BoldYellow = "33m\u001b[1", BoldRed = "31m\u001b[1", Cyan = "36";

    private const string Spinner = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";

    /// <summary>How much of a layer is there, in ninths.</summary>
    private const string Fill = "⠀⡀⣀⣄⣤⣦⣶⣷⣿";

    private readonly List<Work> _work = [];
    private readonly Dictionary<string, Work> _byId = new(StringComparer.Ordinal);
    private int _lines;
    private bool _painted;

    public string Prefix { get; init; } = "";

    public bool Coloured { get; init; } = true;

    /// <summary>Lines for after the end.</summary>
    public List<string> Last { get; } = [];

    private sealed class Work(string id, long began)
    {
        public string Id => id;

        public long Began => began;

        public long? Ended { get; set; }

        public string Parent { get; set; } = "";

        public string Text { get; set; } = "";

        public string Status { get; set; } = "";

        public WorkState State { get; set; }

        public long Current { get; set; }

        public long Total { get; set; }

        public int Percent { get; set; }
    }

    public void Tell(WorkNews news)
    {
        if (!_byId.TryGetValue(news.Id, out var work))
        {
            _byId[news.Id] = work = new Work(news.Id, time.GetTimestamp());
            _work.Add(work);
        }
        if (news.State == WorkState.Working) work.Ended = null;
        else work.Ended ??= time.GetTimestamp();
        (work.State, work.Text, work.Status) = (news.State, news.Text, news.Status);
        // It never looks as if work were lost.
        (work.Current, work.Total, work.Percent) = (Math.Max(work.Current, news.Current), Math.Max(work.Total, news.Total), Math.Max(work.Percent, news.Percent));
        // A layer that two images share stays below the first.
        if (work.Parent.Length == 0 || news.Parent.Length == 0) work.Parent = news.Parent;
    }

    /// <summary>Over what was painted before.</summary>
    public string Paint(int height, int width)
    {
        if (_work.Count == 0) return "";
        var text = new StringBuilder();
        if (_painted) text.Insert(0, "\u001b[1A", _lines + 1);
        _painted = true;
        var done = 0;
        foreach (var work in _work)
            if (work.State != WorkState.Working) done++;
        var head = $"[+] {title} {done}/{_work.Count}";
        text.Append("\u001b[0G\u001b[?25l").Append(done == _work.Count ? Colour(Blue, head) : head).Append('\n');

        var parts = _work.Count <= height - 2;
        var column = 0;
        foreach (var work in _work)
            if (parts || work.Parent.Length == 0) column = Math.Max(column, Columns($"{work.Id} {work.Text}") + (work.Parent.Length > 0 ? 2 : 0));
        var lines = 0;
        foreach (var work in _work)
        {
            if (work.Parent.Length > 0) continue;
            if (lines >= height - 2) break; // what scrolls out of sight cannot be painted over
            text.Append(Line(work, "", column, width));
            lines++;
            if (!parts) continue;
            foreach (var part in _work)
            {
                if (part.Parent != work.Id) continue;
                text.Append(Line(part, "  ", column, width));
                lines++;
            }
        }
        for (; lines < _lines; lines++) text.Append(' ', width).Append('\n');
        _lines = lines;
        return text.Append("\u001b[?25h").ToString();
    }

    private string Line(Work work, string indent, int column, int width)
    {
        var (current, total, unknown) = (0L, 0L, false);
        var fill = new StringBuilder();
        if (work.State == WorkState.Working)
        {
            foreach (var part in _work)
            {
                if (part.Parent != work.Id) continue;
                unknown |= part is { State: WorkState.Working, Total: 0 };
                (current, total) = (current + part.Current, total + part.Total);
                fill.Append(Fill[(Fill.Length - 1) * Math.Clamp(part.Percent, 0, 100) / 100]);
            }
        }
        var size = unknown || total == 0 ? "" : $" {Units.HumanSize(current),7} / {Units.HumanSize(total),-7}";
        var plain = fill.Length > 0 ? $"{work.Id} [{fill}]{size} {work.Text}" : $"{work.Id} {work.Text}";
        var shown = fill.Length > 0 ? $"{work.Id} [{Colour(Green, fill.ToString())}]{size} {work.Text}" : plain;
        var timer = string.Create(CultureInfo.InvariantCulture, $"{time.GetElapsedTime(work.Began, work.Ended ?? time.GetTimestamp()).TotalSeconds:0.0}s ");
        var left = indent.Length + 3 + Prefix.Length + Math.Max(column, Columns(plain) + indent.Length) - indent.Length + 1;
        var room = width - left - timer.Length - 1;
        var status = work.Status.AsSpan().IndexOfAny('\r', '\n') is >= 0 and var end ? work.Status[..end] : work.Status;
        if (status.Length > Math.Max(room, 3)) status = status[..Math.Max(room - 3, 0)] + "...";
        var sign = work.State switch
        {
            WorkState.Done => Colour(Green, "✔"),
            WorkState.Warning => Colour(BoldYellow, "!"),
            WorkState.Error => Colour(BoldRed, "✘"),
            _ => Colour(Yellow, Spinner[(int)(time.GetElapsedTime(work.Began) / TimeSpan.FromMilliseconds(100) % Spinner.Length)].ToString()),
        };
        var colour = work.State switch { WorkState.Done => Green, WorkState.Warning => BoldYellow, WorkState.Error => BoldRed, _ => "" };
        return new StringBuilder(indent).Append(' ').Append(sign).Append(Prefix.Length > 0 ? Colour(Cyan, Prefix) : "").Append(' ').Append(shown).Append(' ', Math.Max(0, column - indent.Length - Columns(plain))).Append(' ')
            .Append(colour.Length > 0 ? Colour(colour, status) : status).Append(' ', Math.Max(0, width - left - status.Length - timer.Length)).Append(Colour(Blue, timer)).Append('\n').ToString();
    }

    private string Colour(string code, string text) => Coloured ? $"\u001b[{code}m{text}\u001b[0m" : text;

    private static int Columns(string text)
    {
        var count = 0;
        foreach (var _ in text.EnumerateRunes()) count++;
        return count;
    }
}

/// <summary>A JSON string as Go's encoding/json writes it.</summary>
internal static class JsonText
{
    public static string Quote(string text) =>
        "\"" + Formatter<string>.EscapeHtml(System.Text.Json.JsonEncodedText.Encode(text, System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping).ToString()) + "\"";
}
