using System.Text.Json;
using Berth.Api;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;

namespace Berth.Cli.Commands.Builds;

/// <summary>
/// One build over BuildKit's protocol: a connection on which the engine is asked (Control.Solve and, beside it, Control.Status), and one on which it asks what the session offers. Both are
/// opened at once, and nothing is waited for that the build does not need.
/// </summary>
internal sealed class BuildSolve(EngineClient client, ClientSession session)
{
    private const string Control = "/moby.buildkit.v1.Control/", Gateway = "/moby.buildkit.v1.frontend.LLBBridge/", BuildHeader = "buildkit-controlapi-buildid";

    /// <summary>A builder that has ended a build has this long to say the rest of what happened.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    /// <summary>Builds, and says what happens meanwhile.</summary>
    /// <returns>What the exporters say.</returns>
    /// <exception cref="GrpcException">The build failed.</exception>
    public async Task<IReadOnlyDictionary<string, string>> RunAsync(SolveRequest request, BuildInputs inputs, Action<StatusResponse> show, CancellationToken cancellation)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        // Beside the opening of the other connection, not after it.
        var serving = Task.Run(() => session.ServeAsync(client, stop.Token), CancellationToken.None);
        try
        {
            using var channel = new GrpcChannel(await client.OpenBuilderAsync(cancellation).ConfigureAwait(false));
            if (inputs.GatewayHosts.Count > 0) await AddGatewayHostsAsync(channel, inputs, cancellation).ConfigureAwait(false);
            var solving = channel.CallAsync<SolveResponse>(Control + "Solve", request, stop.Token);
            var following = FollowAsync(channel, request.Ref, show, stop.Token);
            // A session that cannot be had ends the build: it would wait for its files.
            if (await Task.WhenAny(solving, serving).ConfigureAwait(false) == serving && serving.IsFaulted)
            {
                await stop.CancelAsync().ConfigureAwait(false);
                await ((Task)solving).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                await serving.ConfigureAwait(false);
            }
            await ((Task)solving).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            // What is said last is worth a moment: the output of the step that failed.
            await Task.WhenAny(following, Task.Delay(Patience, cancellation)).ConfigureAwait(false);
            await stop.CancelAsync().ConfigureAwait(false);
            await following.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            return (await solving.ConfigureAwait(false)).ExporterResponse;
        }
        finally
        {
            await stop.CancelAsync().ConfigureAwait(false);
            await serving.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Asks the frontend something else than a build: --call.</summary>
    /// <returns>The answer's parts.</returns>
    /// <exception cref="GrpcException"/>
    public async Task<IReadOnlyDictionary<string, byte[]>> AskAsync(SolveRequest request, string question, Action<StatusResponse> show, CancellationToken cancellation)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var serving = Task.Run(() => session.ServeAsync(client, stop.Token), CancellationToken.None);
        try
        {
            using var channel = new GrpcChannel(await client.OpenBuilderAsync(cancellation).ConfigureAwait(false));
            // Without a frontend the build is ours to drive: it lasts until we say what has come of it.
            var solving = channel.CallAsync<SolveResponse>(Control + "Solve", request with { Frontend = "", FrontendAttributes = new Dictionary<string, string>(), Exporters = [] }, stop.Token);
            var following = FollowAsync(channel, request.Ref, show, stop.Token);
            var options = new Dictionary<string, string>(request.FrontendAttributes) { ["requestid"] = question, ["frontend.caps"] = "moby.buildkit.frontend.subrequests+forward" };
            var answer = await CallAsync<GatewaySolveResponse>(channel, "Solve", request.Ref, new GatewaySolveRequest { Frontend = request.Frontend, Options = options }, stop.Token).ConfigureAwait(false);
            await CallAsync<Empty>(channel, "Return", request.Ref, new ReturnRequest(new GatewayResult { Metadata = answer.Result.Metadata }, null), stop.Token).ConfigureAwait(false);
            await ((Task)solving).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await Task.WhenAny(following, Task.Delay(Patience, cancellation)).ConfigureAwait(false);
            return answer.Result.Metadata;
        }
        finally
        {
            await stop.CancelAsync().ConfigureAwait(false);
            await serving.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private static Task<T> CallAsync<T>(GrpcChannel channel, string method, string build, IProtoMessage message, CancellationToken cancellation) where T : class, IProtoMessage<T> =>
        channel.CallAsync<T>(Gateway + method, message, cancellation, [(BuildHeader, build)]);

    private static async Task FollowAsync(GrpcChannel channel, string build, Action<StatusResponse> show, CancellationToken cancellation)
    {
        await using var call = channel.Open(Control + "Status", [], cancellation);
        await call.WriteAsync(new TextMessage(build)).ConfigureAwait(false);
        await call.CompleteAsync().ConfigureAwait(false);
        while (await call.ReadAsync<StatusResponse>().ConfigureAwait(false) is { } news) show(news);
    }

    // "host-gateway" is an address that the builder's worker says.
    private static async Task AddGatewayHostsAsync(GrpcChannel channel, BuildInputs inputs, CancellationToken cancellation)
    {
        var workers = await channel.CallAsync<WorkerLabels>(Control + "ListWorkers", Empty.Instance, cancellation).ConfigureAwait(false);
        if (workers.Labels.GetValueOrDefault("org.mobyproject.buildkit.worker.moby.host-gateway-ip") is not { Length: > 0 } address) throw new CommandException("unable to derive the IP value for host-gateway");
        var hosts = inputs.Attributes.GetValueOrDefault("add-hosts", "");
        foreach (var name in inputs.GatewayHosts) hosts += (hosts.Length > 0 ? "," : "") + $"{name}={address}";
        inputs.Attributes["add-hosts"] = hosts;
    }

    /// <summary>The file and lines that a failure is about, as the builder shows them; "" when it does not say.</summary>
    public static string SourceOf(GrpcException failure, string dockerfileName)
    {
        foreach (var detail in failure.Details)
        {
            var (type, value) = RpcStatus.OfAny(detail);
            if (!type.StartsWith("github.com/moby/buildkit/errdefs.Source", StringComparison.Ordinal) || value is not [(byte)'{', ..]) continue;
            try
            {
                using var json = JsonDocument.Parse(value);
                var info = json.RootElement.GetProperty("info");
                var range = json.RootElement.GetProperty("ranges")[0];
                return BuildView.Source(dockerfileName.Length > 0 ? dockerfileName : info.GetProperty("filename").GetString() ?? "", info.GetProperty("data").GetBytesFromBase64(), Line(range, "start"), Line(range, "end"));
            }
            catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException or IndexOutOfRangeException)
            {
                return "";
            }
        }
        return "";

        static int Line(JsonElement range, string end) => range.TryGetProperty(end, out var position) && position.TryGetProperty("line", out var line) ? line.GetInt32() : 0;
    }

    /// <summary>The image of the failed command's files; null when there is none.</summary>
    public static string? FailedImageOf(GrpcException failure)
    {
        foreach (var detail in failure.Details)
        {
            var (type, value) = RpcStatus.OfAny(detail);
            if (type == FailedStep.Detail) return System.Text.Encoding.UTF8.GetString(value);
        }
        return null;
    }

    public static string NewRef() => Convert.ToHexStringLower(System.Security.Cryptography.RandomNumberGenerator.GetBytes(13));

    /// <summary>Control.ListWorkers' answer, as far as it is read here.</summary>
    private sealed record WorkerLabels(Dictionary<string, string> Labels) : IProtoMessage<WorkerLabels>
    {
        public void WriteTo(ProtoWriter writer) => throw new NotSupportedException();

        public static WorkerLabels Parse(ReadOnlySpan<byte> bytes)
        {
            var labels = new Dictionary<string, string>(StringComparer.Ordinal);
            var reader = new ProtoReader(bytes);
            while (reader.TryNext(out var field))
            {
                if (field != 1)
                {
                    reader.Skip();
                    continue;
                }
                var record = new ProtoReader(reader.Span());
                while (record.TryNext(out var part))
                {
                    if (part == 2) record.EntryTo(labels);
                    else record.Skip();
                }
            }
            return new WorkerLabels(labels);
        }
    }
}
