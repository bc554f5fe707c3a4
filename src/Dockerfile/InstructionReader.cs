using System.Text;

namespace Berth.Dockerfile;

/// <summary>
/// From the text of a Dockerfile to its instructions, none of them understood yet: comments and directives, lines that go on in the next, here-documents.
/// </summary>
internal sealed class InstructionReader
{
    /// <summary>Bytes of one line; as in Docker's.</summary>
    public const int MaxLineBytes = 65535;

    /// <summary>A Dockerfile is a page or ten.</summary>
    public const int MaxInstructions = 100_000;

    private readonly List<string> _lines;
    private int _next; // also: the number of the line read last, from 1 on

    public ParserDirectives Directives { get; } = new();
    public List<RawInstruction> Instructions { get; } = [];

    /// <summary>Instructions that go on over an empty line, by their last line.</summary>
    public List<LineSpan> EmptyContinuations { get; } = [];

    /// <exception cref="DockerfileException">With the lines it is about.</exception>
    public InstructionReader(string text)
    {
        _lines = Cut(text.StartsWith('\uFEFF') ? text[1..] : text);
        var comments = new List<string>();
        while (_next < _lines.Count)
        {
            var line = Take().TrimStart();
            var first = _next;
            if (Directives.TryRead(line, first)) continue;
            if (line.StartsWith('#'))
            {
                var comment = line[1..].Trim();
                if (comment.Length == 0) comments.Clear();
                else comments.Add(comment);
                continue;
            }
            var whole = Continue(line);
            if (whole.Length == 0 && _next == first) continue;
            try
            {
                if (Instructions.Count == MaxInstructions) throw new DockerfileException($"the Dockerfile has more than {MaxInstructions} instructions");
                var raw = ArgumentSplitter.Split(whole, Directives.Escape) with { Comments = [.. comments] };
                if (whole.Contains("<<", StringComparison.Ordinal) && TakesHeredocs(raw)) raw = raw with { Heredocs = ReadHeredocs(whole) };
                Instructions.Add(raw with { Lines = new LineSpan(first, _next) });
            }
            catch (DockerfileException e) when (e.Lines is null)
            {
                throw new DockerfileException(e.Message, new LineSpan(first, _next));
            }
            comments.Clear();
        }
        if (Instructions.Count == 0) throw new DockerfileException("file with no instructions", new LineSpan(_next, _next));
    }

    // With their ends: here-documents keep them.
    private static List<string> Cut(string text)
    {
        var lines = new List<string>();
        for (var start = 0; start < text.Length;)
        {
            var end = text.IndexOf('\n', start);
            var next = end < 0 ? text.Length : end + 1;
            lines.Add(text[start..next]);
            if (Encoding.UTF8.GetByteCount(lines[^1]) > MaxLineBytes + 1) throw new DockerfileException($"dockerfile line greater than max allowed size of {MaxLineBytes}", new LineSpan(lines.Count, lines.Count));
            start = next;
        }
        return lines;
    }

    private string Take() => _lines[_next++].TrimEnd('\r', '\n');

    private string Continue(string line)
    {
        if (!TryTrimContinuation(ref line)) return line;
        var whole = new StringBuilder(line);
        var empty = false;
        while (_next < _lines.Count)
        {
            line = Take();
            var shown = line.AsSpan().TrimStart();
            if (shown.StartsWith("#")) continue; // comments may stand between the lines
            if (shown.IsEmpty)
            {
                empty = true;
                continue;
            }
            var more = TryTrimContinuation(ref line);
            whole.Append(line);
            if (!more) break;
        }
        if (empty) EmptyContinuations.Add(new LineSpan(_next, _next));
        return whole.ToString();
    }

    // The escape character, last but for blanks, and not escaped itself.
    private bool TryTrimContinuation(ref string line)
    {
        var end = line.AsSpan().TrimEnd(" \t").Length;
        if (end == 0 || line[end - 1] != Directives.Escape || (end > 1 && line[end - 2] == Directives.Escape)) return false;
        line = line[..(end - 1)];
        return true;
    }

    private static bool TakesHeredocs(RawInstruction raw)
    {
        var inner = raw.Trigger ?? raw;
        return inner.Keyword is "add" or "copy" or "run" && !inner.IsJson;
    }

    private List<Heredoc> ReadHeredocs(string line)
    {
        IReadOnlyList<string> words;
        try
        {
            words = new WordExpander('\\', _ => null) { KeepMissing = true, KeepQuotes = true, KeepEscapes = true }.Split(line);
        }
        catch (DockerfileException)
        {
            return []; // a shell's affair: RUN echo "it's <<"
        }
        var heredocs = new List<Heredoc>();
        foreach (var word in words)
        {
            if (Heredoc.Begin(word) is not { } heredoc) continue;
            var content = new StringBuilder();
            while (true)
            {
                if (_next == _lines.Count) throw new DockerfileException("unterminated heredoc");
                var end = Take();
                if ((heredoc.Chomp ? end.TrimStart('\t') : end) == heredoc.Name) break;
                content.Append(_lines[_next - 1]);
            }
            heredocs.Add(heredoc with { Content = content.ToString() });
        }
        return heredocs;
    }
}
