namespace Berth.Networks;

/// <summary>By which of the host's firewall rules packets from other machines to published ports are judged.</summary>
public enum PublishThrough
{
    /// <summary>Those for forwarded packets: the kernel redirects them to the container, which sees the client's address.</summary>
    Forward,
    /// <summary>Those for packets to the host itself, as for any program on it: the daemon takes them and carries them on, and the container sees the bridge's address.</summary>
    Input,
}

/// <summary>What to say about a foreign chain that drops forwarded packets. Pure.</summary>
public static class FirewallAdvice
{
    /// <param name="chain">"ip filter FORWARD".</param>
    /// <param name="bridges">Ours.</param>
    public static string For(string chain, IReadOnlyList<string> bridges, PublishThrough through)
    {
        var names = bridges.Count == 0 ? "the networks' bridges" : string.Join(", ", bridges);
        var what = through == PublishThrough.Forward ? "containers reach the outside, and other machines reach published ports," : "containers reach the outside";
        var first = bridges.Count == 0 ? "BRIDGE" : bridges[0];
        return $"WARNING: the host's firewall chain {chain} drops forwarded packets: {what} only if it lets them ({names}). Berth does not change it; to let them pass: " + (chain switch
        {
            "ip filter FORWARD" => $"iptables -I FORWARD -i {first} -j ACCEPT; iptables -I FORWARD -o {first} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT (with ufw: ufw route allow in on {first}; ufw route allow out on {first})",
            _ when chain.Contains("firewalld", StringComparison.Ordinal) => $"firewall-cmd --permanent --zone=trusted --add-interface={first}; firewall-cmd --reload",
            _ => $"a rule there that accepts iifname {first}, and oifname {first} with ct status dnat or ct state established,related",
        });
    }
}
