namespace Berth.Dockerfile;

/// <summary>The comments at the very top that speak to the parser: <c># syntax=</c>, <c># escape=</c>, <c># check=</c>. Reference: Dockerfile reference, "Parser directives".</summary>
public sealed class ParserDirectives
{
    private readonly Dictionary<string, (string Value, int Line)> _values = new(StringComparer.Ordinal);
    private bool _over;

    /// <summary>The frontend image asked for; null where the built-in language is meant.</summary>
    public string? Syntax => this["syntax"] is { } value ? value.Split(' ', 2)[0] : null;

    public char Escape => this["escape"] is { } value ? value[0] : '\\';

    /// <summary>Options of the checks, see <see cref="CheckOptions"/>.</summary>
    public string? Check => this["check"]?.Split(' ', 2)[0];

    public string? this[string name] => _values.TryGetValue(name, out var found) ? found.Value : null;

    public LineSpan? LinesOf(string name) => _values.TryGetValue(name, out var found) ? new LineSpan(found.Line, found.Line) : null;

    /// <summary>Reads a line of the top; the first that is no directive ends them.</summary>
    /// <returns>Whether it was one.</returns>
    /// <exception cref="DockerfileException">Twice the same, or an escape that is none.</exception>
    internal bool TryRead(string line, int number)
    {
        if (_over) return false;
        if (!TryParse(line, "#", out var name, out var value))
        {
            _over = true;
            return false;
        }
        if (!_values.TryAdd(name, (value, number))) throw new DockerfileException($"only one {name} parser directive can be used", new LineSpan(number, number));
        if (name == "escape" && value is not ("\\" or "`")) throw new DockerfileException($"invalid escape token '{value}' does not match ` or \\", new LineSpan(number, number));
        return true;
    }

    /// <summary>One directive by itself, as it also stands above a single instruction (<c># check=skip=…</c>).</summary>
    internal static bool TryParse(string line, string prefix, out string name, out string value)
    {
        (name, value) = ("", "");
        if (!line.StartsWith(prefix, StringComparison.Ordinal)) return false;
        var rest = line[prefix.Length..].Trim();
        var equals = rest.IndexOf('=');
        if (equals <= 0) return false;
        name = rest[..equals].TrimEnd().ToLowerInvariant();
        value = rest[(equals + 1)..].TrimStart();
        return name is "syntax" or "escape" or "check" && value.Length > 0;
    }
}
