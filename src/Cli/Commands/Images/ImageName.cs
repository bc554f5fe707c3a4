using System.Text.RegularExpressions;

namespace Berth.Cli.Commands.Images;

/// <summary>A name of an image cut into its parts; what must be a good one is checked first, in docker's words.</summary>
internal readonly partial record struct ImageName(string Repository, string Tag, string Digest)
{
    /// <summary>Longest repository, its registry included.</summary>
    private const int MaxRepositoryChars = 255;

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

    /// <exception cref="CommandException">It is no name of an image.</exception>
    public static void Check(string text, bool idAllowed = false)
    {
        if (WrongWith(text, idAllowed) is { } wrong) throw new CommandException(wrong);
    }

    /// <summary>null: nothing.</summary>
    public static string? WrongWith(string text, bool idAllowed = false)
    {
        if (idAllowed && (Id().IsMatch(text) || DigestAlone().IsMatch(text))) return null;
        if (Id().IsMatch(text)) return $"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings";
        var slash = text.IndexOf('/');
        var first = slash < 0 ? "" : text[..slash];
        var isDomain = first == "localhost" || first.AsSpan().ContainsAny('.', ':') || first.Any(char.IsAsciiLetterUpper);
        var (domain, rest) = isDomain ? (first, text[(slash + 1)..]) : ("docker.io", text);
        if (domain is "docker.io" or "index.docker.io" && !rest.Contains('/')) rest = "library/" + rest;
        var remote = rest.Split(':')[0];
        if (remote.Any(char.IsAsciiLetterUpper)) return $"invalid reference format: repository name ({remote}) must be lowercase";
        if (!Reference().IsMatch(domain + "/" + rest)) return "invalid reference format";
        return domain.Length + 1 + Parse(rest).Repository.Length > MaxRepositoryChars ? $"repository name must not be more than {MaxRepositoryChars} characters" : null;
    }

    [GeneratedRegex("^[a-f0-9]{64}$")]
    private static partial Regex Id();

    [GeneratedRegex("^(sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128})$")]
    private static partial Regex DigestAlone();

    // The distribution project's grammar: domain, path components, tag, digest.
    [GeneratedRegex("""^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)+(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?\z""")]
    private static partial Regex Reference();
}
