using System.Text;

namespace Berth.Cli.Templates;

/// <summary>Named values for a template, in the order they were added; letter case does not matter when asking.</summary>
internal sealed class TemplateRecord(string typeName) : ITemplateObject
{
    private readonly List<KeyValuePair<string, object?>> _fields = [];

    public TemplateRecord Add(string name, object? value)
    {
        _fields.Add(new(name, value));
        return this;
    }

    public string TypeName => typeName;

    public bool TryGet(string name, out object? value)
    {
        foreach (var field in _fields)
        {
            if (!field.Key.Equals(name, StringComparison.OrdinalIgnoreCase)) continue;
            value = field.Value;
            return true;
        }
        value = null;
        return false;
    }

    public bool TryCall(string name, object?[] arguments, out object? value)
    {
        value = null;
        return false;
    }

    public string ToJson()
    {
        var text = new StringBuilder("{");
        foreach (var field in _fields) text.Append(text.Length > 1 ? "," : "").Append(GoValue.ToJson(field.Key)).Append(':').Append(GoValue.ToJson(field.Value));
        return text.Append('}').ToString();
    }
}
