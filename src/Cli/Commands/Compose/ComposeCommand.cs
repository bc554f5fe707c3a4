using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Compose;
using Berth.Compose.Engine;
using Berth.Compose.Model;

namespace Berth.Cli.Commands.Compose;

/// <summary>berth compose …: which project, which command; what the commands do is in Berth.Compose.</summary>
internal static class ComposeCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["compose"],
        Usage = "[OPTIONS] COMMAND",
        Summary = "Define and run multi-container applications",
        ForAnother = true,
        Run = RunAsync,
    };

    /// <summary>What may stand between compose and its command.</summary>
    public static readonly Flag[] Globals =
    [
        new("all-resources", FlagKind.Bool, "Include all resources, even those not used by services"),
        new("ansi", FlagKind.String, "When to print ANSI control characters (never, always, auto)") { Default = "auto" },
        new("compatibility", FlagKind.Bool, "Names with underscores, as compose v1 made them"),
        new("dry-run", FlagKind.Bool, "Print what would be done"),
        new("env-file", FlagKind.List, "Another file of variables than .env") { ValueName = "stringArray" },
        new("file", 'f', FlagKind.List, "Compose files") { ValueName = "stringArray" },
        new("parallel", FlagKind.Int, "How many things are done at once, -1 for no limit") { Default = "-1" },
        new("profile", FlagKind.List, "Profiles to enable") { ValueName = "stringArray" },
        new("progress", FlagKind.String, "Type of progress output (auto, tty, plain, json, quiet)"),
        new("project-directory", FlagKind.String, "Directory that relative paths begin at (default: of the first compose file)"),
        new("project-name", 'p', FlagKind.String, "Project name"),
        new("verbose", FlagKind.Bool, "Show more output") { Hidden = true },
        new("version", 'v', FlagKind.Bool, "Show the version") { Hidden = true },
        new("workdir", FlagKind.String, "Old name of --project-directory") { Hidden = true, SpellingOf = "project-directory" },
        new("no-ansi", FlagKind.Bool, "Old name of --ansi never") { Hidden = true },
        new("help", 'h', FlagKind.Bool, "Print usage") { Hidden = true },
    ];

    /// <summary>A new command is a new line here.</summary>
    public static readonly Command[] All =
    [
        ComposeConfig.Command,
        .. ComposeUp.Commands,
        .. ComposeImages.Commands,
        .. ComposeVerbs.Commands,
        .. ComposeLists.Commands,
        .. ComposeProcesses.Commands,
        ComposeWatch.Command,
        ComposeViz.Command,
        .. ComposeBridge.Commands,
        .. ComposePublish.Commands,
    ];

    public static Command? Find(string name) => Array.Find(All, c => c.Paths.Contains(name));

    /// <summary>The services of the project that these global flags mean, those of inactive profiles included, with their images.</summary>
    /// <exception cref="ComposeException">It cannot be read.</exception>
    public static List<(string Name, string Image)> ServicesOf(CommandContext context, IReadOnlyList<string> globals)
    {
        var list = new List<(string, string)>();
        var flags = Parse(Globals, false, [.. globals], "compose", "");
        if (flags.List("file").Contains("-")) return list; // standard input is the terminal here
        var project = new ComposeInvocation(Command, "compose", new Arguments([]), context, flags).Loader.Load(new() { ResolveEnvironment = false });
        foreach (var name in project.Services.Keys) list.Add((name, project.ImageOf(name)));
        foreach (var name in project.Disabled.Keys) list.Add((name, ""));
        return list;
    }

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var context = invocation.Context;
        var program = context.ProgramName + " compose";
        var globals = Parse(Globals, false, [.. invocation.Arguments.Positional], program, "[OPTIONS] COMMAND");
        var words = globals.Positional;
        var help = globals.Bool("help") || words is ["help", ..];
        if (words is ["help", ..]) words = words[1..];
        if (globals.Bool("version")) words = ["version"];
        if (words.Count == 0) return Show(context, RootHelp(program, context));
        var (command, depth) = Find(words);
        if (command is null)
        {
            if (Array.Exists(All, c => c.Name.StartsWith(words[0] + " ", StringComparison.Ordinal))) return Show(context, GroupHelp(program, words));
            var near = Suggest.Nearest(words[0], All.SelectMany(c => c.Paths));
            throw new UsageException($"unknown docker command: \"compose {words[0]}\"" + (near is null ? "" : $"\n\nDid you mean '{program} {near}'?") + $"\n\nRun '{program} --help' for more information", 1);
        }
        var name = string.Join(' ', words.Take(depth));
        if (help) return Show(context, Help.Of(program, name, command, Width(context)));
        Flag[] flags = [.. command.Flags(), new("dry-run", FlagKind.Bool, "Print what would be done") { Hidden = true }];
        Arguments arguments;
        try
        {
            arguments = Parse(flags, command.Interspersed, [.. words.Skip(depth)], $"{program} {name}", command.Usage);
        }
        catch (HelpRequestedException)
        {
            return Show(context, Help.Of(program, name, command, Width(context)));
        }
        var count = arguments.Positional.Count;
        if (count < command.MinArguments || count > command.MaxArguments)
        {
            var wanted = command.MaxArguments == 0 ? "accepts no arguments" : command.MinArguments == command.MaxArguments ? $"requires {command.MinArguments} argument(s)" : count < command.MinArguments ? $"requires at least {command.MinArguments} argument(s)" : $"accepts at most {command.MaxArguments} argument(s)";
            throw new UsageException($"\"{program} {name}\" {wanted}.\nSee '{program} {name} --help'.\n\nUsage:  {program} {name} {command.Usage}\n\n{command.Summary}", 1);
        }
        var chosen = new ComposeInvocation(command, "compose " + name, arguments, context, globals);
        try
        {
            _ = chosen.Display; // what --progress and --ansi say is looked at whether it is needed or not
            var exitCode = await command.Run(chosen);
            context.Flush();
            return exitCode;
        }
        catch (Exception e) when (chosen.IsJson && (e is ComposeException or CommandException or EngineApiException))
        {
            throw new CommandException($"{{\"error\":true,\"message\":{JsonText.Quote(e.Message)}}}", e switch { ComposeException compose => compose.ExitCode, CommandException other => other.ExitCode, _ => 1 });
        }
        catch (ComposeException e)
        {
            throw new CommandException(e.Message, e.ExitCode);
        }
    }

    private static Arguments Parse(Flag[] flags, bool interspersed, string[] words, string program, string usage)
    {
        try
        {
            return FlagParser.Parse(flags, interspersed, words);
        }
        catch (FormatException e)
        {
            throw new UsageException($"{e.Message}\n\nUsage:  {program} {usage}\n\nRun '{program} --help' for more information", 1);
        }
    }

    /// <summary>The command that the most words name: "bridge transformations list".</summary>
    private static (Command? Command, int Depth) Find(IReadOnlyList<string> words)
    {
        for (var depth = Math.Min(3, words.Count); depth > 0; depth--)
        {
            var name = string.Join(' ', words.Take(depth));
            if (Array.Find(All, c => c.Paths.Contains(name)) is { } found) return (found, depth);
        }
        return (null, 0);
    }

    private static string GroupHelp(string program, IReadOnlyList<string> words)
    {
        var group = words.Count > 1 && Array.Exists(All, c => c.Name.StartsWith($"{words[0]} {words[1]} ", StringComparison.Ordinal)) ? $"{words[0]} {words[1]}" : words[0];
        var text = new System.Text.StringBuilder($"Usage:  {program} {group} [OPTIONS] COMMAND\n\nCommands:\n");
        foreach (var command in All.Where(c => c.Name.StartsWith(group + " ", StringComparison.Ordinal)).OrderBy(c => c.Name, StringComparer.Ordinal)) text.Append("  ").Append(command.Name[(group.Length + 1)..].PadRight(23)).Append(' ').Append(command.Summary).Append('\n');
        return text.Append($"\nRun '{program} {group} COMMAND --help' for more information on a command.\n").ToString();
    }

    private static int Show(CommandContext context, string text)
    {
        context.Out.Write(text);
        context.Flush();
        return 0;
    }

    private static int Width(CommandContext context) => context.Terminal.Size.Width is > 0 and var width ? width : 80;

    private static string RootHelp(string program, CommandContext context)
    {
        var text = new System.Text.StringBuilder($"Usage:  {program} [OPTIONS] COMMAND\n\nDefine and run multi-container applications\n\nOptions:\n");
        text.Append(Help.Options([.. Globals.Where(f => !f.Hidden)], Width(context))).Append("\nManagement Commands:\n  bridge      Convert compose files into another model\n\nCommands:\n");
        foreach (var command in All.Where(c => !c.Hidden && !c.Name.Contains(' ')).OrderBy(c => c.Name, StringComparer.Ordinal)) text.Append("  ").Append(command.Name.PadRight(11)).Append(' ').Append(command.Summary).Append('\n');
        return text.Append($"\nRun '{program} COMMAND --help' for more information on a command.\n").ToString();
    }
}

/// <summary>A compose command that was chosen, with what stands before it.</summary>
internal sealed record ComposeInvocation : Invocation
{
    private readonly Arguments _globals;
    private ProjectLoader? _loader;

    public ComposeInvocation(Command command, string path, Arguments arguments, CommandContext context, Arguments globals) : base(command, path, arguments, context) => _globals = globals;

    public bool DryRun => _globals.Bool("dry-run") || Arguments.Bool("dry-run");

    public Arguments Globals => _globals;

    public ProjectSource Source => new()
    {
        Files = _globals.List("file"), Name = _globals.String("project-name"), Directory = _globals.String("project-directory"), EnvFiles = _globals.List("env-file"), Profiles = _globals.List("profile"),
        AllResources = _globals.Bool("all-resources"), Compatibility = _globals.Bool("compatibility"),
    };

    public ProjectLoader Loader => _loader ??= new ProjectLoader(Source, Variables(), Warn, new StreamReader(Context.InStream, leaveOpen: true)) { Remote = new RemoteFiles(Context).Find };

    /// <summary>In the form of docker compose's log, which people search for.</summary>
    public void Warn(string text)
    {
        var time = $"{Context.Time.GetLocalNow():yyyy-MM-ddTHH:mm:ssK}".Replace("+00:00", "Z", StringComparison.Ordinal);
        lock (Context.Err) Context.Err.Write(IsJson ? $"{{\"level\":\"warning\",\"msg\":{JsonText.Quote(text)},\"time\":\"{time}\"}}\n" : $"time=\"{time}\" level=warning msg={GoText.Quote(text)}\n");
    }

    /// <summary>--progress json: errors are JSON, too.</summary>
    public bool IsJson => Mode == "json";

    private string Mode => Globals.String("progress") is { Length: > 0 } mode ? mode : Context.Variable("COMPOSE_PROGRESS") ?? "";

    private static List<KeyValuePair<string, string>> Variables()
    {
        var list = new List<KeyValuePair<string, string>>();
        foreach (System.Collections.DictionaryEntry entry in Environment.GetEnvironmentVariables()) list.Add(new((string)entry.Key, (string?)entry.Value ?? ""));
        return list;
    }

    /// <summary>The project, with services' environment read from their files.</summary>
    public Project Load(IReadOnlyList<string>? services = null, bool dependencies = true)
    {
        var project = Loader.Load(new() { ResolveEnvironment = false }, services, dependencies);
        project.ResolveEnvironment(discard: true);
        return project;
    }

    /// <summary>The project when there are files or none was named; its name alone when -p says it and there are no files.</summary>
    public (string Name, Project? Project) LoadOrName()
    {
        if (Source.Name.Length > 0 && Source.Files.Count == 0) return (Loader.NameOnly(), null);
        try
        {
            var project = Loader.Load(new() { ResolveEnvironment = false });
            return (project.Name, project);
        }
        catch (ComposeException) when (Loader.Environment.GetValueOrDefault("COMPOSE_PROJECT_NAME") is { Length: > 0 })
        {
            return (Loader.Environment["COMPOSE_PROJECT_NAME"], null);
        }
    }

    /// <summary>For many things at once.</summary>
    public EngineClient Client => _client ??= Context.NewClient(blocking: false);

    private EngineClient? _client;

    /// <summary>
    /// For asking what there is. On this machine the questions are asked one after the other in system calls, which is quicker than to start a thread pool for them; elsewhere the way is
    /// long, and they are on it together.
    /// </summary>
    public EngineClient Asking => Context.Client.Host.SocketPath is not null ? Context.Client : Client;

    /// <summary>As many as may be done at once; a small number of pulls and pushes is the engine's own limit.</summary>
    public SemaphoreSlim Slots() => new(Parallel > 0 ? Parallel : int.MaxValue);

    public int Parallel => (Globals.Changed("parallel") ? Globals.Int("parallel") : int.TryParse(Context.Variable("COMPOSE_PARALLEL_LIMIT"), out var limit) ? limit : 0) is > 0 and var most ? most : 0;

    /// <summary>How what is done is told.</summary>
    public ComposeProgress Display => _display ??= ComposeProgress.For(Context, Mode, Ansi, DryRun);

    private ComposeProgress? _display;

    private string Ansi => Globals.Bool("no-ansi") ? "never" : !Globals.Changed("ansi") && Context.Variable("COMPOSE_ANSI") is { } given ? given : Globals.String("ansi");

    /// <summary>" Container web-1  Started".</summary>
    public void Progress(string resource, string status, WorkState state) => Display.Tell(new WorkNews(resource, "", status, state));

    /// <summary>Another of berth's commands, with words as they would be typed.</summary>
    public Task<int> OtherAsync(string name, IEnumerable<string> words)
    {
        var command = CommandTable.Find(name) ?? throw new CommandException("no command " + name);
        Context.Flush();
        return command.Run(new Invocation(command, name, FlagParser.Parse(command.Flags(), command.Interspersed, words.ToArray()), Context));
    }
}
