using System.Text.Json.Serialization;
using Berth.Api.Json;

namespace Berth.Api;

/// <summary>Body of POST /containers/{id}/exec.</summary>
public sealed record ExecCreateRequest
{
    public string User { get; set; } = "";
    public bool Privileged { get; set; }
    public bool Tty { get; set; }
    /// <summary>Height, width.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public uint[]? ConsoleSize { get; set => field = GoJson.OrNull(value); }
    public bool AttachStdin { get; set; }
    public bool AttachStderr { get; set; }
    public bool AttachStdout { get; set; }
    public string DetachKeys { get; set; } = "";
    public string[]? Env { get; set; }
    public string WorkingDir { get; set; } = "";
    [JsonConverter(typeof(StrSliceConverter))]
    public string[]? Cmd { get; set; }
    public bool Detach { get; set; }
}

/// <summary>Body of POST /exec/{id}/start.</summary>
public sealed record ExecStartRequest
{
    public bool Detach { get; set; }
    public bool Tty { get; set; }
    /// <summary>Height, width.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public uint[]? ConsoleSize { get; set => field = GoJson.OrNull(value); }
}

/// <summary>Answer of GET /exec/{id}/json.</summary>
public sealed record ExecInspect
{
    public string ID { get; set; } = "";
    public bool Running { get; set; }
    /// <summary>null until it ended.</summary>
    public int? ExitCode { get; set; }
    public ExecProcessConfig ProcessConfig { get; set => field = value ?? new(); } = new();
    public bool OpenStdin { get; set; }
    public bool OpenStderr { get; set; }
    public bool OpenStdout { get; set; }
    public bool CanRemove { get; set; }
    public string ContainerID { get; set; } = "";
    /// <summary>The key bytes in base64.</summary>
    public string DetachKeys { get; set; } = "";
    public int Pid { get; set; }
}

public sealed record ExecProcessConfig
{
    [JsonPropertyName("tty")]
    public bool Tty { get; set; }
    [JsonPropertyName("entrypoint")]
    public string Entrypoint { get; set; } = "";
    [JsonPropertyName("arguments")]
    public string[]? Arguments { get; set; }
    [JsonPropertyName("privileged")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool? Privileged { get; set; }
    [JsonPropertyName("user")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? User { get; set => field = GoJson.OrNull(value); }
}

/// <summary>{"Id": "..."}: answer of exec create and others.</summary>
public sealed record IdResponse
{
    public string Id { get; set; } = "";
}
