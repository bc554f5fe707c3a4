using System.Globalization;
using Berth.Engine;
using Microsoft.AspNetCore.Http;

namespace Berth.Daemon.Http;

/// <summary>A request's query, read the way Docker's forms are.</summary>
internal readonly struct Query(IQueryCollection values)
{
    /// <summary>The first value, or "" when there is none.</summary>
    public string this[string name] => values.TryGetValue(name, out var found) && found.Count > 0 ? found[0] ?? "" : "";

    public bool Has(string name) => values.ContainsKey(name);

    public IReadOnlyList<string> All(string name) => values.TryGetValue(name, out var found) ? [.. found.Select(v => v ?? "")] : [];

    /// <summary>"", "0", "no", "false" and "none" are false, all else is true.</summary>
    public bool Bool(string name) => this[name].Trim().ToLowerInvariant() is not ("" or "0" or "no" or "false" or "none");

    public bool Bool(string name, bool absent) => Has(name) ? Bool(name) : absent;

    /// <summary>A signed number, null when empty. <paramref name="kind"/> is the kind of error that Docker answers on this route.</summary>
    public int? Int(string name, ErrorKind kind = ErrorKind.InvalidParameter)
    {
        var text = this[name];
        if (text.Length == 0)
            return null;
        if (int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value))
            return value;
        throw new EngineException(kind, $"strconv.Atoi: parsing \"{text}\": {(IsNumber(text) ? "value out of range" : "invalid syntax")}");
    }

    /// <summary>A height or width of a terminal.</summary>
    public uint Size(string name, string what)
    {
        var text = this[name];
        if (uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value))
            return value;
        throw EngineException.Invalid($"invalid resize {what} \"{text}\": {(IsNumber(text) ? "value out of range" : "invalid syntax")}");
    }

    private static bool IsNumber(string text) => text.TrimStart('-') is { Length: > 0 } digits && digits.All(char.IsAsciiDigit);
}
