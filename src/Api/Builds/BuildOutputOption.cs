namespace Berth.Api;

/// <summary>Where results of builds are, or something to come out of one: an entry of the frontend's attribute "cache-imports".</summary>
public sealed record BuildOutputOption
{
    public string Type { get; init; } = "";
    public Dictionary<string, string>? Attrs { get; init; }
}
