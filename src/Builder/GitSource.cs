using System.Text.RegularExpressions;
using Berth.Api.Go;
using Berth.Dockerfile;

namespace Berth.Builder;

/// <summary>A Git repository as builds name one: <c>https://host/path.git#ref:directory</c>, <c>git@host:path</c>, <c>ssh://…</c>, <c>git://…</c>, and the same as a query (<c>?branch=…&amp;subdir=…</c>).</summary>
public sealed partial record GitSource
{
    /// <summary>What git itself is given.</summary>
    public required string Remote { get; init; }

    /// <summary>Branch, tag or commit; empty: what the repository has as its HEAD.</summary>
    public string Ref { get; init; } = "";
    public string Directory { get; init; } = "";

    /// <summary>The commit it has to be, or how that begins; empty: any.</summary>
    public string Commit { get; init; } = "";
    public bool? KeepGitDirectory { get; init; }
    public bool Submodules { get; init; } = true;

    /// <summary>It is reached over SSH.</summary>
    public bool IsSsh => Remote.StartsWith("ssh://", StringComparison.Ordinal) || !Remote.Contains("://", StringComparison.Ordinal);

    /// <summary>For messages: the remote without its password.</summary>
    public string Redacted => Uri.TryCreate(Remote, UriKind.Absolute, out var uri) && uri.UserInfo.Contains(':') ? Remote.Replace(uri.UserInfo, uri.UserInfo[..uri.UserInfo.IndexOf(':')] + ":xxxxx", StringComparison.Ordinal) : Remote;

    /// <returns>Null: it names something else.</returns>
    /// <exception cref="DockerfileException">It is one, and wrong.</exception>
    public static GitSource? TryParse(string text)
    {
        var fragmentAt = text.IndexOf('#');
        var (rest, fragment) = fragmentAt < 0 ? (text, "") : (text[..fragmentAt], text[(fragmentAt + 1)..]);
        var queryAt = rest.IndexOf('?');
        var (remote, query) = queryAt < 0 ? (rest, "") : (rest[..queryAt], rest[(queryAt + 1)..]);
        var scheme = remote.IndexOf("://", StringComparison.Ordinal);
        if (scheme < 0 ? !ScpLike().IsMatch(remote) : remote[..scheme] switch { "http" or "https" => !remote.EndsWith(".git", StringComparison.Ordinal), "ssh" or "git" => false, _ => true }) return null;
        var parts = fragment.Split(':', 2);
        var source = new GitSource { Remote = remote, Ref = parts[0], Directory = parts.Length > 1 ? parts[1] : "" };
        source = source.WithQuery(query);
        // Neither may be taken for an option.
        if (source.Ref.StartsWith('-')) throw new DockerfileException($"invalid git ref {GoText.Quote(source.Ref)}");
        return source;
    }

    /// <summary>As the address of a whole context also names one: <c>github.com/owner/name</c>.</summary>
    public static GitSource? TryParseContext(string text) => TryParse(text.StartsWith("github.com/", StringComparison.Ordinal) ? "https://" + (text.Contains(".git", StringComparison.Ordinal) ? text : WithSuffix(text)) : text);

    private static string WithSuffix(string text)
    {
        var end = text.AsSpan().IndexOfAny('#', '?');
        return end < 0 ? text + ".git" : text[..end] + ".git" + text[end..];
    }

    private GitSource WithQuery(string query)
    {
        var source = this;
        string tag = "", branch = "";
        foreach (var field in query.Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = field.IndexOf('=');
            var (key, value) = equals < 0 ? (field, "") : (Uri.UnescapeDataString(field[..equals]), Uri.UnescapeDataString(field[(equals + 1)..]));
            if (value.Length == 0 && key is not ("submodules" or "keep-git-dir")) throw new DockerfileException($"query {GoText.Quote(key)} has no value");
            source = key switch
            {
                "ref" => source.Only("ref", source.Ref, value) with { Ref = value },
                "subdir" => source.Only("subdir", source.Directory, value) with { Directory = value },
                "checksum" or "commit" => source with { Commit = value },
                "keep-git-dir" => source with { KeepGitDirectory = Bool(key, value) },
                "submodules" => source with { Submodules = Bool(key, value) },
                "tag" or "branch" => source,
                _ => throw new DockerfileException($"unexpected query {GoText.Quote(key)}"),
            };
            if (key == "tag") tag = "refs/tags/" + value;
            if (key == "branch") branch = "refs/heads/" + value;
        }
        if (tag.Length > 0 && branch.Length > 0) throw new DockerfileException("branch conflicts with tag");
        var chosen = tag + branch;
        return chosen.Length == 0 ? source : source.Only("ref", source.Ref, chosen) with { Ref = chosen };
    }

    private GitSource Only(string what, string before, string now) => before.Length == 0 || before == now ? this : throw new DockerfileException($"{what} conflicts: {GoText.Quote(before)} vs {GoText.Quote(now)}");

    private static bool Bool(string key, string value) => value.Length == 0 || (GoText.TryParseBool(value, out var result) ? result : throw new DockerfileException($"invalid {key} value: {GoText.Quote(value)}"));

    [GeneratedRegex("^[a-zA-Z0-9_-]+@[a-zA-Z0-9.-]+:.+$", RegexOptions.CultureInvariant)]
    private static partial Regex ScpLike();
}
