using System.Text;

namespace Berth.Dockerfile;

/// <summary>A here-document: the lines after an instruction, up to its name.</summary>
/// <param name="Expand">Whether variables are put in; not when any of its name was quoted.</param>
/// <param name="Chomp">Written <c>&lt;&lt;-</c>: tabs in front of its lines go.</param>
public sealed record Heredoc(string Name, bool Expand, bool Chomp, string Content)
{
    /// <summary>What a file of it holds: without leading tabs, where that was asked for.</summary>
    public string Text
    {
        get
        {
            if (!Chomp) return Content;
            var text = new StringBuilder(Content.Length);
            var lineStart = true;
            foreach (var c in Content)
            {
                if (lineStart && c == '\t') continue;
                text.Append(c);
                lineStart = c == '\n';
            }
            return text.ToString();
        }
    }

    /// <summary>The here-document a word of an instruction begins (<c>&lt;&lt;EOF</c>, <c>3&lt;&lt;-"EOF"</c>), still empty; null where it begins none.</summary>
    internal static Heredoc? Begin(string word)
    {
        var at = 0;
        while (at < word.Length && char.IsAsciiDigit(word[at])) at++;
        if (!word.AsSpan(at).StartsWith("<<")) return null;
        at += 2;
        var chomp = at < word.Length && word[at] == '-';
        if (chomp) at++;
        var name = word[at..].TrimStart();
        if (name.Length == 0 || name.Contains('<')) return null;
        // Quotes that are there when kept and gone when not: some of the name is quoted.
        var plain = new WordExpander('\\', _ => null) { KeepMissing = true }.Split(name);
        var kept = new WordExpander('\\', _ => null) { KeepMissing = true, KeepQuotes = true }.Split(name);
        return plain.Count != 1 || kept.Count != 1 ? null : new Heredoc(plain[0], Quotes(plain[0]) == Quotes(kept[0]), chomp, "");

        static int Quotes(string text) => text.Count(c => c is '\'' or '"');
    }
}

/// <summary>A name and a value, of ENV or LABEL.</summary>
/// <param name="Legacy">Written with a blank between the two.</param>
public readonly record struct NamedValue(string Name, string Value, bool Legacy = false);

/// <summary>An instruction as it stands there: cut into its parts, none of them understood yet.</summary>
internal sealed record RawInstruction
{
    /// <summary>As written: "RUN", "run".</summary>
    public required string Name { get; init; }

    public string Keyword => Name.ToLowerInvariant();

    /// <summary>"--mount=…", in front of everything else.</summary>
    public IReadOnlyList<string> Flags { get; init; } = [];

    /// <summary>What follows, cut as this instruction's is.</summary>
    public IReadOnlyList<string> Arguments { get; init; } = [];

    /// <summary>The arguments are a JSON list.</summary>
    public bool IsJson { get; init; }

    /// <summary>Of ENV and LABEL.</summary>
    public IReadOnlyList<NamedValue> Pairs { get; init; } = [];

    /// <summary>Of ONBUILD.</summary>
    public RawInstruction? Trigger { get; init; }

    public IReadOnlyList<Heredoc> Heredocs { get; init; } = [];

    /// <summary>The logical line.</summary>
    public required string Line { get; init; }

    public LineSpan Lines { get; init; }

    /// <summary>The comments right above it, without their #.</summary>
    public IReadOnlyList<string> Comments { get; init; } = [];
}
