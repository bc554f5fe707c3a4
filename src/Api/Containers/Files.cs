using System.Text.Json.Serialization;

namespace Berth.Api;

/// <summary>What X-Docker-Container-Path-Stat says about a path of a container, in base64.</summary>
public sealed record ContainerPathStat
{
    [JsonPropertyName("name")]
    public string Name { get; set; } = "";
    [JsonPropertyName("size")]
    public long Size { get; set; }
    /// <summary>Bits of Go's os.FileMode, which are not those of stat(2).</summary>
    [JsonPropertyName("mode")]
    public uint Mode { get; set; }
    /// <summary>RFC 3339 with all nanoseconds.</summary>
    [JsonPropertyName("mtime")]
    public string Mtime { get; set; } = "";
    /// <summary>Where a link leads in the end, within the container; empty otherwise.</summary>
    [JsonPropertyName("linkTarget")]
    public string LinkTarget { get; set; } = "";

    public const uint Directory = 1u << 31, SymbolicLink = 1u << 27, Device = 1u << 26, NamedPipe = 1u << 25, Socket = 1u << 24, SetUid = 1u << 23, SetGid = 1u << 22,
        CharacterDevice = 1u << 21, Sticky = 1u << 20;
}

/// <summary>One line of GET /containers/{id}/changes.</summary>
public sealed record FilesystemChange
{
    public string Path { get; set; } = "";
    /// <summary>0 modified, 1 added, 2 deleted.</summary>
    public int Kind { get; set; }
}
