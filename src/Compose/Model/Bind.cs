using System.Globalization;
using Berth.Compose.Loading;
using Berth.Compose.Yaml;

namespace Berth.Compose.Model;

/// <summary>From the canonical model to one in which every attribute has its type: sizes are bytes, spans nanoseconds, lists of name=value maps.</summary>
internal static class Bind
{
    public static Node Struct(Shape shape, Node value, string path)
    {
        if (!value.IsMap) throw Wrong(value, path, "mapping");
        var bound = Node.Map(value.At);
        foreach (var (key, item) in value.Entries)
        {
            if (key.StartsWith("x-", StringComparison.Ordinal)) bound[key] = item;
            else if (shape.Find(key) is { } field && !item.IsNull && Value(field, item, path + "." + key) is { } known) bound[key] = known;
        }
        return bound;
    }

    /// <summary>By name; a part of which nothing is said is an empty one.</summary>
    public static Node Map(Shape shape, Node? value, string path)
    {
        var bound = Node.Map(value?.At ?? default);
        if (value is { IsMap: true })
            foreach (var (name, item) in value.Entries) bound[name] = item.IsNull ? Node.Map(item.At) : Struct(shape, item, path + "." + name);
        return bound;
    }

    private static ComposeException Wrong(Node value, string path, string wanted) => new($"{path} must be a {wanted} ({value.At})");

    private static Node? Value(Field field, Node value, string path)
    {
        try
        {
            return field.Type switch
            {
                FieldType.String or FieldType.Any => value.IsString ? value : Node.Of(value.ToText(), value.At),
                FieldType.Int => Integer(value),
                FieldType.Float32 => Node.Of((double)(float)Real(value), value.At),
                FieldType.Float64 => Node.Of(Real(value), value.At),
                FieldType.Bool => value.Kind == NodeKind.Bool ? value : Boolean(value),
                FieldType.Bytes => Bytes(value),
                FieldType.Duration => Node.Of(Specs.Nanoseconds(value.ToText()), value.At),
                FieldType.Strings => value.IsList ? Node.Strings(value.Items.Select(i => i.ToText()), value.At) : Node.Strings([value.ToText()], value.At),
                FieldType.Command => value.IsList ? Node.Strings(value.Items.Select(i => i.ToText()), value.At) : Node.Strings(Specs.Words(value.ToText()), value.At),
                FieldType.Mapping or FieldType.Labels => Mapping(value, keepNull: false),
                FieldType.EnvMapping => Mapping(value, keepNull: true),
                FieldType.MultiOptions => MultiOptions(value),
                FieldType.Hosts => Hosts(value),
                FieldType.HealthTest => value.IsString ? Node.Strings(["CMD-SHELL", value.Text], value.At) : Node.Strings(value.Items.Select(i => i.ToText()), value.At),
                FieldType.Struct => Struct(field.Shape!, value, path),
                FieldType.StructList => Node.List(value.Items.Select((item, i) => Struct(field.Shape!, item, $"{path}.{i}")), value.At),
                FieldType.StructMap => Named(field.Shape!, value, path),
                FieldType.Ulimits => Ulimits(value),
                FieldType.EnvFiles => value,
                FieldType.Ssh => value,
                FieldType.DeviceCount => value.IsString ? Node.Of(value.Text.Equals("all", StringComparison.OrdinalIgnoreCase) ? -1 : GoText.ParseInt(value.Text), value.At) : value,
                FieldType.FileMode => value.IsString ? Node.Of(Convert.ToInt64(value.Text, 8), value.At) : value,
                _ => value,
            };
        }
        catch (FormatException e)
        {
            throw new ComposeException($"{path}: {e.Message} ({value.At})");
        }
    }

    private static Node Integer(Node value) => value.Kind switch
    {
        NodeKind.Int => value,
        NodeKind.Float => Node.Of((long)value.Float, value.At),
        _ => Node.Of(GoText.ParseInt(value.ToText()), value.At),
    };

    private static double Real(Node value) => value.Kind switch
    {
        NodeKind.Int => value.Int,
        NodeKind.Float => value.Float,
        _ => double.TryParse(value.ToText(), NumberStyles.Float, CultureInfo.InvariantCulture, out var real) ? real : throw new FormatException($"strconv.ParseFloat: parsing {GoText.Quote(value.ToText())}: invalid syntax"),
    };

    private static Node Boolean(Node value) => value.ToText().ToLowerInvariant() switch
    {
        "true" or "y" or "yes" or "on" => Node.Of(true, value.At),
        "false" or "n" or "no" or "off" => Node.Of(false, value.At),
        _ => throw new FormatException("invalid boolean: " + value.ToText()),
    };

    private static Node Bytes(Node value)
    {
        if (value.Kind == NodeKind.Int) return value;
        var text = value.ToText();
        if (text.StartsWith('-') && long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var negative)) return Node.Of(negative, value.At); // -1: no limit
        return GoText.TryParseRamSize(text, out var bytes) ? Node.Of(bytes, value.At) : throw new FormatException($"invalid size: '{text}'");
    }

    private static Node Mapping(Node value, bool keepNull)
    {
        var map = Node.Map(value.At);
        if (value.IsMap)
        {
            foreach (var (key, item) in value.Entries) map[key] = item.IsNull ? keepNull ? item : Node.Of("", item.At) : item.IsString ? item : Node.Of(item.ToText(), item.At);
            return map;
        }
        foreach (var item in value.IsList ? value.Items : [value])
        {
            var text = item.ToText();
            var equals = text.IndexOf('=');
            var key = equals < 0 ? text : text[..equals];
            if (keepNull && key.Length > 0 && char.IsWhiteSpace(key[^1])) throw new FormatException($"environment variable {key} is declared with a trailing space");
            map[key] = equals >= 0 ? Node.Of(text[(equals + 1)..], item.At) : keepNull ? Node.Null(item.At) : Node.Of("", item.At);
        }
        return map;
    }

    private static Node MultiOptions(Node value)
    {
        var map = Node.Map(value.At);
        foreach (var (key, item) in value.Entries) map[key] = Node.Strings(item.IsList ? item.Items.Select(i => i.ToText()) : [item.ToText()], item.At);
        return map;
    }

    // Kept as a map from host to addresses.
    private static Node Hosts(Node value)
    {
        var map = Node.Map(value.At);
        if (value.IsMap)
        {
            foreach (var (host, item) in value.Entries) Add(host, item.IsList ? item.Items.Select(i => i.ToText()) : [item.IsNull ? "" : item.ToText()], item.At);
            return map;
        }
        foreach (var item in value.Items)
        {
            var text = item.ToText();
            var cut = text.IndexOf('=');
            if (cut < 0) cut = text.IndexOf(':');
            if (cut < 0) throw new FormatException("invalid additional host, missing IP: " + text);
            Add(text[..cut], text[(cut + 1)..].Split(','), item.At);
        }
        return map;

        void Add(string host, IEnumerable<string> addresses, Position at)
        {
            if (host.Length == 0 || host.AsSpan().IndexOfAny(':', '=') >= 0) throw new FormatException($"bad host name '{host}'");
            var list = map[host] ??= Node.List(at);
            foreach (var address in addresses) list.Items.Add(Node.Of(address.Length > 2 && address[0] == '[' && address[^1] == ']' ? address[1..^1] : address, at));
        }
    }

    private static Node Named(Shape shape, Node value, string path)
    {
        var map = Node.Map(value.At);
        foreach (var (key, item) in value.Entries) map[key] = item.IsNull ? item : Struct(shape, item, path + "." + key);
        return map;
    }

    private static Node Ulimits(Node value)
    {
        var map = Node.Map(value.At);
        foreach (var (key, item) in value.Entries)
        {
            if (!item.IsMap)
            {
                map[key] = Integer(item);
                continue;
            }
            var pair = Node.Map(item.At);
            pair["soft"] = item.Get("soft") is { } soft ? Integer(soft) : Node.Of(0L, item.At);
            pair["hard"] = item.Get("hard") is { } hard ? Integer(hard) : Node.Of(0L, item.At);
            map[key] = pair;
        }
        return map;
    }
}
