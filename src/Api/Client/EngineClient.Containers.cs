using System.Globalization;

namespace Berth.Api;

public sealed partial class EngineClient
{
    private static EnginePath Container(string id, string verb) => $"/containers/{EnginePath.Segment(id)}/{verb}";

    public Task<ContainerCreateResponse> CreateContainerAsync(ContainerCreateRequest request, string? name = null, string? platform = null, CancellationToken cancellationToken = default) =>
        PostAsync(new EnginePath("/containers/create").AddIf("name", name).AddIf("platform", platform), Json(request, ApiJson.Wire.ContainerCreateRequest), ApiJson.Wire.ContainerCreateResponse, cancellationToken);

    /// <param name="limit">0: no limit; otherwise the newest so many, running or not.</param>
    public Task<ContainerSummary[]> ListContainersAsync(bool all = false, int limit = 0, bool size = false, Filters? filters = null, CancellationToken cancellationToken = default) =>
        GetAsync(new EnginePath("/containers/json").AddIf("all", all).AddIf("limit", limit > 0 ? limit.ToString(CultureInfo.InvariantCulture) : null).AddIf("size", size).AddIf("filters", filters?.ToString()),
            ApiJson.Wire.ContainerSummaryArray, cancellationToken);

    public Task<ContainerInspect> InspectContainerAsync(string id, CancellationToken cancellationToken = default) =>
        GetAsync(Container(id, "json"), ApiJson.Wire.ContainerInspect, cancellationToken);

    public Task StartContainerAsync(string id, string? detachKeys = null, CancellationToken cancellationToken = default) =>
        PostAsync(Container(id, "start").AddIf("detachKeys", detachKeys), cancellationToken);

    /// <param name="timeoutSeconds">null: the container's own; -1: wait for ever.</param>
    public Task StopContainerAsync(string id, string? signal = null, int? timeoutSeconds = null, CancellationToken cancellationToken = default) =>
        PostAsync(Container(id, "stop").AddIf("signal", signal).AddIf("t", timeoutSeconds?.ToString(CultureInfo.InvariantCulture)), cancellationToken);

    public Task RestartContainerAsync(string id, string? signal = null, int? timeoutSeconds = null, CancellationToken cancellationToken = default) =>
        PostAsync(Container(id, "restart").AddIf("signal", signal).AddIf("t", timeoutSeconds?.ToString(CultureInfo.InvariantCulture)), cancellationToken);

    public Task KillContainerAsync(string id, string? signal = null, CancellationToken cancellationToken = default) =>
        PostAsync(Container(id, "kill").AddIf("signal", signal), cancellationToken);

    public Task PauseContainerAsync(string id, CancellationToken cancellationToken = default) => PostAsync(Container(id, "pause"), cancellationToken);

    public Task UnpauseContainerAsync(string id, CancellationToken cancellationToken = default) => PostAsync(Container(id, "unpause"), cancellationToken);

    public Task RenameContainerAsync(string id, string name, CancellationToken cancellationToken = default) => PostAsync(Container(id, "rename").Add("name", name), cancellationToken);

    public Task RemoveContainerAsync(string id, bool force = false, bool volumes = false, bool link = false, CancellationToken cancellationToken = default) =>
        PostAsync(new EnginePath("/containers/" + EnginePath.Segment(id)).AddIf("v", volumes).AddIf("link", link).AddIf("force", force), cancellationToken, method: "DELETE");

    public Task<ContainerUpdateResponse> UpdateContainerAsync(string id, HostConfig change, CancellationToken cancellationToken = default) =>
        PostAsync(Container(id, "update"), Json(change, ApiJson.Wire.HostConfig), ApiJson.Wire.ContainerUpdateResponse, cancellationToken);

    public Task ResizeContainerAsync(string id, int height, int width, CancellationToken cancellationToken = default) =>
        PostAsync(Container(id, "resize").Add("h", height.ToString(CultureInfo.InvariantCulture)).Add("w", width.ToString(CultureInfo.InvariantCulture)), cancellationToken);

    public Task<ContainerTopResponse> TopAsync(string id, string psArguments = "", CancellationToken cancellationToken = default) =>
        GetAsync(Container(id, "top").AddIf("ps_args", psArguments), ApiJson.Wire.ContainerTopResponse, cancellationToken);

    public Task<ContainerPruneResponse> PruneContainersAsync(Filters? filters = null, CancellationToken cancellationToken = default) =>
        PostAsync(new EnginePath("/containers/prune").AddIf("filters", filters?.ToString()), default, ApiJson.Wire.ContainerPruneResponse, cancellationToken);

    /// <summary>
    /// Begins to wait for a container: when this has returned, the engine watches. Start the container after it, and no exit
    /// is missed; then ask for the result.
    /// </summary>
    /// <param name="id">Id or name.</param>
    /// <param name="condition">"not-running" (also null), "next-exit" or "removed".</param>
    /// <param name="cancellationToken">Ends the request.</param>
    public async Task<PendingWait> BeginWaitAsync(string id, string? condition = null, CancellationToken cancellationToken = default) =>
        new(await SendAsync("POST", Container(id, "wait").AddIf("condition", condition), cancellationToken: cancellationToken).ConfigureAwait(false));

    /// <summary>A wait under way.</summary>
    public sealed class PendingWait : IDisposable
    {
        private readonly EngineResponse _response;

        internal PendingWait(EngineResponse response) => _response = response;

        /// <summary>The result; to be asked for once.</summary>
        public async Task<ContainerWaitResponse> ResultAsync(CancellationToken cancellationToken = default)
        {
            using (_response) return Read(await ReadAllAsync(_response.Body, MaxJsonBytes, cancellationToken).ConfigureAwait(false), ApiJson.Wire.ContainerWaitResponse);
        }

        public void Dispose() => _response.Dispose();
    }

    public Task<HijackedStream> AttachAsync(string id, bool stdin, bool stdout, bool stderr, bool stream = true, bool logs = false, string? detachKeys = null, CancellationToken cancellationToken = default) =>
        HijackAsync(Container(id, "attach").AddIf("detachKeys", detachKeys).AddIf("logs", logs).AddIf("stderr", stderr).AddIf("stdin", stdin).AddIf("stdout", stdout).AddIf("stream", stream), default, cancellationToken);

    /// <summary>The log; multiplexed unless the container has a terminal.</summary>
    /// <param name="id">Id or name.</param>
    /// <param name="stdout">Include stdout.</param>
    /// <param name="stderr">Include stderr.</param>
    /// <param name="follow">Go on with what comes.</param>
    /// <param name="timestamps">A time before each line.</param>
    /// <param name="details">The log's extra attributes before each line.</param>
    /// <param name="since">Unix seconds with fraction, as text.</param>
    /// <param name="until">The same.</param>
    /// <param name="tail">"all" or a number of lines.</param>
    /// <param name="cancellationToken">Ends the request, not the stream.</param>
    public Task<EngineResponse> LogsAsync(string id, bool stdout = true, bool stderr = true, bool follow = false, bool timestamps = false, bool details = false, string? since = null, string? until = null, string tail = "all", CancellationToken cancellationToken = default) =>
        SendAsync("GET", Container(id, "logs").AddIf("details", details).AddIf("follow", follow).AddIf("since", since).AddIf("stderr", stderr).AddIf("stdout", stdout).Add("tail", tail).AddIf("timestamps", timestamps).AddIf("until", until), cancellationToken: cancellationToken);

    /// <summary>A sample a second until the container is removed; without <paramref name="stream"/> one, which takes a second.</summary>
    public async IAsyncEnumerable<ContainerStats> StatsAsync(string id, bool stream = true, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        using var response = await SendAsync("GET", Container(id, "stats").Add("stream", stream ? "true" : "false"), cancellationToken: cancellationToken).ConfigureAwait(false);
        await foreach (var sample in ReadObjectsAsync(response.Body, ApiJson.Wire.ContainerStats, cancellationToken).ConfigureAwait(false)) yield return sample;
    }

    public async Task<string> CreateExecAsync(string containerId, ExecCreateRequest request, CancellationToken cancellationToken = default) =>
        (await PostAsync(Container(containerId, "exec"), Json(request, ApiJson.Wire.ExecCreateRequest), ApiJson.Wire.IdResponse, cancellationToken).ConfigureAwait(false)).Id;

    public Task StartExecDetachedAsync(string execId, ExecStartRequest request, CancellationToken cancellationToken = default) =>
        PostAsync($"/exec/{EnginePath.Segment(execId)}/start", cancellationToken, Json(request with { Detach = true }, ApiJson.Wire.ExecStartRequest));

    public Task<HijackedStream> StartExecAsync(string execId, ExecStartRequest request, CancellationToken cancellationToken = default) =>
        HijackAsync($"/exec/{EnginePath.Segment(execId)}/start", Json(request, ApiJson.Wire.ExecStartRequest), cancellationToken);

    public Task<ExecInspect> InspectExecAsync(string execId, CancellationToken cancellationToken = default) =>
        GetAsync($"/exec/{EnginePath.Segment(execId)}/json", ApiJson.Wire.ExecInspect, cancellationToken);

    public Task ResizeExecAsync(string execId, int height, int width, CancellationToken cancellationToken = default) =>
        PostAsync(new EnginePath($"/exec/{EnginePath.Segment(execId)}/resize").Add("h", height.ToString(CultureInfo.InvariantCulture)).Add("w", width.ToString(CultureInfo.InvariantCulture)), cancellationToken);
}
