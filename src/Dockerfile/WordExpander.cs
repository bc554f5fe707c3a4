using System.Text;

namespace Berth.Dockerfile;

/// <summary>What came of a word: its text, and which variables were asked for and were, or were not, there.</summary>
public sealed record Expansion(string Text, IReadOnlySet<string> Found, IReadOnlySet<string> Missing);

/// <summary>
/// Takes quotes and escapes away and puts variables in, as a shell does: <c>$x</c>, <c>${x}</c>, <c>${x:-word}</c>, <c>${x-word}</c>, <c>:+</c>, <c>+</c>, <c>:?</c>, <c>?</c>,
/// <c>${x#pattern}</c>, <c>##</c>, <c>%</c>, <c>%%</c>, <c>${x/pattern/text}</c>, <c>//</c>. No commands, no arithmetic, no globbing. Reference: Dockerfile reference, "Environment replacement".
/// </summary>
/// <param name="escape">The Dockerfile's escape character.</param>
/// <param name="lookup">A variable's value, null where there is none.</param>
public sealed class WordExpander(char escape, Func<string, string?> lookup)
{
    /// <summary>Braces within braces.</summary>
    private const int MaxNesting = 100;

    /// <summary>Quotes are text like any other: in the contents of here-documents.</summary>
    public bool QuotesAreText { get; init; }

    /// <summary>Quotes quote, but stay where they are.</summary>
    public bool KeepQuotes { get; init; }

    public bool KeepEscapes { get; init; }

    /// <summary>A variable that is not there is left as it is written.</summary>
    public bool KeepMissing { get; init; }

    /// <exception cref="DockerfileException">An open quote or brace, an unknown modifier, a variable that must be set.</exception>
    public Expansion Expand(string text)
    {
        var run = new Run(this, text);
        return new Expansion(run.Whole(), run.Found, run.Missing);
    }

    /// <summary>Cuts at blanks that are neither quoted nor escaped, those in the values of variables included.</summary>
    /// <exception cref="DockerfileException">As for <see cref="Expand"/>.</exception>
    public IReadOnlyList<string> Split(string text)
    {
        var run = new Run(this, text);
        run.Whole();
        return run.Words;
    }

    private sealed class Run(WordExpander rules, string text)
    {
        private const int AtEnd = -1;

        private readonly StringBuilder _word = new();
        private int _at, _nesting;

        public HashSet<string> Found { get; } = new(StringComparer.Ordinal);
        public HashSet<string> Missing { get; } = new(StringComparer.Ordinal);
        public List<string> Words { get; } = [];

        private int Peek => _at < text.Length ? text[_at] : AtEnd;

        public string Whole()
        {
            try
            {
                var result = Until(AtEnd, rules.KeepEscapes, outermost: true);
                EndWord();
                return result;
            }
            catch (Unfinished e)
            {
                throw new DockerfileException($"failed to process {Quote(text)}: {e.Message}");
            }
        }

        private string Until(int stop, bool keepEscapes, bool outermost = false)
        {
            if (++_nesting > MaxNesting) throw new Unfinished($"syntax error: braces nested deeper than {MaxNesting}");
            var result = new StringBuilder();
            while (_at < text.Length)
            {
                var c = text[_at];
                if (c == stop)
                {
                    _at++;
                    _nesting--;
                    return result.ToString();
                }
                if (c == '$')
                {
                    var value = Dollar();
                    result.Append(value);
                    // Blanks in a value do cut, as in a shell.
                    if (outermost) foreach (var v in value) AddCutting(v);
                }
                else if (c is '\'' or '"' && !rules.QuotesAreText)
                {
                    var quoted = c == '"' ? DoubleQuoted(keepEscapes) : SingleQuoted();
                    result.Append(quoted);
                    if (outermost) _word.Append(quoted);
                }
                else if (c == rules.Escape)
                {
                    _at++;
                    if (keepEscapes) Add(c);
                    if (_at < text.Length) Add(text[_at++]);
                }
                else if (c == '<' && _at + 1 < text.Length && text[_at + 1] == '<')
                {
                    // The name of a here-document may stand apart from the <<, and is of one word with it.
                    do Add(text[_at++]);
                    while (Peek is '<' or '\t' or '\r' or ' ');
                }
                else
                {
                    _at++;
                    result.Append(c);
                    if (outermost) AddCutting(c);
                }
            }
            if (stop != AtEnd) throw new Unfinished($"unexpected end of statement while looking for matching {(char)stop}");
            _nesting--;
            return result.ToString();

            void Add(char c)
            {
                result.Append(c);
                if (outermost) _word.Append(c);
            }
        }

        private void AddCutting(char c)
        {
            if (char.IsWhiteSpace(c)) EndWord();
            else _word.Append(c);
        }

        private void EndWord()
        {
            if (_word.Length == 0) return;
            Words.Add(_word.ToString());
            _word.Clear();
        }

        private string SingleQuoted()
        {
            var close = text.IndexOf('\'', _at + 1);
            if (close < 0) throw new Unfinished("unexpected end of statement while looking for matching single-quote");
            var inner = rules.KeepQuotes ? text[_at..(close + 1)] : text[(_at + 1)..close];
            _at = close + 1;
            return inner;
        }

        private string DoubleQuoted(bool keepEscapes)
        {
            var result = new StringBuilder();
            if (rules.KeepQuotes) result.Append('"');
            _at++;
            while (_at < text.Length)
            {
                var c = text[_at];
                if (c == '"')
                {
                    _at++;
                    if (rules.KeepQuotes) result.Append('"');
                    return result.ToString();
                }
                if (c == '$')
                {
                    result.Append(Dollar());
                    continue;
                }
                _at++;
                if (c != rules.Escape)
                {
                    result.Append(c);
                    continue;
                }
                // Within double quotes only these can be escaped; before anything else the escape is itself.
                var next = Peek;
                if (next == AtEnd) break;
                var escaped = next == '"' || next == '$' || next == rules.Escape;
                if (keepEscapes || !escaped) result.Append(c);
                if (escaped) result.Append(text[_at++]);
            }
            throw new Unfinished("unexpected end of statement while looking for matching double-quote");
        }

        private string Dollar()
        {
            _at++;
            if (Peek != '{')
            {
                var plain = Name();
                if (plain.Length == 0) return "$";
                return Value(plain) ?? (rules.KeepMissing ? "$" + plain : "");
            }
            _at++;
            switch (Peek)
            {
                case AtEnd: throw new Unfinished("syntax error: missing '}'");
                case '{' or '}' or ':': throw new Unfinished("syntax error: bad substitution");
            }
            var name = Name();
            var start = _at;
            var modifier = Take();
            switch (modifier)
            {
                case '}':
                    return Value(name) ?? (rules.KeepMissing ? $"${{{name}}}" : "");
                case '/':
                    return Replace(name);
            }
            var emptyIsUnset = modifier == ':';
            if (emptyIsUnset) modifier = Take();
            if (modifier == AtEnd) throw new Unfinished("syntax error: missing '}'");
            var written = text[start.._at];
            if (modifier is not ('-' or '+' or '?' or '#' or '%') || (emptyIsUnset && modifier is '#' or '%')) throw new Unfinished($"unsupported modifier ({written}) in substitution");
            var word = Part('}', modifier is '#' or '%', "syntax error: missing '}'");
            var value = Value(name);
            if (value is null && rules.KeepMissing) return $"${{{name}{written}{word}}}";
            var has = value is not null && (!emptyIsUnset || value.Length > 0);
            switch (modifier)
            {
                case '-': return has ? value! : word;
                case '+': return has ? word : "";
                case '?':
                    if (has) return value!;
                    throw new Unfinished($"{name}: {(word.Length > 0 ? word : value is null ? "is not allowed to be unset" : "is not allowed to be empty")}");
                default:
                    var longest = word.Length > 0 && word[0] == modifier;
                    var pattern = Pattern(longest ? word[1..] : word);
                    return modifier == '#' ? pattern.TrimStart(value ?? "", longest) : pattern.TrimEnd(value ?? "", longest);
            }
        }

        private string Replace(string name)
        {
            var all = Peek == '/';
            if (all) _at++;
            var pattern = Part('/', keepEscapes: true, "syntax error: missing '/' in ${}");
            var replacement = Part('}', keepEscapes: true, "syntax error: missing '}'");
            var value = Value(name);
            if (value is null && rules.KeepMissing) return $"${{{name}/{pattern}/{replacement}}}";
            return Pattern(pattern).Replace(value ?? "", replacement, all);
        }

        private string Part(int stop, bool keepEscapes, string missing)
        {
            try
            {
                return Until(stop, keepEscapes);
            }
            catch (Unfinished) when (_at >= text.Length)
            {
                throw new Unfinished(missing);
            }
        }

        private static ShellPattern Pattern(string text) =>
            ShellPattern.TryParse(text, out var pattern, out var wrong) ? pattern : throw new Unfinished($"invalid pattern ({text}) in substitution: {wrong}");

        private int Take() => _at < text.Length ? text[_at++] : AtEnd;

        // A name, digits alone, or one of the shell's special parameters.
        private string Name()
        {
            var start = _at;
            if (Peek is var c && c != AtEnd && char.IsDigit((char)c))
            {
                while (_at < text.Length && char.IsDigit(text[_at])) _at++;
            }
            else if (Peek is '@' or '*' or '#' or '?' or '-' or '$' or '!')
            {
                _at++;
            }
            else
            {
                while (_at < text.Length && (char.IsLetterOrDigit(text[_at]) || text[_at] == '_')) _at++;
            }
            return text[start.._at];
        }

        private string? Value(string name)
        {
            var value = rules.Lookup(name);
            (value is null ? Missing : Found).Add(name);
            return value;
        }
    }

    private char Escape => escape;

    private string? Lookup(string name) => lookup(name);

    private static string Quote(string text) => Api.Go.GoText.Quote(text);

    private sealed class Unfinished(string message) : Exception(message);
}
