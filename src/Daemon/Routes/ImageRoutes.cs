using System.Buffers.Text;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Berth.Api;
using Berth.Api.Go;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Routes;

/// <summary>/images.</summary>
internal static class ImageRoutes
{
    /// <summary>Progress beyond this many lines that wait for a slow client is dropped; what matters is kept.</summary>
    private const int ProgressLinesAtMost = 256;

    public static void Map(Router router, BerthEngine engine)
    {
        var images = engine.Images;
        router.Post("/images/prune", r => r.JsonAsync(engine.Images.Prune(Filters.Parse(r.Query["filters"]), r.Stopping), ApiJson.Wire.ImagePruneResponse));
        router.Get("/images/json", r => List(r, images));
        router.Get("/images/{name}/json", r => Inspect(r, images));
        router.Get("/images/{name}/history", r => r.JsonAsync(images.History(r.Name, Platform(r, since: 48)), ApiJson.Wire.ListHistoryResponseItem));
        router.Get("/images/get", r => Save(r, images, r.Query.All("names")));
        router.Get("/images/{name}/get", r => Save(r, images, [r.Name]));
        router.Post("/images/load", r => Load(r, images));
        router.Post("/images/create", r => r.Query["fromImage"].Length > 0 ? Pull(r, images) : Import(r, images));
        router.Post("/images/{name}/push", r => Push(r, images));
        router.Get("/images/search", r => Search(r, images));
        router.Get("/distribution/{name}/json", async r => await r.JsonAsync(await images.InspectDistributionAsync(r.Name, Credentials(r), r.Gone()), ApiJson.Wire.DistributionInspect));
        router.Post("/auth", r => Login(r, images));
        router.Post("/images/{name}/tag", r => Tag(r, images));
        router.Delete("/images/{name}", r => Remove(r, images));
    }

    private static async Task List(ApiRequest request, ImageService images)
    {
        var query = request.Query;
        var filters = Filters.Parse(query["filters"]);
        if (request.Version.Before(25) && query["filter"].Length > 0 && !filters.Contains("reference"))
            filters.Add("reference", query["filter"]);
        var list = images.List(query.Bool("all"), !request.Version.Before(42) && query.Bool("shared-size"), !request.Version.Before(47) && query.Bool("manifests"), filters);
        if (request.Version.Before(51))
        {
            list = [.. list.Select(image => image with
            {
                Containers = -1,
                Descriptor = request.Version.Before(48) ? null : image.Descriptor,
                VirtualSize = request.Version.Before(44) ? image.Size : 0,
                RepoTags = request.Version.Before(43) && image.RepoTags.Length == 0 && image.RepoDigests.Length == 0 ? ["<none>:<none>"] : image.RepoTags,
                RepoDigests = request.Version.Before(43) && image.RepoTags.Length == 0 && image.RepoDigests.Length == 0 ? ["<none>@<none>"] : image.RepoDigests,
            })];
        }
        await request.JsonAsync(list, ApiJson.Wire.ListImageSummary);
    }

    private static Task Inspect(ApiRequest request, ImageService images)
    {
        var platform = Platform(request, since: 49);
        var manifests = !request.Version.Before(48) && request.Query.Bool("manifests");
        if (manifests && platform is not null)
            throw EngineException.Invalid("conflicting options: manifests and platform options cannot both be set");
        var image = images.Inspect(request.Name, platform, manifests);
        if (!request.Version.Before(45))
            image = image with { Container = null, ContainerConfig = null };
        if (request.Version.Before(48))
            image = image with { Descriptor = null };
        if (request.Version.Before(50))
        {
            // These no image says anything about; they had their place in the answer all the same.
            image = image with
            {
                Config = image.Config with
                {
                    AttachStderr = false, AttachStdin = false, AttachStdout = false, Domainname = "", Hostname = "", Image = "", OpenStdin = false, StdinOnce = false, Tty = false,
                },
            };
        }
        if (request.Version.Before(44))
            image = image with { VirtualSize = image.Size, Created = image.Created ?? "0001-01-01T00:00:00Z" };
        return request.JsonAsync(image, ApiJson.Wire.ImageInspect);
    }

    private static Task Remove(ApiRequest request, ImageService images)
    {
        var platforms = request.Version.Before(50) ? [] : request.Query.All("platforms");
        var platform = platforms.Select(ParsePlatform).ToList();
        if (platform.Count > 1)
            throw EngineException.Invalid("multiple platforms are not supported");
        return request.JsonAsync(images.Remove(request.Name, request.Query.Bool("force"), request.Query.Bool("noprune"), platform.FirstOrDefault()), ApiJson.Wire.ListImageDeleteResponseItem);
    }

    private static Task Tag(ApiRequest request, ImageService images)
    {
        images.Tag(request.Name, request.Query["repo"], request.Query["tag"]);
        request.Status(201);
        return Task.CompletedTask;
    }

    private static async Task Save(ApiRequest request, ImageService images, IReadOnlyList<string> names)
    {
        var platform = SinglePlatform(request);
        var gone = request.Gone();
        using var archive = images.Save(names, platform);
        var response = request.Http.Response;
        response.ContentType = "application/x-tar";
        // With a length a client notices when the archive breaks off, as it does when a layer turns out to be damaged.
        response.ContentLength = archive.MeasureBytes();
        await archive.CopyToAsync(response.Body, gone);
    }

    private static string? SinglePlatform(ApiRequest request)
    {
        if (!request.Version.Before(48) && request.Query.All("platform").Count > 1)
            throw EngineException.Invalid("multiple platform parameters not supported");
        return Platform(request, since: 48);
    }

    private static async Task Load(ApiRequest request, ImageService images)
    {
        var platform = SinglePlatform(request);
        var quiet = request.Query.Bool("quiet", absent: true);
        var body = request.Http.Request.Body;
        await ProgressAsync(request, request.Stopping, alwaysInBand: true, add => images.LoadAsync(body, quiet, platform, add, request.Stopping));
    }

    private static async Task Pull(ApiRequest request, ImageService images)
    {
        var query = request.Query;
        var credentials = Credentials(request);
        var platform = request.Version.Before(32) ? null : query["platform"];
        // "pull -a" may name the image with a colon and nothing behind it.
        var name = query["fromImage"] is var given && given.EndsWith(':') ? given[..^1] : given;
        var gone = request.Gone();
        await ProgressAsync(request, gone, alwaysInBand: false, add => images.PullAsync(name, query["tag"], platform, credentials, add, gone));
    }

    private static async Task Push(ApiRequest request, ImageService images)
    {
        var credentials = Credentials(request);
        var platform = Platform(request, since: 46);
        var gone = request.Gone();
        await ProgressAsync(request, gone, alwaysInBand: false, add => images.PushAsync(request.Name, request.Query["tag"], platform, credentials, add, gone));
    }

    private static async Task Search(ApiRequest request, ImageService images)
    {
        var limit = 0;
        if (request.Query["limit"] is { Length: > 0 } text && (!int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out limit) || limit < 0))
            throw EngineException.Invalid("invalid limit specified" + (limit < 0 ? "" : $": strconv.Atoi: parsing {GoText.Quote(text)}: invalid syntax"));
        var found = await images.SearchAsync(request.Query["term"], limit, Filters.Parse(request.Query["filters"]), Credentials(request), request.Gone());
        await request.JsonAsync(found, ApiJson.Wire.ListSearchResult);
    }

    private static async Task Login(ApiRequest request, ImageService images)
    {
        var credentials = await request.ReadJsonAsync(ApiJson.Wire.AuthConfig);
        var token = await images.LoginAsync(credentials, request.Gone());
        await request.JsonAsync(new AuthResponse { Status = "Login Succeeded", IdentityToken = token }, ApiJson.Wire.AuthResponse);
    }

    private static async Task Import(ApiRequest request, ImageService images)
    {
        var query = request.Query;
        var source = query["fromSrc"];
        if (source != "-")
            throw Errors.NotImplemented($"importing from {(source.Length > 0 ? source : "an empty fromSrc")}: send the archive (docker import - < file); a source other than \"-\"");
        var message = query["message"] is { Length: > 0 } given ? given : "Imported from " + source;
        var platform = request.Version.Before(32) ? null : query["platform"];
        var body = request.Http.Request.Body;
        await ProgressAsync(request, request.Stopping, alwaysInBand: false,
            add => images.ImportAsync(body, query["repo"], query["tag"], message, query.All("changes"), platform, add, request.Stopping));
    }

    /// <summary>
    /// Runs what reports as it goes. A failure before the first report has its status, a later one is told in the stream: the status is sent by then.
    /// </summary>
    private static async Task ProgressAsync(ApiRequest request, CancellationToken gone, bool alwaysInBand, Func<Action<JsonMessage>, Task> work)
    {
        await using var lines = request.Lines(ApiJson.Wire.JsonMessage, "\r\n", gone);
        try
        {
            await work(message =>
            {
                if (message.ProgressDetail is { } progress && progress.Current < progress.Total && lines.Waiting > ProgressLinesAtMost)
                    return;
                lines.Add(message);
            });
        }
        catch (EngineException e) when (lines.Started || alwaysInBand)
        {
            lines.Add(JsonMessage.Failed(e.Message));
        }
    }

    /// <summary>Platforms in queries of the newer routes are JSON; the engine takes os/arch[/variant].</summary>
    private static string? Platform(ApiRequest request, int since)
    {
        var text = request.Query["platform"];
        return text.Length == 0 || request.Version.Before(since) ? null : ParsePlatform(text);
    }

    private static string ParsePlatform(string text)
    {
        Platform? platform;
        try
        {
            platform = JsonSerializer.Deserialize(text, ApiJson.Wire.Platform);
        }
        catch (JsonException e)
        {
            throw EngineException.Invalid($"failed to parse platform: {e.Message}");
        }
        if (platform is null || platform.Os.Length == 0 || platform.Architecture.Length == 0)
        {
            throw EngineException.Invalid(platform is { Os: "", Architecture: "" } && platform.Variant is { Length: > 0 }
                ? "optional platform fields provided, but OS and Architecture are missing"
                : "both OS and Architecture must be provided");
        }
        return platform.Variant is { Length: > 0 } variant ? $"{platform.Os}/{platform.Architecture}/{variant}" : $"{platform.Os}/{platform.Architecture}";
    }

    private static AuthConfig? Credentials(ApiRequest request) => HeaderJson(request, "X-Registry-Auth", ApiJson.Wire.AuthConfig);

    /// <summary>A header of JSON in base64url; what cannot be read counts as none, as with Docker.</summary>
    internal static T? HeaderJson<T>(ApiRequest request, string name, JsonTypeInfo<T> type) where T : class
    {
        var header = request.Http.Request.Headers[name].ToString();
        if (header.Length == 0)
            return null;
        try
        {
            var text = Encoding.UTF8.GetString(Base64Url.DecodeFromChars(header.Replace('+', '-').Replace('/', '_').TrimEnd('=')));
            return JsonSerializer.Deserialize(text, type);
        }
        catch (Exception e) when (e is FormatException or JsonException)
        {
            return null;
        }
    }
}
