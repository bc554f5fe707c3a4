using System.Collections;
using System.Globalization;

namespace Berth.Cli.Templates;

/// <summary>
/// A Go template (text/template) over JSON documents and table rows: fields, pipes, functions, if, range, with, variables,
/// define. What --format is written in.
/// </summary>
internal sealed class Template
{
    /// <summary>Longest output of one execution, in characters.</summary>
    private const int MaxOutput = 64 << 20;

    /// <summary>Deepest {{template}} within {{template}}.</summary>
    private const int MaxDepth = 100;

    private readonly string _text;
    private readonly List<Node> _body;
    private readonly Dictionary<string, List<Node>> _named;

    private readonly string _name;

    private Template(string text, List<Node> body, Dictionary<string, List<Node>> named, string name) => (_text, _body, _named, _name) = (text, body, named, name);

    /// <exception cref="TemplateException">It is not well formed.</exception>
    /// <param name="text">The template.</param>
    /// <param name="name">What errors call it.</param>
    public static Template Parse(string text, string name = "")
    {
        try
        {
            var (body, named) = Parser.Parse(text);
            return new Template(text, body, named, name);
        }
        catch (TemplateException e) when (name.Length > 0 && e.Message.StartsWith("template: :", StringComparison.Ordinal))
        {
            throw new TemplateException($"template: {name}:" + e.Message["template: :".Length..]);
        }
    }

    /// <exception cref="TemplateException">A field is not there, or a function is used wrongly.</exception>
    /// <param name="data">The dot.</param>
    /// <param name="headings">It is a line of headings: functions that change a text leave it, pad alone does not.</param>
    public string Execute(object? data, bool headings = false)
    {
        var output = new StringWriter(CultureInfo.InvariantCulture);
        new Run(this, output, headings).All(_body, data);
        return output.ToString();
    }

    /// <summary>
    /// Over a document: with Go's names and types if the template goes through that way, otherwise with JSON's, so that
    /// {{.ID}} and {{.Id}} both find something, each as docker shows it.
    /// </summary>
    /// <exception cref="TemplateException">Neither way; the message is about JSON's.</exception>
    public string Execute(System.Text.Json.JsonElement document, Type type)
    {
        try
        {
            return Execute(JsonValue.Wrap(document, type));
        }
        catch (TemplateException)
        {
            return Execute(JsonValue.Wrap(document, null));
        }
    }

    private enum Flow
    {
        Next,
        Break,
        Continue,
    }

    private sealed class Run(Template template, StringWriter output, bool headings)
    {
        private readonly List<(string Name, object? Value)> _variables = [];
        private int _depth;

        public void All(List<Node> nodes, object? data)
        {
            _variables.Add(("$", data));
            Block(nodes, data);
        }

        private Flow Block(List<Node> nodes, object? dot)
        {
            var mark = _variables.Count;
            var flow = Flow.Next;
            foreach (var node in nodes)
            {
                flow = One(node, dot);
                if (flow != Flow.Next) break;
                if (output.GetStringBuilder().Length > MaxOutput) throw new TemplateException($"template: output of more than {MaxOutput} characters");
            }
            _variables.RemoveRange(mark, _variables.Count - mark);
            return flow;
        }

        private Flow One(Node node, object? dot)
        {
            switch (node)
            {
                case TextNode text:
                    output.Write(text.Text);
                    return Flow.Next;
                case ActionNode { Pipeline: var pipeline }:
                    var value = Evaluate(pipeline, dot);
                    if (pipeline.Variables.Length == 0) output.Write(GoValue.Print(value));
                    return Flow.Next;
                case IfNode branch:
                    var mark = _variables.Count;
                    var flow = Block(GoValue.IsTrue(Evaluate(branch.Condition, dot)) ? branch.Then : branch.Else, dot);
                    _variables.RemoveRange(mark, _variables.Count - mark);
                    return flow;
                case WithNode with:
                    mark = _variables.Count;
                    var inner = Evaluate(with.Value, dot);
                    flow = GoValue.IsTrue(inner) ? Block(with.Then, inner) : Block(with.Else, dot);
                    _variables.RemoveRange(mark, _variables.Count - mark);
                    return flow;
                case RangeNode range:
                    return Range(range, dot);
                case BreakNode:
                    return Flow.Break;
                case ContinueNode:
                    return Flow.Continue;
                case TemplateNode call:
                    Call(call, dot);
                    return Flow.Next;
                default:
                    throw new InvalidOperationException(node.ToString());
            }
        }

        private void Call(TemplateNode call, object? dot)
        {
            if (!template._named.TryGetValue(call.Name, out var body)) throw Error(call.Position, "{{template " + GoText.Quote(call.Name) + "}}", $"template {GoText.Quote(call.Name)} not defined");
            if (++_depth > MaxDepth) throw Error(call.Position, "{{template}}", "exceeded maximum template depth");
            var data = call.Value is null ? null : Evaluate(call.Value, dot);
            var outer = _variables.ToArray();
            _variables.Clear();
            All(body, data);
            _variables.Clear();
            _variables.AddRange(outer);
            _depth--;
        }

        private Flow Range(RangeNode range, object? dot)
        {
            var mark = _variables.Count;
            var over = Evaluate(range.Over with { Variables = [] }, dot);
            var any = false;
            foreach (var (key, item) in Entries(range, over))
            {
                any = true;
                if (range.Over.Variables is [.., var last])
                {
                    if (range.Over.Declares)
                    {
                        if (range.Over.Variables.Length == 2) _variables.Add((range.Over.Variables[0], key));
                        _variables.Add((last, item));
                    }
                    else
                    {
                        if (range.Over.Variables.Length == 2) Assign(range.Over.Variables[0], key, range.Over.Position);
                        Assign(last, item, range.Over.Position);
                    }
                }
                var flow = Block(range.Body, item);
                _variables.RemoveRange(mark, _variables.Count - mark);
                if (flow == Flow.Break) break;
            }
            return any ? Flow.Next : Block(range.Else, dot);
        }

        private IEnumerable<(object? Key, object? Item)> Entries(RangeNode range, object? over) => over switch
        {
            null => [],
            JsonValue { IsArray: true } array => array.Items.Select((item, i) => ((object?)(long)i, item)),
            JsonValue { IsStruct: false } map => map.Entries.Select(e => ((object?)e.Key, e.Value)),
            long count => Enumerable.Range(0, (int)Math.Clamp(count, 0, 1 << 20)).Select(i => ((object?)(long)i, (object?)(long)i)),
            IEnumerable list and not string => list.Cast<object?>().Select((item, i) => ((object?)(long)i, item)),
            _ => throw Error(range.Over.Position, string.Join(" | ", range.Over.Commands.Select(c => c.Source)), $"range can't iterate over {GoValue.Print(over)}"),
        };

        private object? Evaluate(Pipeline pipeline, object? dot)
        {
            object? value = null;
            for (var i = 0; i < pipeline.Commands.Count; i++) value = Command(pipeline.Commands[i], dot, value, hasFinal: i > 0);
            foreach (var name in pipeline.Variables)
            {
                if (pipeline.Declares) _variables.Add((name, value));
                else Assign(name, value, pipeline.Position);
            }
            return value;
        }

        private void Assign(string name, object? value, int position)
        {
            var index = _variables.FindLastIndex(v => v.Name == name);
            if (index < 0) throw Error(position, name, $"undefined variable: {name}");
            _variables[index] = (name, value);
        }

        private object? Command(CommandNode command, object? dot, object? final, bool hasFinal)
        {
            var first = command.Operands[0];
            if (first is Constant { Value: null } nil) throw Error(nil.Position, nil.Source, "nil is not a command");
            if (command.Operands.Count == 1 && !hasFinal && first is not Function) return Value(first, dot);
            if (first is Function { Name: "call" }) throw Error(first.Position, command.Source, command.Operands.Count == 1 ? "wrong number of args for call: want at least 1 got 0"
                : $"error calling call: non-function {command.Operands[1].Source} of type {GoValue.TypeName(Value(command.Operands[1], dot))}");
            if (first is Function { Name: "and" or "or" } shortCircuit) return ShortCircuit(shortCircuit, command, dot, final, hasFinal);
            object?[] arguments = [.. command.Operands.Skip(1).Select(o => Value(o, dot)), .. hasFinal ? (object?[])[final] : []];
            switch (first)
            {
                case Function function:
                    return headings && Functions.LeavesHeadings(function.Name) && arguments is [string heading, ..] ? heading : Guard(function, command.Source, () => Functions.Call(function.Name, arguments));
                case FieldPath { Names: [.. var before, var method] } field:
                    if (Walk(dot, before, field) is ITemplateObject row && row.TryCall(method, arguments, out var result))
                        return arguments.Length == 1 ? result : throw Error(field.Position, field.Source, $"wrong number of args for {method}: want 1 got {arguments.Length}");
                    throw Error(field.Position, field.Source, $"{method} has arguments but cannot be invoked as function");
                default:
                    throw Error(first.Position, first.Source, $"can't give argument to non-function {first.Source}");
            }
        }

        // The arguments after the deciding one are not looked at.
        private object? ShortCircuit(Function function, CommandNode command, object? dot, object? final, bool hasFinal)
        {
            object? value = null;
            var count = command.Operands.Count - 1 + (hasFinal ? 1 : 0);
            if (count == 0) throw Error(function.Position, function.Name, $"wrong number of args for {function.Name}: want at least 1 got 0");
            for (var i = 0; i < count; i++)
            {
                value = i + 1 < command.Operands.Count ? Value(command.Operands[i + 1], dot) : final;
                if (GoValue.IsTrue(value) == (function.Name == "or")) break;
            }
            return value;
        }

        private object? Value(Operand operand, object? dot) => operand switch
        {
            Constant constant => constant.Value,
            FieldPath field => Walk(dot, field.Names, field),
            VariablePath variable => Walk(Variable(variable), variable.Names, variable),
            Parenthesis parenthesis => Walk(Evaluate(parenthesis.Inner, dot), parenthesis.Names, parenthesis),
            Function function => Guard(function, function.Name, () => Functions.Call(function.Name, [])),
            _ => throw new InvalidOperationException(operand.ToString()),
        };

        private object? Variable(VariablePath variable)
        {
            var index = _variables.FindLastIndex(v => v.Name == variable.Name);
            return index >= 0 ? _variables[index].Value : throw Error(variable.Position, variable.Source, $"undefined variable: {variable.Name}");
        }

        private object? Walk(object? value, string[] names, Operand operand)
        {
            foreach (var name in names)
            {
                switch (value)
                {
                    case JsonValue json:
                        if (json.TryGet(name, out var found)) value = found;
                        else if (json.IsArray) throw Error(operand.Position, operand.Source, $"can't evaluate field {name} in type {GoValue.TypeName(json)}");
                        else if (json.Type is not null && !json.IsStruct) value = NoValue.Instance;
                        else throw NoEntry(operand, name);
                        break;
                    case ITemplateObject row:
                        value = row.TryGet(name, out var cell) ? cell : row.TryCall(name, [], out _) ? throw Error(operand.Position, operand.Source, $"wrong number of args for {name}: want 1 got 0") : throw Error(operand.Position, operand.Source, $"can't evaluate field {name} in type {row.TypeName}");
                        break;
                    case NoValue:
                        throw NoEntry(operand, name);
                    case null:
                        throw Error(operand.Position, operand.Source, $"nil pointer evaluating interface {{}}.{name}");
                    default:
                        throw Error(operand.Position, operand.Source, $"can't evaluate field {name} in type {GoValue.TypeName(value)}");
                }
            }
            return value;
        }

        private TemplateException NoEntry(Operand operand, string name) => Error(operand.Position, operand.Source, $"map has no entry for key {GoText.Quote(name)}");

        private object? Guard(Function function, string source, Func<object?> call)
        {
            try
            {
                return call();
            }
            catch (TemplateException e)
            {
                throw Error(function.Position, source, e.Message);
            }
        }

        private TemplateException Error(int position, string source, string message)
        {
            var before = template._text.AsSpan(0, Math.Min(position, template._text.Length));
            var line = before.Count('\n') + 1;
            var column = position - (before.LastIndexOf('\n') + 1);
            return new TemplateException($"template: {template._name}:{line}:{column}: executing {GoText.Quote(template._name)} at <{source}>: {message}");
        }
    }
}
