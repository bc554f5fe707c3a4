using System.Globalization;
using System.Text;

namespace Berth.Images.Registry;

/// <summary>The part of TOML that hosts.toml is written in: tables, dotted, bare and quoted keys, strings, booleans, whole numbers, arrays.</summary>
internal static class Toml
{
    /// <summary>Tables and arrays within each other.</summary>
    private const int MaxDepth = 16;

    /// <summary>Keys in the order they were written: that of mirrors is the order they are tried in.</summary>
    public sealed class Table : List<KeyValuePair<string, object>>
    {
        public bool TryGetValue(string key, out object value)
        {
            foreach (var (name, found) in this)
            {
                value = found;
                if (name == key) return true;
            }
            value = "";
            return false;
        }
    }

    /// <exception cref="ImageException">InvalidParameter, with the line.</exception>
    public static Table Parse(string text, string path) => new Reader(text, path).Read();

    private sealed class Reader(string text, string path)
    {
        private int at, line = 1;

        public Table Read()
        {
            var root = new Table();
            var current = root;
            while (true)
            {
                SkipSpace(lines: true);
                if (at == text.Length) return root;
                if (text[at] == '[')
                {
                    at++;
                    if (Peek() == '[') throw Wrong("lists of tables are not read here");
                    var keys = Keys();
                    Expect(']');
                    current = Enter(root, keys);
                }
                else
                {
                    var keys = Keys();
                    Expect('=');
                    var table = Enter(current, keys[..^1]);
                    if (table.TryGetValue(keys[^1], out _)) throw Wrong($"{keys[^1]} is there twice");
                    table.Add(new(keys[^1], Value(0)));
                }
                SkipSpace(lines: false);
                if (at < text.Length && text[at] != '\n') throw Wrong("something is left at the end of the line");
            }
        }

        private Table Enter(Table table, IReadOnlyList<string> keys)
        {
            if (keys.Count > MaxDepth) throw Wrong("too many keys within each other");
            foreach (var key in keys)
            {
                if (!table.TryGetValue(key, out var inner)) table.Add(new(key, inner = new Table()));
                table = inner as Table ?? throw Wrong($"{key} is no table");
            }
            return table;
        }

        private List<string> Keys()
        {
            var keys = new List<string>();
            do
            {
                SkipSpace(lines: false);
                if (Peek() is '"' or '\'') keys.Add(String());
                else
                {
                    var start = at;
                    while (at < text.Length && (char.IsAsciiLetterOrDigit(text[at]) || text[at] is '_' or '-')) at++;
                    if (at == start) throw Wrong("a key is expected");
                    keys.Add(text[start..at]);
                }
                SkipSpace(lines: false);
            } while (Take('.'));
            return keys;
        }

        private object Value(int depth)
        {
            if (depth > MaxDepth) throw Wrong("too many lists within each other");
            SkipSpace(lines: false);
            switch (Peek())
            {
                case '"' or '\'':
                    return String();
                case '[':
                    at++;
                    var list = new List<object>();
                    while (true)
                    {
                        SkipSpace(lines: true);
                        if (Take(']')) return list;
                        list.Add(Value(depth + 1));
                        SkipSpace(lines: true);
                        if (!Take(',') && Peek() != ']') throw Wrong("a list does not end");
                    }
                case '{':
                    at++;
                    var table = new Table();
                    while (true)
                    {
                        SkipSpace(lines: false);
                        if (Take('}')) return table;
                        var keys = Keys();
                        Expect('=');
                        Enter(table, keys[..^1]).Add(new(keys[^1], Value(depth + 1)));
                        SkipSpace(lines: false);
                        if (!Take(',') && Peek() != '}') throw Wrong("a table does not end");
                    }
                default:
                    var start = at;
                    while (at < text.Length && (char.IsAsciiLetterOrDigit(text[at]) || text[at] is '+' or '-' or '_' or '.')) at++;
                    var word = text[start..at];
                    if (word is "true" or "false") return word == "true";
                    return long.TryParse(word.Replace("_", "", StringComparison.Ordinal), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) ? number : throw Wrong($"\"{word}\" is no value");
            }
        }

        private string String()
        {
            var quote = text[at++];
            if (at + 1 < text.Length && text[at] == quote && text[at + 1] == quote) throw Wrong("strings of several lines are not read here");
            var value = new StringBuilder();
            while (true)
            {
                if (at == text.Length || text[at] == '\n') throw Wrong("a string does not end");
                var c = text[at++];
                if (c == quote) return value.ToString();
                if (c == '\\' && quote == '"')
                {
                    value.Append(Peek() switch
                    {
                        'n' => '\n', 't' => '\t', 'r' => '\r', '"' => '"', '\\' => '\\',
                        var other => throw Wrong($"\\{other} in a string is not read here"),
                    });
                    at++;
                }
                else value.Append(c);
            }
        }

        private char Peek() => at < text.Length ? text[at] : '\0';

        private bool Take(char c)
        {
            if (Peek() != c || at == text.Length) return false;
            at++;
            return true;
        }

        private void Expect(char c)
        {
            SkipSpace(lines: false);
            if (!Take(c)) throw Wrong($"'{c}' is expected");
        }

        private void SkipSpace(bool lines)
        {
            for (; at < text.Length; at++)
            {
                if (text[at] == '#')
                    while (at + 1 < text.Length && text[at + 1] != '\n') at++;
                else if (text[at] == '\n' && lines) line++;
                else if (text[at] is not (' ' or '\t' or '\r')) return;
            }
        }

        private ImageException Wrong(string what) => ImageException.Invalid($"{path}: line {line}: {what}");
    }
}
