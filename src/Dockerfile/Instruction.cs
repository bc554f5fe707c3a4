namespace Berth.Dockerfile;

/// <summary>An instruction of a stage, understood. Dockerfile reference, "Instructions".</summary>
public abstract record Instruction
{
    /// <summary>As written: "RUN", "run".</summary>
    public string Name { get; init; } = "";

    /// <summary>The logical line: what progress and history show.</summary>
    public string Text { get; init; } = "";

    public LineSpan Lines { get; init; }

    /// <summary>The comments right above it.</summary>
    public IReadOnlyList<string> Comments { get; init; } = [];

    /// <summary>With variables put in where this instruction has them.</summary>
    /// <param name="word">Expands a word.</param>
    /// <param name="content">Expands the content of a here-document, in which quotes are text.</param>
    /// <param name="words">Expands a word that may become several.</param>
    public virtual Instruction Expand(Func<string, string> word, Func<string, string> content, Func<string, IReadOnlyList<string>> words) => this;
}

/// <summary>A variable of the build. Without a value it takes that of --build-arg, or none.</summary>
/// <param name="Description">The comment "# NAME text" above it.</param>
public sealed record BuildArgument(string Name, string? Value, string Description = "");

public sealed record ArgInstruction(IReadOnlyList<BuildArgument> Arguments) : Instruction
{
    public override Instruction Expand(Func<string, string> word, Func<string, string> content, Func<string, IReadOnlyList<string>> words) =>
        this with { Arguments = [.. Arguments.Select(a => a with { Name = word(a.Name), Value = a.Value is null ? null : word(a.Value) })] };
}

public sealed record EnvInstruction(IReadOnlyList<NamedValue> Variables) : Instruction
{
    public override Instruction Expand(Func<string, string> word, Func<string, string> content, Func<string, IReadOnlyList<string>> words) => this with { Variables = Variables.Expand(word) };
}

public sealed record LabelInstruction(IReadOnlyList<NamedValue> Labels) : Instruction
{
    public override Instruction Expand(Func<string, string> word, Func<string, string> content, Func<string, IReadOnlyList<string>> words) => this with { Labels = Labels.Expand(word) };
}

/// <summary>A file whose content stands in the Dockerfile.</summary>
/// <param name="Name">What it is called at its destination.</param>
public sealed record InlineFile(string Name, string Content, bool Expand);

/// <summary>What ADD and COPY have in common.</summary>
public abstract record TransferInstruction : Instruction
{
    public IReadOnlyList<string> Sources { get; init; } = [];
    public IReadOnlyList<InlineFile> Files { get; init; } = [];
    public string Destination { get; init; } = "";
    public string Chown { get; init; } = "";
    public string Chmod { get; init; } = "";
    public bool Link { get; init; }
    public IReadOnlyList<string> Exclude { get; init; } = [];

    public override Instruction Expand(Func<string, string> word, Func<string, string> content, Func<string, IReadOnlyList<string>> words) => this with
    {
        Sources = [.. Sources.Select(word)], Destination = word(Destination), Chown = word(Chown), Chmod = word(Chmod),
        Files = [.. Files.Select(f => f.Expand ? f with { Content = content(f.Content) } : f)],
    };
}

public sealed record AddInstruction : TransferInstruction
{
    /// <summary>sha256:… of a URL's content, or a Git commit.</summary>
    public string Checksum { get; init; } = "";

    /// <summary>Null: as the kind of source has it (local archives are unpacked, downloads are not).</summary>
    public bool? Unpack { get; init; }

    public bool? KeepGitDirectory { get; init; }

    public override Instruction Expand(Func<string, string> word, Func<string, string> content, Func<string, IReadOnlyList<string>> words) => (AddInstruction)base.Expand(word, content, words) with { Checksum = word(Checksum) };
}

public sealed record CopyInstruction : TransferInstruction
{
    /// <summary>A stage, its number, a named context or an image; empty for the build context.</summary>
    public string From { get; init; } = "";

    public bool Parents { get; init; }
}

/// <summary>A command line: a list to be executed, or text for the shell.</summary>
public sealed record CommandLine(IReadOnlyList<string> Arguments, bool IsShell)
{
    public static readonly CommandLine None = new([], IsShell: false);
}

public enum RunNetwork
{
    Default,
    None,
    Host,
}

public sealed record RunInstruction(CommandLine Command) : Instruction
{
    public IReadOnlyList<Heredoc> Heredocs { get; init; } = [];

    /// <summary>As written; <see cref="Mounts"/> is what they say once variables are in.</summary>
    public IReadOnlyList<string> MountFlags { get; init; } = [];

    public IReadOnlyList<RunMount> Mounts { get; init; } = [];
    public RunNetwork Network { get; init; }

    /// <summary>--security=insecure: all privileges, where the builder grants them.</summary>
    public bool Insecure { get; init; }

    public override Instruction Expand(Func<string, string> word, Func<string, string> content, Func<string, IReadOnlyList<string>> words) => this with { Mounts = [.. MountFlags.Select(flag => RunMount.Parse(flag, word))] };
}

public sealed record CmdInstruction(CommandLine Command) : Instruction;

public sealed record EntrypointInstruction(CommandLine Command) : Instruction;

public sealed record ShellInstruction(IReadOnlyList<string> Shell) : Instruction;

public sealed record ExposeInstruction(IReadOnlyList<string> Ports) : Instruction
{
    public override Instruction Expand(Func<string, string> word, Func<string, string> content, Func<string, IReadOnlyList<string>> words) => this with { Ports = [.. Ports.SelectMany(words)] };
}

public sealed record VolumeInstruction(IReadOnlyList<string> Paths) : Instruction
{
    public override Instruction Expand(Func<string, string> word, Func<string, string> content, Func<string, IReadOnlyList<string>> words) => this with { Paths = [.. Paths.Select(word)] };
}

public sealed record UserInstruction(string User) : Instruction
{
    public override Instruction Expand(Func<string, string> word, Func<string, string> content, Func<string, IReadOnlyList<string>> words) => this with { User = word(User) };
}

public sealed record WorkdirInstruction(string Path) : Instruction
{
    public override Instruction Expand(Func<string, string> word, Func<string, string> content, Func<string, IReadOnlyList<string>> words) => this with { Path = word(Path) };
}

public sealed record StopSignalInstruction(string Signal) : Instruction
{
    public override Instruction Expand(Func<string, string> word, Func<string, string> content, Func<string, IReadOnlyList<string>> words) => this with { Signal = word(Signal) };
}

/// <param name="Test">["NONE"], ["CMD", …] or ["CMD-SHELL", text].</param>
public sealed record HealthcheckInstruction(IReadOnlyList<string> Test) : Instruction
{
    // Nanoseconds; 0 is the default.
    public long Interval { get; init; }
    public long Timeout { get; init; }
    public long StartPeriod { get; init; }
    public long StartInterval { get; init; }
    public int Retries { get; init; }
}

/// <summary>An instruction for who builds on the image.</summary>
public sealed record OnBuildInstruction(string Trigger) : Instruction;

public sealed record MaintainerInstruction(string Maintainer) : Instruction;

internal static class NamedValues
{
    public static IReadOnlyList<NamedValue> Expand(this IReadOnlyList<NamedValue> pairs, Func<string, string> word) =>
        [.. pairs.Select(p => p with { Name = word(p.Name), Value = word(p.Value) })];
}
