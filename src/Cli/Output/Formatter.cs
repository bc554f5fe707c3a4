using System.Globalization;
using System.Text;
using System.Text.Json;
using Berth.Cli.Templates;

namespace Berth.Cli.Output;

/// <summary>One column of a listing: the name templates use, its heading, how a row shows it.</summary>
/// <param name="Name">As in {{.Name}}.</param>
/// <param name="Heading">Above a table; null for one that tables have no heading for.</param>
/// <param name="Text">The cell.</param>
internal sealed record Column<T>(string Name, string? Heading, Func<T, object?> Text)
{
    /// <summary>Not part of --format json.</summary>
    public bool TemplateOnly { get; init; }

    /// <summary>It is a yes or no: nothing stands above it in a table whose other columns ask for it.</summary>
    public bool IsFlag { get; init; }
}

/// <summary>Prints rows as --format asks: a table, a table of a template, JSON lines, or a template for each row.</summary>
internal sealed class Formatter<T>(string typeName, IReadOnlyList<Column<T>> columns)
{
    /// <summary>Methods with an argument: {{.Label "x"}}.</summary>
    public IReadOnlyDictionary<string, Func<T, string, string>> Methods { get; init; } = new Dictionary<string, Func<T, string, string>>();

    /// <param name="target">Where to.</param>
    /// <param name="format">--format; "" or "table" for the default table.</param>
    /// <param name="defaultTable">Its template: "{{.ID}}\t{{.Names}}".</param>
    /// <param name="rows">The rows.</param>
    /// <param name="raw">The template that "raw" stands for; null: nothing special.</param>
    /// <exception cref="CommandException">The template is wrong.</exception>
    public void Write(TextWriter target, string format, string defaultTable, IReadOnlyList<T> rows, string? raw = null)
    {
        if (format is "json")
        {
            foreach (var row in rows) target.Write(new Row(this, row).ToJson() + "\n");
            return;
        }
        if (format is "raw" && raw is not null) format = raw;
        var isTable = format.Length == 0 || format.StartsWith("table", StringComparison.Ordinal);
        var source = format is "" or "table" ? defaultTable : isTable ? format["table".Length..] : format;
        source = source.Trim(' ').Replace("\\t", "\t").Replace("\\n", "\n");
        try
        {
            var template = Template.Parse(source);
            var lines = new List<string>();
            if (isTable) lines.Add(template.Execute(new Headings(this), headings: true));
            foreach (var row in rows) lines.Add(template.Execute(new Row(this, row)));
            if (isTable) TableWriter.Write(target, lines);
            else foreach (var line in lines) target.Write(line + "\n");
        }
        catch (TemplateException e)
        {
            throw new CommandException($"template parsing error: {e.Message}");
        }
    }

    /// <summary>A row as a template sees it.</summary>
    public ITemplateObject RowOf(T row) => new Row(this, row);

    /// <summary>encoding/json's default: these three are escaped wherever they stand.</summary>
    internal static string EscapeHtml(string json) => json.Replace("<", "\\u003c").Replace(">", "\\u003e").Replace("&", "\\u0026");

    private Column<T>? Find(string name)
    {
        foreach (var column in columns)
            if (column.Name == name) return column;
        return null;
    }

    private sealed class Row(Formatter<T> formatter, T item) : ITemplateObject
    {
        public string TypeName => "*" + formatter.TypeName;

        public bool TryGet(string name, out object? value)
        {
            var column = formatter.Find(name);
            value = column?.Text(item);
            return column is not null;
        }

        public bool TryCall(string name, object?[] arguments, out object? value)
        {
            var found = formatter.Methods.TryGetValue(name, out var method);
            value = found && arguments is [string argument] ? method!(item, argument) : null;
            return found;
        }

        public string ToJson()
        {
            using var stream = new MemoryStream();
            using (var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Encoder = global::System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
            {
                writer.WriteStartObject();
                foreach (var column in formatter.Columns.Where(c => !c.TemplateOnly).OrderBy(c => c.Name, StringComparer.Ordinal))
                {
                    writer.WritePropertyName(column.Name);
                    writer.WriteRawValue(GoValue.ToJson(column.Text(item)));
                }
                writer.WriteEndObject();
            }
            return EscapeHtml(Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length));
        }
    }

    private sealed class Headings(Formatter<T> formatter) : ITemplateObject
    {
        public string TypeName => "*" + formatter.TypeName;

        public bool TryGet(string name, out object? value)
        {
            var column = formatter.Find(name);
            value = column is { IsFlag: true } ? "" : column?.Heading ?? name.ToUpper(CultureInfo.InvariantCulture);
            return column is not null;
        }

        // A column made by a method is headed by its argument: {{.Label "x"}} by x.
        public bool TryCall(string name, object?[] arguments, out object? value)
        {
            value = arguments.FirstOrDefault() is string { Length: > 0 } argument ? argument : name;
            return formatter.Methods.ContainsKey(name);
        }

        public string ToJson() => "{}";
    }

    private string TypeName => typeName;

    private IReadOnlyList<Column<T>> Columns => columns;
}
