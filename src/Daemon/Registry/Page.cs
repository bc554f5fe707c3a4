using System.Globalization;
using Berth.Daemon.Http;
using Berth.Registry;

namespace Berth.Daemon.Registry;

/// <summary>A part of a list: what comes after <c>last</c>, <c>n</c> at most, and whether there is more.</summary>
internal sealed record Page<T>(IReadOnlyList<T> Items, bool HasMore);

internal static class Page
{
    /// <summary>Entries given at once when nobody says how many, and when more are asked for: a client follows the link.</summary>
    public const int MostEntries = 10_000;

    /// <summary>What docker-registry gives of the catalog when nobody says.</summary>
    public const int CatalogEntries = 100;

    /// <param name="sorted">By its keys' bytes.</param>
    public static Page<string> Of(IReadOnlyList<string> sorted, int n, string last) => Of(sorted, s => s, n, last);

    public static Page<T> Of<T>(IEnumerable<T> sorted, Func<T, string> key, int n, string last)
    {
        var items = sorted.SkipWhile(item => last.Length > 0 && string.CompareOrdinal(key(item), last) <= 0).Take(n + 1).ToList();
        if (items.Count <= n) return new(items, false);
        items.RemoveAt(n);
        return new(items, n > 0); // of nothing there is no next part
    }

    /// <exception cref="DistributionException">PaginationNumberInvalid.</exception>
    public static int Size(Query query, int absent)
    {
        var text = query["n"];
        if (text.Length == 0) return absent;
        if (text.All(char.IsAsciiDigit)) return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var n) ? Math.Min(n, MostEntries) : MostEntries;
        throw new DistributionException(DistributionError.PaginationNumberInvalid, $"invalid number of results requested: {text}");
    }
}
