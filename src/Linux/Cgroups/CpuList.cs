using System.Diagnostics.CodeAnalysis;

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
    public static bool TryParse(ReadOnlySpan<char> text, [NotNullWhen(true)] out CpuList? list) => throw new NotImplementedException();

    /// <summary>Whether every member is also in <paramref name="available"/>.</summary>
    public bool IsSubsetOf(CpuList available) => Numbers.IsSubsetOf(available.Numbers);

    /// <summary>Processors this machine lets cgroups use (the root cpuset), in list form as read.</summary>
    public static string AvailableCpus() => throw new NotImplementedException();

    /// <summary>Memory nodes this machine lets cgroups use.</summary>
    public static string AvailableMems() => throw new NotImplementedException();
}
