using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Berth.Api;

/// <summary>
/// How the records of this project are read and written. Use <see cref="Wire"/> (or <see cref="Indented"/>):
/// <c>JsonSerializer.Serialize(value, ApiJson.Wire.ContainerInspect)</c>. Names are matched without regard to case and
/// unknown ones are skipped, as Docker does on input.
/// </summary>
[JsonSourceGenerationOptions(
    GenerationMode = JsonSourceGenerationMode.Metadata,
    PropertyNameCaseInsensitive = true,
    Converters = [
        typeof(Json.GoStringConverter), typeof(Json.GoTimeConverter), typeof(Json.StringSetConverter),
        typeof(Json.ObjectListConverter<Mount>), typeof(Json.ObjectListConverter<Ulimit>), typeof(Json.ObjectListConverter<WeightDevice>), typeof(Json.ObjectListConverter<ThrottleDevice>),
        typeof(Json.ObjectListConverter<DeviceMapping>), typeof(Json.ObjectListConverter<DeviceRequest>), typeof(Json.ObjectListConverter<PortBinding>), typeof(Json.StringListsConverter),
        typeof(Json.SortedMapConverter<string>), typeof(Json.SortedMapConverter<PortBinding[]>), typeof(Json.SortedMapConverter<EndpointSettings>),
        typeof(Json.SortedMapConverter<EndpointResource>), typeof(Json.SortedMapConverter<RuntimeWithStatus>), typeof(Json.SortedMapConverter<ulong>), typeof(Json.SortedMapConverter<NetworkStats>), typeof(Json.SortedMapConverter<IndexInfo>),
    ])]
[JsonSerializable(typeof(ContainerConfig))]
[JsonSerializable(typeof(HostConfig))]
[JsonSerializable(typeof(NetworkingConfig))]
[JsonSerializable(typeof(ContainerCreateRequest))]
[JsonSerializable(typeof(ContainerCreateResponse))]
[JsonSerializable(typeof(ContainerInspect))]
[JsonSerializable(typeof(ContainerSummary[]))]
[JsonSerializable(typeof(List<ContainerSummary>))]
[JsonSerializable(typeof(ContainerPathStat))]
[JsonSerializable(typeof(List<FilesystemChange>))]
[JsonSerializable(typeof(ContainerTopResponse))]
[JsonSerializable(typeof(ContainerStats))]
[JsonSerializable(typeof(ContainerWaitResponse))]
[JsonSerializable(typeof(ContainerPruneResponse))]
[JsonSerializable(typeof(ContainerUpdateResponse))]
[JsonSerializable(typeof(ExecCreateRequest))]
[JsonSerializable(typeof(ExecStartRequest))]
[JsonSerializable(typeof(ExecInspect))]
[JsonSerializable(typeof(IdResponse))]
[JsonSerializable(typeof(ImageSummary[]))]
[JsonSerializable(typeof(List<ImageSummary>))]
[JsonSerializable(typeof(ImageInspect))]
[JsonSerializable(typeof(ImageConfig))]
[JsonSerializable(typeof(HistoryResponseItem[]))]
[JsonSerializable(typeof(List<HistoryResponseItem>))]
[JsonSerializable(typeof(ImageDeleteResponseItem[]))]
[JsonSerializable(typeof(List<ImageDeleteResponseItem>))]
[JsonSerializable(typeof(ImagePruneResponse))]
[JsonSerializable(typeof(JsonMessage))]
[JsonSerializable(typeof(List<BuildOutputOption>))]
[JsonSerializable(typeof(NetworkInspect))]
[JsonSerializable(typeof(NetworkInspect[]))]
[JsonSerializable(typeof(List<NetworkInspect>))]
[JsonSerializable(typeof(NetworkCreateRequest))]
[JsonSerializable(typeof(NetworkCreateResponse))]
[JsonSerializable(typeof(NetworkConnectRequest))]
[JsonSerializable(typeof(NetworkDisconnectRequest))]
[JsonSerializable(typeof(Volume))]
[JsonSerializable(typeof(VolumeCreateRequest))]
[JsonSerializable(typeof(VolumeListResponse))]
[JsonSerializable(typeof(VolumePruneResponse))]
[JsonSerializable(typeof(SystemVersion))]
[JsonSerializable(typeof(SystemInfo))]
[JsonSerializable(typeof(DebugVars))]
[JsonSerializable(typeof(DiskUsageResponse))]
[JsonSerializable(typeof(BuildPruneResponse))]
[JsonSerializable(typeof(NetworkPruneResponse))]
[JsonSerializable(typeof(AuthConfig))]
[JsonSerializable(typeof(Dictionary<string, AuthConfig>))]
[JsonSerializable(typeof(Ulimit[]))]
[JsonSerializable(typeof(AuthResponse))]
[JsonSerializable(typeof(DistributionInspect))]
[JsonSerializable(typeof(SearchResult[]))]
[JsonSerializable(typeof(List<SearchResult>))]
[JsonSerializable(typeof(PushResult))]
[JsonSerializable(typeof(ErrorResponse))]
[JsonSerializable(typeof(EventMessage))]
[JsonSerializable(typeof(Dictionary<string, string>))]
[JsonSerializable(typeof(JsonElement))]
[JsonSerializable(typeof(string[]))]
public sealed partial class ApiJson : JsonSerializerContext
{
    // Made on first use: initialisers of the generated half may run after those written here.
    private static ApiJson? _wire, _indented;

    /// <summary>UTF-8 as it is, nothing escaped that JSON does not ask for; no white space.</summary>
    public static ApiJson Wire => _wire ??= new(With(indented: false));

    /// <summary>The same, for files that people read.</summary>
    public static ApiJson Indented => _indented ??= new(With(indented: true));

    private static JsonSerializerOptions With(bool indented) =>
        new(((JsonSerializerContext)Default).Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, WriteIndented = indented };
}
