using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Launching;

/// <summary>tmpcopyup: a tmpfs begins with a copy of the directory it covers.</summary>
internal static class CopyUp
{
    /// <summary>Deeper trees are refused: a tmpfs over them is a mistake, and the walk is recursive.</summary>
    private const int MaxDepth = 64;

    public static void Into(SafeFileHandle target, SafeFileHandle source, int depth = 0)
    {
        if (depth > MaxDepth) throw new LinuxException("openat", "tmpcopyup", Errno.ELOOP);
        var status = FileAt.Status(source);
        FileAt.ChangeOwner(target, "", status.Uid, status.Gid);
        if (depth > 0) FileAt.ChangeMode(target, ".", status.Permissions);
        foreach (var entry in Directory.EnumerateFileSystemEntries($"/proc/self/fd/{(int)source.DangerousGetHandle()}/"))
        {
            var name = Path.GetFileName(entry);
            var file = FileAt.Status(source, name, followLinks: false);
            switch (file.Kind)
            {
                case FileKind.Directory:
                {
                    FileAt.MakeDirectory(target, name, 0x1C0 /* 0700 */);
                    using var from = FileAt.Open(source, name, OpenFlags.Path | OpenFlags.Directory, ResolveFlags.NoSymlinks | ResolveFlags.Beneath);
                    using var to = FileAt.Open(target, name, OpenFlags.Path | OpenFlags.Directory, ResolveFlags.NoSymlinks | ResolveFlags.Beneath);
                    Into(to, from, depth + 1);
                    break;
                }
                case FileKind.SymbolicLink:
                    FileAt.SymbolicLink(FileAt.ReadLink(source, name), target, name);
                    FileAt.ChangeOwner(target, name, file.Uid, file.Gid);
                    break;
                case FileKind.Regular:
                {
                    using var from = FileAt.Open(source, name, OpenFlags.ReadOnly, ResolveFlags.NoSymlinks | ResolveFlags.Beneath);
                    using var to = FileAt.Open(target, name, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive, ResolveFlags.NoSymlinks | ResolveFlags.Beneath, 0x180 /* 0600 */);
                    using (var reader = new FileStream(Descriptor.Duplicate(from), FileAccess.Read, 0))
                    using (var writer = new FileStream(Descriptor.Duplicate(to), FileAccess.Write, 0))
                        reader.CopyTo(writer);
                    FileAt.ChangeOwner(target, name, file.Uid, file.Gid);
                    FileAt.ChangeMode(to, file.Permissions);
                    break;
                }
                default:
                    FileAt.MakeNode(target, name, file.Kind, file.Permissions, file.NodeDevice.Major, file.NodeDevice.Minor);
                    FileAt.ChangeOwner(target, name, file.Uid, file.Gid);
                    FileAt.ChangeMode(target, name, file.Permissions);
                    break;
            }
        }
    }
}
