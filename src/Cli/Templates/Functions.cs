using System.Collections;
using System.Globalization;
using System.Text;

namespace Berth.Cli.Templates;

/// <summary>The functions of a template: Go's own and those docker adds. Errors are thrown without saying where.</summary>
internal static class Functions
{
    private static readonly Dictionary<string, Func<object?[], object?>> All = new(StringComparer.Ordinal)
    {
        // docker's
        ["json"] = static a => GoValue.ToJson(One(a)),
        ["split"] = static a => Text(a, 0).Split(Text(a, 1, 2)) is var parts && Text(a, 1, 2).Length == 0 ? Text(a, 0).Select(c => c.ToString()).ToArray() : parts,
        ["join"] = static a => string.Join(Text(a, 1, 2), List(a[0]).Select(GoValue.Print)),
        ["title"] = static a => Title(Text(a, 0, 1)),
        ["lower"] = static a => Text(a, 0, 1).ToLowerInvariant(),
        ["upper"] = static a => Text(a, 0, 1).ToUpperInvariant(),
        ["pad"] = static a => Text(a, 0, 3) is { Length: 0 } empty ? empty : new string(' ', Size(a, 1)) + Text(a, 0) + new string(' ', Size(a, 2)),
        ["truncate"] = static a => Text(a, 0, 2) is var text && text.Length > Size(a, 1) ? text[..Size(a, 1)] : text,
        ["println"] = static a => string.Join(' ', a.Select(GoValue.Print)) + "\n",
        // Go's
        ["print"] = static a => Join(a),
        ["printf"] = static a => Format(a),
        ["len"] = static a => Length(One(a)),
        ["index"] = Index,
        ["slice"] = Slice,
        ["not"] = static a => !GoValue.IsTrue(One(a)),
        ["and"] = static a => a.FirstOrDefault(v => !GoValue.IsTrue(v), a[^1]),
        ["or"] = static a => a.FirstOrDefault(GoValue.IsTrue, a[^1]),
        ["eq"] = static a => a.Length > 1 ? a.Skip(1).Any(v => Same(a[0], v)) : throw new TemplateException("error calling eq: missing argument for comparison"),
        ["ne"] = static a => !Same(a[0], Two(a)),
        ["lt"] = static a => Order(a) < 0,
        ["le"] = static a => Order(a) <= 0,
        ["gt"] = static a => Order(a) > 0,
        ["ge"] = static a => Order(a) >= 0,
        ["html"] = static a => Join(a).Replace("&", "&amp;").Replace("'", "&#39;").Replace("\"", "&#34;").Replace("<", "&lt;").Replace(">", "&gt;"),
        ["js"] = static a => Script(Join(a)),
        ["call"] = static _ => throw new TemplateException("error calling call: nothing here is a function"), // the template says which
        ["urlquery"] = static a => Uri.EscapeDataString(Join(a)).Replace("%20", "+"),
    };

    public static bool Exists(string name) => All.ContainsKey(name);

    /// <summary>In a line of headings it gives its first argument back.</summary>
    public static bool LeavesHeadings(string name) => name is "json" or "split" or "join" or "title" or "lower" or "upper" or "truncate";

    public static object? Call(string name, object?[] arguments)
    {
        try
        {
            return All[name](arguments);
        }
        catch (IndexOutOfRangeException)
        {
            throw new TemplateException($"wrong number of args for {name}: got {arguments.Length}");
        }
    }

    /// <summary>text/template's JSEscapeString.</summary>
    private static string Script(string text)
    {
        var escaped = new StringBuilder(text.Length);
        foreach (var c in text)
            escaped.Append(c switch
            {
                '\\' => "\\\\", '\'' => "\\'", '"' => "\\\"", '<' => "\\u003C", '>' => "\\u003E", '&' => "\\u0026", '=' => "\\u003D",
                < ' ' => $"\\u{(int)c:X4}",
                _ => c.ToString(),
            });
        return escaped.ToString();
    }

    /// <summary>fmt.Sprint: a space between two neighbours that are both no strings.</summary>
    private static string Join(object?[] values)
    {
        var text = new StringBuilder();
        for (var i = 0; i < values.Length; i++)
        {
            if (i > 0 && values[i] is not string && values[i - 1] is not string) text.Append(' ');
            text.Append(GoValue.Print(values[i]));
        }
        return text.ToString();
    }

    private static object? One(object?[] arguments) => arguments.Length == 1 ? arguments[0] : throw new IndexOutOfRangeException();

    private static object? Two(object?[] arguments) => arguments.Length == 2 ? arguments[1] : throw new IndexOutOfRangeException();

    private static string Text(object?[] arguments, int index, int count = -1)
    {
        if (count >= 0 && arguments.Length != count) throw new IndexOutOfRangeException();
        return arguments[index] as string ?? throw new TemplateException($"wrong type for value; expected string; got {GoValue.TypeName(arguments[index])}");
    }

    /// <summary>Widest padding and longest cut.</summary>
    private const int MaxSize = 1 << 16;

    private static int Size(object?[] arguments, int index) => arguments[index] is long number ? (int)Math.Clamp(number, 0, MaxSize) : throw new TemplateException($"wrong type for value; expected int; got {GoValue.TypeName(arguments[index])}");

    private static IEnumerable<object?> List(object? value) => value switch
    {
        null => [],
        JsonValue { IsArray: true } array => array.Items,
        string => throw new TemplateException("wrong type for value; expected []string; got string"),
        IEnumerable list => list.Cast<object?>(),
        _ => throw new TemplateException($"wrong type for value; expected []string; got {GoValue.TypeName(value)}"),
    };

    private static string Title(string text)
    {
        var result = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length; i++)
            result.Append(i == 0 || !(char.IsLetterOrDigit(text[i - 1]) || text[i - 1] is '_' or '\'') ? char.ToUpperInvariant(text[i]) : text[i]);
        return result.ToString();
    }

    private static object Length(object? value) => value switch
    {
        string text => (long)Encoding.UTF8.GetByteCount(text),
        JsonValue json => (long)json.Count,
        ICollection list => (long)list.Count,
        null => throw new TemplateException("error calling len: len of nil pointer"),
        _ => throw new TemplateException($"error calling len: len of type {(value is long ? "int" : GoValue.TypeName(value))}"),
    };

    private static object? Index(object?[] arguments)
    {
        var value = arguments[0];
        foreach (var key in arguments.AsSpan(1))
        {
            switch (value, key)
            {
                case (JsonValue { IsArray: true } or ICollection, long index):
                    var list = List(value).ToList();
                    value = index >= 0 && index < list.Count ? list[(int)index] : throw new TemplateException($"error calling index: index out of range: {index}");
                    break;
                case (JsonValue { KeysArePorts: true }, string):
                    throw new TemplateException("error calling index: value has type string; should be nat.Port");
                case (JsonValue { IsArray: false } map, string name):
                    if (!map.TryGet(name, out value)) value = map.Type == typeof(Dictionary<string, string>) ? "" : null;
                    break;
                case (string text, long at):
                    var bytes = Encoding.UTF8.GetBytes(text);
                    value = at >= 0 && at < bytes.Length ? (long)bytes[at] : throw new TemplateException($"error calling index: index out of range: {at}");
                    break;
                case (null, _):
                    // A nil map has every key, with nothing in it.
                    if (key is string) return null;
                    throw new TemplateException("error calling index: index of untyped nil");
                default:
                    throw new TemplateException($"error calling index: cannot index slice/array with type {GoValue.TypeName(key)}");
            }
        }
        return value;
    }

    private static object? Slice(object?[] arguments)
    {
        if (arguments.Length is 0 or > 3) throw new IndexOutOfRangeException();
        var from = arguments.Length > 1 ? Convert.ToInt32(arguments[1], CultureInfo.InvariantCulture) : 0;
        if (arguments[0] is string text)
        {
            var end = arguments.Length > 2 ? Convert.ToInt32(arguments[2], CultureInfo.InvariantCulture) : text.Length;
            return from >= 0 && from <= end && end <= text.Length ? text[from..end] : throw new TemplateException($"error calling slice: index out of range: {(from > text.Length ? from : end)}");
        }
        var list = List(arguments[0]).ToArray();
        var to = arguments.Length > 2 ? Convert.ToInt32(arguments[2], CultureInfo.InvariantCulture) : list.Length;
        return from >= 0 && from <= to && to <= list.Length ? list[from..to] : throw new TemplateException("error calling slice: index out of range");
    }

    private static bool Same(object? a, object? b) => (a, b) switch
    {
        (null, null) => true,
        (null, _) or (_, null) => false,
        (string x, string y) => x == y,
        (bool x, bool y) => x == y,
        (string or bool, _) or (_, string or bool) => throw new TemplateException("error calling eq: incompatible types for comparison"),
        (IConvertible, IConvertible) => Compare(a, b) == 0,
        _ => throw new TemplateException("error calling eq: non-comparable type"),
    };

    private static int Order(object?[] arguments) => (arguments[0], Two(arguments)) switch
    {
        (string x, string y) => string.CompareOrdinal(x, y),
        (string, _) or (_, string) => throw new TemplateException("error calling lt: incompatible types for comparison"),
        (IConvertible x, IConvertible y) => Compare(x, y),
        _ => throw new TemplateException("error calling lt: invalid type for comparison"),
    };

    private static int Compare(object a, object b) => a is double || b is double
        ? Convert.ToDouble(a, CultureInfo.InvariantCulture).CompareTo(Convert.ToDouble(b, CultureInfo.InvariantCulture))
        : Convert.ToDecimal(a, CultureInfo.InvariantCulture).CompareTo(Convert.ToDecimal(b, CultureInfo.InvariantCulture));

    /// <summary>fmt.Sprintf for the verbs that make sense here: v s q d x t f g %, with width, - and precision.</summary>
    private static string Format(object?[] arguments)
    {
        var format = Text(arguments, 0);
        var text = new StringBuilder();
        var next = 1;
        for (var i = 0; i < format.Length; i++)
        {
            if (format[i] != '%')
            {
                text.Append(format[i]);
                continue;
            }
            var from = ++i;
            while (i < format.Length && "-+# 0123456789.".Contains(format[i])) i++;
            if (i >= format.Length)
            {
                text.Append("%!(NOVERB)");
                break;
            }
            var flags = format[from..i];
            if (format[i] == '%')
            {
                text.Append('%');
                continue;
            }
            if (next >= arguments.Length)
            {
                text.Append("%!").Append(format[i]).Append("(MISSING)");
                continue;
            }
            text.Append(Verb(format[i], flags, arguments[next++]));
        }
        if (next < arguments.Length)
            text.Append("%!(EXTRA ").AppendJoin(", ", arguments.Skip(next).Select(a => $"{GoValue.TypeName(a)}={GoValue.Print(a)}")).Append(')');
        return text.ToString();
    }

    private static string Verb(char verb, string flags, object? value)
    {
        var left = flags.Contains('-');
        var zero = flags.TrimStart('-', '+', '#', ' ').StartsWith('0');
        var numbers = flags.TrimStart('-', '+', '#', ' ', '0').Split('.');
        var width = int.TryParse(numbers[0], out var w) ? Math.Min(w, MaxSize) : 0;
        int? precision = numbers.Length > 1 ? int.TryParse(numbers[1], out var p) ? Math.Min(p, 100) : 0 : null;
        var text = (verb, value) switch
        {
            ('v' or 's', _) => GoValue.Print(value) is var printed && precision is { } cut && verb == 's' && printed.Length > cut ? printed[..cut] : GoValue.Print(value),
            ('q', string s) => GoText.Quote(s),
            ('t', bool b) => b ? "true" : "false",
            ('d', long or ulong or int) => GoValue.Print(value),
            ('x', string s) => Convert.ToHexStringLower(Encoding.UTF8.GetBytes(s)),
            ('x', long n) => n.ToString("x", CultureInfo.InvariantCulture),
            ('X', long n) => n.ToString("X", CultureInfo.InvariantCulture),
            ('f', double n) => n.ToString("F" + (precision ?? 6), CultureInfo.InvariantCulture),
            ('g', double n) => precision is { } digits ? GoText.General(n, digits) : GoValue.Print(n),
            ('c', long n) => ((char)n).ToString(),
            _ => $"%!{verb}({GoValue.TypeName(value)}={GoValue.Print(value)})",
        };
        if (text.Length >= width) return text;
        if (left) return text.PadRight(width);
        if (!zero || value is string) return text.PadLeft(width);
        return text.StartsWith('-') ? "-" + text[1..].PadLeft(width - 1, '0') : text.PadLeft(width, '0');
    }
}
