using Berth.Api;
using Berth.Cli.CommandLine;

namespace Berth.Cli.Commands.Containers;

internal static class UpdateCommand
{
    private static readonly HashSet<string> Names =
    [
        "blkio-weight", "cpu-period", "cpu-quota", "cpu-rt-period", "cpu-rt-runtime", "cpu-shares", "cpus", "cpuset-cpus", "cpuset-mems", "memory", "memory-reservation", "memory-swap", "pids-limit", "restart",
    ];

    public static readonly Command Command = new()
    {
        Paths = ["update", "container update"],
        Usage = "[OPTIONS] CONTAINER [CONTAINER...]",
        Summary = "Change limits and restart policy of containers",
        Flags = static () => [.. ContainerFlags.ForCreate().Where(f => Names.Contains(f.Name)).Select(f => f.Name == "restart" ? f with { Default = null } : f)],
        MinArguments = 1,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var flags = invocation.Arguments;
        if (!Names.Any(flags.Changed)) throw new CommandException("you must provide one or more flags when using this command");
        var change = CreateRequestBuilder.LimitsOf(flags);
        var (failed, warned) = (new List<string>(), new List<string>());
        foreach (var id in flags.Positional)
        {
            try
            {
                var answer = await invocation.Context.Client.UpdateContainerAsync(id, change, invocation.Cancelled);
                invocation.Context.Out.Write(id + "\n");
                warned.AddRange(answer.Warnings ?? []);
            }
            catch (EngineApiException e)
            {
                failed.Add(e.Message + await NearestName.HintAsync(invocation.Context, e.Message));
            }
        }
        if (warned.Count > 0) invocation.Context.Out.Write(string.Join('\n', warned) + "\n");
        return failed.Count == 0 ? 0 : throw new CommandException(string.Join('\n', failed));
    }
}
