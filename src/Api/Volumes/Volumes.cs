using System.Text.Json.Serialization;
using Berth.Api.Json;

namespace Berth.Api;

/// <summary>Answer of GET /volumes/{name}, and one row of GET /volumes.</summary>
public sealed record Volume
{
    /// <summary>RFC 3339 in whole seconds.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? CreatedAt { get; set => field = GoJson.OrNull(value); }
    public string Driver { get; set; } = "";
    public Dictionary<string, string>? Labels { get; set; }
    public string Mountpoint { get; set; } = "";
    public string Name { get; set; } = "";
    public Dictionary<string, string>? Options { get; set; }
    public string Scope { get; set; } = "";
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public VolumeUsageData? UsageData { get; set; }
}

public sealed record VolumeUsageData
{
    public long RefCount { get; set; } = -1;
    public long Size { get; set; } = -1;
}

/// <summary>Body of POST /volumes/create.</summary>
public sealed record VolumeCreateRequest
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Driver { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? DriverOpts { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? Labels { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Name { get; set => field = GoJson.OrNull(value); }
}

/// <summary>Answer of GET /volumes.</summary>
public sealed record VolumeListResponse
{
    public Volume[] Volumes { get; set => field = value ?? []; } = [];
    public string[]? Warnings { get; set; }
}

/// <summary>Answer of POST /volumes/prune.</summary>
public sealed record VolumePruneResponse
{
    public string[]? VolumesDeleted { get; set; }
    public ulong SpaceReclaimed { get; set; }
}
