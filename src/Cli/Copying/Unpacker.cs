using System.Formats.Tar;

namespace Berth.Cli.Copying;

/// <summary>
/// Unpacks an archive that came from a container. Its names are a stranger's: nothing is written outside the directory, and
/// no link that lies in it is gone through, so that one entry cannot lead the next one out.
/// </summary>
internal static class Unpacker
{
    /// <param name="archive">A tar.</param>
    /// <param name="directory">Where; it exists.</param>
    /// <param name="oldBase">The first part of the names.</param>
    /// <param name="newBase">What takes its place; null: nothing does.</param>
    /// <exception cref="CommandException">An entry cannot be unpacked; those before it are there.</exception>
    public static void Unpack(Stream archive, string directory, string oldBase, string? newBase)
    {
        var directories = new List<(string Path, UnixFileMode Mode, DateTimeOffset Time)>();
        try
        {
            using var reader = new TarReader(archive);
            while (reader.GetNextEntry() is { } entry)
            {
                if (entry.EntryType is TarEntryType.GlobalExtendedAttributes) continue;
                var parts = Parts(Renamed(entry.Name, oldBase, newBase), entry.Name);
                if (parts.Count == 0) continue; // the directory itself
                var path = Path.Join(directory, Path.Join([.. parts]));
                MakeParents(directory, parts);
                One(entry, path, directory, oldBase, newBase, directories);
            }
        }
        catch (Exception e) when (e is InvalidDataException or FormatException or EndOfStreamException)
        {
            throw new CommandException($"the engine's archive cannot be read: {e.Message}");
        }
        finally
        {
            // Last, and the innermost first: what is written into a directory changes its time, and a mode may forbid it.
            for (var i = directories.Count - 1; i >= 0; i--) Adorn(directories[i].Path, directories[i].Mode, directories[i].Time, isDirectory: true);
        }
    }

    internal static string Renamed(string name, string oldBase, string? newBase)
    {
        if (newBase is null) return name;
        if (oldBase == "/") return newBase + "/" + name.TrimStart('/');
        if (name == oldBase) return newBase;
        return name.StartsWith(oldBase + "/", StringComparison.Ordinal) ? newBase + name[oldBase.Length..] : name;
    }

    private static List<string> Parts(string name, string shown)
    {
        var parts = new List<string>();
        foreach (var part in name.Split('/'))
        {
            if (part is "" or ".") continue;
            if (part == ".." || (OperatingSystem.IsWindows() && part.AsSpan().ContainsAny('\\', ':'))) throw new CommandException($"{GoText.Quote(shown)} in the engine's archive leads out of the destination");
            parts.Add(part);
        }
        return parts;
    }

    private static void MakeParents(string directory, List<string> parts)
    {
        var path = directory;
        for (var i = 0; i < parts.Count - 1; i++)
        {
            path = Path.Join(path, parts[i]);
            if (!Path.Exists(path) && !IsLink(path)) Directory.CreateDirectory(path);
            else if (IsLink(path) || !Directory.Exists(path)) throw new CommandException($"{path} is no directory: {string.Join('/', parts)} cannot be unpacked there");
        }
    }

    private static bool IsLink(string path) => new FileInfo(path).LinkTarget is not null;

    private static void One(TarEntry entry, string path, string root, string oldBase, string? newBase, List<(string, UnixFileMode, DateTimeOffset)> directories)
    {
        var wantsDirectory = entry.EntryType == TarEntryType.Directory;
        var isDirectory = Directory.Exists(path) && !IsLink(path);
        if (isDirectory && !wantsDirectory) throw new CommandException($"cannot overwrite directory {GoText.Quote(path)} with non-directory {GoText.Quote(entry.Name)}");
        if (!isDirectory && wantsDirectory && (Path.Exists(path) || IsLink(path))) throw new CommandException($"cannot overwrite non-directory {GoText.Quote(path)} with directory {GoText.Quote(entry.Name)}");
        if (!isDirectory && (Path.Exists(path) || IsLink(path)))
        {
            // The host's own devices are nobody's to replace, root's commands' least of all.
            if (OperatingSystem.IsLinux() && Linux.FileAt.TryStatus(null, path, followLinks: false, out _) is { Kind: Linux.Abi.FileKind.CharacterDevice or Linux.Abi.FileKind.BlockDevice })
                throw new CommandException($"cannot overwrite {GoText.Quote(path)}: it is a device");
            File.Delete(path);
        }
        switch (entry.EntryType)
        {
            case TarEntryType.Directory:
                if (!isDirectory) Directory.CreateDirectory(path);
                directories.Add((path, entry.Mode, entry.ModificationTime));
                return;
            case TarEntryType.RegularFile or TarEntryType.V7RegularFile or TarEntryType.ContiguousFile:
                using (var file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0)) entry.DataStream?.CopyTo(file);
                break;
            case TarEntryType.SymbolicLink:
                File.CreateSymbolicLink(path, entry.LinkName);
                return;
            case TarEntryType.HardLink:
                var target = Parts(Renamed(entry.LinkName, oldBase, newBase), entry.LinkName);
                MakeParents(root, target);
                Link(Path.Join(root, Path.Join([.. target])), path);
                return;
            case TarEntryType.Fifo or TarEntryType.CharacterDevice or TarEntryType.BlockDevice when !OperatingSystem.IsWindows():
                entry.ExtractToFile(path, overwrite: false);
                break;
            default:
                throw new CommandException($"{entry.Name} in the engine's archive is a {entry.EntryType}, which cannot be made here");
        }
        Adorn(path, entry.Mode, entry.ModificationTime, isDirectory: false);
    }

    private static void Link(string target, string path)
    {
        if (IsLink(target))
        {
            File.CreateSymbolicLink(path, new FileInfo(target).LinkTarget!);
            return;
        }
        if (OperatingSystem.IsLinux()) Linux.FileAt.HardLink(null, target, null, path);
        else File.Copy(target, path); // .NET makes no hard links
    }

    private static void Adorn(string path, UnixFileMode mode, DateTimeOffset time, bool isDirectory)
    {
        if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(path, mode);
        if (isDirectory) Directory.SetLastWriteTimeUtc(path, time.UtcDateTime);
        else File.SetLastWriteTimeUtc(path, time.UtcDateTime);
    }
}
