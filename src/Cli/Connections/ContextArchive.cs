using System.Formats.Tar;
using System.IO.Compression;

namespace Berth.Cli.Connections;

/// <summary>A context as one file: a tar (or, for reading, a zip) of meta.json and tls/docker/*.pem.</summary>
internal static class ContextArchive
{
    public static byte[] Write(DockerContext context)
    {
        using var stream = new MemoryStream();
        using (var writer = new TarWriter(stream, TarEntryFormat.Ustar, leaveOpen: true))
        {
            Add(writer, "meta.json", UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead, ContextStore.Serialize(context));
            AddDirectory(writer, "tls");
            if (context.TlsFiles.Count > 0) AddDirectory(writer, "tls/docker");
            foreach (var (name, bytes) in context.TlsFiles) Add(writer, "tls/docker/" + name, UnixFileMode.UserRead | UnixFileMode.UserWrite, bytes);
        }
        return stream.ToArray();
    }

    private static void AddDirectory(TarWriter writer, string name) => writer.WriteEntry(new UstarTarEntry(TarEntryType.Directory, name)
    {
        Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, ModificationTime = DateTimeOffset.UnixEpoch,
    });

    private static void Add(TarWriter writer, string name, UnixFileMode mode, byte[] bytes) => writer.WriteEntry(new UstarTarEntry(TarEntryType.RegularFile, name)
    {
        Mode = mode, ModificationTime = DateTimeOffset.UnixEpoch, DataStream = new MemoryStream(bytes),
    });

    /// <exception cref="CommandException">It is no archive of a context.</exception>
    public static DockerContext Read(byte[] archive)
    {
        DockerContext? context = null;
        var files = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
        try
        {
            foreach (var (name, content) in archive.AsSpan().StartsWith("PK\u0003\u0004"u8) ? Zip(archive) : Tar(archive))
            {
                if (name == "meta.json") context = ContextStore.Parse(content, name);
                else if (!name.StartsWith("tls/", StringComparison.Ordinal)) throw new CommandException($"{name}: unexpected context file");
                else if (name.Contains('\\') || name.Contains("//", StringComparison.Ordinal) || name.Split('/').Any(p => p is "." or "..")) throw new CommandException($"{name}: unexpected path format");
                else if (name.StartsWith("tls/docker/", StringComparison.Ordinal)) files[name["tls/docker/".Length..]] = content;
            }
        }
        catch (Exception e) when (e is InvalidDataException or FormatException or EndOfStreamException)
        {
            throw new CommandException($"invalid context: {e.Message}");
        }
        return context is null ? throw new CommandException("invalid context: no metadata found") : context with { TlsFiles = files };
    }

    private static IEnumerable<(string, byte[])> Tar(byte[] archive)
    {
        // docker's own archives end with the last byte of the last file: without its padding, and without the two empty blocks.
        Array.Resize(ref archive, (archive.Length + 511) / 512 * 512 + 1024);
        using var reader = new TarReader(new MemoryStream(archive));
        while (reader.GetNextEntry() is { } entry)
            if (entry.EntryType is TarEntryType.RegularFile or TarEntryType.V7RegularFile) yield return (entry.Name, Content(entry.DataStream ?? Stream.Null));
    }

    private static IEnumerable<(string, byte[])> Zip(byte[] archive)
    {
        using var zip = new ZipArchive(new MemoryStream(archive));
        foreach (var entry in zip.Entries)
        {
            if (entry.FullName.EndsWith('/')) continue;
            using var stream = entry.Open();
            yield return (entry.FullName, Content(stream));
        }
    }

    // What is packed may be larger than the archive.
    private static byte[] Content(Stream stream)
    {
        using var content = new MemoryStream();
        var buffer = new byte[16 * 1024];
        int read;
        while ((read = stream.Read(buffer)) > 0)
        {
            if (content.Length + read > ContextStore.MaxFileBytes) throw new CommandException("read exceeds the defined limit");
            content.Write(buffer, 0, read);
        }
        return content.ToArray();
    }
}
