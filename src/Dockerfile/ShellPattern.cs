using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace Berth.Dockerfile;

/// <summary>A pattern in <c>${x#pattern}</c> and its kin: <c>*</c> and <c>?</c> (of any characters), a backslash before one of them or itself. Work grows with pattern × text, never faster.</summary>
internal sealed class ShellPattern
{
    private const int AnyText = -1, AnyOne = -2;

    private readonly List<int> _tokens = [];

    private ShellPattern() { }

    /// <param name="wrong">What is wrong with the text, where something is.</param>
    public static bool TryParse(string text, [NotNullWhen(true)] out ShellPattern? pattern, out string wrong)
    {
        (pattern, wrong) = (null, "");
        var parsed = new ShellPattern();
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            if (c == '\\')
            {
                var next = i + 1 < text.Length ? text[i + 1] : '\uFFFD';
                // Before } and / the backslash only kept the braces from ending.
                if (next is not ('*' or '?' or '\\' or '}' or '/'))
                {
                    wrong = $"invalid escape '\\{next}'";
                    return false;
                }
                parsed._tokens.Add(next);
                i++;
            }
            else
            {
                parsed._tokens.Add(c switch { '*' => AnyText, '?' => AnyOne, _ => c });
            }
        }
        pattern = parsed;
        return true;
    }

    public string TrimStart(string value, bool longest) => Length(value, 0, longest) is { } length ? value[length..] : value;

    public string TrimEnd(string value, bool longest)
    {
        for (var i = 0; i <= value.Length; i++)
        {
            var start = longest ? i : value.Length - i;
            if (Ends(value, start)[value.Length - start]) return value[..start];
        }
        return value;
    }

    /// <summary>The first match, or all of them; each as long as can be.</summary>
    public string Replace(string value, string replacement, bool all)
    {
        var result = new StringBuilder();
        var (at, end) = (0, -1);
        for (; at <= value.Length; at++)
        {
            // Nothing, right behind a match, is no match.
            if (Length(value, at, longest: true) is { } length && (length > 0 || at != end))
            {
                result.Append(replacement);
                end = at + length;
                if (!all) return result.Append(value, end, value.Length - end).ToString();
                at = Math.Max(at, end - 1);
                if (length > 0) continue;
            }
            if (at < value.Length) result.Append(value[at]);
        }
        return result.ToString();
    }

    private int? Length(string value, int start, bool longest)
    {
        var ends = Ends(value, start);
        var at = longest ? Array.LastIndexOf(ends, true) : Array.IndexOf(ends, true);
        return at < 0 ? null : at;
    }

    // How far from the start on the pattern can reach, token by token.
    private bool[] Ends(string value, int start)
    {
        var reached = new bool[value.Length - start + 1];
        reached[0] = true;
        foreach (var token in _tokens)
        {
            if (token == AnyText)
            {
                for (var i = 1; i < reached.Length; i++) reached[i] |= reached[i - 1];
                continue;
            }
            for (var i = reached.Length - 1; i > 0; i--) reached[i] = reached[i - 1] && (token == AnyOne || value[start + i - 1] == token);
            reached[0] = false;
        }
        return reached;
    }
}
