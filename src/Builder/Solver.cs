using System.Runtime.ExceptionServices;
using Berth.Engine;
using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Builder;

/// <summary>The files after a step: layers, lowest first. A context has a directory instead.</summary>
internal sealed record StepResult(IReadOnlyList<Digest> Layers, BuildContext? Context = null)
{
    public static readonly StepResult Nothing = new([]);
}

/// <summary>
/// Carries out a plan: every step once, as soon as what it stands on is there, steps that do not need each other side by side. A step whose result is known is not
/// carried out; it is known when the same was done to the same files.
/// </summary>
internal sealed class Solver(ImageStore.LayerSession session, StepService steps, BuildCache cache, CacheMounts mounts, RemoteFiles remotes, BuildRequest request, IBuildProgress progress, CancellationToken cancellation)
{
    /// <summary>Commands at a time: they are somebody's compilers.</summary>
    private static readonly int MaxCommands = Math.Max(2, Environment.ProcessorCount);

    /// <summary>Files of one COPY.</summary>
    private const int MaxEntries = 5_000_000;

    private readonly Dictionary<BuildStep, Task<StepResult>> _results = new(ReferenceEqualityComparer.Instance);
    private readonly SemaphoreSlim _commands = new(MaxCommands);
    private readonly List<string> _used = [];
    private Exception? _failure;
    private readonly CancellationTokenSource _stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);

    /// <summary>What the steps made, now or at another time.</summary>
    public Dictionary<BuildStep, CacheRecord> Made { get; } = new(ReferenceEqualityComparer.Instance);

    /// <summary>Results of elsewhere; null for none.</summary>
    public CacheImports? Imports { get; init; }

    /// <exception cref="BuildException">A step failed; the others were ended.</exception>
    public async Task<IReadOnlyList<StepResult>> SolveAsync(IReadOnlyList<BuildStep> steps)
    {
        var results = steps.Select(Begin).ToList();
        try
        {
            return await Task.WhenAll(results).ConfigureAwait(false);
        }
        catch when (Volatile.Read(ref _failure) is { } first)
        {
            // Not what it led to: steps that were ended because of it.
            ExceptionDispatchInfo.Throw(first);
            throw;
        }
        finally
        {
            // Whatever the first failure left running is out of the session's directories before they go.
            await _stop.CancelAsync().ConfigureAwait(false);
            List<Task> all;
            lock (_results) all = [.. _results.Values];
            await Task.WhenAll(all).ContinueWith(_ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default).ConfigureAwait(false);
            foreach (var key in _used) cache.Release(key);
            _stop.Dispose();
        }
    }

    private Task<StepResult> Begin(BuildStep step)
    {
        lock (_results)
        {
            if (_results.TryGetValue(step, out var running)) return running;
            var inputs = step.Inputs.Select(Begin).ToList();
            return _results[step] = Task.Run(() => CarryOutAsync(step, inputs));
        }
    }

    private async Task<StepResult> CarryOutAsync(BuildStep step, List<Task<StepResult>> inputs)
    {
        // The first that fails is the one that is told; the others are waited for by the solver.
        foreach (var input in inputs) await input.ConfigureAwait(false);
        var results = inputs.Select(i => i.Result).ToList();
        var shown = false;
        try
        {
            switch (step)
            {
                case ScratchStep: return StepResult.Nothing;
                case ImageStep image:
                    progress.Started(step);
                    shown = true;
                    if (!session.TryHold(image.Image.DiffIds)) throw new BuildException($"the layers of image {image.Image.Id} are gone", step.Lines);
                    progress.Ended(step, null);
                    return new StepResult(image.Image.DiffIds);
                case ContextStep:
                    progress.Started(step);
                    shown = true;
                    var context = await request.Sources.OpenContextAsync((ContextStep)step, _stop.Token).ConfigureAwait(false);
                    progress.Ended(step, null);
                    return new StepResult([], context);
                case DownloadStep or GitStep:
                    progress.Started(step);
                    shown = true;
                    var fetched = await FetchAsync(step).ConfigureAwait(false);
                    progress.Ended(step, null);
                    return fetched;
            }
            progress.Started(step);
            shown = true;
            var root = results[0].Layers;
            var (content, files) = await DescribeAsync(step, results).ConfigureAwait(false);
            var below = Fields.Join([.. root.Select(l => l.ToString())]);
            var key = Fields.Hash(request.Epoch is { } epoch ? Fields.Join(step.Definition, below, content, epoch.ToString(System.Globalization.CultureInfo.InvariantCulture)) : Fields.Join(step.Definition, below, content));
            Use(key);
            below = Fields.Hash(below);
            if (!step.NoCache && await FindAsync(key).ConfigureAwait(false) is { } known)
            {
                progress.Cached(step);
                progress.Ended(step, null);
                return Add(step, root, known);
            }
            var definition = Fields.Hash(step.Definition);
            if (!step.NoCache && Why(definition, below, files) is { } why) progress.Missed(step, why);
            var made = await ExecuteAsync(step, results).ConfigureAwait(false);
            var record = cache.Add(new CacheRecord
            {
                Key = key, Definition = definition, Description = step.Title, Layer = made.IsEmpty ? "" : made.ToString(), Below = below,
                SizeBytes = made.IsEmpty ? 0 : session.SizeOf(made), Files = files?.Count <= BuildCache.MaxFilesTold ? files.DistinctBy(f => f.Path).ToDictionary(f => f.Path, f => f.Digest.ToString()) : null,
            });
            progress.Ended(step, null);
            return Add(step, root, record);
        }
        catch (Exception e)
        {
            var failure = e is ImageException or LinuxException or EngineException or Dockerfile.DockerfileException or BuildException { Lines: null, ExitCode: 0 } ? new BuildException(e.Message, step.Lines, e) : e;
            Interlocked.CompareExchange(ref _failure, failure, null);
            if (shown) progress.Ended(step, failure);
            await _stop.CancelAsync().ConfigureAwait(false);
            if (failure == e) throw;
            throw failure;
        }
    }

    // Here, or where the client said that others' results are; its layer is held then.
    private async Task<CacheRecord?> FindAsync(string key)
    {
        if (cache.Find(key) is { } known && (known.Layer.Length == 0 || (Digest.TryParse(known.Layer, out var layer) && session.TryHold([layer])))) return known;
        if (Imports is null || await Imports.FindAsync(key, _stop.Token).ConfigureAwait(false) is not { } found) return null;
        return cache.Add(found);
    }

    private async Task<StepResult> FetchAsync(BuildStep step)
    {
        var directory = session.NewDirectory();
        if (step is DownloadStep download) await remotes.DownloadAsync(download.Url, directory, download.FileName, download.Checksum, request.Sources, _stop.Token).ConfigureAwait(false);
        if (step is GitStep git)
            directory = await remotes.CloneAsync(git.Source, directory, git.KeepGitDirectory, request.Sources, text => progress.Output(step, System.Text.Encoding.UTF8.GetBytes(text), stderr: true), _stop.Token).ConfigureAwait(false);
        return new StepResult([], new BuildContext(directory, session.Keep(FileAt.Open(null, directory, OpenFlags.ReadOnly | OpenFlags.Directory)), null));
    }

    // Until the steps are through, no clean-up takes what this build stands on.
    private void Use(string key)
    {
        lock (_used) _used.Add(key);
        cache.Hold(key);
    }

    private StepResult Add(BuildStep step, IReadOnlyList<Digest> root, CacheRecord record)
    {
        lock (Made) Made[step] = record;
        return new StepResult(record.Layer.Length == 0 ? root : [.. root, Digest.Parse(record.Layer)]);
    }

    // What the key has to say of the files a step takes.
    private async Task<(string Content, List<TreeEntry>? Files)> DescribeAsync(BuildStep step, List<StepResult> results)
    {
        switch (step)
        {
            case CopyStep copy when copy.Sources.Count + copy.Remotes.Count > 0:
                var files = new List<TreeEntry>();
                foreach (var (part, input) in copy.Parts.Zip(results.Skip(1)))
                {
                    if (part.Sources.Count == 0) continue;
                    using var source = SourceTree.Open(session, input);
                    files.AddRange(await Task.Run(() => new FileCopier(part, source.Root, _stop.Token, input.Context?.Known).Describe(MaxEntries - files.Count)).ConfigureAwait(false));
                }
                return (Fields.Hash(Fields.Join([.. files.Select(f => f.Path + " " + f.Digest)])), files);
            case RunStep run:
                var parts = new List<string>();
                var at = 1;
                foreach (var mount in run.Mounts)
                {
                    if (mount.From is null) continue;
                    var from = results[at++];
                    if (from.Context is { } context && mount.Mount.Type == Dockerfile.RunMountType.Bind)
                    {
                        var entries = TreeCopy.Describe(context.Root, "/" + mount.Mount.Source, null, false, MaxEntries, _stop.Token, context.Known);
                        parts.Add(Fields.Hash(Fields.Join([.. entries.Select(f => f.Path + " " + f.Digest)])));
                    }
                    else parts.Add(Fields.Join([.. from.Layers.Select(l => l.ToString())]));
                }
                return (Fields.Join([.. parts]), null);
            default:
                return ("", null);
        }
    }

    private string? Why(string definition, string below, List<TreeEntry>? files)
    {
        if (cache.Last(definition) is not { } last) return null;
        if (last.Below != below) return "what it stands on has changed";
        if (files is null || last.Files is not { } before) return null;
        var changed = files.Where(f => before.TryGetValue(f.Path, out var digest) && digest != f.Digest.ToString()).Select(f => f.Path).ToList();
        var added = files.Where(f => !before.ContainsKey(f.Path)).Select(f => f.Path).ToList();
        var removed = before.Keys.Except(files.Select(f => f.Path)).ToList();
        return string.Join("; ", new[] { Tell(changed, "changed"), Tell(added, "added"), Tell(removed, "removed") }.Where(t => t.Length > 0));

        static string Tell(List<string> paths, string what) =>
            paths.Count == 0 ? "" : $"{paths.Count} {(paths.Count == 1 ? "file" : "files")} {what}: {string.Join(", ", paths.Take(5))}{(paths.Count > 5 ? ", …" : "")}";
    }

    private async Task<Digest> ExecuteAsync(BuildStep step, List<StepResult> results)
    {
        var layer = session.NewLayer(results[0].Layers);
        try
        {
            switch (step)
            {
                case DirectoryStep directory:
                    await Task.Run(() => WithTree(layer, results[0].Layers, (tree, _) => TreeCopy.MakeDirectories(tree, directory.Path, new TreeCopyRules { Owner = FileCopier.OwnerOf(layer, directory.User) }).Dispose())).ConfigureAwait(false);
                    break;
                case CopyStep copy:
                    await Task.Run(() => WithTree(layer, results[0].Layers, (tree, upper) =>
                    {
                        foreach (var (part, input) in copy.Parts.Zip(results.Skip(1)))
                        {
                            using var source = SourceTree.Open(session, input);
                            new FileCopier(part, source.Root, _stop.Token).CopyTo(tree, layer, upper);
                        }
                    })).ConfigureAwait(false);
                    break;
                case RunStep run:
                    await _commands.WaitAsync(_stop.Token).ConfigureAwait(false);
                    try
                    {
                        await new CommandRunner(session, steps, mounts, Imports, request, progress).RunAsync(run, layer, results, _stop.Token).ConfigureAwait(false);
                    }
                    finally
                    {
                        _commands.Release();
                    }
                    break;
            }
        }
        catch (BuildException e) when (step is RunStep run && e.ExitCode != 0 && request.KeepFailed)
        {
            throw await KeepAsync(e, run, layer, results[0].Layers).ConfigureAwait(false);
        }
        catch
        {
            session.Discard(layer);
            throw;
        }
        return await session.SealAsync(layer, request.Epoch, _stop.Token).ConfigureAwait(false);
    }

    // An image whose containers see what the command saw, but for its mounts.
    private async Task<BuildException> KeepAsync(BuildException failure, RunStep run, WritableLayer layer, IReadOnlyList<Digest> below)
    {
        var sealed_ = await session.SealAsync(layer, request.Epoch, _stop.Token).ConfigureAwait(false);
        var image = await session.CreateImageAsync(
            new ImageConfig
            {
                Architecture = run.Platform.Architecture, Variant = run.Platform.Variant.Length > 0 ? run.Platform.Variant : null, Os = run.Platform.Os,
                Config = new ContainerConfig { Env = [.. run.Environment], WorkingDir = run.WorkingDirectory, User = run.User, Cmd = [run.Arguments[0]] },
                RootFs = new RootFs { Type = "layers", DiffIds = [.. below.Select(l => l.ToString()), sealed_.ToString()] },
            }, []).ConfigureAwait(false);
        return new BuildException(failure.Message, failure.Lines, failure) { ExitCode = failure.ExitCode, FailedImage = image.ToString() };
    }

    // The stage's files with the new layer on top, mounted where nobody else sees it.
    private void WithTree(WritableLayer layer, IReadOnlyList<Digest> below, Action<SafeFileHandle, SafeFileHandle?> work)
    {
        using var upper = FileAt.Open(null, layer.UpperDirectory, OpenFlags.ReadOnly | OpenFlags.Directory);
        var lower = session.Directories(below, mountPoints: false);
        if (lower.Count == 0)
        {
            work(upper, null);
            return;
        }
        using var tree = new PrivateMountTree(DetachedMount.Overlay(lower, layer.UpperDirectory, layer.WorkDirectory, MountAttributes.NoDev, isVolatile: true));
        work(tree.Root, upper);
    }
}

/// <summary>Files to read, as long as it is not disposed of.</summary>
public sealed record SourceTree(SafeFileHandle Root, IDisposable? Mount) : IDisposable
{
    /// <summary>A step's files as they are, which nobody can write to.</summary>
    internal static SourceTree Open(ImageStore.LayerSession session, StepResult result)
    {
        if (result.Context is { } context) return new SourceTree(context.Root, null);
        var lower = session.Directories(result.Layers, mountPoints: false);
        if (lower.Count == 0) lower = [session.NewDirectory()];
        var tree = new PrivateMountTree(lower.Count > 1 ? DetachedMount.Overlay(lower, null, null, MountAttributes.ReadOnly | MountAttributes.NoDev) : DetachedMount.Bind(null, lower[0], recursive: false));
        return new SourceTree(tree.Root, tree);
    }

    public void Dispose() => Mount?.Dispose();
}
