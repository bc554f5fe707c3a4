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
                new("driver", 'd', FlagKind.String, "bridge (the default), macvlan or ipvlan"),
                new("gateway", FlagKind.List, "Gateway of a subnet") { ValueName = "ip" },
                new("ingress", FlagKind.Bool, "For Swarm"),
                new("internal", FlagKind.Bool, "Nothing outside is reached"),
                new("ip-range", FlagKind.List, "Part of a subnet that containers' addresses come from") { ValueName = "cidr" },
                new("ipam-driver", FlagKind.String, "Who manages addresses"),
                new("ipam-opt", FlagKind.List, "Options of the IPAM driver") { ValueName = "map" },
                new("ipv4", FlagKind.Bool, "Addresses of IPv4 (the default)"),
                new("ipv6", FlagKind.Bool, "Addresses of IPv6"),
                new("label", FlagKind.List, "Labels"),
                new("opt", 'o', FlagKind.List, "Options of the driver") { ValueName = "map" },
                new("scope", FlagKind.String, "For Swarm"),
                new("subnet", FlagKind.List, "Subnet in CIDR notation") { ValueName = "cidr" },
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
                new("alias", FlagKind.List, "Another name on this network"),
                new("driver-opt", FlagKind.List, "Options of the network's driver"),
                new("gw-priority", FlagKind.Int, "The network with the highest gives the default route"),
                new("ip", FlagKind.String, "IPv4 address"),
                new("ip6", FlagKind.String, "IPv6 address"),
                new("link", FlagKind.List, "Another container under a name of this one's own"),
                new("link-local-ip", FlagKind.List, "Further address"),
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
        var subnets = flags.List("subnet").Select(s => (Network: System.Net.IPNetwork.TryParse(s, out var network) ? network : (System.Net.IPNetwork?)null, Config: new IPAMConfig { Subnet = s })).ToList();
        foreach (var range in flags.List("ip-range"))
            Of(range.Split('/')[0], $"no matching subnet for range {range}").IPRange = range;
        foreach (var gateway in flags.List("gateway")) Of(gateway, $"no matching subnet for gateway {gateway}").Gateway = gateway;
        foreach (var (name, address) in Map(flags.List("aux-address"))) (Of(address, $"no matching subnet for aux-address {address}").AuxiliaryAddresses ??= [])[name] = address;
        return [.. subnets.Select(s => s.Config)];

        IPAMConfig Of(string address, string otherwise) =>
            System.Net.IPAddress.TryParse(address, out var ip) && subnets.Find(s => s.Network is { } network && network.Contains(ip)) is { Config: { } config } ? config : throw new CommandException(otherwise);
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

    private static Task<int> RemoveAsync(Invocation invocation)
    {
        var force = invocation.Arguments.Bool("force");
        return ContainerVerbs.ForEachAsync(invocation.Context, invocation.Arguments.Positional, async name =>
        {
            try
            {
                await invocation.Context.Client.RemoveNetworkAsync(name, invocation.Cancelled);
            }
            catch (EngineApiException e) when (force && e.Status == 404)
            {
                // counts as removed
            }
        });
    }

    private static Task<int> ConnectAsync(Invocation invocation)
    {
        var flags = invocation.Arguments;
        var linkLocal = flags.List("link-local-ip").ToArray();
        var endpoint = new EndpointSettings
        {
            IPAMConfig = new EndpointIPAMConfig { IPv4Address = flags.String("ip"), IPv6Address = flags.String("ip6"), LinkLocalIPs = linkLocal.Length > 0 ? linkLocal : null },
            Links = [.. flags.List("link")], Aliases = [.. flags.List("alias")], DriverOpts = Map(flags.List("driver-opt")), GwPriority = flags.Changed("gw-priority") ? flags.Int("gw-priority") : 0,
        };
        return Done(invocation.Context.Client.ConnectNetworkAsync(flags.Positional[0], flags.Positional[1], endpoint, invocation.Cancelled));
    }
}
