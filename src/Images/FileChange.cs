using Berth.Images.Layers;
using Berth.Linux;

namespace Berth.Images;

/// <summary>The numbers are the wire's.</summary>
public enum FileChangeKind
{
    Modified = 0,
    Added = 1,
    Deleted = 2,
}

/// <summary>One path of a container that is not as its image has it.</summary>
public sealed record FileChange(string Path, FileChangeKind Kind)
{
    /// <summary>What an overlay's upper directory changes about the layers below (topmost first), without a mount.</summary>
    /// <exception cref="LinuxException">A layer is not there.</exception>
    public static IReadOnlyList<FileChange> Between(string upper, IReadOnlyList<string> lower) => LayerDiff.Between(upper, lower);
}
