using Berth.Api;
using Berth.Cli.CommandLine;

namespace Berth.Cli.Commands.Containers;

/// <summary>Commands that do one thing to each of the containers named.</summary>
internal static class ContainerVerbs
{
    private const string Usage = "[OPTIONS] CONTAINER [CONTAINER...]";

    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["stop", "container stop"],
            Usage = Usage,
            Summary = "Stop running containers",
            Flags = StopFlags,
            MinArguments = 1,
            Run = static i => EachAsync(i, id => i.Context.Client.StopContainerAsync(id, i.Arguments.String("signal"), Timeout(i.Arguments), i.Cancelled)),
        },
        new()
        {
            Paths = ["restart", "container restart"],
            Usage = Usage,
            Summary = "Stop containers and start them again",
            Flags = StopFlags,
            MinArguments = 1,
            Run = static i => EachAsync(i, id => i.Context.Client.RestartContainerAsync(id, i.Arguments.String("signal"), Timeout(i.Arguments), i.Cancelled)),
        },
        new()
        {
            Paths = ["kill", "container kill"],
            Usage = Usage,
            Summary = "Kill running containers, or send them a signal",
            Flags = static () => [new("signal", 's', FlagKind.String, "Signal to send instead of KILL")],
            MinArguments = 1,
            Run = static i => EachAsync(i, id => i.Context.Client.KillContainerAsync(id, i.Arguments.String("signal") is { Length: > 0 } signal ? signal : null, i.Cancelled)),
        },
        new()
        {
            Paths = ["pause", "container pause"],
            Usage = "CONTAINER [CONTAINER...]",
            Summary = "Freeze all processes of containers",
            MinArguments = 1,
            Run = static i => EachAsync(i, id => i.Context.Client.PauseContainerAsync(id, i.Cancelled)),
        },
        new()
        {
            Paths = ["unpause", "container unpause"],
            Usage = "CONTAINER [CONTAINER...]",
            Summary = "Let the processes of frozen containers go on",
            MinArguments = 1,
            Run = static i => EachAsync(i, id => i.Context.Client.UnpauseContainerAsync(id, i.Cancelled)),
        },
        new()
        {
            Paths = ["rm", "container rm", "container remove"],
            Usage = Usage,
            Summary = "Remove containers",
            Flags = static () =>
            [
                new("force", 'f', FlagKind.Bool, "Kill it first if it runs"),
                new("link", 'l', FlagKind.Bool, "Remove the link of this name, not the container"),
                new("volumes", 'v', FlagKind.Bool, "Remove its anonymous volumes as well"),
            ],
            MinArguments = 1,
            Run = static i => ForEachAsync(i.Context, i.Arguments.Positional, id => RemoveAsync(i, id), forgiven: e => e.Status == 404 && i.Arguments.Bool("force")),
        },
        new()
        {
            Paths = ["rename", "container rename"],
            Usage = "CONTAINER NEW_NAME",
            Summary = "Give a container another name",
            MinArguments = 2,
            MaxArguments = 2,
            Run = RenameAsync,
        },
        new()
        {
            Paths = ["wait", "container wait"],
            Usage = "CONTAINER [CONTAINER...]",
            Summary = "Wait until containers stop, then print their exit codes",
            MinArguments = 1,
            Run = WaitAsync,
        },
    ];

    private static Flag[] StopFlags() =>
    [
        new("signal", 's', FlagKind.String, "Signal that asks the container to stop"),
        new("time", FlagKind.Int, "Seconds it has before it is killed; -1 waits for ever") { Hidden = true, SpellingOf = "timeout", Deprecated = "use --timeout instead" },
        new("timeout", 't', FlagKind.Int, "Seconds it has before it is killed; -1 waits for ever"),
    ];

    private static int? Timeout(Arguments flags) => flags.Changed("timeout") ? flags.Int("timeout") : null;

    private static Task<int> EachAsync(Invocation invocation, Func<string, Task> act) => ForEachAsync(invocation.Context, invocation.Arguments.Positional, act);

    /// <summary>
    /// Does it to each, several at a time as the engine allows, prints the names it was done to in the order they were
    /// given, and the errors.
    /// </summary>
    /// <param name="forgiven">Which errors do not make it fail.</param>
    /// <param name="silently">Those are not even told.</param>
    public static async Task<int> ForEachAsync(CommandContext context, IReadOnlyList<string> names, Func<string, Task> act, string? failedTo = null, Func<EngineApiException, bool>? forgiven = null, bool silently = false)
    {
        // The client waits in system calls: several at a time need as many threads.
        using var slots = new SemaphoreSlim(Parallel);
        var tasks = names.Count == 1 ? [act(names[0])] : names.Select(name => Task.Run(async () =>
        {
            await slots.WaitAsync(context.Cancelled);
            try
            {
                await act(name);
            }
            finally
            {
                slots.Release();
            }
        })).ToArray();
        var failed = new List<string>();
        for (var i = 0; i < tasks.Length; i++)
        {
            try
            {
                await tasks[i];
                context.Out.Write(names[i] + "\n");
            }
            catch (EngineApiException e)
            {
                if (silently && forgiven?.Invoke(e) == true) continue;
                context.Out.Flush();
                context.Err.Write($"{e.Message}{await NearestName.HintAsync(context, e.Message)}\n");
                if (forgiven?.Invoke(e) != true) failed.Add(names[i]);
            }
        }
        if (failed.Count == 0) return 0;
        if (failedTo is not null) throw new CommandException($"Error: failed to {failedTo} containers: {string.Join(", ", failed)}");
        return 1;
    }

    /// <summary>Requests in flight at a time.</summary>
    private const int Parallel = 16;

    private static Task RemoveAsync(Invocation invocation, string id)
    {
        var name = id.Trim('/');
        if (name.Length == 0) throw new CommandException("Container name cannot be empty");
        return invocation.Context.Client.RemoveContainerAsync(name, invocation.Arguments.Bool("force"), invocation.Arguments.Bool("volumes"), invocation.Arguments.Bool("link"), invocation.Cancelled);
    }

    private static async Task<int> RenameAsync(Invocation invocation)
    {
        var (from, to) = (invocation.Arguments.Positional[0].Trim(), invocation.Arguments.Positional[1].Trim());
        if (from.Length == 0 || to.Length == 0) throw new CommandException("Error: Neither old nor new names may be empty");
        try
        {
            await invocation.Context.Client.RenameContainerAsync(from, to, invocation.Cancelled);
        }
        catch (EngineApiException e)
        {
            throw new CommandException($"{e.Message}\nError: failed to rename container named {from}");
        }
        return 0;
    }

    private static async Task<int> WaitAsync(Invocation invocation)
    {
        var exitCode = 0;
        foreach (var name in invocation.Arguments.Positional)
        {
            try
            {
                using var wait = await invocation.Context.Client.BeginWaitAsync(name, null, invocation.Cancelled);
                var result = await wait.ResultAsync(invocation.Cancelled);
                if (result.Error is { Message: { } message }) throw new CommandException(message);
                invocation.Context.Out.Write($"{result.StatusCode}\n");
                invocation.Context.Out.Flush();
            }
            catch (EngineApiException e)
            {
                invocation.Context.Err.Write($"{e.Message}{await NearestName.HintAsync(invocation.Context, e.Message)}\n");
                exitCode = 1;
            }
        }
        return exitCode;
    }
}
