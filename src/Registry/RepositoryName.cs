using System.Diagnostics.CodeAnalysis;
using Berth.Images;

namespace Berth.Registry;

/// <summary>
/// A repository's name that is known to fit the distribution-spec's grammar: lower-case components joined by slashes. So it is also a relative path
/// without tricks: no component is empty, is "." or "..", or begins with the underscore of the store's own directories.
/// </summary>
public readonly record struct RepositoryName
{
    private readonly string? value;

    private RepositoryName(string value) => this.value = value;

    public static bool TryParse([NotNullWhen(true)] string? text, out RepositoryName name)
    {
        name = default;
        if (text is null || text.Length is 0 or > ImageReference.MaxPathLength || !ImageReference.IsPath(text)) return false;
        name = new RepositoryName(text);
        return true;
    }

    public override string ToString() => value ?? "";
}

/// <summary>What a manifest is asked for by: its digest, or a tag (128 letters, digits, "_", ".", "-" at most, not beginning with a dot or dash).</summary>
public readonly record struct ManifestReference
{
    private ManifestReference(string? tag, Digest digest) => (Tag, Digest) = (tag, digest);

    public string? Tag { get; }

    /// <summary>Empty for a tag.</summary>
    public Digest Digest { get; }

    public static bool TryParse(string text, out ManifestReference reference)
    {
        reference = default;
        if (Digest.TryParse(text, out var digest)) reference = new(null, digest);
        else if (ImageReference.IsTag(text)) reference = new(text, default);
        else return false;
        return true;
    }

    public override string ToString() => Tag ?? Digest.ToString();
}
