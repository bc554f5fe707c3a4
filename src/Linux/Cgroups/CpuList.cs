using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Berth.Linux.Cgroups;

/// <summary>A set of processors or memory nodes in the kernel's list form, <c>0-2,5</c> (man 7 cpuset, "List format").</summary>
public sealed class CpuList
{
    /// <summary>Highest number accepted; foreign input may not make us allocate without end (dockerd's limit is the same).</summary>
    public const int MaxNumber = 8192;

    private CpuList(IReadOnlySet<int> numbers) => Numbers = numbers;

    /// <summary>The members.</summary>
    public IReadOnlySet<int> Numbers { get; }

    /// <summary>False when the text is no list. Empty text is the empty list.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, [NotNullWhen(true)] out CpuList? list)
    {
        list = null;
        var numbers = new SortedSet<int>();
        text = text.Trim();
        if (!text.IsEmpty)
        {
            foreach (var range in text.Split(','))
            {
                var part = text[range];
                var dash = part.IndexOf('-');
                if (!TryNumber(dash < 0 ? part : part[..dash], out var first)) return false;
                var last = first;
                if (dash >= 0 && (!TryNumber(part[(dash + 1)..], out last) || last < first)) return false;
                for (var n = first; n <= last; n++) numbers.Add(n);
            }
        }
        list = new CpuList(numbers);
        return true;
    }

    private static bool TryNumber(ReadOnlySpan<char> text, out int number) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number) && number <= MaxNumber;

    /// <summary>Whether every member is also in <paramref name="available"/>.</summary>
    public bool IsSubsetOf(CpuList available) => Numbers.IsSubsetOf(available.Numbers);
}
