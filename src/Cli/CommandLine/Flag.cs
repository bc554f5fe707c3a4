namespace Berth.Cli.CommandLine;

/// <summary>What a flag's value is; checked while parsing.</summary>
internal enum FlagKind
{
    Bool,
    String,
    /// <summary>May be given several times.</summary>
    List,
    /// <summary>The same, and several in one, divided by commas.</summary>
    Strings,
    Int,
    UInt16,
    UInt64,
    /// <summary>A size with unit: 64m.</summary>
    Bytes,
    /// <summary>The same, or -1.</summary>
    BytesOrUnlimited,
    /// <summary>Go's: 1m30s.</summary>
    Duration,
    /// <summary>A decimal fraction of CPUs.</summary>
    Decimal,
}

/// <summary>One flag of a command, as data: parsing, help and completion are made from it.</summary>
/// <param name="Name">Without dashes.</param>
/// <param name="Short">One letter, or '\0'.</param>
/// <param name="Kind">What its value is.</param>
/// <param name="Help">One sentence without a full stop.</param>
internal sealed record Flag(string Name, char Short, FlagKind Kind, string Help)
{
    public Flag(string name, FlagKind kind, string help) : this(name, '\0', kind, help) { }

    /// <summary>The value when it is not given, as text.</summary>
    public string? Default { get; init; }

    /// <summary>The word for its value in the help; by kind when null.</summary>
    public string? ValueName { get; init; }

    /// <summary>Known, but not shown (old spellings).</summary>
    public bool Hidden { get; init; }

    /// <summary>For an old spelling: the flag that is meant.</summary>
    public string? SpellingOf { get; init; }

    /// <summary>For an old spelling that docker speaks of when it is used: what to say after "has been deprecated, ".</summary>
    public string? Deprecated { get; init; }

    /// <summary>Checks and may rewrite each value. Throws <see cref="FormatException"/> with the reason.</summary>
    public Func<string, string>? Normalize { get; init; }

    public string TypeName => ValueName ?? Kind switch
    {
        FlagKind.Bool => "",
        FlagKind.String => "string",
        FlagKind.List => "list",
        FlagKind.Strings => "strings",
        FlagKind.Int => "int",
        FlagKind.UInt16 => "uint16",
        FlagKind.UInt64 => "uint",
        FlagKind.Bytes or FlagKind.BytesOrUnlimited => "bytes",
        FlagKind.Duration => "duration",
        _ => "decimal",
    };
}
