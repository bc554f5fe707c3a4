using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands;
using Berth.Cli.Plugins;

namespace Berth.Cli;

/// <summary>From words to an exit code.</summary>
internal static class Application
{
    /// <summary>Of flags that cannot be read, and of docker run's own failures.</summary>
    public const int BadFlags = 125;

    public static readonly Flag[] GlobalFlags =
    [
        new("config", FlagKind.String, "Directory of the client's configuration (also DOCKER_CONFIG)"),
        new("context", 'c', FlagKind.String, "Context that says which engine to talk to (also DOCKER_CONTEXT, and 'context use')"),
        new("debug", 'D', FlagKind.Bool, "Show what goes wrong inside as well"),
        new("host", 'H', FlagKind.List, "Engine to talk to: unix:///path, tcp://host:port or ssh://user@host (also DOCKER_HOST)"),
        new("log-level", 'l', FlagKind.String, "Accepted for docker's sake: debug, info, warn, error or fatal") { Default = "info" },
        new("tls", FlagKind.Bool, "Secure the connection, whoever answers (also DOCKER_TLS)"),
        new("tlscacert", FlagKind.String, "File with the authorities that are believed (ca.pem beside the configuration, or in DOCKER_CERT_PATH)"),
        new("tlscert", FlagKind.String, "File with our certificate (cert.pem)"),
        new("tlskey", FlagKind.String, "File with its key (key.pem)"),
        new("tlsverify", FlagKind.Bool, "Secure the connection and verify who answers (also DOCKER_TLS_VERIFY)"),
        new("version", 'v', FlagKind.Bool, "Print the version of this program and quit"),
        new("help", 'h', FlagKind.Bool, "Print usage") { Hidden = true },
    ];

    public static async Task<int> RunAsync(string[] words, CommandContext context)
    {
        try
        {
            return await DispatchAsync(words, context);
        }
        catch (UsageException e)
        {
            return Fail(context, e.Message, e.ExitCode);
        }
        catch (CommandException e)
        {
            return Fail(context, e.Message, e.ExitCode);
        }
        catch (EngineConnectionException e)
        {
            var hint = context.Connection.HostText == CommandContext.DefaultHost ? " (berthd serves it: systemctl start berth)" : "";
            return Fail(context, e.Message + hint, 1);
        }
        catch (EngineApiException e)
        {
            return Fail(context, e.Message + await NearestName.HintAsync(context, e.Message), 1);
        }
        catch (OperationCanceledException) when (context.Cancelled.IsCancellationRequested)
        {
            return 130;
        }
        catch (Exception e) when (IsBrokenPipe(e))
        {
            return 128 + 13; // the reader has seen enough; as a program that SIGPIPE ends
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return Fail(context, context.Debug ? e.ToString() : e.Message, 1);
        }
    }

    private static int Fail(CommandContext context, string message, int exitCode)
    {
        try
        {
            context.Out.Flush();
            if (message.Length > 0) context.Err.Write(message + "\n");
            context.Err.Flush();
        }
        catch (Exception e) when (IsBrokenPipe(e))
        {
        }
        return exitCode;
    }

    private static bool IsBrokenPipe(Exception e) => OperatingSystem.IsLinux() && e is Linux.LinuxException { Errno: Linux.Errno.EPIPE, Call: "write" };

    private static async Task<int> DispatchAsync(string[] words, CommandContext context)
    {
        Arguments globals;
        try
        {
            globals = FlagParser.Parse(GlobalFlags, interspersed: false, words);
        }
        catch (FormatException e)
        {
            throw new UsageException($"{e.Message}\n\nUsage:  {context.ProgramName} [OPTIONS] COMMAND [ARG...]\n\nRun '{context.ProgramName} --help' for more information", BadFlags);
        }
        UseGlobals(context, globals);
        if (globals.Bool("version"))
        {
            context.Out.Write($"Berth version {BuildInfo.Version}\n");
            context.Flush();
            return 0;
        }
        var rest = globals.Positional;
        var help = globals.Bool("help");
        if (rest is ["help", ..])
        {
            help = true;
            rest = rest[1..];
            if (rest.Count > 0 && Topic(rest) < rest.Count) throw new CommandException("unknown help topic: " + string.Join(' ', rest.Skip(Topic(rest))));
        }
        else if (help && rest.Count > 0 && Topic(rest) == 0) rest = [];
        if (rest.Count == 0) return Show(context, Help.Root(context.ProgramName, GlobalFlags, new PluginStore(context).List(), Width(context)));

        var group = CommandTable.Group(rest[0]);
        var depth = 1;
        if (group is not null)
        {
            if (rest.Count == 1 && !help) return ShowAsError(context, Help.Group(context.ProgramName, group));
            if (rest.Count == 1 || rest[1] is "--help" or "-h") return Show(context, Help.Group(context.ProgramName, group));
            if (rest[1].StartsWith('-') && rest[1].Length > 1)
            {
                var wrong = rest[1].StartsWith("--", StringComparison.Ordinal) ? $"unknown flag: {rest[1].Split('=')[0]}" : $"unknown shorthand flag: '{rest[1][1]}' in {rest[1]}";
                throw new UsageException($"{wrong}\n\nUsage:  {context.ProgramName} {group.Usage}\n\nRun '{context.ProgramName} {group.Name} --help' for more information", BadFlags);
            }
            depth = 2;
        }
        var path = string.Join(' ', rest.Take(depth));
        var command = CommandTable.Find(path);
        if (command is null)
        {
            var plugins = new PluginStore(context);
            if (group is null && plugins.Find(path) is { } program) return await plugins.RunAsync(program, words);
            throw Unknown(context, path, group is null ? null : rest[0]);
        }
        if (command.ForAnother)
        {
            var untouched = new Arguments([]);
            untouched.Positional.AddRange(help ? ["--help"] : rest.Skip(depth));
            var code = await command.Run(new Invocation(command, path, untouched, context));
            context.Flush();
            return code;
        }
        if (help) return Show(context, Help.Of(context.ProgramName, path, command, Width(context)));

        Arguments arguments;
        try
        {
            arguments = FlagParser.Parse(command.Flags(), command.Interspersed, rest.ToArray().AsSpan(depth));
        }
        catch (HelpRequestedException)
        {
            return Show(context, Help.Of(context.ProgramName, path, command, Width(context)));
        }
        catch (FormatException e)
        {
            throw new UsageException($"{e.Message}\n\nUsage:  {$"{context.ProgramName} {path} {command.Usage}".TrimEnd()}\n\nRun '{context.ProgramName} {path} --help' for more information", BadFlags);
        }
        if (arguments.Bool("help")) return Show(context, Help.Of(context.ProgramName, path, command, Width(context)));

        foreach (var notice in arguments.Notices) context.Out.Write(notice + "\n");
        var invocation = new Invocation(command, path, arguments, context);
        CheckCount(invocation);
        var exitCode = await command.Run(invocation);
        context.Flush();
        return exitCode;
    }

    /// <summary>How many of the words are the name of a command or of a group; plugins answer for themselves.</summary>
    private static int Topic(List<string> words)
    {
        if (words.Count > 1 && CommandTable.Find(words[0] + " " + words[1]) is not null) return 2;
        if (CommandTable.Group(words[0]) is not null) return 1;
        return CommandTable.Find(words[0]) is { } command ? command.ForAnother ? words.Count : 1 : 0;
    }

    private static void UseGlobals(CommandContext context, Arguments globals)
    {
        if (globals.List("host").Count > 1) throw new CommandException("Failed to initialize: unable to resolve docker endpoint: Specify only one -H");
        string? Given(string name) => globals.Changed(name) ? globals.String(name) : null;
        bool? Switched(string name) => globals.Changed(name) ? globals.Bool(name) : null;
        context.ConnectionFlags = new()
        {
            Host = globals.List("host") is [var host] ? host : null, Context = Given("context"), Tls = Switched("tls"), TlsVerify = Switched("tlsverify"), TlsCa = Given("tlscacert"), TlsCert = Given("tlscert"), TlsKey = Given("tlskey"),
        };
        context.ConfigFlag = Given("config");
        context.Debug = globals.Bool("debug");
        if (globals.String("log-level") is not ("debug" or "info" or "warn" or "warning" or "error" or "fatal" or "panic" or "trace")) throw new CommandException($"Unable to parse logging level: {globals.String("log-level")}");
    }

    private static void CheckCount(Invocation invocation)
    {
        var (count, min, max) = (invocation.Arguments.Positional.Count, invocation.Command.MinArguments, invocation.Command.MaxArguments);
        if (count >= min && count <= max) return;
        var wanted = (min, max) switch
        {
            (_, 0) => "accepts no arguments",
            _ when min == max => $"requires {min} argument{(min == 1 ? "" : "s")}",
            (_, int.MaxValue) => $"requires at least {min} argument{(min == 1 ? "" : "s")}", // whose last line begins with See, not Run
            (0, _) => $"requires at most {max} argument{(max == 1 ? "" : "s")}",
            _ => $"requires at least {min} and at most {max} arguments",
        };
        throw invocation.Misused($"'{invocation.FullPath}' {wanted}", max == int.MaxValue ? "See" : "Run");
    }

    private static UsageException Unknown(CommandContext context, string path, string? group)
    {
        var candidates = group is null
            ? CommandTable.Paths.Where(p => !p.Contains(' ')).Concat(CommandTable.Groups.Select(g => g.Name))
            : CommandTable.Paths.Where(p => p.StartsWith(group + " ", StringComparison.Ordinal)).Select(p => p[(group.Length + 1)..]);
        var near = Suggest.Nearest(path[(path.LastIndexOf(' ') + 1)..], candidates);
        if (near is not null && group is not null) near = $"{group} {near}";
        var program = context.ProgramName;
        return new UsageException(
            $"{program}: unknown command: {program} {path}\n\n"
            + (near is null ? "" : $"Did you mean '{program} {near}'?\n\n")
            + (group is null ? "" : $"Usage:  {program} {CommandTable.Group(group)!.Usage}\n\n")
            + $"Run '{program} {(group is null ? "" : group + " ")}--help' for more information", 1);
    }

    private static int Show(CommandContext context, string text)
    {
        context.Out.Write(text);
        context.Flush();
        return 0;
    }

    // Asked for nothing: the list is no answer.
    private static int ShowAsError(CommandContext context, string text)
    {
        context.Err.Write(text);
        return 0;
    }

    private static int Width(CommandContext context) => context.Terminal.Size.Width is > 0 and var width ? width : 80;
}
