using System.Diagnostics.CodeAnalysis;

namespace Berth.Images;

/// <summary>
/// A normalised image name: <c>domain/path[:tag][@digest]</c>, as Docker reads "busybox" (docker.io/library/busybox).
/// The grammar is that of distribution/reference.
/// </summary>
public sealed record ImageReference
{
    public const string DefaultDomain = "docker.io";
    public const string DefaultTag = "latest";
    private const string LegacyDefaultDomain = "index.docker.io";
    private const string OfficialPrefix = "library/";

    /// <summary>Longest path, from distribution/reference.</summary>
    internal const int MaxPathLength = 255;

    private const int MaxTagLength = 128;

    private ImageReference(string domain, string path, string? tag, Digest digest) =>
        (Domain, Path, Tag, Digest) = (domain, path, tag, digest);

    /// <summary>The registry's host and perhaps port; <c>docker.io</c> when none was written.</summary>
    public string Domain { get; }

    /// <summary>The repository within the registry: <c>library/busybox</c>.</summary>
    public string Path { get; }

    public string? Tag { get; }

    /// <summary>Empty when the name has none.</summary>
    public Digest Digest { get; }

    /// <summary><c>domain/path</c>.</summary>
    public string Name => $"{Domain}/{Path}";

    public bool HasTag => Tag is not null;
    public bool HasDigest => !Digest.IsEmpty;
    public bool IsNameOnly => Tag is null && Digest.IsEmpty;

    /// <summary>The repository as Docker shows it: <c>busybox</c>, <c>user/app</c>, <c>host:5000/app</c>.</summary>
    public string FamiliarName
    {
        get
        {
            if (Domain != DefaultDomain) return Name;
            var rest = Path.StartsWith(OfficialPrefix, StringComparison.Ordinal) ? Path[OfficialPrefix.Length..] : Path;
            return rest.Contains('/') ? Path : rest;
        }
    }

    /// <summary>The whole name as Docker shows it.</summary>
    public string FamiliarString => FamiliarName + Suffix;

    public override string ToString() => Name + Suffix;

    private string Suffix => (Tag is null ? "" : ":" + Tag) + (Digest.IsEmpty ? "" : "@" + Digest);

    public ImageReference NameOnly() => IsNameOnly ? this : new(Domain, Path, null, default);
    public ImageReference WithDefaultTag() => IsNameOnly ? new(Domain, Path, DefaultTag, default) : this;
    public ImageReference WithDigest(Digest digest) => new(Domain, Path, Tag, digest);

    /// <exception cref="ImageException">InvalidParameter "invalid tag format".</exception>
    public ImageReference WithTag(string tag) =>
        IsTag(tag) ? new(Domain, Path, tag, Digest) : throw ImageException.Invalid("invalid tag format");

    public static bool TryParse([NotNullWhen(true)] string? text, [NotNullWhen(true)] out ImageReference? reference) =>
        Read(text ?? "", out reference) is null;

    /// <exception cref="ImageException">InvalidParameter, with Docker's words: "invalid reference format", "invalid reference format: repository name (X) must be lowercase", …</exception>
    public static ImageReference Parse(string text) =>
        Read(text, out var reference) is { } error ? throw ImageException.Invalid(error) : reference!;

    /// <summary>
    /// The repo and tag parameters of the API (tag, import): an empty repo gives null, a tag may be a digest,
    /// no tag gives the default one.
    /// </summary>
    /// <exception cref="ImageException">InvalidParameter.</exception>
    public static ImageReference? FromRepoAndTag(string? repo, string? tag)
    {
        if (string.IsNullOrEmpty(repo)) return null;
        var reference = Parse(repo);
        if (reference.HasDigest) throw ImageException.Invalid("cannot import digest reference");
        return string.IsNullOrEmpty(tag) ? reference.WithDefaultTag() : reference.WithTag(tag);
    }

    // Null when the text is a reference, else Docker's words for what is wrong with it.
    private static string? Read(string text, out ImageReference? reference)
    {
        reference = null;
        if (IsIdentifier(text)) return $"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings";
        var (domain, rest) = SplitDomain(text);
        var colon = rest.IndexOf(':');
        var remote = colon < 0 ? rest : rest[..colon];
        if (remote.ToLowerInvariant() != remote) return $"invalid reference format: repository name ({remote}) must be lowercase";

        const string bad = "invalid reference format";
        string? tag = null;
        Digest digest = default;
        var path = rest;
        var at = path.IndexOf('@');
        if (at >= 0)
        {
            if (!LooksLikeDigest(path.AsSpan(at + 1))) return bad;
            if (!Digest.TryParse(path[(at + 1)..], out digest)) return DigestError(path[(at + 1)..]);
            path = path[..at];
        }
        colon = path.IndexOf(':');
        if (colon >= 0)
        {
            tag = path[(colon + 1)..];
            if (!IsTag(tag)) return bad;
            path = path[..colon];
        }
        if (!IsDomain(domain) || !IsPath(path)) return bad;
        if (path.Length > MaxPathLength) return $"repository name must not be more than {MaxPathLength} characters";
        reference = new ImageReference(domain, path, tag, digest);
        return null;
    }

    private static (string Domain, string Remainder) SplitDomain(string name)
    {
        var slash = name.IndexOf('/');
        if (slash < 0) return (DefaultDomain, OfficialPrefix + name);
        var first = name[..slash];
        var rest = name[(slash + 1)..];
        string domain;
        if (first == "localhost" || first.AsSpan().ContainsAny('.', ':')) domain = first == LegacyDefaultDomain ? DefaultDomain : first;
        else if (first.ToLowerInvariant() != first) domain = first;
        else (domain, rest) = (DefaultDomain, name);
        return domain == DefaultDomain && !rest.Contains('/') ? (domain, OfficialPrefix + rest) : (domain, rest);
    }

    /// <summary>64 lower-case hexadecimal digits: an image id, which can't be a name.</summary>
    internal static bool IsIdentifier(ReadOnlySpan<char> text) => text.Length == 64 && !text.ContainsAnyExcept("0123456789abcdef");

    internal static bool IsTag(ReadOnlySpan<char> tag)
    {
        if (tag.Length is 0 or > MaxTagLength || tag[0] is '.' or '-') return false;
        foreach (var c in tag)
            if (!(char.IsAsciiLetterOrDigit(c) || c is '_' or '.' or '-')) return false;
        return true;
    }

    internal static bool IsPath(ReadOnlySpan<char> path)
    {
        foreach (var range in path.Split('/'))
            if (!IsPathComponent(path[range])) return false;
        return true;
    }

    // alphanumerics joined by ".", "_", "__" or any number of "-"
    private static bool IsPathComponent(ReadOnlySpan<char> text)
    {
        var i = 0;
        while (true)
        {
            var start = i;
            while (i < text.Length && (char.IsAsciiLetterLower(text[i]) || char.IsAsciiDigit(text[i]))) i++;
            if (i == start) return false;
            if (i == text.Length) return true;
            switch (text[i])
            {
                case '.': i++; break;
                case '_': i += i + 1 < text.Length && text[i + 1] == '_' ? 2 : 1; break;
                case '-': while (i < text.Length && text[i] == '-') i++; break;
                default: return false;
            }
        }
    }

    private static bool IsDomain(ReadOnlySpan<char> domain)
    {
        if (domain.Length > 0 && domain[0] == '[')
        {
            var close = domain.IndexOf(']');
            return close > 1 && !domain[1..close].ContainsAnyExcept("0123456789abcdefABCDEF:") && IsOptionalPort(domain[(close + 1)..]);
        }
        var colon = domain.IndexOf(':');
        var host = colon < 0 ? domain : domain[..colon];
        foreach (var range in host.Split('.'))
        {
            var part = host[range];
            if (part.Length == 0 || part[0] == '-' || part[^1] == '-') return false;
            foreach (var c in part)
                if (!char.IsAsciiLetterOrDigit(c) && c != '-') return false;
        }
        return colon < 0 || IsOptionalPort(domain[colon..]);
    }

    private static bool IsOptionalPort(ReadOnlySpan<char> text) =>
        text.Length == 0 || (text.Length > 1 && text[0] == ':' && !text[1..].ContainsAnyExcept("0123456789"));

    // The looser grammar a reference allows; whether the algorithm is known is a second question.
    private static bool LooksLikeDigest(ReadOnlySpan<char> text)
    {
        var colon = text.IndexOf(':');
        if (colon <= 0 || text.Length - colon - 1 < 32) return false;
        foreach (var c in text[(colon + 1)..])
            if (!char.IsAsciiHexDigit(c)) return false;
        var start = true;
        foreach (var c in text[..colon])
        {
            if (c is '-' or '_' or '+' or '.')
            {
                if (start) return false;
                start = true;
            }
            else if (char.IsAsciiLetter(c) || (char.IsAsciiDigit(c) && !start)) start = false;
            else return false;
        }
        return !start;
    }

    private static string DigestError(string text)
    {
        var algorithm = text[..text.IndexOf(':')];
        return algorithm is "sha256" or "sha384" or "sha512" ? "invalid checksum digest length" : "unsupported digest algorithm";
    }
}
