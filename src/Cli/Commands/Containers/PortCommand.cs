using Berth.Cli.CommandLine;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Containers;

internal static class PortCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["port", "container port"],
        Usage = "CONTAINER [PRIVATE_PORT[/PROTO]]",
        Summary = "Show which ports of the host lead to a container",
        MinArguments = 1,
        MaxArguments = 2,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (name, out_) = (invocation.Arguments.Positional[0], invocation.Context.Out);
        var ports = (await invocation.Context.Client.InspectContainerAsync(name, invocation.Cancelled)).NetworkSettings.Ports ?? [];
        if (invocation.Arguments.Positional.Count > 1)
        {
            var wanted = invocation.Arguments.Positional[1];
            var key = wanted.Contains('/') ? wanted : wanted + "/tcp";
            try
            {
                GoText.ParseUInt(key[..key.IndexOf('/')], 16);
            }
            catch (FormatException e)
            {
                throw new CommandException($"Error: invalid port ({key[..key.IndexOf('/')]}): {e.Message}");
            }
            if (!ports.TryGetValue(key, out var bindings) || bindings is not { Length: > 0 }) throw new CommandException($"Error: No public port '{wanted}' published for {name}");
            foreach (var line in bindings.Select(b => PortsText.Join(b.HostIp, b.HostPort)).Order(StringComparer.Ordinal)) out_.Write(line + "\n");
            return 0;
        }
        var lines = ports.SelectMany(p => (p.Value ?? []).Select(b => (Port: p.Key, Line: $"{p.Key} -> {PortsText.Join(b.HostIp, b.HostPort)}")))
            .OrderBy(l => int.TryParse(l.Port.Split('/')[0], out var number) ? number : 0).ThenBy(l => l.Line, StringComparer.Ordinal);
        foreach (var (_, line) in lines) out_.Write(line + "\n");
        return 0;
    }
}
