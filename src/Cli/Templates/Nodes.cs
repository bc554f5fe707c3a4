namespace Berth.Cli.Templates;

/// <summary>What a template consists of.</summary>
internal abstract record Node;

internal sealed record TextNode(string Text) : Node;

/// <summary>{{pipeline}}: prints its value, unless it declares or assigns.</summary>
internal sealed record ActionNode(Pipeline Pipeline) : Node;

internal sealed record IfNode(Pipeline Condition, List<Node> Then, List<Node> Else) : Node;

internal sealed record WithNode(Pipeline Value, List<Node> Then, List<Node> Else) : Node;

internal sealed record RangeNode(Pipeline Over, List<Node> Body, List<Node> Else) : Node;

internal sealed record BreakNode : Node;

internal sealed record ContinueNode : Node;

/// <summary>{{template "name" value}}</summary>
internal sealed record TemplateNode(string Name, Pipeline? Value, int Position) : Node;

/// <summary>[$a [, $b] := ] command | command ...</summary>
internal sealed record Pipeline(string[] Variables, bool Declares, List<CommandNode> Commands, int Position);

/// <summary>An operand, or a function or field with its arguments.</summary>
internal sealed record CommandNode(List<Operand> Operands)
{
    /// <summary>As it was written, for errors.</summary>
    public string Source => string.Join(' ', Operands.Select(o => o.Source));
}

/// <param name="Position">Where it is, for errors.</param>
/// <param name="Source">As it was written, for errors.</param>
internal abstract record Operand(int Position, string Source);

internal sealed record Constant(object? Value, int Position, string Source) : Operand(Position, Source);

/// <summary>.A.B; no names for the dot itself.</summary>
internal sealed record FieldPath(string[] Names, int Position, string Source) : Operand(Position, Source);

/// <summary>$x.A.B</summary>
internal sealed record VariablePath(string Name, string[] Names, int Position, string Source) : Operand(Position, Source);

/// <summary>(pipeline).A.B</summary>
internal sealed record Parenthesis(Pipeline Inner, string[] Names, int Position, string Source) : Operand(Position, Source);

internal sealed record Function(string Name, int Position) : Operand(Position, Name);
