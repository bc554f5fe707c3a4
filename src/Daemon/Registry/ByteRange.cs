using System.Globalization;

namespace Berth.Daemon.Registry;

/// <summary>A part of something, by its first byte and their number.</summary>
internal readonly record struct ByteRange(long From, long Count)
{
    /// <summary>The Range header of a request (RFC 9110, 14.2). Several ranges and other units are passed over, as the RFC allows: null, the whole.</summary>
    /// <param name="satisfiable">False: the range begins behind the end, which is 416.</param>
    public static ByteRange? Parse(string header, long length, out bool satisfiable)
    {
        satisfiable = true;
        const string unit = "bytes=";
        if (!header.StartsWith(unit, StringComparison.OrdinalIgnoreCase) || header.Contains(',')) return null;
        var text = header.AsSpan(unit.Length).Trim();
        var dash = text.IndexOf('-');
        if (dash < 0) return null;
        var first = text[..dash].Trim();
        var last = text[(dash + 1)..].Trim();
        if (first.IsEmpty)
        {
            // The last so many.
            if (!TryNumber(last, out var suffix)) return null;
            satisfiable = suffix > 0 && length > 0;
            return satisfiable ? new(Math.Max(0, length - suffix), Math.Min(suffix, length)) : null;
        }
        if (!TryNumber(first, out var from)) return null;
        var to = length - 1;
        if (!last.IsEmpty && (!TryNumber(last, out to) || to < from)) return null;
        satisfiable = from < length;
        return satisfiable ? new(from, Math.Min(to, length - 1) - from + 1) : null;
    }

    /// <summary>The Content-Range of an upload's chunk, which in the distribution-spec is <c>first-last</c> and no more.</summary>
    public static bool TryParseChunk(string header, out ByteRange range)
    {
        range = default;
        var dash = header.IndexOf('-');
        if (dash < 0 || !TryNumber(header.AsSpan(0, dash), out var from) || !TryNumber(header.AsSpan(dash + 1), out var to) || to < from) return false;
        range = new(from, to - from + 1);
        return true;
    }

    private static bool TryNumber(ReadOnlySpan<char> text, out long value) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out value) && value < long.MaxValue;
}
