using System.Security.Cryptography;

namespace Berth.Images.Storage;

/// <summary>
/// Small content by digest, in <c>blobs/&lt;algorithm&gt;/&lt;hex&gt;</c>: image configurations. A file gets its name only after its
/// content was checked against it.
/// </summary>
internal sealed class BlobStore(string directory, string temporaryDirectory)
{
    /// <summary>Largest blob that is read into memory: Docker's limit for manifests and configurations, 4 MiB.</summary>
    public const int MaxReadBytes = 4 * 1024 * 1024;

    /// <summary>Where it is, or would be.</summary>
    public string PathOf(Digest digest) => Path.Combine(directory, digest.Algorithm, digest.Hex);

    public bool Contains(Digest digest) => File.Exists(PathOf(digest));

    public byte[]? TryRead(Digest digest) => DiskFile.TryRead(PathOf(digest), MaxReadBytes);

    /// <summary>Stores the content under its sha256 digest; nothing happens when it is there already.</summary>
    public Digest Put(ReadOnlySpan<byte> content)
    {
        var digest = Digest.Sha256(content);
        if (Contains(digest)) return digest;
        var temporary = Path.Combine(temporaryDirectory, Path.GetRandomFileName());
        using (var file = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0))
        {
            file.Write(content);
            file.Flush(flushToDisk: true);
        }
        Publish(temporary, digest);
        return digest;
    }

    /// <summary>Stores a stream under the digest it is said to have.</summary>
    /// <exception cref="ImageException">The content is another one, or larger than <paramref name="maxBytes"/>; nothing is stored then.</exception>
    public async Task PutAsync(Stream content, Digest expected, long maxBytes, CancellationToken cancellation)
    {
        var temporary = Path.Combine(temporaryDirectory, Path.GetRandomFileName());
        try
        {
            using var hash = expected.StartHash();
            await using (var file = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0, FileOptions.Asynchronous))
            {
                var buffer = new byte[64 * 1024];
                long total = 0;
                int count;
                while ((count = await content.ReadAsync(buffer, cancellation).ConfigureAwait(false)) > 0)
                {
                    if ((total += count) > maxBytes) throw ImageException.Failed($"blob {expected} is larger than {maxBytes} bytes");
                    hash.AppendData(buffer, 0, count);
                    await file.WriteAsync(buffer.AsMemory(0, count), cancellation).ConfigureAwait(false);
                }
            }
            if (!expected.Matches(hash.GetHashAndReset())) throw ImageException.Failed($"blob verification failed for digest {expected}");
            Publish(temporary, expected);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    /// <summary>Takes over a file whose content was checked and is on the disk already; of the same content there is one file, the newest.</summary>
    public void Adopt(string file, Digest digest) => Publish(file, digest);

    private void Publish(string temporary, Digest digest)
    {
        Directory.CreateDirectory(Path.Combine(directory, digest.Algorithm));
        File.Move(temporary, PathOf(digest), overwrite: true);
    }

    public void Remove(Digest digest) => File.Delete(PathOf(digest));

    public IEnumerable<Digest> All()
    {
        if (!Directory.Exists(directory)) yield break;
        foreach (var algorithm in Directory.EnumerateDirectories(directory))
            foreach (var file in Directory.EnumerateFiles(algorithm))
                if (Digest.TryParse($"{Path.GetFileName(algorithm)}:{Path.GetFileName(file)}", out var digest))
                    yield return digest;
    }
}
