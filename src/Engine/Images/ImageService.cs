using System.Globalization;
using System.Text.Json;
using Berth.Api;
using Berth.Images;
using ApiConfig = Berth.Api.ImageConfig;

namespace Berth.Engine;

/// <summary>Images as the API shows them; the work is done by <see cref="ImageStore"/>.</summary>
public sealed class ImageService
{
    private readonly EngineCore _core;

    internal ImageService(EngineCore core) => _core = core;

    public List<Api.ImageSummary> List(bool all, bool sharedSize, bool manifests, Filters filters)
    {
        filters.Require("dangling", "label", "label!", "before", "since", "reference", "until");
        var wanted = new ImageFilters
        {
            All = all, Dangling = filters.Contains("dangling") ? filters.Flag("dangling", false) : null, Reference = [.. filters["reference"]], Before = [.. filters["before"]],
            Since = [.. filters["since"]], Label = [.. filters["label"]], Until = filters["until"].Select(Until).Min(), SharedSize = sharedSize,
        };
        var list = new List<Api.ImageSummary>();
        var users = _core.Containers.All.GroupBy(c => c.Record.ImageId, StringComparer.Ordinal).ToDictionary(g => g.Key, g => g.Count(), StringComparer.Ordinal);
        foreach (var found in LayerErrors.Translate(() => _core.Images.List(wanted)))
        {
            var image = found.Image;
            if (filters["label!"].Count > 0 && filters.MatchLabels("label!", image.Config.Config?.Labels)) continue;
            var pieces = Manifests(image.Id, found.RepoTags is [var first, ..] ? first : null, manifests, out var target);
            list.Add(new Api.ImageSummary
            {
                Id = image.Id.ToString(), ParentId = image.Parent.ToString(), Created = image.Created?.ToUnixTimeSeconds() ?? 0, Size = image.SizeBytes,
                Labels = image.Config.Config?.Labels is { } labels ? new(labels) : null, RepoTags = [.. found.RepoTags], RepoDigests = [.. found.RepoDigests],
                SharedSize = sharedSize ? found.SharedSizeBytes : -1, Containers = users.GetValueOrDefault(image.Id.ToString()), Descriptor = target, Manifests = pieces,
            });
        }
        return list;
    }

    // As Docker, which takes a bad time for a failure of its own in images' filters, and only there.
    private DateTimeOffset? Until(string text)
    {
        try
        {
            return Timestamps.Parse(text, _core.Time);
        }
        catch (EngineException e)
        {
            throw EngineException.System(e.Message, e);
        }
    }

    // The descriptor always, the manifests when asked for.
    private ManifestSummary[]? Manifests(Digest id, string? name, bool wanted, out Api.Descriptor? target)
    {
        var pieces = _core.Images.Manifests(id, name, out var descriptor);
        target = descriptor is null ? null : Show(descriptor);
        if (!wanted || pieces.Count == 0) return null;
        return
        [
            .. pieces.Select(piece =>
            {
                var content = piece.ContentBytes;
                var isAttestation = piece.Descriptor.IsAttestation;
                return new ManifestSummary
                {
                    Id = piece.Descriptor.DigestText ?? "", Descriptor = Show(piece.Descriptor), Available = piece.IsHere, Kind = isAttestation ? "attestation" : "image",
                    Size = new ManifestSize { Content = content, Total = content + (piece.Image?.SizeBytes ?? 0) },
                    AttestationData = isAttestation ? new ManifestAttestationData { For = piece.AttestationFor.ToString() } : null,
                    ImageData = isAttestation ? null : new ManifestImageData
                    {
                        Platform = Show(piece.Image?.Platform ?? piece.Descriptor.Platform?.ToPlatform() ?? default), Size = new ManifestImageSize { Unpacked = piece.Image?.SizeBytes ?? 0 },
                        Containers = piece.Image is null ? [] : [.. _core.Containers.All.Where(c => c.Record.ImageId == piece.Image.Id.ToString()).Select(c => c.Id)],
                    },
                };
            }),
        ];
    }

    private static Api.Descriptor Show(Images.Descriptor descriptor) => new()
    {
        MediaType = descriptor.MediaType ?? "", Digest = descriptor.DigestText ?? "", Size = descriptor.SizeBytes,
        Annotations = descriptor.Annotations is { Count: > 0 } annotations ? new(annotations) : null,
        Platform = descriptor.Platform is { IsEmpty: false } platform ? Show(platform.ToPlatform()) : null,
    };

    private static Api.Platform Show(Images.Platform platform) => new()
    {
        Architecture = platform.Architecture ?? "", Os = platform.Os ?? "", Variant = string.IsNullOrEmpty(platform.Variant) ? null : platform.Variant,
        OsVersion = string.IsNullOrEmpty(platform.OsVersion) ? null : platform.OsVersion,
    };

    public ImageInspect Inspect(string nameOrId, string? platform, bool manifests)
    {
        var image = LayerErrors.Translate(() => _core.Images.Get(nameOrId, PlatformOf(platform)));
        var config = image.Config;
        var layers = image.LayerDirectories;
        var data = new Dictionary<string, string>();
        if (layers.Count > 0) data["UpperDir"] = layers[0];
        if (layers.Count > 1) data["LowerDir"] = string.Join(':', layers.Skip(1));
        return new ImageInspect
        {
            Container = config.Container, ContainerConfig = OldConfig(config.CommittedFrom),
            Id = image.Id.ToString(), RepoTags = [.. image.RepoTags], RepoDigests = [.. image.RepoDigests], Parent = image.Parent.ToString(), Comment = config.Comment ?? "",
            Created = config.Created, DockerVersion = config.DockerVersion ?? "", Author = config.Author ?? "", Architecture = image.Platform.Architecture, Variant = image.Platform.Variant,
            Os = image.Platform.Os, OsVersion = image.Platform.OsVersion, Size = image.SizeBytes,
            GraphDriver = new DriverData { Name = ContainerService.StorageDriver, Data = data },
            RootFS = new RootFS { Type = config.RootFs?.Type ?? "layers", Layers = [.. image.DiffIds.Select(d => d.ToString())] },
            Metadata = new ImageMetadata { LastTagTime = image.LastTagTime ?? default }, Config = Show(config.Config), Manifests = Manifests(image.Id, platform is null ? nameOrId : null, manifests, out var target), Descriptor = target,
        };
    }

    private static Api.ContainerConfig OldConfig(JsonElement? config)
    {
        try
        {
            return config is { ValueKind: JsonValueKind.Object } given ? given.Deserialize(ApiJson.Wire.ContainerConfig) ?? new() : new();
        }
        catch (JsonException)
        {
            return new();
        }
    }

    private static ApiConfig Show(Images.ContainerConfig? config) => config is null ? new ApiConfig() : new ApiConfig
    {
        ArgsEscaped = config.ArgsEscaped ?? false, Cmd = config.Cmd is null ? null : [.. config.Cmd], Entrypoint = config.Entrypoint is null ? null : [.. config.Entrypoint],
        Env = config.Env is null ? null : [.. config.Env], ExposedPorts = config.ExposedPorts is null ? null : new SortedSet<string>(config.ExposedPorts.Keys, StringComparer.Ordinal),
        Healthcheck = config.Healthcheck is not { } h ? null : new HealthConfig
        {
            Test = h.Test is null ? null : [.. h.Test], Interval = h.Interval ?? 0, Timeout = h.Timeout ?? 0, StartPeriod = h.StartPeriod ?? 0, StartInterval = h.StartInterval ?? 0, Retries = h.Retries ?? 0,
        },
        Labels = config.Labels is null ? null : new(config.Labels), OnBuild = config.OnBuild is null ? null : [.. config.OnBuild], Shell = config.Shell is null ? null : [.. config.Shell],
        StopSignal = config.StopSignal, User = config.User ?? "", Volumes = config.Volumes is null ? null : new SortedSet<string>(config.Volumes.Keys, StringComparer.Ordinal),
        WorkingDir = config.WorkingDir ?? "",
    };

    public List<HistoryResponseItem> History(string nameOrId, string? platform) =>
        [.. LayerErrors.Translate(() => _core.Images.History(nameOrId, PlatformOf(platform))).Select(h => new HistoryResponseItem
        {
            Id = h.Id, Created = h.Created?.ToUnixTimeSeconds() ?? 0, CreatedBy = h.CreatedBy, Comment = h.Comment, Size = h.SizeBytes, Tags = h.Tags.Count == 0 ? null : [.. h.Tags],
        })];

    public void Tag(string nameOrId, string repository, string? tag) => LayerErrors.Translate(() =>
    {
        var name = ImageReference.FromRepoAndTag(repository, tag) ?? throw EngineException.Invalid("repository name must have at least one component");
        _core.Images.Tag(nameOrId, name);
        return true;
    });

    public List<ImageDeleteResponseItem> Remove(string nameOrId, bool force, bool noPrune, string? platform = null) =>
        [.. LayerErrors.Translate(() => _core.Images.Remove(nameOrId, force, prune: !noPrune, Users, PlatformOf(platform)))
            .Select(r => new ImageDeleteResponseItem { Untagged = r.Untagged, Deleted = r.Deleted })];

    private int _pruning;

    /// <summary>Removes images without a name, or with the filter dangling=false every one that no container uses.</summary>
    /// <exception cref="EngineException">InvalidParameter; Conflict while another one runs.</exception>
    public ImagePruneResponse Prune(Filters filters, CancellationToken cancellationToken)
    {
        if (Interlocked.Exchange(ref _pruning, 1) != 0) throw EngineException.Conflict("a prune operation is already running");
        try
        {
            filters.Require("dangling", "label", "label!", "until");
            var danglingOnly = filters.Flag("dangling", true);
            if (filters["until"].Count > 1) throw EngineException.Invalid("more than one until filter specified");
            var until = filters["until"].Select(Until).Min();
            var sizes = _core.Images.LayerSizes().ByChain;
            var items = new List<ImageDeleteResponseItem>();
            foreach (var found in LayerErrors.Translate(() => _core.Images.List(new ImageFilters { All = !danglingOnly })))
            {
                if (cancellationToken.IsCancellationRequested) break;
                var image = found.Image;
                var labels = image.Config.Config?.Labels;
                if ((until is { } limit && (image.Created is not { } created || created > limit)) || !filters.MatchLabels("label", labels)) continue;
                if (filters["label!"].Count > 0 && filters.MatchLabels("label!", labels)) continue;
                // Intermediate ones go with what was built on them.
                if (found.RepoTags.Count == 0 && found.RepoDigests.Count == 0 && _core.Images.All.Any(i => i.Parent == image.Id)) continue;
                if (danglingOnly && found.RepoTags.Count > 0) continue;
                string[] names = [.. found.RepoTags, .. found.RepoDigests];
                foreach (var name in names.Length > 0 ? names : [image.Id.ToString()])
                {
                    try
                    {
                        items.AddRange(Remove(name, force: false, noPrune: false));
                    }
                    catch (EngineException e) when (e.Kind is ErrorKind.Conflict or ErrorKind.NotFound)
                    {
                        // In use, or gone by itself.
                    }
                }
            }
            var reclaimed = (ulong)items.Sum(i => i.Deleted is { } chain ? sizes.GetValueOrDefault(chain) : 0);
            // What pulls that did not end have left is nobody's image; filters ask for something else.
            if (until is null && !filters.Contains("label") && !filters.Contains("label!")) reclaimed += (ulong)_core.Images.RemoveUnfinished();
            _core.Events.Emit("image", "prune", "", new() { ["reclaimed"] = reclaimed.ToString(CultureInfo.InvariantCulture) });
            return new ImagePruneResponse { ImagesDeleted = items.Count == 0 ? null : [.. items], SpaceReclaimed = reclaimed };
        }
        finally
        {
            Volatile.Write(ref _pruning, 0);
        }
    }

    private List<ImageUser> Users()
    {
        var users = new List<ImageUser>();
        foreach (var container in _core.Containers.All)
        {
            var record = container.Record;
            if (Digest.TryParse(record.ImageId, out var id)) users.Add(new ImageUser(record.Id, id, record.State.Running));
            foreach (var mount in record.Mounts)
            {
                if (mount.Type == "image" && Digest.TryParse(mount.ImageId, out var mounted)) users.Add(new ImageUser(record.Id, mounted, record.State.Running));
            }
        }
        return users;
    }

    /// <summary>Progress is called one at a time, from pool threads.</summary>
    public Task LoadAsync(Stream archive, bool quiet, string? platform, Action<JsonMessage> progress, CancellationToken cancellationToken) =>
        LayerErrors.TranslateAsync(() => _core.Images.LoadAsync(archive, PlatformOf(platform), quiet, p => progress(Show(p)), cancellationToken));

    /// <summary>Images as docker save writes them; dispose of it when it was copied.</summary>
    public ImageArchive Save(IReadOnlyList<string> names, string? platform) => LayerErrors.Translate(() => _core.Images.OpenArchive(names, PlatformOf(platform)));

    /// <summary>POST /images/create?fromImage=: pulls.</summary>
    /// <param name="tag">Tag or digest; null or empty: as the name says, and all tags if it says none.</param>
    public Task PullAsync(string name, string? tag, string? platform, AuthConfig? credentials, Action<JsonMessage> progress, CancellationToken cancellationToken) =>
        LayerErrors.TranslateAsync(() =>
        {
            var reference = ImageReference.Parse(name);
            if (!string.IsNullOrEmpty(tag)) reference = Digest.TryParse(tag, out var digest) ? reference.NameOnly().WithDigest(digest) : reference.WithTag(tag);
            return _core.Images.PullAsync(reference, PlatformOf(platform), Login(credentials), p => progress(Show(p)), cancellationToken);
        });

    /// <summary>POST /images/{name}/push.</summary>
    /// <param name="tag">Null or empty: all tags, unless the name has one.</param>
    public Task PushAsync(string name, string? tag, string? platform, AuthConfig? credentials, Action<JsonMessage> progress, CancellationToken cancellationToken) =>
        LayerErrors.TranslateAsync(() =>
        {
            var reference = ImageReference.Parse(name);
            if (!string.IsNullOrEmpty(tag)) reference = reference.NameOnly().WithTag(tag);
            return _core.Images.PushAsync(reference, PlatformOf(platform), Login(credentials), p => progress(Show(p)), cancellationToken);
        });

    /// <summary>GET /distribution/{name}/json.</summary>
    public async Task<DistributionInspect> InspectDistributionAsync(string name, AuthConfig? credentials, CancellationToken cancellationToken)
    {
        RemoteManifest? found = null;
        await LayerErrors.TranslateAsync(async () =>
        {
            if (Digest.TryParse(name, out _) || Digest.TryParseSha256Hex(name, out _)) throw new EngineException(ErrorKind.System, "no manifest found for full image ID");
            found = await _core.Images.InspectRemoteAsync(ImageReference.Parse(name), Login(credentials), cancellationToken).ConfigureAwait(false);
        }).ConfigureAwait(false);
        var descriptor = found!.Descriptor;
        return new DistributionInspect
        {
            Descriptor = new() { MediaType = descriptor.MediaType ?? "", Digest = descriptor.DigestText ?? "", Size = descriptor.SizeBytes },
            Platforms = found.Platforms is null ? null : [.. found.Platforms.Select(p => new Api.Platform { Architecture = p.Architecture ?? "", Os = p.Os ?? "", OsVersion = p.OsVersion, Variant = p.Variant })],
        };
    }

    /// <summary>GET /images/search.</summary>
    /// <exception cref="EngineException">InvalidParameter: filters, limit, term, or no registry there.</exception>
    public async Task<List<Api.SearchResult>> SearchAsync(string term, int limit, Filters filters, AuthConfig? credentials, CancellationToken cancellationToken)
    {
        filters.Require("is-automated", "is-official", "stars");
        // What registries say of it means nothing any more.
        if (filters.Flag("is-automated", false)) return [];
        var official = filters.Flag("is-official", false);
        var stars = 0;
        foreach (var text in filters["stars"])
        {
            if (!int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var wanted))
                throw EngineException.Invalid($"invalid filter 'stars={text}': strconv.Atoi: parsing {GoText.Quote(text)}: invalid syntax");
            stars = Math.Max(stars, wanted);
        }
        IReadOnlyList<Images.SearchResult> found = [];
        await LayerErrors.TranslateAsync(async () => found = await _core.Images.SearchAsync(term, limit, Login(credentials), cancellationToken).ConfigureAwait(false)).ConfigureAwait(false);
        return [.. found.Where(r => (!filters.Contains("is-official") || r.IsOfficial == official) && r.StarCount >= stars)
            .Select(r => new Api.SearchResult { Name = r.Name ?? "", Description = r.Description ?? "", StarCount = r.StarCount, IsOfficial = r.IsOfficial })];
    }

    /// <summary>POST /auth: returns the token to keep instead of the password, or "".</summary>
    public async Task<string> LoginAsync(AuthConfig credentials, CancellationToken cancellationToken)
    {
        string? token = null;
        await LayerErrors.TranslateAsync(async () => token = await _core.Images.LoginAsync(credentials.ServerAddress ?? "", Login(credentials)!, cancellationToken).ConfigureAwait(false)).ConfigureAwait(false);
        // As Docker: one that was logged in by before stays.
        return token ?? credentials.IdentityToken ?? "";
    }

    private static RegistryCredentials? Login(AuthConfig? credentials) =>
        credentials is null ? null : new RegistryCredentials(credentials.Username, credentials.Password, credentials.IdentityToken, credentials.RegistryToken);

    /// <summary>POST /images/create?fromSrc=-: imports a root file system; reports the new id as progress.</summary>
    public Task ImportAsync(Stream tar, string? repository, string? tag, string? message, IReadOnlyList<string> changes, string? platform, Action<JsonMessage> progress,
        CancellationToken cancellationToken) => LayerErrors.TranslateAsync(async () =>
    {
        var options = new ImportOptions { Name = ImageReference.FromRepoAndTag(repository, tag), Message = message ?? "", Platform = PlatformOf(platform), Config = ConfigChanges.Apply(new Images.ContainerConfig(), changes) };
        var id = await _core.Images.ImportAsync(tar, options, cancellationToken).ConfigureAwait(false);
        progress(new JsonMessage { Status = id.ToString() });
    });

    private static Images.Platform? PlatformOf(string? text)
    {
        if (string.IsNullOrEmpty(text)) return null;
        // The API sends an OCI platform as JSON where the command line takes os/arch/variant.
        if (text[0] != '{') return LayerErrors.Translate<Images.Platform?>(() => Images.Platform.Parse(text));
        try
        {
            using var document = JsonDocument.Parse(text);
            string Get(string name) => document.RootElement.TryGetProperty(name, out var value) ? value.GetString() ?? "" : "";
            return new Images.Platform(Get("os"), Get("architecture"), Get("variant"), Get("os.version")).Normalized();
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw EngineException.Invalid($"failed to parse platform: {e.Message}");
        }
    }

    private static JsonMessage Show(ImageProgress p) => new()
    {
        Id = p.Id, Status = p.Status, Stream = p.Stream,
        Aux = p.Pushed is not { } pushed ? null
            : JsonSerializer.SerializeToElement(new PushResult { Tag = pushed.Tag, Digest = pushed.Digest.ToString(), Size = pushed.SizeBytes }, ApiJson.Wire.PushResult),
        ProgressDetail = !p.HasDetail ? null : new JsonProgress { Current = p.Current ?? 0, Total = p.Total ?? 0 },
        Progress = p is { HasDetail: true, Current: { } current } ? ProgressBar(current, p.Total ?? 0) : null,
    };

    // For clients that draw no bar of their own: [=====>      ]  12.3MB/45.6MB
    private static string ProgressBar(long current, long total)
    {
        const int Width = 50;
        if (total <= 0) return HumanSize(current);
        var filled = (int)Math.Clamp(current * Width / total, 0, Width);
        var bar = new string('=', filled) + ">" + new string(' ', Width - filled);
        return $"[{bar[..Width]}]  {HumanSize(current)}/{HumanSize(total)}";
    }

    internal static string HumanSize(long bytes)
    {
        string[] units = ["B", "kB", "MB", "GB", "TB", "PB"];
        double value = bytes;
        var unit = 0;
        for (; value >= 1000 && unit < units.Length - 1; unit++) value /= 1000;
        // Four significant digits, as Go's %.4g.
        var digits = value >= 1000 ? 0 : value >= 100 ? 1 : value >= 10 ? 2 : 3;
        return value.ToString("0." + new string('#', digits), CultureInfo.InvariantCulture) + units[unit];
    }
}
