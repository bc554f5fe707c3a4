namespace Berth.Cli.Copying;

/// <summary>Where what is copied comes to lie: the rules of docker cp.</summary>
internal static class CopyPlan
{
    /// <summary>
    /// The directory that the archive is unpacked in, and the name its first part is given; null: it keeps its own.
    /// </summary>
    /// <param name="sourceBase">The last part of the source's path, "." for what is in a directory.</param>
    /// <param name="sourceName">The name it is to have instead, when a link led to it; "" if none.</param>
    /// <param name="sourceIsDirectory">It is a directory.</param>
    /// <param name="path">The destination.</param>
    /// <param name="exists">It is there.</param>
    /// <param name="isDirectory">It is a directory.</param>
    /// <param name="split">Cuts the destination's path into its directory and its last part.</param>
    /// <exception cref="CommandException">They do not go together.</exception>
    public static (string Directory, string? Name) Place(string sourceBase, string sourceName, bool sourceIsDirectory, string path, bool exists, bool isDirectory, Func<string, (string Directory, string Base)> split)
    {
        if (exists && isDirectory) return (path, null);
        if (exists && sourceIsDirectory) throw new CommandException($"cannot copy directory {(sourceName.Length > 0 ? sourceName : sourceBase)} to {path}: that is a file");
        if (!exists && !sourceIsDirectory && (path.EndsWith('/') || split(path).Base == ".")) throw new CommandException($"no such directory: {path}");
        var (directory, name) = split(path);
        return (directory, name);
    }
}

/// <summary>Paths in a container: slashes, wherever we run.</summary>
internal static class ContainerPath
{
    /// <summary>Cleaned of //, . and .. as Go's path.Clean does.</summary>
    public static string Clean(string path)
    {
        var rooted = path.StartsWith('/');
        var parts = new List<string>();
        foreach (var part in path.Split('/'))
        {
            if (part is "" or ".") continue;
            if (part == ".." && parts is [.., not ".."]) parts.RemoveAt(parts.Count - 1);
            else if (part != ".." || !rooted) parts.Add(part);
        }
        var joined = string.Join('/', parts);
        return rooted ? "/" + joined : joined.Length > 0 ? joined : ".";
    }

    public static string Join(string directory, string path) => Clean(directory + "/" + path);

    /// <summary>A last "." stays: "/a/." is ("/a", ".").</summary>
    public static (string Directory, string Base) Split(string path)
    {
        var clean = Clean(path);
        if (path is "." || path.EndsWith("/.", StringComparison.Ordinal)) return (clean, ".");
        if (clean == "/") return ("/", "/");
        var slash = clean.LastIndexOf('/');
        return slash < 0 ? (".", clean) : (slash == 0 ? "/" : clean[..slash], clean[(slash + 1)..]);
    }

    /// <summary>What a link leads to, ending as the link's path did, and the name it is copied under if that is another.</summary>
    public static (string Path, string Name) WithNameOf(string path, string resolved)
    {
        var dot = path == "." || path.EndsWith("/.", StringComparison.Ordinal);
        if (dot && Split(resolved).Base != ".") resolved += "/.";
        if (path.EndsWith('/') && !resolved.EndsWith('/')) resolved += "/";
        var (own, real) = (Split(path).Base, Split(resolved).Base);
        return (resolved, own != real ? own : "");
    }
}
