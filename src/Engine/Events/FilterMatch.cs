using System.Text.RegularExpressions;
using Berth.Api;

namespace Berth.Engine;

/// <summary>What the engine adds to <see cref="Filters"/>: errors of the engine's kind, and Docker's loose match.</summary>
internal static class FilterMatch
{
    // A pattern is matched against every object: a longer one is a mistake or an attack.
    internal const int MaxPatternLength = 1024;

    /// <summary>Equal to, found in, or matched as a regular expression by one of the filter's values; true when the filter is absent.</summary>
    public static bool Match(this Filters filters, string name, string value)
    {
        if (filters.ExactMatch(name, value)) return true;
        foreach (var pattern in filters[name])
        {
            if (pattern.Length <= MaxPatternLength && TextMatches(pattern, value)) return true;
        }
        return false;
    }

    private static bool TextMatches(string pattern, string text)
    {
        // Names and ids hold no metacharacter: most patterns never reach the regular expression.
        if (text.Contains(pattern, StringComparison.Ordinal)) return true;
        if (pattern.AsSpan().IndexOfAny("\\^$.|?*+()[]{}") < 0) return false;
        try
        {
            // Non-backtracking: linear time whatever the pattern, as Go's.
            return Regex.IsMatch(text, pattern, RegexOptions.NonBacktracking | RegexOptions.CultureInvariant);
        }
        catch (Exception e) when (e is ArgumentException or NotSupportedException)
        {
            return false;
        }
    }

    /// <summary>400 for a filter that is not known here.</summary>
    public static void Require(this Filters filters, params ReadOnlySpan<string> known)
    {
        foreach (var name in filters.Names)
        {
            if (!known.Contains(name)) throw EngineException.Invalid($"invalid filter '{name}'");
        }
    }

    public static bool Flag(this Filters filters, string name, bool absent)
    {
        try
        {
            return filters.GetBool(name, absent);
        }
        catch (FormatException e)
        {
            throw EngineException.Invalid(e.Message);
        }
    }
}
