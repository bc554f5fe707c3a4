using System.Text.Json;
using Berth.Api;
using Berth.Builder;
using Berth.Daemon.BuildKit;
using Berth.Daemon.Http;
using Berth.Dockerfile;
using Berth.Engine;
using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;

namespace Berth.Daemon.Routes;

/// <summary>POST /build as clients without BuildKit use it: the context as a tar, the answer a stream of texts. And /build/prune.</summary>
internal static class BuildRoutes
{
    public static void Map(Router router, BerthEngine engine, BuildService builder, BuildKitServer buildKit)
    {
        router.Post("/build", r => Build(r, engine, builder));
        router.Post("/build/prune", r => Prune(r, builder, buildKit));
    }

    private static async Task Build(ApiRequest request, BerthEngine engine, BuildService builder)
    {
        var query = request.Query;
        if (query["version"] == "2") throw Errors.NotImplemented("building with BuildKit");
        if (query.Bool("squash")) throw EngineException.Invalid("squash is only supported with experimental mode");
        var limits = Limits(query);
        // Several with commas between them, which is ours.
        var platforms = query["platform"] is { Length: > 0 } list ? list.Split(',').Select(LayerPlatform).Distinct().ToList() : [Images.Platform.Host];
        using var session = builder.OpenSession();
        var directory = session.NewDirectory();
        if (query["remote"] is { Length: > 0 } remote) directory = await FetchAsync(builder, session, remote, directory, request.Stopping);
        using var root = FileAt.Open(null, directory, OpenFlags.ReadOnly | OpenFlags.Directory);
        if (query["remote"].Length == 0)
        {
            await UnpackAsync(request.Http.Request.Body, root, request.Stopping);
            await request.Http.Request.Body.CopyToAsync(Stream.Null, request.Stopping); // what stands behind the end of the tar
        }
        var name = query["dockerfile"] is { Length: > 0 } given ? given : "Dockerfile";
        var dockerfile = ReadFile(root, name, Document.MaxBytes) ?? throw EngineException.System($"Cannot locate specified Dockerfile: {name}");
        var ignored = TakeIgnored(root, name);

        // What its client sent is there now; who hangs up wants no image any more.
        var gone = request.Gone();
        await using var lines = request.Lines(ApiJson.Wire.JsonMessage, "\r\n", gone);
        var output = new ClassicOutput(lines.Add, quiet: query.Bool("q"));
        try
        {
            var build = Ask();
            var result = await builder.BuildAsync(build, output, output.Begin, gone);
            output.Finish(result, build.Names);
        }
        catch (Exception e) when (e is DockerfileException or BuildException or EngineException)
        {
            output.Flush();
            if (!lines.Started) throw e as EngineException ?? e.InnerException as EngineException ?? EngineException.Invalid(e.Message);
            lines.Add(e is BuildException { ExitCode: not 0 } failed
                ? new JsonMessage { ErrorDetail = new() { Code = failed.ExitCode, Message = Command(failed) }, Error = Command(failed) }
                : JsonMessage.Failed(e.Message));
        }

        BuildRequest Ask() => new()
        {
            Dockerfile = dockerfile, DockerfileName = name, Target = query["target"], Names = [.. query.All("t").Where(t => t.Length > 0).Select(Name)], NoCache = query.Bool("nocache"), Pull = query.Bool("pull"),
            Arguments = Texts(query["buildargs"], "buildargs"), Labels = Texts(query["labels"], "labels"), Network = query["networkmode"] is { Length: > 0 } mode ? mode : "default", Limits = limits,
            Platform = platforms[0], Platforms = platforms.Count > 1 ? platforms : [], PlatformGiven = query["platform"].Length > 0,
            Ignored = ignored, Sources = new SentContext(engine, new BuildContext(directory, root, ignored), ImageRoutes.HeaderJson(request, "X-Registry-Config", ApiJson.Wire.DictionaryStringAuthConfig) ?? []),
        };
    }

    private static async Task UnpackAsync(Stream tar, Microsoft.Win32.SafeHandles.SafeFileHandle root, CancellationToken cancellation)
    {
        try
        {
            await TreeArchive.ExtractAsync(tar, root, "/", (0, 0), keepKinds: false, cancellation);
        }
        catch (ImageException e)
        {
            throw EngineException.Invalid($"the build context can't be read: {e.Message}");
        }
    }

    // A context that is somewhere else: a Git repository, an archive, or a Dockerfile alone. Returns the directory with it.
    private static async Task<string> FetchAsync(BuildService builder, ImageStore.LayerSession session, string remote, string directory, CancellationToken cancellation)
    {
        try
        {
            var source = RemoteSource.TryParse(remote) ?? throw EngineException.Invalid($"remoteURL ({remote}) could not be recognized as URL");
            if (source.Git is not null) return (await builder.Remotes.FetchAsync(source, () => directory, null, null, cancellation)).Directory;
            using var response = await builder.Remotes.GetAsync(remote, null, cancellation);
            if (!response.IsSuccessStatusCode)
                throw EngineException.System($"error downloading remote context {remote}: failed to GET {remote} with status {(int)response.StatusCode} {response.ReasonPhrase}: {(await ReadStartAsync(response, cancellation)).Trim()}");
            var file = Path.Combine(session.NewDirectory(), "context");
            await using (var body = await response.Content.ReadAsStreamAsync(cancellation)) await RemoteFiles.SaveAsync(body, file, cancellation);
            if (await FetchedSource.TryUnpackAsync(file, directory, cancellation)) return directory;
            if (new FileInfo(file).Length > Document.MaxBytes) throw EngineException.Invalid($"error detecting content type for remote {remote}: unsupported Content-Type {Berth.Api.Go.GoText.Quote(response.Content.Headers.ContentType?.ToString() ?? "")}");
            File.Move(file, Path.Combine(directory, "Dockerfile"));
            return directory;
        }
        catch (ImageException e)
        {
            throw EngineException.Invalid($"the build context can't be read: {e.Message}");
        }
        catch (Exception e) when (e is BuildException or DockerfileException)
        {
            throw EngineException.System($"error fetching remote context {remote}: {e.Message}");
        }

        static async Task<string> ReadStartAsync(HttpResponseMessage response, CancellationToken cancellation)
        {
            var start = new byte[1024];
            await using var body = await response.Content.ReadAsStreamAsync(cancellation);
            return System.Text.Encoding.UTF8.GetString(start, 0, await body.ReadAtLeastAsync(start, start.Length, throwOnEndOfStream: false, cancellation));
        }
    }

    // In the words of the classic builder: process "x" did not … → The command 'x' returned a non-zero code: 1
    private static string Command(BuildException failed)
    {
        var command = failed.Message["process \"".Length..failed.Message.LastIndexOf("\" did not complete", StringComparison.Ordinal)];
        return $"The command '{command}' returned a non-zero code: {failed.ExitCode}";
    }

    private static Task Prune(ApiRequest request, BuildService builder, BuildKitServer buildKit)
    {
        var query = request.Query;
        // Before 1.48 only the older name was known; since then it is the second choice.
        var reserved = request.Version.Before(48) ? 0 : Bytes("reserved-space");
        if (reserved == 0) reserved = Bytes("keep-storage");
        var removed = builder.Prune(CacheFilters.Rule(Filters.Parse(query["filters"]), DateTimeOffset.UtcNow) with
        {
            All = query.Bool("all"), ReservedSpace = reserved, MaxUsedSpace = request.Version.Before(48) ? 0 : Bytes("max-used-space"), MinFreeSpace = request.Version.Before(48) ? 0 : Bytes("min-free-space"),
        });
        var contexts = query.Bool("all") ? buildKit.PruneContexts() : 0;
        return request.JsonAsync(new BuildPruneResponse { CachesDeleted = removed.Count > 0 ? [.. removed.Select(r => r.Id)] : null, SpaceReclaimed = (ulong)(removed.Sum(r => r.Shared ? 0 : r.SizeBytes) + contexts) }, ApiJson.Wire.BuildPruneResponse);

        long Bytes(string name) => query[name].Length == 0 ? 0 : long.TryParse(query[name], System.Globalization.NumberStyles.AllowLeadingSign, System.Globalization.CultureInfo.InvariantCulture, out var bytes) ? bytes
            : throw EngineException.Invalid($"{name} is in bytes and expects an integer, got {query[name]}: strconv.Atoi: parsing {Berth.Api.Go.GoText.Quote(query[name])}: invalid syntax");
    }

    // The files that only the builder needs are out of the context when .dockerignore says so.
    private static PathPatterns? TakeIgnored(Microsoft.Win32.SafeHandles.SafeFileHandle root, string dockerfile)
    {
        if ((ReadFile(root, dockerfile + ".dockerignore", IgnoreFile.MaxBytes) ?? ReadFile(root, ".dockerignore", IgnoreFile.MaxBytes)) is not { } text) return null;
        PathPatterns patterns;
        try
        {
            patterns = new PathPatterns(IgnoreFile.Parse(text));
        }
        catch (DockerfileException e)
        {
            throw EngineException.Invalid(e.Message);
        }
        foreach (var name in (ReadOnlySpan<string>)[".dockerignore", dockerfile])
        {
            if (!name.Contains('/') && patterns.Matches(name) && FileAt.TryStatus(root, name, followLinks: false, out _) is { IsDirectory: false }) FileAt.Unlink(root, name);
        }
        return patterns;
    }

    private static byte[]? ReadFile(Microsoft.Win32.SafeHandles.SafeFileHandle root, string path, int maxBytes)
    {
        using var file = FileAt.TryOpen(root, path, OpenFlags.ReadOnly | OpenFlags.NonBlocking, ResolveFlags.InRoot | ResolveFlags.NoMagicLinks, out _);
        if (file is null || FileAt.Status(file) is not { Kind: FileKind.Regular } status) return null;
        if (status.SizeBytes > (ulong)maxBytes) throw EngineException.Invalid($"{path} is larger than {maxBytes} bytes");
        var bytes = new byte[status.SizeBytes];
        using var stream = new FileStream(file, FileAccess.Read, bufferSize: 0);
        stream.ReadExactly(bytes);
        return bytes;
    }

    private static ImageReference Name(string text)
    {
        try
        {
            var name = ImageReference.Parse(text);
            return name.HasDigest ? throw EngineException.Invalid("refusing to create a tag with a digest reference") : name.WithDefaultTag();
        }
        catch (ImageException e)
        {
            throw EngineException.Invalid($"Error parsing reference: {Berth.Api.Go.GoText.Quote(text)} is not a valid repository/tag: {e.Message}");
        }
    }

    private static Images.Platform LayerPlatform(string text)
    {
        try
        {
            return Images.Platform.Parse(text);
        }
        catch (ImageException e)
        {
            throw EngineException.Invalid(e.Message);
        }
    }

    private static HostConfig Limits(Query query)
    {
        long Number(string name) => query[name].Length == 0 ? 0 : long.TryParse(query[name], out var value) ? value : throw EngineException.Invalid($"strconv.ParseInt: parsing {Berth.Api.Go.GoText.Quote(query[name])}: invalid syntax");
        return new HostConfig
        {
            Memory = Number("memory"), MemorySwap = Number("memswap"), CpuShares = Number("cpushares"), CpuPeriod = Number("cpuperiod"), CpuQuota = Number("cpuquota"), CpusetCpus = query["cpusetcpus"],
            CpusetMems = query["cpusetmems"], ShmSize = Number("shmsize"), CgroupParent = query["cgroupparent"], ExtraHosts = [.. query.All("extrahosts").SelectMany(h => h.Split(',')).Where(h => h.Length > 0)],
            Ulimits = query["ulimits"].Length == 0 ? null : Parse(query["ulimits"], ApiJson.Wire.UlimitArray, "ulimits"),
        };
    }

    private static Dictionary<string, string> Texts(string json, string what)
    {
        var texts = new Dictionary<string, string>(StringComparer.Ordinal);
        if (json.Length == 0) return texts;
        // A build argument without a value is as good as none: {"A":null}.
        foreach (var (name, value) in Parse(json, ApiJson.Wire.DictionaryStringString, what)) if (value is not null) texts[name] = value;
        return texts;
    }

    private static T Parse<T>(string json, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type, string what)
    {
        try
        {
            return JsonSerializer.Deserialize(json, type) ?? throw new JsonException("null");
        }
        catch (JsonException e)
        {
            throw EngineException.Invalid($"error reading {what}: {e.Message}");
        }
    }

    private sealed class SentContext(BerthEngine engine, BuildContext context, Dictionary<string, AuthConfig> logins) : IBuildSources
    {
        public Task<BuildContext> OpenContextAsync(ContextStep step, CancellationToken cancellation) => Task.FromResult(context);

        public Task<byte[]?> GetSecretAsync(string id, CancellationToken cancellation) => Task.FromResult<byte[]?>(null);

        public Task PullAsync(ImageReference name, Images.Platform platform, Action<JsonMessage> progress, CancellationToken cancellation)
        {
            return engine.Images.PullAsync(name.ToString(), null, platform.ToString(), LoginOf(name), progress, cancellation);
        }

        public Task<RegistryCredentials?> GetCredentialsAsync(ImageReference name, bool push, CancellationToken cancellation) =>
            Task.FromResult(LoginOf(name) is { } login ? new RegistryCredentials(login.Username, login.Password, login.IdentityToken, login.RegistryToken) : null);

        private AuthConfig? LoginOf(ImageReference name) => logins.GetValueOrDefault(name.Domain == "docker.io" ? "https://index.docker.io/v1/" : name.Domain);
    }
}
