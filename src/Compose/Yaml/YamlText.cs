using System.Globalization;
using System.Text;

namespace Berth.Compose.Yaml;

/// <summary>
/// YAML in the form that go-yaml writes, byte for byte: `compose config` is compared, hashed and checked in by people. Lists are
/// indented by two beneath their key, keys of free maps are in natural order, and a string is quoted only when it must be.
/// </summary>
internal sealed class YamlText
{
    private readonly StringBuilder _out = new();

    public override string ToString() => _out.ToString();

    /// <summary>A value of no particular type, at the left margin or beneath a key.</summary>
    public void Any(Node node, int indent)
    {
        switch (node.Kind)
        {
            case NodeKind.Map:
                Map([.. Sorted(node.Entries)], indent, static (writer, value, depth) => writer.Any(value, depth));
                break;
            case NodeKind.List:
                List(node.Items, indent, static (writer, value, depth) => writer.Any(value, depth));
                break;
            default:
                Scalar(node, indent);
                break;
        }
    }

    public static IEnumerable<KeyValuePair<string, Node>> Sorted(IReadOnlyDictionary<string, Node> map)
    {
        var list = new List<KeyValuePair<string, Node>>(map);
        list.Sort(static (a, b) => NaturalOrder.Compare(a.Key, b.Key));
        return list;
    }

    /// <summary>A block map; the writer stands after "key:" or "- " or at the beginning of the text.</summary>
    public void Map<T>(IReadOnlyList<KeyValuePair<string, T>> entries, int indent, Action<YamlText, T, int> value)
    {
        if (entries.Count == 0)
        {
            Inline("{}");
            return;
        }
        var first = true;
        foreach (var (key, item) in entries)
        {
            BeginLine(indent, first);
            first = false;
            _out.Append(Quoted(key)).Append(':');
            value(this, item, indent + 2);
        }
    }

    public void List(IReadOnlyList<Node> items, int indent, Action<YamlText, Node, int> value)
    {
        if (items.Count == 0)
        {
            Inline("[]");
            return;
        }
        var first = true;
        foreach (var item in items)
        {
            BeginLine(indent, first);
            first = false;
            _out.Append('-');
            _afterDash = true;
            value(this, item, indent + 2);
            _afterDash = false;
        }
    }

    private bool _afterDash;

    // A map or list that begins right after "- " goes on in the same line.
    private void BeginLine(int indent, bool first)
    {
        if (first && _afterDash)
        {
            _afterDash = false;
            _out.Append(' ');
            return;
        }
        _afterDash = false;
        if (_out.Length > 0 && _out[^1] != '\n') _out.Append('\n');
        _out.Append(' ', indent);
    }

    private void Inline(string text)
    {
        _afterDash = false;
        if (_out.Length > 0) _out.Append(' ');
        _out.Append(text).Append('\n');
    }

    public void Scalar(Node node, int indent)
    {
        switch (node.Kind)
        {
            case NodeKind.Null: Inline("null"); break;
            case NodeKind.Bool: Inline(node.Bool ? "true" : "false"); break;
            case NodeKind.Int: Inline(node.Int.ToString(CultureInfo.InvariantCulture)); break;
            case NodeKind.Float: Float(node.Float, single: false); break;
            default: Text(node.Text, indent); break;
        }
    }

    public void Float(double value, bool single) => Inline(value switch
    {
        double.PositiveInfinity => ".inf",
        double.NegativeInfinity => "-.inf",
        double.NaN => ".nan",
        _ => single ? GoNumber.General32((float)value) : GoNumber.General(value),
    });

    public void Text(string text, int indent)
    {
        if (text.Contains('\n') && new Analysis(text).BlockAllowed) Literal(text, indent);
        else Inline(Quoted(text));
    }

    private void Literal(string text, int indent)
    {
        _afterDash = false;
        _out.Append(" |");
        if (text[0] is ' ' or '\n') _out.Append('2');
        if (!text.EndsWith('\n')) _out.Append('-');
        else if (text.Length == 1 || text[^2] == '\n') _out.Append('+');
        _out.Append('\n');
        foreach (var line in (text.EndsWith('\n') ? text[..^1] : text).Split('\n'))
        {
            if (line.Length > 0) _out.Append(' ', indent).Append(line);
            _out.Append('\n');
        }
    }

    /// <summary>A scalar on one line: plain when it would be read as the same string, in quotes otherwise.</summary>
    internal static string Quoted(string text)
    {
        var analysis = new Analysis(text);
        var multiline = text.Contains('\n');
        if (!multiline && YamlReader.Resolve(text).Kind == NodeKind.String && !LooksLikeDate(text) && !IsOldBool(text) && !IsBase60(text))
        {
            if (analysis.PlainAllowed) return text;
            if (analysis.SingleQuotedAllowed) return "'" + text.Replace("'", "''", StringComparison.Ordinal) + "'";
        }
        return Escaped(text);
    }

    private static bool IsOldBool(string text) => text is "y" or "Y" or "yes" or "Yes" or "YES" or "on" or "On" or "ON" or "n" or "N" or "no" or "No" or "NO" or "off" or "Off" or "OFF";

    // 12:30:45 was a number in YAML 1.1: ^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$
    private static bool IsBase60(string text)
    {
        if (text.Length == 0 || !(text[0] is '-' or '+' || char.IsAsciiDigit(text[0])) || !text.Contains(':')) return false;
        var i = text[0] is '-' or '+' ? 1 : 0;
        if (i >= text.Length || !char.IsAsciiDigit(text[i])) return false;
        while (i < text.Length && (char.IsAsciiDigit(text[i]) || text[i] == '_')) i++;
        var groups = 0;
        while (i < text.Length && text[i] == ':')
        {
            i++;
            var digits = 0;
            if (i + 1 < text.Length && text[i] is >= '0' and <= '5' && char.IsAsciiDigit(text[i + 1])) digits = 2;
            else if (i < text.Length && char.IsAsciiDigit(text[i])) digits = 1;
            if (digits == 0) return false;
            i += digits;
            groups++;
        }
        if (i < text.Length && text[i] == '.')
        {
            i++;
            while (i < text.Length && (char.IsAsciiDigit(text[i]) || text[i] == '_')) i++;
        }
        return groups > 0 && i == text.Length;
    }

    // go-yaml reads 2006-01-02 and its longer forms as times.
    private static bool LooksLikeDate(string text)
    {
        if (text.Length < 8 || !char.IsAsciiDigit(text[0])) return false;
        var dash = text.IndexOf('-');
        if (dash != 4) return false;
        for (var i = 0; i < 4; i++)
            if (!char.IsAsciiDigit(text[i])) return false;
        return DateTime.TryParseExact(text, DateForms, CultureInfo.InvariantCulture, DateTimeStyles.None, out _);
    }

    private static readonly string[] DateForms =
    [
        "yyyy-M-d", "yyyy-M-d'T'H:m:s.FFFFFFFK", "yyyy-M-d't'H:m:s.FFFFFFFK", "yyyy-M-d H:m:s.FFFFFFF",
    ];

    private static string Escaped(string text)
    {
        var quoted = new StringBuilder(text.Length + 2).Append('"');
        foreach (var rune in text.EnumerateRunes())
        {
            switch (rune.Value)
            {
                case 0: quoted.Append("\\0"); break;
                case 7: quoted.Append("\\a"); break;
                case 8: quoted.Append("\\b"); break;
                case 9: quoted.Append("\\t"); break;
                case 10: quoted.Append("\\n"); break;
                case 11: quoted.Append("\\v"); break;
                case 12: quoted.Append("\\f"); break;
                case 13: quoted.Append("\\r"); break;
                case 27: quoted.Append("\\e"); break;
                case '"': quoted.Append("\\\""); break;
                case '\\': quoted.Append("\\\\"); break;
                case 0x85: quoted.Append("\\N"); break;
                case 0xa0: quoted.Append("\\_"); break;
                case 0x2028: quoted.Append("\\L"); break;
                case 0x2029: quoted.Append("\\P"); break;
                default:
                    if (IsPrintable(rune.Value)) quoted.Append(rune.ToString());
                    else if (rune.Value <= 0xff) quoted.Append("\\x").Append(rune.Value.ToString("X2", CultureInfo.InvariantCulture));
                    else if (rune.Value <= 0xffff) quoted.Append("\\u").Append(rune.Value.ToString("X4", CultureInfo.InvariantCulture));
                    else quoted.Append("\\U").Append(rune.Value.ToString("X8", CultureInfo.InvariantCulture));
                    break;
            }
        }
        return quoted.Append('"').ToString();
    }

    private static bool IsPrintable(int rune) => rune is 0x0a or (>= 0x20 and <= 0x7e) or (>= 0xa0 and < 0xd800) or (>= 0xe000 and <= 0xfffd and not 0xfeff); // as go-yaml has it: nothing past the first plane

    /// <summary>Which styles can carry a scalar (YAML 1.1 section 5 to 9, as libyaml's emitter decides it).</summary>
    private readonly struct Analysis
    {
        public readonly bool PlainAllowed;
        public readonly bool SingleQuotedAllowed;
        public readonly bool BlockAllowed;

        public Analysis(string text)
        {
            if (text.Length == 0)
            {
                (PlainAllowed, SingleQuotedAllowed, BlockAllowed) = (false, true, false);
                return;
            }
            var indicators = text.StartsWith("---", StringComparison.Ordinal) || text.StartsWith("...", StringComparison.Ordinal);
            bool special = false, tabs = false, breaks = false, edgeSpace = false, trailingSpace = false, breakSpace = false, spaceBreak = false, previousSpace = false, previousBreak = false, afterBlank = true;
            for (var i = 0; i < text.Length; i++)
            {
                var c = text[i];
                var last = i == text.Length - 1;
                var beforeBlank = last || text[i + 1] is ' ' or '\t' or '\n' or '\r' or '\u0085' or '\u2028' or '\u2029';
                if (i == 0)
                {
                    if (c is '#' or ',' or '[' or ']' or '{' or '}' or '&' or '*' or '!' or '|' or '>' or '\'' or '"' or '%' or '@' or '`') indicators = true;
                    else if (c is '?' or ':' or '-' && beforeBlank) indicators = true;
                }
                else if (c == ':' && beforeBlank) indicators = true;
                else if (c == '#' && afterBlank) indicators = true;
                if (c == '\t') tabs = true;
                else if (!IsPrintable(c)) special = true;
                if (c == ' ')
                {
                    if (i == 0 || last) edgeSpace = true;
                    if (last) trailingSpace = true;
                    if (previousBreak) breakSpace = true;
                    (previousSpace, previousBreak) = (true, false);
                }
                else if (c is '\n' or '\r' or '\u0085' or '\u2028' or '\u2029')
                {
                    breaks = true;
                    if (i == 0 || last) edgeSpace = true;
                    if (previousSpace) spaceBreak = true;
                    (previousSpace, previousBreak) = (false, true);
                }
                else (previousSpace, previousBreak) = (false, false);
                afterBlank = c is ' ' or '\t' or '\n' or '\r' or '\u0085' or '\u2028' or '\u2029';
            }
            var broken = breakSpace || spaceBreak || tabs || special;
            PlainAllowed = !edgeSpace && !broken && !breaks && !indicators;
            SingleQuotedAllowed = !broken;
            BlockAllowed = !trailingSpace && !spaceBreak && !special;
        }
    }
}
