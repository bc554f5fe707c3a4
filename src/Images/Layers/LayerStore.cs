using System.Collections.Concurrent;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text.Json;
using Berth.Images.Storage;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Extensions.Logging;

namespace Berth.Images.Layers;

/// <summary>
/// Unpacked layers, <c>layers/&lt;diff id&gt;/{diff/,layer.json}</c>, and what else it takes to give their tars back (<see cref="TarRecipe"/>). A layer is unpacked in a temporary directory and renamed
/// to its digest once the whole stream was read and hashed, so what has a digest for a name is complete and is what it says.
/// </summary>
/// <remarks>
/// Layers are kept by diff id and not by chain id as in Docker: what a layer holds does not depend on what lies beneath it,
/// so images that share a layer on different bases share it on disk, and layers of one image can be unpacked in any order.
/// </remarks>
internal sealed class LayerStore
{
    /// <summary>Largest layer, unpacked: what one ext4 file could hold. A named end for a tar whose sparse files promise more.</summary>
    public const long MaxLayerBytes = 16L << 40;

    /// <summary>
    /// A layer beyond this size may not be more than <see cref="MaxExpansion"/> times what came over the wire: gzip can promise a thousand times, zstd far more, and
    /// such a bomb would fill the disk before its digest is known. Real layers are two to ten times as large as their blobs.
    /// </summary>
    public const long DefaultUnsuspectedBytes = 8L << 30;

    public const int MaxExpansion = 200;

    public long UnsuspectedBytes { get; init; } = DefaultUnsuspectedBytes;

    private readonly string directory, temporaryDirectory;
    private readonly ILogger logger;
    private readonly ConcurrentDictionary<Digest, LayerRecord> known = new();

    public LayerStore(string directory, string temporaryDirectory, ILogger logger)
    {
        (this.directory, this.temporaryDirectory, this.logger) = (directory, temporaryDirectory, logger);
        Directory.CreateDirectory(directory);
    }

    private string PathOf(Digest diffId) => Path.Combine(directory, diffId.Hex);

    /// <summary>Where all of the layer lies.</summary>
    public string DirectoryOf(Digest diffId) => PathOf(diffId);

    /// <summary>The directory for overlay's lowerdir.</summary>
    public string DiffDirectory(Digest diffId) => Path.Combine(PathOf(diffId), "diff");

    public bool Contains(Digest diffId) => known.ContainsKey(diffId) || TryGet(diffId) is not null;

    public LayerRecord? TryGet(Digest diffId)
    {
        if (known.TryGetValue(diffId, out var record)) return record;
        if (DiskFile.TryRead(Path.Combine(PathOf(diffId), "layer.json"), 4096) is not { } bytes) return null;
        record = JsonSerializer.Deserialize(bytes, ImagesJson.Default.LayerRecord)!;
        known[diffId] = record;
        return record;
    }

    /// <summary>The layer's tar as it was, for a caller who holds the layer.</summary>
    /// <exception cref="ImageException">The layer is not there or is damaged. Reading throws it too, instead of giving bytes that are not the layer's to the end.</exception>
    public LayerTar OpenTar(Digest diffId)
    {
        var record = TryGet(diffId) ?? throw ImageException.Failed($"layer {diffId} is missing");
        if (record.TarBytes is not { } length)
            throw ImageException.Failed($"layer {diffId} was unpacked by an earlier version, which did not note down its tar: remove the images that have it, and pull or load them again");
        return new LayerTar(PathOf(diffId), diffId, length);
    }

    public IEnumerable<Digest> All()
    {
        foreach (var path in Directory.EnumerateDirectories(directory))
            if (Digest.TryParseSha256Hex(Path.GetFileName(path), out var digest))
                yield return digest;
    }

    /// <summary>
    /// Takes the layer's name away, which is done at once, and returns where it lies now, for <see cref="Discard"/>; null when
    /// it wasn't there. A crash in between leaves no half a layer under a digest's name.
    /// </summary>
    public string? Detach(Digest diffId)
    {
        known.TryRemove(diffId, out _);
        var doomed = Path.Combine(temporaryDirectory, Path.GetRandomFileName());
        try
        {
            Directory.Move(PathOf(diffId), doomed);
            return doomed;
        }
        catch (DirectoryNotFoundException)
        {
            return null;
        }
    }

    /// <summary>
    /// Unpacks a layer's tar, compressed or not, into a temporary directory. Blocks; call it on a thread of its own. Reading and
    /// decompressing happen on another thread meanwhile. Returns when the source has been read to its end.
    /// </summary>
    /// <exception cref="ImageException">The tar is damaged or one of its entries is refused; nothing is left on disk.</exception>
    /// <param name="abort">Called on failure, to make a blocked read of the source end; without it the source is left where it was.</param>
    public UnpackedLayer Unpack(Stream source, CancellationToken cancellation, Action? abort = null)
    {
        var clock = Stopwatch.StartNew();
        var temporary = Path.Combine(temporaryDirectory, Path.GetRandomFileName());
        var diff = Path.Combine(temporary, "diff");
        Directory.CreateDirectory(temporary);
        Directory.CreateDirectory(diff, (UnixFileMode)0x1ED);
        bool unpacked = false, finished = false;
        try
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            using var pipe = new BlockPipe();
            using var recipe = new TarRecipeWriter(temporary);
            using var applier = new RootedApplier(diff, recipe);
            long tarBytes = 0;
            var feeder = Task.Factory.StartNew(() => tarBytes = Feed(source, pipe, hash), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            try
            {
                var tar = new TarReader(pipe.Reader, recipe);
                applier.Apply(tar, cancellation);
                tar.Drain();
                recipe.Complete();
                finished = true;
            }
            finally
            {
                pipe.Dispose();
                if (!finished) abort?.Invoke();
                // The feeder reads from the caller's stream and has to be out of it, whatever happened here.
                feeder.GetAwaiter().GetResult();
            }
            var diffId = Digest.FromSha256Hash(hash.GetHashAndReset());
            var record = new LayerRecord { SizeBytes = applier.SizeBytes, HidesAllBelow = applier.HidesAllBelow, TarBytes = tarBytes };
            File.WriteAllBytes(Path.Combine(temporary, "layer.json"), JsonSerializer.SerializeToUtf8Bytes(record, ImagesJson.Default.LayerRecord));
            ImagesLog.Unpacked(logger, diffId, record.SizeBytes, clock.ElapsedMilliseconds);
            unpacked = true;
            return new UnpackedLayer(this, temporary, diffId, record);
        }
        catch (Exception e) when (e is InvalidDataException or LayerEntryException or LinuxException or DllNotFoundException)
        {
            throw ImageException.Failed(e.Message, e);
        }
        finally
        {
            if (!unpacked) Discard(temporary);
        }
    }

    /// <summary>
    /// Makes an overlay's upper directory a layer where it is: it is read once, for the diff id and the recipe, and renamed. The layer is the one that unpacking its tar would give. Blocks.
    /// </summary>
    /// <param name="upperDirectory">In the temporary directory's file system, and nobody writes to it any more. It is gone afterwards.</param>
    /// <param name="latestSeconds">Times later than this become this.</param>
    /// <returns>Null, and the directory is as it was, when there is something in it that a layer does not have: a socket, an attribute.</returns>
    /// <exception cref="LinuxException"/>
    public UnpackedLayer? TryAdopt(string upperDirectory, long? latestSeconds, CancellationToken cancellation)
    {
        var clock = Stopwatch.StartNew();
        var temporary = Path.Combine(temporaryDirectory, Path.GetRandomFileName());
        Directory.CreateDirectory(temporary);
        var adopted = false;
        try
        {
            using var hash = new HashStream();
            TreeTar tree;
            using (var recipe = new TarRecipeWriter(temporary))
            using (var upper = FileAt.Open(null, upperDirectory, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow))
            {
                var writer = new TarWriter(hash, recipe);
                tree = new TreeTar(writer, new TreeTarRules { IsUpperDirectory = true, UserXattrs = true, Adopts = true, LatestSeconds = latestSeconds }, cancellation);
                tree.AddDirectory(upper, null);
                if (tree.IsInexact) return null;
                writer.Complete();
            }
            // Nothing of the root directory itself is in the tar.
            FileAt.ChangeOwner(null, upperDirectory, 0, 0);
            FileAt.ChangeMode(null, upperDirectory, 0x1ED);
            Directory.Move(upperDirectory, Path.Combine(temporary, "diff"));
            var record = new LayerRecord { SizeBytes = tree.SizeBytes, TarBytes = hash.Count };
            File.WriteAllBytes(Path.Combine(temporary, "layer.json"), JsonSerializer.SerializeToUtf8Bytes(record, ImagesJson.Default.LayerRecord));
            var diffId = hash.Digest();
            ImagesLog.Unpacked(logger, diffId, record.SizeBytes, clock.ElapsedMilliseconds);
            adopted = true;
            return new UnpackedLayer(this, temporary, diffId, record);
        }
        finally
        {
            if (!adopted) Discard(temporary);
        }
    }

    private sealed class HashStream : WriteOnlyStream
    {
        private readonly IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

        public long Count { get; private set; }

        public Digest Digest() => Images.Digest.FromSha256Hash(hash.GetHashAndReset());

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            hash.AppendData(buffer);
            Count += buffer.Length;
        }

        public override long Length => Count;

        protected override void Dispose(bool disposing)
        {
            hash.Dispose();
            base.Dispose(disposing);
        }
    }

    // Reads, decompresses and hashes into the pipe; returns how much that was. Never throws: the reader of the pipe does.
    private long Feed(Stream source, BlockPipe pipe, IncrementalHash hash)
    {
        long total = 0;
        try
        {
            using var counted = new CountingStream(source);
            using var plain = Compression.Open(counted);
            while (true)
            {
                var block = pipe.Rent();
                var count = plain.ReadAtLeast(block.AsSpan(0, BlockPipe.BlockBytes), BlockPipe.BlockBytes, throwOnEndOfStream: false);
                if (count == 0)
                {
                    pipe.Return(block);
                    break;
                }
                if ((total += count) > UnsuspectedBytes && total / MaxExpansion > counted.Count)
                    throw new InvalidDataException($"the layer unpacks to more than {MaxExpansion} times its size and more than {UnsuspectedBytes} bytes");
                if (total > MaxLayerBytes) throw new InvalidDataException($"the layer is larger than {MaxLayerBytes} bytes");
                hash.AppendData(block, 0, count);
                pipe.Push(block, count);
            }
            pipe.Complete();
        }
        catch (Exception e)
        {
            pipe.Complete(e);
        }
        return total;
    }

    /// <summary>Gives an unpacked layer its name. When another had the same idea first, theirs stays and this one goes.</summary>
    internal void Publish(UnpackedLayer layer)
    {
        if (!Contains(layer.DiffId))
        {
            try
            {
                Directory.Move(layer.Directory, PathOf(layer.DiffId));
                known[layer.DiffId] = layer.Record;
                return;
            }
            catch (IOException) when (Contains(layer.DiffId))
            {
            }
        }
        Discard(layer.Directory);
    }

    internal void Discard(string path)
    {
        if (path.Length == 0) return;
        try
        {
            FileTree.Remove(path);
        }
        catch (IOException e)
        {
            ImagesLog.NotRemoved(logger, path, e.Message);
        }
    }

    private sealed class RootedApplier : IDisposable
    {
        private readonly Microsoft.Win32.SafeHandles.SafeFileHandle root;
        private readonly TarExtractor applier;

        public RootedApplier(string path, TarRecipeWriter recipe)
        {
            root = FileAt.Open(null, path, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow);
            applier = new TarExtractor(root, ExtractRules.Layer, recipe);
        }

        public long SizeBytes => applier.SizeBytes;
        public bool HidesAllBelow => applier.HidesAllBelow;
        public void Apply(TarReader tar, CancellationToken cancellation) => applier.Apply(tar, cancellation);

        public void Dispose()
        {
            applier.Dispose();
            root.Dispose();
        }
    }
}

/// <summary>A layer that is complete but has no name yet; disposing it removes it unless it was published.</summary>
internal sealed class UnpackedLayer(LayerStore store, string directory, Digest diffId, LayerRecord record) : IDisposable
{
    private bool settled;

    public Digest DiffId => diffId;
    public LayerRecord Record => record;
    internal string Directory => directory;

    public void Publish()
    {
        settled = true;
        store.Publish(this);
    }

    public void Dispose()
    {
        if (!settled) store.Discard(directory);
        settled = true;
    }
}
