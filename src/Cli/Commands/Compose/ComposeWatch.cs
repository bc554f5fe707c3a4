using System.Formats.Tar;
using System.Threading.Channels;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Compose.Engine;
using Berth.Compose.Model;
using Berth.Compose.Yaml;
using Berth.Dockerfile;

namespace Berth.Cli.Commands.Compose;

/// <summary>develop.watch: files that change here are copied into containers, or their services are built or restarted.</summary>
internal sealed class ComposeWatch
{
    public static readonly Command Command = new()
    {
        Paths = ["watch"],
        Usage = "[SERVICE...]",
        Summary = "Carry changes of files into services as they happen",
        Flags = static () =>
        [
            new("no-up", FlagKind.Bool, "Do not bring the services up first"), new("prune", FlagKind.Bool, "Accepted for docker compose's sake") { Default = "true", Hidden = true }, new("quiet", FlagKind.Bool, "Without the build's output"),
            new("build", FlagKind.Bool, "") { Hidden = true }, new("no-build", FlagKind.Bool, "") { Hidden = true }, new("pull", FlagKind.String, "") { Hidden = true }, new("scale", FlagKind.List, "") { Hidden = true },
        ],
        Run = static async i =>
        {
            var invocation = (ComposeInvocation)i;
            var project = invocation.Load(i.Arguments.Positional);
            var watch = new ComposeWatch(invocation, project, i.Arguments.Positional);
            if (!i.Arguments.Bool("no-up")) await ComposeUp.BringUpAsync(invocation, i.Arguments.Positional, true, noStart: false);
            await watch.RunAsync(i.Cancelled);
            return 0;
        },
    };

    /// <summary>So long after a change nothing more may come before it is acted on: editors write a file in several steps.</summary>
    private static readonly TimeSpan Quiet = TimeSpan.FromMilliseconds(300);

    /// <summary>Changes that are not looked at yet.</summary>
    private const int MaxPending = 100_000;

    /// <summary>How deep a directory that appears is looked into: links may lead round in it.</summary>
    private const int MaxDepth = 64;

    private sealed record Trigger(string Service, string Path, string Action, string Target, Node Config, PathPatterns Ignored, PathPatterns? Included);

    private readonly ComposeInvocation _invocation;
    private readonly Project _project;
    private readonly List<Trigger> _triggers = [];

    public ComposeWatch(ComposeInvocation invocation, Project project, IReadOnlyList<string> services)
    {
        (_invocation, _project) = (invocation, project);
        foreach (var name in services.Count > 0 ? services : [.. project.ServiceNames])
        {
            foreach (var watch in project.Service(name).Get("develop")?.ListOf("watch") ?? [])
            {
                var path = watch.TextOf("path");
                if (!File.Exists(path) && !Directory.Exists(path)) throw new CommandException($"services.{name}.develop.watch: {path}: no such file or directory");
                List<string> ignored = ["**/.git", "**/*~", "**/*.swp", "**/.#*", "**/4913", "**/.idea", "**/___jb_*", .. watch.StringsOf("ignore")];
                if (project.Service(name).Get("build")?.TextOf("context") is { Length: > 0 } context && File.Exists(Path.Combine(context, ".dockerignore")) && Path.GetFullPath(path) == Path.GetFullPath(context))
                    ignored.AddRange(IgnoreFile.Parse(File.ReadAllBytes(Path.Combine(context, ".dockerignore"))));
                var included = watch.StringsOf("include");
                _triggers.Add(new Trigger(name, path, watch.TextOf("action"), watch.TextOf("target"), watch, new PathPatterns(ignored), included.Length > 0 ? new PathPatterns(included) : null));
            }
        }
        if (_triggers.Count == 0) throw new CommandException("none of the selected services is configured for watch, consider setting a 'develop' section");
    }

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var changes = Channel.CreateBounded<string>(new BoundedChannelOptions(MaxPending) { FullMode = BoundedChannelFullMode.DropOldest });
        var watchers = new List<FileSystemWatcher>();
        try
        {
            foreach (var path in _triggers.Select(t => t.Path).Distinct())
            {
                var directory = Directory.Exists(path) ? path : Path.GetDirectoryName(path)!;
                var watcher = new FileSystemWatcher(directory) { IncludeSubdirectories = directory == path, NotifyFilter = NotifyFilters.FileName | NotifyFilters.DirectoryName | NotifyFilters.LastWrite | NotifyFilters.Attributes };
                if (directory != path) watcher.Filter = Path.GetFileName(path);
                watcher.Changed += (_, e) => changes.Writer.TryWrite(e.FullPath);
                watcher.Created += (_, e) => Appeared(e.FullPath);
                watcher.Deleted += (_, e) => changes.Writer.TryWrite(e.FullPath);
                watcher.Renamed += (_, e) =>
                {
                    changes.Writer.TryWrite(e.OldFullPath);
                    Appeared(e.FullPath);
                };
                watcher.EnableRaisingEvents = true;
                watchers.Add(watcher);
            }
            foreach (var trigger in _triggers)
                if (trigger.Config.BoolOf("initial_sync") && trigger.Target.Length > 0) await SyncAsync(trigger, Directory.Exists(trigger.Path) ? [.. Directory.EnumerateFiles(trigger.Path, "*", SearchOption.AllDirectories)] : [trigger.Path], cancellationToken);
            Say("Watch enabled");
            while (await changes.Reader.WaitToReadAsync(cancellationToken))
            {
                var batch = new SortedSet<string>(StringComparer.Ordinal);
                do
                {
                    while (changes.Reader.TryRead(out var path)) batch.Add(path);
                    await Task.Delay(Quiet, _invocation.Context.Time, cancellationToken);
                }
                while (changes.Reader.Count > 0);
                try
                {
                    await HandleAsync(batch, cancellationToken);
                }
                catch (Exception e) when (e is EngineApiException or CommandException or Berth.Compose.ComposeException or IOException)
                {
                    Say(e.Message); // the next change may mend it
                }
            }
        }
        finally
        {
            foreach (var watcher in watchers) watcher.Dispose();
        }

        // What is in a directory that was moved here, or made and filled faster than it came to be watched, is told by nobody.
        void Appeared(string path)
        {
            changes.Writer.TryWrite(path);
            if (!Directory.Exists(path)) return;
            try
            {
                foreach (var below in Directory.EnumerateFileSystemEntries(path, "*", new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true, AttributesToSkip = FileAttributes.None, MaxRecursionDepth = MaxDepth }).Take(MaxPending)) changes.Writer.TryWrite(below);
            }
            catch (DirectoryNotFoundException)
            {
                // Gone again: that is told.
            }
        }
    }

    private void Say(string text)
    {
        lock (_invocation.Context.Err) _invocation.Context.Err.Write($"watch  | {text}\n");
    }

    private static bool Concerns(Trigger trigger, string path)
    {
        if (path == trigger.Path) return true;
        if (!path.StartsWith(trigger.Path.TrimEnd('/') + "/", StringComparison.Ordinal)) return false;
        var relative = path[(trigger.Path.TrimEnd('/').Length + 1)..];
        return !trigger.Ignored.Matches(relative) && trigger.Included?.Matches(relative) != false;
    }

    private async Task HandleAsync(SortedSet<string> paths, CancellationToken cancellationToken)
    {
        var rebuild = new SortedSet<string>(StringComparer.Ordinal);
        var restart = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var trigger in _triggers)
        {
            var changed = paths.Where(p => Concerns(trigger, p)).ToList();
            if (changed.Count == 0) continue;
            if (trigger.Action == "rebuild") rebuild.Add(trigger.Service);
            else if (trigger.Action == "restart") restart.Add(trigger.Service);
            else
            {
                await SyncAsync(trigger, changed, cancellationToken);
                if (trigger.Action == "sync+restart") restart.Add(trigger.Service);
                if (trigger.Action == "sync+exec" && trigger.Config.Get("exec") is { } hook) await ExecAsync(trigger.Service, hook, cancellationToken);
            }
        }
        foreach (var service in rebuild)
        {
            Say($"Rebuilding service(s) [{GoText.Quote(service)}] after changes were detected...");
            await ComposeUp.RebuildAsync(_invocation, service);
            Say($"service(s) [{GoText.Quote(service)}] successfully built");
            restart.Remove(service);
        }
        foreach (var service in restart)
        {
            await Task.WhenAll((await ContainersAsync(service, cancellationToken)).Select(c => _invocation.Client.RestartContainerAsync(c.Id, cancellationToken: cancellationToken)));
            Say($"service(s) [{GoText.Quote(service)}] restarted");
        }
    }

    private async Task<List<ServiceContainer>> ContainersAsync(string service, CancellationToken cancellationToken) =>
        [.. (await Observed.ContainersAsync(_invocation.Asking, _project.Name, cancellationToken)).Where(c => c.Service == service && c.Running && !c.OneOff)];

    private async Task ExecAsync(string service, Node hook, CancellationToken cancellationToken)
    {
        foreach (var container in await ContainersAsync(service, cancellationToken))
        {
            var exec = await _invocation.Client.CreateExecAsync(container.Id, new ExecCreateRequest
            {
                User = hook.TextOf("user"), Privileged = hook.BoolOf("privileged"), WorkingDir = hook.TextOf("working_dir"), Cmd = hook.StringsOf("command"), Env = [.. hook.TextsOf("environment").Select(e => $"{e.Key}={e.Value}")], AttachStdout = true, AttachStderr = true,
            }, cancellationToken);
            using var stream = await _invocation.Client.StartExecAsync(exec, new ExecStartRequest(), cancellationToken);
            using var output = new MemoryStream();
            await StdFrame.DemultiplexAsync(stream, output, output, cancellationToken);
            foreach (var line in System.Text.Encoding.UTF8.GetString(output.ToArray()).Split('\n', StringSplitOptions.RemoveEmptyEntries)) Say($"{container.Name}: {line}");
        }
    }

    private async Task SyncAsync(Trigger trigger, List<string> paths, CancellationToken cancellationToken)
    {
        Say(paths.Count == 1 ? $"Syncing service {GoText.Quote(trigger.Service)} after changes were detected: {paths[0]}" : $"Syncing service {GoText.Quote(trigger.Service)} after {paths.Count} changes were detected");
        string InContainer(string path) => path == trigger.Path ? trigger.Target : trigger.Target.TrimEnd('/') + path[trigger.Path.TrimEnd('/').Length..];
        using var tar = new MemoryStream();
        var gone = new List<string>();
        await using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
        {
            foreach (var path in paths)
            {
                var name = InContainer(path).TrimStart('/');
                if (File.Exists(path))
                {
                    var entry = new PaxTarEntry(TarEntryType.RegularFile, name) { DataStream = new MemoryStream(await File.ReadAllBytesAsync(path, cancellationToken)) };
                    if (!OperatingSystem.IsWindows()) entry.Mode = File.GetUnixFileMode(path);
                    await writer.WriteEntryAsync(entry, cancellationToken);
                }
                else if (Directory.Exists(path)) await writer.WriteEntryAsync(new PaxTarEntry(TarEntryType.Directory, name), cancellationToken);
                else gone.Add(InContainer(path));
            }
        }
        foreach (var container in await ContainersAsync(trigger.Service, cancellationToken))
        {
            if (gone.Count > 0)
            {
                var exec = await _invocation.Client.CreateExecAsync(container.Id, new ExecCreateRequest { Cmd = ["rm", "-rf", "--", .. gone], User = "0" }, cancellationToken);
                await _invocation.Client.StartExecDetachedAsync(exec, new ExecStartRequest(), cancellationToken);
            }
            if (gone.Count == paths.Count) continue;
            tar.Position = 0;
            await _invocation.Client.ExtractArchiveAsync(container.Id, "/", tar, cancellationToken: cancellationToken);
        }
    }
}
