using Berth.Api.BuildKit;
using Berth.Api.Grpc;
using Berth.Builder;
using Berth.Daemon.Http;
using Berth.Dockerfile;
using Berth.Engine;
using Microsoft.AspNetCore.Http;

namespace Berth.Daemon.BuildKit;

/// <summary>
/// BuildKit's protocol in front of our builder, for buildx and whoever else speaks it (docs/building.md): POST /grpc becomes a connection of gRPC on which the client calls
/// us, POST /session one on which we call the client.
/// </summary>
internal sealed class BuildKitServer
{
    /// <summary>The frontend that is built in; the same name that BuildKit's clients use for theirs.</summary>
    private const string DockerfileFrontend = "dockerfile.v0";

    private const string ResultScheme = "berth-result://";
    private const string BuildHeader = "buildkit-controlapi-buildid";

    private readonly BerthEngine _engine;
    private readonly BuildService _builder;
    private readonly TimeProvider _time;
    private readonly GrpcServer _grpc;
    private readonly Builds _builds = new();
    private readonly BuildSessions _sessions = new();
    private readonly ContextStore _contexts;
    private readonly BuildHistory _history;

    public BuildKitServer(BerthEngine engine, BuildService builder, TimeProvider time, ILogger log)
    {
        (_engine, _builder, _time) = (engine, builder, time);
        _contexts = new ContextStore(Path.Combine(engine.Options.DataRoot, "build", "contexts"));
        _history = new BuildHistory(Path.Combine(engine.Options.DataRoot, "build", "history"), time);
        _grpc = new GrpcServer(log.Call, log.CallFault);
        const string Control = "/moby.buildkit.v1.Control/", Gateway = "/moby.buildkit.v1.frontend.LLBBridge/";
        _grpc.Add<SolveRequest>(Control + "Solve", SolveAsync);
        _grpc.Add(Control + "Status", StatusAsync);
        _grpc.Add<Empty>(Control + "Info", (_, _) => Task.FromResult<IProtoMessage>(new InfoResponse(Version)));
        _grpc.Add<Empty>(Control + "ListWorkers", (_, _) => Task.FromResult<IProtoMessage>(new ListWorkersResponse([Worker()])));
        _grpc.Add<DiskUsageRequest>(Control + "DiskUsage", (_, request) => Task.FromResult<IProtoMessage>(new DiskUsageResponse([.. Usage(request.Filters)])));
        _grpc.Add(Control + "Prune", PruneAsync);
        _grpc.Add(Control + "Session", async call =>
        {
            // As POST /session, within this connection: what several targets of a bake share.
            await call.StartAsync();
            await _sessions.RunAsync(call.Header("x-docker-expose-session-uuid"), call.Header("x-docker-expose-session-sharedkey"), call.Headers("x-docker-expose-session-grpc-method"), new CallStream(call), call.Gone);
        });
        _grpc.Add(Control + "ListenBuildHistory", _history.ListenAsync);
        _grpc.Add<UpdateBuildHistoryRequest>(Control + "UpdateBuildHistory", (_, request) =>
        {
            _history.Update(request);
            return Task.FromResult<IProtoMessage>(Empty.Instance);
        });
        _grpc.Add<TextMessage>("/containerd.services.content.v1.Content/Info", _history.BlobInfoAsync);
        _grpc.Add("/containerd.services.content.v1.Content/Read", _history.ReadBlobAsync);
        _grpc.Add<Empty>(Gateway + "Ping", (_, _) => Task.FromResult<IProtoMessage>(Pong()));
        _grpc.Add<GatewaySolveRequest>(Gateway + "Solve", GatewaySolveAsync);
        _grpc.Add<TextMessage>(Gateway + "Evaluate", async (call, request) =>
        {
            await EvaluateAsync(await BuildOfAsync(call), request.Text);
            return Empty.Instance;
        });
        _grpc.Add<ReturnRequest>(Gateway + "Return", async (call, request) =>
        {
            (await BuildOfAsync(call)).Returned.TrySetResult(request);
            return Empty.Instance;
        });
        _grpc.Add<ReadFileRequest>(Gateway + "ReadFile", (call, request) => LookAsync(call, request.File, ResultFiles.Read));
        _grpc.Add<FileRequest>(Gateway + "StatFile", (call, request) => LookAsync(call, request, (tree, file) => new FileStats([ResultFiles.Stat(tree, file)])));
        _grpc.Add<FileRequest>(Gateway + "ReadDir", (call, request) => LookAsync(call, request, ResultFiles.List));
        _grpc.Add<ImageConfigRequest>(Gateway + "ResolveImageConfig", ResolveImageAsync);
        _grpc.Add<Empty>(Gateway + "Warn", (_, _) => Task.FromResult<IProtoMessage>(Empty.Instance));
        _grpc.Add<Empty>("/grpc.health.v1.Health/Check", (_, _) => Task.FromResult<IProtoMessage>(new Serving()));
    }

    public void Map(Router router)
    {
        router.Post("/grpc", async request =>
        {
            await using var stream = await request.UpgradeAsync("h2c");
            await _grpc.ServeAsync(stream, request.Stopping);
        });
        router.Post("/session", async request =>
        {
            var headers = request.Http.Request.Headers;
            var id = headers["X-Docker-Expose-Session-Uuid"].ToString();
            var methods = headers["X-Docker-Expose-Session-Grpc-Method"].Select(m => m ?? "").ToList();
            await using var stream = await request.UpgradeAsync("h2c");
            await _sessions.RunAsync(id, headers["X-Docker-Expose-Session-Sharedkey"].ToString(), methods, stream, request.Stopping);
        });
    }

    /// <summary>Forgets contexts that no build has.</summary>
    /// <returns>Bytes they took.</returns>
    public long PruneContexts() => _contexts.Prune();

    private static BuildKitVersion Version => new("github.com/moby/buildkit", "v0.25.1", BuildInfo.GitCommit);

    // ---- what there is

    private WorkerRecord Worker()
    {
        var host = Images.Platform.Best;
        List<WirePlatform> platforms = [Wire(Images.Platform.Host)];
        if (host.Architecture == "amd64")
        {
            for (var level = 2; level <= 4 && host.Variant.Length > 1 && level <= host.Variant[1] - '0'; level++) platforms.Add(new WirePlatform("linux", "amd64", $"v{level}"));
            platforms.Add(new WirePlatform("linux", "386"));
        }
        foreach (var foreign in Emulators.Platforms()) platforms.Add(Wire(foreign));
        return new WorkerRecord("berth")
        {
            Labels = new Dictionary<string, string> { ["org.mobyproject.buildkit.worker.snapshotter"] = "overlayfs", ["org.mobyproject.buildkit.worker.moby.host-gateway-ip"] = _engine.HostGateways is [var address, ..] ? address : "" },
            Platforms = platforms, Version = Version,
        };
    }

    private static WirePlatform Wire(Images.Platform platform) => new(platform.Os, platform.Architecture, platform.Variant, platform.OsVersion);

    private PongResponse Pong() => new()
    {
        Frontend = [.. ((ReadOnlySpan<string>)["solve.base", "resolveimage", "resolveimage.resolvemode", "readfile", "return", "returnmap", "readdir", "statfile", "importcaches", "proto.refarray", "reference.output",
            "frontend.inputs", "gateway.solve.metadata", "frontend.caps", "gateway.solve.evaluate", "gateway.evaluate", "gateway.warnings"]).ToArray().Select(id => new Capability(id))],
        Definitions = [.. ((ReadOnlySpan<string>)["source.image", "source.local", "source.local.unique", "source.local.sessionid", "source.local.includepatterns", "source.local.followpaths", "source.local.excludepatterns",
            "source.local.sharedkeyhint", "source.local.differ", "source.ocilayout", "source.git", "source.git.keepgitdir", "source.git.fullurl", "source.git.httpauth", "source.git.mountsshsock", "source.git.subdir", "source.git.checksum", "source.git.skipsubmodules", "source.http", "source.http.checksum", "exec.meta.base", "exec.mount.bind", "exec.mount.cache", "exec.mount.tmpfs", "exec.mount.secret", "exec.mount.ssh", "file.base",
            "constraints", "platform", "meta.ignorecache", "meta.description", "meta.exportcache", "exporter.image.attestations", "exporter.image.annotations", "exporter.multiple"]).ToArray().Select(id => new Capability(id))],
        Workers = [Worker()],
    };

    private IEnumerable<UsageRecord> Usage(IReadOnlyList<string> filters)
    {
        foreach (var entry in _builder.Entries())
        {
            var usage = Describe(entry);
            if (Matches(usage, filters)) yield return usage;
        }
    }

    private static UsageRecord Describe(KeptEntry entry) => new(entry.Id)
    {
        Size = entry.SizeBytes, CreatedAt = entry.Created, LastUsedAt = entry.LastUsed, UsageCount = entry.UsageCount, Description = entry.Description, RecordType = entry.Type, InUse = entry.InUse, Shared = entry.Shared,
        Mutable = entry.Type == KeptEntry.CacheMount,
    };

    // "id==x", "type=regular", "until=24h" and so on; those that name nothing we have match nothing.
    private static bool Matches(UsageRecord record, IReadOnlyList<string> filters)
    {
        foreach (var filter in filters)
        {
            var all = true;
            foreach (var part in filter.Split(','))
            {
                var equals = part.IndexOf('=');
                var (name, value) = equals < 0 ? (part, "") : (part[..equals].TrimEnd('!', '~'), part[(equals + 1)..].TrimStart('=').Trim('"'));
                all &= name.ToLowerInvariant() switch
                {
                    "id" => record.Id.StartsWith(value, StringComparison.Ordinal),
                    "type" => record.RecordType == value,
                    "description" => record.Description.Contains(value, StringComparison.Ordinal),
                    "inuse" => record.InUse == Says(value),
                    "mutable" => record.Mutable == Says(value),
                    "immutable" => record.Mutable != Says(value),
                    "shared" => record.Shared == Says(value),
                    "private" => record.Shared != Says(value),
                    _ => true,
                };
            }
            if (all) return true;
        }
        return filters.Count == 0;

        static bool Says(string value) => value is "" or "true" or "1";
    }

    private async Task PruneAsync(GrpcCall call)
    {
        var request = await call.RequestAsync<PruneRequest>();
        await call.StartAsync();
        var doomed = _builder.Prune(new PruneRule
        {
            All = request.All, KeepDuration = TimeSpan.FromTicks(request.KeepDuration / 100), ReservedSpace = request.ReservedSpace, MaxUsedSpace = request.MaxUsedSpace, MinFreeSpace = request.MinFreeSpace,
            Matches = entry => Matches(Describe(entry), request.Filters),
        }).Select(Describe).ToList();
        if (request.All && _contexts.Prune() is > 0 and var bytes) doomed.Add(new UsageRecord("contexts") { Size = bytes, CreatedAt = _time.GetUtcNow(), Description = "local sources", RecordType = "source.local" });
        foreach (var record in doomed) await call.WriteAsync(record);
    }

    // ---- builds

    private async Task<IProtoMessage> SolveAsync(GrpcCall call, SolveRequest request)
    {
        if (request.HasDefinition && request.Frontend.Length == 0) throw new GrpcException(GrpcCode.Unimplemented, "building from LLB definitions is not supported: the Dockerfile language is built in");
        foreach (var entitlement in request.Entitlements)
            if (entitlement == "security.insecure") throw new GrpcException(GrpcCode.Unknown, $"granting entitlement {entitlement} is not allowed by build daemon configuration");
        var build = new Build(request, _time, call.Gone);
        _builds.Begin(build);
        GrpcException? failure = null;
        FrontendOutcome? outcome = null;
        IReadOnlyDictionary<string, string> response = new Dictionary<string, string>();
        try
        {
            BuildService.Check(request.Exporters.Select(e => new BuildOutput(e.Type, e.Attributes)), request.CacheExports.Select(c => new CacheLocation(c.Type, c.Attributes)));
            _history.Begin(request);
            BuildRef? reference;
            if (request.Frontend.Length > 0) reference = Begin(build, request.Frontend, request.FrontendAttributes, request.Inputs, request.CacheImports)[0];
            else
            {
                var returned = await build.Returned.Task.WaitAsync(call.Gone);
                if (returned.Error is { } error) throw new GrpcException((GrpcCode)error.Code, error.Message, error.Details);
                reference = returned.Result?.Ref is { Id.Length: > 0 } found ? build.Find(found.Id) : null;
            }
            if (reference is null) return new SolveResponse(response);
            outcome = await EvaluateAsync(build, reference.Id) as FrontendOutcome ?? throw new GrpcException(GrpcCode.Unimplemented, "building from LLB definitions is not supported: the Dockerfile language is built in");
            return new SolveResponse(response = await ExportAsync(build, outcome));
        }
        catch (Exception e)
        {
            failure = e as GrpcException ?? new GrpcException(e is OperationCanceledException ? GrpcCode.Cancelled : GrpcCode.Unknown, e is OperationCanceledException ? "context canceled" : e.Message);
            if (e is BuildException) throw failure;
            throw;
        }
        finally
        {
            // Before the client is told: it may ask at once.
            _history.End(request, build.Status, build.Attributes, failure, response, outcome?.Results.Each is [var single] ? _builder.ProvenanceOf(outcome.Request, single) : null);
            await build.EndAsync();
            _builds.End(build);
        }
    }

    private async Task<IReadOnlyDictionary<string, string>> ExportAsync(Build build, FrontendOutcome outcome)
    {
        var outputs = new List<BuildOutput>();
        foreach (var exporter in build.Request.Exporters) outputs.Add(new BuildOutput(exporter.Type, exporter.Attributes) { Id = outputs.Count.ToString(System.Globalization.CultureInfo.InvariantCulture) });
        // Nothing, or results for others alone.
        if (outputs.Count == 0) outputs.Add(new BuildOutput("cacheonly", new Dictionary<string, string>()));
        try
        {
            return (await _builder.ExportAsync(outcome.Request with { Outputs = outputs, Sink = new SessionSink(_sessions, build.Request.Session) }, outcome.Results.Each, build.Status, build.Cancellation)).Metadata;
        }
        catch (Exception e) when (BuildFailure.IsExpected(e))
        {
            throw BuildFailure.ToGrpc(e, "", null);
        }
    }

    private async Task StatusAsync(GrpcCall call)
    {
        var request = await call.RequestAsync<TextMessage>();
        await call.StartAsync([_history.Timestamp]);
        if (_history.Log(request.Text) is { } log)
        {
            foreach (var message in log) await call.WriteAsync(message);
            return;
        }
        var build = await _builds.GetAsync(request.Text, call.Gone);
        await foreach (var events in build.Status.FollowAsync(call.Gone)) await call.WriteAsync(events);
    }

    private Task<Build> BuildOfAsync(GrpcCall call) => _builds.GetAsync(call.Header(BuildHeader), call.Gone);

    private async Task<IProtoMessage> GatewaySolveAsync(GrpcCall call, GatewaySolveRequest request)
    {
        var build = await BuildOfAsync(call);
        if (request.Frontend.Length == 0)
        {
            // Only to look at: a bake file, a Dockerfile.
            var remote = RemoteOf(request.Definition) ?? throw new GrpcException(GrpcCode.Unimplemented, "LLB definitions are not supported but for a source: the Dockerfile language is built in");
            var source = build.Add(1, () => FetchAsync(build, remote))[0];
            if (request.Evaluate) await EvaluateAsync(build, source.Id);
            return new GatewaySolveResponse(new GatewayResult { Ref = new ResultRef(source.Id, request.Definition) });
        }
        if (request.Options.TryGetValue("requestid", out var question)) return new GatewaySolveResponse(new GatewayResult { Metadata = await AnswerAsync(build, question, new FrontendOptions(request.Options), request.Inputs) });
        var references = Begin(build, request.Frontend, request.Options, request.Inputs, request.CacheImports);
        if (request.Evaluate) await EvaluateAsync(build, references[0].Id);
        var results = references.Select(r => new ResultRef(r.Id, SourceDefinition.Encode(ResultScheme + r.Id))).ToList();
        var options = new FrontendOptions(request.Options);
        if (!options.IsMultiPlatform) return new GatewaySolveResponse(new GatewayResult { Ref = results[0] });
        var platforms = options.Platforms();
        var byPlatform = new List<KeyValuePair<string, ResultRef>>();
        for (var i = 0; i < results.Count; i++) byPlatform.Add(new(platforms[i].ToString(), results[i]));
        return new GatewaySolveResponse(new GatewayResult { Ref = results[0], Refs = byPlatform, Metadata = new Dictionary<string, byte[]> { ["refs.platforms"] = Describe(platforms) } });
    }

    // Which of several results is for which platform (moby/buildkit exporter/containerimage/exptypes).
    private static byte[] Describe(IReadOnlyList<Images.Platform> platforms) => Images.ManifestText.Json(json =>
    {
        json.WriteStartObject();
        json.WriteStartArray("Platforms");
        foreach (var platform in platforms)
        {
            json.WriteStartObject();
            json.WriteString("ID", platform.ToString());
            json.WriteStartObject("Platform");
            json.WriteString("architecture", platform.Architecture);
            json.WriteString("os", platform.Os);
            if (platform.Variant.Length > 0) json.WriteString("variant", platform.Variant);
            json.WriteEndObject();
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    });

    private async Task<Dictionary<string, byte[]>> AnswerAsync(Build build, string question, FrontendOptions options, IReadOnlyDictionary<string, byte[]> inputs)
    {
        if (question == Subrequests.Describe) return Subrequests.OfDescription();
        byte[]? dockerfile = null;
        using var sources = new SessionSources(_engine, _builder, _sessions, _contexts, build.Status, options, build.Request.Session, build.Cancellation) { Remote = ContextOf(options, inputs) };
        try
        {
            dockerfile = await sources.LoadDockerfileAsync();
            var request = options.ToRequest(dockerfile, sources, build.Request.Entitlements) with { Contexts = await ContextsAsync(options, sources, inputs, build.Cancellation) };
            switch (question)
            {
                case Subrequests.Check:
                    await sources.LoadIgnoredAsync();
                    var (findings, failure) = await _builder.CheckAsync(request with { Ignored = sources.Ignored }, build.Status, build.Cancellation);
                    return Subrequests.OfFindings(findings, failure, options.DockerfileName, dockerfile);
                case Subrequests.Targets: return Subrequests.OfTargets(Document.Parse(dockerfile), dockerfile);
                case Subrequests.Outline: return Subrequests.OfOutline(Document.Parse(dockerfile), options["target"], request.Arguments, dockerfile);
                default: throw new GrpcException(GrpcCode.Unimplemented, $"unsupported request {question}");
            }
        }
        catch (Exception e) when (BuildFailure.IsExpected(e))
        {
            throw BuildFailure.ToGrpc(e, options.DockerfileName, dockerfile);
        }
    }

    private IReadOnlyList<BuildRef> Begin(Build build, string frontend, IReadOnlyDictionary<string, string> attributes, IReadOnlyDictionary<string, byte[]> inputs, IReadOnlyList<TypeAndAttributes> imports)
    {
        if (frontend != DockerfileFrontend)
        {
            var source = attributes.GetValueOrDefault("source", "");
            if (frontend != "gateway.v0" || !BuildService.IsBuiltIn(source)) throw new GrpcException(GrpcCode.Unimplemented, $"the frontend {(source.Length > 0 ? source : frontend)} is not supported: the Dockerfile language is built in, and no other is run");
        }
        var options = new FrontendOptions(attributes);
        build.Attributes = attributes;
        int platforms;
        try
        {
            platforms = options.Platforms().Count;
        }
        catch (BuildException e)
        {
            throw BuildFailure.ToGrpc(e, "", null);
        }
        return build.Add(platforms, () => BuildAsync(build, options, inputs, imports));
    }

    // The build's own context when it is not the client's: an address, or a source that the client has looked at before.
    private static RemoteSource? ContextOf(FrontendOptions options, IReadOnlyDictionary<string, byte[]> inputs)
    {
        try
        {
            if (options.RemoteContext is { Length: > 0 } remote) return RemoteSource.TryParse(remote);
            return inputs.TryGetValue("context", out var definition) ? RemoteOf(definition) : null;
        }
        catch (DockerfileException e)
        {
            throw new GrpcException(GrpcCode.Unknown, e.Message);
        }
    }

    private static RemoteSource? RemoteOf(byte[] definition)
    {
        if (SourceDefinition.Parse(definition) is not { } source) return null;
        if (RemoteFiles.IsHttp(source.Identifier))
        {
            var name = source["http.filename"] is { Length: > 0 } given ? given : RemoteFiles.NameOf(source.Identifier);
            if (name.Contains('/') || name is "." or "..") throw new GrpcException(GrpcCode.InvalidArgument, $"{name} is no name of a file");
            return new RemoteSource { Url = source.Identifier, FileName = name, Checksum = source["http.checksum"], Unpack = source.Unpack, Name = source.Identifier };
        }
        if (!source.Identifier.StartsWith("git://", StringComparison.Ordinal)) return null;
        var fragment = source.Identifier.IndexOf('#') is >= 0 and var at ? source.Identifier[at..] : "";
        var remote = source["git.fullurl"] is { Length: > 0 } full ? full : "https://" + source.Identifier["git://".Length..^fragment.Length];
        var parts = fragment.TrimStart('#').Split(':', 2);
        if (parts[0].StartsWith('-')) throw new GrpcException(GrpcCode.InvalidArgument, $"invalid git ref {Berth.Api.Go.GoText.Quote(parts[0])}");
        return new RemoteSource
        {
            Name = remote + fragment,
            Git = new GitSource { Remote = remote, Ref = parts[0], Directory = parts is [_, var directory] ? directory : "", Commit = source["git.checksum"], KeepGitDirectory = source["git.keepgitdir"] == "true", Submodules = source["git.skipsubmodules"] != "true" },
        };
    }

    private async Task<IRefResult> FetchAsync(Build build, RemoteSource remote)
    {
        var session = _builder.OpenSession();
        using var sources = new SessionSources(_engine, _builder, _sessions, _contexts, build.Status, new FrontendOptions(new Dictionary<string, string>()), build.Request.Session, build.Cancellation);
        var step = new ScratchStep { Title = remote.Git is null ? $"[internal] load {remote.Url}" : "[internal] load git source " + remote.Name };
        build.Status.Started(step);
        try
        {
            var fetched = await sources.FetchAsync(remote, session, step);
            build.Status.Ended(step, null);
            return new FetchedFiles(fetched, session);
        }
        catch (Exception e)
        {
            session.Dispose();
            build.Status.Ended(step, e);
            if (BuildFailure.IsExpected(e)) throw BuildFailure.ToGrpc(e, "", null);
            throw;
        }
    }

    private async Task<IProtoMessage> LookAsync(GrpcCall call, FileRequest request, Func<SourceTree, FileRequest, IProtoMessage> look)
    {
        var reference = (await BuildOfAsync(call)).Find(request.Ref);
        using var tree = (await reference.EvaluateAsync()).OpenFiles(reference.Index);
        return look(tree, request);
    }

    private async Task<IProtoMessage> ResolveImageAsync(GrpcCall call, ImageConfigRequest request)
    {
        var build = await BuildOfAsync(call);
        using var sources = new SessionSources(_engine, _builder, _sessions, _contexts, build.Status, new FrontendOptions(new Dictionary<string, string>()), build.Request.Session, build.Cancellation);
        try
        {
            var platform = request.Platform is { } wire ? Images.Platform.Parse(string.Join('/', ((string[])[wire.Os, wire.Architecture, wire.Variant]).Where(p => p.Length > 0))) : Images.Platform.Host;
            var image = await _builder.ResolveAsync(request.Ref, platform, request.ResolveMode is "pull", sources, build.Status, call.Gone);
            var digest = image.RepoDigests is [var named, ..] ? named[(named.IndexOf('@') + 1)..] : image.Id.ToString();
            return new ImageConfigResponse(digest, image.ConfigBytes.ToArray(), Images.ImageReference.Parse(request.Ref).WithDefaultTag().ToString());
        }
        catch (Exception e) when (BuildFailure.IsExpected(e) || e is Images.ImageException)
        {
            throw BuildFailure.ToGrpc(e, "", null);
        }
    }

    private static Task<IRefResult> EvaluateAsync(Build build, string id) => build.Find(id).EvaluateAsync();

    private async Task<IRefResult> BuildAsync(Build build, FrontendOptions options, IReadOnlyDictionary<string, byte[]> inputs, IReadOnlyList<TypeAndAttributes> imports)
    {
        byte[]? dockerfile = null;
        using var sources = new SessionSources(_engine, _builder, _sessions, _contexts, build.Status, options, build.Request.Session, build.Cancellation) { Remote = ContextOf(options, inputs) };
        try
        {
            dockerfile = await sources.LoadDockerfileAsync();
            var request = options.ToRequest(dockerfile, sources, build.Request.Entitlements) with
            {
                Contexts = await ContextsAsync(options, sources, inputs, build.Cancellation), CacheFrom = [.. imports.Select(c => new CacheLocation(c.Type, c.Attributes)), .. options.CacheImports()],
                CacheTo = [.. build.Request.CacheExports.Select(c => new CacheLocation(c.Type, c.Attributes))],
            };
            await sources.LoadIgnoredAsync();
            request = request with { Ignored = sources.Ignored };
            var plan = await _builder.PlanAsync(request, build.Status, build.Cancellation);
            var source = new SourceInfo(options.DockerfileName, dockerfile, "Dockerfile");
            foreach (var finding in plan.Checks.Findings) build.Status.Warn(sources.Definition, finding, source);
            sources.Plan = plan;
            return new FrontendOutcome(request, await _builder.SolveAsync(request, plan, build.Status, build.Cancellation));
        }
        catch (Exception e) when (BuildFailure.IsExpected(e))
        {
            throw BuildFailure.ToGrpc(e, options.DockerfileName, dockerfile);
        }
    }

    private async Task<Dictionary<string, NamedContext>> ContextsAsync(FrontendOptions options, SessionSources sources, IReadOnlyDictionary<string, byte[]> inputs, CancellationToken cancellation)
    {
        var contexts = new Dictionary<string, NamedContext>(StringComparer.Ordinal);
        foreach (var (name, value) in options.WithPrefix("context:"))
        {
            var colon = value.IndexOf(':');
            var (kind, rest) = colon < 0 ? ("", value) : (value[..colon], value[(colon + 1)..]);
            contexts[name] = kind switch
            {
                "docker-image" => new NamedContext { ImageName = rest.StartsWith("//", StringComparison.Ordinal) ? rest[2..] : rest },
                "local" => new NamedContext { Directory = rest },
                "input" => await InputAsync(inputs.TryGetValue(rest, out var definition) ? definition : throw new BuildException($"invalid input {rest} for {name}"), cancellation),
                "http" or "https" => new NamedContext { Remote = RemoteSource.TryParse(value)! with { Unpack = false } },
                "git" => new NamedContext { Remote = RemoteSource.TryParse(value) ?? throw new BuildException($"invalid git context {value}") },
                _ when kind.StartsWith("git@", StringComparison.Ordinal) => new NamedContext { Remote = RemoteSource.TryParse(value) ?? throw new BuildException($"invalid git context {value}") },
                "oci-layout" => new NamedContext { Result = await sources.LoadLayoutAsync(name, rest.StartsWith("//", StringComparison.Ordinal) ? rest[2..] : rest, options.Platforms()[0]) },
                "" => throw new BuildException($"invalid context specifier {value} for {name}"),
                _ => throw new BuildException($"unsupported context source {kind} for {name}"),
            };
        }
        return contexts;
    }

    // A result of ours that comes back: another target of the same bake. Or files that the client has looked at.
    private async Task<NamedContext> InputAsync(byte[] definition, CancellationToken cancellation)
    {
        if (RemoteOf(definition) is { } remote) return new NamedContext { Remote = remote };
        if (SourceDefinition.Parse(definition)?.Identifier is not { } source || !source.StartsWith(ResultScheme, StringComparison.Ordinal)) throw new BuildException("an input is no result of this builder");
        var id = source[ResultScheme.Length..];
        var reference = (await _builds.GetAsync(id[..Math.Max(0, id.LastIndexOf('/'))], cancellation)).Find(id);
        if (await reference.EvaluateAsync() is not FrontendOutcome outcome) throw new BuildException("an input is no result of this builder");
        var result = outcome.Results.Each[reference.Index];
        return new NamedContext { Result = Images.Image.Loose(result.Config, result.Config.ToBytes(), result.Plan.Platform, result.Layers) };
    }

    private sealed record Serving : IProtoMessage
    {
        public void WriteTo(ProtoWriter writer) => writer.Int64(1, 1);
    }
}
