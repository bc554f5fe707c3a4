using Berth.Api;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Routes;

/// <summary>/containers. What a client may leave half-done is bound to its connection (Gone), all else is finished once begun.</summary>
internal static class ContainerRoutes
{
    public static void Map(Router router, BerthEngine engine)
    {
        var containers = engine.Containers;
        router.Get("/containers/json", r => List(r, containers));
        router.Get("/containers/{name}/json", async r => await r.JsonAsync(await containers.InspectAsync(r.Name, r.Query.Bool("size"), r.Stopping), ApiJson.Wire.ContainerInspect));
        router.Get("/containers/{name}/top", async r => await r.JsonAsync(await containers.TopAsync(r.Name, r.Query["ps_args"], r.Stopping), ApiJson.Wire.ContainerTopResponse));
        router.Get("/containers/{name}/logs", r => Logs(r, containers));
        router.Get("/containers/{name}/stats", r => Stats(r, containers));
        router.Post("/containers/create", r => Create(r, containers));
        router.Post("/containers/prune", r => Prune(r, containers));
        router.Post("/containers/{name}/kill", r => Done(r, containers.KillAsync(r.Name, r.Query["signal"], r.Stopping)));
        router.Post("/containers/{name}/pause", r => Done(r, containers.PauseAsync(r.Name, r.Stopping)));
        router.Post("/containers/{name}/unpause", r => Done(r, containers.UnpauseAsync(r.Name, r.Stopping)));
        router.Post("/containers/{name}/restart", r => Done(r, containers.RestartAsync(r.Name, Signal(r), r.Query.Int("t", ErrorKind.System), r.Stopping)));
        router.Post("/containers/{name}/start", r => Start(r, containers));
        router.Post("/containers/{name}/stop", r => Done(r, containers.StopAsync(r.Name, Signal(r), r.Query.Int("t", ErrorKind.System), r.Stopping)));
        router.Post("/containers/{name}/wait", r => Wait(r, containers));
        router.Post("/containers/{name}/resize", r => containers.ResizeAsync(r.Name, Cells(r, "h", "height"), Cells(r, "w", "width"), r.Stopping));
        router.Post("/containers/{name}/attach", r => Attach(r, containers));
        router.Get("/containers/{name}/attach/ws", r => AttachWebSocket(r, containers));
        router.Post("/containers/{name}/rename", r => Done(r, containers.RenameAsync(r.Name, r.Query["name"], r.Stopping)));
        router.Post("/containers/{name}/update", r => Update(r, containers));
        router.Delete("/containers/{name}", r => Done(r, containers.RemoveAsync(r.Name, r.Query.Bool("force"), r.Query.Bool("v"), r.Query.Bool("link"), r.Stopping)));
    }

    private static async Task Done(ApiRequest request, Task work)
    {
        await work;
        request.Status(204);
    }

    /// <summary>The signal of stop and restart came with API 1.42; before that it is ignored.</summary>
    private static string? Signal(ApiRequest request) => request.Version.Before(42) || request.Query["signal"].Length == 0 ? null : request.Query["signal"];

    internal static ushort Cells(ApiRequest request, string parameter, string what) => (ushort)Math.Min(request.Query.Size(parameter, what), ushort.MaxValue);

    private static async Task List(ApiRequest request, ContainerService containers)
    {
        var query = request.Query;
        var list = await containers.ListAsync(new ContainerListOptions
        {
            All = query.Bool("all"),
            Size = query.Bool("size"),
            Filters = Filters.Parse(query["filters"]),
            Limit = query.Int("limit", ErrorKind.System) ?? 0,
        }, request.Stopping);
        await request.JsonAsync(list, ApiJson.Wire.ListContainerSummary);
    }

    private static async Task Create(ApiRequest request, ContainerService containers)
    {
        var body = await request.ReadJsonAsync(ApiJson.Wire.ContainerCreateRequest);
        if (body.PortablePart() == new ContainerConfig())
            throw EngineException.Invalid("config cannot be empty in order to create a container");
        var warnings = OlderVersions.Adapt(body, request.Version);
        var platform = request.Version.Before(41) ? null : request.Query["platform"];
        var created = await containers.CreateAsync(body, request.Query["name"], platform, request.Stopping);
        await request.JsonAsync(warnings.Count == 0 ? created : created with { Warnings = [.. created.Warnings, .. warnings] }, ApiJson.Wire.ContainerCreateResponse, 201);
    }

    private static async Task Start(ApiRequest request, ContainerService containers)
    {
        // A body of "null" or "{}" is what some clients send for none.
        if (request.Http.Request.ContentLength is > 7 || request.Http.Request.Headers.ContainsKey("Transfer-Encoding"))
            throw EngineException.Invalid("starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24");
        if (request.Query["checkpoint"].Length > 0)
            throw Errors.NotImplemented("starting from a checkpoint");
        await Done(request, containers.StartAsync(request.Name, request.Stopping));
    }

    private static async Task Update(ApiRequest request, ContainerService containers)
    {
        var change = await request.ReadJsonAsync(ApiJson.Wire.HostConfig);
        if (request.Version.Before(40)) change.PidsLimit = null;
        if (!request.Version.Before(42)) change.KernelMemory = 0;
        await request.JsonAsync(await containers.UpdateAsync(request.Name, change, request.Stopping), ApiJson.Wire.ContainerUpdateResponse);
    }

    private static async Task Wait(ApiRequest request, ContainerService containers)
    {
        var old = request.Version.Before(30); // no conditions then, and headers only with the answer
        var condition = old ? WaitCondition.NotRunning : request.Query["condition"] switch
        {
            "" or "not-running" => WaitCondition.NotRunning,
            "next-exit" => WaitCondition.NextExit,
            "removed" => WaitCondition.Removed,
            var other => throw EngineException.Invalid($"invalid condition: \"{other}\""),
        };
        var waiting = containers.Wait(request.Name, condition, request.Gone());
        // `docker run` starts the container when it has these headers: from here on the wait is registered.
        if (!old)
            await request.StartAsync("application/json");
        var result = await waiting;
        if (old)
        {
            await request.JsonAsync(result, ApiJson.Wire.ContainerWaitResponse);
            return;
        }
        await using var lines = request.Lines(ApiJson.Wire.ContainerWaitResponse, "\n", request.Gone());
        // Before 1.34 the only way to tell a failed removal was to answer nothing.
        if (!(result.Error is not null && condition == WaitCondition.Removed && request.Version.Before(34)))
            lines.Add(result);
    }

    private static async Task Logs(ApiRequest request, ContainerService containers)
    {
        var query = request.Query;
        if (!query.Bool("stdout") && !query.Bool("stderr"))
            throw EngineException.Invalid("Bad parameters: you must choose at least one stream");
        await using var log = await containers.LogsAsync(request.Name, new LogOptions
        {
            Stdout = query.Bool("stdout"),
            Stderr = query.Bool("stderr"),
            Follow = query.Bool("follow"),
            Timestamps = query.Bool("timestamps"),
            Details = query.Bool("details"),
            Since = query["since"],
            Until = query["until"],
            Tail = query["tail"],
        }, request.Gone());
        await request.StartAsync(request.StreamType(log.Multiplexed));
        await log.CopyToAsync(request.Http.Response.Body, request.Gone());
    }

    private static async Task Stats(ApiRequest request, ContainerService containers)
    {
        var query = request.Query;
        var stream = query.Bool("stream", absent: true);
        var oneShot = !request.Version.Before(41) && query.Bool("one-shot");
        var gone = request.Gone();
        var stats = containers.StatsAsync(request.Name, stream, oneShot, gone);
        if (stream)
        {
            await request.StartAsync(contentType: null); // as Docker, whose stream has none
            await foreach (var sample in stats)
                await request.WriteLineAsync(sample, ApiJson.Wire.ContainerStats, gone);
            return;
        }
        await foreach (var sample in stats)
            await request.JsonAsync(sample, ApiJson.Wire.ContainerStats);
    }

    private static async Task Attach(ApiRequest request, ContainerService containers)
    {
        var query = request.Query;
        StreamSession session;
        try
        {
            session = await containers.AttachAsync(request.Name, new AttachOptions
            {
                Stdin = query.Bool("stdin"),
                Stdout = query.Bool("stdout"),
                Stderr = query.Bool("stderr"),
                Logs = query.Bool("logs"),
                Stream = query.Bool("stream"),
                DetachKeys = query["detachKeys"],
            }, request.Stopping);
        }
        catch (EngineException e)
        {
            await request.HijackErrorAsync(e);
            return;
        }
        await using (session)
        await using (var client = await request.HijackAsync(session.Multiplexed, withHeaders: false))
            await session.RunAsync(client, request.Stopping);
    }

    private static async Task AttachWebSocket(ApiRequest request, ContainerService containers)
    {
        var query = request.Query;
        var all = request.Version.Before(42); // which streams was not asked before
        await using var session = await containers.AttachAsync(request.Name, new AttachOptions
        {
            Stdin = all || query.Bool("stdin"),
            Stdout = all || query.Bool("stdout"),
            Stderr = all || query.Bool("stderr"),
            Logs = query.Bool("logs"),
            Stream = query.Bool("stream"),
            DetachKeys = query["detachKeys"],
            Multiplex = false,
        }, request.Stopping);
        if (request.WebSocketFault() is { } fault)
            throw EngineException.Invalid(fault);
        await using var client = await request.AcceptWebSocketAsync();
        await session.RunAsync(client, request.Stopping);
    }

    private static async Task Prune(ApiRequest request, ContainerService containers) =>
        await request.JsonAsync(await containers.PruneAsync(Filters.Parse(request.Query["filters"]), request.Stopping), ApiJson.Wire.ContainerPruneResponse);
}
