using System.Text;

namespace Berth.Compose.Loading;

/// <summary>
/// Files of variables. `.env` syntax: NAME=value lines, single quotes literal, double quotes with escapes and variables, both over
/// several lines, " #" begins a comment, `export ` is passed over, a bare NAME takes the value of the surroundings.
/// </summary>
internal static class DotEnv
{
    /// <summary>A file of variables is text that somebody wrote.</summary>
    public const int MaxBytes = 16 << 20;

    /// <summary>Reads files one after the other, the later ones on top; the surroundings win in what refers to them.</summary>
    public static Dictionary<string, string> Read(IReadOnlyDictionary<string, string> surroundings, IEnumerable<string> files)
    {
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var file in files)
        {
            var path = Path.GetFullPath(file);
            if (Directory.Exists(path)) throw new ComposeException($"{path} is a directory");
            if (!File.Exists(path)) throw new ComposeException($"couldn't find env file: {path}");
            Parse(Text(path), path, values, name => surroundings.TryGetValue(name, out var value) || values.TryGetValue(name, out value) ? value : null);
        }
        return values;
    }

    public static string Text(string path)
    {
        var length = new FileInfo(path).Length;
        if (length > MaxBytes) throw new ComposeException($"{path}: {length} bytes are more than the {MaxBytes} of an env file");
        return File.ReadAllText(path);
    }

    public static void ParseWithFormat(string path, string format, Dictionary<string, string> values, VariableLookup lookup)
    {
        switch (format)
        {
            case "" or ".env": Parse(Text(path), path, values, lookup); break;
            case "raw": ParseRaw(Text(path), path, values, lookup); break;
            default: throw new ComposeException($"unsupported env_file format {GoText.Quote(format)}");
        }
    }

    /// <summary>docker run --env-file: NAME=value, nothing else has a meaning.</summary>
    private static void ParseRaw(string text, string path, Dictionary<string, string> values, VariableLookup lookup)
    {
        foreach (var line in text.TrimStart('\uFEFF').Split('\n'))
        {
            var trimmed = line.TrimEnd('\r').TrimStart();
            if (trimmed.Length == 0 || trimmed[0] == '#') continue;
            var equals = trimmed.IndexOf('=');
            var name = equals < 0 ? trimmed : trimmed[..equals];
            if (name.Length == 0) throw new ComposeException($"failed to parse env_file {path}: no variable name on line '{trimmed}'");
            if (name.AsSpan().IndexOfAny(' ', '\t') >= 0) throw new ComposeException($"failed to parse env_file {path}: variable '{name}' contains whitespaces");
            if (equals >= 0) values[name] = trimmed[(equals + 1)..];
            else if (lookup(name) is { } value) values[name] = value;
        }
    }

    private static void Parse(string text, string path, Dictionary<string, string> values, VariableLookup lookup)
    {
        try
        {
            new Parser(text.TrimStart('\uFEFF'), values, lookup).Run();
        }
        catch (FormatException e)
        {
            throw new ComposeException($"failed to read {path}: {e.Message}");
        }
        catch (InvalidTemplateException e)
        {
            throw new ComposeException($"failed to read {path}: {e.Message}");
        }
    }

    private ref struct Parser(string text, Dictionary<string, string> values, VariableLookup lookup)
    {
        private int _at;
        private int _line = 1;

        public void Run()
        {
            while (ToStatement())
            {
                var (name, inherited) = Name();
                if (name.Contains(' ')) throw new FormatException($"line {_line}: key cannot contain a space");
                if (inherited)
                {
                    if (lookup(name) is { } value) values[name] = value;
                }
                else values[name] = Value();
            }
        }

        private bool ToStatement()
        {
            while (_at < text.Length)
            {
                if (text[_at] == '#')
                {
                    while (_at < text.Length && text[_at] != '\n') _at++;
                    continue;
                }
                if (!char.IsWhiteSpace(text[_at])) return true;
                if (text[_at++] == '\n') _line++;
            }
            return false;
        }

        private (string Name, bool Inherited) Name()
        {
            if (text.AsSpan(_at).StartsWith("export") && _at + 6 < text.Length && char.IsWhiteSpace(text[_at + 6]))
            {
                _at += 6;
                SkipSpaces();
            }
            var start = _at;
            for (; _at < text.Length; _at++)
            {
                var c = text[_at];
                if (IsSpace(c) || c is '_' or '.' or '-' or '[' or ']' || char.IsLetterOrDigit(c)) continue;
                if (c is not ('=' or ':' or '\n'))
                {
                    var line = text.AsSpan(start);
                    if (line.IndexOf('\n') is >= 0 and var end) line = line[..end];
                    throw new FormatException($"line {_line}: unexpected character {GoText.Quote(c.ToString())} in variable name {GoText.Quote(line.ToString())}");
                }
                var name = text[start.._at].TrimEnd();
                _at++;
                if (c == '\n') _line++;
                SkipSpaces();
                return (name, c == '\n');
            }
            return (text[start..].TrimEnd(), true);
        }

        private string Value()
        {
            if (_at < text.Length && text[_at] is '"' or '\'') return Quoted(text[_at]);
            var end = text.IndexOf('\n', _at);
            if (end < 0) end = text.Length;
            var value = text[_at..end];
            _at = Math.Min(end + 1, text.Length);
            _line++;
            var comment = value.IndexOf(" #", StringComparison.Ordinal);
            if (comment >= 0) value = value[..comment];
            return Expand(value.TrimEnd());
        }

        private string Quoted(char quote)
        {
            var start = _at++;
            var value = new StringBuilder();
            var escaped = false;
            for (; _at < text.Length; _at++)
            {
                var c = text[_at];
                if (c == '\n') _line++;
                if (c == quote && !escaped)
                {
                    _at++;
                    return quote == '"' ? Expand(Unescape(value.ToString())) : value.ToString();
                }
                if (c != quote && !escaped && c == '\\')
                {
                    escaped = true;
                    continue;
                }
                if (escaped && c != quote) value.Append('\\');
                escaped = false;
                value.Append(c);
            }
            var line = text.AsSpan(start);
            if (line.IndexOf('\n') is >= 0 and var end) line = line[..end];
            throw new FormatException($"line {_line}: unterminated quoted value {line}");
        }

        private string Expand(string value)
        {
            var (known, outer) = (values, lookup);
            return Variables.Substitute(value, name => outer(name) ?? (known.TryGetValue(name, out var there) ? there : null));
        }

        private void SkipSpaces()
        {
            while (_at < text.Length && IsSpace(text[_at])) _at++;
        }

        private static bool IsSpace(char c) => c is '\t' or '\v' or '\f' or '\r' or ' ' or '\u0085' or '\u00A0';

        private static string Unescape(string value)
        {
            if (!value.Contains('\\')) return value;
            var result = new StringBuilder(value.Length);
            for (var i = 0; i < value.Length; i++)
            {
                if (value[i] != '\\' || i + 1 == value.Length)
                {
                    result.Append(value[i]);
                    continue;
                }
                var c = value[++i];
                if (c == '0')
                {
                    var digits = 0;
                    while (digits < 3 && i + 1 + digits < value.Length && value[i + 1 + digits] is >= '0' and <= '7') digits++;
                    if (digits == 3)
                    {
                        result.Append((char)Convert.ToInt32(value.Substring(i + 1, 3), 8));
                        i += 3;
                        continue;
                    }
                }
                result.Append(c switch
                {
                    'a' => "\a", 'b' => "\b", 'f' => "\f", 'n' => "\n", 'r' => "\r", 't' => "\t", 'v' => "\v", '"' => "\"", '\\' => "\\",
                    '$' => "$$", // a dollar sign that begins no variable
                    _ => "\\" + c,
                });
            }
            return result.ToString();
        }
    }
}
