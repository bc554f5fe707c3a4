using System.Runtime.InteropServices;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Compose;
using Berth.Compose.Engine;
using Berth.Compose.Model;

namespace Berth.Cli.Commands.Compose;

/// <summary>up, create, down, scale, and what they need: images fetched and built.</summary>
internal static class ComposeUp
{
    private static readonly Flag[] Making =
    [
        new("build", FlagKind.Bool, "Build images first"),
        new("force-recreate", FlagKind.Bool, "Make containers anew even if nothing changed"),
        new("no-build", FlagKind.Bool, "Do not build an image, even if it is missing"),
        new("no-recreate", FlagKind.Bool, "Leave containers that are there as they are"),
        new("pull", FlagKind.String, "Fetch images first (always, missing, never, build)"),
        new("quiet-pull", FlagKind.Bool, "Fetch without showing progress"),
        new("quiet-build", FlagKind.Bool, "Build without showing output"),
        new("remove-orphans", FlagKind.Bool, "Remove containers of services that are not in the files"),
        new("scale", FlagKind.List, "How many containers a service has (SERVICE=NUM)") { ValueName = "scale" },
        new("yes", 'y', FlagKind.Bool, "Do not ask"),
    ];

    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["up"],
            Usage = "[OPTIONS] [SERVICE...]",
            Summary = "Make and start containers",
            Flags = static () =>
            [
                .. Making,
                new("abort-on-container-exit", FlagKind.Bool, "Stop all containers when one stops"),
                new("abort-on-container-failure", FlagKind.Bool, "Stop all containers when one fails"),
                new("always-recreate-deps", FlagKind.Bool, "Make containers that others depend on anew"),
                new("attach", FlagKind.List, "Show the output of these services only"),
                new("attach-dependencies", FlagKind.Bool, "Show the output of services that these depend on, too"),
                new("detach", 'd', FlagKind.Bool, "Leave containers running in the background"),
                new("exit-code-from", FlagKind.String, "End with the exit code of this service; implies --abort-on-container-exit"),
                new("menu", FlagKind.Bool, "Accepted for docker compose's sake") { Hidden = true },
                new("no-attach", FlagKind.List, "Do not show the output of these services"),
                new("no-color", FlagKind.Bool, "No colours"),
                new("no-deps", FlagKind.Bool, "Leave services alone that these depend on"),
                new("no-log-prefix", FlagKind.Bool, "No container names before lines"),
                new("no-start", FlagKind.Bool, "Make containers, do not start them"),
                new("renew-anon-volumes", 'V', FlagKind.Bool, "New anonymous volumes instead of those of earlier containers"),
                new("timeout", 't', FlagKind.Int, "Seconds until a container that does not stop is killed"),
                new("timestamps", FlagKind.Bool, "A time before each line"),
                new("wait", FlagKind.Bool, "Until services are running or healthy; implies --detach"),
                new("wait-timeout", FlagKind.Int, "For at most so many seconds"),
                new("watch", 'w', FlagKind.Bool, "Follow changes of files"),
            ],
            Run = i => UpAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["create"],
            Usage = "[OPTIONS] [SERVICE...]",
            Summary = "Make containers, do not start them",
            Flags = static () => Making,
            Run = static async i =>
            {
                await BringUpAsync((ComposeInvocation)i, i.Arguments.Positional, true, noStart: true);
                return 0;
            },
        },
        new()
        {
            Paths = ["scale"],
            Usage = "[SERVICE=REPLICAS...]",
            Summary = "Change how many containers services have",
            Flags = static () => [new("no-deps", FlagKind.Bool, "Leave services alone that these depend on")],
            MinArguments = 1,
            Run = static async i =>
            {
                var invocation = (ComposeInvocation)i;
                var services = invocation.Arguments.Positional.ConvertAll(p => p.Split('=')[0]);
                await BringUpAsync(invocation, services, !invocation.Arguments.Bool("no-deps"), noStart: false, invocation.Arguments.Positional);
                return 0;
            },
        },
        new()
        {
            Paths = ["down"],
            Usage = "[OPTIONS] [SERVICES]",
            Summary = "Stop and remove containers and networks",
            Flags = static () =>
            [
                new("remove-orphans", FlagKind.Bool, "Containers of services that are not in the files, too"),
                new("rmi", FlagKind.String, "Images too: local (those without a name of their own) or all"),
                new("timeout", 't', FlagKind.Int, "Seconds until a container that does not stop is killed"),
                new("volumes", 'v', FlagKind.Bool, "Named volumes of the files and anonymous ones of containers, too"),
            ],
            Run = i => DownAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["build"],
            Usage = "[OPTIONS] [SERVICE...]",
            Summary = "Build services' images",
            Flags = static () =>
            [
                new("build-arg", FlagKind.List, "Build-time variables"), new("memory", 'm', FlagKind.Bytes, "Memory limit"), new("no-cache", FlagKind.Bool, "Use nothing of earlier builds"), new("pull", FlagKind.Bool, "Look for newer base images"),
                new("push", FlagKind.Bool, "Upload the images afterwards"), new("quiet", 'q', FlagKind.Bool, "Without output"), new("provenance", FlagKind.String, "Say how the images were made"), new("sbom", FlagKind.String, "Say what the images hold"),
                new("ssh", FlagKind.List, "SSH agent for commands (default|ID[=SOCKET])"), new("with-dependencies", FlagKind.Bool, "Services that these depend on, too"),
            ],
            Run = static async i =>
            {
                var invocation = (ComposeInvocation)i;
                List<string> more = [];
                foreach (var flag in (string[])["build-arg", "ssh"])
                    foreach (var value in i.Arguments.List(flag)) more.AddRange(["--" + flag, value]);
                foreach (var flag in (string[])["no-cache", "pull"])
                    if (i.Arguments.Bool(flag)) more.Add("--" + flag);
                foreach (var flag in (string[])["memory", "provenance", "sbom"])
                    if (i.Arguments.Changed(flag)) more.Add($"--{flag}={i.Arguments.String(flag)}");
                var project = invocation.Load(i.Arguments.Positional, i.Arguments.Bool("with-dependencies"));
                foreach (var name in project.InDependencyOrder())
                {
                    if (project.Services[name].Get("build") is null) continue;
                    if (invocation.DryRun) i.Context.Out.Write($"Build {project.ImageOf(name)}\n");
                    else await BuildAsync(invocation, project, name, i.Arguments.Bool("quiet"), more);
                }
                return i.Arguments.Bool("push") ? await PushBuiltAsync(invocation, project) : 0;
            },
        },
    ];

    private static async Task<int> UpAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var from = flags.String("exit-code-from");
        var abort = flags.Bool("abort-on-container-exit") || from.Length > 0;
        var onFailure = flags.Bool("abort-on-container-failure");
        var detach = flags.Bool("detach") || flags.Bool("wait");
        if (detach && (abort || onFailure || flags.List("attach").Count > 0 || flags.Bool("attach-dependencies"))) throw new CommandException("--detach cannot be combined with --abort-on-container-exit, --abort-on-container-failure, --attach or --attach-dependencies");
        if (flags.Bool("no-build") && flags.Bool("build")) throw new CommandException("--build and --no-build are incompatible");
        if (flags.Bool("force-recreate") && flags.Bool("no-recreate")) throw new CommandException("--force-recreate and --no-recreate are incompatible");
        if (detach && flags.Bool("watch")) throw new CommandException("--watch cannot be combined with --detach");
        if (detach || flags.Bool("no-start") || invocation.DryRun)
        {
            await BringUpAsync(invocation, flags.Positional, !flags.Bool("no-deps"), flags.Bool("no-start"));
            return 0;
        }
        return await new AttachedUp(invocation, abort, onFailure, from).RunAsync();
    }

    /// <summary>From files to running containers.</summary>
    public static async Task<Project> BringUpAsync(ComposeInvocation invocation, IReadOnlyList<string> services, bool dependencies, bool noStart, IReadOnlyList<string>? scales = null, Func<Project, Task>? ready = null, Func<string, string, string, Task>? starting = null)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var project = invocation.Load(services, dependencies);
        ModelText.CheckContainerNames(project);
        foreach (var scale in scales ?? flags.List("scale"))
        {
            var equals = scale.IndexOf('=');
            if (scales is not null && (equals <= 0 || equals == scale.Length - 1)) throw new CommandException($"invalid scale specifier: {scale}");
            if (equals < 0) throw new CommandException($"invalid --scale option {GoText.Quote(scale)}. Should be SERVICE=NUM");
            if (!int.TryParse(scale[(equals + 1)..], out var number) || number < 0)
                throw new CommandException(scales is not null ? $"invalid scale specifier: can't parse replica value as int: {scale}" : $"strconv.Atoi: parsing {GoText.Quote(scale[(equals + 1)..])}: invalid syntax");
            Project.SetScale(project.Service(scale[..equals]), number);
        }
        foreach (var (name, service) in project.Services)
        {
            if (service.Get("provider") is not null) throw new CommandException($"service {GoText.Quote(name)}: provider {GoText.Quote(service.Get("provider")!.TextOf("type"))}: providers are programs of Docker Desktop and others that berth compose does not run; start what it provides by hand and take the service out");
            if (service.MapOf("models").Count > 0) throw new CommandException($"service {GoText.Quote(name)}: models: this engine runs no models; give the service the address of one that runs elsewhere by environment variables");
        }
        var observed = await Observed.ReadAsync(invocation.Asking, project.Name, images: true, invocation.Cancelled);
        var images = ImagePlan.For(project, observed, flags.String("pull"), flags.Bool("build"), flags.Bool("no-build"), context.Time.GetUtcNow().ToUnixTimeSeconds());
        var ignoreOrphans = IsTrue(invocation.Loader.Environment.GetValueOrDefault("COMPOSE_IGNORE_ORPHANS"));
        var options = new UpOptions
        {
            Services = services, Recreate = flags.Bool("force-recreate") ? Recreation.Force : flags.Bool("no-recreate") ? Recreation.Never : Recreation.Diverged,
            RecreateDependencies = flags.Bool("always-recreate-deps") ? Recreation.Force : flags.Bool("no-recreate") ? Recreation.Never : Recreation.Diverged,
            RemoveOrphans = flags.Bool("remove-orphans") || IsTrue(invocation.Loader.Environment.GetValueOrDefault("COMPOSE_REMOVE_ORPHANS")), IgnoreOrphans = ignoreOrphans, NoStart = noStart,
            RenewVolumes = flags.Bool("renew-anon-volumes"), TimeoutSeconds = flags.Changed("timeout") ? flags.Int("timeout") : null, Wait = flags.Bool("wait"), Separator = invocation.Loader.Separator,
        };
        if (invocation.DryRun)
        {
            foreach (var name in images.Pull) context.Out.Write($"Pull {project.ImageOf(name)}\n");
            foreach (var name in images.Build) context.Out.Write($"Build {project.ImageOf(name)}\n");
            var dry = Reconcile.Up(project, observed, options);
            foreach (var warning in dry.Warnings) invocation.Warn(warning);
            context.Out.Write(dry.ToString());
            return project;
        }
        if (images.Pull.Count + images.Build.Count > 0)
        {
            await ComposeImages.PullMissingAsync(invocation, project, images.Pull, flags.Bool("quiet-pull"));
            foreach (var name in images.Build) await BuildAsync(invocation, project, name, flags.Bool("quiet-build"), []);
            observed = await Observed.ReadAsync(invocation.Asking, project.Name, images: true, invocation.Cancelled);
        }
        var plan = Reconcile.Up(project, observed, options);
        foreach (var warning in plan.Warnings) invocation.Warn(warning);
        if (ready is not null) await ready(project);
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(invocation.Cancelled);
        if (flags.Int("wait-timeout") is > 0 and var seconds) patience.CancelAfter(TimeSpan.FromSeconds(seconds));
        try
        {
            using var section = invocation.Display.Begin("Running");
            // Where output is shown, it has the terminal from the first start on.
            Func<string, string, string, Task>? first = starting is null ? null : (service, name, id) =>
            {
                section.Dispose();
                return starting(service, name, id);
            };
            await ExecutorOf(invocation, project, observed, options.TimeoutSeconds, options.RenewVolumes, first).RunAsync(plan, patience.Token);
        }
        catch (OperationCanceledException) when (patience.IsCancellationRequested && !invocation.Cancelled.IsCancellationRequested)
        {
            throw new CommandException($"application not healthy after {flags.Int("wait-timeout")}s");
        }
        return project;
    }

    /// <summary>A service's image is built, and its containers are made anew of it.</summary>
    public static async Task RebuildAsync(ComposeInvocation invocation, string name)
    {
        var project = invocation.Load([name], dependencies: false);
        await BuildAsync(invocation, project, name, quiet: false, []);
        var observed = await Observed.ReadAsync(invocation.Asking, project.Name, images: true, invocation.Cancelled);
        Project.SetScale(project.Services[name], Math.Max(1, observed.Of(name).Count));
        var plan = Reconcile.Up(project, observed, new UpOptions { Services = [name], IgnoreOrphans = true, Separator = invocation.Loader.Separator });
        await ExecutorOf(invocation, project, observed, null).RunAsync(plan, invocation.Cancelled);
    }

    /// <summary>The image of one service is there afterwards.</summary>
    public static async Task BringUpImagesAsync(ComposeInvocation invocation, Project project, string name)
    {
        var flags = invocation.Arguments;
        var observed = await Observed.ReadAsync(invocation.Asking, project.Name, images: true, invocation.Cancelled);
        var images = ImagePlan.For(project, observed, flags.String("pull"), flags.Bool("build"), noBuild: false, invocation.Context.Time.GetUtcNow().ToUnixTimeSeconds());
        if (images.Pull.Contains(name)) await ComposeImages.PullMissingAsync(invocation, project, [name], flags.Bool("quiet-pull"));
        if (images.Build.Contains(name)) await BuildAsync(invocation, project, name, flags.Bool("quiet-build"), []);
    }

    private static bool IsTrue(string? value) => value?.ToLowerInvariant() is "1" or "t" or "true" or "y" or "yes" or "on";

    public static Executor ExecutorOf(ComposeInvocation invocation, Project? project, Observed observed, int? timeoutSeconds, bool renewVolumes = false, Func<string, string, string, Task>? starting = null) =>
        new(invocation.Client, project, observed, starting is null ? invocation.Progress : (resource, status, state) =>
        {
            if (status is not ("Starting" or "Started" or "Waiting" or "Healthy" or "Exited")) invocation.Progress(resource, status, state);
        }, invocation.Warn)
        {
            Separator = invocation.Loader.Separator, TimeoutSeconds = timeoutSeconds, RenewVolumes = renewVolumes, Starting = starting, Parallel = invocation.Parallel,
            HookOutput = (name, text) => { lock (invocation.Context.Err) invocation.Context.Err.Write(string.Concat(text.TrimEnd('\n').Split('\n').Select(l => $"{name} {l}\n"))); },
        };

    /// <summary>Carries a plan out, or prints it.</summary>
    public static async Task RunAsync(ComposeInvocation invocation, string title, Project? project, Observed observed, Plan plan, int? timeoutSeconds, CancellationToken cancellationToken)
    {
        if (invocation.DryRun)
        {
            invocation.Context.Out.Write(plan.ToString());
            return;
        }
        using var section = invocation.Display.Begin(title);
        await ExecutorOf(invocation, project, observed, timeoutSeconds).RunAsync(plan, cancellationToken);
    }

    private static async Task<int> DownAsync(ComposeInvocation invocation)
    {
        var flags = invocation.Arguments;
        if (flags.String("rmi") is not ("" or "all" or "local") and var rmi) throw new CommandException($"invalid value for --rmi: {GoText.Quote(rmi)}");
        var (name, project) = invocation.LoadOrName();
        foreach (var service in flags.Positional)
            if (project is not null && !project.Services.ContainsKey(service) && !project.Disabled.ContainsKey(service)) throw new CommandException($"no such service: {service}: not found");
        var observed = await Observed.ReadAsync(invocation.Asking, name, images: flags.String("rmi").Length > 0, invocation.Cancelled);
        var plan = Reconcile.Down(name, project, observed, new DownOptions
        {
            Services = flags.Positional, RemoveOrphans = flags.Bool("remove-orphans"), Volumes = flags.Bool("volumes"), Images = flags.String("rmi"), TimeoutSeconds = flags.Changed("timeout") ? flags.Int("timeout") : null,
        });
        foreach (var warning in plan.Warnings) invocation.Warn(warning);
        await RunAsync(invocation, "Running", project, observed, plan, flags.Changed("timeout") ? flags.Int("timeout") : null, invocation.Cancelled);
        return 0;
    }

    private static async Task<int> PushBuiltAsync(ComposeInvocation invocation, Project project)
    {
        await ComposeImages.PushAsync(invocation, project, invocation.Arguments.Bool("quiet"), ignoreFailures: false, imageMandatory: false);
        return 0;
    }

    private static async Task BuildAsync(ComposeInvocation invocation, Project project, string name, bool quiet, IReadOnlyList<string> more)
    {
        var service = project.Services[name];
        var build = service.Get("build")!;
        var image = project.ImageOf(name);
        List<string> words = ["--tag", image];
        foreach (var tag in build.StringsOf("tags")) words.AddRange(["--tag", tag]);
        foreach (var (key, value) in build.MapOf("args")) words.AddRange(["--build-arg", value.IsNull ? key : $"{key}={value.Text}"]);
        foreach (var (key, value) in build.TextsOf("labels")) words.AddRange(["--label", $"{key}={value}"]);
        words.AddRange(["--label", $"{Labels.Project}={project.Name}", "--label", $"{Labels.Service}={name}", "--label", $"{Labels.Version}={Labels.CompatibleVersion}"]);
        foreach (var from in build.StringsOf("cache_from")) words.AddRange(["--cache-from", from]);
        foreach (var to in build.StringsOf("cache_to")) words.AddRange(["--cache-to", to]);
        foreach (var entitlement in build.StringsOf("entitlements")) words.AddRange(["--allow", entitlement]);
        if (build.BoolOf("privileged")) words.AddRange(["--allow", "security.insecure"]);
        foreach (var (id, path) in build.MapOf("ssh")) words.AddRange(["--ssh", path.IsNull || path.ToText().Length == 0 ? id : $"{id}={path.ToText()}"]);
        foreach (var (limit, value) in build.MapOf("ulimits"))
            words.AddRange(["--ulimit", value.IsMap ? $"{limit}={value.LongOf("soft")}:{value.LongOf("hard")}" : $"{limit}={value.ToText()}"]);
        foreach (var said in (string[])["provenance", "sbom"])
            if (build.TextOf(said) is { Length: > 0 } how) words.Add($"--{said}={how}");
        foreach (var host in Berth.Compose.ModelText.Hosts(build)) words.AddRange(["--add-host", host]);
        if (build.TextOf("target") is { Length: > 0 } target) words.AddRange(["--target", target]);
        if (build.TextOf("network") is { Length: > 0 } network) words.AddRange(["--network", network]);
        if (build.LongOf("shm_size") is > 0 and var shm) words.AddRange(["--shm-size", shm.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        if (build.StringsOf("platforms") is { Length: > 0 } platforms) words.AddRange(["--platform", string.Join(',', platforms)]);
        else if (service.TextOf("platform") is { Length: > 0 } platform) words.AddRange(["--platform", platform]);
        if (build.BoolOf("no_cache")) words.Add("--no-cache");
        if (build.BoolOf("pull")) words.Add("--pull");
        foreach (var (context, value) in build.MapOf("additional_contexts"))
        {
            var place = value.ToText();
            if (place.StartsWith("service:", StringComparison.Ordinal))
            {
                var other = place["service:".Length..];
                if (!project.Services.TryGetValue(other, out var definition) || definition.Get("build") is null) throw new CommandException($"service {name} builds upon service {other}, which is not built");
                await BuildAsync(invocation, project, other, quiet, more);
                place = "docker-image://" + project.ImageOf(other);
            }
            words.AddRange(["--build-context", $"{context}={place}"]);
        }
        foreach (var secret in build.ListOf("secrets"))
        {
            var source = project.Secrets[secret.TextOf("source")];
            var id = secret.TextOf("target") is { Length: > 0 } wanted ? wanted : secret.TextOf("source");
            words.AddRange(["--secret", source.TextOf("file") is { Length: > 0 } file ? $"id={id},src={file}" : $"id={id},env={source.TextOf("environment")}"]);
        }
        if (quiet) words.Add("--quiet");
        words.AddRange(more);
        var inline = build.TextOf("dockerfile_inline");
        string? temporary = null;
        try
        {
            if (inline.Length > 0)
            {
                temporary = Path.GetTempFileName();
                await File.WriteAllTextAsync(temporary, inline);
                words.AddRange(["--file", temporary]);
            }
            else if (build.TextOf("dockerfile") is { Length: > 0 } dockerfile) words.AddRange(["--file", Path.IsPathRooted(dockerfile) || build.TextOf("context").Contains("://") ? dockerfile : Path.Combine(build.TextOf("context"), dockerfile)]);
            words.Add(build.TextOf("context"));
            invocation.Progress("Service " + name, "Building", WorkState.Working);
            var code = await invocation.OtherAsync("build", words);
            if (code != 0) throw new CommandException($"service {name} was not built", code);
            invocation.Progress("Service " + name, "Built", WorkState.Done);
        }
        finally
        {
            if (temporary is not null) File.Delete(temporary);
        }
    }

    /// <summary>
    /// `up` that stays: shows what containers print until they have all stopped, or until it is told to stop them.
    /// Containers are attached to before they are started, and "exited" is said when all that they printed is out: no line is lost, however short a container lives.
    /// </summary>
    private sealed class AttachedUp(ComposeInvocation invocation, bool abort, bool onFailure, string exitCodeFrom)
    {
        /// <summary>So long after its container's end an output may stay open: another process may hold it.</summary>
        private static readonly TimeSpan Rest = TimeSpan.FromSeconds(5);

        private readonly CancellationTokenSource _end = CancellationTokenSource.CreateLinkedTokenSource(invocation.Cancelled);
        private readonly TaskCompletionSource _stopAsked = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly Lock _lock = new();
        private readonly Dictionary<string, Shown> _containers = new(StringComparer.Ordinal); // by id
        private EngineResponse? _events;
        private Project _project = null!;
        private ComposeLog _log = null!;
        private int _signals;
        private int _announced;
        private int? _exitCode;
        private bool _up;

        private sealed class Shown
        {
            public bool Running { get; set; }

            /// <summary>Attached to before its start, whose event has not come yet.</summary>
            public bool Expected { get; set; }

            /// <summary>Ran before; when it ends while services come up, it is because they are made anew.</summary>
            public bool Before { get; set; }

            /// <summary>Nanoseconds: what it printed later has not been shown.</summary>
            public long Ended { get; set; }

            public Task Output { get; set; } = Task.CompletedTask;
        }

        public async Task<int> RunAsync()
        {
            var (context, flags) = (invocation.Context, invocation.Arguments);
            using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);
            using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
            using var watch = CancellationTokenSource.CreateLinkedTokenSource(_end.Token);
            var watching = Task.CompletedTask;
            try
            {
                await ComposeUp.BringUpAsync(invocation, flags.Positional, !flags.Bool("no-deps"), noStart: false, ready: async project =>
                {
                    _project = project;
                    var names = project.Services.Select(s => s.Value.TextOf("container_name") is { Length: > 0 } own ? own : $"{s.Key}-{Project.Scale(s.Value)}");
                    _log = new ComposeLog(context, !flags.Bool("no-log-prefix"), ComposeLog.Coloured(context, flags.Bool("no-color")), names.Select(n => n.Length).DefaultIfEmpty(0).Max());
                    _events = await invocation.Client.BeginEventsAsync(new Filters().Add("type", "container").Add("label", $"{Labels.Project}={project.Name}").Add("event", "start").Add("event", "die"), _end.Token);
                    foreach (var container in await Observed.ContainersAsync(invocation.Asking, project.Name, _end.Token))
                        if (container.State == "running" && !container.OneOff && project.Services.ContainsKey(container.Service)) await AttachAsync(container.Service, container.Name, container.Id, expected: false);
                    watching = WatchAsync(project, _log, _events, watch.Token);
                }, starting: (service, name, id) =>
                {
                    Announce();
                    return AttachAsync(service, name, id, expected: true);
                });
                if (!_stopAsked.Task.IsCompleted)
                {
                    Announce();
                    if (flags.Bool("watch")) _ = new ComposeWatch(invocation, _project, flags.Positional).RunAsync(_end.Token);
                    if (NoneRuns(up: true)) await watch.CancelAsync();
                    await Task.WhenAny(watching, _stopAsked.Task);
                }
                if (_stopAsked.Task.IsCompleted)
                {
                    if (_signals > 0) context.Err.Write("Gracefully Stopping... press Ctrl+C again to force\n");
                    NoneRuns(up: true);
                    await ComposeVerbs.StopAllAsync(invocation, _project, flags.Changed("timeout") ? flags.Int("timeout") : null);
                    // What they printed at their end is shown, too.
                    watch.CancelAfter(NoneRuns(up: true) ? TimeSpan.Zero : Rest);
                    if (exitCodeFrom.Length > 0 && _signals == 0) await AskAsync();
                }
                await watching;
            }
            catch (OperationCanceledException) when (watch.IsCancellationRequested)
            {
            }
            finally
            {
                await _end.CancelAsync();
                _events?.Dispose();
            }
            return _signals > 0 ? 130 : _exitCode ?? 0;
        }

        private void Announce()
        {
            if (Interlocked.Exchange(ref _announced, 1) != 0) return;
            _log.Say("Attaching to " + string.Join(", ", _project.ServiceNames.Where(IsShown).SelectMany(s => Enumerable.Range(1, Project.Scale(_project.Services[s])).Select(n => _project.Services[s].TextOf("container_name") is { Length: > 0 } own ? own : $"{s}-{n}"))));
        }

        private void OnSignal(PosixSignalContext signal)
        {
            signal.Cancel = true;
            if (Interlocked.Increment(ref _signals) == 1) _stopAsked.TrySetResult();
            else Environment.Exit(130);
        }

        private bool NoneRuns(bool up)
        {
            lock (_lock)
            {
                _up |= up;
                foreach (var container in _containers.Values)
                    if (container.Running) return false;
                return _up;
            }
        }

        private Shown Of(string id)
        {
            lock (_lock)
            {
                if (!_containers.TryGetValue(id, out var shown)) _containers[id] = shown = new Shown();
                shown.Running = true;
                return shown;
            }
        }

        private bool IsShown(string service)
        {
            var flags = invocation.Arguments;
            var wanted = flags.List("attach").Count > 0 ? flags.List("attach").Contains(service) : flags.Positional.Count == 0 || flags.Bool("attach-dependencies") || flags.Positional.Contains(service);
            return wanted && !flags.List("no-attach").Contains(service) && _project.Services[service].BoolOf("attach", true);
        }

        private Follower NewFollower() => new(invocation.Client, (container, line, _) =>
            _log.Line(container, invocation.Arguments.Bool("timestamps") ? $"{invocation.Context.Time.GetLocalNow():yyyy-MM-ddTHH:mm:ss.fffffff}00{invocation.Context.Time.GetLocalNow():zzz} {line}" : line));

        private async Task AttachAsync(string service, string name, string id, bool expected)
        {
            var shown = Of(id);
            (shown.Expected, shown.Before) = (expected, !expected);
            if (IsShown(service)) shown.Output = await NewFollower().AttachAsync(id, ComposeLog.Short(_project.Name, name), _project.Services[service].BoolOf("tty"), _end.Token);
        }

        // Started by its restart policy or by somebody else: the log has what it printed before this was known.
        private async Task FollowAsync(string service, string name, string id)
        {
            var shown = Of(id);
            if (shown.Expected || !shown.Output.IsCompleted)
            {
                shown.Expected = false;
                return;
            }
            if (!IsShown(service)) return;
            var since = shown.Ended;
            if (since == 0 && (await invocation.Client.InspectContainerAsync(id, _end.Token)).State.FinishedAt is var finished && finished > DateTimeOffset.UnixEpoch)
                since = finished.ToUnixTimeMilliseconds() * 1_000_000;
            shown.Output = NewFollower().FollowAsync(id, ComposeLog.Short(_project.Name, name), _project.Services[service].BoolOf("tty"), true, since > 0 ? Follower.Time(since + 1) : null, null, "all", false, _end.Token);
        }

        private async Task WatchAsync(Project project, ComposeLog log, EngineResponse events, CancellationToken cancellationToken)
        {
            await foreach (var e in EngineClient.ReadEventsAsync(events, cancellationToken))
            {
                var (id, attributes) = (e.Actor.ID, e.Actor.Attributes ?? []);
                var service = attributes.GetValueOrDefault(Labels.Service, "");
                if (attributes.GetValueOrDefault(Labels.OneOff) == "True" || !project.Services.ContainsKey(service)) continue;
                var name = attributes.GetValueOrDefault("name", id);
                try
                {
                    if (e.Action == "start")
                    {
                        await FollowAsync(service, name, id);
                        continue;
                    }
                    var shown = Of(id);
                    shown.Ended = e.TimeNano;
                    if ((await invocation.Client.InspectContainerAsync(id, cancellationToken)).State is { } state && (state.Restarting || state.Running)) continue;
                }
                catch (EngineApiException gone) when (gone.Status == 404)
                {
                }
                if (await EndedAsync(project, log, id, service, name, int.TryParse(attributes.GetValueOrDefault("exitCode"), out var code) ? code : 0)) return;
            }
        }

        /// <summary>Whether it was the last.</summary>
        private async Task<bool> EndedAsync(Project project, ComposeLog log, string id, string service, string name, int code)
        {
            var shown = Of(id);
            try
            {
                await shown.Output.WaitAsync(Rest, invocation.Context.Time);
            }
            catch (Exception e) when (e is TimeoutException or OperationCanceledException or IOException or EngineApiException)
            {
            }
            if (shown.Before && !_up)
            {
                lock (_lock) shown.Running = false;
                return false;
            }
            log.Line(ComposeLog.Short(project.Name, name), $"exited with code {code}");
            if (exitCodeFrom.Length == 0 ? !_stopAsked.Task.IsCompleted : exitCodeFrom == service) _exitCode = abort || onFailure ? code : 0;
            if ((abort || (onFailure && code != 0)) && !_stopAsked.Task.IsCompleted)
            {
                invocation.Context.Err.Write("Aborting on container exit...\n");
                _stopAsked.TrySetResult();
            }
            lock (_lock) (shown.Running, shown.Expected) = (false, false);
            return NoneRuns(up: false);
        }

        // The exit code is of a service that had not stopped yet, or had stopped before this began.
        private async Task AskAsync()
        {
            foreach (var container in await Observed.ContainersAsync(invocation.Asking, _project.Name, invocation.Cancelled))
                if (container.Service == exitCodeFrom && !container.OneOff) _exitCode ??= (await invocation.Client.InspectContainerAsync(container.Id, invocation.Cancelled)).State.ExitCode;
        }
    }
}
