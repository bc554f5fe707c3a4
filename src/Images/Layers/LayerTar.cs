using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Images.Layers;

/// <summary>
/// A layer's tar, put together again from its recipe and its files, byte for byte what it was unpacked from. It is hashed on the way, and the last of it is only given out when
/// the hash is the diff id: a file that was damaged meanwhile ends the stream with an error and never passes for the layer.
/// </summary>
/// <remarks>The layer must be held while this is open. Blocks; not thread-safe.</remarks>
internal sealed class LayerTar : ReadOnlyStream
{
    private const OpenFlags FileFlags = OpenFlags.ReadOnly | OpenFlags.NoFollow | OpenFlags.NonBlocking;

    // The paths were written without links; one that has any now was not written by us.
    internal const ResolveFlags Inside = ResolveFlags.Beneath | ResolveFlags.NoSymlinks | ResolveFlags.NoMagicLinks | ResolveFlags.NoMounts;

    private readonly Digest diffId;
    private readonly SafeFileHandle diff;
    private readonly SafeFileHandle? shadowed;
    private readonly Dictionary<string, List<(ulong Before, int Number)>>? shadows;
    private readonly FileStream recipe;
    private readonly Stream records;
    private readonly IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    private SafeFileHandle? file;
    private byte[] path = [];
    private ulong contents;
    private long literalLeft, contentLeft, contentOffset, total;
    private bool ended, verified;

    /// <param name="directory">The layer's, which holds <c>diff/</c> and the recipe.</param>
    /// <exception cref="ImageException">Something of that is missing.</exception>
    public LayerTar(string directory, Digest diffId, long tarBytes)
    {
        (this.diffId, TarBytes) = (diffId, tarBytes);
        try
        {
            diff = FileAt.Open(null, Path.Combine(directory, "diff"), OpenFlags.Path | OpenFlags.Directory | OpenFlags.NoFollow);
            shadows = ReadShadows(directory);
            if (shadows is not null) shadowed = FileAt.Open(null, Path.Combine(directory, TarRecipe.ShadowedDirectory), OpenFlags.Path | OpenFlags.Directory | OpenFlags.NoFollow);
            recipe = new FileStream(Path.Combine(directory, TarRecipe.FileName), FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            Span<byte> magic = stackalloc byte[4];
            if (recipe.ReadAtLeast(magic, magic.Length, throwOnEndOfStream: false) < magic.Length || !magic.SequenceEqual(TarRecipe.Magic)) throw new InvalidDataException("its recipe is none");
        }
        catch (Exception e) when (e is IOException or LinuxException or InvalidDataException or UnauthorizedAccessException)
        {
            Dispose();
            throw Damaged(e.Message, e);
        }
        records = new BufferedStream(new DeflateStream(recipe, CompressionMode.Decompress, leaveOpen: true), 64 * 1024);
    }

    /// <summary>How long the tar is.</summary>
    public long TarBytes { get; }

    public override int Read(Span<byte> buffer)
    {
        var count = 0;
        try
        {
            while (count < buffer.Length && !ended)
            {
                if (literalLeft == 0 && contentLeft == 0) NextRecord();
                var rest = buffer[count..];
                if (literalLeft > 0)
                {
                    var some = records.Read(rest[..(int)Math.Min(rest.Length, literalLeft)]);
                    if (some == 0) throw new EndOfStreamException();
                    literalLeft -= some;
                    count += some;
                }
                else if (contentLeft > 0)
                {
                    var errno = RawAt.ReadAt(file!, rest[..(int)Math.Min(rest.Length, contentLeft)], contentOffset, out var some);
                    if (errno != Errno.Success) throw Damaged($"{TarExtractor.Show(path)}: {errno.DescribeAsGo()}");
                    if (some == 0) throw Damaged($"{TarExtractor.Show(path)} is shorter than it was");
                    contentLeft -= some;
                    contentOffset += some;
                    count += some;
                }
            }
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            throw Damaged($"its recipe: {e.Message}", e);
        }
        hash.AppendData(buffer[..count]);
        total += count;
        // With its last bytes the tar would be taken for the layer: they are not given out before this is known.
        if (ended && !verified)
        {
            if (total != TarBytes || !diffId.Matches(hash.GetHashAndReset())) throw Damaged("its files are not what was unpacked");
            verified = true;
        }
        return count;
    }

    private void NextRecord()
    {
        var record = TarRecipe.ReadNumber(records);
        var length = (long)(record >> 1);
        if (record == 0)
        {
            ended = true;
            CloseFile();
            return;
        }
        if (length <= 0 || length > TarBytes) throw new InvalidDataException("a record is too long");
        if ((record & 1) == 0)
        {
            literalLeft = length;
            return;
        }
        var pathBytes = TarRecipe.ReadNumber(records);
        if (pathBytes > FileAt.MaxPathBytes) throw new InvalidDataException("a path is too long");
        if (pathBytes > 0)
        {
            CloseFile();
            path = new byte[pathBytes];
            records.ReadExactly(path);
        }
        var offset = TarRecipe.ReadNumber(records);
        if (file is null) Open();
        (contentLeft, contentOffset) = (length, (long)offset);
        contents++;
    }

    private void Open()
    {
        var (root, where) = Locate();
        var errno = RawAt.Open(root, where, FileFlags, Inside, 0, out file);
        if (errno == Errno.Success) errno = RawAt.Status(file!, default, out var status) is var failed and not Errno.Success ? failed : status.Kind == FileKind.Regular ? Errno.Success : Errno.EINVAL;
        if (errno != Errno.Success) throw Damaged($"{TarExtractor.Show(path)}: {errno.DescribeAsGo()}");
    }

    // Where the path was, or what lay above it, when this record was written may have been put aside since: the first time that happened counts.
    private (SafeFileHandle Root, byte[] Path) Locate()
    {
        if (shadows is null) return (diff, path);
        var (first, rest) = (int.MaxValue, 0);
        for (var end = 0; end <= path.Length; end++)
        {
            if (end < path.Length && path[end] != '/') continue;
            if (!shadows.TryGetValue(Encoding.Latin1.GetString(path, 0, end), out var times)) continue;
            foreach (var (before, number) in times)
                if (before > contents && number < first) (first, rest) = (number, end);
        }
        return first == int.MaxValue ? (diff, path) : (shadowed!, [.. Encoding.ASCII.GetBytes(first.ToString(System.Globalization.CultureInfo.InvariantCulture)), .. path.AsSpan(rest)]);
    }

    private static Dictionary<string, List<(ulong, int)>>? ReadShadows(string directory)
    {
        FileStream file;
        try
        {
            file = new FileStream(Path.Combine(directory, TarRecipe.ShadowedFileName), FileMode.Open, FileAccess.Read, FileShare.Read, 64 * 1024);
        }
        catch (FileNotFoundException)
        {
            return null;
        }
        using (file)
        {
            var shadows = new Dictionary<string, List<(ulong, int)>>(StringComparer.Ordinal);
            for (var number = 0; file.Position < file.Length; number++)
            {
                if (number >= TarRecipe.MaxShadowed) throw new InvalidDataException("too many files were replaced");
                var before = TarRecipe.ReadNumber(file);
                var length = TarRecipe.ReadNumber(file);
                if (length > FileAt.MaxPathBytes) throw new InvalidDataException("a path is too long");
                var bytes = new byte[length];
                file.ReadExactly(bytes);
                // Latin-1 keeps bytes apart that are not text.
                var path = Encoding.Latin1.GetString(bytes);
                if (!shadows.TryGetValue(path, out var times)) shadows[path] = times = [];
                times.Add((before, number));
            }
            return shadows;
        }
    }

    private ImageException Damaged(string why, Exception? inner = null) => ImageException.Failed($"layer {diffId} is damaged: {why}", inner);

    private void CloseFile()
    {
        file?.Dispose();
        file = null;
    }

    protected override void Dispose(bool disposing)
    {
        CloseFile();
        hash.Dispose();
        records?.Dispose();
        recipe?.Dispose();
        shadowed?.Dispose();
        diff?.Dispose();
        base.Dispose(disposing);
    }
}
