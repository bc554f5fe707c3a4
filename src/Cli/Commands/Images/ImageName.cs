namespace Berth.Cli.Commands.Images;

/// <summary>A name of an image cut into its parts; whether it is a good one is the engine's to say.</summary>
internal readonly record struct ImageName(string Repository, string Tag, string Digest)
{
    public static ImageName Parse(string text)
    {
        var at = text.IndexOf('@');
        var digest = at < 0 ? "" : text[(at + 1)..];
        if (at >= 0) text = text[..at];
        var colon = text.LastIndexOf(':');
        // A colon before a slash belongs to the registry's port.
        return colon > text.LastIndexOf('/') ? new(text[..colon], text[(colon + 1)..], digest) : new(text, "", digest);
    }

    /// <summary>":latest" added where neither tag nor digest is given.</summary>
    public static string WithTag(string text) => Parse(text) is { Tag: "", Digest: "" } ? text + ":latest" : text;
}
