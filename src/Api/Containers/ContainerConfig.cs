using System.Text.Json.Serialization;
using Berth.Api.Json;

namespace Berth.Api;

/// <summary>The part of a container that would be the same on any machine (Docker's Config).</summary>
public record ContainerConfig
{
    public string Hostname { get; set; } = "";
    public string Domainname { get; set; } = "";
    /// <summary>name|uid[:group|gid]; "" means the image's user.</summary>
    public string User { get; set; } = "";
    public bool AttachStdin { get; set; }
    public bool AttachStdout { get; set; }
    public bool AttachStderr { get; set; }
    /// <summary>"port/protocol" each.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public SortedSet<string>? ExposedPorts { get; set => field = GoJson.OrNull(value); }
    public bool Tty { get; set; }
    public bool OpenStdin { get; set; }
    public bool StdinOnce { get; set; }
    /// <summary>"NAME=value" each; a bare "NAME" removes one that the image sets.</summary>
    public string[]? Env { get; set; }
    [JsonConverter(typeof(StrSliceConverter))]
    public string[]? Cmd { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public HealthConfig? Healthcheck { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool ArgsEscaped { get; set; }
    public string Image { get; set; } = "";
    public SortedSet<string>? Volumes { get; set; }
    public string WorkingDir { get; set; } = "";
    [JsonConverter(typeof(StrSliceConverter))]
    public string[]? Entrypoint { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool NetworkDisabled { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? MacAddress { get; set => field = GoJson.OrNull(value); }
    public string[]? OnBuild { get; set; }
    public Dictionary<string, string>? Labels { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? StopSignal { get; set => field = GoJson.OrNull(value); }
    /// <summary>Seconds.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public int? StopTimeout { get; set; }
    [JsonConverter(typeof(StrSliceConverter))]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string[]? Shell { get; set => field = GoJson.OrNull(value); }

    /// <summary>A copy with the fields of this record alone, whatever the receiver's type.</summary>
    public ContainerConfig PortablePart() => new(this);
}

/// <summary>A health check; durations in nanoseconds, zero inherits.</summary>
public sealed record HealthConfig
{
    /// <summary>[] inherit, ["NONE"] off, ["CMD", args...], ["CMD-SHELL", command].</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string[]? Test { get; set => field = GoJson.OrNull(value); }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long Interval { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long Timeout { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long StartPeriod { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long StartInterval { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public int Retries { get; set; }
}

/// <summary>Body of POST /containers/create.</summary>
public sealed record ContainerCreateRequest : ContainerConfig
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public HostConfig? HostConfig { get; set; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public NetworkingConfig? NetworkingConfig { get; set; }
}

/// <summary>Answer of POST /containers/create.</summary>
public sealed record ContainerCreateResponse
{
    public string Id { get; set; } = "";
    public string[] Warnings { get; set => field = value ?? []; } = [];
}
