using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Streams;

namespace Berth.Cli.Commands.Containers;

internal static class ExecCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["exec", "container exec"],
        Usage = "[OPTIONS] CONTAINER COMMAND [ARG...]",
        Summary = "Run a command in a running container",
        CommonRank = 2,
        Flags = static () =>
        [
            new("detach", 'd', FlagKind.Bool, "Leave the command running in the background"),
            new("detach-keys", FlagKind.String, "Keys that detach from the command, instead of ctrl-p,ctrl-q"),
            new("env", 'e', FlagKind.List, "Set an environment variable (NAME=value, or NAME to pass ours on)"),
            new("env-file", FlagKind.List, "Read environment variables from a file"),
            new("interactive", 'i', FlagKind.Bool, "Keep STDIN open"),
            new("privileged", FlagKind.Bool, "Give the command nearly all rights on this host"),
            new("tty", 't', FlagKind.Bool, "Give the command a terminal"),
            new("user", 'u', FlagKind.String, "User to run as, name|uid[:group|gid]"),
            new("workdir", 'w', FlagKind.String, "Directory to start in"),
        ],
        Interspersed = false,
        MinArguments = 2,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var client = context.Client;
        var container = flags.Positional[0];
        var detach = flags.Bool("detach");
        var request = new ExecCreateRequest
        {
            User = flags.String("user"),
            Privileged = flags.Bool("privileged"),
            Tty = flags.Bool("tty"),
            AttachStdin = !detach && flags.Bool("interactive"),
            AttachStdout = !detach,
            AttachStderr = !detach,
            DetachKeys = context.DetachKeysOf(flags),
            Env = Environment(invocation),
            WorkingDir = flags.String("workdir"),
            Cmd = [.. flags.Positional[1..]],
            Detach = detach,
        };
        if (request.AttachStdin && request.Tty && !context.Terminal.InputIsTerminal)
        {
            // That there is no such container is said first. (No exec is created that nobody would start.)
            await client.InspectContainerAsync(container, invocation.Cancelled);
            RunCommand.CheckTerminal(context, request.AttachStdin, request.Tty);
        }
        var (height, width) = context.Terminal.Size;
        uint[]? size = request.Tty ? [(uint)height, (uint)width] : null;
        request.ConsoleSize = size;
        var id = await client.CreateExecAsync(container, request, invocation.Cancelled);
        var start = new ExecStartRequest { Detach = detach, Tty = request.Tty, ConsoleSize = size };
        if (detach)
        {
            await client.StartExecDetachedAsync(id, start, invocation.Cancelled);
            return 0;
        }
        var stream = await client.StartExecAsync(id, start, invocation.Cancelled);
        using var session = new StreamSession(stream, context, new AttachedStreams(request.AttachStdin, true, true, request.Tty), request.DetachKeys);
        using var window = request.Tty && context.Terminal.InputIsTerminal ? WindowSize.ForExec(context, id) : null;
        session.BeginInput();
        if (!await session.CopyOutputAsync(invocation.Cancelled)) throw new CommandException("read escape sequence");
        return (await client.InspectExecAsync(id, invocation.Cancelled)).ExitCode ?? 0;
    }

    private static string[]? Environment(Invocation invocation)
    {
        try
        {
            var variables = invocation.Arguments.List("env-file").SelectMany(f => EnvironmentFiles.Read(f, invocation.Context.Variable))
                .Concat(invocation.Arguments.List("env").Select(e => CreateRequestBuilder.Variable(e, invocation.Context.Variable))).ToArray();
            return variables.Length > 0 ? variables : null;
        }
        catch (FormatException e)
        {
            throw new CommandException(e.Message);
        }
    }
}
