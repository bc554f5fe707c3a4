using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Compose.Engine;
using Berth.Compose.Model;

namespace Berth.Cli.Commands.Compose;

/// <summary>exec, run, cp, attach, commit, export, stats: berth's own commands, told which container a service is.</summary>
internal static class ComposeProcesses
{
    private static readonly Flag Index = new("index", FlagKind.Int, "Which container of a service that has several");

    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["exec"], Usage = "[OPTIONS] SERVICE COMMAND [ARGS...]", Summary = "Run a command in a running container of a service", Interspersed = false, MinArguments = 2,
            Flags = static () =>
            [
                new("detach", 'd', FlagKind.Bool, "Leave the command running in the background"), new("env", 'e', FlagKind.List, "Set an environment variable"), Index,
                new("interactive", 'i', FlagKind.Bool, "Keep STDIN open") { Default = "true", Hidden = true }, new("no-tty", 'T', FlagKind.Bool, "No terminal"), new("privileged", FlagKind.Bool, "Give the command nearly all rights"),
                new("tty", 't', FlagKind.Bool, "A terminal") { Default = "true", Hidden = true }, new("user", 'u', FlagKind.String, "User to run as"), new("workdir", 'w', FlagKind.String, "Directory to start in"),
            ],
            Run = i => ExecAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["run"], Usage = "[OPTIONS] SERVICE [COMMAND] [ARGS...]", Summary = "Run one command in a new container of a service", Interspersed = false, MinArguments = 1,
            Flags = static () =>
            [
                new("build", FlagKind.Bool, "Build the image first"), new("cap-add", FlagKind.List, "Further capabilities"), new("cap-drop", FlagKind.List, "Fewer capabilities"), new("detach", 'd', FlagKind.Bool, "In the background"),
                new("entrypoint", FlagKind.String, "Instead of the image's entrypoint"), new("env", 'e', FlagKind.List, "Set an environment variable"), new("env-from-file", FlagKind.List, "Environment variables of a file"),
                new("interactive", 'i', FlagKind.Bool, "Keep STDIN open") { Default = "true" }, new("label", 'l', FlagKind.List, "Labels"), new("name", FlagKind.String, "Name of the container"), new("no-TTY", 'T', FlagKind.Bool, "No terminal"),
                new("no-deps", FlagKind.Bool, "Leave services alone that this one depends on"), new("publish", 'p', FlagKind.List, "Publish ports"), new("pull", FlagKind.String, "Fetch the image first"), new("quiet", 'q', FlagKind.Bool, "Without progress"),
                new("quiet-build", FlagKind.Bool, "Without the build's output"), new("quiet-pull", FlagKind.Bool, "Fetch without progress"), new("remove-orphans", FlagKind.Bool, "Remove containers of services that are not in the files"), new("rm", FlagKind.Bool, "Remove the container afterwards"), new("service-ports", 'P', FlagKind.Bool, "Publish the service's ports"),
                new("tty", 't', FlagKind.Bool, "A terminal") { Hidden = true }, new("use-aliases", FlagKind.Bool, "The service's names on its networks"), new("user", 'u', FlagKind.String, "User to run as"), new("volume", 'v', FlagKind.List, "Further volumes"), new("workdir", 'w', FlagKind.String, "Directory to start in"),
                new("no-build", FlagKind.Bool, "Do not build") { Hidden = true }, new("scale", FlagKind.List, "") { Hidden = true },
            ],
            Run = i => RunAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["cp"], Usage = "[OPTIONS] SERVICE:SRC_PATH DEST_PATH|-\n       berth compose cp [OPTIONS] SRC_PATH|- SERVICE:DEST_PATH", Summary = "Copy files between a service's container and this machine", MinArguments = 2, MaxArguments = 2,
            Flags = static () => [new("all", FlagKind.Bool, "Containers of `run`, too") { Hidden = true }, new("archive", 'a', FlagKind.Bool, "Owners as numbers, too"), new("follow-link", 'L', FlagKind.Bool, "Follow links in SRC_PATH"), Index],
            Run = i => CopyAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["attach"], Usage = "[OPTIONS] SERVICE", Summary = "Attach to a service's container", MinArguments = 1, MaxArguments = 1,
            Flags = static () => [new("detach-keys", FlagKind.String, "Keys that detach"), Index, new("no-stdin", FlagKind.Bool, "Without input"), new("sig-proxy", FlagKind.Bool, "Pass signals on") { Default = "true" }],
            Run = static async i => await ((ComposeInvocation)i).OtherAsync("attach",
                [.. i.Arguments.Bool("no-stdin") ? ["--no-stdin"] : Array.Empty<string>(), .. i.Arguments.Changed("detach-keys") ? ["--detach-keys", i.Arguments.String("detach-keys")] : Array.Empty<string>(), $"--sig-proxy={(i.Arguments.Bool("sig-proxy") ? "true" : "false")}", (await OneAsync((ComposeInvocation)i, i.Arguments.Positional[0])).Name]),
        },
        new()
        {
            Paths = ["commit"], Usage = "[OPTIONS] SERVICE [REPOSITORY[:TAG]]", Summary = "Make an image of a service's container", MinArguments = 1, MaxArguments = 2,
            Flags = static () => [new("author", 'a', FlagKind.String, "Author"), new("change", 'c', FlagKind.List, "Dockerfile instruction to apply"), Index, new("message", 'm', FlagKind.String, "Commit message"), new("pause", 'p', FlagKind.Bool, "Pause it meanwhile") { Default = "true" }],
            Run = static i => CommitAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["export"], Usage = "[OPTIONS] SERVICE", Summary = "A service's container as a tar archive", MinArguments = 1, MaxArguments = 1, Flags = static () => [Index, new("output", 'o', FlagKind.String, "Write to this file")],
            Run = static i => ExportAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["stats"], Usage = "[OPTIONS] [SERVICE]", Summary = "What services' containers use, as it changes", MaxArguments = 1,
            Flags = static () => [new("all", 'a', FlagKind.Bool, "Stopped ones, too"), new("format", FlagKind.String, "How to print each"), new("no-stream", FlagKind.Bool, "Once"), new("no-trunc", FlagKind.Bool, "Do not shorten")],
            Run = static async i =>
            {
                var (_, _, containers) = await ComposeVerbs.ContainersAsync((ComposeInvocation)i, i.Arguments.Positional);
                var shown = containers.Where(c => c.Running || i.Arguments.Bool("all")).Select(c => c.Name).ToList();
                if (shown.Count == 0) return 0;
                return await ((ComposeInvocation)i).OtherAsync("stats", [.. Given(i, "format"), .. i.Arguments.Bool("no-stream") ? ["--no-stream"] : Array.Empty<string>(), .. i.Arguments.Bool("no-trunc") ? ["--no-trunc"] : Array.Empty<string>(), .. shown]);
            },
        },
    ];

    private static string[] Given(Invocation invocation, string flag) => invocation.Arguments.Changed(flag) ? ["--" + flag, invocation.Arguments.String(flag)] : [];

    /// <summary>The running container of a service, the first or the one that --index says; one of `run` when there is no other.</summary>
    public static async Task<ServiceContainer> OneAsync(ComposeInvocation invocation, string service)
    {
        var (name, _) = invocation.LoadOrName();
        var index = invocation.Arguments.Int("index");
        ServiceContainer? found = null;
        foreach (var container in await Observed.ContainersAsync(invocation.Asking, name, invocation.Cancelled))
        {
            if (container.Service != service || !container.Running || (index > 0 && container.Number != index)) continue;
            if (found is null || (found.OneOff && !container.OneOff) || (found.OneOff == container.OneOff && container.Number < found.Number)) found = container;
        }
        return found ?? throw new CommandException(index > 0 ? $"service {GoText.Quote(service)} is not running container #{index}" : $"service {GoText.Quote(service)} is not running");
    }

    private static async Task<int> ExecAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var container = await OneAsync(invocation, flags.Positional[0]);
        List<string> words = [];
        var detach = flags.Bool("detach");
        if (detach) words.Add("--detach");
        if (!detach && flags.Bool("interactive")) words.Add("--interactive");
        if (!detach && flags.Bool("tty") && !flags.Bool("no-tty") && context.Terminal is { OutputIsTerminal: true, InputIsTerminal: true }) words.Add("--tty");
        if (flags.Bool("privileged")) words.Add("--privileged");
        foreach (var variable in flags.List("env")) words.AddRange(["--env", variable]);
        words.AddRange([.. Given(invocation, "user"), .. Given(invocation, "workdir"), container.Id, .. flags.Positional.Skip(1)]);
        return await invocation.OtherAsync("exec", words);
    }

    private static async Task<int> CopyAsync(ComposeInvocation invocation)
    {
        var flags = invocation.Arguments;
        if (flags.Positional[0].Length == 0) throw new CommandException("source can not be empty");
        if (flags.Positional[1].Length == 0) throw new CommandException("destination can not be empty");
        var ((from, source), (to, target)) = (Cut(flags.Positional[0]), Cut(flags.Positional[1]));
        if (from.Length > 0 && to.Length > 0) throw new CommandException("copying between services is not supported");
        if (from.Length == 0 && to.Length == 0) throw new CommandException("unknown copy direction");
        var service = from.Length > 0 ? from : to;
        var (name, _) = invocation.LoadOrName();
        var index = flags.Int("index");
        var containers = new List<ServiceContainer>();
        foreach (var container in await Observed.ContainersAsync(invocation.Asking, name, invocation.Cancelled))
            if (container.Service == service && (!container.OneOff || flags.Bool("all")) && (index == 0 || container.Number == index)) containers.Add(container);
        if (containers.Count == 0) throw new CommandException(index > 0 ? $"service {GoText.Quote(service)} is not running container #{index}" : $"no container found for service {GoText.Quote(service)}");
        containers.Sort(static (a, b) => a.Number.CompareTo(b.Number));
        // Into a service means into all of its containers.
        if (from.Length > 0) containers.RemoveRange(1, containers.Count - 1);
        using var section = invocation.Display.Begin("Copying");
        foreach (var container in containers)
        {
            var text = from.Length > 0 ? $"copy {container.Name}:{source} to {target}" : $"copy {source} to {container.Name}:{target}";
            invocation.Display.Tell(new WorkNews(container.Name, text, "Copying", WorkState.Working));
            if (!invocation.DryRun)
            {
                List<string> words = ["--quiet"];
                if (flags.Bool("archive")) words.Add("--archive");
                if (flags.Bool("follow-link")) words.Add("--follow-link");
                words.AddRange(from.Length > 0 ? [$"{container.Id}:{source}", target] : [source, $"{container.Id}:{target}"]);
                var code = await invocation.OtherAsync("cp", words);
                if (code != 0) return code;
            }
            invocation.Display.Tell(new WorkNews(container.Name, text, "Copied", WorkState.Done));
        }
        return 0;

        static (string Service, string Path) Cut(string path)
        {
            var colon = path.IndexOf(':');
            return colon < 0 || path.StartsWith('/') || path.StartsWith('.') ? ("", path) : (path[..colon], path[(colon + 1)..]);
        }
    }

    private static async Task<int> CommitAsync(ComposeInvocation invocation)
    {
        var flags = invocation.Arguments;
        var container = await OneAsync(invocation, flags.Positional[0]);
        var (repository, tag) = ("", "");
        if (flags.Positional.Count > 1)
        {
            var name = Images.ImageName.Parse(flags.Positional[1]);
            (repository, tag) = (name.Repository, name.Tag);
        }
        using var section = invocation.Display.Begin("Committing");
        var text = "Commit " + container.Name;
        invocation.Display.Tell(new WorkNews(container.Name, text, "Committing", WorkState.Working));
        var done = "Committed";
        if (!invocation.DryRun)
        {
            var image = await invocation.Client.CommitAsync(container.Id, repository, tag, flags.String("author"), flags.String("message"), flags.Bool("pause"), flags.List("change"), invocation.Cancelled);
            done = "Committed as " + image.Id;
        }
        invocation.Display.Tell(new WorkNews(container.Name, text, done, WorkState.Done));
        return 0;
    }

    private static async Task<int> ExportAsync(ComposeInvocation invocation)
    {
        var output = invocation.Arguments.String("output");
        var container = await OneAsync(invocation, invocation.Arguments.Positional[0]);
        if (output.Length == 0 && invocation.Context.Terminal.OutputIsTerminal) throw new CommandException("output option is required when exporting to terminal");
        using var section = invocation.Display.Begin("Exporting");
        var text = $"export {container.Name} to {output}";
        invocation.Display.Tell(new WorkNews(container.Name, text, "Exporting", WorkState.Working));
        if (!invocation.DryRun && await invocation.OtherAsync("export", [.. Given(invocation, "output"), container.Id]) is not 0 and var code) return code;
        invocation.Display.Tell(new WorkNews(container.Name, text, "Exported", WorkState.Done));
        return 0;
    }

    private static async Task<int> RunAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var name = flags.Positional[0];
        var project = invocation.Load([name], !flags.Bool("no-deps"));
        var service = project.Service(name);
        var dependencies = service.MapOf("depends_on").Keys.Where(project.Services.ContainsKey).ToList();
        if (dependencies.Count > 0 && !flags.Bool("no-deps"))
        {
            var needs = invocation.Load(dependencies);
            await ComposeUp.BringUpAsync(invocation, dependencies, true, noStart: false);
            var there = await Observed.ReadAsync(invocation.Asking, project.Name, images: true, invocation.Cancelled);
            await ComposeUp.ExecutorOf(invocation, needs, there, null).RunAsync(Reconcile.WaitForDependencies(project, name, there), invocation.Cancelled);
        }
        await ComposeUp.BringUpImagesAsync(invocation, project, name);
        var observed = await Observed.ReadAsync(invocation.Asking, project.Name, images: true, invocation.Cancelled);
        var executor = ComposeUp.ExecutorOf(invocation, project, observed, null);
        var tty = !flags.Bool("no-TTY") && !flags.Bool("detach") && context.Terminal is { OutputIsTerminal: true, InputIsTerminal: true };
        List<string> variables = [.. flags.List("env-from-file").SelectMany(f => Containers.EnvironmentFiles.Read(f, context.Variable)), .. flags.List("env").Select(e => e.Contains('=') ? e : $"{e}={context.Variable(e)}")];
        var id = await executor.CreateOneOffAsync(name, new OneOff
        {
            Name = flags.String("name"), Command = flags.Positional.Count > 1 ? [.. flags.Positional.Skip(1)] : null, Entrypoint = flags.Changed("entrypoint") ? flags.String("entrypoint") : null, Environment = variables,
            Labels = flags.List("label"), Volumes = flags.List("volume"), Publish = flags.List("publish"), ServicePorts = flags.Bool("service-ports"), Aliases = flags.Bool("use-aliases"), User = flags.String("user"), WorkingDirectory = flags.String("workdir"),
            CapAdd = flags.List("cap-add"), CapDrop = flags.List("cap-drop"), Tty = tty, Interactive = flags.Bool("interactive") && !flags.Bool("detach"), AutoRemove = flags.Bool("rm"),
        }, invocation.Cancelled);
        if (flags.Bool("detach"))
        {
            await invocation.Client.StartContainerAsync(id, cancellationToken: invocation.Cancelled);
            context.Out.Write(id + "\n");
            return 0;
        }
        return await invocation.OtherAsync("start", [.. flags.Bool("interactive") ? ["--interactive"] : Array.Empty<string>(), "--attach", id]);
    }
}
