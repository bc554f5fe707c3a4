using Berth.Cli.CommandLine;
using Berth.Linux;

namespace Berth.Cli.Commands.Engine;

/// <summary>"berth registry …": berthd does it (docs/decisions/0860), and this process becomes it, so that signals and exit code are its own.</summary>
internal static class RegistryVerbs
{
    private const string Daemon = "berthd";

    public static readonly Command[] Commands =
    [
        new() { Paths = ["registry serve"], Usage = "[OPTIONS]", Summary = "Serve a registry (OCI distribution-spec 1.1)", ForAnother = true, Run = i => BecomeAsync(i, "serve") },
        new() { Paths = ["registry gc"], Usage = "[OPTIONS]", Summary = "Collect the garbage of a registry now", ForAnother = true, Run = i => BecomeAsync(i, "gc") },
    ];

    private static Task<int> BecomeAsync(Invocation invocation, string verb)
    {
        if (!OperatingSystem.IsLinux()) throw new CommandException("a registry is served on Linux");
        var path = Find() ?? throw new CommandException($"{Daemon}, which serves registries, is neither beside berth nor on PATH");
        invocation.Context.Flush();
        Execution.Become(path, [Daemon, "registry", verb, .. invocation.Arguments.Positional]);
        return Task.FromResult(0); // not reached
    }

    private static string? Find() => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries)
        .Prepend(Path.GetDirectoryName(Environment.ProcessPath) ?? "/").Select(d => Path.Combine(d, Daemon)).FirstOrDefault(File.Exists);
}
