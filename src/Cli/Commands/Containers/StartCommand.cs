using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Streams;

namespace Berth.Cli.Commands.Containers;

internal static class StartCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["start", "container start"],
        Usage = "[OPTIONS] CONTAINER [CONTAINER...]",
        Summary = "Start containers that are stopped",
        Flags = static () =>
        [
            new("attach", 'a', FlagKind.Bool, "Attach to STDOUT and STDERR, and pass signals on"),
            new("checkpoint", FlagKind.String, "Go on from a checkpoint: there are none here") { Hidden = true },
            new("checkpoint-dir", FlagKind.String, "Where it is: there are none here") { Hidden = true },
            new("detach-keys", FlagKind.String, "Keys that detach from the container, instead of ctrl-p,ctrl-q"),
            new("interactive", 'i', FlagKind.Bool, "Attach to STDIN"),
        ],
        MinArguments = 1,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        if (flags.Changed("checkpoint") || flags.Changed("checkpoint-dir")) throw new CommandException("Berth makes no checkpoints of containers: there is none to go on from");
        if (flags.Bool("attach") || flags.Bool("interactive")) return await AttachedAsync(context, flags);
        return await ContainerVerbs.ForEachAsync(context, flags.Positional, id => context.Client.StartContainerAsync(id, cancellationToken: context.Cancelled), "start");
    }

    private static async Task<int> AttachedAsync(CommandContext context, Arguments flags)
    {
        if (flags.Positional.Count > 1) throw new CommandException("you cannot start and attach multiple containers at once");
        var container = await context.Client.InspectContainerAsync(flags.Positional[0], context.Cancelled);
        using var signals = container.Config.Tty ? null : new SignalForwarder(context, container.Id);
        var attached = new AttachedStreams(flags.Bool("interactive") && container.Config.OpenStdin, true, true, container.Config.Tty);
        RunCommand.CheckTerminal(context, attached.Stdin, attached.Tty);
        var exit = await AttachedStart.RunAsync(context, container.Id, attached, context.DetachKeysOf(flags), container.HostConfig.AutoRemove, static e => e);
        return exit ?? 0;
    }
}
