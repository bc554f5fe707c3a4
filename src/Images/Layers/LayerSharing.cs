using System.Buffers.Binary;
using System.Diagnostics;
using System.IO.Compression;
using System.Security.Cryptography;
using Berth.Images.Storage;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Berth.Images.Layers;

/// <summary>
/// Large files that occur in several layers, or several times in one, come to lie in the same blocks where the file system can share them (docs/decisions/0842-identical-files-share-blocks.md).
/// Beside each layer that was gone through lies <c>large-files</c>:
/// <code>
///   "BLF1", then per file      fingerprint (8 bytes), length and bytes of its path
/// </code>
/// A fingerprint is a hash of the size and three blocks: it finds those that might be equal, and whether they are is for the kernel to say. Nothing here is needed for anything
/// else: what is lost or half-done is done again.
/// </summary>
internal sealed class LayerSharing
{
    public const string FileName = "large-files";

    /// <summary>Smaller files are many and take little.</summary>
    public const long MinFileBytes = 16 << 10;

    /// <summary>Files looked at of one layer, the first of its tar.</summary>
    public const int MaxFilesOfLayer = 50_000;

    /// <summary>Fingerprints in memory during a run: about 8 MB. What is beyond is not found again.</summary>
    public const int MaxFingerprints = 250_000;

    private const int MaxIndexBytes = 32 << 20, SampleBytes = 4096;

    /// <summary>Both files are locked while the kernel compares: a container that wants to read one waits no longer than this much takes.</summary>
    private const long StepBytes = 8 << 20;

    private const OpenFlags FileFlags = OpenFlags.ReadOnly | OpenFlags.NoFollow | OpenFlags.NonBlocking | OpenFlags.NoAccessTime;

    private readonly LayerStore layers;
    private readonly string temporaryDirectory;
    private readonly ILogger logger;
    private bool? isPossible;

    public LayerSharing(LayerStore layers, string temporaryDirectory, ILogger logger) => (this.layers, this.temporaryDirectory, this.logger) = (layers, temporaryDirectory, logger);

    private static ReadOnlySpan<byte> Magic => "BLF1"u8;

    /// <summary>Whether the file system shares blocks; tried once.</summary>
    public bool IsPossible => isPossible ??= Try();

    private bool Try()
    {
        // Of a size that is whole blocks everywhere: block sizes go up to 64 KiB.
        var content = new byte[64 << 10];
        var (a, b) = (Path.Combine(temporaryDirectory, Path.GetRandomFileName()), Path.Combine(temporaryDirectory, Path.GetRandomFileName()));
        try
        {
            File.WriteAllBytes(a, content);
            File.WriteAllBytes(b, content);
            using var source = FileAt.Open(null, a, FileFlags);
            using var target = FileAt.Open(null, b, FileFlags);
            return SharedExtents.Share(source, target, 0, content.Length, out var shared) == Errno.Success && shared > 0;
        }
        catch (Exception e) when (e is IOException or LinuxException or UnauthorizedAccessException)
        {
            return false;
        }
        finally
        {
            File.Delete(a);
            File.Delete(b);
        }
    }

    /// <summary>Goes through the layers that nobody has gone through yet. Takes its time and blocks; for <see cref="BackgroundThread"/>.</summary>
    /// <returns>Bytes that are shared now and were not before, as far as can be told: those that were shared already count again.</returns>
    public long Run(CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        using var run = new Pass(this, cancellation);
        try
        {
            List<Digest> indexed = [], fresh = [];
            foreach (var layer in layers.All())
                (File.Exists(IndexPath(layer)) ? indexed : fresh).Add(layer);
            if (fresh.Count == 0) return 0;
            foreach (var layer in indexed) run.Read(layer);
            foreach (var layer in fresh) run.Visit(layer);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or UnauthorizedAccessException)
        {
            // What is left is gone through another time.
        }
        if (run.SharedFiles > 0) ImagesLog.Shared(logger, run.SharedFiles, run.SharedBytes, clock.ElapsedMilliseconds);
        return run.SharedBytes;
    }

    private string IndexPath(Digest layer) => Path.Combine(layers.DirectoryOf(layer), FileName);

    private SafeFileHandle OpenDiff(Digest layer) => FileAt.Open(null, layers.DiffDirectory(layer), OpenFlags.Path | OpenFlags.Directory | OpenFlags.NoFollow);

    private sealed class Pass(LayerSharing owner, CancellationToken cancellation) : IDisposable
    {
        // Where a file with this fingerprint is noted: which layer, and at which byte of its index.
        private readonly Dictionary<ulong, (int Layer, int Offset)> found = [];
        private readonly List<Digest> visited = [];
        // The layer that was shared with last.
        private int neighbour = -1;
        private SafeFileHandle? neighbourDiff;
        private byte[]? neighbourIndex;
        private readonly byte[] sample = new byte[sizeof(long) + 3 * SampleBytes];

        public int SharedFiles { get; private set; }
        public long SharedBytes { get; private set; }

        /// <summary>A layer that was gone through before: others may share with it.</summary>
        public void Read(Digest layer)
        {
            cancellation.ThrowIfCancellationRequested();
            if (found.Count >= MaxFingerprints || TryReadIndex(layer) is not { } index) return;
            visited.Add(layer);
            for (var offset = Magic.Length; Entry(index, offset, out var fingerprint, out var path); offset += sizeof(ulong) + sizeof(ushort) + path.Length) Note(fingerprint, offset);
        }

        public void Visit(Digest layer)
        {
            using var index = new MemoryStream();
            index.Write(Magic);
            visited.Add(layer);
            // Files of one layer that are equal among themselves made it its own neighbour, while its index was not there yet.
            neighbour = -1;
            try
            {
                using var diff = owner.OpenDiff(layer);
                Span<byte> head = stackalloc byte[sizeof(ulong) + sizeof(ushort)];
                var count = 0;
                foreach (var path in TarRecipe.FilesOf(owner.layers.DirectoryOf(layer), MinFileBytes))
                {
                    cancellation.ThrowIfCancellationRequested();
                    if (++count > MaxFilesOfLayer) break;
                    using var file = Open(diff, path, out var status);
                    if (file is null || (long)status.SizeBytes < MinFileBytes || !Fingerprint(file, (long)status.SizeBytes, out var fingerprint)) continue;
                    if (!found.TryGetValue(fingerprint, out var twin)) Note(fingerprint, (int)index.Length);
                    else Share(twin, index, file, status);
                    BinaryPrimitives.WriteUInt64LittleEndian(head, fingerprint);
                    BinaryPrimitives.WriteUInt16LittleEndian(head[sizeof(ulong)..], (ushort)path.Length);
                    index.Write(head);
                    index.Write(path);
                }
                DiskFile.Replace(owner.IndexPath(layer), index.GetBuffer().AsSpan(0, (int)index.Length), sync: false);
            }
            catch (Exception e) when (e is IOException or LinuxException or InvalidDataException or UnauthorizedAccessException)
            {
                // Removed a moment ago, most likely; or unpacked by a version that kept no recipe, and those are left as they are.
                ImagesLog.NotShared(owner.logger, layer, e.Message);
            }
        }

        private void Note(ulong fingerprint, int offset)
        {
            if (found.Count < MaxFingerprints) found.TryAdd(fingerprint, (visited.Count - 1, offset));
        }

        private void Share((int Layer, int Offset) twin, MemoryStream current, SafeFileHandle file, in FileStatus status)
        {
            var isOwn = twin.Layer == visited.Count - 1;
            if (neighbour != twin.Layer) Approach(twin.Layer);
            var index = isOwn ? current.GetBuffer().AsSpan(0, (int)current.Length) : neighbourIndex;
            if (neighbourDiff is null || !Entry(index, twin.Offset, out _, out var path)) return;
            using var source = Open(neighbourDiff, path, out var sourceStatus);
            if (source is null || sourceStatus.SizeBytes != status.SizeBytes || sourceStatus.Inode == status.Inode) return;
            long size = (long)status.SizeBytes, offset = 0;
            while (offset < size)
            {
                cancellation.ThrowIfCancellationRequested();
                var errno = SharedExtents.Share(source, file, offset, Math.Min(StepBytes, size - offset), out var shared);
                // The disk's own troubles end it for this layer; another time it is gone through again.
                if (errno is Errno.ENOSPC or Errno.EDQUOT or Errno.EIO or Errno.EROFS) throw new LinuxException("ioctl", "FIDEDUPERANGE", errno);
                if (errno != Errno.Success || shared == 0) break;
                offset += shared;
            }
            if (offset == 0) return;
            SharedFiles++;
            SharedBytes += offset;
        }

        // Layers that have one file in common have many.
        private void Approach(int layer)
        {
            neighbourDiff?.Dispose();
            (neighbour, neighbourDiff, neighbourIndex) = (layer, null, TryReadIndex(visited[layer]));
            try
            {
                neighbourDiff = owner.OpenDiff(visited[layer]);
            }
            catch (LinuxException)
            {
                // It has been removed meanwhile.
            }
        }

        public void Dispose() => neighbourDiff?.Dispose();

        private byte[]? TryReadIndex(Digest layer)
        {
            try
            {
                return DiskFile.TryRead(owner.IndexPath(layer), MaxIndexBytes) is { } index && index.AsSpan().StartsWith(Magic) ? index : null;
            }
            catch (Exception e) when (e is IOException or ImageException)
            {
                return null;
            }
        }

        private static bool Entry(ReadOnlySpan<byte> index, int offset, out ulong fingerprint, out ReadOnlySpan<byte> path)
        {
            fingerprint = 0;
            path = default;
            if (index.Length - offset < sizeof(ulong) + sizeof(ushort)) return false;
            fingerprint = BinaryPrimitives.ReadUInt64LittleEndian(index[offset..]);
            var length = BinaryPrimitives.ReadUInt16LittleEndian(index[(offset + sizeof(ulong))..]);
            var rest = index[(offset + sizeof(ulong) + sizeof(ushort))..];
            if (rest.Length < length) return false;
            path = rest[..length];
            return true;
        }

        // Null for what is no regular file, or has gone.
        private static SafeFileHandle? Open(SafeFileHandle diff, ReadOnlySpan<byte> path, out FileStatus status)
        {
            status = default;
            if (RawAt.Open(diff, path, FileFlags, LayerTar.Inside, 0, out var file) != Errno.Success) return null;
            if (RawAt.Status(file!, default, out status) == Errno.Success && status.Kind == FileKind.Regular) return file;
            file!.Dispose();
            return null;
        }

        private bool Fingerprint(SafeFileHandle file, long size, out ulong fingerprint)
        {
            fingerprint = 0;
            BinaryPrimitives.WriteInt64LittleEndian(sample, size);
            var middle = size / 2 / SampleBytes * SampleBytes;
            if (!Sample(0, 0) || !Sample(middle, 1) || !Sample(size - SampleBytes, 2)) return false;
            fingerprint = BinaryPrimitives.ReadUInt64LittleEndian(SHA256.HashData(sample));
            return true;

            bool Sample(long offset, int place) =>
                RawAt.ReadAt(file, sample.AsSpan(sizeof(long) + place * SampleBytes, SampleBytes), offset, out var count) == Errno.Success && count == SampleBytes;
        }
    }
}
