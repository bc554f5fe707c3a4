using Berth.Cli.CommandLine;

namespace Berth.Cli.Commands.Engine;

/// <summary>What docker has and Berth has not: a line that says so is better than an unknown command.</summary>
internal static class ForeignCommands
{
    private const string Swarm = "Berth has no swarm mode: containers of one machine are run, and 'compose' describes several of them";

    public static readonly Command[] Commands =
    [
        Without("swarm", Swarm),
        Without("node", Swarm),
        Without("service", Swarm),
        Without("stack", Swarm),
        Without("secret", Swarm),
        Without("config", Swarm),
        Without("plugin", "Berth has no engine plugins: drivers of volumes, networks and logs are built in"),
        Without("trust", "Berth has no Notary signatures: which signatures an image needs is a policy of the engine (docs/registries.md)"),
        Without("checkpoint", "Berth makes no checkpoints of containers"),
    ];

    private static Command Without(string name, string why) => new()
    {
        Paths = [name],
        Usage = "COMMAND",
        Summary = "Not there: " + why,
        Hidden = true,
        ForAnother = true,
        Run = i => throw new CommandException($"'{i.FullPath}' is not supported. {why}"),
    };
}
