using System.Text.Json;
using System.Text.Json.Serialization;
using Berth.Api;
using Berth.Networks;

namespace Berth.Engine;

/// <summary>
/// A container as it is at one moment: immutable, swapped whole, and what container.json holds. Readers take it without waiting for anything.
/// <see cref="Config"/> and <see cref="HostConfig"/> are the wire's mutable records; nobody changes them once they are in here.
/// </summary>
internal sealed record ContainerRecord
{
    public required string Id { get; init; }

    /// <summary>Without the leading slash.</summary>
    public required string Name { get; init; }
    public required DateTimeOffset Created { get; init; }

    /// <summary>Entrypoint and command as they are run (without --init's program).</summary>
    public required string Path { get; init; }
    public required string[] Args { get; init; }

    /// <summary>Digest of the image's configuration; empty when made from no image.</summary>
    public required string ImageId { get; init; }
    public string Platform { get; init; } = "linux";
    public MountRecord[] Mounts { get; init; } = [];

    /// <summary>--link on the default bridge.</summary>
    public LinkRecord[] Links { get; init; } = [];

    /// <summary>Empty for the log driver none.</summary>
    public string LogPath { get; init; } = "";

    /// <summary>Networks asked for at create and connected since, by name; null: what HostConfig.NetworkMode says. None at all when it was taken off all of them.</summary>
    [JsonIgnore]
    public Dictionary<string, EndpointSettings>? RequestedEndpoints { get; init; }

    /// <summary>The places on its networks while it runs.</summary>
    public SandboxState? Sandbox { get; init; }

    public required RunState State { get; init; }
    public int RestartCount { get; init; }

    /// <summary>Stopped or killed by the user since its last start: unless-stopped does not bring it back.</summary>
    public bool ManuallyStopped { get; init; }

    /// <summary>Told to end (its stop signal, or SIGKILL): whatever its policy, the exit that follows is not answered with a restart.</summary>
    public bool EndWanted { get; init; }

    /// <summary>Was started once: with a restart policy it is started again with the engine.</summary>
    public bool StartedBefore { get; init; }

    // Written and read beside this record, by the wire's own JSON: see ContainerJson.
    [JsonIgnore]
    public ContainerConfig Config { get; init; } = new();

    [JsonIgnore]
    public HostConfig HostConfig { get; init; } = new();
}

/// <summary>The part of a record that changes with the process's life.</summary>
internal sealed record RunState
{
    public static readonly RunState Created = new();

    /// <summary>True also while restarting and paused: an old agreement that clients rely on.</summary>
    public bool Running { get; init; }
    public bool Paused { get; init; }
    public bool Restarting { get; init; }
    public bool OomKilled { get; init; }

    /// <summary>Its removal was begun and did not succeed.</summary>
    public bool Dead { get; init; }
    public int Pid { get; init; }
    public int ExitCode { get; init; }
    public string Error { get; init; } = "";
    public DateTimeOffset StartedAt { get; init; }
    public DateTimeOffset FinishedAt { get; init; }

    /// <summary>What its health checks say; null without checks, or before its first start. Status changes are stored at once, the rest with the next change.</summary>
    public HealthState? Health { get; init; }

    /// <summary>The health that is shown: a container that does not run, or stands still, is not healthy, as dockerd has it.</summary>
    public string HealthShown() => Health is null ? HealthState.None : Running && !Restarting && !Paused ? Health.Status : HealthState.Unhealthy;

    /// <summary>The API's status word. <paramref name="removing"/>: a removal is under way.</summary>
    public string Status(bool removing = false) =>
        Running ? Paused ? "paused" : Restarting ? "restarting" : "running"
        : removing ? "removing"
        : Dead ? "dead"
        : StartedAt == default ? "created" : "exited";

    /// <summary>The sentence `docker ps` shows.</summary>
    public string StatusText(DateTimeOffset now, bool removing = false)
    {
        if (Running)
        {
            if (Paused) return $"Up {HumanDuration.Format(now - StartedAt)} (Paused)";
            if (Restarting) return $"Restarting ({ExitCode}) {HumanDuration.Format(now - FinishedAt)} ago";
            var up = $"Up {HumanDuration.Format(now - StartedAt)}";
            return Health is null ? up : Health.Status == HealthState.Starting ? up + " (health: starting)" : $"{up} ({Health.Status})";
        }
        if (removing) return "Removal In Progress";
        if (Dead) return "Dead";
        if (StartedAt == default) return "Created";
        return FinishedAt == default ? "" : $"Exited ({ExitCode}) {HumanDuration.Format(now - FinishedAt)} ago";
    }
}

/// <summary>One mount the user (or the image) asked for.</summary>
internal sealed record MountRecord
{
    /// <summary>bind, volume, tmpfs or image.</summary>
    public required string Type { get; init; }
    public required string Destination { get; init; }

    /// <summary>Host path; empty for tmpfs. Those of volumes and images are told anew by each start of the engine.</summary>
    public string Source { get; init; } = "";

    /// <summary>Digest of a mounted image's configuration.</summary>
    public string ImageId { get; init; } = "";

    /// <summary>Volume name; of an image the name it was asked for by.</summary>
    public string Name { get; init; } = "";
    public string Driver { get; init; } = "";

    /// <summary>Options as written behind -v's second colon.</summary>
    public string Mode { get; init; } = "";
    public bool ReadWrite { get; init; }
    public string Propagation { get; init; } = "";

    /// <summary>The user asked for that propagation.</summary>
    public bool PropagationGiven { get; init; }

    /// <summary>The volume was made for this container and goes with `rm -v`.</summary>
    public bool Anonymous { get; init; }

    /// <summary>-v makes a missing source directory; --mount does not.</summary>
    public bool CreateSource { get; init; }
    public bool NonRecursive { get; init; }
    public bool ReadOnlyNonRecursive { get; init; }
    public bool ReadOnlyForceRecursive { get; init; }

    /// <summary>Directory below the root of the volume or image.</summary>
    public string Subpath { get; init; } = "";

    /// <summary>Mount options of a tmpfs, comma separated.</summary>
    public string TmpfsOptions { get; init; } = "";
}

/// <summary>A volume as volume.json holds it.</summary>
internal sealed record VolumeRecord
{
    public required string Name { get; init; }
    public required DateTimeOffset Created { get; init; }
    public Dictionary<string, string>? Labels { get; init; }
    public Dictionary<string, string>? Options { get; init; }

    /// <summary>The container an anonymous volume was made for: when that create is cut short, it goes too.</summary>
    public string? MadeFor { get; init; }
}

/// <summary>
/// container.json: { "Container": …, "Config": …, "HostConfig": …, "Endpoints": … }. The last three are written by the wire's own JSON, since their
/// converters are the wire's, and rarely change after create.
/// </summary>
internal static class ContainerJson
{
    /// <summary>The parts that rarely change, made into JSON once and again only when they did.</summary>
    internal sealed record Fixed(ContainerRecord Source, byte[] Config, byte[] HostConfig, byte[] Endpoints)
    {
        public bool IsOf(ContainerRecord record) =>
            ReferenceEquals(Source.Config, record.Config) && ReferenceEquals(Source.HostConfig, record.HostConfig) && ReferenceEquals(Source.RequestedEndpoints, record.RequestedEndpoints);
    }

    public static Fixed Freeze(ContainerRecord record) => new(record,
        JsonSerializer.SerializeToUtf8Bytes(record.Config, ApiJson.Wire.ContainerConfig),
        JsonSerializer.SerializeToUtf8Bytes(record.HostConfig, ApiJson.Wire.HostConfig),
        JsonSerializer.SerializeToUtf8Bytes(new NetworkingConfig { EndpointsConfig = record.RequestedEndpoints }, ApiJson.Wire.NetworkingConfig));

    public static byte[] Write(ContainerRecord record, Fixed parts)
    {
        var buffer = new System.Buffers.ArrayBufferWriter<byte>(parts.Config.Length + parts.HostConfig.Length + parts.Endpoints.Length + 2048);
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WritePropertyName("Container");
            JsonSerializer.Serialize(writer, record, EngineJson.Default.ContainerRecord);
            writer.WritePropertyName("Config");
            writer.WriteRawValue(parts.Config, skipInputValidation: true);
            writer.WritePropertyName("HostConfig");
            writer.WriteRawValue(parts.HostConfig, skipInputValidation: true);
            writer.WritePropertyName("Endpoints");
            writer.WriteRawValue(parts.Endpoints, skipInputValidation: true);
            writer.WriteEndObject();
        }
        return buffer.WrittenSpan.ToArray();
    }

    /// <exception cref="JsonException">Not a container.json.</exception>
    public static ContainerRecord Read(ReadOnlySpan<byte> json)
    {
        using var document = JsonDocument.Parse(json.ToArray());
        var root = document.RootElement;
        var record = root.GetProperty("Container").Deserialize(EngineJson.Default.ContainerRecord) ?? throw new JsonException("Container is null");
        return record with
        {
            // What an earlier version did not write is null here, whatever its initial value.
            Mounts = record.Mounts ?? [], Links = record.Links ?? [], LogPath = record.LogPath ?? "", Platform = record.Platform ?? "linux",
            Config = root.GetProperty("Config").Deserialize(ApiJson.Wire.ContainerConfig) ?? throw new JsonException("Config is null"),
            HostConfig = root.GetProperty("HostConfig").Deserialize(ApiJson.Wire.HostConfig) ?? throw new JsonException("HostConfig is null"),
            RequestedEndpoints = root.TryGetProperty("Endpoints", out var endpoints) ? endpoints.Deserialize(ApiJson.Wire.NetworkingConfig)?.EndpointsConfig : null,
        };
    }
}

[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault)]
[JsonSerializable(typeof(ContainerRecord))]
[JsonSerializable(typeof(VolumeRecord))]
[JsonSerializable(typeof(SandboxState))]
internal sealed partial class EngineJson : JsonSerializerContext;
