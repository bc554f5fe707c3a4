using Berth.Cli.Commands;

namespace Berth.Cli.Copying;

/// <summary>Paths of this machine as cp reads them. What follows the last slash, or its absence, means something.</summary>
internal static class LocalPath
{
    /// <summary>Most links that are followed.</summary>
    private const int MaxLinks = 255;

    private static char Slash => Path.DirectorySeparatorChar;

    private static bool EndsInSlash(string path) => path.Length > 0 && (path[^1] == Slash || path[^1] == Path.AltDirectorySeparatorChar);

    private static bool EndsInDot(string path) => path == "." || (path.Length > 1 && path[^1] == '.' && EndsInSlash(path[..^1]));

    /// <summary>Absolute and cleaned; "/" and "/." at the end stay.</summary>
    public static string Absolute(string path)
    {
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        if (EndsInDot(path)) return EndsInSlash(full) ? full + "." : full + Slash + ".";
        return EndsInSlash(path) && !EndsInSlash(full) ? full + Slash : full;
    }

    public static (string Directory, string Base) Split(string path)
    {
        var clean = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        if (EndsInDot(path)) return (clean, ".");
        return Path.GetDirectoryName(clean) is { } directory ? (directory, Path.GetFileName(clean)) : (clean, clean);
    }

    /// <summary>Not through a link.</summary>
    public static bool IsRealDirectory(string path) => EndsInSlash(path) || EndsInDot(path) ? Directory.Exists(path) : Directory.Exists(path) && new DirectoryInfo(path).LinkTarget is null;

    /// <exception cref="CommandException">It cannot be written there.</exception>
    public static void CheckOutput(string path)
    {
        var directory = Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)));
        if (directory is not null && !Directory.Exists(directory)) throw new CommandException($"invalid output path: directory {GoText.Quote(directory)} does not exist");
        if (OperatingSystem.IsLinux() && Linux.FileAt.TryStatus(null, path, followLinks: true, out _) is { Kind: Linux.Abi.FileKind.CharacterDevice or Linux.Abi.FileKind.BlockDevice }) throw new CommandException($"invalid output path: {GoText.Quote(path)} must be a directory or a regular file: got a device");
    }

    /// <summary>The path to pack and the name it goes under if that is not its own ("" if it is). Links before the last part are followed, the last one if wanted.</summary>
    public static (string Path, string Name) Source(string path, bool follow)
    {
        if (follow)
        {
            var real = Real(path);
            if (EndsInDot(path)) real += Slash + ".";
            else if (EndsInSlash(path)) real += Slash;
            var (own, found) = (Split(path).Base, Split(real).Base);
            return (Checked(real), own != found ? own : "");
        }
        if (EndsInSlash(path))
        {
            var real = Real(path);
            var (own, found) = (Split(path).Base, Split(real).Base);
            return (Checked(real + Slash), own != found ? own : "");
        }
        var (directory, name) = EndsInDot(path) ? (path[..^2] is { Length: > 0 } above ? above : $"{Slash}", ".") : Split(path);
        return (Checked(Path.Join(Real(directory), name)), "");
    }

    private static string Checked(string path)
    {
        if (!Path.Exists(path) && new FileInfo(path).LinkTarget is null)
            throw new CommandException(Path.Exists(Path.TrimEndingDirectorySeparator(path)) ? $"lstat {path}: not a directory" : $"lstat {path}: no such file or directory");
        return path;
    }

    /// <summary>All links followed.</summary>
    private static string Real(string path)
    {
        var root = Path.GetPathRoot(Path.GetFullPath(path))!;
        var left = new Stack<string>(Path.GetFullPath(path)[root.Length..].Split(Slash, StringSplitOptions.RemoveEmptyEntries).Reverse());
        var real = root;
        for (var links = 0; left.TryPop(out var part);)
        {
            if (part == ".")
                continue;
            if (part == "..")
            {
                real = Path.GetDirectoryName(real) ?? root;
                continue;
            }
            var next = Path.Join(real, part);
            if (new FileInfo(next).LinkTarget is not { } target)
            {
                if (!Path.Exists(next)) throw new CommandException($"lstat {next}: no such file or directory");
                real = next;
                continue;
            }
            if (++links > MaxLinks) throw new CommandException($"lstat {path}: too many links");
            if (Path.IsPathRooted(target)) real = Path.GetPathRoot(target)!;
            foreach (var word in target.Split(Slash, StringSplitOptions.RemoveEmptyEntries).Reverse()) left.Push(word);
        }
        return real;
    }

    /// <summary>A destination, the links at its end followed: even to what is not there, where it is then made.</summary>
    public static (string Path, bool Exists, bool IsDirectory) Destination(string path)
    {
        var original = path;
        for (var links = 0; new FileInfo(Path.TrimEndingDirectorySeparator(path)).LinkTarget is { } target; links++)
        {
            if (links > 10) throw new CommandException("too many symlinks in " + original);
            path = Path.IsPathRooted(target) ? target : Path.GetFullPath(Path.Join(Split(path).Directory, target));
        }
        if (Directory.Exists(path)) return (path, true, true);
        if (File.Exists(path)) return (path, true, false);
        if (File.Exists(Path.TrimEndingDirectorySeparator(path))) throw new CommandException($"lstat {path}: not a directory");
        var parent = Split(path).Directory;
        if (!Directory.Exists(parent)) throw new CommandException($"stat {parent}: {(File.Exists(parent) ? "not a directory" : "no such file or directory")}");
        return (path, false, false);
    }
}
