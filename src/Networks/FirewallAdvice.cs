namespace Berth.Networks;

/// <summary>By which of the host's firewall rules packets from other machines to published ports are judged.</summary>
public enum PublishThrough
{
    /// <summary>Those for forwarded packets: the kernel redirects them to the container, which sees the client's address.</summary>
    Forward,
    /// <summary>Those for packets to the host itself, as for any program on it: the daemon takes them and carries them on, and the container sees the bridge's address.</summary>
    Input,
}

/// <summary>A base chain of somebody else's that forwarded packets pass. Pure.</summary>
/// <param name="Chain">"ip filter FORWARD".</param>
/// <param name="Drops">What it does not know does not pass.</param>
/// <param name="LetsRedirectedPass">Packets of a connection that was redirected pass, whatever its other rules say: firewalld's, of old.</param>
public sealed record ForeignForward(string Chain, bool Drops, bool LetsRedirectedPass)
{
    /// <param name="list">What <c>nft list chains</c> prints.</param>
    /// <returns>Those (of plain names) that hook forward, for IPv4 or both families, and whether their policy is drop.</returns>
    public static IEnumerable<(string Chain, bool DropsByPolicy)> ChainsOf(string list)
    {
        var (table, chain) = ("", "");
        foreach (var line in list.Split('\n'))
        {
            var text = line.Trim();
            if (text.StartsWith("table ", StringComparison.Ordinal)) table = text[6..].TrimEnd(' ', '{');
            else if (text.StartsWith("chain ", StringComparison.Ordinal)) chain = text[6..].TrimEnd(' ', '{');
            else if (text.Contains("hook forward", StringComparison.Ordinal) && text.StartsWith("type filter", StringComparison.Ordinal) && table.Split(' ')[0] is "ip" or "inet"
                && $"{table}{chain}".All(c => char.IsAsciiLetterOrDigit(c) || c is ' ' or '_' or '-' or '.'))
                yield return ($"{table} {chain}", text.Contains("policy drop", StringComparison.Ordinal));
        }
    }

    /// <param name="rules">What <c>nft list chain</c> prints of it.</param>
    public static ForeignForward Of(string chain, bool dropsByPolicy, string rules)
    {
        var (last, redirected) = ("", false);
        foreach (var line in rules.Split('\n'))
        {
            var rule = line.Trim();
            if (rule is "" or "}" || rule.StartsWith("type ", StringComparison.Ordinal)) continue;
            last = rule;
            redirected |= rule is "ct status dnat accept" or "ct status { dnat } accept";
        }
        return new ForeignForward(chain, dropsByPolicy || last == "drop" || last == "reject" || last.StartsWith("reject with", StringComparison.Ordinal), redirected);
    }
}

/// <summary>What to say about a foreign chain that forwarded packets must pass. Pure.</summary>
public static class FirewallAdvice
{
    /// <param name="bridges">Ours.</param>
    public static IEnumerable<string> For(ForeignForward foreign, IReadOnlyList<string> bridges, PublishThrough through)
    {
        var chain = foreign.Chain;
        var isFirewalld = chain.Contains("firewalld", StringComparison.Ordinal);
        if (foreign.Drops)
        {
            var names = bridges.Count == 0 ? "the networks' bridges" : string.Join(", ", bridges);
            var what = through == PublishThrough.Forward && !foreign.LetsRedirectedPass ? "containers reach the outside, and other machines reach published ports," : "containers reach the outside";
            var first = bridges.Count == 0 ? "BRIDGE" : bridges[0];
            yield return $"WARNING: the host's firewall chain {chain} drops forwarded packets: {what} only if it lets them ({names}). Berth does not change it; to let them pass: " + (chain switch
            {
                "ip filter FORWARD" => $"iptables -I FORWARD -i {first} -j ACCEPT; iptables -I FORWARD -o {first} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT (with ufw: ufw route allow in on {first}; ufw route allow out on {first})",
                _ when isFirewalld => $"firewall-cmd --permanent --zone=trusted --add-interface={first}; firewall-cmd --reload",
                _ => $"a rule there that accepts iifname {first}, and oifname {first} with ct status dnat or ct state established,related",
            });
        }
        if (foreign.LetsRedirectedPass && through == PublishThrough.Forward)
            yield return $"WARNING: the host's firewall chain {chain} lets redirected packets pass whatever its other rules say: published ports are open to other machines. To have them judged like ports of the host's own programs: --publish-through=input"
                + (isFirewalld ? "; firewalld 2.3 and later closes them with StrictForwardPorts=yes" : "");
    }
}
