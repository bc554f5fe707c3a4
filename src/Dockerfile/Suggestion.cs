namespace Berth.Dockerfile;

/// <summary>What somebody may have meant who wrote something else.</summary>
public static class Suggestion
{
    // Two letters wrong, left out or too many.
    private const int MaxDistance = 2;

    /// <summary>Longer words are not compared: the work grows with the square of the length.</summary>
    private const int MaxLength = 100;

    /// <summary>" (did you mean X?)", or nothing.</summary>
    public static string For(string word, IEnumerable<string> known, bool ignoreCase = false) => Find(word, known, ignoreCase) is { } match ? $" (did you mean {match}?)" : "";

    /// <summary>The nearest of the known words; null where none is near, or where the word is one of them.</summary>
    public static string? Find(string word, IEnumerable<string> known, bool ignoreCase = false)
    {
        if (word.Length > MaxLength) return null;
        var (wanted, best, bestDistance) = (ignoreCase ? word.ToLowerInvariant() : word, (string?)null, MaxDistance + 1);
        foreach (var candidate in known)
        {
            var compared = ignoreCase ? candidate.ToLowerInvariant() : candidate;
            if (compared == wanted) return null;
            if (compared.Length > MaxLength || Distance(wanted, compared) is var distance && distance >= bestDistance) continue;
            (best, bestDistance) = (candidate, distance);
        }
        if (best is null || !ignoreCase) return best;
        return word == wanted ? best.ToLowerInvariant() : word == word.ToUpperInvariant() ? best.ToUpperInvariant() : best;
    }

    // Levenshtein's, a row at a time.
    private static int Distance(string a, string b)
    {
        Span<int> row = stackalloc int[MaxLength + 1];
        for (var j = 0; j <= b.Length; j++) row[j] = j;
        for (var i = 0; i < a.Length; i++)
        {
            var diagonal = row[0];
            row[0] = i + 1;
            for (var j = 0; j < b.Length; j++)
            {
                var replaced = diagonal + (a[i] == b[j] ? 0 : 1);
                diagonal = row[j + 1];
                row[j + 1] = Math.Min(replaced, Math.Min(diagonal, row[j]) + 1);
            }
        }
        return row[b.Length];
    }
}
