using System.Globalization;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Networks;

/// <summary>berth network …</summary>
internal static class NetworkVerbs
{
    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["network create"],
            Usage = "[OPTIONS] NETWORK",
            Summary = "Make a network",
            Flags = static () =>
            [
                new("attachable", FlagKind.Bool, "For Swarm: containers may join by hand"),
                new("aux-address", FlagKind.List, "Addresses that containers never get (name=address)") { ValueName = "map" },
                new("config-from", FlagKind.String, "The network to take the configuration from"),
                new("config-only", FlagKind.Bool, "Only a configuration for others"),
                new("driver", 'd', FlagKind.String, "bridge, macvlan or ipvlan") { Default = "bridge" },
                new("gateway", FlagKind.Strings, "Gateway of a subnet"),
                new("ingress", FlagKind.Bool, "For Swarm"),
                new("internal", FlagKind.Bool, "Nothing outside is reached"),
                new("ip-range", FlagKind.Strings, "Part of a subnet that containers' addresses come from"),
                new("ipam-driver", FlagKind.String, "Who manages addresses") { Default = "default" },
                new("ipam-opt", FlagKind.List, "Options of the IPAM driver") { ValueName = "map" },
                new("ipv4", FlagKind.Bool, "Addresses of IPv4") { Default = "true" },
                new("ipv6", FlagKind.Bool, "Addresses of IPv6"),
                new("label", FlagKind.List, "Labels") { Normalize = OneWord },
                new("opt", 'o', FlagKind.List, "Options of the driver") { ValueName = "map" },
                new("scope", FlagKind.String, "For Swarm"),
                new("subnet", FlagKind.Strings, "Subnet in CIDR notation"),
            ],
            MinArguments = 1,
            MaxArguments = 1,
            Run = CreateAsync,
        },
        new()
        {
            Paths = ["network ls", "network list"],
            Usage = "[OPTIONS]",
            Summary = "List networks",
            Flags = static () =>
            [
                new("filter", 'f', FlagKind.List, "Only those that match (driver=..., label=..., name=...)") { ValueName = "filter", Normalize = FilterFlag.Check },
                new("format", FlagKind.String, PsCommand.FormatHelp),
                new("no-trunc", FlagKind.Bool, "Do not shorten anything"),
                new("quiet", 'q', FlagKind.Bool, "IDs only"),
            ],
            MaxArguments = 0,
            Run = ListAsync,
        },
        new()
        {
            Paths = ["network rm", "network remove"],
            Usage = "NETWORK [NETWORK...]",
            Summary = "Remove networks",
            Flags = static () => [new("force", 'f', FlagKind.Bool, "One that is not there is no error")],
            MinArguments = 1,
            Run = RemoveAsync,
        },
        new()
        {
            Paths = ["network connect"],
            Usage = "[OPTIONS] NETWORK CONTAINER",
            Summary = "Put a container on a network",
            Flags = static () =>
            [
                new("alias", FlagKind.Strings, "Another name on this network"),
                new("driver-opt", FlagKind.Strings, "Options of the network's driver"),
                new("gw-priority", FlagKind.Int, "The network with the highest gives the default route"),
                new("ip", FlagKind.String, "IPv4 address"),
                new("ip6", FlagKind.String, "IPv6 address"),
                new("link", FlagKind.List, "Another container under a name of this one's own"),
                new("link-local-ip", FlagKind.Strings, "Further address"),
            ],
            MinArguments = 2,
            MaxArguments = 2,
            Run = ConnectAsync,
        },
        new()
        {
            Paths = ["network disconnect"],
            Usage = "[OPTIONS] NETWORK CONTAINER",
            Summary = "Take a container off a network",
            Flags = static () => [new("force", 'f', FlagKind.Bool, "Even when the network is not known any more")],
            MinArguments = 2,
            MaxArguments = 2,
            Run = static i => Done(i.Context.Client.DisconnectNetworkAsync(i.Arguments.Positional[0], i.Arguments.Positional[1], i.Arguments.Bool("force"), i.Cancelled)),
        },
    ];

    private static string OneWord(string label) => CreateRequestBuilder.Cut(label).Key.AsSpan().ContainsAny(" \t\n") ? throw new FormatException($"label '{label}' contains whitespaces") : label;

    private static async Task<int> Done(Task task)
    {
        await task;
        return 0;
    }

    private static async Task<int> CreateAsync(Invocation invocation)
    {
        var flags = invocation.Arguments;
        var request = new NetworkCreateRequest
        {
            Name = flags.Positional[0], Driver = flags.String("driver"), Scope = flags.String("scope"), Internal = flags.Bool("internal"), Attachable = flags.Bool("attachable"), Ingress = flags.Bool("ingress"),
            ConfigOnly = flags.Bool("config-only"), ConfigFrom = flags.String("config-from") is { Length: > 0 } from ? new ConfigReference { Network = from } : null,
            EnableIPv4 = flags.Changed("ipv4") ? flags.Bool("ipv4") : null, EnableIPv6 = flags.Changed("ipv6") ? flags.Bool("ipv6") : null,
            Options = Map(flags.List("opt")), Labels = Map(flags.List("label")),
            IPAM = new IPAM { Driver = flags.String("ipam-driver"), Options = Map(flags.List("ipam-opt")), Config = Subnets(flags) },
        };
        var made = await invocation.Context.Client.CreateNetworkAsync(request, invocation.Cancelled);
        invocation.Context.Out.Write(made.Id + "\n");
        return 0;
    }

    internal static Dictionary<string, string> Map(IEnumerable<string> values)
    {
        var map = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var value in values)
        {
            var (name, text) = CreateRequestBuilder.Cut(value);
            map[name] = text;
        }
        return map;
    }

    /// <summary>Ranges, gateways and reserved addresses belong to the subnet they lie in.</summary>
    private static IPAMConfig[] Subnets(Arguments flags)
    {
        var (ranges, gateways) = (flags.List("ip-range"), flags.List("gateway"));
        if (ranges.Count > flags.List("subnet").Count || gateways.Count > flags.List("subnet").Count) throw new CommandException("every ip-range or gateway must have a corresponding subnet");
        var subnets = new List<(System.Net.IPNetwork? Network, IPAMConfig Config)>();
        foreach (var text in flags.List("subnet"))
        {
            var network = System.Net.IPNetwork.TryParse(text, out var parsed) ? parsed : (System.Net.IPNetwork?)null;
            foreach (var (other, _) in subnets)
                if (network is { } one && other is { } two && (one.Contains(two.BaseAddress) || two.Contains(one.BaseAddress))) throw new CommandException("multiple overlapping subnet configuration is not supported");
            subnets.Add((network, new IPAMConfig { Subnet = text }));
        }
        foreach (var range in ranges)
        {
            var config = Of(range.Split('/')[0], $"no matching subnet for range {range}");
            if (config.IPRange is { Length: > 0 } first) throw new CommandException($"cannot configure multiple ranges ({range}, {first}) on the same subnet ({config.Subnet})");
            config.IPRange = range;
        }
        foreach (var gateway in gateways)
        {
            var config = Of(gateway, $"no matching subnet for gateway {gateway}");
            if (config.Gateway is { Length: > 0 } first) throw new CommandException($"cannot configure multiple gateways ({gateway}, {first}) for the same subnet ({config.Subnet})");
            config.Gateway = gateway;
        }
        foreach (var (name, address) in Map(flags.List("aux-address"))) (Of(address, $"no matching subnet for aux-address {address}").AuxiliaryAddresses ??= [])[name] = address;
        var configs = new IPAMConfig[subnets.Count];
        for (var i = 0; i < configs.Length; i++) configs[i] = subnets[i].Config;
        return configs;

        IPAMConfig Of(string address, string otherwise)
        {
            if (System.Net.IPAddress.TryParse(address, out var ip))
                foreach (var (network, config) in subnets)
                    if (network is { } known && known.Contains(ip)) return config;
            throw new CommandException(otherwise);
        }
    }

    private static async Task<int> ListAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var networks = await context.Client.ListNetworksAsync(FilterFlag.Of(flags), invocation.Cancelled);
        var format = context.FormatOf(flags, "networksFormat");
        if (flags.Bool("quiet") && format is "" or "table") format = "{{.ID}}";
        var truncate = !flags.Bool("no-trunc");
        new Formatter<NetworkInspect>("formatter.networkContext",
        [
            new("CreatedAt", "CREATED AT", n => Shorten.Time(n.Created, context.Time.LocalTimeZone)),
            new("Driver", "DRIVER", n => n.Driver),
            new("ID", "NETWORK ID", n => truncate ? Shorten.Id(n.Id) : n.Id),
            new("IPv4", "IPV4", n => n.EnableIPv4 ? "true" : "false"),
            new("IPv6", "IPV6", n => n.EnableIPv6 ? "true" : "false"),
            new("Internal", "INTERNAL", n => n.Internal ? "true" : "false"),
            new("Labels", "LABELS", n => LabelsText.Of(n.Labels)),
            new("Name", "NAME", n => n.Name),
            new("Scope", "SCOPE", n => n.Scope),
        ])
        {
            Methods = new Dictionary<string, Func<NetworkInspect, string, string>> { ["Label"] = (n, name) => n.Labels?.GetValueOrDefault(name) ?? "" },
        }.Write(context.Out, format, "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}", [.. networks.OrderBy(n => n.Name, Comparer<string>.Create(NaturalOrder.Compare))],
            flags.Bool("quiet") ? "network_id: {{.ID}}" : "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n");
        return 0;
    }

    private static async Task<int> RemoveAsync(Invocation invocation)
    {
        var force = invocation.Arguments.Bool("force");
        var exitCode = await ContainerVerbs.ForEachAsync(invocation.Context, invocation.Arguments.Positional, name => invocation.Context.Client.RemoveNetworkAsync(name, invocation.Cancelled), forgiven: e => force && e.Status == 404, silently: true);
        return exitCode == 0 ? 0 : throw new CommandException($"exit status {exitCode}", exitCode); // docker says so, too
    }

    private static Dictionary<string, string> DriverOptions(IReadOnlyList<string> values)
    {
        foreach (var value in values)
            if (!value.Contains('=')) throw new CommandException("invalid key/value pair format in driver options");
        return Map(values);
    }

    private static Task<int> ConnectAsync(Invocation invocation)
    {
        var flags = invocation.Arguments;
        var linkLocal = flags.List("link-local-ip").ToArray();
        var endpoint = new EndpointSettings
        {
            IPAMConfig = new EndpointIPAMConfig { IPv4Address = flags.String("ip"), IPv6Address = flags.String("ip6"), LinkLocalIPs = linkLocal.Length > 0 ? linkLocal : null },
            Links = [.. flags.List("link")], Aliases = [.. flags.List("alias")], DriverOpts = DriverOptions(flags.List("driver-opt")), GwPriority = flags.Changed("gw-priority") ? flags.Int("gw-priority") : 0,
        };
        return Done(invocation.Context.Client.ConnectNetworkAsync(flags.Positional[0], flags.Positional[1], endpoint, invocation.Cancelled));
    }
}
