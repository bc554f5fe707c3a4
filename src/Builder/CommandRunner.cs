using Berth.Api;
using Berth.Dockerfile;
using Berth.Engine;
using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;

namespace Berth.Builder;

/// <summary>RUN: the command with its mounts.</summary>
internal sealed class CommandRunner(ImageStore.LayerSession session, StepService steps, CacheMounts caches, CacheImports? imports, BuildRequest request, IBuildProgress progress)
{
    /// <exception cref="BuildException">The command failed, or a secret it needs is not there.</exception>
    public async Task RunAsync(RunStep run, WritableLayer layer, List<StepResult> results, CancellationToken cancellation)
    {
        using var undo = new UndoStack();
        var mounts = new List<StepMount>();
        List<string> environment = [.. run.Environment, .. run.Proxies];
        if (run.Script is { } script)
        {
            var directory = session.NewDirectory();
            var path = Path.Combine(directory, "script");
            File.WriteAllText(path, script.Content);
            File.SetUnixFileMode(path, (UnixFileMode)0x1ED);
            mounts.Add(new StepMount("/dev/pipes/" + script.Name, path, ReadOnly: true));
        }
        var at = 1;
        foreach (var source in run.Mounts)
        {
            var from = source.From is null ? null : results[at++];
            switch (source.Mount.Type)
            {
                case RunMountType.Tmpfs:
                    mounts.Add(new StepMount(source.Mount.Target, null, false, source.Mount.SizeBytes > 0 ? $"size={source.Mount.SizeBytes}" : ""));
                    break;
                case RunMountType.Bind:
                    mounts.Add(new StepMount(source.Mount.Target, Attach(from!, source.Mount, caches.NewPlace(undo), undo), ReadOnly: source.Mount.ReadOnly));
                    break;
                case RunMountType.Cache:
                    mounts.Add(new StepMount(source.Mount.Target, await TakeCacheAsync(source.Mount, from, run.Lines, undo, cancellation).ConfigureAwait(false), source.Mount.ReadOnly));
                    break;
                case RunMountType.Secret:
                    await AddSecretAsync(source.Mount, mounts, environment, caches.NewPlace(undo), undo, cancellation).ConfigureAwait(false);
                    break;
                default:
                    await AddAgentAsync(source.Mount, run, mounts, environment, caches.NewPlace(undo), undo, cancellation).ConfigureAwait(false);
                    break;
            }
        }
        var places = MissingPlaces(layer, mounts);
        using var stdout = new OutputStream(bytes => progress.Output(run, bytes, stderr: false));
        var unknown = false;
        using var stderr = new OutputStream(bytes =>
        {
            unknown |= bytes.Span.IndexOf("exec format error"u8) >= 0;
            progress.Output(run, bytes, stderr: true);
        });
        var exit = await steps.RunAsync(new StepRequest
        {
            Layer = layer, Arguments = run.Arguments, Environment = environment, WorkingDirectory = run.WorkingDirectory, User = run.User, Network = run.Network, Privileged = run.Insecure, Mounts = mounts, Limits = request.Limits,
        }, stdout, stderr, cancellation).ConfigureAwait(false);
        RemoveEmpty(layer, places);
        if (exit != 0) throw new BuildException($"process \"{string.Join(' ', run.Arguments)}\" did not complete successfully: exit code: {exit}{(unknown && Emulators.Advice(run.Platform) is { } advice ? ": " + advice : "")}", run.Lines) { ExitCode = exit };
    }

    private async Task<string> TakeCacheAsync(RunMount mount, StepResult? from, LineSpan lines, UndoStack undo, CancellationToken cancellation)
    {
        if (from is null)
        {
            // What another machine had of it, when there is none here.
            var elsewhere = imports is null || caches.Find(mount) is not null ? null : await imports.FindMountAsync(CacheMounts.NameOf(mount, ""), cancellation).ConfigureAwait(false);
            return await caches.TakeAsync(mount, "", elsewhere is null ? null : directory =>
            {
                using var source = FileAt.Open(null, elsewhere, OpenFlags.ReadOnly | OpenFlags.Directory);
                using var target = FileAt.Open(null, directory, OpenFlags.ReadOnly | OpenFlags.Directory);
                TreeCopy.Copy(source, "/", target, "/", new TreeCopyRules(), cancellation);
            }, undo, cancellation).ConfigureAwait(false);
        }
        return await caches.TakeAsync(mount, Fields.Join([mount.Source, .. from.Layers.Select(l => l.ToString())]), directory =>
        {
            using var source = SourceTree.Open(session, from);
            var path = RootedPath.TryResolve(source.Root, "/" + mount.Source, mustExist: true, out _) ?? throw new BuildException($"failed to calculate checksum of ref: \"{PathPatterns.Clean("/" + mount.Source)}\": not found", lines);
            using var target = FileAt.Open(null, directory, OpenFlags.ReadOnly | OpenFlags.Directory);
            TreeCopy.Copy(source.Root, path, target, "/", new TreeCopyRules(), cancellation);
        }, undo, cancellation).ConfigureAwait(false);
    }

    // The places of mounts are made where the stage has none; they are no part of what the command did. Deepest first.
    private static List<string> MissingPlaces(WritableLayer layer, List<StepMount> mounts)
    {
        using var files = layer.OpenFiles();
        var missing = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var mount in mounts)
        {
            for (var path = PathPatterns.Clean(mount.Destination); path.Length > 1 && !files.Exists(path); path = path[..path.LastIndexOf('/')]) missing.Add(path);
        }
        return [.. missing.Reverse()];
    }

    private static void RemoveEmpty(WritableLayer layer, List<string> places)
    {
        using var upper = FileAt.Open(null, layer.UpperDirectory, OpenFlags.Path | OpenFlags.Directory);
        foreach (var place in places)
        {
            var slash = place.LastIndexOf('/');
            using var parent = FileAt.TryOpen(upper, slash == 0 ? "." : place[1..slash], OpenFlags.Path | OpenFlags.Directory, ResolveFlags.Beneath | ResolveFlags.NoSymlinks, out _);
            var name = System.Text.Encoding.UTF8.GetBytes(place[(slash + 1)..]);
            if (parent is null || RawAt.Status(parent, name, out var status) != Errno.Success) continue;
            if (status.IsDirectory) RawAt.RemoveDirectory(parent, name);
            else if (status is { Kind: FileKind.Regular, SizeBytes: 0 }) RawAt.Unlink(parent, name);
        }
    }

    // Another stage's files, or the context's, mounted where a bind mount can take them from, for as long as the command runs. What it writes there is nobody's.
    private string Attach(StepResult from, RunMount mount, string place, UndoStack undo)
    {
        var lower = from.Context is { } context ? [context.Path] : session.Directories(from.Layers, mountPoints: false);
        if (lower.Count == 0) lower = [session.NewDirectory()];
        var writable = mount.ReadOnly ? null : session.NewLayer([]);
        using (var mounted = writable is null && lower.Count == 1 ? DetachedMount.Bind(null, lower[0], recursive: false)
            : DetachedMount.Overlay(lower, writable?.UpperDirectory, writable?.WorkDirectory, MountAttributes.NoDev, isVolatile: writable is not null))
        {
            DetachedMount.SetAttributes(mounted, writable is null ? MountAttributes.ReadOnly : 0, 0, MountPropagation.Private, recursive: false);
            HostMount.Attach(mounted, place);
        }
        undo.Push(() =>
        {
            HostMount.UnmountAll(place);
            if (writable is not null) session.Discard(writable);
        });
        using var root = FileAt.Open(null, place, OpenFlags.Path | OpenFlags.Directory);
        var inside = RootedPath.TryResolve(root, "/" + mount.Source, mustExist: true, out _) ?? throw new BuildException($"failed to calculate checksum of ref: \"{PathPatterns.Clean("/" + mount.Source)}\": not found");
        return place + inside.TrimEnd('/');
    }

    // A socket of the host, whose every connection is one to the agent of whoever builds.
    private async Task AddAgentAsync(RunMount mount, RunStep run, List<StepMount> mounts, List<string> environment, string place, UndoStack undo, CancellationToken cancellation)
    {
        var id = mount.Id.Length > 0 ? mount.Id : "default";
        var path = Path.Combine(place, "agent");
        var agent = await request.Sources.ForwardAgentAsync(id, path, cancellation).ConfigureAwait(false);
        if (agent is null)
        {
            if (mount.Required) throw new BuildException($"no SSH key \"{id}\" forwarded from the client", run.Lines);
            return;
        }
        undo.Push(() =>
        {
            agent.Dispose();
            File.Delete(path);
        });
        FileAt.ChangeOwner(null, path, mount.UserId ?? 0, mount.GroupId ?? 0);
        FileAt.ChangeMode(null, path, mount.Mode ?? 0x180);
        var number = mounts.Count(m => m.Destination.StartsWith("/run/buildkit/ssh_agent.", StringComparison.Ordinal));
        var target = mount.Target.Length > 0 ? mount.Target : $"/run/buildkit/ssh_agent.{number}";
        if (!environment.Exists(v => v.StartsWith("SSH_AUTH_SOCK=", StringComparison.Ordinal))) environment.Add("SSH_AUTH_SOCK=" + target);
        mounts.Add(new StepMount(target, path, ReadOnly: false));
    }

    private async Task AddSecretAsync(RunMount mount, List<StepMount> mounts, List<string> environment, string place, UndoStack undo, CancellationToken cancellation)
    {
        var id = mount.Id.Length > 0 ? mount.Id : mount.Source.Length > 0 ? mount.Source : Path.GetFileName(mount.Target);
        var content = await request.Sources.GetSecretAsync(id, cancellation).ConfigureAwait(false);
        if (content is null)
        {
            if (mount.Required) throw new BuildException($"secret {id}: not found");
            return;
        }
        if (mount.Environment is { } variable) environment.Add($"{(variable.Length > 0 ? variable : id)}={System.Text.Encoding.UTF8.GetString(content)}");
        if (mount.Environment is not null && mount.Target.Length == 0) return;
        // In memory only, and gone with the command.
        HostMount.Tmpfs(place, Math.Max(4096, content.Length * 2L), 0x1ED);
        undo.Push(() => HostMount.UnmountAll(place));
        var file = Path.Combine(place, "secret");
        File.WriteAllBytes(file, content);
        FileAt.ChangeOwner(null, file, mount.UserId ?? 0, mount.GroupId ?? 0);
        FileAt.ChangeMode(null, file, mount.Mode ?? 0x100);
        mounts.Add(new StepMount(mount.Target.Length > 0 ? mount.Target : "/run/secrets/" + id, file, ReadOnly: true));
    }

    private sealed class OutputStream(Action<ReadOnlyMemory<byte>> write) : SequentialStream
    {
        public override void Write(ReadOnlySpan<byte> buffer) => write(buffer.ToArray());
        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            write(buffer);
            return ValueTask.CompletedTask;
        }

        public override bool CanWrite => true;
    }
}
