using System.Security.Cryptography;
using System.Text;
using Berth.Linux;
using Berth.Linux.Abi;

namespace Berth.Engine;

/// <summary>
/// An image mounted into a container (--mount type=image): its layers as a read-only overlay. Mounted on the host below the bundle while the container is launched,
/// so that a subdirectory of it can be bound, and taken away again as soon as the container has its own copy.
/// </summary>
internal sealed class ImageMount : IDisposable
{
    private readonly string _path;

    private ImageMount(string path) => _path = path;

    /// <summary>Where it is mounted; what inspect shows as its source.</summary>
    public static string PathIn(string bundle, string destination) => Path.Combine(bundle, Prefix + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(destination)), 0, 8));

    /// <summary>The name under which a container keeps the image's layers.</summary>
    public static string Holder(string containerId, string destination) => $"{containerId} {destination}";

    private const string Prefix = "image-";

    /// <param name="layers">Topmost first.</param>
    public static ImageMount Mount(string path, IReadOnlyList<string> layers)
    {
        HostMount.UnmountAll(path);
        Directory.CreateDirectory(path);
        // An overlay wants two layers at least, unless one is to be written to.
        using var mount = layers.Count > 1 ? DetachedMount.Overlay(layers, null, null, MountAttributes.ReadOnly) : DetachedMount.Bind(null, layers[0], recursive: false);
        DetachedMount.SetAttributes(mount, MountAttributes.ReadOnly, 0, MountPropagation.Private, recursive: false);
        HostMount.Attach(mount, path);
        return new ImageMount(path);
    }

    public void Dispose() => HostMount.UnmountAll(_path);

    /// <summary>What a start that was cut short left mounted.</summary>
    public static void Sweep(string bundle)
    {
        foreach (var path in Directory.EnumerateDirectories(bundle, Prefix + "*")) HostMount.UnmountAll(path);
    }
}
