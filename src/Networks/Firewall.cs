using Berth.Linux;
using Microsoft.Extensions.Logging;

namespace Berth.Networks;

/// <summary>
/// Keeps the engine's tables as <see cref="FirewallPlan"/> says. Remembers what is published, so that a table that somebody flushed
/// (<c>nft flush ruleset</c>, a reload of another firewall) is written anew when a small change to it fails.
/// </summary>
internal sealed class Firewall(string table, HostNamespace host, ILogger logger) : IDisposable
{
    private readonly Lock gate = new();
    private readonly Nftables nftables = Open(host);
    private readonly HashSet<FirewallPort> published = [];
    private readonly List<FirewallNetwork> networks = [];

    /// <summary>Makes or updates the rules for these networks; what is published in existing tables stays until <see cref="Replace"/>.</summary>
    internal void Initialise(IReadOnlyList<FirewallNetwork> all)
    {
        lock (gate)
        {
            networks.AddRange(all);
            try
            {
                Run(FirewallPlan.For(table, networks, ports: null));
            }
            catch (NetworkException e)
            {
                // A table of that name with other maps or hooks, from another version perhaps: it is ours by its name.
                logger.FirewallRebuilt(table, e.Message);
                Run(RemoveBoth() + FirewallPlan.For(table, networks, ports: null));
            }
        }
        WarnOfForeignDrops();
    }

    /// <summary>From now on exactly these ports are published. Written from scratch: a former daemon may have left chains of networks that are gone.</summary>
    internal void Replace(IEnumerable<FirewallPort> ports)
    {
        lock (gate)
        {
            published.Clear();
            published.UnionWith(ports);
            Run(RemoveBoth() + FirewallPlan.For(table, networks, [.. published]));
        }
        if (HasIPv6) return;
        try
        {
            Run(FirewallPlan.RemoveTable(table, ipv6: true));
        }
        catch (NetworkException)
        {
            // a kernel without such tables
        }
    }

    private bool HasIPv6 => networks.Exists(n => n.Subnet6 is not null);

    // In the same transaction as what follows: nothing ever passes without rules.
    private string RemoveBoth() => FirewallPlan.RemoveTable(table) + (HasIPv6 ? FirewallPlan.RemoveTable(table, ipv6: true) : "");

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
                RunOrRebuild(FirewallPlan.Remove(table, withdrawn) + FirewallPlan.Add(table, added));
            }
            catch
            {
                published.ExceptWith(added);
                throw;
            }
        }
    }

    internal void AddNetwork(FirewallNetwork network)
    {
        lock (gate)
        {
            networks.Add(network);
            try
            {
                RunOrRebuild(FirewallPlan.AddNetwork(table, network));
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
            if (networks.RemoveAll(n => n.Bridge == network.Bridge) > 0) RunOrRebuild(FirewallPlan.RemoveNetwork(table, network));
        }
    }

    internal void RemoveTables()
    {
        lock (gate) Run(RemoveBoth());
    }

    private void RunOrRebuild(string script)
    {
        try
        {
            Run(script);
        }
        catch (NetworkException e)
        {
            logger.FirewallRebuilt(table, e.Message);
            Run(RemoveBoth() + FirewallPlan.For(table, networks, [.. published]));
        }
    }

    private string Run(string script)
    {
        logger.FirewallTransaction(script);
        try
        {
            return nftables.Run(script);
        }
        catch (NftablesException e)
        {
            throw new NetworkException(NetworkErrorKind.System, $"firewall table ip {table}: {e.Message}", e);
        }
    }

    // An accept in our table does not outvote a drop in another: a packet must pass every base chain of the hook.
    private void WarnOfForeignDrops()
    {
        try
        {
            var tableOfChain = "";
            foreach (var line in nftables.Run("list chains").Split('\n'))
            {
                var text = line.Trim();
                if (text.StartsWith("table ", StringComparison.Ordinal)) tableOfChain = text[6..].TrimEnd(' ', '{');
                if (text.Contains("hook forward", StringComparison.Ordinal) && text.Contains("policy drop", StringComparison.Ordinal)
                    && !tableOfChain.StartsWith("ip6 ", StringComparison.Ordinal))
                    logger.ForeignForwardDrop(tableOfChain);
            }
        }
        catch (NftablesException e)
        {
            logger.FirewallNotListed(e.Message);
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

    public void Dispose() => nftables.Dispose();
}
