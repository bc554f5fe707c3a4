using Berth.Cli.CommandLine;

namespace Berth.Cli.Commands.Containers;

internal static class TopCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["top", "container top"],
        Usage = "CONTAINER [ps OPTIONS]",
        Summary = "Show the processes of a container",
        Interspersed = false,
        MinArguments = 1,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var words = invocation.Arguments.Positional;
        var processes = await invocation.Context.Client.TopAsync(words[0], string.Join(' ', words.Skip(1)), invocation.Cancelled);
        // Twenty columns wide, as ps's own listing would be.
        string[][] rows = [processes.Titles, .. processes.Processes];
        if (processes.Titles.Length == 0) return 0;
        var widths = Enumerable.Range(0, processes.Titles.Length).Select(c => Math.Max(20, rows.Max(r => c < r.Length ? r[c].Length + 3 : 0))).ToArray();
        foreach (var row in rows) invocation.Context.Out.Write(string.Concat(row.Select((cell, i) => i < row.Length - 1 ? cell.PadRight(widths[i]) : cell)) + "\n");
        return 0;
    }
}
