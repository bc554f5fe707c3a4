using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Extensions.Logging;

namespace Berth.Networks;

/// <summary>
/// Keeps the engine's tables as <see cref="FirewallPlan"/> says. Remembers what is published, so that a table that somebody flushed
/// (<c>nft flush ruleset</c>, a reload of another firewall) is written anew: the kernel tells of it, and of what else others take out of our tables.
/// </summary>
/// <param name="ipv4">Rules are written for IPv4 (--iptables).</param>
/// <param name="ipv6">And for IPv6 (--ip6tables).</param>
internal sealed class Firewall(string table, PublishThrough through, bool ipv4, bool ipv6, HostNamespace host, ReadinessLoop loop, ILogger logger) : IDisposable, IReady
{
    private readonly NftablesEvents? events = Watch(host, logger);
    private int slot;
    private bool closed;

    private readonly Lock gate = new();
    private readonly Nftables nftables = Open(host);
    private readonly HashSet<FirewallPort> published = [];
    private readonly List<FirewallNetwork> networks = [];

    /// <summary>Makes or updates the rules for these networks; what is published in existing tables stays until <see cref="Replace"/>.</summary>
    internal void Initialise(IReadOnlyList<FirewallNetwork> all)
    {
        lock (gate)
        {
            networks.AddRange(all.Select(OfOurFamilies));
            try
            {
                Run(FirewallPlan.For(table, networks, ports: null, through, ipv4));
            }
            catch (NetworkException e)
            {
                // A table of that name with other maps or hooks, from another version perhaps: it is ours by its name.
                logger.FirewallRebuilt(table, e.Message);
                Run(RemoveBoth() + FirewallPlan.For(table, networks, ports: null, through, ipv4));
            }
        }
        foreach (var foreign in ForeignForwards())
        {
            if (foreign.Drops) logger.ForeignForwardDrop(foreign.Chain);
            if (foreign.LetsRedirectedPass && through == PublishThrough.Forward) logger.ForeignForwardRedirected(foreign.Chain);
        }
        if (events is not null) loop.Post(() => slot = loop.Add(events.Handle, PollEvents.Readable, this));
    }

    /// <summary>From now on exactly these ports are published. Written from scratch: a former daemon may have left chains of networks that are gone.</summary>
    internal void Replace(IEnumerable<FirewallPort> ports)
    {
        lock (gate)
        {
            published.Clear();
            published.UnionWith(ports);
            Run(RemoveBoth() + FirewallPlan.For(table, networks, [.. published], through, ipv4));
        }
        // Of a former daemon with other flags.
        if (!ipv4) RemoveIfThere(family6: false);
        if (!HasIPv6) RemoveIfThere(family6: true);
    }

    private void RemoveIfThere(bool family6)
    {
        try
        {
            // With the gate, like every change: who reads the news without it would take ours for somebody else's.
            lock (gate) Run(FirewallPlan.RemoveTable(table, family6));
        }
        catch (NetworkException)
        {
            // a kernel without such tables
        }
    }

    private FirewallNetwork OfOurFamilies(FirewallNetwork network) => network with { Subnet = ipv4 ? network.Subnet : null, Subnet6 = ipv6 ? network.Subnet6 : null };

    private bool HasIPv6 => networks.Exists(n => n.Subnet6 is not null);

    // In the same transaction as what follows: nothing ever passes without rules.
    private string RemoveBoth() => (ipv4 ? FirewallPlan.RemoveTable(table) : "") + (HasIPv6 ? FirewallPlan.RemoveTable(table, ipv6: true) : "");

    /// <summary>Withdraws some ports and publishes others, in one transaction.</summary>
    internal void Change(IReadOnlyList<FirewallPort> withdrawn, IReadOnlyList<FirewallPort> added)
    {
        if (withdrawn.Count + added.Count == 0) return;
        lock (gate)
        {
            published.ExceptWith(withdrawn);
            published.UnionWith(added);
            try
            {
                RunOrRebuild(FirewallPlan.Remove(table, withdrawn) + FirewallPlan.Add(table, added), withdrawn.Count > 0 ? NftablesRemovals.Elements : NftablesRemovals.None);
            }
            catch
            {
                published.ExceptWith(added);
                throw;
            }
        }
    }

    internal void AddNetwork(FirewallNetwork wanted)
    {
        var network = OfOurFamilies(wanted);
        lock (gate)
        {
            networks.Add(network);
            try
            {
                RunOrRebuild(FirewallPlan.AddNetwork(table, network, through), NftablesRemovals.Structure);
            }
            catch
            {
                networks.Remove(network);
                throw;
            }
        }
    }

    internal void RemoveNetwork(FirewallNetwork network)
    {
        lock (gate)
        {
            if (networks.RemoveAll(n => n.Bridge == network.Bridge) > 0) RunOrRebuild(FirewallPlan.RemoveNetwork(table, OfOurFamilies(network)), NftablesRemovals.Structure | NftablesRemovals.Elements);
        }
    }

    internal void RemoveTables()
    {
        lock (gate) Run(RemoveBoth());
    }

    /// <param name="removes">What the script itself takes out.</param>
    private void RunOrRebuild(string script, NftablesRemovals removes)
    {
        try
        {
            Run(script, removes);
        }
        catch (NetworkException e)
        {
            Rebuild(e.Message);
        }
    }

    private void Rebuild(string reason)
    {
        logger.FirewallRebuilt(table, reason);
        Run(RemoveBoth() + FirewallPlan.For(table, networks, [.. published], through, ipv4));
        // News of a flush that came right behind it was read with its own.
        if (events is not null && !IsThere()) throw new NetworkException(NetworkErrorKind.System, $"firewall table {table} was removed again at once");
    }

    private bool IsThere()
    {
        if (!ipv4 && !HasIPv6) return true;
        try
        {
            nftables.Run($"list chain {(ipv4 ? "ip" : "ip6")} {table} forward");
            return true;
        }
        catch (NftablesException)
        {
            return false;
        }
    }

    /// <summary>Somebody has changed nftables. On a thread of the pool: our own changes may be under way, and names must not wait for them.</summary>
    void IReady.Ready(int which, PollEvents ready)
    {
        loop.Modify(slot, events!.Handle, PollEvents.None);
        ThreadPool.QueueUserWorkItem(_ =>
        {
            try
            {
                lock (gate)
                {
                    // What our own transactions took out was read when they were done: this is somebody else's doing.
                    if (!closed && events.Take(table) != NftablesRemovals.None) RebuildSurely();
                }
            }
            catch (Exception e) when (e is NetworkException or LinuxException or ObjectDisposedException)
            {
                logger.FirewallNotRestored(table, e.Message);
            }
            loop.Post(() =>
            {
                if (!closed) loop.Modify(slot, events.Handle, PollEvents.Readable);
            });
        });
    }

    // Whoever flushes tables is likely to write others right after: libnftables may find them changed between its look and its transaction.
    private void RebuildSurely()
    {
        const int Attempts = 3;
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                Rebuild("somebody took out rules of it");
                return;
            }
            catch (NetworkException) when (attempt < Attempts)
            {
            }
        }
    }

    private static NftablesEvents? Watch(HostNamespace host, ILogger logger)
    {
        try
        {
            return host.Run(NftablesEvents.Open);
        }
        catch (LinuxException e)
        {
            logger.FirewallNotWatched(e.Message);
            return null;
        }
    }

    private void Run(string script, NftablesRemovals removes = NftablesRemovals.Structure | NftablesRemovals.Elements)
    {
        if (script.Length == 0) return; // a network of a family that we write no rules for
        logger.FirewallTransaction(script);
        try
        {
            nftables.Run(script);
            // News of a transaction is there when it is done: ours is read here, and what is more than that is somebody else's.
            if (events is not null && (events.Take(table) & ~removes) != NftablesRemovals.None) Rebuild("somebody took out rules of it");
        }
        catch (NftablesException e)
        {
            throw new NetworkException(NetworkErrorKind.System, $"firewall table {table}: {e.Message}", e);
        }
    }

    /// <summary>Chains of others that forwarded packets must pass and that say something of ours. An accept in our table does not outvote a drop in another: a packet must pass every base chain of the hook.</summary>
    internal IReadOnlyList<ForeignForward> ForeignForwards()
    {
        try
        {
            var found = new List<ForeignForward>();
            foreach (var (chain, dropsByPolicy) in ForeignForward.ChainsOf(nftables.Run("list chains")))
            {
                if (chain.Split(' ')[1].StartsWith(FirewallPlan.TableName(""), StringComparison.Ordinal)) continue; // ours, or another engine's of ours
                var foreign = ForeignForward.Of(chain, dropsByPolicy, nftables.Run($"list chain {chain}"));
                if (foreign.Drops || foreign.LetsRedirectedPass) found.Add(foreign);
            }
            return found;
        }
        catch (Exception e) when (e is NftablesException or ObjectDisposedException)
        {
            logger.FirewallNotListed(e.Message);
            return [];
        }
    }

    private static Nftables Open(HostNamespace host)
    {
        try
        {
            return host.Run(Nftables.Open);
        }
        catch (NftablesException e)
        {
            throw new NetworkException(NetworkErrorKind.System, e.Message, e);
        }
    }

    public void Dispose()
    {
        lock (gate)
        {
            if (closed) return;
            closed = true;
            events?.Dispose(); // the loop has ended
            nftables.Dispose();
        }
    }
}
