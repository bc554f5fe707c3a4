using System.Globalization;
using Berth.Compose.Yaml;

namespace Berth.Compose.Model;

/// <summary>The bound model as `compose config` prints it.</summary>
internal static class ModelYaml
{
    public static string Of(Project project, bool contents = false)
    {
        var writer = new YamlText();
        var entries = new List<KeyValuePair<string, Action<int>>>();
        if (project.Name.Length > 0) entries.Add(new("name", indent => writer.Text(project.Name, indent)));
        foreach (var (name, shape) in Shape.Parts)
        {
            var part = project.Part(name);
            if (part.Entries.Count == 0 && name != "services") continue;
            entries.Add(new(name, indent => writer.Map([.. YamlText.Sorted(part.Entries)], indent, (w, value, depth) => Struct(w, shape, contents ? value : Printed(name, value), depth))));
        }
        foreach (var (name, value) in YamlText.Sorted(project.Extensions)) entries.Add(new(name, indent => writer.Any(value, indent)));
        writer.Map(entries, 0, static (_, write, indent) => write(indent));
        return writer.ToString();
    }

    /// <summary>Where a content came from is printed, not the content.</summary>
    public static Node Printed(string part, Node value)
    {
        if (part is not ("secrets" or "configs") || value["content"] is null || (part == "configs" && value.Get("environment") is null)) return value;
        var copy = value.Clone();
        copy["content"] = null;
        return copy;
    }

    private static void Struct(YamlText writer, Shape shape, Node value, int indent)
    {
        if (!value.IsMap)
        {
            writer.Any(value, indent);
            return;
        }
        var entries = new List<KeyValuePair<string, Action<int>>>();
        foreach (var field in shape.Fields)
        {
            var item = value.Get(field.Name);
            if (Omitted(field, item)) continue;
            entries.Add(new(field.Name, depth => Field(writer, field, item, depth)));
        }
        foreach (var (name, extension) in YamlText.Sorted(value.Entries))
            if (name.StartsWith("x-", StringComparison.Ordinal)) entries.Add(new(name, depth => writer.Any(extension, depth)));
        writer.Map(entries, indent, static (_, write, depth) => write(depth));
    }

    private static bool Omitted(Field field, Node? item)
    {
        if (field.AlwaysInYaml) return false;
        if (item is null) return true;
        if (field.Pointer || field.Type == FieldType.Command) return false;
        return IsZero(field, item);
    }

    public static bool IsZero(Field field, Node item) => item.Kind switch
    {
        NodeKind.Null => true,
        NodeKind.Bool => !item.Bool,
        NodeKind.Int => item.Int == 0,
        NodeKind.Float => item.Float == 0,
        NodeKind.String => item.Text.Length == 0,
        NodeKind.List => item.Items.Count == 0,
        _ => field.Type == FieldType.Struct
            ? field.Shape!.Fields.All(f => item.Get(f.Name) is not { } part || (!f.Pointer && IsZero(f, part))) && !item.Entries.Keys.Any(k => k.StartsWith("x-", StringComparison.Ordinal))
            : item.Entries.Count == 0,
    };

    private static void Field(YamlText writer, Field field, Node? item, int indent)
    {
        switch (field.Type)
        {
            case FieldType.Struct:
                Struct(writer, field.Shape!, item!, indent);
                break;
            case FieldType.StructList:
                writer.List(item!.Items, indent, (w, value, depth) => Struct(w, field.Shape!, value, depth));
                break;
            case FieldType.StructMap:
                writer.Map([.. YamlText.Sorted(item!.Entries)], indent, (w, value, depth) => Struct(w, field.Shape!, value, depth));
                break;
            case FieldType.Bytes:
                writer.Text((item?.Int ?? 0).ToString(CultureInfo.InvariantCulture), indent);
                break;
            case FieldType.Duration:
                writer.Text(Duration(item!.Int), indent);
                break;
            case FieldType.FileMode:
                writer.Text(Octal(item!.Int), indent);
                break;
            case FieldType.Float32:
                writer.Float(item!.Kind == NodeKind.Int ? item.Int : item.Float, single: true);
                break;
            case FieldType.Hosts:
                writer.Any(Node.Strings(HostList(item!)), indent);
                break;
            case FieldType.Ulimits:
                writer.Map([.. YamlText.Sorted(item!.Entries)], indent, static (w, value, depth) => Limit(w, value, depth));
                break;
            case FieldType.EnvFiles:
                writer.List(item!.Items, indent, static (w, value, depth) =>
                {
                    if (value.BoolOf("required", true)) w.Text(value.TextOf("path"), depth);
                    else w.Any(WithoutFormat(value), depth);
                });
                break;
            case FieldType.Ssh:
                writer.Any(Node.Strings(YamlText.Sorted(item!.Entries).Select(e => e.Value.IsNull ? e.Key : $"{e.Key}: {e.Value.ToText()}")), indent);
                break;
            default:
                if (item is null) writer.Any(field.Type is FieldType.String ? Node.Of("") : field.Type is FieldType.Bool ? Node.Of(false) : Node.Of(0L), indent);
                else writer.Any(item, indent);
                break;
        }
    }

    private static void Limit(YamlText writer, Node value, int indent)
    {
        if (!value.IsMap)
        {
            writer.Any(value, indent);
            return;
        }
        writer.Map<Node>([new("soft", value["soft"]!), new("hard", value["hard"]!)], indent, static (w, item, depth) => w.Any(item, depth));
    }

    private static Node WithoutFormat(Node value)
    {
        var copy = value.Clone();
        copy["format"] = null;
        return copy;
    }

    public static List<string> HostList(Node hosts)
    {
        var list = new List<string>();
        foreach (var (host, addresses) in hosts.Entries)
            foreach (var address in addresses.Items) list.Add($"{host}={address.Text}");
        list.Sort(string.CompareOrdinal);
        return list;
    }

    public static string Octal(long mode) => "0" + Convert.ToString(mode, 8);

    /// <summary>time.Duration's String.</summary>
    public static string Duration(long nanoseconds)
    {
        if (nanoseconds % 100 == 0) return GoDuration.Format(TimeSpan.FromTicks(nanoseconds / 100));
        return nanoseconds < 1000 ? nanoseconds + "ns" : GoDuration.Format(TimeSpan.FromTicks(nanoseconds / 100));
    }
}
