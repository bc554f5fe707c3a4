using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Text;

namespace Berth.Linux.Cgroups;

/// <summary>The texts of the counters' files; functions of them. A line that can't be read is passed over.</summary>
internal static class StatisticsText
{
    // The kernel has some sixty names for memory, and io a dozen: each is made into a string once. Nothing but the kernel writes them.
    private static readonly ConcurrentDictionary<ulong, string> Names = new();

    /// <summary>One number, or "max".</summary>
    internal static ulong Number(ReadOnlySpan<byte> text) =>
        text.StartsWith("max"u8) ? ulong.MaxValue : Utf8Parser.TryParse(text, out ulong value, out _) ? value : 0;

    /// <summary>Numbers with blanks between them.</summary>
    internal static ulong[] Numbers(ReadOnlySpan<byte> text)
    {
        Span<ulong> first = stackalloc ulong[64];
        List<ulong>? more = null;
        var count = 0;
        while (TryWord(ref text, out var word))
        {
            if (!Utf8Parser.TryParse(word, out ulong value, out _)) break;
            if (count < first.Length) first[count++] = value;
            else (more ??= [.. first]).Add(value);
        }
        return more is null ? first[..count].ToArray() : [.. more];
    }

    /// <summary>The number behind a name, in lines of "name number"; 0 when it is not there.</summary>
    internal static ulong Value(ReadOnlySpan<byte> text, ReadOnlySpan<byte> name)
    {
        while (TryLine(ref text, out var line))
        {
            if (line.Length > name.Length && line[name.Length] == ' ' && line.StartsWith(name)) return Number(line[(name.Length + 1)..]);
        }
        return 0;
    }

    /// <summary>All lines of "name number".</summary>
    internal static Dictionary<string, ulong> Table(ReadOnlySpan<byte> text)
    {
        var table = new Dictionary<string, ulong>(64, StringComparer.Ordinal);
        while (TryLine(ref text, out var line))
        {
            var blank = line.IndexOf((byte)' ');
            if (blank > 0) table[Name(line[..blank])] = Number(line[(blank + 1)..]);
        }
        return table;
    }

    /// <summary>v1's "8:0 Read 4096" and "8:0 17"; the sum over all devices at the end is left out.</summary>
    internal static List<CgroupIoEntry> IoEntries(ReadOnlySpan<byte> text)
    {
        var entries = new List<CgroupIoEntry>();
        while (TryLine(ref text, out var line))
        {
            if (!TryDevice(ref line, out var major, out var minor) || !TryWord(ref line, out var operation)) continue;
            if (TryWord(ref line, out var value)) entries.Add(new CgroupIoEntry(major, minor, Name(operation), Number(value)));
            else entries.Add(new CgroupIoEntry(major, minor, "", Number(operation)));
        }
        return entries;
    }

    /// <summary>v2's "8:0 rbytes=4096 wbytes=0 ...": two entries for each device.</summary>
    internal static List<CgroupIoEntry> UnifiedIo(ReadOnlySpan<byte> text)
    {
        var entries = new List<CgroupIoEntry>();
        while (TryLine(ref text, out var line))
        {
            // A device without a counter has a line all the same, and none for Docker.
            if (!TryDevice(ref line, out var major, out var minor) || line.IndexOf((byte)'=') < 0) continue;
            ulong read = 0, written = 0;
            while (TryWord(ref line, out var word))
            {
                if (word.StartsWith("rbytes="u8)) read = Number(word[7..]);
                else if (word.StartsWith("wbytes="u8)) written = Number(word[7..]);
            }
            entries.Add(new CgroupIoEntry(major, minor, "read", read));
            entries.Add(new CgroupIoEntry(major, minor, "write", written));
        }
        return entries;
    }

    private static bool TryDevice(ref ReadOnlySpan<byte> line, out ulong major, out ulong minor)
    {
        major = minor = 0;
        if (!TryWord(ref line, out var device)) return false;
        var colon = device.IndexOf((byte)':');
        return colon > 0 && Utf8Parser.TryParse(device[..colon], out major, out _) && Utf8Parser.TryParse(device[(colon + 1)..], out minor, out _);
    }

    private static bool TryLine(ref ReadOnlySpan<byte> text, out ReadOnlySpan<byte> line)
    {
        if (text.IsEmpty)
        {
            line = default;
            return false;
        }
        var end = text.IndexOf((byte)'\n');
        line = end < 0 ? text : text[..end];
        text = end < 0 ? default : text[(end + 1)..];
        return true;
    }

    private static bool TryWord(ref ReadOnlySpan<byte> text, out ReadOnlySpan<byte> word)
    {
        text = text.TrimStart(" \t\n"u8);
        var end = text.IndexOfAny((byte)' ', (byte)'\t', (byte)'\n');
        word = end < 0 ? text : text[..end];
        text = end < 0 ? default : text[end..];
        return !word.IsEmpty;
    }

    private static string Name(ReadOnlySpan<byte> name)
    {
        var hash = 14695981039346656037UL; // FNV-1a
        foreach (var b in name) hash = (hash ^ b) * 1099511628211UL;
        if (Names.TryGetValue(hash, out var known) && Ascii.Equals(name, known)) return known;
        var made = Encoding.ASCII.GetString(name);
        Names.TryAdd(hash, made);
        return made;
    }
}
