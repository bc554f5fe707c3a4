using Berth.Linux;
using Microsoft.Win32.SafeHandles;

namespace Berth.Kernel.Tests.Linux;

public sealed class NetworkNamespaceTests
{
    private static ulong Inode(SafeFileHandle ns) => FileAt.Status(ns).Inode;

    private static ulong Here()
    {
        using var ns = NetworkNamespace.Current();
        return Inode(ns);
    }

    [Fact]
    public async Task Every_call_runs_where_it_is_sent_also_beside_others_and_after_failures_and_the_next_one_begins_at_home()
    {
        var home = Here();
        await Parallel.ForAsync(0, 40, TestContext.Current.CancellationToken, (i, _) =>
        {
            ulong inside = 0;
            using var made = NetworkNamespace.Create(() => inside = Here());
            Assert.Equal(Inode(made), inside);
            Assert.NotEqual(home, inside);
            Assert.Equal(inside, NetworkNamespace.Run(made, Here));
            if (i % 3 == 0) Assert.Throws<InvalidDataException>(() => NetworkNamespace.Run(made, bool () => throw new InvalidDataException("as a test wants it")));
            Assert.Equal(home, Here());
            return ValueTask.CompletedTask;
        });
    }

    // Empty for a thread that has ended meanwhile.
    private static string NamespaceOf(string task)
    {
        try
        {
            return File.ResolveLinkTarget(task + "/ns/net", returnFinalTarget: false)!.Name;
        }
        catch (IOException)
        {
            return "";
        }
    }

    [Fact]
    public void Nothing_of_ours_holds_a_namespace_after_its_descriptor_is_closed()
    {
        ulong inode;
        using (var made = NetworkNamespace.Create(() => { })) inode = Inode(made);
        var link = $"net:[{inode}]";
        Assert.DoesNotContain(link, Directory.EnumerateDirectories("/proc/self/task").Select(NamespaceOf));
    }
}
