using System.Diagnostics;
using System.Text;
using Berth.Images;
using Berth.Images.Layers;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Testing;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;

namespace Berth.Kernel.Tests.Images;

/// <summary>A random tree, packed by GNU tar and applied as a layer, is the same tree again.</summary>
public sealed class RandomTreeTests
{
    [Theory]
    [InlineData("pax")]
    [InlineData("gnu")]
    public void A_layer_made_of_a_random_tree_becomes_that_tree(string format)
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        var seed = Environment.TickCount;
        var random = new Random(seed);
        for (var round = 0; round < 3; round++)
        {
            using var directory = new TestDirectory();
            Directory.CreateDirectory(directory["tree"]);
            using (var root = FileAt.Open(null, directory["tree"], OpenFlags.ReadOnly | OpenFlags.Directory))
                Grow(root, random, depth: 0, links: []);
            List<string> options = ["-C", directory["tree"], $"--format={format}", "--numeric-owner", "--sparse", "-cf", directory["tar"]];
            if (format == "pax") options.AddRange(["--xattrs", "--xattrs-include=*"]);
            using (var tar = Process.Start(new ProcessStartInfo("tar", [.. options, "."]))!) tar.WaitForExit();

            Directory.CreateDirectory(directory["tmp"]);
            var store = new LayerStore(directory["layers"], directory["tmp"], NullLogger.Instance);
            using var source = File.OpenRead(directory["tar"]);
            using var layer = store.Unpack(source, CancellationToken.None);
            layer.Publish();

            using (var again = store.OpenTar(layer.DiffId))
                Assert.Equal(layer.DiffId.Hex, Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(again)));

            var withXattrs = format == "pax";
            Assert.True(Describe(directory["tree"], withXattrs, nanoseconds: withXattrs) == Describe(store.DiffDirectory(layer.DiffId), withXattrs, nanoseconds: withXattrs),
                $"seed {seed}, round {round}:\n{Difference(Describe(directory["tree"], withXattrs, withXattrs), Describe(store.DiffDirectory(layer.DiffId), withXattrs, withXattrs))}");
        }
    }

    private static string Difference(string a, string b) =>
        string.Join('\n', a.Split('\n').Except(b.Split('\n')).Take(5).Select(l => "- " + l).Concat(b.Split('\n').Except(a.Split('\n')).Take(5).Select(l => "+ " + l)));

    private static void Grow(SafeFileHandle directory, Random random, int depth, List<byte[]> links)
    {
        var names = new HashSet<string>();
        var files = new List<byte[]>();
        for (var n = random.Next(4, 12); n > 0; n--)
        {
            var name = Name(random);
            if (!names.Add(Encoding.Latin1.GetString(name))) continue;
            var kind = random.Next(depth < 4 ? 9 : 6);
            switch (kind)
            {
                case 0 or 1:
                    Check(RawAt.Open(directory, name, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive, ResolveFlags.None, 0x180, out var file));
                    using (file)
                    {
                        var content = new byte[random.Next(0, 3) switch { 0 => 0, 1 => random.Next(2000), _ => random.Next(300_000) }];
                        random.NextBytes(content);
                        Check(RawAt.WriteAt(file!, content, random.Next(4) == 0 ? 1 << 20 : 0)); // some with a hole before
                    }
                    files.Add(name);
                    break;
                case 2:
                    Check(RawAt.SymbolicLink(Name(random), directory, name));
                    break;
                case 3 when files.Count > 0:
                    Check(RawAt.HardLink(directory, files[random.Next(files.Count)], directory, name));
                    continue;
                case 4:
                    Check(RawAt.MakeNode(directory, name, FileKind.CharacterDevice, 0x180, (uint)random.Next(1, 4000), (uint)random.Next(1, 1 << 20)));
                    break;
                case 5 or 3:
                    Check(RawAt.MakeNode(directory, name, FileKind.Fifo, 0x180));
                    break;
                default:
                    Check(RawAt.MakeDirectory(directory, name, 0x1C0));
                    Check(RawAt.Open(directory, name, OpenFlags.ReadOnly | OpenFlags.Directory, ResolveFlags.None, 0, out var child));
                    using (child) Grow(child!, random, depth + 1, links);
                    break;
            }
            Check(RawAt.ChangeOwner(directory, name, (uint)random.Next(), (uint)random.Next()));
            var isLink = kind == 2;
            if (random.Next(3) == 0 && kind is 0 or 1 or > 5) Check(RawAt.SetXattr(directory, name, "user.r"u8, Encoding.Latin1.GetBytes(random.Next().ToString())));
            if (random.Next(5) == 0 && kind is 0 or 1) Check(RawAt.SetXattr(directory, name, "trusted.t"u8, Name(random)));
            if (!isLink) Check(RawAt.ChangeMode(directory, name, (uint)random.Next(0x1000)));
            var time = ((long)random.Next(), (uint)random.Next(1_000_000_000));
            Check(RawAt.SetTimes(directory, name, time, time));
        }
    }

    // Any byte but NUL and slash; now and then a long one.
    private static byte[] Name(Random random)
    {
        var name = new byte[random.Next(10) == 0 ? random.Next(100, 250) : random.Next(1, 20)];
        for (var i = 0; i < name.Length; i++)
            do name[i] = (byte)random.Next(1, 256);
            while (name[i] == '/');
        // No whiteouts: those mean something else.
        if (name[0] == '.') name[0] = (byte)'_';
        return name;
    }

    private static string Describe(string path, bool xattrs, bool nanoseconds)
    {
        var text = new StringBuilder();
        using var root = FileAt.Open(null, path, OpenFlags.ReadOnly | OpenFlags.Directory);
        Walk(root, "", []);
        return text.ToString();

        void Walk(SafeFileHandle directory, string prefix, Dictionary<ulong, string> inodes)
        {
            foreach (var entry in DirectoryList.Read(directory).OrderBy(e => Encoding.Latin1.GetString(e.Name), StringComparer.Ordinal))
            {
                var name = prefix + "/" + Convert.ToHexString(entry.Name);
                Check(RawAt.Status(directory, entry.Name, out var status));
                var modified = nanoseconds ? status.Modified : (status.Modified.Seconds, 0u);
                text.Append($"{name} {status.Kind} {status.Permissions:x} {status.Uid} {status.Gid} {modified} {(status.IsDirectory ? 0 : status.SizeBytes)} {status.NodeDevice}");
                if (status.Kind == FileKind.Regular)
                {
                    if (!inodes.TryAdd(status.Inode, name)) text.Append(" = ").Append(inodes[status.Inode]);
                    Check(RawAt.Open(directory, entry.Name, OpenFlags.ReadOnly, ResolveFlags.None, 0, out var file));
                    using var stream = new FileStream(file!, FileAccess.Read);
                    text.Append(' ').Append(Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(stream)));
                }
                if (status.Kind == FileKind.SymbolicLink && RawAt.ReadLink(directory, entry.Name, out var target) == Errno.Success) text.Append(" -> ").Append(Convert.ToHexString(target));
                if (xattrs && status.Kind is FileKind.Regular or FileKind.Directory && RawAt.ListXattrs(directory, entry.Name, out var keys) == Errno.Success)
                    foreach (var key in keys.OrderBy(Encoding.Latin1.GetString, StringComparer.Ordinal))
                        if (RawAt.GetXattr(directory, entry.Name, key, out var value) == Errno.Success) text.Append($" {Encoding.Latin1.GetString(key)}={Convert.ToHexString(value)}");
                text.Append('\n');
                if (!status.IsDirectory) continue;
                Check(RawAt.Open(directory, entry.Name, OpenFlags.ReadOnly | OpenFlags.Directory, ResolveFlags.None, 0, out var child));
                using (child) Walk(child!, name, inodes);
            }
        }
    }

    private static void Check(Errno errno) => Assert.Equal(Errno.Success, errno);
}
