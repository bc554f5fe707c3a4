namespace Berth.Cli.Output;

/// <summary>Names as people order them: v2 before v10.</summary>
internal static class NaturalOrder
{
    public static int Compare(string a, string b)
    {
        int i = 0, j = 0;
        while (i < a.Length && j < b.Length)
        {
            if (char.IsAsciiDigit(a[i]) && char.IsAsciiDigit(b[j]))
            {
                ReadOnlySpan<char> x = Number(a, ref i), y = Number(b, ref j);
                ReadOnlySpan<char> p = x.TrimStart('0'), q = y.TrimStart('0');
                var order = p.Length != q.Length ? p.Length.CompareTo(q.Length) : p.SequenceCompareTo(q);
                if (order == 0) order = x.Length.CompareTo(y.Length); // 01 after 1
                if (order != 0) return order;
                continue;
            }
            if (a[i] != b[j]) return a[i].CompareTo(b[j]);
            i++;
            j++;
        }
        return (a.Length - i).CompareTo(b.Length - j);
    }

    private static ReadOnlySpan<char> Number(string text, ref int at)
    {
        var from = at;
        while (at < text.Length && char.IsAsciiDigit(text[at])) at++;
        return text.AsSpan(from, at - from);
    }
}
