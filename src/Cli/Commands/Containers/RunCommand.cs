using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Streams;

namespace Berth.Cli.Commands.Containers;

/// <summary>
/// berth run. Between the two waits of a start there are three round trips: create, then attach and wait side by side,
/// then start; nothing else is asked.
/// </summary>
internal static class RunCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["run", "container run"],
        Usage = "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        Summary = "Create a container from an image and run it",
        CommonRank = 1,
        Flags = ContainerFlags.ForRun,
        Interspersed = false,
        MinArguments = 1,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var request = CreateCommand.RequestOf(invocation);
        if (flags.Bool("detach"))
        {
            if (flags.List("attach").Count > 0) throw new CommandException("conflicting options: cannot specify both --attach and --detach");
            request.AttachStdin = request.AttachStdout = request.AttachStderr = request.StdinOnce = false;
        }
        else CheckTerminal(context, request.AttachStdin, request.Tty);

        string id;
        try
        {
            id = await CreateCommand.CreateAsync(invocation, request);
        }
        catch (Exception e) when (e is EngineApiException or EngineConnectionException or IOException or CommandException)
        {
            throw Failed(invocation, e);
        }

        using var signals = flags.Bool("sig-proxy") && !flags.Bool("detach") ? new SignalForwarder(context, id) : null;
        var attached = new AttachedStreams(request.AttachStdin, request.AttachStdout, request.AttachStderr, request.Tty);
        if (!attached.Stdin && !attached.Stdout && !attached.Stderr)
        {
            try
            {
                await context.Client.StartContainerAsync(id, cancellationToken: invocation.Cancelled);
            }
            catch (EngineApiException e)
            {
                context.Out.Write(id + "\n");
                throw Failed(invocation, e);
            }
            context.Out.Write(id + "\n");
            return 0;
        }

        var exit = await AttachedStart.RunAsync(context, id, attached, context.DetachKeysOf(flags), flags.Bool("rm"), e => Failed(invocation, e));
        return exit ?? 0;
    }

    public static void CheckTerminal(CommandContext context, bool attachStdin, bool tty)
    {
        if (attachStdin && tty && !context.Terminal.InputIsTerminal) throw new CommandException("the input device is not a TTY");
    }

    /// <summary>
    /// docker run's exit codes for what went wrong before the container's program ran: 127 it was not found, 126 it could
    /// not be executed, 125 everything else.
    /// </summary>
    private static CommandException Failed(Invocation invocation, Exception error)
    {
        var message = error.Message;
        var exitCode = message.Contains("executable file not found", StringComparison.Ordinal) || message.Contains("no such file or directory", StringComparison.Ordinal) ? 127
            : message.Contains("permission denied", StringComparison.Ordinal) || message.Contains("is a directory", StringComparison.Ordinal) ? 126
            : Application.BadFlags;
        return CreateCommand.WithHelp(invocation, message, exitCode);
    }
}
