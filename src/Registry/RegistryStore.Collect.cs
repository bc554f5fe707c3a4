using Berth.Images;
using Berth.Images.Storage;
using Berth.Linux;

namespace Berth.Registry;

/// <summary>What a collection found and removed.</summary>
public sealed record Collection(int Repositories, int Manifests, int Links, int Blobs, long Bytes, int Uploads);

public sealed partial class RegistryStore
{
    /// <summary>
    /// Removes what nothing refers to any more: uploads nobody goes on with, blobs that no manifest of their repository names, and content that no repository has. Runs while the
    /// registry serves; only a writer of the very repository that is looked at waits. Who pushes has the time of <see cref="RegistryStoreOptions.UnreferencedFor"/> from blob to manifest.
    /// </summary>
    public Collection Collect(CancellationToken cancellation)
    {
        lock (collecting)
            return CollectAlone(cancellation);
    }

    private readonly Lock collecting = new();

    private Collection CollectAlone(CancellationToken cancellation)
    {
        var (repositoriesSeen, manifests, links, removedBlobs, bytes) = (0, 0, 0, 0, 0L);
        var uploads = Uploads.RemoveExpired();
        foreach (var repository in AllRepositories())
        {
            cancellation.ThrowIfCancellationRequested();
            repositoriesSeen++;
            lock (Stripe(repository))
            {
                if (options.DeleteUntagged) manifests += RemoveUntagged(repository);
                links += RemoveUnreferenced(repository);
            }
            RemoveEmptyDirectories(DirectoryOf(repository));
        }
        foreach (var digest in blobs.All())
        {
            cancellation.ThrowIfCancellationRequested();
            var path = blobs.PathOf(digest);
            // A link made between these two lines keeps its content: it is a name of its own.
            if (FileAt.TryStatus(null, path, followLinks: false, out _) is not { LinkCount: 1 } status || !IsOld(DateTime.UnixEpoch.AddSeconds(status.Modified.Seconds))) continue;
            if (!TryDelete(path)) continue;
            removedBlobs++;
            bytes += (long)status.SizeBytes;
        }
        var collection = new Collection(repositoriesSeen, manifests, links, removedBlobs, bytes, uploads);
        if (manifests + links + removedBlobs + uploads > 0) options.Logger.Collected(manifests, links, removedBlobs, bytes, uploads);
        return collection;
    }

    private bool IsOld(DateTime changed) => options.Time.GetUtcNow().UtcDateTime - changed >= options.UnreferencedFor;

    private int RemoveUnreferenced(RepositoryName repository)
    {
        HashSet<Digest> referenced = [];
        foreach (var digest in ManifestsOf(repository))
        {
            if (DiskFile.TryRead(ManifestPath(repository, digest), ManifestLinks.MaxBytes) is not { } content) continue;
            if (TryParse(content) is not { } links)
            {
                options.Logger.ManifestUnreadable(repository.ToString(), digest);
                return 0; // who knows what it refers to
            }
            foreach (var link in links.AllBlobs)
                referenced.Add(link.Digest);
        }
        var removed = 0;
        foreach (var digest in DigestsIn(Path.Combine(DirectoryOf(repository), Blobs)))
        {
            var link = LinkOf(repository, digest);
            if (!referenced.Contains(digest) && IsOld(File.GetLastWriteTimeUtc(link)) && TryDelete(link)) removed++;
        }
        return removed;
    }

    // From the tags down: an index keeps its manifests, a manifest those that were attached to it.
    private int RemoveUntagged(RepositoryName repository)
    {
        Dictionary<Digest, ManifestLinks?> all = [];
        foreach (var digest in ManifestsOf(repository))
            all[digest] = DiskFile.TryRead(ManifestPath(repository, digest), ManifestLinks.MaxBytes) is { } content ? TryParse(content) : null;
        var attached = all.Where(m => m.Value?.SubjectDigest is not null).ToLookup(m => m.Value!.SubjectDigest!.Value, m => m.Key);
        HashSet<Digest> kept = [];
        var pending = new Stack<Digest>(Tags(repository).Select(t => Resolve(repository, Reference(t))).OfType<Digest>());
        while (pending.TryPop(out var digest))
        {
            if (!kept.Add(digest)) continue;
            if (all.GetValueOrDefault(digest) is { } links)
            {
                foreach (var child in links.Manifests ?? [])
                    pending.Push(child.Digest);
            }
            foreach (var referrer in attached[digest])
                pending.Push(referrer);
        }
        var removed = 0;
        foreach (var digest in all.Keys)
        {
            // Also here a push may be half done: the manifests of an index come before it.
            if (!kept.Contains(digest) && IsOld(File.GetLastWriteTimeUtc(ManifestPath(repository, digest))) && RemoveManifest(repository, digest)) removed++;
        }
        return removed;
    }

    private IEnumerable<Digest> ManifestsOf(RepositoryName repository) => DigestsIn(Path.Combine(DirectoryOf(repository), Manifests));

    // Names that are no digests (types beside manifests) are passed over.
    private static IEnumerable<Digest> DigestsIn(string directory)
    {
        foreach (var algorithm in Directories(directory))
        {
            foreach (var file in Files(algorithm))
            {
                if (Digest.TryParse($"{Path.GetFileName(algorithm)}:{Path.GetFileName(file)}", out var digest)) yield return digest;
            }
        }
    }

    // Below one repository and up to the root of all: rmdir(2) takes empty ones only. A directory above may be another repository's, whose writer has just made it: all wait.
    private void RemoveEmptyDirectories(string directory)
    {
        foreach (var stripe in stripes)
            stripe.Enter();
        try
        {
            foreach (var own in Directories(directory).Where(d => Path.GetFileName(d).StartsWith('_')))
                RemoveEmptyBelow(own);
            for (var at = directory; at.Length > repositories.Length && TryRemoveDirectory(at); at = Path.GetDirectoryName(at)!)
            {
            }
        }
        finally
        {
            foreach (var stripe in stripes)
                stripe.Exit();
        }
    }

    private static void RemoveEmptyBelow(string directory)
    {
        foreach (var child in Directories(directory))
            RemoveEmptyBelow(child);
        TryRemoveDirectory(directory);
    }

    private static bool TryRemoveDirectory(string directory)
    {
        try
        {
            FileAt.RemoveDirectory(null, directory);
            return true;
        }
        catch (LinuxException e) when (e.Errno is Errno.ENOTEMPTY or Errno.EEXIST or Errno.ENOENT)
        {
            return false;
        }
    }
}
