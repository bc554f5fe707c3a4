namespace Berth.Api;

public sealed partial class EngineClient
{
    public Task<SystemVersion> VersionAsync(CancellationToken cancellationToken = default) => GetAsync("/version", ApiJson.Wire.SystemVersion, cancellationToken);

    public Task<SystemInfo> InfoAsync(CancellationToken cancellationToken = default) => GetAsync("/info", ApiJson.Wire.SystemInfo, cancellationToken);

    /// <summary>Answers when the engine is there; gives the newest API version it speaks.</summary>
    public async Task<string> PingAsync(CancellationToken cancellationToken = default)
    {
        using var response = await SendAsync("GET", "/_ping", versioned: false, cancellationToken: cancellationToken).ConfigureAwait(false);
        await ReadAllAsync(response.Body, MaxErrorBytes, cancellationToken).ConfigureAwait(false);
        return response.Header("Api-Version") ?? "";
    }

    /// <summary>Events from <paramref name="since"/> until <paramref name="until"/> (Unix seconds with fraction, as text; null: now, never).</summary>
    public async IAsyncEnumerable<EventMessage> EventsAsync(string? since = null, string? until = null, Filters? filters = null, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        using var response = await SendAsync("GET", new EnginePath("/events").AddIf("since", since).AddIf("until", until).AddIf("filters", filters?.ToString()), cancellationToken: cancellationToken).ConfigureAwait(false);
        await foreach (var message in ReadEventsAsync(response, cancellationToken).ConfigureAwait(false)) yield return message;
    }

    /// <summary>What happens after this has returned is in the answer's body.</summary>
    public Task<EngineResponse> BeginEventsAsync(Filters? filters = null, CancellationToken cancellationToken = default) =>
        SendAsync("GET", new EnginePath("/events").AddIf("filters", filters?.ToString()), cancellationToken: cancellationToken);

    /// <summary>The events of an answer, which stays the caller's.</summary>
    public static IAsyncEnumerable<EventMessage> ReadEventsAsync(EngineResponse response, CancellationToken cancellationToken = default) =>
        ReadObjectsAsync(response.Body, ApiJson.Wire.EventMessage, cancellationToken);

    public Task<VolumeListResponse> ListVolumesAsync(Filters? filters = null, CancellationToken cancellationToken = default) =>
        GetAsync(new EnginePath("/volumes").AddIf("filters", filters?.ToString()), ApiJson.Wire.VolumeListResponse, cancellationToken);

    public Task<Volume> InspectVolumeAsync(string name, CancellationToken cancellationToken = default) =>
        GetAsync("/volumes/" + EnginePath.Segment(name), ApiJson.Wire.Volume, cancellationToken);

    public Task<Volume> CreateVolumeAsync(VolumeCreateRequest request, CancellationToken cancellationToken = default) =>
        PostAsync("/volumes/create", Json(request, ApiJson.Wire.VolumeCreateRequest), ApiJson.Wire.Volume, cancellationToken);

    public Task RemoveVolumeAsync(string name, bool force = false, CancellationToken cancellationToken = default) =>
        PostAsync(new EnginePath("/volumes/" + EnginePath.Segment(name)).AddIf("force", force), cancellationToken, method: "DELETE");

    public Task<VolumePruneResponse> PruneVolumesAsync(Filters? filters = null, CancellationToken cancellationToken = default) =>
        PostAsync(new EnginePath("/volumes/prune").AddIf("filters", filters?.ToString()), default, ApiJson.Wire.VolumePruneResponse, cancellationToken);

    public Task<BuildPruneResponse> PruneBuildCacheAsync(bool all = false, long keepBytes = 0, Filters? filters = null, CancellationToken cancellationToken = default)
    {
        var keep = keepBytes == 0 ? null : keepBytes.ToString(System.Globalization.CultureInfo.InvariantCulture);
        return PostAsync(new EnginePath("/build/prune").AddIf("all", all).AddIf("keep-storage", keep).AddIf("reserved-space", keep).AddIf("filters", filters?.ToString()), default, ApiJson.Wire.BuildPruneResponse, cancellationToken);
    }

    /// <summary>What takes how much room on the engine's disk.</summary>
    public Task<DiskUsageResponse> DiskUsageAsync(CancellationToken cancellationToken = default) => GetAsync("/system/df", ApiJson.Wire.DiskUsageResponse, cancellationToken);
}
