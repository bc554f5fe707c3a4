using Berth.Images.Layers;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Images;

/// <summary>
/// Trees of files as tars and back, beneath a root that others may be changing at the same time: a container's. Paths are absolute within the root and lead through no link that
/// leaves it; a link in a path's last part is taken as itself.
/// </summary>
public static class TreeArchive
{
    /// <summary>Writes a directory with all that is in it, or one file, as a tar.</summary>
    /// <param name="path">Its place in the root.</param>
    /// <param name="name">Its name in the tar; null: only what is in the directory, without itself.</param>
    /// <param name="userXattrs">Also extended attributes users set, not only capabilities.</param>
    public static Task WriteAsync(SafeFileHandle root, string path, string? name, bool userXattrs, Stream output, CancellationToken cancellation) =>
        BlockPipe.ThroughAsync(stream =>
        {
            var writer = new TarWriter(stream);
            var tree = new TreeTar(writer, new TreeTarRules { UserXattrs = userXattrs }, cancellation);
            var encoded = name is null ? null : System.Text.Encoding.UTF8.GetBytes(name);
            const ResolveFlags Inside = ResolveFlags.InRoot | ResolveFlags.NoMagicLinks;
            using (var directory = FileAt.TryOpen(root, path, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow, Inside, out var errno))
            {
                if (directory is not null) tree.AddDirectory(directory, encoded);
                else
                {
                    if (errno is not (Errno.ENOTDIR or Errno.ELOOP)) throw new LinuxException("openat2", $"\"{path}\"", errno);
                    var slash = path.LastIndexOf('/');
                    using var parent = FileAt.Open(root, slash <= 0 ? "/" : path[..slash], OpenFlags.Path | OpenFlags.Directory, Inside);
                    tree.AddFile(parent, System.Text.Encoding.UTF8.GetBytes(path[(slash + 1)..]), encoded!);
                }
            }
            writer.Complete();
        }, output, cancellation);

    /// <summary>Unpacks a tar (plain, or in any compression that is known) into a directory.</summary>
    /// <param name="directory">Its place in the root, resolved: see <see cref="RootedPath"/>.</param>
    /// <param name="owner">Instead of the owners in the tar.</param>
    /// <param name="keepKinds">Fail rather than replace a directory by something else, or something else by a directory.</param>
    /// <exception cref="ImageException">The tar is damaged, a member leads out of the directory, or the kernel refused one: the message names it. What came before it stays.</exception>
    /// <param name="blocks">Reading the tar takes a thread that may wait, and is done by the one that writes; otherwise it is awaited beside the writing.</param>
    public static async Task ExtractAsync(Stream tar, SafeFileHandle root, string directory, (uint Uid, uint Gid)? owner, bool keepKinds, CancellationToken cancellation, bool blocks = false)
    {
        if (blocks)
        {
            await Task.Factory.StartNew(() => Extract(tar), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
            return;
        }
        using var pipe = new BlockPipe();
        var filler = pipe.FillAsync(tar, null, cancellation);
        try
        {
            await Task.Factory.StartNew(() => Extract(pipe.Reader), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
        }
        finally
        {
            pipe.Dispose();
            await filler.ConfigureAwait(false);
        }

        void Extract(Stream source)
        {
            try
            {
                using var plain = Compression.Open(source);
                var rules = new ExtractRules { Directory = System.Text.Encoding.UTF8.GetBytes(directory.Trim('/')), Owner = owner, KeepKinds = keepKinds };
                using var extractor = new TarExtractor(root, rules);
                var reader = new TarReader(plain);
                extractor.Apply(reader, cancellation);
                reader.Drain();
            }
            catch (Exception e) when (e is InvalidDataException or LayerEntryException or LinuxException)
            {
                throw ImageException.Failed(e.Message, e);
            }
        }
    }

    /// <summary>Whether a file is a tar, plain or compressed, by its content.</summary>
    public static bool IsTar(Stream file)
    {
        try
        {
            using var plain = Compression.Open(file);
            var block = new byte[TarReader.BlockBytes];
            return plain.ReadAtLeast(block, block.Length, throwOnEndOfStream: false) == block.Length && TarReader.HasValidChecksum(block);
        }
        catch (InvalidDataException)
        {
            return false;
        }
    }
}
