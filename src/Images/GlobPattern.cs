namespace Berth.Images;

/// <summary>Shell patterns as Go's path.Match has them: <c>*</c> and <c>?</c> stop at a slash, <c>[a-z]</c>, <c>[^a]</c>, backslash quotes.</summary>
internal static class GlobPattern
{
    /// <exception cref="ImageException">System "syntax error in pattern".</exception>
    public static bool Matches(ReadOnlySpan<char> pattern, ReadOnlySpan<char> name)
    {
        // After a star: where to go on in the pattern, and the place in the name that the star reaches to.
        int p = 0, n = 0, starP = -1, starN = 0;
        while (true)
        {
            if (p < pattern.Length && pattern[p] == '*')
            {
                (starP, starN) = (++p, n);
                continue;
            }
            if (n == name.Length)
            {
                if (p == pattern.Length) return true;
                Validate(pattern[p..]);
                return false;
            }
            var next = p;
            if (p < pattern.Length && MatchesOne(pattern, ref next, name[n]))
            {
                p = next;
                n++;
                continue;
            }
            if (starP < 0 || name[starN] == '/')
            {
                if (p < pattern.Length) Validate(pattern[p..]);
                return false;
            }
            n = ++starN;
            p = starP;
        }
    }

    private static void Validate(ReadOnlySpan<char> pattern)
    {
        for (var p = 0; p < pattern.Length;)
            if (pattern[p] == '*') p++;
            else MatchesOne(pattern, ref p, 'x');
    }

    private static bool MatchesOne(ReadOnlySpan<char> pattern, ref int p, char c)
    {
        switch (pattern[p])
        {
            case '?':
                p++;
                return c != '/';
            case '\\':
                if (++p == pattern.Length) throw Bad();
                return pattern[p++] == c;
            case '[':
                p++;
                var negated = p < pattern.Length && pattern[p] == '^';
                if (negated) p++;
                var matched = false;
                for (var count = 0; ; count++)
                {
                    if (p < pattern.Length && pattern[p] == ']' && count > 0) break;
                    var low = ClassChar(pattern, ref p);
                    var high = low;
                    if (p < pattern.Length && pattern[p] == '-')
                    {
                        p++;
                        high = ClassChar(pattern, ref p);
                    }
                    matched |= c >= low && c <= high;
                }
                p++;
                return matched != negated;
            default:
                return pattern[p++] == c;
        }
    }

    private static char ClassChar(ReadOnlySpan<char> pattern, ref int p)
    {
        if (p >= pattern.Length || pattern[p] is '-' or ']') throw Bad();
        if (pattern[p] == '\\' && ++p >= pattern.Length) throw Bad();
        var c = pattern[p++];
        return p < pattern.Length ? c : throw Bad();
    }

    private static ImageException Bad() => ImageException.Failed("syntax error in pattern"); // 500, as from Docker
}
