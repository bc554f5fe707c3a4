using System.Globalization;
using System.Text;
using System.Text.Json;
using Berth.Images;
using Berth.Images.Storage;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Berth.Registry;

/// <summary>What a store is opened with.</summary>
public sealed record RegistryStoreOptions
{
    /// <summary>How long content that nothing refers to is kept: a push brings its blobs first and its manifest last.</summary>
    public TimeSpan UnreferencedFor { get; init; } = TimeSpan.FromHours(1);

    /// <summary>How long an upload that nobody goes on with is kept.</summary>
    public TimeSpan UploadsFor { get; init; } = TimeSpan.FromHours(24);

    /// <summary>Also what no tag leads to is garbage.</summary>
    public bool DeleteUntagged { get; init; }

    /// <summary>Nothing is changed, not even a time stamp.</summary>
    public bool ReadOnly { get; init; }

    public TimeProvider Time { get; init; } = TimeProvider.System;
    public required ILogger Logger { get; init; }
}

/// <summary>A blob, open: it stays readable whatever becomes of its name.</summary>
public sealed record StoredBlob(SafeFileHandle File, long Length) : IDisposable
{
    public void Dispose() => File.Dispose();
}

public sealed record StoredManifest(Digest Digest, string MediaType, byte[] Content);

/// <summary>What a registry holds, on the disk and nowhere else (docs/registry.md):
/// <code>
/// blobs/sha256/HEX                              content, once for all repositories
/// repositories/NAME/_blobs/sha256/HEX           a hard link to it: this repository has it
///                  /_manifests/sha256/HEX       a manifest, and beside it HEX.type, its media type
///                  /_tags/TAG                   the digest the tag means
///                  /_referrers/sha256/HEX/…     an entry of the referrers list of the manifest HEX
/// uploads/ID/{data,upload.json}                 what has come of a blob
/// tmp/                                          files that have no name yet; emptied at start
/// </code>
/// A name appears by rename or link, with its content complete and on the disk; so whatever moment ends the process, a reader sees all of a thing or nothing. The kernel counts
/// the repositories of a blob (its links): one with a single name is garbage, and what a reader has open is never taken from it.
/// </summary>
public sealed partial class RegistryStore : IDisposable
{
    // Writers of the same repository take turns, and the collector with them. More than one stripe, so that a long collection of one does not hold up the others.
    private readonly Lock[] stripes = [.. Enumerable.Range(0, 64).Select(_ => new Lock())];

    private readonly RegistryStoreOptions options;
    private readonly string repositories, temporary;
    private readonly BlobStore blobs;
    private readonly FileLock held;

    private RegistryStore(string root, RegistryStoreOptions options, FileLock held)
    {
        (Root, this.options, this.held) = (root, options, held);
        repositories = Path.Combine(root, "repositories");
        temporary = Path.Combine(root, "tmp");
        blobs = new BlobStore(Path.Combine(root, "blobs"), temporary);
        Uploads = new UploadSessions(this, Path.Combine(root, "uploads"), options);
    }

    public string Root { get; }
    public UploadSessions Uploads { get; }
    public RegistryStoreOptions Options => options;

    /// <exception cref="StoreInUseException">Another process serves it.</exception>
    public static RegistryStore Open(string root, RegistryStoreOptions options)
    {
        Directory.CreateDirectory(root);
        var held = Hold(Path.Combine(root, "lock"));
        try
        {
            var store = new RegistryStore(root, options, held);
            if (Directory.Exists(store.temporary) && !options.ReadOnly) Directory.Delete(store.temporary, recursive: true); // what a killed process left
            foreach (var directory in (string[])[store.temporary, store.repositories, Path.Combine(root, "blobs"), Path.Combine(root, "uploads")])
                Directory.CreateDirectory(directory);
            return store;
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    // What is written there is for people, and for whoever wants to tell the process something.
    private static FileLock Hold(string path)
    {
        if (FileLock.TryTake(path) is not { } held)
        {
            using var other = FileAt.Open(null, path, OpenFlags.ReadOnly);
            var text = new byte[16];
            var length = RandomAccess.Read(other, text, 0);
            throw new StoreInUseException(int.TryParse(Encoding.ASCII.GetString(text, 0, length), NumberStyles.None, CultureInfo.InvariantCulture, out var pid) ? pid : null);
        }
        RandomAccess.SetLength(held.File, 0);
        RandomAccess.Write(held.File, Encoding.ASCII.GetBytes(Environment.ProcessId.ToString(CultureInfo.InvariantCulture)), 0);
        return held;
    }

    public void Dispose() => held.Dispose();

    // ---- blobs

    /// <summary>Null when this repository does not have it, whoever else may.</summary>
    public StoredBlob? OpenBlob(RepositoryName repository, Digest digest)
    {
        SafeFileHandle file;
        try
        {
            file = File.OpenHandle(LinkOf(repository, digest));
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        return new StoredBlob(file, RandomAccess.GetLength(file));
    }

    /// <summary>The length of a blob that a client may now rely on for a while; null when it is not there.</summary>
    public long? TouchBlob(RepositoryName repository, Digest digest)
    {
        var file = new FileInfo(LinkOf(repository, digest));
        if (!file.Exists) return null;
        Touch(file);
        return file.Length;
    }

    /// <summary>Gives a repository what another one has, or any (null).</summary>
    /// <returns>False when it is not there to be given.</returns>
    public bool Mount(RepositoryName? from, RepositoryName to, Digest digest)
    {
        if (from is { } source ? !File.Exists(LinkOf(source, digest)) : FileAt.TryStatus(null, blobs.PathOf(digest), followLinks: false, out _) is not { LinkCount: > 1 })
            return File.Exists(LinkOf(to, digest)); // it may be there already
        lock (Stripe(to))
        {
            try
            {
                Link(from is { } path ? LinkOf(path, digest) : blobs.PathOf(digest), to, digest);
                return true;
            }
            catch (LinuxException e) when (e.Errno == Errno.ENOENT)
            {
                return false; // removed at this very moment
            }
        }
    }

    /// <summary>Takes over a file with a blob's content, which was checked against the digest and is on the disk.</summary>
    internal void AdoptBlob(string file, RepositoryName repository, Digest digest)
    {
        var blob = blobs.PathOf(digest);
        lock (Stripe(repository))
        {
            // Of the same content the file that is there stays: others are linked to it.
            if (File.Exists(blob))
            {
                try
                {
                    Link(blob, repository, digest);
                    File.Delete(file);
                    return;
                }
                catch (LinuxException e) when (e.Errno is Errno.ENOENT or Errno.EMLINK)
                {
                    // Collected at this very moment; or linked to as often as the file system lets it: from here on there is a second one.
                }
            }
            blobs.Adopt(file, digest);
            SyncDirectory(Path.GetDirectoryName(blob)!);
            Link(blob, repository, digest);
        }
    }

    public bool DeleteBlob(RepositoryName repository, Digest digest)
    {
        lock (Stripe(repository))
            return TryDelete(LinkOf(repository, digest));
    }

    /// <summary>A name for a file that is not complete yet.</summary>
    internal string TemporaryName() => Path.Combine(temporary, Guid.NewGuid().ToString("N"));

    private void Link(string existing, RepositoryName repository, Digest digest)
    {
        var link = LinkOf(repository, digest);
        var directory = Path.GetDirectoryName(link)!;
        Directory.CreateDirectory(directory);
        try
        {
            FileAt.HardLink(null, existing, null, link);
            SyncDirectory(directory);
        }
        catch (LinuxException e) when (e.Errno == Errno.EEXIST)
        {
        }
        Touch(new FileInfo(link));
    }

    // Whoever is told that a blob is there pushes a manifest next: from now on it counts as new. Not each time, since every pull asks too.
    private void Touch(FileInfo file)
    {
        var now = options.Time.GetUtcNow().UtcDateTime;
        if (options.ReadOnly || now - file.LastWriteTimeUtc < options.UnreferencedFor / 4) return;
        try
        {
            file.LastWriteTimeUtc = now;
        }
        catch (FileNotFoundException)
        {
            // Collected at this very moment: what is asked next says so.
        }
    }

    // ---- manifests

    /// <summary>Null when there is none.</summary>
    public StoredManifest? GetManifest(RepositoryName repository, ManifestReference reference) =>
        Resolve(repository, reference) is { } digest && DiskFile.TryRead(ManifestPath(repository, digest), ManifestLinks.MaxBytes) is { } content && MediaType(repository, digest) is { } type
            ? new StoredManifest(digest, type, content) : null;

    /// <summary>The digest that a reference means here now.</summary>
    public Digest? Resolve(RepositoryName repository, ManifestReference reference) =>
        reference.Tag is not { } tag ? reference.Digest
        : DiskFile.TryRead(TagPath(repository, tag), MaxSmallFileBytes) is { } text && Digest.TryParse(Encoding.ASCII.GetString(text), out var digest) ? digest : null;

    private string? MediaType(RepositoryName repository, Digest digest) =>
        DiskFile.TryRead(ManifestPath(repository, digest) + TypeSuffix, MaxSmallFileBytes) is { } text ? Encoding.ASCII.GetString(text) : null;

    /// <summary>Keeps a manifest, and the tags that mean it from now on.</summary>
    /// <param name="complete">Refuse it unless all it refers to is here.</param>
    /// <exception cref="DistributionException">ManifestBlobUnknown.</exception>
    public void PutManifest(RepositoryName repository, Digest digest, string mediaType, byte[] content, ManifestLinks links, IEnumerable<string> tags, bool complete)
    {
        lock (Stripe(repository))
        {
            if (complete)
            {
                foreach (var link in links.AllBlobs)
                {
                    if (!link.IsForeign && !File.Exists(LinkOf(repository, link.Digest))) throw Unknown("blob", link.Digest);
                }
                foreach (var link in links.Manifests ?? [])
                {
                    if (!File.Exists(ManifestPath(repository, link.Digest))) throw Unknown("manifest", link.Digest);
                }
            }
            var path = ManifestPath(repository, digest);
            // The type first: a manifest is there when its content is.
            Write(path + TypeSuffix, Encoding.ASCII.GetBytes(mediaType));
            Write(path, content);
            if (links.SubjectDigest is { } subject)
            {
                var entry = new Referrer { MediaType = mediaType, Digest = digest.ToString(), Size = content.Length, ArtifactType = links.EffectiveArtifactType, Annotations = links.Annotations };
                Write(ReferrerPath(repository, subject, digest), JsonSerializer.SerializeToUtf8Bytes(entry, RegistryJson.Default.Referrer));
            }
            foreach (var tag in tags)
                Write(TagPath(repository, tag), Encoding.ASCII.GetBytes(digest.ToString()));
        }

        static DistributionException Unknown(string what, Digest digest) => new(DistributionError.ManifestBlobUnknown, $"the manifest refers to {what} {digest}, which this repository does not have");
    }

    public bool DeleteTag(RepositoryName repository, string tag)
    {
        lock (Stripe(repository))
            return TryDelete(TagPath(repository, tag));
    }

    /// <summary>Removes a manifest and every tag that means it.</summary>
    public bool DeleteManifest(RepositoryName repository, Digest digest)
    {
        lock (Stripe(repository))
            return RemoveManifest(repository, digest);
    }

    private bool RemoveManifest(RepositoryName repository, Digest digest)
    {
        var path = ManifestPath(repository, digest);
        if (DiskFile.TryRead(path, ManifestLinks.MaxBytes) is not { } content) return false;
        foreach (var tag in Tags(repository))
        {
            if (Resolve(repository, Reference(tag)) == digest) TryDelete(TagPath(repository, tag));
        }
        if (TryParse(content)?.SubjectDigest is { } subject) TryDelete(ReferrerPath(repository, subject, digest));
        TryDelete(path);
        TryDelete(path + TypeSuffix);
        return true;
    }

    private static ManifestLinks? TryParse(byte[] content)
    {
        try
        {
            return ManifestLinks.Parse(content);
        }
        catch (DistributionException)
        {
            return null; // what another program put there
        }
    }

    // ---- lists

    /// <summary>Whether anything was ever pushed there and is still there.</summary>
    public bool Exists(RepositoryName repository)
    {
        var directory = DirectoryOf(repository);
        return Directory.Exists(Path.Combine(directory, Manifests)) || Directory.Exists(Path.Combine(directory, Blobs));
    }

    /// <summary>In the order of their bytes.</summary>
    public IReadOnlyList<string> ListTags(RepositoryName repository) => [.. Tags(repository).Order(StringComparer.Ordinal)];

    /// <summary>The repositories that have manifests, in the order of their bytes.</summary>
    public IReadOnlyList<string> ListRepositories() =>
        [.. AllRepositories().Where(r => Directory.Exists(Path.Combine(DirectoryOf(r), Manifests))).Select(r => r.ToString()).Order(StringComparer.Ordinal)];

    /// <summary>In the order of their digests.</summary>
    public IEnumerable<Referrer> ListReferrers(RepositoryName repository, Digest subject)
    {
        var directory = Path.Combine(DirectoryOf(repository), Referrers, subject.Algorithm, subject.Hex);
        foreach (var file in Files(directory).Order(StringComparer.Ordinal))
        {
            if (DiskFile.TryRead(file, ManifestLinks.MaxBytes) is { } content && JsonSerializer.Deserialize(content, RegistryJson.Default.Referrer) is { } entry) yield return entry;
        }
    }

    private IEnumerable<string> Tags(RepositoryName repository) => Files(Path.Combine(DirectoryOf(repository), TagsDirectory)).Select(f => Path.GetFileName(f)).Where(t => ImageReference.IsTag(t));

    private IEnumerable<RepositoryName> AllRepositories()
    {
        var pending = new Stack<string>([repositories]);
        while (pending.TryPop(out var directory))
        {
            var own = false;
            foreach (var child in Directories(directory))
            {
                if (Path.GetFileName(child).StartsWith('_')) own = true;
                else pending.Push(child);
            }
            if (own && RepositoryName.TryParse(Path.GetRelativePath(repositories, directory), out var name)) yield return name;
        }
    }

    // ---- files

    private const string Blobs = "_blobs", Manifests = "_manifests", TagsDirectory = "_tags", Referrers = "_referrers", TypeSuffix = ".type";

    /// <summary>Tags and media types: a digest, or what a header holds.</summary>
    private const int MaxSmallFileBytes = 4096;

    private string DirectoryOf(RepositoryName repository) => Path.Combine(repositories, repository.ToString());
    private string LinkOf(RepositoryName repository, Digest digest) => Path.Combine(DirectoryOf(repository), Blobs, digest.Algorithm, digest.Hex);
    private string ManifestPath(RepositoryName repository, Digest digest) => Path.Combine(DirectoryOf(repository), Manifests, digest.Algorithm, digest.Hex);
    private string TagPath(RepositoryName repository, string tag) => Path.Combine(DirectoryOf(repository), TagsDirectory, tag);

    private string ReferrerPath(RepositoryName repository, Digest subject, Digest digest) =>
        Path.Combine(DirectoryOf(repository), Referrers, subject.Algorithm, subject.Hex, $"{digest.Algorithm}-{digest.Hex}");

    private Lock Stripe(RepositoryName repository) => stripes[(uint)string.GetHashCode(repository.ToString(), StringComparison.Ordinal) % stripes.Length];

    private static ManifestReference Reference(string tag) => ManifestReference.TryParse(tag, out var reference) ? reference : default;

    /// <summary>Appears whole, and is there after a power cut.</summary>
    private void Write(string path, ReadOnlySpan<byte> content)
    {
        var file = TemporaryName();
        using (var handle = File.OpenHandle(file, FileMode.CreateNew, FileAccess.Write))
        {
            RandomAccess.Write(handle, content, 0);
            RandomAccess.FlushToDisk(handle);
        }
        var directory = Path.GetDirectoryName(path)!;
        Directory.CreateDirectory(directory);
        File.Move(file, path, overwrite: true);
        SyncDirectory(directory);
    }

    internal static void SyncDirectory(string directory)
    {
        using var handle = FileAt.Open(null, directory, OpenFlags.ReadOnly | OpenFlags.Directory);
        RandomAccess.FlushToDisk(handle);
    }

    private static bool TryDelete(string path)
    {
        try
        {
            FileAt.Unlink(null, path);
            return true;
        }
        catch (LinuxException e) when (e.Errno is Errno.ENOENT or Errno.ENOTDIR)
        {
            return false;
        }
    }

    private static IEnumerable<string> Files(string directory) => Directory.Exists(directory) ? Directory.EnumerateFiles(directory) : [];
    private static IEnumerable<string> Directories(string directory) => Directory.Exists(directory) ? Directory.EnumerateDirectories(directory) : [];
}

/// <summary>Another process has the store.</summary>
public sealed class StoreInUseException(int? pid) : IOException($"another process{(pid is { } id ? string.Create(CultureInfo.InvariantCulture, $" ({id})") : "")} serves it")
{
    public int? Pid => pid;
}
