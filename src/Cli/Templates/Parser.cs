using System.Globalization;

namespace Berth.Cli.Templates;

/// <summary>Tokens to nodes, by recursive descent.</summary>
internal sealed class Parser
{
    /// <summary>Deepest nesting of blocks and parentheses.</summary>
    private const int MaxDepth = 100;

    private readonly string _text;
    private readonly List<Token> _tokens;
    private int _at, _depth;

    private Parser(string text) => (_text, _tokens) = (text, Lexer.Run(text));

    public Dictionary<string, List<Node>> Named { get; } = new(StringComparer.Ordinal);

    /// <exception cref="TemplateException">It is not well formed.</exception>
    public static (List<Node> Body, Dictionary<string, List<Node>> Named) Parse(string text)
    {
        var parser = new Parser(text);
        var body = parser.Block(out var end);
        if (end != "") throw parser.Error($"unexpected {{{{{end}}}}}");
        return (body, parser.Named);
    }

    private Token Peek => _tokens[_at];

    private Token Next() => _tokens[_at++];

    private Token NextNonSpace()
    {
        SkipSpace();
        return Next();
    }

    private void SkipSpace()
    {
        while (Peek.Kind == TokenKind.Space) _at++;
    }

    private void Expect(TokenKind kind, string context)
    {
        SkipSpace();
        if (Peek.Kind != kind) throw Error($"unexpected {Describe(Peek)} in {context}");
        _at++;
    }

    // Up to {{end}} or {{else}} (left to be read by the caller, told by its word) or the end of the text.
    private List<Node> Block(out string end)
    {
        if (++_depth > MaxDepth) throw Error("nested too deeply");
        var nodes = new List<Node>();
        while (true)
        {
            var token = Next();
            if (token.Kind == TokenKind.Text)
            {
                nodes.Add(new TextNode(token.Value));
                continue;
            }
            if (token.Kind == TokenKind.End)
            {
                _depth--;
                end = "";
                return nodes;
            }
            SkipSpace(); // after {{
            if (Peek.Kind == TokenKind.Word)
            {
                switch (Peek.Value)
                {
                    case "end" or "else":
                        end = Next().Value;
                        _depth--;
                        return nodes;
                    case "if":
                        Next();
                        nodes.Add(If());
                        continue;
                    case "with":
                        Next();
                        var value = Pipeline("with");
                        var (then, otherwise) = Branches("with");
                        nodes.Add(new WithNode(value, then, otherwise));
                        continue;
                    case "range":
                        Next();
                        var over = Pipeline("range");
                        var (body, none) = Branches("range");
                        nodes.Add(new RangeNode(over, body, none));
                        continue;
                    case "break" or "continue":
                        nodes.Add(Next().Value == "break" ? new BreakNode() : new ContinueNode());
                        Expect(TokenKind.Close, "action");
                        continue;
                    case "define" or "block":
                        var isBlock = Next().Value == "block";
                        var name = NextNonSpace();
                        if (name.Kind != TokenKind.String) throw Error($"unexpected {Describe(name)} in define clause");
                        var argument = isBlock ? Pipeline("block clause") : null;
                        if (!isBlock) Expect(TokenKind.Close, "define clause");
                        Named[name.Value] = Block(out var closing);
                        if (closing != "end") throw Error("unexpected {{else}} in define clause");
                        Expect(TokenKind.Close, "end");
                        if (isBlock) nodes.Add(new TemplateNode(name.Value, argument, name.Position));
                        continue;
                    case "template":
                        Next();
                        var called = NextNonSpace();
                        if (called.Kind != TokenKind.String) throw Error($"unexpected {Describe(called)} in template clause");
                        SkipSpace();
                        var passed = Peek.Kind == TokenKind.Close ? null : Pipeline("template clause");
                        if (passed is null) Expect(TokenKind.Close, "template clause");
                        nodes.Add(new TemplateNode(called.Value, passed, called.Position));
                        continue;
                }
            }
            nodes.Add(new ActionNode(Pipeline("command")));
        }
    }

    private IfNode If()
    {
        var condition = Pipeline("if");
        var (then, otherwise) = Branches("if");
        return new IfNode(condition, then, otherwise);
    }

    private (List<Node> Then, List<Node> Else) Branches(string what)
    {
        var then = Block(out var end);
        var otherwise = new List<Node>();
        if (end == "else")
        {
            SkipSpace();
            if (what != "range" && Peek.Kind == TokenKind.Word && Peek.Value == what)
            {
                // {{else if}}: the inner one's {{end}} ends both.
                Next();
                if (what == "if") return (then, [If()]);
                var value = Pipeline("with");
                var (inner, last) = Branches("with");
                return (then, [new WithNode(value, inner, last)]);
            }
            Expect(TokenKind.Close, "else");
            otherwise = Block(out end);
        }
        if (end != "end") throw Error(end == "" ? "unexpected EOF" : $"expected end; found {{{{{end}}}}}");
        Expect(TokenKind.Close, "end");
        return (then, otherwise);
    }

    // Reads up to and over }}.
    private Pipeline Pipeline(string context)
    {
        var pipeline = Piped(context, TokenKind.Close);
        _at++;
        return pipeline;
    }

    private Pipeline Piped(string context, TokenKind end)
    {
        if (++_depth > MaxDepth) throw Error("nested too deeply");
        SkipSpace();
        var position = Peek.Position;
        var (variables, declares) = Variables();
        var commands = new List<CommandNode>();
        while (true)
        {
            var operands = Operands(context, end);
            commands.Add(new CommandNode(operands));
            SkipSpace();
            if (Peek.Kind == TokenKind.Pipe)
            {
                _at++;
                continue;
            }
            if (Peek.Kind != end) throw Error($"unexpected {Describe(Peek)} in {context}");
            for (var i = 1; i < commands.Count; i++)
                if (commands[i].Operands[0] is Constant) throw Error($"non executable command in pipeline stage {i + 1}");
            _depth--;
            return new Pipeline(variables, declares, commands, position);
        }
    }

    private (string[] Names, bool Declares) Variables()
    {
        var from = _at;
        var names = new List<string>();
        while (Peek.Kind == TokenKind.Variable)
        {
            names.Add(Next().Value);
            SkipSpace();
            if (Peek.Kind is TokenKind.Declare or TokenKind.Assign)
            {
                var declares = Next().Kind == TokenKind.Declare;
                return ([.. names], declares);
            }
            if (Peek.Kind != TokenKind.Comma) break;
            Next();
            SkipSpace();
        }
        _at = from;
        return ([], false);
    }

    private List<Operand> Operands(string context, TokenKind end)
    {
        var operands = new List<Operand>();
        while (true)
        {
            SkipSpace();
            if (Peek.Kind is TokenKind.Pipe || Peek.Kind == end) break;
            operands.Add(ReadOperand(context));
        }
        return operands.Count > 0 ? operands : throw Error($"missing value for {context}");
    }

    private Operand ReadOperand(string context)
    {
        var token = Next();
        switch (token.Kind)
        {
            case TokenKind.Field:
                var chainAt = Peek.Kind == TokenKind.Field ? Peek.Position : token.Position;
                string[] fields = [token.Value, .. Fields()];
                return new FieldPath(fields, chainAt, "." + string.Join('.', fields));
            case TokenKind.Dot:
                return new FieldPath([], token.Position, ".");
            case TokenKind.Variable:
                var names = Fields();
                return new VariablePath(token.Value, names, token.Position, token.Value + string.Concat(names.Select(n => "." + n)));
            case TokenKind.LeftParenthesis:
                var inner = Piped("parenthesized pipeline", TokenKind.RightParenthesis);
                _at++;
                var source = _text[token.Position.._tokens[_at].Position];
                return new Parenthesis(inner, Fields(), token.Position, source);
            case TokenKind.String:
                return new Constant(token.Value, token.Position, GoText.Quote(token.Value));
            case TokenKind.Number:
                return new Constant(Number(token), token.Position, token.Value);
            case TokenKind.Word:
                return token.Value switch
                {
                    "true" => new Constant(true, token.Position, "true"),
                    "false" => new Constant(false, token.Position, "false"),
                    "nil" => new Constant(null, token.Position, "nil"),
                    _ when Functions.Exists(token.Value) => new Function(token.Value, token.Position),
                    _ => throw Error($"function {GoText.Quote(token.Value)} not defined"),
                };
            default:
                throw Error($"unexpected {Describe(token)} in {context}");
        }
    }

    private string[] Fields()
    {
        var names = new List<string>();
        while (Peek.Kind == TokenKind.Field) names.Add(Next().Value);
        return [.. names];
    }

    private object Number(Token token)
    {
        try
        {
            return GoText.ParseInt(token.Value);
        }
        catch (FormatException)
        {
            return double.TryParse(token.Value, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) ? number : throw Error($"bad number syntax: {GoText.Quote(token.Value)}");
        }
    }

    private static string Describe(Token token) => token.Kind switch
    {
        TokenKind.End => "EOF",
        TokenKind.Close => "\"}}\"",
        TokenKind.Word or TokenKind.Field => $"<{token.Value}>",
        _ => GoText.Quote(token.Value),
    };

    private TemplateException Error(string message) => Lexer.Error(_text, _at > 0 ? _tokens[_at - 1].Position : 0, message);
}
