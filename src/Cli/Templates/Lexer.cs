using System.Globalization;
using System.Text;

namespace Berth.Cli.Templates;

internal enum TokenKind
{
    /// <summary>Text between actions.</summary>
    Text,
    Open,
    Close,
    /// <summary>.Name</summary>
    Field,
    /// <summary>A dot alone.</summary>
    Dot,
    /// <summary>$ or $name</summary>
    Variable,
    /// <summary>A function or a keyword.</summary>
    Word,
    /// <summary>Its value is without the quotes.</summary>
    String,
    Number,
    Pipe,
    LeftParenthesis,
    RightParenthesis,
    Declare,
    Assign,
    Comma,
    Space,
    End,
}

internal readonly record struct Token(TokenKind Kind, string Value, int Position);

/// <summary>Cuts a Go template (text/template) into tokens. "{{- " and " -}}" take the white space beside them away; comments vanish.</summary>
internal static class Lexer
{
    public static List<Token> Run(string text)
    {
        var tokens = new List<Token>();
        var at = 0;
        var trimLeft = false;
        while (true)
        {
            var open = text.IndexOf("{{", at, StringComparison.Ordinal);
            var piece = open < 0 ? text[at..] : text[at..open];
            if (trimLeft) piece = piece.TrimStart(' ', '\t', '\r', '\n');
            trimLeft = false;
            if (open < 0)
            {
                if (piece.Length > 0) tokens.Add(new(TokenKind.Text, piece, at));
                tokens.Add(new(TokenKind.End, "", text.Length));
                return tokens;
            }
            var inside = open + 2;
            if (inside + 1 < text.Length && text[inside] == '-' && IsSpace(text[inside + 1]))
            {
                piece = piece.TrimEnd(' ', '\t', '\r', '\n');
                inside += 2;
            }
            if (piece.Length > 0) tokens.Add(new(TokenKind.Text, piece, at));
            if (text.AsSpan(inside).StartsWith("/*"))
            {
                var end = text.IndexOf("*/", inside, StringComparison.Ordinal);
                if (end < 0) throw Error(text, inside, "unclosed comment");
                at = end + 2;
                if (text.AsSpan(at).StartsWith(" -}}"))
                {
                    at += 2;
                    trimLeft = true;
                }
                if (!text.AsSpan(at).StartsWith("}}")) throw Error(text, at, "comment ends before closing delimiter");
                at += 2;
                continue;
            }
            tokens.Add(new(TokenKind.Open, "{{", open));
            at = Inside(text, inside, tokens, out trimLeft);
        }
    }

    private static int Inside(string text, int at, List<Token> tokens, out bool trim)
    {
        trim = false;
        var depth = 0;
        while (true)
        {
            if (at >= text.Length) throw Error(text, at, "unclosed action");
            var c = text[at];
            var closeAt = at;
            if (IsSpace(c) && text.AsSpan(at + 1).StartsWith("-}}"))
            {
                trim = true;
                closeAt = at + 2;
            }
            if (text.AsSpan(closeAt).StartsWith("}}"))
            {
                if (depth > 0) throw Error(text, at, "unclosed left paren");
                tokens.Add(new(TokenKind.Close, "}}", at));
                return closeAt + 2;
            }
            if (IsSpace(c))
            {
                var from = at;
                while (at < text.Length && IsSpace(text[at]) && !text.AsSpan(at + 1).StartsWith("-}}")) at++;
                if (at == from) at++;
                tokens.Add(new(TokenKind.Space, " ", from));
                continue;
            }
            switch (c)
            {
                case '"':
                    at = Quoted(text, at, tokens);
                    break;
                case '`':
                    var end = text.IndexOf('`', at + 1);
                    if (end < 0) throw Error(text, at, "unterminated raw quoted string");
                    tokens.Add(new(TokenKind.String, text[(at + 1)..end], at));
                    at = end + 1;
                    break;
                case '|': tokens.Add(new(TokenKind.Pipe, "|", at++)); break;
                case ',': tokens.Add(new(TokenKind.Comma, ",", at++)); break;
                case '=': tokens.Add(new(TokenKind.Assign, "=", at++)); break;
                case ':' when text.AsSpan(at).StartsWith(":="):
                    tokens.Add(new(TokenKind.Declare, ":=", at));
                    at += 2;
                    break;
                case '(':
                    depth++;
                    tokens.Add(new(TokenKind.LeftParenthesis, "(", at++));
                    break;
                case ')':
                    if (--depth < 0) throw Error(text, at, "unexpected right paren");
                    tokens.Add(new(TokenKind.RightParenthesis, ")", at++));
                    break;
                case '$':
                    var variable = Name(text, at + 1);
                    tokens.Add(new(TokenKind.Variable, text[at..variable], at));
                    at = variable;
                    break;
                case '.' when at + 1 < text.Length && IsNameStart(text[at + 1]):
                    var field = Name(text, at + 1);
                    tokens.Add(new(TokenKind.Field, text[(at + 1)..field], at));
                    at = field;
                    break;
                case '.' when at + 1 >= text.Length || !char.IsAsciiDigit(text[at + 1]):
                    tokens.Add(new(TokenKind.Dot, ".", at++));
                    break;
                case var _ when IsNameStart(c):
                    var word = Name(text, at);
                    tokens.Add(new(TokenKind.Word, text[at..word], at));
                    at = word;
                    break;
                case var _ when char.IsAsciiDigit(c) || c is '-' or '+' or '.':
                    var number = at + 1;
                    while (number < text.Length && (char.IsAsciiLetterOrDigit(text[number]) || text[number] is '.' or '_')) number++;
                    tokens.Add(new(TokenKind.Number, text[at..number], at));
                    at = number;
                    break;
                case '\'':
                    var close = text.IndexOf('\'', at + 1);
                    if (close != at + 2) throw Error(text, at, "malformed character constant");
                    tokens.Add(new(TokenKind.Number, ((int)text[at + 1]).ToString(CultureInfo.InvariantCulture), at));
                    at = close + 1;
                    break;
                default:
                    throw Error(text, at, $"unexpected {GoText.Quote(c.ToString())} in operand");
            }
        }
    }

    private static int Quoted(string text, int at, List<Token> tokens)
    {
        var value = new StringBuilder();
        for (var i = at + 1; i < text.Length && text[i] != '\n'; i++)
        {
            if (text[i] == '"')
            {
                tokens.Add(new(TokenKind.String, value.ToString(), at));
                return i + 1;
            }
            if (text[i] != '\\' || i + 1 >= text.Length)
            {
                value.Append(text[i]);
                continue;
            }
            switch (text[++i])
            {
                case 'n': value.Append('\n'); break;
                case 't': value.Append('\t'); break;
                case 'r': value.Append('\r'); break;
                case '"': value.Append('"'); break;
                case '\\': value.Append('\\'); break;
                case 'x' when i + 2 < text.Length && byte.TryParse(text.AsSpan(i + 1, 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var two):
                    value.Append((char)two);
                    i += 2;
                    break;
                case 'u' when i + 4 < text.Length && ushort.TryParse(text.AsSpan(i + 1, 4), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var four):
                    value.Append((char)four);
                    i += 4;
                    break;
                default: throw Error(text, at, "invalid syntax");
            }
        }
        throw Error(text, at, "unterminated quoted string");
    }

    private static int Name(string text, int at)
    {
        while (at < text.Length && (char.IsLetterOrDigit(text[at]) || text[at] == '_')) at++;
        return at;
    }

    private static bool IsNameStart(char c) => char.IsLetter(c) || c == '_';

    private static bool IsSpace(char c) => c is ' ' or '\t' or '\r' or '\n';

    public static TemplateException Error(string text, int position, string message) => new($"template: :{text.AsSpan(0, Math.Min(position, text.Length)).Count('\n') + 1}: {message}");
}
