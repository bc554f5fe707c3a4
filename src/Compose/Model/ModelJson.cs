using System.Globalization;
using System.Text;
using Berth.Compose.Yaml;

namespace Berth.Compose.Model;

/// <summary>The bound model as Go's encoding/json writes it: for `config --format json`, and for the hash of a service.</summary>
internal sealed class ModelJson
{
    private readonly StringBuilder _out = new();
    private readonly bool _indented;
    private int _depth;

    private ModelJson(bool indented) => _indented = indented;

    public static string Of(Project project)
    {
        var writer = new ModelJson(indented: true);
        var entries = new SortedDictionary<string, Action>(StringComparer.Ordinal) { ["name"] = () => writer.String(project.Name) };
        foreach (var (name, shape) in Shape.Parts)
        {
            var part = project.Part(name);
            if ((part.Entries.Count > 0 && name != "models") || name == "services") entries[name] = () => writer.Map(part.Entries, (key, value) => writer.Struct(shape, ModelYaml.Printed(name, value)));
        }
        foreach (var (name, value) in project.Extensions) entries[name] = () => writer.Any(value);
        writer.Object([.. entries]);
        return writer._out.ToString();
    }

    /// <summary>A tree of no particular type.</summary>
    public static string Of(Node node)
    {
        var writer = new ModelJson(indented: true);
        writer.Any(node);
        return writer._out.ToString();
    }

    /// <summary>com.docker.compose.config-hash: of the service without what does not change a container.</summary>
    public static string ServiceHash(Node service)
    {
        var bare = Node.Map(service.At);
        foreach (var (key, value) in service.Entries)
            if (key is not ("build" or "pull_policy" or "scale" or "depends_on" or "profiles")) bare[key] = value;
        if (bare["deploy"] is { IsMap: true } deploy)
        {
            var copy = deploy.Clone();
            copy["replicas"] = null;
            bare["deploy"] = copy;
        }
        return Hash(Shape.Service, bare);
    }

    public static string NetworkHash(Node network) => Hash(Shape.Network, network);

    public static string VolumeHash(Node volume)
    {
        var copy = volume.Clone();
        if (copy.TextOf("driver").Length == 0) copy["driver"] = Node.Of("local");
        return Hash(Shape.NamedVolume, copy);
    }

    public static string Compact(Shape shape, Node value)
    {
        var writer = new ModelJson(indented: false);
        writer.Struct(shape, value);
        return writer._out.ToString();
    }

    private static string Hash(Shape shape, Node value) => Convert.ToHexStringLower(Sha256.Hash(Encoding.UTF8.GetBytes(Compact(shape, value))));

    private void Struct(Shape shape, Node value)
    {
        if (value.IsNull)
        {
            _out.Append("null");
            return;
        }
        var entries = new List<KeyValuePair<string, Action>>();
        foreach (var field in shape.Fields)
        {
            var item = value.Get(field.Name);
            if (!field.AlwaysInJson)
            {
                if (item is null) continue;
                if (!field.Pointer && field.Type != FieldType.Struct && ModelYaml.IsZero(field, item)) continue;
            }
            entries.Add(new(field.JsonName ?? field.Name, () => FieldValue(field, item)));
        }
        Object(entries);
    }

    private void FieldValue(Field field, Node? item)
    {
        switch (field.Type)
        {
            case FieldType.Struct:
                Struct(field.Shape!, item ?? Node.Map());
                break;
            case FieldType.StructList:
                Array(item!.Items, value => Struct(field.Shape!, value));
                break;
            case FieldType.StructMap:
                Map(item!.Entries, (_, value) => Struct(field.Shape!, value));
                break;
            case FieldType.Command:
                if (item is null) _out.Append("null");
                else Any(item);
                break;
            case FieldType.Bytes:
                String((item?.Int ?? 0).ToString(CultureInfo.InvariantCulture));
                break;
            case FieldType.Duration:
                String(ModelYaml.Duration(item!.Int));
                break;
            case FieldType.FileMode:
                String(ModelYaml.Octal(item!.Int));
                break;
            case FieldType.Float32:
                _out.Append(GoNumber.Json(item!.Kind == NodeKind.Int ? item.Int : item.Float, single: true));
                break;
            case FieldType.Hosts:
                Any(Node.Strings(ModelYaml.HostList(item!)));
                break;
            case FieldType.Ulimits:
                Map(item!.Entries, (_, value) =>
                {
                    if (!value.IsMap) Any(value);
                    else
                    {
                        var entries = new List<KeyValuePair<string, Action>>();
                        foreach (var key in new[] { "soft", "hard" })
                            if (value.LongOf(key) != 0) entries.Add(new(key, () => Any(value[key]!)));
                        Object(entries);
                    }
                });
                break;
            case FieldType.EnvFiles:
                Array(item!.Items, value =>
                {
                    var entries = new List<KeyValuePair<string, Action>> { new("path", () => String(value.TextOf("path"))), new("required", () => _out.Append(value.BoolOf("required", true) ? "true" : "false")) };
                    if (value.TextOf("format") is { Length: > 0 } format) entries.Add(new("format", () => String(format)));
                    if (value.BoolOf("required", true)) String(value.TextOf("path"));
                    else Object(entries);
                });
                break;
            case FieldType.Ssh:
                Array([.. YamlText.Sorted(item!.Entries).Select(e => Node.Of(e.Value.IsNull ? e.Key : $"{e.Key}: {e.Value.ToText()}"))], Any);
                break;
            default:
                if (item is null) Any(field.Type is FieldType.String ? Node.Of("") : field.Type is FieldType.Bool ? Node.Of(false) : Node.Of(0L));
                else Any(item);
                break;
        }
    }

    private void Any(Node node)
    {
        switch (node.Kind)
        {
            case NodeKind.Null: _out.Append("null"); break;
            case NodeKind.Bool: _out.Append(node.Bool ? "true" : "false"); break;
            case NodeKind.Int: _out.Append(node.Int.ToString(CultureInfo.InvariantCulture)); break;
            case NodeKind.Float: _out.Append(GoNumber.Json(node.Float, single: false)); break;
            case NodeKind.String: String(node.Text); break;
            case NodeKind.List: Array(node.Items, Any); break;
            default: Map(node.Entries, (_, value) => Any(value)); break;
        }
    }

    private void Map(Dictionary<string, Node> map, Action<string, Node> value)
    {
        var entries = new List<KeyValuePair<string, Action>>(map.Count);
        foreach (var (key, item) in map) entries.Add(new(key, () => value(key, item)));
        entries.Sort(static (a, b) => CompareUtf8(a.Key, b.Key));
        Object(entries);
    }

    private static int CompareUtf8(string a, string b) => Encoding.UTF8.GetBytes(a).AsSpan().SequenceCompareTo(Encoding.UTF8.GetBytes(b));

    private void Object(List<KeyValuePair<string, Action>> entries)
    {
        _out.Append('{');
        _depth++;
        var first = true;
        foreach (var (key, write) in entries)
        {
            if (!first) _out.Append(',');
            first = false;
            NewLine();
            String(key);
            _out.Append(_indented ? ": " : ":");
            write();
        }
        _depth--;
        if (!first) NewLine();
        _out.Append('}');
    }

    private void Array(IReadOnlyList<Node> items, Action<Node> write)
    {
        _out.Append('[');
        _depth++;
        var first = true;
        foreach (var item in items)
        {
            if (!first) _out.Append(',');
            first = false;
            NewLine();
            write(item);
        }
        _depth--;
        if (!first) NewLine();
        _out.Append(']');
    }

    private void NewLine()
    {
        if (_indented) _out.Append('\n').Append(' ', _depth * 2);
    }

    private void String(string text)
    {
        _out.Append('"');
        foreach (var c in text)
        {
            switch (c)
            {
                case '"': _out.Append("\\\""); break;
                case '\\': _out.Append("\\\\"); break;
                case '\n': _out.Append("\\n"); break;
                case '\r': _out.Append("\\r"); break;
                case '\t': _out.Append("\\t"); break;
                case '\b': _out.Append("\\b"); break;
                case '\f': _out.Append("\\f"); break;
                case < ' ' or '<' or '>' or '&' or '\u2028' or '\u2029': _out.Append("\\u").Append(((int)c).ToString("x4", CultureInfo.InvariantCulture)); break;
                default: _out.Append(c); break;
            }
        }
        _out.Append('"');
    }
}
