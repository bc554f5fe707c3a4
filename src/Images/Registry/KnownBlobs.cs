using System.Text.Json;
using System.Text.Json.Serialization;
using Berth.Images.Layers;
using Berth.Images.Storage;

namespace Berth.Images.Registry;

/// <summary>
/// In which compressed forms a layer is known to lie in which repositories: written by pulls and pushes, read by pushes, so that nothing is compressed or
/// uploaded that a registry has already. Only a memory: what it says is asked of the registry before it is relied on, and when it is lost a push takes longer.
/// </summary>
/// <remarks>It lies beside the layer (<c>blobs.json</c>) and goes with it.</remarks>
internal sealed class KnownBlobs(LayerStore layers)
{
    /// <summary>Forms of one layer, and repositories of one form, that are remembered: the latest.</summary>
    private const int MaxBlobs = 16, MaxRepositories = 32;

    private const int MaxFileBytes = 1024 * 1024;

    private readonly Lock gate = new();

    /// <summary>The latest first.</summary>
    public IReadOnlyList<KnownBlob> Of(Digest diffId)
    {
        try
        {
            if (DiskFile.TryRead(PathOf(diffId), MaxFileBytes) is { } bytes && JsonSerializer.Deserialize(bytes, ImagesJson.Default.ListKnownBlob) is { } known)
                return [.. known.Where(b => Digest.TryParse(b.Digest, out _)).Take(MaxBlobs)];
        }
        catch (Exception e) when (e is JsonException or IOException or ImageException)
        {
        }
        return [];
    }

    /// <summary>The layer lies there, in this form.</summary>
    /// <param name="repository">With its registry: <c>docker.io/library/busybox</c>. Null: nowhere yet, but this is the form it will have.</param>
    public void Add(Digest diffId, Descriptor blob, string? repository)
    {
        lock (gate)
        {
            var known = Of(diffId).ToList();
            var at = known.FindIndex(b => b.Digest == blob.DigestText);
            var repositories = at < 0 ? [] : known[at].Repositories;
            if (repository is null ? at >= 0 : at == 0 && repositories is [var latest, ..] && latest == repository) return;
            if (at >= 0) known.RemoveAt(at);
            known.Insert(0, new KnownBlob
            {
                Digest = blob.DigestText!, SizeBytes = blob.SizeBytes, MediaType = blob.MediaType ?? "",
                Repositories = repository is null ? [] : [repository, .. repositories.Where(r => r != repository).Take(MaxRepositories - 1)],
            });
            Write(diffId, [.. known.Take(MaxBlobs)]);
        }
    }

    /// <summary>It no longer lies there.</summary>
    public void Remove(Digest diffId, Digest blob, string repository)
    {
        lock (gate)
        {
            var known = Of(diffId);
            if (!known.Any(b => b.Digest == blob.ToString() && b.Repositories.Contains(repository))) return;
            Write(diffId, [.. known
                .Select(b => b.Digest == blob.ToString() ? b with { Repositories = [.. b.Repositories.Where(r => r != repository)] } : b)
                .Where(b => b.Repositories.Count > 0)]);
        }
    }

    private void Write(Digest diffId, List<KnownBlob> known)
    {
        try
        {
            DiskFile.Replace(PathOf(diffId), JsonSerializer.SerializeToUtf8Bytes(known, ImagesJson.Default.ListKnownBlob), sync: false);
        }
        catch (IOException)
        {
            // The layer has gone, or the disk is full: neither is a reason to fail what has been done.
        }
    }

    private string PathOf(Digest diffId) => Path.Combine(layers.DirectoryOf(diffId), "blobs.json");
}

/// <summary>One form of a layer.</summary>
internal sealed record KnownBlob
{
    [JsonPropertyName("digest")] public required string Digest { get; init; }
    [JsonPropertyName("sizeBytes")] public long SizeBytes { get; init; }
    [JsonPropertyName("mediaType")] public string MediaType { get; init; } = "";
    /// <summary>The latest first.</summary>
    [JsonPropertyName("repositories")] public IReadOnlyList<string> Repositories { get; init; } = [];
}
