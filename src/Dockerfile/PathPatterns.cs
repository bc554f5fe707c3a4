using System.Text;
using System.Text.RegularExpressions;

namespace Berth.Dockerfile;

/// <summary>
/// Patterns of paths as .dockerignore and COPY --exclude have them: <c>*</c> and <c>?</c> stop at a slash, <c>**</c> does not, <c>[a-z]</c>; <c>!</c> takes back what an earlier pattern matched.
/// A pattern that matches a directory matches all beneath it.
/// </summary>
public sealed class PathPatterns
{
    /// <summary>Patterns of one file.</summary>
    public const int MaxPatterns = 10_000;

    private readonly List<Pattern> _patterns = [];

    /// <exception cref="DockerfileException">A pattern makes no sense.</exception>
    public PathPatterns(IEnumerable<string> patterns)
    {
        foreach (var given in patterns)
        {
            var text = given.Trim();
            if (text.Length == 0) continue;
            if (_patterns.Count == MaxPatterns) throw new DockerfileException($"there are more than {MaxPatterns} patterns");
            text = Clean(text);
            var except = text[0] == '!';
            if (except && text.Length == 1) throw new DockerfileException("illegal exclusion pattern: \"!\"");
            if (except) text = text[1..];
            // Most are plain paths: an expression would cost more than the whole rest.
            _patterns.Add(new Pattern(text, except, text.AsSpan().ContainsAny("*?[\\") ? Compile(text) : null));
        }
    }

    /// <summary>Some pattern takes back what others matched: a directory that is out may hold files that are not.</summary>
    public bool HasExceptions => _patterns.Any(p => p.Except);

    public bool IsEmpty => _patterns.Count == 0;

    /// <summary>The patterns' texts, of those that are not exceptions.</summary>
    public IEnumerable<string> Excluding => _patterns.Where(p => !p.Except).Select(p => p.Text);

    /// <param name="path">Relative to the root, with slashes.</param>
    public bool Matches(string path)
    {
        var matched = false;
        foreach (var pattern in _patterns)
        {
            if (pattern.Except != matched) continue; // it could change nothing
            var hit = pattern.IsMatch(path);
            for (var slash = path.IndexOf('/'); slash > 0 && !hit; slash = path.IndexOf('/', slash + 1)) hit = pattern.IsMatch(path.AsSpan(0, slash));
            if (hit) matched = !pattern.Except;
        }
        return matched;
    }

    /// <summary>One name against one pattern without slashes.</summary>
    /// <exception cref="DockerfileException"/>
    public static bool MatchesName(string pattern, string name) => Compile(pattern).IsMatch(name);

    /// <summary>The shortest path that means the same, by its text alone (Go's path.Clean).</summary>
    public static string Clean(string path)
    {
        var rooted = path.StartsWith('/');
        var parts = new List<string>();
        foreach (var part in path.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            if (part == ".") continue;
            if (part != ".." || (!rooted && (parts.Count == 0 || parts[^1] == ".."))) parts.Add(part);
            else if (parts.Count > 0) parts.RemoveAt(parts.Count - 1);
        }
        var clean = string.Join('/', parts);
        return rooted ? "/" + clean : clean.Length == 0 ? "." : clean;
    }

    private static Regex Compile(string text)
    {
        var expression = new StringBuilder("^");
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            switch (c)
            {
                case '*' when i + 1 < text.Length && text[i + 1] == '*':
                    i++;
                    if (i + 1 < text.Length && text[i + 1] == '/') i++;
                    expression.Append(i + 1 == text.Length ? ".*" : "(.*/)?");
                    break;
                case '*': expression.Append("[^/]*"); break;
                case '?': expression.Append("[^/]"); break;
                case '\\':
                    if (++i == text.Length) throw Wrong(text);
                    expression.Append(Regex.Escape(text[i].ToString()));
                    break;
                case '[':
                    i = Class(text, i, expression);
                    break;
                default: expression.Append(Regex.Escape(c.ToString())); break;
            }
        }
        // In time that grows with the text alone: patterns come from strangers.
        return new Regex(expression.Append("\\z").ToString(), RegexOptions.NonBacktracking | RegexOptions.CultureInvariant | RegexOptions.Singleline);
    }

    // [abc], [a-z], [^a]; a backslash quotes. Returns the index of its end.
    private static int Class(string text, int open, StringBuilder expression)
    {
        var i = open + 1;
        expression.Append('[');
        if (i < text.Length && text[i] == '^')
        {
            expression.Append('^');
            i++;
        }
        for (var count = 0; ; count++)
        {
            if (i < text.Length && text[i] == ']' && count > 0) break;
            var low = Member(ref i);
            expression.Append(ClassEscape(low));
            if (i >= text.Length || text[i] != '-') continue;
            i++;
            var high = Member(ref i);
            if (high < low) throw Wrong(text);
            expression.Append('-').Append(ClassEscape(high));
        }
        expression.Append(']');
        return i;

        char Member(ref int at)
        {
            if (at >= text.Length || text[at] is '-' or ']') throw Wrong(text);
            if (text[at] == '\\' && ++at >= text.Length) throw Wrong(text);
            var c = text[at++];
            return at < text.Length ? c : throw Wrong(text);
        }
    }

    private static string ClassEscape(char c) => $"\\u{(int)c:x4}";

    private static DockerfileException Wrong(string text) => new($"syntax error in pattern: {text}");

    private sealed record Pattern(string Text, bool Except, Regex? Expression)
    {
        public bool IsMatch(ReadOnlySpan<char> path) => Expression is { } expression ? expression.IsMatch(path) : path.SequenceEqual(Text);
    }
}
