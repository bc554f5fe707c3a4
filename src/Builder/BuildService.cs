using System.Globalization;
using Berth.Dockerfile;
using Berth.Engine;
using Berth.Images;
using Berth.Images.Registry;

namespace Berth.Builder;

/// <summary>What a build made.</summary>
/// <param name="Image">Empty when no image was asked for.</param>
public sealed record BuildResult(Digest Image, IReadOnlyList<Finding> Findings)
{
    /// <summary>What is known of the outputs, by BuildKit's names: containerimage.digest, image.name and so on.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; init; } = new Dictionary<string, string>();
}

/// <summary>
/// What a build made for one platform, before anything becomes of it. Exporters begin here: the files of the result are those of <see cref="Layers"/> in <see cref="Session"/>.
/// </summary>
public sealed class BuildOutcome(BuildPlan plan, ImageConfig config, IReadOnlyList<Digest> layers, ImageStore.LayerSession session)
{
    public BuildPlan Plan => plan;

    /// <summary>Of the image this would be.</summary>
    public ImageConfig Config => config;

    /// <summary>Lowest first.</summary>
    public IReadOnlyList<Digest> Layers => layers;
    public ImageStore.LayerSession Session => session;

    /// <summary>The keys that the steps' results are kept under.</summary>
    public IReadOnlyDictionary<BuildStep, string> StepKeys { get; init; } = new Dictionary<BuildStep, string>();

    /// <summary>When it was begun and when it was done.</summary>
    public (DateTimeOffset Started, DateTimeOffset Finished) Times { get; init; }

    /// <summary>The result's files, to read.</summary>
    public SourceTree OpenFiles() => SourceTree.Open(session, new StepResult(layers));

    /// <summary>The same files as another image.</summary>
    internal BuildOutcome With(ImageConfig other) => new(plan, other, layers, session) { StepKeys = StepKeys, Times = Times };

    /// <summary>Makes it an image of the store.</summary>
    public Task<Digest> CreateImageAsync(IReadOnlyList<ImageReference> names) => session.CreateImageAsync(config, names);
}

/// <summary>What a build made for each of its platforms: the layers are held until this is disposed of.</summary>
public sealed class BuildOutcomes(IReadOnlyList<BuildOutcome> each, ImageStore.LayerSession session) : IDisposable
{
    public IReadOnlyList<BuildOutcome> Each => each;

    public void Dispose() => session.Dispose();
}

/// <summary>One builder, whichever door a build comes through: plans, carries out, and makes the image.</summary>
public sealed class BuildService
{
    private readonly BerthEngine _engine;
    private readonly ImageStore _images;
    private readonly TimeProvider _time;
    private readonly CacheMounts _mounts;

    private readonly RemoteFiles _remotes;
    private readonly string _directory;
    private readonly IReadOnlyList<PruneRule> _rules;
    private readonly Lock _collecting = new();
    private Task _collection = Task.CompletedTask;

    /// <param name="rules">What is removed after builds; null: as by default.</param>
    public BuildService(BerthEngine engine, TimeProvider time, IReadOnlyList<PruneRule>? rules = null)
    {
        (_engine, _images, _time) = (engine, engine.ImageStore, time);
        var directory = Path.Combine(engine.Options.DataRoot, "build");
        Cache = new BuildCache(directory, _images, time);
        _mounts = new CacheMounts(Path.Combine(directory, "mounts"), Path.Combine(engine.Options.ExecRoot, "build"), time);
        _remotes = new RemoteFiles(ProxySettings.OrEnvironment(engine.Options.HttpProxy, engine.Options.HttpsProxy, engine.Options.NoProxy));
        _directory = directory;
        _rules = rules ?? PruneRule.Defaults(directory, 0, 0, 0);
    }

    /// <summary>Files from elsewhere, for the doors that are given only an address.</summary>
    public RemoteFiles Remotes => _remotes;

    public BuildCache Cache { get; }

    /// <summary>For the files of a build that are not layers.</summary>
    public ImageStore.LayerSession OpenSession() => _images.OpenSession();

    /// <summary>Builds, and makes of it what was asked for: by default an image with the names asked for.</summary>
    /// <param name="begin">Called with the plan before any of it is carried out.</param>
    /// <exception cref="DockerfileException">The Dockerfile is wrong.</exception>
    /// <exception cref="BuildException">A step failed.</exception>
    public async Task<BuildResult> BuildAsync(BuildRequest request, IBuildProgress progress, Action<BuildPlan> begin, CancellationToken cancellation)
    {
        Check(request.Outputs, request.CacheTo);
        var plan = await PlanAsync(request, progress, cancellation).ConfigureAwait(false);
        begin(plan);
        using var outcomes = await SolveAsync(request, plan, progress, cancellation).ConfigureAwait(false);
        return await ExportAsync(request, outcomes.Each, progress, cancellation).ConfigureAwait(false);
    }

    /// <summary>Whether what is to come out of a build is known here at all: for before it.</summary>
    /// <exception cref="BuildException">It is not.</exception>
    public static void Check(IEnumerable<BuildOutput> outputs, IEnumerable<CacheLocation> caches)
    {
        foreach (var output in outputs) Exporter.Check(output.Type);
        foreach (var cache in caches) CacheExports.Check(cache.Type);
    }

    /// <summary>Makes of results what was asked for: <see cref="BuildRequest.Outputs"/>, <see cref="BuildRequest.CacheTo"/>.</summary>
    /// <param name="results">One for each platform.</param>
    /// <exception cref="BuildException">An output can't be, or went wrong.</exception>
    public async Task<BuildResult> ExportAsync(BuildRequest request, IReadOnlyList<BuildOutcome> results, IBuildProgress progress, CancellationToken cancellation)
    {
        var images = CacheExports.IsInline(request) ? results.Select(r => r.With(r.Config with { InlineCache = CacheExports.Inline(r, Cache) })).ToList() : results;
        var exporter = new Exporter(request, images, [.. images.Select(i => Attestations(request, i))], progress, _time);
        foreach (var output in request.Outputs.Count > 0 ? request.Outputs : [BuildOutput.Image(request.Names)]) await exporter.ExportAsync(output, cancellation).ConfigureAwait(false);
        var caches = new CacheExports(request, images, Cache, _mounts, progress);
        foreach (var location in request.CacheTo) await caches.ExportAsync(location, cancellation).ConfigureAwait(false);
        var metadata = new Dictionary<string, string>(exporter.Metadata, StringComparer.Ordinal);
        foreach (var (name, value) in caches.Metadata) metadata[name] = value;
        return new BuildResult(exporter.Image, results[0].Plan.Checks.Findings) { Metadata = metadata };
    }

    /// <summary>How a result was made, all of it: for a history.</summary>
    public (string PredicateType, byte[] Predicate) ProvenanceOf(BuildRequest request, BuildOutcome result)
    {
        var said = Provenance.Of(request, result, "mode=max", result.Times.Started, result.Times.Finished);
        return (said.PredicateType, said.Predicate);
    }

    // What is to be said about a result. Only where there is an output that can carry it.
    private List<Attestation> Attestations(BuildRequest request, BuildOutcome result)
    {
        var said = new List<Attestation>();
        foreach (var (type, attributes) in request.Attestations)
        {
            said.Add(type switch
            {
                "provenance" => Provenance.Of(request, result, attributes, result.Times.Started, result.Times.Finished),
                "sbom" => Sbom.Of(result, attributes, _time.GetUtcNow()),
                _ => throw new BuildException($"unknown attestation type {Berth.Api.Go.GoText.Quote(type)}"),
            });
        }
        return said;
    }

    /// <summary>Carries a build out and leaves to the caller what becomes of it: an image, files, nothing.</summary>
    /// <exception cref="BuildException">A step failed.</exception>
    public async Task<BuildOutcomes> SolveAsync(BuildRequest request, BuildPlan plan, IBuildProgress progress, CancellationToken cancellation)
    {
        var session = _images.OpenSession();
        try
        {
            var started = _time.GetUtcNow();
            using var imports = request.CacheFrom.Count == 0 ? null : await CacheImports.LoadAsync(request, session, progress, cancellation).ConfigureAwait(false);
            var solver = new Solver(session, _engine.Containers.Steps, Cache, _mounts, _remotes, request, progress, cancellation) { Imports = imports };
            var plans = plan.Each;
            var roots = await solver.SolveAsync([.. plans.Select(p => p.Root)]).ConfigureAwait(false);
            var (keys, times) = (KeysOf(solver.Made), (started, _time.GetUtcNow()));
            var each = new List<BuildOutcome>();
            for (var i = 0; i < plans.Count; i++) each.Add(new BuildOutcome(plans[i], Configuration(request, plans[i], roots[i], solver.Made), roots[i].Layers, session) { StepKeys = keys, Times = times });
            return new BuildOutcomes(each, session);
        }
        catch
        {
            session.Dispose();
            throw;
        }
        finally
        {
            // What was made before a failure need not be made again.
            Cache.Save();
            _mounts.Save();
            Collect();
        }
    }

    /// <summary>What a build would do, and what there is to say about its Dockerfile; images it stands on are asked for their configurations.</summary>
    /// <exception cref="DockerfileException">The Dockerfile is wrong.</exception>
    public async Task<BuildPlan> PlanAsync(BuildRequest request, IBuildProgress progress, CancellationToken cancellation)
    {
        var document = Document.Parse(request.Dockerfile.Span);
        if (document.Directives.Syntax is { } syntax && !IsBuiltIn(syntax))
            throw new DockerfileException($"the frontend {syntax} is not supported: the Dockerfile language is built in, and no other is run", document.Directives.LinesOf("syntax"));
        // One after the other, so that it is the same one every time whose step the others' share.
        var (plans, shared) = (new List<BuildPlan>(), request.Platforms.Count > 1 ? new StepTable() : null);
        foreach (var platform in request.Platforms.Count > 0 ? request.Platforms : [request.Platform])
            plans.Add(await PlanAsync(document, request with { Platform = platform }, progress, _ => { }, shared, cancellation).ConfigureAwait(false));
        return BuildPlan.Join(plans);
    }

    // Images are asked for side by side; when the plan fails, nobody waits for the others any more.
    private async Task<BuildPlan> PlanAsync(Document document, BuildRequest request, IBuildProgress progress, Action<Planner> begin, StepTable? shared, CancellationToken cancellation)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var images = new List<Task>();
        var planner = new Planner(document, request, (name, platform, lines) =>
        {
            var image = ResolveAsync(request, progress, name, platform, lines, stop.Token);
            images.Add(image);
            return image;
        }, shared);
        begin(planner);
        try
        {
            return await planner.PlanAsync().ConfigureAwait(false);
        }
        finally
        {
            await stop.CancelAsync().ConfigureAwait(false);
            await Task.WhenAll(images).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>What there is to say about a Dockerfile, and what makes it impossible to build, if anything does; images that can't be had are no fault of it.</summary>
    public async Task<(IReadOnlyList<Finding> Findings, DockerfileException? Failure)> CheckAsync(BuildRequest request, IBuildProgress progress, CancellationToken cancellation)
    {
        Planner? planner = null;
        DockerfileException? failure = null;
        try
        {
            await PlanAsync(Document.Parse(request.Dockerfile.Span), request, progress, begun => planner = begun, null, cancellation).ConfigureAwait(false);
        }
        catch (DockerfileException e) when (e.Lines is not null || planner is null)
        {
            failure = e;
        }
        catch (Exception e) when (e is DockerfileException or BuildException or EngineException)
        {
            // What the checks are set to fail on, and what no image was found for.
        }
        return (planner?.Findings ?? [], failure);
    }

    /// <summary>What is kept, the last used first.</summary>
    public IReadOnlyList<KeptEntry> Entries()
    {
        var ofImages = _images.LayersOfImages();
        var entries = new List<KeptEntry>();
        foreach (var record in Cache.All)
        {
            entries.Add(new KeptEntry
            {
                Id = record.Key[..IdLength], Name = record.Key, Type = KeptEntry.Regular, Description = record.Description, SizeBytes = record.SizeBytes, Created = record.Created, LastUsed = record.LastUsed,
                UsageCount = record.UsageCount, InUse = Cache.IsHeld(record.Key), Shared = Digest.TryParse(record.Layer, out var layer) && ofImages.Contains(layer),
            });
        }
        entries.AddRange(_mounts.Entries());
        entries.Sort((a, b) => b.LastUsed.CompareTo(a.LastUsed));
        return entries;
    }

    /// <summary>Forgets what builds made, and the caches of their commands, as a rule says: the least used first.</summary>
    /// <returns>What is gone.</returns>
    public IReadOnlyList<KeptEntry> Prune(PruneRule rule)
    {
        var entries = Entries();
        long total = 0;
        foreach (var entry in entries) total += entry.Shared ? 0 : entry.SizeBytes;
        var keep = rule.KeepBytes(total, new DriveInfo(_directory).AvailableFreeSpace);
        var now = _time.GetUtcNow();
        var candidates = entries.Where(e => !e.InUse && (rule.All || !e.Shared) && now - e.LastUsed >= rule.KeepDuration && rule.Matches?.Invoke(e) != false)
            .OrderBy(e => e.LastUsed).ThenBy(e => e.UsageCount).ToList();
        var doomed = new List<KeptEntry>();
        foreach (var entry in candidates)
        {
            if (keep is { } limit && total <= limit) break;
            doomed.Add(entry);
            if (!entry.Shared) total -= entry.SizeBytes;
        }
        var keys = doomed.Where(e => e.Type == KeptEntry.Regular).Select(e => e.Name).ToHashSet(StringComparer.Ordinal);
        if (keys.Count > 0) Cache.Remove(record => keys.Contains(record.Key) && !Cache.IsHeld(record.Key));
        doomed.RemoveAll(e => e.Type == KeptEntry.CacheMount && !_mounts.Remove(e.Name));
        return doomed;
    }

    // After builds, beside everything else, one at a time.
    private void Collect()
    {
        if (_rules.Count == 0) return;
        lock (_collecting)
        {
            if (!_collection.IsCompleted) return;
            _collection = Task.Run(() =>
            {
                try
                {
                    foreach (var rule in _rules) Prune(rule);
                }
                catch (Exception e) when (e is IOException or ImageException or Linux.LinuxException or UnauthorizedAccessException)
                {
                    // A cache that stays too large is tried again after the next build.
                }
            });
        }
    }

    // As long as BuildKit's.
    private const int IdLength = 25;

    /// <summary>The frontend that a Dockerfile, or who builds one, names is the one we are.</summary>
    public static bool IsBuiltIn(string syntax) => ImageReference.TryParse(syntax, out var name) && name.FamiliarName is "docker/dockerfile" or "docker/dockerfile-upstream" or "dockerfile";

    /// <summary>An image that somebody wants to know about: the one that is here, or the registry's.</summary>
    /// <exception cref="BuildException">It can't be had.</exception>
    public Task<Image> ResolveAsync(string name, Platform platform, bool pull, IBuildSources sources, IBuildProgress progress, CancellationToken cancellation) =>
        ResolveAsync(new BuildRequest { Dockerfile = default, Sources = sources, Pull = pull }, progress, name, platform, default, cancellation);

    private async Task<Image> ResolveAsync(BuildRequest request, IBuildProgress progress, string name, Platform platform, LineSpan lines, CancellationToken cancellation)
    {
        try
        {
            var reference = ImageReference.Parse(name).WithDefaultTag();
            var step = new ScratchStep { Title = "[internal] load metadata for " + reference, Text = "FROM " + name, Lines = lines };
            progress.Started(step);
            if (!request.Pull && (Find(reference.ToString(), platform) ?? (IsId(name) ? Find(name, platform) : null)) is { } here)
            {
                progress.Ended(step, null);
                return here;
            }
            try
            {
                await request.Sources.PullAsync(reference, platform, p => progress.Pulling(step, p), cancellation).ConfigureAwait(false);
            }
            catch (Exception e)
            {
                progress.Ended(step, e);
                throw;
            }
            progress.Ended(step, null);
            var pulled = Find(reference.ToString(), platform) ?? _images.Get(reference.ToString());
            // Who runs the image afterwards means this machine's, as before.
            if (!Platform.Best.Accepts(platform)) _images.Prefer(reference, Platform.Best);
            return pulled;
        }
        catch (ImageException e)
        {
            throw new BuildException(e.Message, lines, e);
        }
        catch (EngineException e)
        {
            throw new BuildException(e.Message, lines, e) { BaseImage = name };
        }
    }

    // A name comes first: a short one may well be how some id begins.
    private static bool IsId(string name) => name.Length >= 12 && name.All(char.IsAsciiHexDigitLower);

    private Image? Find(string name, Platform platform)
    {
        try
        {
            return _images.Get(name, platform);
        }
        catch (ImageException e) when (e.Kind == ImageErrorKind.NotFound)
        {
            return null;
        }
    }

    private static Dictionary<BuildStep, string> KeysOf(Dictionary<BuildStep, CacheRecord> made)
    {
        var keys = new Dictionary<BuildStep, string>(ReferenceEqualityComparer.Instance);
        foreach (var (step, record) in made) keys[step] = record.Key;
        return keys;
    }

    // As old as its steps' results, so that the same steps give the same image, whenever and however often it is built. What made no layer counts as made with the
    // layer before it; before the first new layer, with that one.
    private static ImageConfig Configuration(BuildRequest request, BuildPlan plan, StepResult root, Dictionary<BuildStep, CacheRecord> made)
    {
        var from = plan.Base?.Config;
        List<HistoryRecord> history = [.. from?.History ?? []];
        var created = request.Epoch is { } epoch ? Time(DateTimeOffset.FromUnixTimeSeconds(epoch)) : null;
        var times = new string?[plan.History.Count];
        string? first = null;
        for (var i = 0; i < times.Length; i++)
        {
            times[i] = plan.History[i].Step is { } step && made.TryGetValue(step, out var record) && record.Layer.Length > 0 ? created ?? Time(record.Created) : null;
            first ??= times[i];
        }
        var last = created ?? first ?? from?.History?.LastOrDefault(h => h.Created is not null)?.Created ?? from?.Created;
        for (var i = 0; i < times.Length; i++)
        {
            var layer = times[i] is not null;
            last = times[i] ?? last;
            history.Add(new HistoryRecord { Created = last, CreatedBy = plan.History[i].CreatedBy, Comment = "buildkit.dockerfile.v0", EmptyLayer = layer ? null : true });
        }
        return new ImageConfig
        {
            Architecture = plan.Platform.Architecture, Variant = plan.Platform.Variant.Length > 0 ? plan.Platform.Variant : null, Os = plan.Platform.Os, OsVersion = from?.OsVersion,
            Created = last, Author = plan.Author.Length > 0 ? plan.Author : null, Config = plan.Config, RootFs = new RootFs { Type = "layers", DiffIds = [.. root.Layers.Select(l => l.ToString())] }, History = history,
        };
    }

    private static string Time(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.FFFFFFF'Z'", CultureInfo.InvariantCulture);
}
