using System.Text.Json;
using System.Text.Json.Serialization;
using Berth.Api.Json;

namespace Berth.Api;

/// <summary>One row of GET /images/json.</summary>
public sealed record ImageSummary
{
    /// <summary>-1: not counted.</summary>
    public long Containers { get; set; }
    /// <summary>Unix seconds.</summary>
    public long Created { get; set; }
    public string Id { get; set; } = "";
    public Dictionary<string, string>? Labels { get; set; }
    public string ParentId { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public Descriptor? Descriptor { get; set; }
    public string[] RepoDigests { get; set => field = value ?? []; } = [];
    public string[] RepoTags { get; set => field = value ?? []; } = [];
    /// <summary>-1: not counted.</summary>
    public long SharedSize { get; set; } = -1;
    public long Size { get; set; }
    /// <summary>What it consists of, per platform; when asked for.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ManifestSummary[]? Manifests { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long VirtualSize { get; set; }
}

/// <summary>One of the manifests of an image for several platforms; ImageData or AttestationData is set as Kind says.</summary>
public sealed record ManifestSummary
{
    [JsonPropertyName("ID")]
    public string Id { get; set; } = "";
    public Descriptor Descriptor { get; set => field = value ?? new(); } = new();
    /// <summary>All of it is here.</summary>
    public bool Available { get; set; }
    public ManifestSize Size { get; set => field = value ?? new(); } = new();
    /// <summary>image, attestation or unknown.</summary>
    public string Kind { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ManifestImageData? ImageData { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ManifestAttestationData? AttestationData { get; set; }
}

/// <summary>Bytes that are here: of documents and packed layers, and with what they unpack to.</summary>
public sealed record ManifestSize
{
    public long Content { get; set; }
    public long Total { get; set; }
}

public sealed record ManifestImageData
{
    public Platform Platform { get; set => field = value ?? new(); } = new();
    public ManifestImageSize Size { get; set => field = value ?? new(); } = new();
    /// <summary>Ids of the containers made from it.</summary>
    public string[] Containers { get; set => field = value ?? []; } = [];
}

public sealed record ManifestImageSize
{
    public long Unpacked { get; set; }
}

public sealed record ManifestAttestationData
{
    /// <summary>Digest of the manifest it is about.</summary>
    public string For { get; set; } = "";
}

/// <summary>Answer of GET /images/{name}/json.</summary>
public sealed record ImageInspect
{
    public string Id { get; set; } = "";
    public string[] RepoTags { get; set => field = value ?? []; } = [];
    public string[] RepoDigests { get; set => field = value ?? []; } = [];
    public string Parent { get; set; } = "";
    public string Comment { get; set; } = "";
    /// <summary>RFC 3339; omitted when the image does not say.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Created { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Container { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public ContainerConfig? ContainerConfig { get; set; }
    public string DockerVersion { get; set; } = "";
    public string Author { get; set; } = "";
    public string Architecture { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Variant { get; set => field = GoJson.OrNull(value); }
    public string Os { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? OsVersion { get; set => field = GoJson.OrNull(value); }
    public long Size { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long VirtualSize { get; set; }
    public DriverData GraphDriver { get; set => field = value ?? new(); } = new();
    public RootFS RootFS { get; set => field = value ?? new(); } = new();
    public ImageMetadata Metadata { get; set => field = value ?? new(); } = new();
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public Descriptor? Descriptor { get; set; }
    /// <summary>What it consists of, per platform; when asked for.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ManifestSummary[]? Manifests { get; set => field = GoJson.OrNull(value); }
    public ImageConfig Config { get; set => field = value ?? new(); } = new();
}

public sealed record RootFS
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Type { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string[]? Layers { get; set => field = GoJson.OrNull(value); }
}

public sealed record ImageMetadata
{
    public DateTimeOffset LastTagTime { get; set; }
}

/// <summary>
/// What an image says about the containers made from it: its "config" object, in the shape GET /images/{name}/json
/// prints (eight fields always, the others when set; those at the end are only for API versions before 1.50).
/// </summary>
public sealed record ImageConfig
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool ArgsEscaped { get; set; }
    [JsonConverter(typeof(StrSliceConverter))]
    public string[]? Cmd { get; set; }
    [JsonConverter(typeof(StrSliceConverter))]
    public string[]? Entrypoint { get; set; }
    public string[]? Env { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public SortedSet<string>? ExposedPorts { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public HealthConfig? Healthcheck { get; set; }
    public Dictionary<string, string>? Labels { get; set; }
    public string[]? OnBuild { get; set; }
    [JsonConverter(typeof(StrSliceConverter))]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string[]? Shell { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? StopSignal { get; set => field = GoJson.OrNull(value); }
    public string User { get; set; } = "";
    public SortedSet<string>? Volumes { get; set; }
    public string WorkingDir { get; set; } = "";

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool? AttachStderr { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool? AttachStdin { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool? AttachStdout { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Domainname { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Hostname { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Image { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool? OpenStdin { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool? StdinOnce { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool? Tty { get; set; }
}

/// <summary>An OCI descriptor (image-spec, descriptor.md).</summary>
public sealed record Descriptor
{
    [JsonPropertyName("mediaType")]
    public string MediaType { get; set; } = "";
    [JsonPropertyName("digest")]
    public string Digest { get; set; } = "";
    [JsonPropertyName("size")]
    public long Size { get; set; }
    [JsonPropertyName("urls")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string[]? Urls { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("annotations")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? Annotations { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("platform")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public Platform? Platform { get; set; }
    [JsonPropertyName("artifactType")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? ArtifactType { get; set => field = GoJson.OrNull(value); }
}

public sealed record Platform
{
    [JsonPropertyName("architecture")]
    public string Architecture { get; set; } = "";
    [JsonPropertyName("os")]
    public string Os { get; set; } = "";
    [JsonPropertyName("os.version")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? OsVersion { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("os.features")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string[]? OsFeatures { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("variant")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Variant { get; set => field = GoJson.OrNull(value); }
}

/// <summary>One row of GET /images/{name}/history.</summary>
public sealed record HistoryResponseItem
{
    public string Comment { get; set; } = "";
    /// <summary>Unix seconds.</summary>
    public long Created { get; set; }
    public string CreatedBy { get; set; } = "";
    public string Id { get; set; } = "";
    public long Size { get; set; }
    public string[]? Tags { get; set; }
}

/// <summary>One row of DELETE /images/{name}: one of the two.</summary>
public sealed record ImageDeleteResponseItem
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Deleted { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Untagged { get; set => field = GoJson.OrNull(value); }
}

/// <summary>Answer of GET /distribution/{name}/json.</summary>
public sealed record DistributionInspect
{
    public Descriptor Descriptor { get; set; } = new();
    public Platform[]? Platforms { get; set; }
}

/// <summary>One row of GET /images/search.</summary>
public sealed record SearchResult
{
    [JsonPropertyName("star_count")]
    public int StarCount { get; set; }
    [JsonPropertyName("is_official")]
    public bool IsOfficial { get; set; }
    [JsonPropertyName("name")]
    public string Name { get; set; } = "";
    /// <summary>Always false, as by Docker today.</summary>
    [JsonPropertyName("is_automated")]
    public bool IsAutomated { get; set; }
    [JsonPropertyName("description")]
    public string Description { get; set; } = "";
}

/// <summary>The "aux" message of a push.</summary>
public sealed record PushResult
{
    public string Tag { get; set; } = "";
    public string Digest { get; set; } = "";
    public long Size { get; set; }
}

/// <summary>Answer of POST /images/prune.</summary>
public sealed record ImagePruneResponse
{
    public ImageDeleteResponseItem[]? ImagesDeleted { get; set; }
    public ulong SpaceReclaimed { get; set; }
}

/// <summary>One message of the streams that pull, load and import answer (Docker's JSONMessage); one JSON object per line (CRLF).</summary>
public sealed record JsonMessage
{
    [JsonPropertyName("stream")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Stream { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("status")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Status { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("progressDetail")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public JsonProgress? ProgressDetail { get; set; }
    /// <summary>The bar drawn by the server, for clients that don't draw their own.</summary>
    [JsonPropertyName("progress")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Progress { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("id")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Id { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("from")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? From { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("time")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long Time { get; set; }
    [JsonPropertyName("timeNano")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long TimeNano { get; set; }
    [JsonPropertyName("errorDetail")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public JsonError? ErrorDetail { get; set; }
    [JsonPropertyName("error")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Error { get; set => field = GoJson.OrNull(value); }
    [JsonPropertyName("aux")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public JsonElement? Aux { get; set; }

    /// <summary>The message that ends a stream with an error, in both of its spellings.</summary>
    public static JsonMessage Failed(string message) => new() { ErrorDetail = new() { Message = message }, Error = message };
}

public sealed record JsonProgress
{
    [JsonPropertyName("current")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long Current { get; set; }
    [JsonPropertyName("total")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long Total { get; set; }
    [JsonPropertyName("start")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long Start { get; set; }
    [JsonPropertyName("hidecounts")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool HideCounts { get; set; }
    [JsonPropertyName("units")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Units { get; set => field = GoJson.OrNull(value); }
}

public sealed record JsonError
{
    [JsonPropertyName("code")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public int Code { get; set; }
    [JsonPropertyName("message")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Message { get; set => field = GoJson.OrNull(value); }
}
