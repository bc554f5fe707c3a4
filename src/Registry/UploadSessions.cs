using System.Buffers;
using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text.Json;
using Berth.Images;
using Berth.Images.Storage;
using Berth.Linux;
using Microsoft.Win32.SafeHandles;

namespace Berth.Registry;

/// <summary>
/// Uploads under way. What has come is in a file and stays there: through a broken connection, and through the end of the process. Its hash is kept in memory as it
/// grows; after a restart the file is read once more.
/// </summary>
public sealed class UploadSessions
{
    /// <summary>Uploads under way at once. A push of a large image has some dozens.</summary>
    public const int MaxSessions = 10_000;

    private readonly ConcurrentDictionary<Guid, UploadSession> sessions = new();
    private readonly RegistryStore store;
    private readonly string directory;
    private readonly RegistryStoreOptions options;

    internal UploadSessions(RegistryStore store, string directory, RegistryStoreOptions options) => (this.store, this.directory, this.options) = (store, directory, options);

    public int Count => sessions.Count;

    /// <param name="algorithm">Of the digest that is to be expected; another one only costs a second reading.</param>
    /// <exception cref="DistributionException">TooManyRequests.</exception>
    public UploadSession Start(RepositoryName repository, string algorithm = "sha256")
    {
        if (sessions.Count >= MaxSessions) throw new DistributionException(DistributionError.TooManyRequests, $"{MaxSessions} uploads are under way");
        var id = Guid.NewGuid();
        var path = Path.Combine(directory, id.ToString());
        Directory.CreateDirectory(path);
        File.WriteAllBytes(Path.Combine(path, RecordName), JsonSerializer.SerializeToUtf8Bytes(new UploadRecord { Repository = repository.ToString(), Algorithm = algorithm }, RegistryJson.Default.UploadRecord));
        var session = new UploadSession(this, store, id, repository, algorithm, path);
        sessions[id] = session;
        return session;
    }

    /// <summary>Null when there is none of that name in that repository.</summary>
    public UploadSession? Find(RepositoryName repository, string id)
    {
        if (!Guid.TryParseExact(id, "D", out var guid)) return null;
        if (!sessions.TryGetValue(guid, out var session))
        {
            // From before a restart. Two requests may both find it: the first one's is taken.
            if (Load(guid) is not { } loaded) return null;
            session = sessions.GetOrAdd(guid, loaded);
        }
        return session.Repository == repository ? session : null;
    }

    private UploadSession? Load(Guid id)
    {
        var path = Path.Combine(directory, id.ToString());
        if (DiskFile.TryRead(Path.Combine(path, RecordName), MaxRecordBytes) is not { } json) return null;
        UploadRecord? record;
        try
        {
            record = JsonSerializer.Deserialize(json, RegistryJson.Default.UploadRecord);
        }
        catch (JsonException)
        {
            return null; // cut off by a crash; it expires
        }
        return record is not null && RepositoryName.TryParse(record.Repository, out var repository) ? new UploadSession(this, store, id, repository, record.Algorithm, path) : null;
    }

    internal void Forget(Guid id) => sessions.TryRemove(id, out _);

    /// <summary>Removes uploads that nobody has gone on with for too long.</summary>
    internal int RemoveExpired()
    {
        var removed = 0;
        foreach (var path in Directory.EnumerateDirectories(directory))
        {
            var data = new FileInfo(Path.Combine(path, DataName));
            var last = data.Exists ? data.LastWriteTimeUtc : Directory.GetLastWriteTimeUtc(path);
            if (options.Time.GetUtcNow().UtcDateTime - last < options.UploadsFor) continue;
            if (Guid.TryParseExact(Path.GetFileName(path), "D", out var id) && sessions.TryGetValue(id, out var session))
            {
                if (!session.TryDiscard()) continue;
            }
            else if (!TryDelete(path))
            {
                continue;
            }
            removed++;
        }
        return removed;
    }

    // One that ends at this moment removes itself.
    private static bool TryDelete(string path)
    {
        try
        {
            Directory.Delete(path, recursive: true);
            return true;
        }
        catch (DirectoryNotFoundException)
        {
            return false;
        }
    }

    internal const string DataName = "data", RecordName = "upload.json";
    private const int MaxRecordBytes = 4096;
}

/// <summary>One upload. One request at a time writes to it; a newer one takes it from an older, whose client has gone without our knowing.</summary>
public sealed class UploadSession
{
    private const int BufferBytes = 256 * 1024;

    private readonly SemaphoreSlim gate = new(1, 1);
    private readonly Lock turn = new();
    private readonly UploadSessions sessions;
    private readonly RegistryStore store;
    private readonly string algorithm, directory;
    private CancellationTokenSource? writer;
    private IncrementalHash? hash; // of all that is in the file; null after a restart
    private long size;
    private bool ended;

    internal UploadSession(UploadSessions sessions, RegistryStore store, Guid id, RepositoryName repository, string algorithm, string directory)
    {
        (this.sessions, this.store, Id, Repository, this.algorithm, this.directory) = (sessions, store, id, repository, algorithm, directory);
        var data = new FileInfo(DataPath);
        size = data.Exists ? data.Length : 0;
        if (size == 0) hash = StartHash(algorithm);
    }

    public Guid Id { get; }
    public RepositoryName Repository { get; }

    /// <summary>How much has come.</summary>
    public long Size => Volatile.Read(ref size);

    private string DataPath => Path.Combine(directory, UploadSessions.DataName);

    /// <summary>Adds what a request brings. What has come when the request breaks off stays.</summary>
    /// <param name="from">Where it must begin; null: wherever the upload stands.</param>
    /// <exception cref="DistributionException">RangeInvalid, BlobUploadUnknown.</exception>
    public Task AppendAsync(Stream content, long? from, CancellationToken cancellation) => ExclusivelyAsync(token => ReceiveAsync(content, from, token), cancellation);

    /// <summary>Adds the rest, and makes a blob of it if it has the digest; else there is no more upload.</summary>
    /// <exception cref="DistributionException">DigestInvalid, RangeInvalid, BlobUploadUnknown.</exception>
    public Task CompleteAsync(Stream content, long? from, Digest digest, CancellationToken cancellation) => ExclusivelyAsync(async token =>
    {
        await ReceiveAsync(content, from, token).ConfigureAwait(false);
        using (var file = OpenData())
        {
            var matches = hash is not null && digest.Algorithm == algorithm ? digest.Matches(hash.GetCurrentHash()) : await Task.Run(() => Rehash(file, digest, token), token).ConfigureAwait(false);
            if (!matches)
            {
                End();
                throw new DistributionException(DistributionError.DigestInvalid, $"the {size} bytes that came do not have the digest {digest}");
            }
            // Not cancelled: from here on it takes as long as the disk does.
            await Task.Run(() => RandomAccess.FlushToDisk(file), CancellationToken.None).ConfigureAwait(false);
        }
        store.AdoptBlob(DataPath, Repository, digest);
        End();
    }, cancellation);

    public Task CancelAsync(CancellationToken cancellation) => ExclusivelyAsync(_ =>
    {
        End();
        return Task.CompletedTask;
    }, cancellation);

    /// <summary>Removes it if there is anything left to remove. False when it is being written to.</summary>
    public bool TryDiscard()
    {
        if (!gate.Wait(0)) return false;
        try
        {
            if (!ended) End();
            return true;
        }
        finally
        {
            gate.Release();
        }
    }

    private async Task ExclusivelyAsync(Func<CancellationToken, Task> work, CancellationToken cancellation)
    {
        using var own = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        lock (turn)
        {
            writer?.Cancel();
            writer = own;
        }
        try
        {
            await gate.WaitAsync(own.Token).ConfigureAwait(false);
            try
            {
                if (ended) throw new DistributionException(DistributionError.BlobUploadUnknown, $"the upload {Id} has ended");
                await work(own.Token).ConfigureAwait(false);
            }
            finally
            {
                gate.Release();
            }
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new DistributionException(DistributionError.BlobUploadInvalid, $"another request goes on with the upload {Id}");
        }
        finally
        {
            lock (turn)
            {
                if (writer == own) writer = null;
            }
        }
    }

    private async Task ReceiveAsync(Stream content, long? from, CancellationToken cancellation)
    {
        if (from is { } start && start != size)
            throw new DistributionException(DistributionError.RangeInvalid, $"the chunk begins at {start}, and the upload stands at {size}");
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            using var file = OpenData();
            int count;
            while ((count = await content.ReadAsync(buffer.AsMemory(0, BufferBytes), cancellation).ConfigureAwait(false)) > 0)
            {
                RandomAccess.Write(file, buffer.AsSpan(0, count), size);
                hash?.AppendData(buffer, 0, count);
                Volatile.Write(ref size, size + count);
            }
        }
        catch (IOException) when (!cancellation.IsCancellationRequested && size != new FileInfo(DataPath).Length)
        {
            Realign();
            throw;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    // A full disk took a part of a piece: the file ends where the hash does.
    private void Realign()
    {
        using var file = OpenData();
        RandomAccess.SetLength(file, size);
    }

    private SafeFileHandle OpenData() => File.OpenHandle(DataPath, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);

    private static bool Rehash(SafeFileHandle file, Digest digest, CancellationToken cancellation)
    {
        using var hash = digest.StartHash();
        var buffer = new byte[BufferBytes];
        long at = 0;
        int count;
        while ((count = RandomAccess.Read(file, buffer, at)) > 0)
        {
            cancellation.ThrowIfCancellationRequested();
            hash.AppendData(buffer, 0, count);
            at += count;
        }
        return digest.Matches(hash.GetHashAndReset());
    }

    private void End()
    {
        ended = true;
        hash?.Dispose();
        hash = null;
        Directory.Delete(directory, recursive: true);
        sessions.Forget(Id); // last: else it could be found on the disk once more
    }

    private static IncrementalHash? StartHash(string algorithm) => algorithm switch
    {
        "sha256" => IncrementalHash.CreateHash(HashAlgorithmName.SHA256),
        "sha384" => IncrementalHash.CreateHash(HashAlgorithmName.SHA384),
        "sha512" => IncrementalHash.CreateHash(HashAlgorithmName.SHA512),
        _ => null,
    };
}
