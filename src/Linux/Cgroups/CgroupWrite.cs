using System.Text;

namespace Berth.Linux.Cgroups;

/// <summary>
/// One step of a limits plan: write <see cref="Value"/> to <see cref="File"/>. Prints as <c>memory.max = 1048576</c>; the plans are
/// pure functions of the limits (<see cref="CgroupV1Plan"/>, <see cref="CgroupV2Plan"/>) and golden tests sit on that text.
/// </summary>
/// <param name="Controller">Whose file it is; on v1 this names the hierarchy.</param>
/// <param name="File">Name in the cgroup's directory.</param>
/// <param name="Value">What is written, by one write(2).</param>
public sealed record CgroupWrite(string Controller, string File, string Value)
{
    /// <summary>No error when the kernel has no such file.</summary>
    public bool Optional { get; init; }

    /// <summary>Done in its place when the kernel has no such file.</summary>
    public CgroupWrite? Otherwise { get; init; }

    /// <summary>EINVAL is no error, for a value that becomes acceptable by a later write, which says it again.</summary>
    public bool Tentative { get; init; }

    /// <inheritdoc/>
    public override string ToString() =>
        $"{File} = {Value}{(Optional ? " (if there)" : "")}{(Tentative ? " (may be refused)" : "")}{(Otherwise is null ? "" : $", else {Otherwise}")}";

    /// <summary>A plan as text, one step a line.</summary>
    public static string Print(IEnumerable<CgroupWrite> plan) => plan.Aggregate(new StringBuilder(), (text, write) => text.Append(write).Append('\n')).ToString();
}

/// <summary>A limit makes no sense or cannot be set on this machine; the message is for the user, in runc's words where it has some.</summary>
public sealed class CgroupLimitException(string message) : Exception(message);
