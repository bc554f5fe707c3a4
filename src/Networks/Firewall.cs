using Berth.Linux;
using Microsoft.Extensions.Logging;

namespace Berth.Networks;

/// <summary>
/// Keeps the engine's table as <see cref="FirewallPlan"/> says. Remembers what is published, so that a table that somebody flushed
/// (<c>nft flush ruleset</c>, a reload of another firewall) is written anew when a small change to it fails.
/// </summary>
internal sealed class Firewall(string table, HostNamespace host, ILogger logger) : IDisposable
{
    private readonly Lock gate = new();
    private readonly Nftables nftables = Open(host);
    private readonly HashSet<FirewallPort> published = [];
    private IReadOnlyList<FirewallNetwork> networks = [];

    /// <summary>Makes or updates the rules for these networks; what is published in an existing table stays until <see cref="Replace"/>.</summary>
    internal void Initialise(IReadOnlyList<FirewallNetwork> all)
    {
        lock (gate)
        {
            networks = all;
            try
            {
                Run(FirewallPlan.For(table, networks, ports: null));
            }
            catch (NetworkException e)
            {
                // A table of that name with other maps or hooks, from another version perhaps: it is ours by its name.
                logger.FirewallRebuilt(table, e.Message);
                Run(FirewallPlan.RemoveTable(table) + FirewallPlan.For(table, networks, ports: null));
            }
        }
        WarnOfForeignDrops();
    }

    /// <summary>From now on exactly these ports are published.</summary>
    internal void Replace(IEnumerable<FirewallPort> ports)
    {
        lock (gate)
        {
            published.Clear();
            published.UnionWith(ports);
            Run(FirewallPlan.For(table, networks, [.. published]));
        }
    }

    internal void Add(IReadOnlyList<FirewallPort> ports)
    {
        if (ports.Count == 0) return;
        lock (gate)
        {
            published.UnionWith(ports);
            try
            {
                RunOrRebuild(FirewallPlan.Add(table, ports));
            }
            catch
            {
                published.ExceptWith(ports);
                throw;
            }
        }
    }

    internal void Remove(IReadOnlyList<FirewallPort> ports)
    {
        if (ports.Count == 0) return;
        lock (gate)
        {
            published.ExceptWith(ports);
            RunOrRebuild(FirewallPlan.Remove(table, ports));
        }
    }

    internal void RemoveTable()
    {
        lock (gate) Run(FirewallPlan.RemoveTable(table));
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
            Run(FirewallPlan.RemoveTable(table) + FirewallPlan.For(table, networks, [.. published]));
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
