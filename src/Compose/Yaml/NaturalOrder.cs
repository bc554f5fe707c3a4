namespace Berth.Compose.Yaml;

/// <summary>The order of keys in go-yaml's output: a2 before a10, letters after everything else.</summary>
internal static class NaturalOrder
{
    public static int Compare(string a, string b)
    {
        if (a == b) return 0;
        return Less(a, b) ? -1 : 1;
    }

    private static bool Less(string a, string b)
    {
        var digits = false;
        for (var i = 0; i < a.Length && i < b.Length; i++)
        {
            if (a[i] == b[i])
            {
                digits = char.IsDigit(a[i]);
                continue;
            }
            bool letterA = char.IsLetter(a[i]), letterB = char.IsLetter(b[i]);
            if (letterA && letterB) return a[i] < b[i];
            if (letterA || letterB) return digits ? letterA : letterB;
            long numberA = 0, numberB = 0;
            if (a[i] == '0' || b[i] == '0')
            {
                for (var j = i - 1; j >= 0 && char.IsDigit(a[j]); j--)
                {
                    if (a[j] == '0') continue;
                    numberA = numberB = 1; // digits before decide: these zeros are no leading ones
                    break;
                }
            }
            int endA = i, endB = i;
            for (; endA < a.Length && char.IsDigit(a[endA]); endA++) numberA = unchecked(numberA * 10 + (a[endA] - '0'));
            for (; endB < b.Length && char.IsDigit(b[endB]); endB++) numberB = unchecked(numberB * 10 + (b[endB] - '0'));
            if (numberA != numberB) return numberA < numberB;
            if (endA != endB) return endA < endB;
            return a[i] < b[i];
        }
        return a.Length < b.Length;
    }
}
