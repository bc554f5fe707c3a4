using System.Globalization;
using System.Text.RegularExpressions;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;
using Berth.Cli.Output;
using Berth.Cli.Templates;
using Berth.Compose.Engine;

namespace Berth.Cli.Commands.Compose;

/// <summary>ps, ls, images, volumes, logs, port, top, events, version: what there is and what happens.</summary>
internal static class ComposeLists
{
    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["ps"], Usage = "[OPTIONS] [SERVICE...]", Summary = "List containers",
            Flags = static () =>
            [
                new("all", 'a', FlagKind.Bool, "Stopped ones, too"), new("filter", FlagKind.String, "status=..."), new("format", FlagKind.String, PsCommand.FormatHelp) { Default = "table" }, new("no-trunc", FlagKind.Bool, "Do not shorten"),
                new("orphans", FlagKind.Bool, "Of services that are not in the files, too") { Default = "true" }, new("quiet", 'q', FlagKind.Bool, "IDs only"), new("services", FlagKind.Bool, "Services only"), new("status", FlagKind.List, "Only in these states"),
            ],
            Run = i => PsAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["ls"], Usage = "[OPTIONS]", Summary = "List projects", MaxArguments = 0,
            Flags = static () => [new("all", 'a', FlagKind.Bool, "Stopped ones, too"), new("filter", FlagKind.List, "name=..."), new("format", FlagKind.String, "table or json") { Default = "table" }, new("quiet", 'q', FlagKind.Bool, "Names only")],
            Run = i => LsAsync((ComposeInvocation)i),
        },
        new() { Paths = ["images"], Usage = "[OPTIONS] [SERVICE...]", Summary = "List the images of containers", Flags = static () => [new("format", FlagKind.String, "table or json") { Default = "table" }, new("quiet", 'q', FlagKind.Bool, "IDs only")], Run = i => ImagesAsync((ComposeInvocation)i) },
        new() { Paths = ["volumes"], Usage = "[OPTIONS] [SERVICE...]", Summary = "List volumes", Flags = static () => [new("format", FlagKind.String, PsCommand.FormatHelp) { Default = "table" }, new("quiet", 'q', FlagKind.Bool, "Names only")], Run = i => VolumesAsync((ComposeInvocation)i) },
        new()
        {
            Paths = ["logs"], Usage = "[OPTIONS] [SERVICE...]", Summary = "Show what containers have printed",
            Flags = static () =>
            [
                new("follow", 'f', FlagKind.Bool, "Go on with what they print"), new("index", FlagKind.Int, "Which container of a service that has several"), new("no-color", FlagKind.Bool, "No colours"), new("no-log-prefix", FlagKind.Bool, "No container names before lines"),
                new("since", FlagKind.String, "From this time on (2013-01-02T13:23:37Z) or so long ago (42m)"), new("tail", 'n', FlagKind.String, "The last so many lines of each") { Default = "all" }, new("timestamps", 't', FlagKind.Bool, "A time before each line"),
                new("until", FlagKind.String, "Up to this time or so long ago"),
            ],
            Run = i => LogsAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["port"], Usage = "[OPTIONS] SERVICE PRIVATE_PORT", Summary = "Where a port is published", MinArguments = 2, MaxArguments = 2,
            Flags = static () => [new("index", FlagKind.Int, "Which container of a service that has several"), new("protocol", FlagKind.String, "tcp or udp") { Default = "tcp" }], Run = i => PortAsync((ComposeInvocation)i),
        },
        new() { Paths = ["top"], Usage = "[SERVICES...]", Summary = "List processes", Run = i => TopAsync((ComposeInvocation)i) },
        new()
        {
            Paths = ["events"], Usage = "[OPTIONS] [SERVICE...]", Summary = "Show events of containers as they happen",
            Flags = static () => [new("json", FlagKind.Bool, "As JSON objects"), new("since", FlagKind.String, "From this time on"), new("until", FlagKind.String, "Up to this time")], Run = i => EventsAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["version"], Usage = "[OPTIONS]", Summary = "Show the version", MaxArguments = 0, Flags = static () => [new("format", 'f', FlagKind.String, "pretty or json"), new("short", FlagKind.Bool, "The number only")],
            Run = static i =>
            {
                i.Context.Out.Write(i.Arguments.String("format") == "json" ? $"{{\"version\":\"{Labels.CompatibleVersion}\"}}\n" : i.Arguments.Bool("short") ? Labels.CompatibleVersion + "\n" : $"Docker Compose version {Labels.CompatibleVersion} (Berth {BuildInfo.Version})\n");
                return Task.FromResult(0);
            },
        },
    ];

    private static async Task<int> PsAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var (name, project) = invocation.LoadOrName();
        foreach (var service in flags.Positional)
            if (project is not null && !project.Services.ContainsKey(service) && !project.Disabled.ContainsKey(service)) throw new CommandException($"no such service: {service}");
        List<string> states = [.. flags.List("status")];
        if (flags.String("filter") is { Length: > 0 } filter)
        {
            var equals = filter.IndexOf('=');
            if (equals < 0) throw new CommandException("arguments to --filter should be in form KEY=VAL");
            if (filter[..equals] != "status") throw new CommandException(filter[..equals] == "source" ? "not implemented" : $"unknown filter {filter[..equals]}");
            states.Add(filter[(equals + 1)..]);
        }
        var rows = new List<ServiceContainer>();
        foreach (var container in await Observed.ContainersAsync(invocation.Asking, name, invocation.Cancelled))
        {
            if (flags.Positional.Count > 0 && !flags.Positional.Contains(container.Service)) continue;
            if (!flags.Bool("orphans") && project is not null && !project.Services.ContainsKey(container.Service)) continue;
            if (states.Count > 0 ? !states.Contains(container.State) : !flags.Bool("all") && !container.Running) continue;
            if (container.OneOff && !flags.Bool("all") && states.Count == 0) continue;
            rows.Add(container);
        }
        rows.Sort(static (a, b) => string.CompareOrdinal(a.Name, b.Name));
        if (flags.Bool("quiet") || flags.Bool("services"))
        {
            foreach (var line in flags.Bool("quiet") ? rows.Select(r => r.Id) : rows.Select(r => r.Service).Distinct()) context.Out.Write(line + "\n");
            return 0;
        }
        var truncate = !flags.Bool("no-trunc");
        new Formatter<ServiceContainer>("formatter.ContainerContext",
        [
            new("Command", "COMMAND", c => GoText.Quote(truncate ? Shorten.Ellipsis(c.Summary.Command, 20) : c.Summary.Command)),
            new("CreatedAt", "CREATED AT", c => Shorten.Time(c.Summary.Created, context.Time.LocalTimeZone)),
            new("ExitCode", null, c => ExitCode(c.Summary.Status)),
            new("Health", null, c => c.Summary.Status.Contains("(healthy)") ? "healthy" : c.Summary.Status.Contains("(unhealthy)") ? "unhealthy" : c.Summary.Status.Contains("starting)") ? "starting" : ""),
            new("ID", "CONTAINER ID", c => truncate ? Shorten.Id(c.Id) : c.Id),
            new("Image", "IMAGE", c => c.Summary.Image),
            new("Labels", "LABELS", c => string.Join(',', c.Summary.Labels.Select(l => $"{l.Key}={l.Value}").Order(StringComparer.Ordinal))),
            new("LocalVolumes", null, c => c.Summary.Mounts.Count(m => m.Driver == "local").ToString(CultureInfo.InvariantCulture)),
            new("Mounts", null, c => string.Join(',', c.Summary.Mounts.Select(m => m.Name is { Length: > 0 } own ? own : m.Source).Select(m => truncate ? Shorten.Ellipsis(m, 15) : m))),
            new("Name", "NAME", c => c.Name),
            new("Names", null, c => c.Name),
            new("Networks", null, c => string.Join(',', c.Summary.NetworkSettings?.Networks?.Keys.Order(StringComparer.Ordinal) ?? Enumerable.Empty<string>())),
            new("Ports", "PORTS", c => PortsText.Of(c.Summary.Ports)),
            new("Project", "PROJECT", _ => name),
            new("Publishers", null, Publishers),
            new("RunningFor", "CREATED", c => Units.HumanDuration(context.Time.GetUtcNow() - DateTimeOffset.FromUnixTimeSeconds(c.Summary.Created)) + " ago"),
            new("Service", "SERVICE", c => c.Service),
            new("Size", "SIZE", _ => "0B"),
            new("State", "STATE", c => c.State),
            new("Status", "STATUS", c => c.Summary.Status),
        ]).Write(context.Out, flags.String("format"), "{{.Name}}\t{{.Image}}\t{{.Command}}\t{{.Service}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}", rows);
        return 0;
    }

    // "Exited (3) 2 minutes ago"
    private static object ExitCode(string status)
    {
        var (from, to) = (status.IndexOf('('), status.IndexOf(')'));
        return status.StartsWith("Exited", StringComparison.Ordinal) && to > from && int.TryParse(status.AsSpan(from + 1, to - from - 1), out var code) ? code : 0;
    }

    private static object Publishers(ServiceContainer container)
    {
        var list = new List<TemplateRecord>();
        foreach (var port in container.Summary.Ports.OrderBy(p => p.PrivatePort))
            list.Add(new TemplateRecord("api.PortPublisher").Add("URL", port.IP ?? "").Add("TargetPort", (int)port.PrivatePort).Add("PublishedPort", (int)port.PublicPort).Add("Protocol", port.Type));
        return list;
    }

    private sealed record ProjectRow(string Name, string Status, string Files);

    private static async Task<int> LsAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var names = new List<string>();
        foreach (var filter in flags.List("filter"))
        {
            var equals = filter.IndexOf('=');
            if (equals < 0) throw new CommandException("invalid argument " + GoText.Quote(filter) + " for \"--filter\" flag: invalid filter '" + filter + "'");
            if (filter[..equals].Trim().ToLowerInvariant() != "name") throw new CommandException($"invalid filter '{filter[..equals].Trim().ToLowerInvariant()}'");
            names.Add(filter[(equals + 1)..].Trim());
        }
        var filters = new Filters().Add("label", Labels.Project).Add("label", Labels.ConfigHash);
        var containers = await invocation.Client.ListContainersAsync(all: flags.Bool("all"), filters: filters, cancellationToken: invocation.Cancelled);
        var rows = new List<ProjectRow>();
        foreach (var group in containers.Select(c => new ServiceContainer(c)).GroupBy(c => c.Label(Labels.Project)).OrderBy(g => g.Key, StringComparer.Ordinal))
        {
            if (names.Count > 0 && !names.Exists(n => Matches(n, group.Key))) continue;
            var states = group.GroupBy(c => c.State).OrderBy(s => s.Key, StringComparer.Ordinal).Select(s => $"{s.Key}({s.Count()})");
            rows.Add(new ProjectRow(group.Key, string.Join(", ", states), string.Join(',', group.SelectMany(c => c.Label(Labels.ConfigFiles).Split(',')).Where(f => f.Length > 0).Distinct())));
        }
        if (flags.Bool("quiet")) foreach (var row in rows) context.Out.Write(row.Name + "\n");
        else if (flags.String("format") == "json") context.Out.Write("[" + string.Join(',', rows.Select(r => $"{{\"Name\":{JsonText.Quote(r.Name)},\"Status\":{JsonText.Quote(r.Status)},\"ConfigFiles\":{JsonText.Quote(r.Files)}}}")) + "]\n");
        else if (flags.String("format") is "table" or "") TableWriter.Write(context.Out, ["NAME\tSTATUS\tCONFIG FILES", .. rows.Select(r => $"{r.Name}\t{r.Status}\t{r.Files}")], minWidth: 20);
        else throw NoFormat(flags.String("format"));
        return 0;
    }

    // The name itself, or a regular expression that is found in it.
    private static bool Matches(string pattern, string name)
    {
        if (pattern == name) return true;
        try
        {
            return Regex.IsMatch(name, pattern, RegexOptions.NonBacktracking);
        }
        catch (Exception e) when (e is ArgumentException or NotSupportedException)
        {
            return false;
        }
    }

    private static CommandException NoFormat(string format) => new($"format value {GoText.Quote(format)} could not be parsed: parsing failed");

    private static string GoTime(DateTimeOffset time) => time.ToString("yyyy-MM-ddTHH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture) + (time.Offset == TimeSpan.Zero ? "Z" : time.ToString("zzz", CultureInfo.InvariantCulture));

    /// <summary>Containers of a project, those of `run` and of services that are in no file, too.</summary>
    private static async Task<List<ServiceContainer>> AllAsync(ComposeInvocation invocation, IReadOnlyList<string> services)
    {
        var (name, _) = invocation.LoadOrName();
        var found = new List<ServiceContainer>();
        foreach (var container in await Observed.ContainersAsync(invocation.Asking, name, invocation.Cancelled))
            if (services.Count == 0 || services.Contains(container.Service)) found.Add(container);
        found.Sort(static (a, b) => string.CompareOrdinal(a.Name, b.Name));
        return found;
    }

    private static async Task<int> ImagesAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var lines = new List<string>();
        var objects = new List<string>();
        var ids = new List<string>();
        var containers = await AllAsync(invocation, flags.Positional);
        var images = await Task.WhenAll(containers.Select(c => invocation.Client.InspectImageAsync(c.Summary.ImageID, invocation.Cancelled)));
        for (var i = 0; i < containers.Count; i++)
        {
            var (container, image) = (containers[i], images[i]);
            // As the container was told; a container of an image without a name has none.
            var named = container.Summary.Image.StartsWith("sha256:", StringComparison.Ordinal) || image.Id.Contains(container.Summary.Image, StringComparison.Ordinal) ? "" : container.Summary.Image;
            var at = named.IndexOf('@');
            if (at >= 0) named = named[..at];
            var colon = named.LastIndexOf(':');
            var (repository, tag) = colon > named.LastIndexOf('/') ? (named[..colon], named[(colon + 1)..]) : (named, named.Length > 0 && at < 0 ? "latest" : "");
            var platform = $"{image.Os}/{image.Architecture}" + (image.Variant is { Length: > 0 } variant ? "/" + variant : "");
            var created = DateTimeOffset.TryParse(image.Created, CultureInfo.InvariantCulture, out var made) ? made : DateTimeOffset.MinValue;
            var tagged = image.Metadata?.LastTagTime is { } time && time > DateTimeOffset.UnixEpoch ? time : created;
            var ago = tagged == DateTimeOffset.MinValue ? "N/A" : Units.HumanDuration(context.Time.GetUtcNow() - tagged) + " ago";
            lines.Add($"{container.Name}\t{(repository.Length > 0 ? repository : "<none>")}\t{(tag.Length > 0 ? tag : "<none>")}\t{platform}\t{Shorten.Id(image.Id)}\t{Units.HumanSize(image.Size, 3)}\t{ago}");
            objects.Add($"{{\"ID\":{JsonText.Quote(image.Id)},\"ContainerName\":{JsonText.Quote(container.Name)},\"Repository\":{JsonText.Quote(repository)},\"Tag\":{JsonText.Quote(tag)},\"Platform\":{JsonText.Quote(platform)},\"Size\":{image.Size},\"LastTagTime\":{JsonText.Quote(GoTime(tagged))}}}");
            if (!ids.Contains(image.Id)) ids.Add(image.Id);
        }
        if (flags.Bool("quiet")) foreach (var id in ids) context.Out.Write(id.Replace("sha256:", "") + "\n");
        else if (flags.String("format") == "json") context.Out.Write((objects.Count > 0 ? "[" + string.Join(',', objects) + "]" : "null") + "\n\n");
        else if (flags.String("format") is "table" or "") TableWriter.Write(context.Out, ["CONTAINER\tREPOSITORY\tTAG\tPLATFORM\tIMAGE ID\tSIZE\tCREATED", .. lines], minWidth: 20);
        else throw NoFormat(flags.String("format"));
        return 0;
    }

    private static async Task<int> VolumesAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var (name, project) = invocation.LoadOrName();
        var all = (await invocation.Client.ListVolumesAsync(new Filters().Add("label", $"{Labels.Project}={name}"), invocation.Cancelled)).Volumes;
        var keys = flags.Positional.Count == 0 || project is null ? null : flags.Positional.SelectMany(s => project.Service(s).ListOf("volumes")).Select(v => v.TextOf("source")).ToHashSet(StringComparer.Ordinal);
        var rows = all.Where(v => keys is null || keys.Contains(v.Labels?.GetValueOrDefault(Labels.Volume) ?? "")).OrderBy(v => v.Name, StringComparer.Ordinal).ToList();
        if (flags.Bool("quiet"))
        {
            foreach (var row in rows) context.Out.Write(row.Name + "\n");
            return 0;
        }
        Volumes.VolumeVerbs.Columns().Write(context.Out, flags.String("format"), "{{.Driver}}\t{{.Name}}", rows);
        return 0;
    }

    private static async Task<int> LogsAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var (name, _, containers) = await ComposeVerbs.ContainersAsync(invocation, flags.Positional);
        if (flags.Int("index") is > 0 and var index) containers.RemoveAll(c => c.Number != index);
        var log = new ComposeLog(context, !flags.Bool("no-log-prefix"), ComposeLog.Coloured(context, flags.Bool("no-color")), containers.Select(c => ComposeLog.Short(name, c.Name).Length).DefaultIfEmpty(0).Max());
        var (since, until) = (Times.ToUnix(flags.String("since"), context.Time), Times.ToUnix(flags.String("until"), context.Time));
        if (flags.Bool("follow"))
        {
            var follower = new Follower(invocation.Client, (container, line, _) => log.Line(container, line));
            await Task.WhenAll(containers.Select(async c => await follower.FollowAsync(c.Id, ComposeLog.Short(name, c.Name), await IsTtyAsync(c), true, since, until, flags.String("tail"), flags.Bool("timestamps"), invocation.Cancelled)));
            return 0;
        }
        // What is past is put in the order in which it happened.
        var lines = new List<(string Time, int Order, string Container, string Text)>();
        var reader = new Follower(invocation.Client, (container, line, _) =>
        {
            var space = line.IndexOf(' ');
            var (time, text) = space < 0 ? (line, "") : (line[..space], line[(space + 1)..]);
            lock (lines) lines.Add((time, lines.Count, container, flags.Bool("timestamps") ? line : text));
        });
        await Task.WhenAll(containers.Select(async c => await reader.FollowAsync(c.Id, ComposeLog.Short(name, c.Name), await IsTtyAsync(c), false, since, until, flags.String("tail"), true, invocation.Cancelled)));
        lines.Sort(static (a, b) => string.CompareOrdinal(a.Time, b.Time) is var order and not 0 ? order : a.Order.CompareTo(b.Order));
        foreach (var line in lines) log.Line(line.Container, line.Text);
        return 0;

        async Task<bool> IsTtyAsync(ServiceContainer container) => (await invocation.Client.InspectContainerAsync(container.Id, invocation.Cancelled)).Config.Tty;
    }

    private static async Task<int> PortAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var (service, port, protocol) = (flags.Positional[0], flags.Positional[1], flags.String("protocol").ToLowerInvariant());
        if (!ushort.TryParse(port, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            throw new CommandException($"strconv.ParseUint: parsing {GoText.Quote(port)}: {(port.Length > 0 && port.All(char.IsAsciiDigit) ? "value out of range" : "invalid syntax")}");
        var container = await ComposeProcesses.OneAsync(invocation, service);
        foreach (var published in container.Summary.Ports)
        {
            if (published.PrivatePort != number || published.Type != protocol) continue;
            context.Out.Write($"{published.IP}:{published.PublicPort}\n");
            return 0;
        }
        throw new CommandException($"no port {number}/{protocol} for container {container.Name}: " + string.Join(", ", container.Summary.Ports.Select(p => $"{p.PublicPort}/{p.Type}")));
    }

    private static async Task<int> TopAsync(ComposeInvocation invocation)
    {
        var containers = (await AllAsync(invocation, invocation.Arguments.Positional)).FindAll(static c => c.Running);
        var tops = await Task.WhenAll(containers.Select(c => invocation.Client.TopAsync(c.Id, cancellationToken: invocation.Cancelled)));
        // Containers may have other columns than the first; CMD, which is long, stands at the right.
        List<string> titles = ["SERVICE", "#"];
        foreach (var top in tops)
            foreach (var title in top.Titles)
                if (!titles.Contains(title)) titles.Add(title);
        if (titles.Remove("CMD")) titles.Add("CMD");
        var lines = new List<string>();
        for (var i = 0; i < tops.Length; i++)
        {
            foreach (var process in tops[i].Processes)
            {
                var cells = new string[titles.Count];
                Array.Fill(cells, "-");
                (cells[0], cells[1]) = (containers[i].Service, containers[i].Label(Labels.Number));
                for (var column = 0; column < process.Length && column < tops[i].Titles.Length; column++) cells[titles.IndexOf(tops[i].Titles[column])] = process[column];
                lines.Add(string.Join('\t', cells));
            }
        }
        if (lines.Count > 0) TableWriter.Write(invocation.Context.Out, [string.Join('\t', titles), .. lines], minWidth: 4, padding: 2);
        return 0;
    }

    private static async Task<int> EventsAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var (name, _) = invocation.LoadOrName();
        await foreach (var e in invocation.Client.EventsAsync(Times.ToUnix(flags.String("since"), context.Time), Times.ToUnix(flags.String("until"), context.Time), new Filters().Add("label", $"{Labels.Project}={name}"), invocation.Cancelled))
        {
            var attributes = e.Actor.Attributes ?? [];
            if (e.Type != "container" || attributes.GetValueOrDefault(Labels.OneOff) == "True") continue;
            var service = attributes.GetValueOrDefault(Labels.Service, "");
            if (flags.Positional.Count > 0 && !flags.Positional.Contains(service)) continue;
            var shown = attributes.Where(a => !a.Key.StartsWith("com.docker.compose.", StringComparison.Ordinal)).OrderBy(a => a.Key, StringComparer.Ordinal).ToList();
            var time = DateTimeOffset.UnixEpoch.AddTicks(e.TimeNano / 100).ToLocalTime();
            if (flags.Bool("json"))
            {
                context.Out.Write($"{{\"action\":{JsonText.Quote(e.Action)},\"attributes\":{{{string.Join(',', shown.Select(a => $"{JsonText.Quote(a.Key)}:{JsonText.Quote(a.Value)}"))}}},\"id\":{JsonText.Quote(e.Actor.ID)},\"service\":{JsonText.Quote(service)},\"time\":{JsonText.Quote(GoTime(time))},\"type\":\"container\"}}\n");
            }
            else context.Out.Write($"{time.ToString("yyyy-MM-dd HH:mm:ss.ffffff", CultureInfo.InvariantCulture)} container {e.Action} {e.Actor.ID} ({string.Join(", ", shown.Select(a => $"{a.Key}={a.Value}"))})\n");
            context.Out.Flush();
        }
        return 0;
    }
}
