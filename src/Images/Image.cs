namespace Berth.Images;

/// <summary>An image as it was when asked for: immutable, safe to keep.</summary>
public sealed record Image
{
    /// <summary>The digest of the configuration.</summary>
    public required Digest Id { get; init; }
    /// <summary>The configuration, parsed.</summary>
    public required ImageConfig Config { get; init; }
    /// <summary>The configuration as it came, byte for byte.</summary>
    public required ReadOnlyMemory<byte> ConfigBytes { get; init; }
    public required Platform Platform { get; init; }
    /// <summary>When it was built; null when the configuration doesn't say.</summary>
    public required DateTimeOffset? Created { get; init; }
    /// <summary>Digests of the uncompressed layers, lowest first; the image inspect's RootFS.Layers.</summary>
    public required IReadOnlyList<Digest> DiffIds { get; init; }
    /// <summary>Bytes of all layers, unpacked.</summary>
    public required long SizeBytes { get; init; }
    /// <summary>Directories for overlay's lowerdir, the topmost first, each once.</summary>
    public required IReadOnlyList<string> LayerDirectories { get; init; }
    /// <summary>Names with a tag, as Docker shows them: <c>busybox:latest</c>. Sorted.</summary>
    public required IReadOnlyList<string> RepoTags { get; init; }
    /// <summary>Names with a digest: <c>busybox@sha256:…</c>. Sorted.</summary>
    public required IReadOnlyList<string> RepoDigests { get; init; }
    /// <summary>The image this one was built on here; empty when unknown (loaded, pulled).</summary>
    public required Digest Parent { get; init; }
    /// <summary>When a tag was last set on it; null when never.</summary>
    public required DateTimeOffset? LastTagTime { get; init; }

    /// <summary>One that is in no store: its layers are held by whoever has it.</summary>
    public static Image Loose(ImageConfig config, ReadOnlyMemory<byte> configBytes, Platform platform, IReadOnlyList<Digest> diffIds) => new()
    {
        Id = Digest.Sha256(configBytes.Span), Config = config, ConfigBytes = configBytes, Platform = platform, Created = null, DiffIds = diffIds, SizeBytes = 0, LayerDirectories = [], RepoTags = [], RepoDigests = [],
        Parent = default, LastTagTime = null,
    };
}

/// <summary>Filters of the image list; every null or empty member means no such filter.</summary>
public sealed record ImageFilters
{
    /// <summary>Intermediate images too.</summary>
    public bool All { get; init; }
    public bool? Dangling { get; init; }
    /// <summary>Patterns over familiar names; an image matches when one does, and shows only the names that match.</summary>
    public IReadOnlyList<string> Reference { get; init; } = [];
    /// <summary>Images created before all of these (names or ids).</summary>
    public IReadOnlyList<string> Before { get; init; } = [];
    /// <summary>Images created after all of these.</summary>
    public IReadOnlyList<string> Since { get; init; } = [];
    /// <summary><c>key</c> or <c>key=value</c>; all must match.</summary>
    public IReadOnlyList<string> Label { get; init; } = [];
    /// <summary>Created before this.</summary>
    public DateTimeOffset? Until { get; init; }
    /// <summary>Also work out <see cref="ImageSummary.SharedSizeBytes"/>.</summary>
    public bool SharedSize { get; init; }
}

/// <summary>A line of the image list; names are those the filters left.</summary>
/// <param name="SharedSizeBytes">Bytes in layers that other images have too; -1 when not asked for.</param>
public sealed record ImageSummary(Image Image, IReadOnlyList<string> RepoTags, IReadOnlyList<string> RepoDigests, long SharedSizeBytes);

/// <summary>A line of the history, newest first. <c>Id</c> is "&lt;missing&gt;" when there is no image for that step.</summary>
public sealed record HistoryEntry(string Id, DateTimeOffset? Created, string CreatedBy, string Comment, long SizeBytes, IReadOnlyList<string> Tags);

/// <summary>A container that stands on an image, for the rules of removal.</summary>
public sealed record ImageUser(string ContainerId, Digest ImageId, bool Running);

/// <summary>One of the two is set.</summary>
public sealed record RemovedItem(string? Untagged, string? Deleted);

/// <summary>What happened to an image, in the words of Docker's events (pull, load, import, tag, untag, delete).</summary>
/// <param name="ActorId">The event's Actor.ID.</param>
/// <param name="Name">The event's attribute "name".</param>
/// <param name="Labels">The image's labels, further attributes; null when the image has none.</param>
public sealed record ImageEvent(string Action, string ActorId, string Name, IReadOnlyDictionary<string, string>? Labels);

/// <summary>
/// A line of Docker's JSON progress stream: <c>Stream</c> alone, or <c>Status</c> with perhaps an id and a detail.
/// </summary>
/// <param name="HasDetail">The wire form has a progressDetail object (empty when Current and Total are null).</param>
public sealed record ImageProgress(string? Id, string? Status, string? Stream = null, long? Current = null, long? Total = null, bool HasDetail = false)
{
    /// <summary>What was pushed, for programs to read; nothing else is set then but <c>HasDetail</c>.</summary>
    public PushedManifest? Pushed { get; init; }
}

/// <summary>The manifest that a tag has in the registry after a push.</summary>
public sealed record PushedManifest(string Tag, Digest Digest, long SizeBytes);

/// <summary>Credentials for a registry, from X-Registry-Auth.</summary>
public sealed record RegistryCredentials(string? UserName, string? Password, string? IdentityToken, string? RegistryToken);

/// <summary>What <c>docker import</c> may say about the image it makes.</summary>
public sealed record ImportOptions
{
    public ImageReference? Name { get; init; }
    public string Message { get; init; } = "";
    public Platform? Platform { get; init; }
    public ContainerConfig Config { get; init; } = new();
}

/// <summary>A container's own layer and what lies beneath it: all that an overlay mount needs.</summary>
public sealed record WritableLayer(string UpperDirectory, string WorkDirectory, IReadOnlyList<string> LowerDirectories)
{
    /// <summary>A view of its files without a mount.</summary>
    public LayerFileReader OpenFiles() => new([UpperDirectory, .. LowerDirectories]);
}
