using System.Globalization;
using System.Text;
using Berth.Api;
using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;

namespace Berth.Engine;

// The archive API, behind `docker cp`: what a path is, a tar of it, and a tar unpacked at it. Paths are the container's: a link in it, or made by one of its processes while we walk,
// leads where it would lead that process and no further.
public sealed partial class ContainerService
{
    /// <exception cref="EngineException">NotFound, for the container and for the path.</exception>
    public async Task<ContainerPathStat> StatPathAsync(string idOrName, string path, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        using var files = await OpenFilesAsync(container, cancellationToken).ConfigureAwait(false);
        return Stat(files, path, path, idOrName);
    }

    /// <summary>A directory with everything in it, or one file, as a tar. Dispose of it when it was copied.</summary>
    public async Task<ContainerArchive> ReadArchiveAsync(string idOrName, string path, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        var files = await OpenFilesAsync(container, cancellationToken).ConfigureAwait(false);
        try
        {
            var absolute = WithTrailing(Validation.CleanPath("/" + path), path);
            var stat = Stat(files, absolute, path, idOrName);
            // "/dir/." is what is in it, under the name "."; "/dir/" is the directory.
            var isDirectory = (stat.Mode & ContainerPathStat.Directory) != 0;
            var name = absolute.EndsWith("/.", StringComparison.Ordinal) ? "." : absolute == "/" ? "/" : BaseName(absolute);
            _core.Emit(container, "archive-path");
            return new ContainerArchive(stat, isDirectory && name == "/" ? "/" : name, absolute, files);
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    /// <summary>Unpacks a tar into a directory of the container.</summary>
    /// <param name="copyUidGid">What is unpacked belongs to the container's user instead of the owners in the tar.</param>
    /// <param name="blocks">The tar is to be read by a thread that may wait.</param>
    /// <param name="noOverwriteDirNonDir">Refuse to replace a directory by something else, or something else by a directory.</param>
    public async Task ExtractArchiveAsync(string idOrName, string path, bool copyUidGid, bool noOverwriteDirNonDir, Stream tar, bool blocks, CancellationToken cancellationToken)
    {
        var container = _core.Containers.Get(idOrName);
        using var files = await OpenFilesAsync(container, cancellationToken).ConfigureAwait(false);
        var record = container.Record;
        var resolved = RootedPath.TryResolve(files.Root, path, mustExist: true, out var errno);
        if (resolved is null) throw PathError("lstat", path, path, idOrName, errno);
        using (var target = RootedPath.TryOpen(files.Root, resolved, out errno))
        {
            if (target is null) throw PathError("lstat", resolved, path, idOrName, errno);
            if (!FileAt.Status(target).IsDirectory) throw EngineException.Invalid("extraction point is not a directory");
        }
        CheckWritable(record, resolved);
        (uint, uint)? owner = null;
        if (copyUidGid && record.Config.User.Length > 0)
        {
            var user = Users.Resolve(record.Config.User, [], ReadText(files, "/etc/passwd"), ReadText(files, "/etc/group"));
            owner = (user.Uid, user.Gid);
        }
        container.Size.Changed();
        try
        {
            await TreeArchive.ExtractAsync(tar, files.Root, resolved, owner, noOverwriteDirNonDir, cancellationToken, blocks).ConfigureAwait(false);
        }
        catch (ImageException e)
        {
            throw EngineException.System(e.Message, e);
        }
        finally
        {
            container.Size.Changed();
        }
        _core.Emit(container, "extract-to-dir");
    }

    /// <summary>The container's files with all its mounts.</summary>
    private Task<ContainerFiles> OpenFilesAsync(Container container, CancellationToken cancellationToken) =>
        OpenFilesAsync(container, ContainerFiles.TryOfProcess, withMounts: true, cancellationToken);

    /// <summary>What its layers hold, without mounts.</summary>
    private Task<ContainerFiles> OpenLayersAsync(Container container, CancellationToken cancellationToken) =>
        OpenFilesAsync(container, ContainerFiles.TryLayersOfProcess, withMounts: false, cancellationToken);

    private async Task<ContainerFiles> OpenFilesAsync(Container container, Func<int, Microsoft.Win32.SafeHandles.SafeFileHandle, ContainerFiles?> ofProcess,
        bool withMounts, CancellationToken cancellationToken)
    {
        await container.Gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        var keep = false;
        try
        {
            if (container.Removed) throw EngineException.NoSuchContainer(container.Id);
            if (container.Process is { } process && ofProcess(process.Pid, process.PidFd) is { } live) return live;
            var stopped = withMounts ? await OpenStoppedAsync(container).ConfigureAwait(false) : ContainerFiles.OfStopped(RootOf(container.Record), [], () => container.Gate.Release());
            keep = true;
            return stopped;
        }
        catch (LinuxException e)
        {
            throw EngineException.System(e.Message, e);
        }
        finally
        {
            if (!keep) container.Gate.Release();
        }
    }

    // With the gate held, which is given back with the result. What is mounted for running containers only is mounted meanwhile.
    private async Task<ContainerFiles> OpenStoppedAsync(Container container)
    {
        var record = container.Record;
        var user = record.Id + " (files)";
        var bundle = _core.BundleOf(record.Id);
        try
        {
            await MountVolumesAsync(record, user).ConfigureAwait(false);
            using var images = new UndoStack();
            images.Push(() => TrashCan.Delete(bundle)); // last: made for the images alone
            MountImages(record, bundle, images);
            return ContainerFiles.OfStopped(RootOf(record), [.. MountsOf(record), .. OwnFiles(container)], () =>
            {
                UnmountVolumes(record, user);
                container.Gate.Release();
            });
        }
        catch
        {
            UnmountVolumes(record, user);
            throw;
        }
    }

    // Those that its last start wrote.
    private static IEnumerable<SpecMount> OwnFiles(Container container)
    {
        var record = container.Record;
        foreach (var name in (string[])["resolv.conf", "hostname", "hosts"])
        {
            var source = Path.Combine(container.Directory, name);
            if (File.Exists(source) && !record.Mounts.Any(m => m.Destination == "/etc/" + name))
                yield return new SpecMount { Destination = "/etc/" + name, Source = source, ReadWrite = !record.HostConfig.ReadonlyRootfs, ReadOnlyNonRecursive = true };
        }
    }

    private static ContainerPathStat Stat(ContainerFiles files, string path, string shownAs, string container)
    {
        using var found = RootedPath.TryOpen(files.Root, path.Length == 0 ? "/" : path, out var errno);
        if (found is null) throw PathError("lstat", path, shownAs, container, errno);
        var status = FileAt.Status(found);
        var target = "";
        if (status.Kind == FileKind.SymbolicLink)
            target = RootedPath.TryResolve(files.Root, path, mustExist: false, out errno) ?? throw PathError("lstat", path, shownAs, container, errno);
        return new ContainerPathStat { Name = BaseName(path), Size = (long)status.SizeBytes, Mode = GoMode(status), Mtime = GoTime(status.Modified), LinkTarget = target };
    }

    private static EngineException PathError(string call, string path, string shownAs, string container, Errno errno) => errno == Errno.ENOENT
        ? EngineException.NotFound($"Could not find the file {shownAs} in container {container}")
        : EngineException.System($"{call} {path}: {errno.DescribeAsGo()}");

    // Docker asks its records, not the kernel, so that the words tell which of the two it is.
    private static void CheckWritable(ContainerRecord record, string path)
    {
        MountRecord? nearest = null;
        foreach (var mount in record.Mounts)
            if (IsBeneath(mount.Destination, path) && mount.Destination.Length > (nearest?.Destination.Length ?? -1)) nearest = mount;
        if (nearest is not null)
        {
            if (nearest.ReadWrite || nearest.Type == "tmpfs") return;
            throw EngineException.Invalid("mounted volume is marked read-only");
        }
        if (record.HostConfig.ReadonlyRootfs && !(record.HostConfig.Tmpfs?.Keys.Any(t => IsBeneath(Validation.CleanPath(t), path)) ?? false))
            throw EngineException.Invalid("container rootfs is marked read-only");
    }

    private static bool IsBeneath(string directory, string path) =>
        directory == "/" || path == directory || (path.StartsWith(directory, StringComparison.Ordinal) && path[directory.Length] == '/');

    private static string? ReadText(ContainerFiles files, string path)
    {
        using var file = FileAt.TryOpen(files.Root, path, OpenFlags.ReadOnly | OpenFlags.NonBlocking, ResolveFlags.InRoot | ResolveFlags.NoMagicLinks, out _);
        if (file is null || FileAt.Status(file) is not { Kind: FileKind.Regular, SizeBytes: <= Users.MaxFileBytes }) return null;
        using var stream = new FileStream(Linux.Descriptor.Duplicate(file), FileAccess.Read, 0);
        var buffer = new byte[Users.MaxFileBytes];
        return Encoding.UTF8.GetString(buffer, 0, stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false));
    }

    // As Go's filepath.Base.
    private static string BaseName(string path)
    {
        if (path.Length == 0) return ".";
        var bare = path.TrimEnd('/');
        return bare.Length == 0 ? "/" : bare[(bare.LastIndexOf('/') + 1)..];
    }

    // A final "/" or "/." means something, and cleaning takes it away.
    private static string WithTrailing(string clean, string asked)
    {
        if ((asked == "." || asked.EndsWith("/.", StringComparison.Ordinal)) && !clean.EndsWith("/.", StringComparison.Ordinal)) return clean == "/" ? "/." : clean + "/.";
        return asked.EndsWith('/') && clean != "/" ? clean + "/" : clean;
    }

    private static uint GoMode(FileStatus status)
    {
        var mode = status.Permissions & 0x1FF;
        if ((status.Permissions & 0x800) != 0) mode |= ContainerPathStat.SetUid;
        if ((status.Permissions & 0x400) != 0) mode |= ContainerPathStat.SetGid;
        if ((status.Permissions & 0x200) != 0) mode |= ContainerPathStat.Sticky;
        return mode | status.Kind switch
        {
            FileKind.Directory => ContainerPathStat.Directory,
            FileKind.SymbolicLink => ContainerPathStat.SymbolicLink,
            FileKind.Fifo => ContainerPathStat.NamedPipe,
            FileKind.Socket => ContainerPathStat.Socket,
            FileKind.CharacterDevice => ContainerPathStat.Device | ContainerPathStat.CharacterDevice,
            FileKind.BlockDevice => ContainerPathStat.Device,
            _ => 0,
        };
    }

    private static string GoTime((long Seconds, uint Nanoseconds) time)
    {
        // Years that .NET cannot say are those of broken clocks.
        var seconds = Math.Clamp(time.Seconds, DateTimeOffset.MinValue.ToUnixTimeSeconds(), DateTimeOffset.MaxValue.ToUnixTimeSeconds());
        var text = DateTimeOffset.FromUnixTimeSeconds(seconds).ToString("yyyy-MM-dd'T'HH:mm:ss", CultureInfo.InvariantCulture);
        var fraction = time.Nanoseconds.ToString("D9", CultureInfo.InvariantCulture).TrimEnd('0');
        return fraction.Length == 0 ? text + "Z" : $"{text}.{fraction}Z";
    }
}

/// <summary>A tar of a path of a container, to be copied once.</summary>
public sealed class ContainerArchive : IDisposable
{
    private readonly string _name, _path;
    private readonly ContainerFiles _files;

    internal ContainerArchive(ContainerPathStat stat, string name, string path, ContainerFiles files) => (Stat, _name, _path, _files) = (stat, name, path, files);

    public ContainerPathStat Stat { get; }

    public Task CopyToAsync(Stream output, CancellationToken cancellationToken) =>
        TreeArchive.WriteAsync(_files.Root, _path, _name, userXattrs: false, output, cancellationToken);

    public void Dispose() => _files.Dispose();
}
