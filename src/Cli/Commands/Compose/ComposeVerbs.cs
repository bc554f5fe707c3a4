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
            Run = i => EachAsync((ComposeInvocation)i, "Restarting", "Started", static _ => true, static (i, c) => i.Client.RestartContainerAsync(c.Id, null, Seconds(i), i.Cancelled)),
        },
        new()
        {
            Paths = ["kill"], Usage = "[OPTIONS] [SERVICE...]", Summary = "Kill services", Flags = static () => [new("remove-orphans", FlagKind.Bool, "Containers of services that are not in the files, too"), new("signal", 's', FlagKind.String, "Signal to send") { Default = "SIGKILL" }],
            Run = i => EachAsync((ComposeInvocation)i, "Killing", "Killed", static c => c.Running, static (i, c) => i.Client.KillContainerAsync(c.Id, i.Arguments.String("signal"), i.Cancelled)),
        },
        new() { Paths = ["pause"], Usage = "[SERVICE...]", Summary = "Pause services", Run = i => EachAsync((ComposeInvocation)i, "", "Paused", static c => c.State == "running", static (i, c) => i.Client.PauseContainerAsync(c.Id, i.Cancelled)) },
        new() { Paths = ["unpause"], Usage = "[SERVICE...]", Summary = "Let paused services go on", Run = i => EachAsync((ComposeInvocation)i, "", "Unpaused", static c => c.State == "paused", static (i, c) => i.Client.UnpauseContainerAsync(c.Id, i.Cancelled)) },
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
        var all = await Observed.ContainersAsync(invocation.Client, name, invocation.Cancelled);
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

    private static async Task<int> EachAsync(ComposeInvocation invocation, string doing, string done, Func<ServiceContainer, bool> wanted, Func<ComposeInvocation, ServiceContainer, Task> act)
    {
        var (_, _, containers) = await ContainersAsync(invocation, invocation.Arguments.Positional);
        await Task.WhenAll(containers.Where(wanted).Select(async container =>
        {
            if (doing.Length > 0) invocation.Progress("Container " + container.Name, doing);
            if (!invocation.DryRun) await act(invocation, container);
            invocation.Progress("Container " + container.Name, done);
        }));
        return 0;
    }

    private static async Task<int> StartAsync(ComposeInvocation invocation)
    {
        var services = invocation.Arguments.Positional;
        var (name, project, containers) = await ContainersAsync(invocation, services);
        if (project is null)
        {
            await Task.WhenAll(containers.Where(c => !c.Running).Select(async c =>
            {
                invocation.Progress("Container " + c.Name, "Starting");
                await invocation.Client.StartContainerAsync(c.Id, cancellationToken: invocation.Cancelled);
                invocation.Progress("Container " + c.Name, "Started");
            }));
            return 0;
        }
        project.ResolveEnvironment(discard: true);
        project.Select(services);
        foreach (var service in project.Services.Keys)
        {
            var there = containers.Count(c => c.Service == service);
            if (services.Contains(service) && there == 0 && Project.Scale(project.Services[service]) > 0) throw new CommandException($"service {GoText.Quote(service)} has no container to start");
            Project.SetScale(project.Services[service], (await Observed.ContainersAsync(invocation.Client, name, invocation.Cancelled)).Count(c => c.Service == service && !c.OneOff));
        }
        var observed = await Observed.ReadAsync(invocation.Client, name, images: false, invocation.Cancelled);
        var plan = Reconcile.Up(project, observed, new UpOptions { Recreate = Recreation.Never, RecreateDependencies = Recreation.Never, IgnoreOrphans = true, Wait = invocation.Arguments.Bool("wait"), Separator = invocation.Loader.Separator });
        plan.Kept.Clear();
        if (invocation.DryRun) invocation.Context.Out.Write(plan.ToString());
        else await ComposeUp.ExecutorOf(invocation, project, observed, null).RunAsync(plan, invocation.Cancelled);
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
        var containers = (await Observed.ContainersAsync(invocation.Client, project.Name, invocation.Cancelled)).Where(c => !c.OneOff && project.Services.ContainsKey(c.Service)).ToList();
        await StopAsync(invocation, project.Name, project, containers, timeoutSeconds);
    }

    private static async Task StopAsync(ComposeInvocation invocation, string name, Project? project, List<ServiceContainer> containers, int? timeoutSeconds)
    {
        var observed = await Observed.ReadAsync(invocation.Client, name, images: false, invocation.Cancelled);
        var ids = containers.Select(c => c.Id).ToHashSet(StringComparer.Ordinal);
        var plan = Reconcile.Stop(observed with { Containers = [.. observed.Containers.Where(c => ids.Contains(c.Id))] }, project);
        if (invocation.DryRun) invocation.Context.Out.Write(plan.ToString());
        else await ComposeUp.ExecutorOf(invocation, project, observed, timeoutSeconds).RunAsync(plan, CancellationToken.None);
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
        if (!flags.Bool("force"))
        {
            context.Out.Write($"Going to remove {string.Join(", ", stopped.Select(c => c.Name))}\nAre you sure? [yN] ");
            context.Flush();
            using var input = new StreamReader(context.InStream, leaveOpen: true);
            if ((await input.ReadLineAsync())?.Trim().ToLowerInvariant() is not ("y" or "yes")) return 0;
        }
        await Task.WhenAll(stopped.Select(async c =>
        {
            invocation.Progress("Container " + c.Name, "Removing");
            if (!invocation.DryRun) await invocation.Client.RemoveContainerAsync(c.Id, force: flags.Bool("force"), volumes: flags.Bool("volumes"), cancellationToken: invocation.Cancelled);
            invocation.Progress("Container " + c.Name, "Removed");
        }));
        return 0;
    }

    private static async Task<int> WaitAsync(ComposeInvocation invocation)
    {
        var (name, project, containers) = await ContainersAsync(invocation, invocation.Arguments.Positional);
        if (containers.Count == 0) throw new CommandException($"no containers for project {GoText.Quote(name)}: not found");
        var waits = containers.ConvertAll(async container =>
        {
            using var wait = await invocation.Client.BeginWaitAsync(container.Id, null, invocation.Cancelled);
            var code = (await wait.ResultAsync(invocation.Cancelled)).StatusCode;
            lock (containers) invocation.Context.Out.Write($"container {GoText.Quote(container.Name)} exited with status code {code}\n");
            return (int)code;
        });
        if (!invocation.Arguments.Bool("down-project")) return (await Task.WhenAll(waits))[^1];
        var first = await await Task.WhenAny(waits);
        var observed = await Observed.ReadAsync(invocation.Client, name, images: false, invocation.Cancelled);
        await ComposeUp.ExecutorOf(invocation, project, observed, null).RunAsync(Reconcile.Down(name, project, observed, new DownOptions()), invocation.Cancelled);
        return first;
    }
}
