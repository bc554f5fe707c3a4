using System.Globalization;
using Berth.Api;
using Berth.Cli.CommandLine;

namespace Berth.Cli.Commands.Containers;

internal static class LogsCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["logs", "container logs"],
        Usage = "[OPTIONS] CONTAINER",
        Summary = "Show what a container has printed",
        Flags = static () =>
        [
            new("details", FlagKind.Bool, "Extra attributes of the log before each line"),
            new("follow", 'f', FlagKind.Bool, "Go on with what it prints"),
            new("since", FlagKind.String, "From this time on (2013-01-02T13:23:37Z) or so long ago (42m)"),
            new("tail", 'n', FlagKind.String, "The last so many lines") { Default = "all" },
            new("timestamps", 't', FlagKind.Bool, "A time before each line"),
            new("until", FlagKind.String, "Up to this time (2013-01-02T13:23:37Z) or so long ago (42m)"),
        ],
        MinArguments = 1,
        MaxArguments = 1,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var id = flags.Positional[0];
        string? TimeOf(string flag)
        {
            try
            {
                return Times.ToUnix(flags.String(flag), context.Time);
            }
            catch (CommandException e)
            {
                throw new CommandException($"invalid value for \"{flag}\": {e.Message}");
            }
        }
        using var response = await context.Client.LogsAsync(
            id, follow: flags.Bool("follow"), timestamps: flags.Bool("timestamps"), details: flags.Bool("details"),
            since: TimeOf("since"), until: TimeOf("until"), tail: flags.String("tail"), cancellationToken: invocation.Cancelled);
        // Since API 1.42 the answer says which form it has; before, the container has to be asked.
        var multiplexed = response.Header("Content-Type") switch
        {
            EngineClient.MultiplexedStream => true,
            EngineClient.RawStream when ApiVersions.Compare(context.Client.ApiVersion, "1.42") >= 0 => false,
            _ => !(await context.Client.InspectContainerAsync(id, invocation.Cancelled)).Config.Tty,
        };
        context.Flush();
        if (multiplexed) await StdFrame.DemultiplexAsync(response.Body, context.OutStream, context.ErrStream, invocation.Cancelled);
        else await response.Body.CopyToAsync(context.OutStream, 32 * 1024, invocation.Cancelled);
        return 0;
    }
}
