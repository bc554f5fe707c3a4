namespace Berth.Cli.Output;

/// <summary>The LABELS column: "a=1,b=2".</summary>
internal static class LabelsText
{
    public static string Of(IReadOnlyDictionary<string, string>? labels) => labels is null ? "" : string.Join(',', labels.Select(l => $"{l.Key}={l.Value}").Order(StringComparer.Ordinal));
}
