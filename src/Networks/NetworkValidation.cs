using System.Collections.Immutable;

namespace Berth.Networks;

/// <summary>From a request to a specification whose subnets are not yet chosen: everything that can be said without looking at the machine. Pure. Error
/// texts are Docker's, and so is their order.</summary>
internal static class NetworkValidation
{
    private const string EnableIPv4Option = "com.docker.network.enable_ipv4";
    private const string EnableIPv6Option = "com.docker.network.enable_ipv6";
    private const string DefaultIpam = "default";

    internal static readonly ImmutableArray<string> Drivers = ["bridge", "host", "ipvlan", "macvlan", "null", "overlay"];

    /// <exception cref="NetworkException">As the daemon answers.</exception>
    internal static NetworkSpec Check(NetworkRequest request, string id, DateTimeOffset now, Func<string, NetworkSpec?> find)
    {
        if (NetworkManager.IsPredefined(request.Name)) throw Error(NetworkErrorKind.Forbidden, $"operation is not permitted on predefined {request.Name} network ");
        var driver = request.Driver.Length > 0 ? request.Driver : "bridge";
        if (driver == "overlay")
            throw Error(NetworkErrorKind.Forbidden, "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.");
        var options = new Dictionary<string, string>(request.Options);
        var ipv4 = Family(request.EnableIPv4, options, EnableIPv4Option, true);
        var ipv6 = Family(request.EnableIPv6, options, EnableIPv6Option, false);
        var subnets = CheckSubnets(request.Subnets, ipv6);

        if (string.IsNullOrWhiteSpace(request.Name)) throw Error(NetworkErrorKind.InvalidArgument, "invalid name: name is empty");
        if (find(request.Name) is { } known && known.Name == request.Name) throw Error(NetworkErrorKind.Conflict, $"network with name {request.Name} already exists");
        var spec = new NetworkSpec
        {
            Name = request.Name, Id = id, Created = now, Driver = driver, EnableIPv4 = ipv4, EnableIPv6 = ipv6, Internal = request.Internal, Attachable = request.Attachable,
            ConfigOnly = request.ConfigOnly, ConfigFrom = request.ConfigFrom, Options = options, Labels = request.Labels, IpamDriver = request.IpamDriver.Length > 0 ? request.IpamDriver : DefaultIpam,
            IpamOptions = request.IpamOptions, Subnets = subnets,
        };
        CheckConfiguration(request, spec);
        if (request.ConfigOnly) return spec with { Driver = "null" };
        if (!Drivers.Contains(driver)) throw Error(NetworkErrorKind.NotFound, $"plugin \"{driver}\" not found");
        if (request.Ingress) throw Error(NetworkErrorKind.Forbidden, "Ingress network can only be global scope network");
        if (request.ConfigFrom.Length > 0)
        {
            if (find(request.ConfigFrom) is not { ConfigOnly: true } from) throw Error(NetworkErrorKind.NotFound, $"configuration network \"{request.ConfigFrom}\" does not exist");
            spec = spec with
            {
                EnableIPv4 = from.EnableIPv4, EnableIPv6 = from.EnableIPv6, Labels = from.Labels, Options = from.Options, IpamDriver = from.IpamDriver, IpamOptions = from.IpamOptions, Subnets = from.Subnets,
                ConfigFrom = from.Name,
            };
        }
        if (request.Scope == "swarm") throw Error(NetworkErrorKind.Forbidden, "cannot create a swarm scoped network when swarm is not active");
        if (driver is "host" or "null") throw Error(NetworkErrorKind.Forbidden, $"only one instance of \"{driver}\" network is allowed");
        if (spec.IpamDriver is not (DefaultIpam or "null")) throw Error(NetworkErrorKind.NotFound, $"plugin \"{spec.IpamDriver}\" not found");
        // No addresses: of the drivers that go without, macvlan and ipvlan, neither family may then be asked for.
        if (spec.IpamDriver == "null" && (spec.EnableIPv4 || spec.EnableIPv6)) throw Error(NetworkErrorKind.InvalidArgument, $"{(spec.EnableIPv4 ? "ipv4" : "ipv6")} pool is empty");
        if (driver == "bridge")
        {
            if (!spec.EnableIPv4 && !spec.EnableIPv6) throw Error(NetworkErrorKind.InvalidArgument, "IPv4 or IPv6 must be enabled");
            foreach (var family in (ReadOnlySpan<bool>)[false, true])
            {
                if ((family ? spec.EnableIPv6 : spec.EnableIPv4) && spec.Subnets.Count(s => s.Subnet.IsIPv6 == family) > 1)
                    throw Error(NetworkErrorKind.Forbidden, "bridge driver doesn't support multiple subnets");
            }
        }
        return spec;
    }

    private static bool Family(bool? asked, Dictionary<string, string> options, string option, bool otherwise)
    {
        if (asked is { } given)
        {
            options.Remove(option);
            return given;
        }
        if (!options.TryGetValue(option, out var text)) return otherwise;
        return GoFlag.TryParse(text, out var flag) ? flag : throw Error(NetworkErrorKind.InvalidArgument, $"driver-opt \"{option}\" is not a valid bool");
    }

    private static void CheckConfiguration(NetworkRequest request, NetworkSpec spec)
    {
        if (request.ConfigOnly && (request.Ingress || request.Internal || request.Attachable || request.Scope.Length > 0))
            throw Error(NetworkErrorKind.Forbidden, "configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported.");
        if (request.ConfigFrom.Length == 0) return;
        if (request.ConfigOnly) throw Error(NetworkErrorKind.Forbidden, "a configuration network cannot depend on another configuration network");
        if (spec.IpamDriver != DefaultIpam || !spec.EnableIPv4 || spec.EnableIPv6 || spec.Labels.Count > 0 || spec.IpamOptions is { Count: > 0 } || spec.Subnets.Count > 0)
            throw Error(NetworkErrorKind.Forbidden, "user specified configurations are not supported if the network depends on a configuration network");
        if (spec.Options.Count > 0) throw Error(NetworkErrorKind.Forbidden, "network driver options are not supported if the network depends on a configuration network");
    }

    private static List<SubnetSpec> CheckSubnets(IReadOnlyList<SubnetRequest> requests, bool ipv6)
    {
        var problems = new List<string>();
        var specs = new List<SubnetSpec>();
        foreach (var request in requests)
        {
            if (!InetInterface.TryParse(request.Subnet, out var subnet))
            {
                problems.Add($"invalid subnet {request.Subnet}: invalid CIDR block notation");
                continue;
            }
            var prefix = subnet.Prefix;
            var spec = new SubnetSpec(prefix)
            {
                Given = true,
                Range = InetPrefix.TryParse(request.Range, out var range) ? range : null,
                GivenGateway = InetAddress.TryParse(request.Gateway, out var gateway) ? gateway : null,
                Auxiliary = (request.Auxiliary ?? ImmutableDictionary<string, string>.Empty).Where(a => InetAddress.TryParse(a.Value, out _)).ToImmutableSortedDictionary(a => a.Key, a => InetAddress.TryParse(a.Value, out var address) ? address : default, StringComparer.Ordinal),
            };
            specs.Add(spec);
            if (!ipv6 && prefix.IsIPv6) continue;
            if (subnet.Address != prefix.Network) problems.Add($"invalid subnet {subnet}: it should be {prefix}");
            CheckRange(request.Range, prefix, problems);
            if (ProblemOf(request.Gateway, prefix) is { } wrong) problems.Add($"invalid gateway {request.Gateway}: {wrong}");
            foreach (var (name, address) in request.Auxiliary ?? ImmutableDictionary<string, string>.Empty)
                if (ProblemOf(address, prefix) is { } bad) problems.Add($"invalid auxiliary address {name}: {bad}");
        }
        if (problems.Count > 0) throw Error(NetworkErrorKind.InvalidArgument, $"invalid network config:\n{(problems.Count == 1 ? problems[0] : string.Join('\n', problems.Select(p => "* " + p)))}");
        return [.. specs.OrderBy(s => s.Subnet.IsIPv6)];
    }

    private static string FamilyName(bool ipv6) => ipv6 ? "IPv6" : "IPv4";

    private static void CheckRange(string? text, InetPrefix subnet, List<string> problems)
    {
        if (string.IsNullOrEmpty(text)) return;
        if (!InetInterface.TryParse(text, out var range))
        {
            problems.Add($"invalid ip-range {text}: invalid CIDR block notation");
            return;
        }
        var prefix = range.Prefix;
        if (prefix.IsIPv6 != subnet.IsIPv6)
        {
            problems.Add($"invalid ip-range {text}: parent subnet is an {FamilyName(subnet.IsIPv6)} block");
            return;
        }
        if (prefix.Length < subnet.Length) problems.Add($"invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}");
        if (range.Address != prefix.Network) problems.Add($"invalid ip-range {range}: it should be {prefix}");
        if (!subnet.Overlaps(prefix)) problems.Add($"invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range");
    }

    private static string? ProblemOf(string? text, InetPrefix subnet)
    {
        if (string.IsNullOrEmpty(text)) return null;
        if (!InetAddress.TryParse(text, out var address)) return "invalid address";
        if (address.IsIPv6 != subnet.IsIPv6) return $"parent subnet is an {FamilyName(subnet.IsIPv6)} block";
        return subnet.Contains(address) ? null : $"parent subnet {subnet} doesn't contain this address";
    }

    private static NetworkException Error(NetworkErrorKind kind, string message) => new(kind, message);
}
