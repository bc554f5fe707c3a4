using Berth.Compose.Model;
using Berth.Compose.Yaml;

namespace Berth.Compose.Engine;

public enum Recreation
{
    /// <summary>What differs from its configuration.</summary>
    Diverged,
    Force,
    Never,
}

/// <summary>How a project is brought up.</summary>
public sealed record UpOptions
{
    /// <summary>The services that were asked for; the others are there for their sake. Empty: all.</summary>
    public IReadOnlyList<string> Services { get; init; } = [];

    public Recreation Recreate { get; init; }

    /// <summary>Of services that are only there for others.</summary>
    public Recreation RecreateDependencies { get; init; }

    public bool RemoveOrphans { get; init; }

    public bool IgnoreOrphans { get; init; }

    /// <summary>Containers are made, not started.</summary>
    public bool NoStart { get; init; }

    /// <summary>Anonymous volumes are made anew.</summary>
    public bool RenewVolumes { get; init; }

    public int? TimeoutSeconds { get; init; }

    /// <summary>Until all are running or healthy.</summary>
    public bool Wait { get; init; }

    public string Separator { get; init; } = "-";
}

/// <summary>Compares what should be with what is. Decides everything; does nothing.</summary>
public static class Reconcile
{
    /// <summary>Networks, volumes and containers as the project wants them.</summary>
    public static Plan Up(Project project, Observed observed, UpOptions options) => new UpPlanner(project, observed, options).Make();

    private sealed class UpPlanner(Project project, Observed observed, UpOptions options)
    {
        private readonly Plan _plan = new();
        private readonly List<Step> _resources = [];
        private readonly List<Step> _creates = [];
        private readonly Dictionary<string, List<Step>> _createsOf = new(StringComparer.Ordinal);
        private readonly Dictionary<string, List<Step>> _startsOf = new(StringComparer.Ordinal);
        private readonly Dictionary<string, List<(int Number, ServiceContainer? There)>> _toStart = new(StringComparer.Ordinal);
        private readonly HashSet<string> _moved = new(StringComparer.Ordinal);
        private readonly HashSet<string> _networksMade = new(StringComparer.Ordinal);

        public Plan Make()
        {
            Networks();
            Volumes();
            Orphans();
            var order = project.InDependencyOrder();
            foreach (var name in order) Containers(name);
            if (options.NoStart) return _plan;
            foreach (var name in order) Starts(name);
            if (options.Wait) Waits(order);
            return _plan;
        }

        private Step Add(StepKind kind, string subject, string reason, IEnumerable<Step> after, Func<Step, Step>? with = null)
        {
            var step = new Step(_plan.NextId, kind, subject, reason, after);
            return _plan.Add(with is null ? step : with(step));
        }

        private void Networks()
        {
            foreach (var (key, network) in project.Networks.OrderBy(n => n.Key, StringComparer.Ordinal))
            {
                var name = network.TextOf("name");
                if (network.BoolOf("external"))
                {
                    if (!observed.Networks.ContainsKey(name) && !observed.Networks.Values.Any(n => n.Id == name)) throw new ComposeException($"network {name} declared as external, but could not be found");
                    continue;
                }
                if (observed.Networks.TryGetValue(name, out var there))
                {
                    var labels = there.Labels ?? [];
                    if (!labels.TryGetValue(Labels.Project, out var owner)) _plan.Warnings.Add($"a network with name {name} exists but was not created by compose.\nSet `external: true` to use an existing network");
                    else if (owner != project.Name) _plan.Warnings.Add($"a network with name {name} exists but was not created for project {GoText.Quote(project.Name)}.\nSet `external: true` to use an existing network");
                    if (labels.GetValueOrDefault(Labels.Network, "") != key)
                        throw new ComposeException($"network {name} was found but has incorrect label {Labels.Network} set to {GoText.Quote(labels.GetValueOrDefault(Labels.Network, ""))} (expected: {GoText.Quote(key)})");
                    if (labels.GetValueOrDefault(Labels.ConfigHash, "") is "" or null || labels[Labels.ConfigHash] == ModelJson.NetworkHash(network)) continue;
                    // Those on it have to leave before it can be made anew.
                    var leave = new List<Step>();
                    foreach (var container in observed.Containers)
                    {
                        if (container.Summary.NetworkSettings?.Networks?.Values.Any(e => e.NetworkID == there.Id) != true) continue;
                        var stop = container.Running ? Add(StepKind.Stop, container.Name, "its network changed", [], s => With(s, container)) : null;
                        leave.Add(Add(StepKind.Remove, container.Name, "its network changed", stop is null ? [] : [stop], s => With(s, container)));
                        _moved.Add(container.Id);
                    }
                    var gone = Add(StepKind.RemoveNetwork, name, "configuration changed", leave, s => Keyed(s, key));
                    _resources.Add(Add(StepKind.CreateNetwork, name, "configuration changed", [gone], s => Keyed(s, key)));
                    _networksMade.Add(key);
                    continue;
                }
                _networksMade.Add(key);
                _resources.Add(Add(StepKind.CreateNetwork, name, "not found", [], s => Keyed(s, key)));
            }
        }

        private static Step With(Step step, ServiceContainer container) => new(step.Id, step.Kind, step.Subject, step.Reason, step.After) { Container = container, Key = container.Service, Number = container.Number };

        private static Step Keyed(Step step, string key) => new(step.Id, step.Kind, step.Subject, step.Reason, step.After) { Key = key };

        private void Volumes()
        {
            foreach (var (key, volume) in project.Volumes.OrderBy(v => v.Key, StringComparer.Ordinal))
            {
                var name = volume.TextOf("name");
                if (!observed.Volumes.TryGetValue(name, out var there))
                {
                    if (volume.BoolOf("external")) throw new ComposeException($"external volume {GoText.Quote(name)} not found");
                    _resources.Add(Add(StepKind.CreateVolume, name, "not found", [], s => Keyed(s, key)));
                    continue;
                }
                if (volume.BoolOf("external")) continue;
                var labels = there.Labels ?? [];
                if (!labels.TryGetValue(Labels.Project, out var owner)) _plan.Warnings.Add($"volume {GoText.Quote(name)} already exists but was not created by Docker Compose. Use `external: true` to use an existing volume");
                else if (owner != project.Name) _plan.Warnings.Add($"volume {GoText.Quote(name)} already exists but was created for project {GoText.Quote(owner)} (expected {GoText.Quote(project.Name)}). Use `external: true` to use an existing volume");
                if (labels.TryGetValue(Labels.ConfigHash, out var hash) && hash != ModelJson.VolumeHash(volume))
                    _plan.Warnings.Add($"volume {GoText.Quote(name)} exists but doesn't match configuration in compose file; it is kept, because its data would be lost");
            }
        }

        private void Orphans()
        {
            var known = new HashSet<string>(project.Services.Keys.Concat(project.Disabled.Keys), StringComparer.Ordinal);
            var orphans = observed.Containers.Where(c => !c.OneOff && !known.Contains(c.Service)).ToList();
            if (orphans.Count == 0 || options.IgnoreOrphans) return;
            if (!options.RemoveOrphans)
            {
                _plan.Warnings.Add($"Found orphan containers ([{string.Join(' ', orphans.Select(o => o.Name))}]) for this project. If you removed or renamed this service in your compose file, you can run this command with the --remove-orphans flag to clean it up.");
                return;
            }
            foreach (var orphan in orphans) Removal(orphan, "orphan", []);
        }

        private Step Removal(ServiceContainer container, string reason, IReadOnlyList<Step> after)
        {
            var stop = container.Running ? Add(StepKind.Stop, container.Name, reason, after, s => With(s, container)) : null;
            return Add(StepKind.Remove, container.Name, reason, stop is null ? after : [stop], s => With(s, container));
        }

        private void Containers(string name)
        {
            var service = project.Services[name];
            var creates = _createsOf[name] = [];
            var toStart = _toStart[name] = [];
            if (service.Get("provider") is not null) return;
            var scale = Project.Scale(service);
            if (scale > 1 && service.TextOf("container_name") is { Length: > 0 } own)
                throw new ComposeException($"WARNING: The {GoText.Quote(name)} service is using the custom container name {GoText.Quote(own)}. Docker requires each container to have a unique name. Remove the custom name to scale the service");
            var there = observed.Of(name).Where(c => !_moved.Contains(c.Id)).ToList();
            var policy = options.Services.Count == 0 || options.Services.Contains(name) ? options.Recreate : options.RecreateDependencies;
            var reasons = there.ToDictionary(c => c.Id, c => WhyRecreate(name, service, c, policy), StringComparer.Ordinal);
            // What is up to date stays, the lowest numbers first.
            there.Sort((a, b) => (reasons[a.Id].Length > 0).CompareTo(reasons[b.Id].Length > 0) is var order and not 0 ? order : a.Number.CompareTo(b.Number));
            var before = References(service).SelectMany(r => _createsOf.GetValueOrDefault(r) ?? []).Concat(_resources).ToList();
            for (var i = 0; i < there.Count; i++)
            {
                var container = there[i];
                if (i >= scale)
                {
                    Removal(container, "scaled down", []);
                    continue;
                }
                if (reasons[container.Id] is { Length: > 0 } reason)
                {
                    var stops = StopDependents(name);
                    creates.Add(Add(StepKind.Recreate, container.Name, reason, before.Concat(stops), s => With(s, container)));
                    _moved.Add(container.Id);
                    toStart.Add((container.Number, null));
                }
                else if (container.State == "running" || container.State == "restarting") _plan.Kept.Add(container);
                else toStart.Add((container.Number, container));
            }
            var next = observed.Of(name).Where(c => !_moved.Contains(c.Id) || reasons.ContainsKey(c.Id)).Select(c => c.Number).DefaultIfEmpty(0).Max() + 1;
            for (var i = there.Count; i < scale; i++, next++)
            {
                var number = next;
                creates.Add(Add(StepKind.Create, ContainerSpec.NameOf(project, name, service, number, options.Separator), "not found", before, s => new Step(s.Id, s.Kind, s.Subject, s.Reason, s.After) { Key = name, Number = number }));
                toStart.Add((number, null));
            }
            _creates.AddRange(creates);
        }

        // Those that want to be restarted with this one.
        private List<Step> StopDependents(string name)
        {
            var stops = new List<Step>();
            foreach (var (dependent, service) in project.Services)
            {
                if (service.MapOf("depends_on").GetValueOrDefault(name) is not { } how || !how.BoolOf("restart")) continue;
                foreach (var container in observed.Of(dependent))
                    if (container.Running && !_moved.Contains(container.Id)) stops.Add(Add(StepKind.Stop, container.Name, $"{name} is recreated", [], s => With(s, container)));
                _stopped.Add(dependent);
            }
            return stops;
        }

        private readonly HashSet<string> _stopped = new(StringComparer.Ordinal);

        private static IEnumerable<string> References(Node service)
        {
            foreach (var key in new[] { "network_mode", "ipc", "pid" })
                if (service.TextOf(key) is var mode && mode.StartsWith("service:", StringComparison.Ordinal)) yield return mode["service:".Length..];
            foreach (var from in service.StringsOf("volumes_from"))
                if (!from.StartsWith("container:", StringComparison.Ordinal)) yield return from.Split(':')[0];
            foreach (var link in service.StringsOf("links")) yield return link.Split(':')[0];
        }

        private string WhyRecreate(string name, Node service, ServiceContainer container, Recreation policy)
        {
            if (policy == Recreation.Never) return "";
            if (policy == Recreation.Force) return "forced";
            foreach (var reference in References(service))
                if (!service.StringsOf("links").Any(l => l.Split(':')[0] == reference) && (_createsOf.GetValueOrDefault(reference)?.Count ?? 0) > 0) return $"{reference} is a new container";
            var resolved = Resolved(service, reference => observed.Of(reference) is [var first, ..] ? first.Id : "");
            if (container.Label(Labels.ConfigHash) != ModelJson.ServiceHash(resolved)) return "configuration changed";
            var image = ImageOf(name, service);
            if (image.Length > 0 && container.Label(Labels.Image) != image) return "image changed";
            if (container.State == "running")
            {
                foreach (var key in service.MapOf("networks").Keys)
                {
                    if (_networksMade.Contains(key)) return $"network {key} is new";
                    if (observed.Networks.TryGetValue(project.Networks[key].TextOf("name"), out var network) && container.Summary.NetworkSettings?.Networks?.Values.Any(e => e.NetworkID == network.Id) != true) return $"not on network {key}";
                }
            }
            foreach (var volume in service.ListOf("volumes"))
            {
                if (volume.TextOf("type") != "volume" || volume.TextOf("source") is not { Length: > 0 } source || !project.Volumes.TryGetValue(source, out var named)) continue;
                if (!container.Summary.Mounts.Any(m => m.Type == "volume" && m.Name == named.TextOf("name"))) return $"volume {source} is not mounted";
            }
            return "";
        }

        private string ImageOf(string name, Node service)
        {
            var image = service.TextOf("image") is { Length: > 0 } given ? given : $"{project.Name}{options.Separator}{name}";
            return (observed.Images.GetValueOrDefault(ImageDigests.FullName(image)) ?? observed.Images.GetValueOrDefault(image))?.Id ?? "";
        }

        private void Starts(string name)
        {
            var service = project.Services[name];
            var starts = _startsOf[name] = [];
            var toStart = _toStart[name];
            if (_stopped.Contains(name))
            {
                foreach (var container in _plan.Kept.Where(c => c.Service == name).ToList())
                {
                    _plan.Kept.Remove(container);
                    toStart.Add((container.Number, container));
                }
            }
            if (toStart.Count == 0) return;
            var before = new List<Step>(_creates);
            foreach (var (dependency, how) in service.MapOf("depends_on").OrderBy(d => d.Key, StringComparer.Ordinal))
            {
                if (!project.Services.TryGetValue(dependency, out var other) || Project.Scale(other) == 0 || other.Get("provider") is not null) continue;
                var after = _startsOf.GetValueOrDefault(dependency) ?? [];
                if (how.TextOf("condition") is "service_started" or "") before.AddRange(after);
                else before.Add(WaitFor(dependency, how.TextOf("condition") == "service_healthy" ? "healthy" : "completed", !how.BoolOf("required", true), after));
            }
            foreach (var (number, there) in toStart)
            {
                var subject = there?.Name ?? ContainerSpec.NameOf(project, name, service, number, options.Separator);
                var stops = _plan.Steps.Where(s => s.Kind == StepKind.Stop && there is not null && s.Container?.Id == there.Id);
                starts.Add(Add(StepKind.Start, subject, "", before.Concat(stops), s => new Step(s.Id, s.Kind, s.Subject, s.Reason, s.After) { Key = name, Number = number, Container = there }));
            }
        }

        private readonly Dictionary<string, Step> _waits = new(StringComparer.Ordinal);

        private Step WaitFor(string service, string condition, bool optional, IReadOnlyList<Step> after)
        {
            var key = $"{service} {condition} {optional}";
            if (_waits.TryGetValue(key, out var known)) return known;
            return _waits[key] = Add(StepKind.Wait, service, condition, _creates.Concat(after), s => new Step(s.Id, s.Kind, s.Subject, s.Reason, s.After) { Key = service, Condition = condition, Optional = optional });
        }

        private void Waits(List<string> order)
        {
            foreach (var name in order)
            {
                if (Project.Scale(project.Services[name]) == 0 || project.Services[name].Get("provider") is not null) continue;
                var completes = project.Services.Values.Any(s => s.MapOf("depends_on").GetValueOrDefault(name)?.TextOf("condition") == "service_completed_successfully");
                WaitFor(name, completes ? "completed" : "running_or_healthy", false, _startsOf[name]);
            }
        }
    }

    /// <summary>Running containers stop, those that depend on others before them.</summary>
    public static Plan Stop(Observed observed, Project? project)
    {
        var plan = new Plan();
        foreach (var step in Down("", project, observed with { Networks = new Dictionary<string, Api.NetworkInspect>(), Volumes = new Dictionary<string, Api.Volume>() }, new DownOptions { RemoveOrphans = true }).Steps)
            if (step.Kind == StepKind.Stop) plan.Add(step);
        // Where the removal of another container was waited for, its stop is.
        var stops = new Plan();
        var made = new Dictionary<string, Step>(StringComparer.Ordinal);
        foreach (var step in plan.Steps)
        {
            var after = step.After.Select(s => made.GetValueOrDefault(s.Subject)).OfType<Step>();
            made[step.Subject] = stops.Add(new Step(stops.NextId, StepKind.Stop, step.Subject, "", after) { Container = step.Container, Key = step.Key, Number = step.Number });
        }
        return stops;
    }

    /// <summary>Services are restarted in the order in which they depend on each other, and after them those that want to be restarted with them.</summary>
    /// <param name="project">null: there are no files; labels say what depends on what.</param>
    /// <param name="observed">What there is.</param>
    /// <param name="services">Which; all when none is named.</param>
    /// <param name="alone">Nothing else is restarted.</param>
    public static Plan Restart(Project? project, Observed observed, IReadOnlyList<string> services, bool alone)
    {
        var plan = new Plan();
        // By service: what it is restarted with, and what it waits for then.
        var needs = new SortedDictionary<string, List<(string On, string Condition, bool Required)>>(StringComparer.Ordinal);
        foreach (var (name, service) in project?.Services ?? [])
        {
            var list = needs[name] = [];
            foreach (var (on, how) in service.MapOf("depends_on"))
                if (how.BoolOf("restart")) list.Add((on, how.TextOf("condition"), how.BoolOf("required", true)));
        }
        if (project is null)
        {
            foreach (var container in observed.Containers)
            {
                if (container.OneOff || needs.ContainsKey(container.Service)) continue;
                var list = needs[container.Service] = [];
                foreach (var dependency in container.Label(Labels.DependsOn).Split(',', StringSplitOptions.RemoveEmptyEntries))
                    if (dependency.Split(':') is [var on, var condition, "true"]) list.Add((on, condition, true));
            }
        }
        var chosen = new HashSet<string>(services.Count > 0 ? services : needs.Keys, StringComparer.Ordinal);
        for (var before = -1; !alone && before != chosen.Count;)
        {
            before = chosen.Count;
            foreach (var (name, list) in needs)
                if (list.Exists(n => chosen.Contains(n.On))) chosen.Add(name);
        }
        var done = new Dictionary<string, List<Step>>(StringComparer.Ordinal);
        foreach (var name in needs.Keys)
            if (chosen.Contains(name)) Visit(name);
        return plan;

        List<Step> Visit(string name)
        {
            if (done.TryGetValue(name, out var known)) return known;
            var own = done[name] = [];
            var after = new List<Step>();
            foreach (var (on, condition, required) in needs[name])
            {
                if (!needs.ContainsKey(on) || (alone && !chosen.Contains(on))) continue;
                var first = chosen.Contains(on) ? Visit(on) : [];
                if (condition is "service_started" or "") after.AddRange(first);
                else after.Add(plan.Add(new Step(plan.NextId, StepKind.Wait, on, condition == "service_healthy" ? "healthy" : "completed", first) { Key = on, Condition = condition == "service_healthy" ? "healthy" : "completed", Optional = !required }));
            }
            foreach (var container in observed.Of(name)) own.Add(plan.Add(new Step(plan.NextId, StepKind.Restart, container.Name, "", after) { Container = container, Key = name, Number = container.Number }));
            return own;
        }
    }

    /// <summary>What `run` waits for: the conditions under which a service may start.</summary>
    public static Plan WaitForDependencies(Project project, string service, Observed observed)
    {
        var plan = new Plan();
        foreach (var (dependency, how) in project.Service(service).MapOf("depends_on").OrderBy(d => d.Key, StringComparer.Ordinal))
        {
            if (how.TextOf("condition") is "service_started" or "" || observed.Of(dependency).Count == 0) continue;
            plan.Add(new Step(plan.NextId, StepKind.Wait, dependency, "", []) { Key = dependency, Condition = how.TextOf("condition") == "service_healthy" ? "healthy" : "completed", Optional = !how.BoolOf("required", true) });
        }
        return plan;
    }

    /// <summary>A service whose references to other services are references to containers.</summary>
    internal static Node Resolved(Node service, Func<string, string> containerOf)
    {
        var any = References(service);
        if (!any) return service;
        var copy = service.Clone();
        foreach (var key in new[] { "network_mode", "ipc", "pid" })
            if (copy.TextOf(key) is var mode && mode.StartsWith("service:", StringComparison.Ordinal)) copy[key] = Node.Of("container:" + containerOf(mode["service:".Length..]));
        if (copy.Get("volumes_from") is { } from)
        {
            for (var i = 0; i < from.Items.Count; i++)
            {
                var parts = from.Items[i].Text.Split(':');
                from.Items[i] = Node.Of(parts[0] == "container" && parts.Length > 1 ? parts[1] : containerOf(parts[0]));
            }
        }
        return copy;

        static bool References(Node service) =>
            service.Get("volumes_from") is not null || new[] { "network_mode", "ipc", "pid" }.Any(k => service.TextOf(k).StartsWith("service:", StringComparison.Ordinal));
    }

    /// <summary>Nothing of a project, or of some of its services, is left.</summary>
    /// <param name="projectName">Which.</param>
    /// <param name="project">null: there are no files; labels say what belongs to it.</param>
    /// <param name="observed">What there is.</param>
    /// <param name="options">What goes besides containers and networks.</param>
    public static Plan Down(string projectName, Project? project, Observed observed, DownOptions options)
    {
        var plan = new Plan();
        var dependencies = new Dictionary<string, HashSet<string>>(StringComparer.Ordinal);
        foreach (var container in observed.Containers)
        {
            if (!dependencies.TryGetValue(container.Service, out var set)) dependencies[container.Service] = set = new(StringComparer.Ordinal);
            foreach (var dependency in container.Label(Labels.DependsOn).Split(',', StringSplitOptions.RemoveEmptyEntries)) set.Add(dependency.Split(':')[0]);
        }
        foreach (var (name, service) in project?.Services ?? [])
            if (dependencies.TryGetValue(name, out var set)) set.UnionWith(service.MapOf("depends_on").Keys);

        var selected = observed.Containers.Where(c =>
            (!c.OneOff || options.RemoveOrphans)
            && (options.Services.Count == 0 || options.Services.Contains(c.Service) || DependsOnSelected(c.Service, []))
            && (project is null || options.RemoveOrphans || project.Services.ContainsKey(c.Service) || project.Disabled.ContainsKey(c.Service))).ToList();
        var removals = new Dictionary<string, List<Step>>(StringComparer.Ordinal);
        var done = new HashSet<string>(StringComparer.Ordinal);
        foreach (var service in selected.Select(c => c.Service).Distinct().Order(StringComparer.Ordinal)) Visit(service, []);

        var all = removals.Values.SelectMany(r => r).ToList();
        if (options.Services.Count == 0)
        {
            var networks = new List<string>();
            foreach (var (name, network) in observed.Networks)
            {
                if (network.Labels?.GetValueOrDefault(Labels.Project) != projectName) continue;
                if (project is not null && (!project.Networks.TryGetValue(network.Labels.GetValueOrDefault(Labels.Network, ""), out var declared) || declared.BoolOf("external"))) continue;
                networks.Add(name);
            }
            foreach (var name in networks.Order(StringComparer.Ordinal)) plan.Add(new Step(plan.NextId, StepKind.RemoveNetwork, name, "", all));
            if (options.Volumes)
            {
                foreach (var (name, volume) in observed.Volumes.OrderBy(v => v.Key, StringComparer.Ordinal))
                {
                    if (project is not null ? !project.Volumes.Values.Any(v => v.TextOf("name") == name && !v.BoolOf("external")) : volume.Labels?.GetValueOrDefault(Labels.Project) != projectName) continue;
                    plan.Add(new Step(plan.NextId, StepKind.RemoveVolume, name, "", all));
                }
            }
        }
        if (options.Images.Length > 0)
        {
            var names = new List<string>();
            foreach (var name in project?.ServiceNames ?? [])
            {
                if (options.Images == "local" && project!.Services[name].TextOf("image").Length > 0) continue;
                var image = project!.ImageOf(name);
                if (observed.Images.ContainsKey(ImageDigests.FullName(image)) && !names.Contains(image)) names.Add(image);
            }
            // What was built for it says so.
            foreach (var image in observed.Images.Values)
            {
                if (image.Labels?.GetValueOrDefault(Labels.Project) != projectName || image.RepoTags is not [var tag, ..] || names.Exists(n => ImageDigests.FullName(n) == ImageDigests.FullName(tag))) continue;
                if (options.RemoveOrphans || project?.Services.ContainsKey(image.Labels.GetValueOrDefault(Labels.Service, "")) != false) names.Add(tag);
            }
            foreach (var name in names) plan.Add(new Step(plan.NextId, StepKind.RemoveImage, name, "", all));
        }
        if (plan.Steps.Count == 0 && !(project is not null && (project.Networks.Values.Any(static n => !n.BoolOf("external")) || (options.Volumes && project.Volumes.Values.Any(static v => !v.BoolOf("external")))))) plan.Warnings.Add($"Warning: No resource found to remove for project {GoText.Quote(projectName)}.");
        return plan;

        // Those that depend on it go first.
        void Visit(string service, HashSet<string> path)
        {
            if (!done.Add(service) || !path.Add(service)) return;
            var before = new List<Step>();
            foreach (var dependent in selected.Select(c => c.Service).Distinct().Order(StringComparer.Ordinal))
            {
                if (dependent == service || !dependencies.TryGetValue(dependent, out var needs) || !needs.Contains(service)) continue;
                Visit(dependent, path);
                before.AddRange(removals.GetValueOrDefault(dependent) ?? []);
            }
            var list = removals[service] = [];
            foreach (var container in selected.Where(c => c.Service == service))
            {
                var stop = container.Running ? plan.Add(new Step(plan.NextId, StepKind.Stop, container.Name, "", before) { Container = container, Key = service, Number = container.Number }) : null;
                list.Add(plan.Add(new Step(plan.NextId, StepKind.Remove, container.Name, "", stop is null ? before : [stop]) { Container = container, Key = service, Number = container.Number, Volumes = options.Volumes }));
            }
            path.Remove(service);
        }

        bool DependsOnSelected(string service, HashSet<string> seen)
        {
            if (!seen.Add(service) || !dependencies.TryGetValue(service, out var needs)) return false;
            foreach (var need in needs)
                if (options.Services.Contains(need) || DependsOnSelected(need, seen)) return true;
            return false;
        }
    }
}

/// <summary>How a project is taken down.</summary>
public sealed record DownOptions
{
    public IReadOnlyList<string> Services { get; init; } = [];

    public bool RemoveOrphans { get; init; }

    /// <summary>Named volumes of the files, and anonymous ones of containers.</summary>
    public bool Volumes { get; init; }

    /// <summary>"", "local" (those without a name of their own) or "all".</summary>
    public string Images { get; init; } = "";

    public int? TimeoutSeconds { get; init; }
}
