using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Streams;

namespace Berth.Cli.Commands.Containers;

internal static class AttachCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["attach", "container attach"],
        Usage = "[OPTIONS] CONTAINER",
        Summary = "Connect this terminal's input and output to a running container",
        Flags = static () =>
        [
            new("detach-keys", FlagKind.String, "Keys that detach from the container, instead of ctrl-p,ctrl-q"),
            new("no-stdin", FlagKind.Bool, "Leave STDIN alone"),
            new("sig-proxy", FlagKind.Bool, "Pass signals on to the container's process") { Default = "true" },
        ],
        MinArguments = 1,
        MaxArguments = 1,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var client = context.Client;
        var name = flags.Positional[0];
        var container = await client.InspectContainerAsync(name, invocation.Cancelled);
        Check(container.State);
        using var wait = await client.BeginWaitAsync(container.Id, null, invocation.Cancelled);
        var attached = new AttachedStreams(!flags.Bool("no-stdin") && container.Config.OpenStdin, true, true, container.Config.Tty);
        RunCommand.CheckTerminal(context, !flags.Bool("no-stdin"), container.Config.Tty);
        using var signals = flags.Bool("sig-proxy") && !container.Config.Tty ? new SignalForwarder(context, container.Id) : null;
        var stream = await client.AttachAsync(container.Id, attached.Stdin, true, true, detachKeys: context.DetachKeysOf(flags), cancellationToken: invocation.Cancelled);
        using var session = new StreamSession(stream, context, attached, context.DetachKeysOf(flags));
        // It may have stopped since it was asked for, and then there would be nothing to wait for.
        Check((await client.InspectContainerAsync(container.Id, invocation.Cancelled)).State);
        if (attached.Tty && context.Terminal is { OutputIsTerminal: true, Size: var (height, width) })
        {
            // A program redraws when the size changes: so make it change.
            try
            {
                await client.ResizeContainerAsync(container.Id, height + 1, width + 1, invocation.Cancelled);
            }
            catch (EngineApiException)
            {
            }
        }
        using var window = attached.Tty && context.Terminal.OutputIsTerminal ? WindowSize.ForContainer(context, container.Id) : null;
        session.BeginInput();
        if (!await session.CopyOutputAsync(invocation.Cancelled)) throw new CommandException("read escape sequence");
        var result = await wait.ResultAsync(invocation.Cancelled);
        if (result.Error is { Message: { } message }) throw new CommandException(message);
        return (int)result.StatusCode;
    }

    private static void Check(ContainerState state)
    {
        if (!state.Running) throw new CommandException("You cannot attach to a stopped container, start it first");
        if (state.Paused) throw new CommandException("You cannot attach to a paused container, unpause it first");
        if (state.Restarting) throw new CommandException("You cannot attach to a restarting container, wait until it is running");
    }
}
