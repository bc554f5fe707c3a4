namespace Berth.Cli.CommandLine;

/// <summary>
/// A command as data. The tables in Commands/ are lists of these; dispatch, help and (later) completion and manual pages
/// all read them.
/// </summary>
internal sealed class Command
{
    /// <summary>Where it is found: "run", or "container ls". The first path is its proper name.</summary>
    public required string[] Paths { get; init; }

    /// <summary>What follows the name: "[OPTIONS] IMAGE [COMMAND] [ARG...]".</summary>
    public string Usage { get; init; } = "";

    /// <summary>One line without a full stop.</summary>
    public required string Summary { get; init; }

    /// <summary>More, for its own help; the summary when null.</summary>
    public string? Description { get; init; }

    /// <summary>Listed first, in this order; 0 for the others.</summary>
    public int CommonRank { get; init; }

    /// <summary>Made when the command is chosen: the other tables cost nothing.</summary>
    public Func<Flag[]> Flags { get; init; } = static () => [];

    /// <summary>False: the first word that is no flag ends the flags, the rest belongs to the container.</summary>
    public bool Interspersed { get; init; } = true;

    /// <summary>Known, but not listed.</summary>
    public bool Hidden { get; init; }

    /// <summary>Another program reads what follows the name, --help too: nothing of it is looked at here.</summary>
    public bool ForAnother { get; init; }

    public int MinArguments { get; init; }

    public int MaxArguments { get; init; } = int.MaxValue;

    public required Func<Invocation, Task<int>> Run { get; init; }

    public string Name => Paths[0];
}

/// <summary>A command that was chosen, with what it was given.</summary>
internal record Invocation(Command Command, string Path, Arguments Arguments, CommandContext Context)
{
    public CancellationToken Cancelled => Context.Cancelled;

    /// <summary>"berth run", as it was typed.</summary>
    public string FullPath => Context.ProgramName + " " + Path;

    /// <summary>The error that says how the command is to be used.</summary>
    public UsageException Misused(string reason, string verb = "Run") =>
        new($"{Context.ProgramName}: {reason}\n\nUsage:  {$"{FullPath} {Command.Usage}".TrimEnd()}\n\n{verb} '{FullPath} --help' for more information", 1);
}
