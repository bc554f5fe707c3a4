using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Compose.Engine;
using Berth.Compose.Model;

namespace Berth.Cli.Commands.Compose;

/// <summary>start, stop, restart, kill, pause, unpause, rm, wait: one thing done to services' containers.</summary>
internal static class ComposeVerbs
{
    private static readonly Flag Timeout = new("timeout", 't', FlagKind.Int, "Seconds until a container that does not stop is killed");

    public static readonly Command[] Commands =
    [
        new() { Paths = ["start"], Usage = "[SERVICE...]", Summary = "Start services", Flags = static () => [new("wait", FlagKind.Bool, "Until services are running or healthy"), new("wait-timeout", FlagKind.Int, "For at most so many seconds")], Run = i => StartAsync((ComposeInvocation)i) },
        new() { Paths = ["stop"], Usage = "[OPTIONS] [SERVICE...]", Summary = "Stop services", Flags = static () => [Timeout], Run = i => StopAsync((ComposeInvocation)i) },
        new()
        {
            Paths = ["restart"], Usage = "[OPTIONS] [SERVICE...]", Summary = "Restart services", Flags = static () => [Timeout, new("no-deps", FlagKind.Bool, "Leave services alone that depend on these")],
            Run = i => RestartAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["kill"], Usage = "[OPTIONS] [SERVICE...]", Summary = "Kill services", Flags = static () => [new("remove-orphans", FlagKind.Bool, "Containers of services that are not in the files, too"), new("signal", 's', FlagKind.String, "Signal to send") { Default = "SIGKILL" }],
            Run = i => KillAsync((ComposeInvocation)i),
        },
        new() { Paths = ["pause"], Usage = "[SERVICE...]", Summary = "Pause services", Run = i => EachAsync((ComposeInvocation)i, "Pausing", "Paused", static (i, c) => i.Client.PauseContainerAsync(c.Id, i.Cancelled)) },
        new() { Paths = ["unpause"], Usage = "[SERVICE...]", Summary = "Let paused services go on", Run = i => EachAsync((ComposeInvocation)i, "Running", "Unpaused", static (i, c) => i.Client.UnpauseContainerAsync(c.Id, i.Cancelled)) },
        new()
        {
            Paths = ["rm"], Usage = "[OPTIONS] [SERVICE...]", Summary = "Remove stopped containers",
            Flags = static () => [new("force", 'f', FlagKind.Bool, "Do not ask"), new("stop", 's', FlagKind.Bool, "Stop them first"), new("volumes", 'v', FlagKind.Bool, "Their anonymous volumes, too"), new("all", 'a', FlagKind.Bool, "Accepted for docker compose's sake") { Hidden = true }],
            Run = i => RemoveAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["wait"], Usage = "SERVICE [SERVICE...] [OPTIONS]", Summary = "Wait until containers of services have stopped", MinArguments = 1, Flags = static () => [new("down-project", FlagKind.Bool, "Take the project down when the first one stops")],
            Run = i => WaitAsync((ComposeInvocation)i),
        },
    ];

    private static int? Seconds(ComposeInvocation invocation) => invocation.Arguments.Changed("timeout") ? invocation.Arguments.Int("timeout") : null;

    /// <summary>Containers of the services that were named, of all when none was.</summary>
    public static async Task<(string Project, Project? Model, List<ServiceContainer> Containers)> ContainersAsync(ComposeInvocation invocation, IReadOnlyList<string> services)
    {
        var (name, project) = invocation.LoadOrName();
        var all = await Observed.ContainersAsync(invocation.Asking, name, invocation.Cancelled);
        var found = new List<ServiceContainer>();
        foreach (var container in all)
        {
            if (container.OneOff) continue;
            if (services.Count > 0 ? services.Contains(container.Service) : project is null || project.Services.ContainsKey(container.Service)) found.Add(container);
        }
        foreach (var service in services)
            if (project is not null ? !project.Services.ContainsKey(service) && !project.Disabled.ContainsKey(service) : !found.Exists(c => c.Service == service)) throw new CommandException($"no such service: {service}");
        found.Sort(static (a, b) => string.CompareOrdinal(a.Service, b.Service) is var order and not 0 ? order : a.Number.CompareTo(b.Number));
        return (name, project, found);
    }

    /// <summary>Of each running container; the engine says what it cannot do.</summary>
    private static async Task<int> EachAsync(ComposeInvocation invocation, string title, string done, Func<ComposeInvocation, ServiceContainer, Task> act)
    {
        var (_, _, containers) = await ContainersAsync(invocation, invocation.Arguments.Positional);
        using var section = invocation.Display.Begin(title);
        await Task.WhenAll(containers.Where(static c => c.Running).Select(async container =>
        {
            if (!invocation.DryRun) await act(invocation, container);
            invocation.Progress("Container " + container.Name, done, WorkState.Done);
        }));
        return 0;
    }

    private static async Task<int> KillAsync(ComposeInvocation invocation)
    {
        var services = invocation.Arguments.Positional;
        var (name, project, _) = await ContainersAsync(invocation, services);
        var containers = new List<ServiceContainer>();
        foreach (var container in await Observed.ContainersAsync(invocation.Asking, name, invocation.Cancelled))
        {
            if (!container.Running || (services.Count > 0 && !services.Contains(container.Service))) continue;
            if (project is null || project.Services.ContainsKey(container.Service) || invocation.Arguments.Bool("remove-orphans")) containers.Add(container);
        }
        if (containers.Count == 0)
        {
            invocation.Context.Err.Write("no container to kill\n");
            return 0;
        }
        using var section = invocation.Display.Begin("Killing");
        await Task.WhenAll(containers.Select(async container =>
        {
            invocation.Progress("Container " + container.Name, "Killing", WorkState.Working);
            try
            {
                if (!invocation.DryRun) await invocation.Client.KillContainerAsync(container.Id, invocation.Arguments.String("signal"), invocation.Cancelled);
            }
            catch (EngineApiException)
            {
                invocation.Progress("Container " + container.Name, "Error while Killing", WorkState.Error);
                throw;
            }
            invocation.Progress("Container " + container.Name, "Killed", WorkState.Done);
        }));
        return 0;
    }

    private static async Task<int> RestartAsync(ComposeInvocation invocation)
    {
        var services = invocation.Arguments.Positional;
        var (name, project, _) = await ContainersAsync(invocation, services);
        var observed = await Observed.ReadAsync(invocation.Asking, name, images: false, invocation.Cancelled);
        await ComposeUp.RunAsync(invocation, "Restarting", project, observed, Reconcile.Restart(project, observed, services, invocation.Arguments.Bool("no-deps")), Seconds(invocation), invocation.Cancelled);
        return 0;
    }

    private static async Task<int> StartAsync(ComposeInvocation invocation)
    {
        var services = invocation.Arguments.Positional;
        var (name, project, containers) = await ContainersAsync(invocation, services);
        if (project is null)
        {
            using var section = invocation.Display.Begin("Starting");
            await Task.WhenAll(containers.Where(c => !c.Running).Select(async c =>
            {
                invocation.Progress("Container " + c.Name, "Starting", WorkState.Working);
                if (!invocation.DryRun) await invocation.Client.StartContainerAsync(c.Id, cancellationToken: invocation.Cancelled);
                invocation.Progress("Container " + c.Name, "Started", WorkState.Done);
            }));
            return 0;
        }
        project.ResolveEnvironment(discard: true);
        project.Select(services);
        var observed = await Observed.ReadAsync(invocation.Asking, name, images: false, invocation.Cancelled);
        foreach (var service in project.InDependencyOrder())
        {
            var there = observed.Of(service).Count;
            if (there == 0 && Project.Scale(project.Services[service]) > 0) throw new CommandException($"service {GoText.Quote(service)} has no container to start");
            Project.SetScale(project.Services[service], there);
        }
        var plan = Reconcile.Up(project, observed, new UpOptions { Recreate = Recreation.Never, RecreateDependencies = Recreation.Never, IgnoreOrphans = true, Wait = invocation.Arguments.Bool("wait"), Separator = invocation.Loader.Separator });
        plan.Kept.Clear();
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(invocation.Cancelled);
        if (invocation.Arguments.Int("wait-timeout") is > 0 and var seconds) patience.CancelAfter(TimeSpan.FromSeconds(seconds));
        try
        {
            await ComposeUp.RunAsync(invocation, "Starting", project, observed, plan, null, patience.Token);
        }
        catch (OperationCanceledException) when (patience.IsCancellationRequested && !invocation.Cancelled.IsCancellationRequested)
        {
            throw new CommandException($"application not healthy after {invocation.Arguments.Int("wait-timeout")}s");
        }
        return 0;
    }

    private static async Task<int> StopAsync(ComposeInvocation invocation)
    {
        var (name, project, containers) = await ContainersAsync(invocation, invocation.Arguments.Positional);
        await StopAsync(invocation, name, project, containers, Seconds(invocation));
        return 0;
    }

    /// <summary>In the order in which they depend on each other, the dependents first.</summary>
    public static async Task StopAllAsync(ComposeInvocation invocation, Project project, int? timeoutSeconds)
    {
        var containers = (await Observed.ContainersAsync(invocation.Asking, project.Name, invocation.Cancelled)).Where(c => !c.OneOff && project.Services.ContainsKey(c.Service)).ToList();
        await StopAsync(invocation, project.Name, project, containers, timeoutSeconds);
    }

    private static async Task StopAsync(ComposeInvocation invocation, string name, Project? project, List<ServiceContainer> containers, int? timeoutSeconds)
    {
        var observed = await Observed.ReadAsync(invocation.Asking, name, images: false, invocation.Cancelled);
        var ids = containers.Select(c => c.Id).ToHashSet(StringComparer.Ordinal);
        var plan = Reconcile.Stop(observed with { Containers = [.. observed.Containers.Where(c => ids.Contains(c.Id))] }, project);
        await ComposeUp.RunAsync(invocation, "Stopping", project, observed, plan, timeoutSeconds, CancellationToken.None);
    }

    private static async Task<int> RemoveAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var (name, project, containers) = await ContainersAsync(invocation, flags.Positional);
        if (flags.Bool("stop")) await StopAsync(invocation, name, project, containers, null);
        var stopped = flags.Bool("stop") ? containers : containers.Where(c => !c.Running).ToList();
        if (stopped.Count == 0)
        {
            context.Err.Write("No stopped containers\n");
            return 0;
        }
        context.Out.Write($"Going to remove {string.Join(", ", stopped.Select(c => c.Name))}{(flags.Bool("force") ? "\n" : "")}");
        if (!flags.Bool("force"))
        {
            if (context.Terminal.InputIsTerminal) context.Out.Write("\nAre you sure? [yN] ");
            context.Flush();
            using var input = new StreamReader(context.InStream, leaveOpen: true);
            if ((await input.ReadLineAsync())?.Trim().ToLowerInvariant() is not ("y" or "yes")) return 0;
        }
        context.Flush();
        using var section = invocation.Display.Begin("Removing");
        await Task.WhenAll(stopped.Select(async c =>
        {
            invocation.Progress("Container " + c.Name, "Removing", WorkState.Working);
            if (!invocation.DryRun) await invocation.Client.RemoveContainerAsync(c.Id, force: flags.Bool("force"), volumes: flags.Bool("volumes"), cancellationToken: invocation.Cancelled);
            invocation.Progress("Container " + c.Name, "Removed", WorkState.Done);
        }));
        return 0;
    }

    private static async Task<int> WaitAsync(ComposeInvocation invocation)
    {
        var (name, project) = invocation.LoadOrName();
        var containers = (await Observed.ContainersAsync(invocation.Asking, name, invocation.Cancelled)).Where(c => invocation.Arguments.Positional.Contains(c.Service)).ToList();
        if (containers.Count == 0) throw new CommandException($"no containers for project {GoText.Quote(name)}");
        var waits = containers.ConvertAll(async container =>
        {
            using var wait = await invocation.Client.BeginWaitAsync(container.Id, null, invocation.Cancelled);
            var code = (await wait.ResultAsync(invocation.Cancelled)).StatusCode;
            lock (containers) invocation.Context.Out.Write($"container {GoText.Quote(container.Id)} exited with status code {code}\n");
            return (int)code;
        });
        if (!invocation.Arguments.Bool("down-project")) return (await Task.WhenAll(waits))[^1];
        var first = await await Task.WhenAny(waits);
        var observed = await Observed.ReadAsync(invocation.Asking, name, images: false, invocation.Cancelled);
        await ComposeUp.RunAsync(invocation, "Running", project, observed, Reconcile.Down(name, project, observed, new DownOptions { RemoveOrphans = true }), null, invocation.Cancelled);
        return first;
    }
}
