using Berth.Linux;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Berth.Images.Storage;

/// <summary>
/// What pulls that did not end have brought: so that the next pull of the image goes on there, also after kill -9 (docs/decisions/0831-pulls-go-on.md).
/// <code>
///   partial/&lt;algorithm&gt;-&lt;hex&gt;   a blob as far as it came, as it came: nothing is believed of it, its digest is checked when it is whole
///   partial/layer-&lt;hex&gt;         says of a layer in layers/ that it is to be kept though no image has it yet; in it the boot it was unpacked in
/// </code>
/// Both for a bounded time and up to a bounded size.
/// </summary>
internal sealed class UnfinishedPulls
{
    /// <summary>Blobs smaller than this are simply fetched again: that takes as long as a file costs.</summary>
    public const long MinPartialBytes = 4 << 20;

    /// <summary>After so long nobody comes back for it.</summary>
    public static readonly TimeSpan MaxAge = TimeSpan.FromDays(7);

    /// <summary>All blobs and layers together; the oldest go first.</summary>
    public const long MaxBytes = 32L << 30;

    /// <summary>Longest content of a mark.</summary>
    private const int MaxMarkBytes = 64;

    private const string LayerPrefix = "layer-";

    private readonly string directory, boot;
    private readonly TimeProvider time;
    private readonly ILogger logger;
    private readonly Lock gate = new();
    private readonly HashSet<string> open = [];

    public UnfinishedPulls(string directory, TimeProvider time, ILogger logger)
    {
        (this.directory, this.time, this.logger) = (directory, time, logger);
        boot = Boot.Id;
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    private string LayerPath(Digest diffId) => Path.Combine(directory, LayerPrefix + diffId.Hex);

    /// <summary>
    /// Layers that outlive their pull. Those of an earlier boot are not among them: nothing says that all of their files had reached the disk when the machine went down.
    /// </summary>
    public HashSet<Digest> ReadLayers()
    {
        var kept = new HashSet<Digest>();
        foreach (var path in Directory.EnumerateFiles(directory, LayerPrefix + "*").ToList())
        {
            var isOfUse = Digest.TryParseSha256Hex(Path.GetFileName(path)[LayerPrefix.Length..], out var diffId) && Age(path) <= MaxAge
                && DiskFile.TryRead(path, MaxMarkBytes) is { } mark && System.Text.Encoding.ASCII.GetString(mark) == boot;
            if (isOfUse) kept.Add(diffId);
            else File.Delete(path);
        }
        return kept;
    }

    /// <summary>To be called before the layer has its name: a mark without a layer is nothing, a layer without a mark would be swept.</summary>
    public void Keep(Digest diffId) => File.WriteAllText(LayerPath(diffId), boot);

    public void Forget(Digest diffId) => File.Delete(LayerPath(diffId));

    /// <summary>When a kept layer was finished.</summary>
    public DateTime KeptSince(Digest diffId) => File.GetLastWriteTimeUtc(LayerPath(diffId));

    private TimeSpan Age(string path) => time.GetUtcNow().UtcDateTime - File.GetLastWriteTimeUtc(path);

    /// <summary>The file for a blob, with whatever an earlier pull has brought of it; null when it is too small for one, or another download has it.</summary>
    public PartialBlob? Open(Descriptor blob)
    {
        if (blob.SizeBytes < MinPartialBytes) return null;
        var name = $"{blob.Digest.Algorithm}-{blob.Digest.Hex}";
        lock (gate)
            if (!open.Add(name)) return null;
        try
        {
            var path = Path.Combine(directory, name);
            var file = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            if (RandomAccess.GetLength(file) > blob.SizeBytes) RandomAccess.SetLength(file, 0);
            return new PartialBlob(this, path, file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Without it the pull works as well.
            ImagesLog.NoPartial(logger, blob.Digest, e.Message);
            Closed(name);
            return null;
        }
    }

    internal void Closed(string name)
    {
        lock (gate) open.Remove(name);
    }

    /// <summary>Removes blobs that are too old, and then the oldest until at most <paramref name="maxBytes"/> are left; returns what is left and what was freed.</summary>
    public (long Left, long Freed) TrimBlobs(long maxBytes)
    {
        var blobs = new DirectoryInfo(directory).EnumerateFiles().Where(f => !f.Name.StartsWith(LayerPrefix, StringComparison.Ordinal)).OrderByDescending(f => f.LastWriteTimeUtc).ToList();
        long left = 0, freed = 0;
        foreach (var blob in blobs)
        {
            lock (gate)
            {
                if (open.Contains(blob.Name)) continue;
                if (Age(blob.FullName) <= MaxAge && left + blob.Length <= maxBytes)
                {
                    left += blob.Length;
                    continue;
                }
                freed += blob.Length;
                blob.Delete();
            }
        }
        return (left, freed);
    }
}

/// <summary>
/// The beginning of a blob on disk. Written behind the download's back: no byte waits for the disk, and a file that is deleted soon enough never gets there.
/// </summary>
internal sealed class PartialBlob(UnfinishedPulls pulls, string path, SafeFileHandle file) : IDisposable
{
    private bool failed;

    public long Length { get; private set; } = RandomAccess.GetLength(file);

    /// <summary>
    /// Whether it took room on the disk at any time. It may have given that back by itself a moment ago, so whoever has just found the disk full may find room now.
    /// </summary>
    public bool HasTakenRoom => Length > 0 || Volatile.Read(ref failed);

    public int Read(Span<byte> buffer, long offset) => RandomAccess.Read(file, buffer, offset);

    /// <summary>What is appended goes on where the file ends. When the disk is full the file makes room: the layer itself is worth more.</summary>
    public void Append(ReadOnlySpan<byte> bytes)
    {
        if (failed) return;
        try
        {
            RandomAccess.Write(file, bytes, Length);
            Length += bytes.Length;
        }
        catch (IOException)
        {
            GiveUp();
        }
    }

    /// <summary>Nothing more is put aside, and what was is given back.</summary>
    public void GiveUp()
    {
        Volatile.Write(ref failed, true);
        Clear();
        File.Delete(path);
    }

    /// <summary>None of it is of use.</summary>
    public void Clear()
    {
        RandomAccess.SetLength(file, 0);
        Length = 0;
    }

    /// <summary>It has served.</summary>
    public void Delete()
    {
        failed = true;
        File.Delete(path);
    }

    public void Dispose()
    {
        // Nothing, or what can't be continued.
        if (Length == 0 && !failed) Delete();
        file.Dispose();
        pulls.Closed(Path.GetFileName(path));
    }
}
