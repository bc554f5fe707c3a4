namespace Berth.Runtime;

/// <summary>
/// What a container's root is made of: an overlay mounted detached, seen by no other mount namespace. Paths are the host's and absolute.
/// Read-only or not is said by config.json (root.readonly).
/// </summary>
/// <param name="LowerDirectories">Layers, topmost first; at most 500, overlayfs's own bound.</param>
/// <param name="UpperDirectory">Where changes go.</param>
/// <param name="WorkDirectory">Overlay's scratch directory, empty, on the file system of <paramref name="UpperDirectory"/>.</param>
/// <param name="IsVolatile">What the container writes is not to outlive the machine, see <see cref="Linux.DetachedMount.Overlay"/>.</param>
public sealed record RootFilesystem(IReadOnlyList<string> LowerDirectories, string UpperDirectory, string WorkDirectory, bool IsVolatile = false);
