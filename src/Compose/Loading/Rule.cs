using System.Text.RegularExpressions;

namespace Berth.Compose.Loading;

/// <summary>Kinds of values, in the words of JSON schema, which docker compose's errors use.</summary>
[Flags]
internal enum Kinds
{
    None,
    Null = 1,
    Boolean = 2,
    Integer = 4,
    Number = 8,
    String = 16,
    List = 32,
    Map = 64,
}

/// <summary>What a value may be. Not every combination is of use: a rule is made by the functions below.</summary>
internal sealed record Rule(Kinds Kinds)
{
    /// <summary>The texts that are allowed; null: any.</summary>
    public string[]? Texts { get; init; }

    /// <summary>Found somewhere in the text.</summary>
    public Regex? Pattern { get; init; }

    public long? Minimum { get; init; }
    public long? Maximum { get; init; }

    /// <summary>Of each item of a list.</summary>
    public Rule? Item { get; init; }

    /// <summary>No two items are equal.</summary>
    public bool IsSet { get; init; }

    /// <summary>Keys of a map that have a meaning.</summary>
    public IReadOnlyDictionary<string, Rule>? Fields { get; init; }

    /// <summary>Keys that are the user's own names, and what is below them.</summary>
    public (Func<string, bool> IsName, Rule Value)? Named { get; init; }

    /// <summary>Keys that begin with x- are allowed, with anything below them.</summary>
    public bool MayBeExtended { get; init; }

    /// <summary>Keys that are neither fields nor names are an error.</summary>
    public bool IsClosed { get; init; }

    public string[]? Required { get; init; }

    /// <summary>Exactly one of these holds.</summary>
    public Rule[]? Choices { get; init; }

    public static Rule Any(params Rule[] choices) => new(Kinds.None) { Choices = choices };

    public static Rule ListOf(Rule item) => new(Kinds.List) { Item = item };

    public static Rule SetOf(Rule item) => new(Kinds.List) { Item = item, IsSet = true };

    public static Rule OneOf(params string[] texts) => new(Kinds.String) { Texts = texts };

    public static Rule MapOf(Func<string, bool> isName, Rule value, bool isClosed) => new(Kinds.Map) { Named = (isName, value), IsClosed = isClosed };

    /// <summary>A map with these fields, and x- ones.</summary>
    public static Rule Map(params (Rule Rule, string Names)[] fields) => Closed(fields) with { MayBeExtended = true };

    /// <summary>A map with these fields and no others.</summary>
    /// <param name="fields">A rule, and the names it holds for, separated by spaces.</param>
    public static Rule Closed(params (Rule Rule, string Names)[] fields)
    {
        var byName = new Dictionary<string, Rule>(StringComparer.Ordinal);
        foreach (var (rule, names) in fields)
            foreach (var name in names.Split(' ')) byName.Add(name, rule);
        return new Rule(Kinds.Map) { Fields = byName, IsClosed = true };
    }

    public Rule Needs(params string[] fields) => this with { Required = fields };
}
