using System.Diagnostics;
using System.Globalization;

namespace Berth.Testing;

/// <summary>
/// A number that no other running test has, and what is named after it: bridge, addresses, cgroup parent. Test runs on one machine
/// (several checkouts, several processes) do not meet; what a crashed run left under the number is cleared when it is taken again.
/// </summary>
internal sealed class Slot : IDisposable
{
    private const int Slots = 64;
    private readonly FileStream _lock;

    private Slot(int number, FileStream held)
    {
        (Number, _lock) = (number, held);
        Bridge = string.Create(CultureInfo.InvariantCulture, $"berthtest{number}");
        CgroupParent = "/" + Bridge;
        // 198.18.0.0/15 is set aside for tests of network devices (RFC 2544); the upper half is the tests'.
        Gateway = string.Create(CultureInfo.InvariantCulture, $"198.19.{number}.1");
        Pool = string.Create(CultureInfo.InvariantCulture, $"198.18.{128 + number}");
    }

    public int Number { get; }
    public string Bridge { get; }
    public string CgroupParent { get; }
    public string Gateway { get; }
    public string Pool { get; }
    public string Bip => Gateway + "/24";

    public static Slot Take()
    {
        var directory = Path.Combine(Path.GetTempPath(), "berth-test-slots");
        Directory.CreateDirectory(directory);
        for (var number = 0; number < Slots; number++)
        {
            FileStream held;
            try
            {
                held = new FileStream(Path.Combine(directory, number.ToString(CultureInfo.InvariantCulture)), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException)
            {
                continue;
            }
            var slot = new Slot(number, held);
            slot.Clear();
            return slot;
        }
        throw new TestException($"all {Slots} test slots are taken ({directory})");
    }

    /// <summary>Removes all that is named after the number: processes, cgroups, links, tables.</summary>
    public void Clear()
    {
        // Frozen processes die only when thawed, children are made while we look: a few rounds.
        for (var round = 0; round < 50; round++)
        {
            var processes = Host.CgroupDirectories(CgroupParent).SelectMany(Host.ProcessesIn).Distinct().ToList();
            if (processes.Count == 0)
                break;
            foreach (var directory in Host.CgroupDirectories(CgroupParent))
                Host.TryWrite(Path.Combine(directory, "freezer.state"), "THAWED");
            foreach (var pid in processes)
                Host.Kill(pid);
        }
        foreach (var directory in Host.CgroupDirectories(CgroupParent).OrderByDescending(d => d.Length))
            Host.TryRemoveDirectory(directory);
        foreach (var link in Host.Links().Where(l => l.Name == Bridge || l.Master == Bridge))
            Host.Run("ip", "link", "del", link.Name);
        foreach (var table in Host.FirewallTables().Where(t => t.Contains(Bridge, StringComparison.Ordinal)))
            Host.Run("nft", ["delete", .. table.Split(' ')]);
    }

    public void Dispose() => _lock.Dispose();
}
