using System.Globalization;
using Berth.Networks;

namespace Berth.Engine;

/// <summary>One --link on the default bridge: another container under a name of this one's own choosing.</summary>
/// <param name="Child">Its id; names change.</param>
/// <param name="ChildName">As it was called when the link was made, for when it is gone.</param>
internal sealed record LinkRecord(string Child, string ChildName, string Alias);

/// <summary>What a link brings into a container. Pure.</summary>
internal static class LinkTexts
{
    /// <summary>"name" or "name:alias"; as inspect shows it, "/name:/parent/alias", too.</summary>
    /// <exception cref="EngineException">InvalidParameter.</exception>
    public static (string Name, string Alias) Parse(string link)
    {
        if (link.Length == 0) throw EngineException.Invalid("empty string specified for links");
        var parts = link.Split(':');
        if (parts.Length > 2) throw EngineException.Invalid($"bad format for links: {link}");
        if (parts.Length == 1) return (link, link.TrimStart('/'));
        return parts[0].StartsWith('/') ? (parts[0][1..], parts[1][(parts[1].LastIndexOf('/') + 1)..]) : (parts[0], parts[1]);
    }

    /// <summary>The names of its line in /etc/hosts.</summary>
    public static string HostNames(string alias, ContainerRecord child) => alias == child.Name ? $"{alias} {child.Config.Hostname}" : $"{alias} {child.Config.Hostname} {child.Name}";

    /// <summary>The variables of one link: address and ports, and the environment the child was given.</summary>
    public static IEnumerable<string> Environment(string parentName, string alias, string childAddress, IReadOnlyCollection<string> exposedPorts, IReadOnlyCollection<string> childEnvironment)
    {
        var name = alias.ToUpperInvariant().Replace('-', '_');
        var ports = exposedPorts.Select(p => ContainerPort.TryParse(p, out var port) ? port : (ContainerPort?)null).OfType<ContainerPort>()
            .OrderBy(p => p.Protocol.Name() == "tcp" ? "" : p.Protocol.Name(), StringComparer.Ordinal).ThenBy(p => p.Port).ToList();
        string Url(ContainerPort p) => string.Create(CultureInfo.InvariantCulture, $"{p.Protocol.Name()}://{childAddress}:{p.Port}");
        string Prefix(ContainerPort p) => string.Create(CultureInfo.InvariantCulture, $"{name}_PORT_{p.Port}_{p.Protocol.Name().ToUpperInvariant()}");
        if (ports.Count > 0) yield return $"{name}_PORT={Url(ports[0])}";
        var start = 0;
        for (var i = 0; i < ports.Count; i++)
        {
            yield return $"{Prefix(ports[i])}={Url(ports[i])}";
            yield return $"{Prefix(ports[i])}_ADDR={childAddress}";
            yield return string.Create(CultureInfo.InvariantCulture, $"{Prefix(ports[i])}_PORT={ports[i].Port}");
            yield return $"{Prefix(ports[i])}_PROTO={ports[i].Protocol.Name()}";
            if (i + 1 < ports.Count && ports[i + 1].Protocol == ports[i].Protocol && ports[i + 1].Port == ports[i].Port + 1) continue;
            if (i > start)
            {
                yield return $"{Prefix(ports[start])}_START={Url(ports[start])}";
                yield return string.Create(CultureInfo.InvariantCulture, $"{Prefix(ports[start])}_PORT_START={ports[start].Port}");
                yield return $"{Prefix(ports[start])}_END={Url(ports[i])}";
                yield return string.Create(CultureInfo.InvariantCulture, $"{Prefix(ports[start])}_PORT_END={ports[i].Port}");
            }
            start = i + 1;
        }
        yield return $"{name}_NAME=/{parentName}/{alias}";
        foreach (var variable in childEnvironment)
        {
            var equals = variable.IndexOf('=');
            if (equals > 0 && variable[..equals] is not ("HOME" or "PATH")) yield return $"{name}_ENV_{variable}";
        }
    }
}

public sealed partial class ContainerService
{
    /// <summary>At create. Links on networks of the user's own are the endpoint's.</summary>
    private LinkRecord[] ResolveLinks(Api.HostConfig host)
    {
        if (host.Links is not { Length: > 0 } || Modes.NetworkName(host.NetworkMode) is not ("bridge" or "none")) return [];
        var links = new List<LinkRecord>();
        foreach (var text in host.Links)
        {
            var (name, alias) = LinkTexts.Parse(text);
            var child = Find(name);
            while (Modes.IsContainer(child.Record.HostConfig.NetworkMode)) child = Find(Modes.ContainerOf(child.Record.HostConfig.NetworkMode));
            if (Modes.IsHost(child.Record.HostConfig.NetworkMode))
                throw EngineException.Invalid("conflicting options: host type networking can't be used with links. This would result in undefined behavior");
            if (!links.Exists(l => l.Alias == alias)) links.Add(new LinkRecord(child.Id, child.Name, alias));
        }
        return [.. links];

        // Not "not found", which clients take to speak of the image.
        Container Find(string name) => _core.Containers.TryGet(name, out var found) ? found : throw EngineException.Invalid($"could not get container for {name}: No such container: {name}");
    }

    /// <summary>The linked containers, which must run and be on the default bridge.</summary>
    /// <exception cref="EngineException">System, as dockerd has it.</exception>
    private List<(string Alias, ContainerRecord Child)> LinkedTo(ContainerRecord record)
    {
        var linked = new List<(string, ContainerRecord)>();
        if (Modes.NetworkName(record.HostConfig.NetworkMode) != "bridge") return linked;
        foreach (var link in record.Links)
        {
            var child = _core.Containers.TryGetById(link.Child, out var found) ? found.Record : null;
            if (child is not { State.Running: true }) throw EngineException.System($"Cannot link to a non running container: /{child?.Name ?? link.ChildName} AS /{record.Name}/{link.Alias}");
            if (AddressOf(child) is null) throw EngineException.System($"container {link.Child} not attached to default bridge network");
            linked.Add((link.Alias, child));
        }
        return linked;
    }

    private static string? AddressOf(ContainerRecord record) => record.Sandbox?.On("bridge") is { IPAddress.Length: > 0 } endpoint ? endpoint.IPAddress : null;

    private List<string> LinkEnvironment(ContainerRecord record, List<(string Alias, ContainerRecord Child)> linked) =>
        [.. linked.SelectMany(l => LinkTexts.Environment(record.Name, l.Alias, AddressOf(l.Child)!, l.Child.Config.ExposedPorts ?? [], l.Child.Config.Env ?? []))];

    /// <summary>As --add-host would say it.</summary>
    private static IEnumerable<string> LinkHosts(List<(string Alias, ContainerRecord Child)> linked) =>
        linked.Select(l => $"{LinkTexts.HostNames(l.Alias, l.Child)}:{AddressOf(l.Child)}");

    /// <summary>A container that started has another address perhaps: those linked to it that run are told, in the file they have open.</summary>
    private void TellLinked(ContainerRecord child)
    {
        if (AddressOf(child) is not { } address) return;
        foreach (var parent in _core.Containers.All)
        {
            foreach (var link in parent.Record.Links)
            {
                if (link.Child == child.Id && parent.State.Running) RewriteHosts(parent, link.Alias, child, address);
            }
        }
    }

    // In place: the container has the file mounted.
    private void RewriteHosts(Container parent, string alias, ContainerRecord child, string? address)
    {
        // Not by the last of the names: the child may have been renamed since.
        var names = $"\t{alias} {child.Config.Hostname}";
        var path = Path.Combine(parent.Directory, "hosts");
        try
        {
            var lines = File.ReadAllLines(path);
            var changed = new List<string>();
            foreach (var line in lines)
            {
                var tab = line.IndexOf('\t');
                if (tab < 0 || (line[tab..] != names && !line[tab..].StartsWith(names + " ", StringComparison.Ordinal))) changed.Add(line);
                else if (address is not null) changed.Add(address + line[tab..]);
            }
            if (!changed.SequenceEqual(lines)) File.WriteAllText(path, string.Join('\n', changed) + "\n");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _core.Logger.CleanupFailed(parent.Id, "writing /etc/hosts", e);
        }
    }

    /// <summary>rm --link: the link goes, both containers stay.</summary>
    private async Task RemoveLinkAsync(string name)
    {
        var trimmed = name.TrimStart('/');
        var slash = trimmed.LastIndexOf('/');
        if (slash < 0) throw EngineException.System("Conflict, cannot remove the default link name of the container");
        if (!_core.Containers.TryGet(trimmed[..slash], out var parent)) throw EngineException.System($"Cannot get parent /{trimmed[..slash]} for link name /{trimmed}");
        await parent.Gate.WaitAsync().ConfigureAwait(false);
        try
        {
            var record = parent.Record;
            if (Array.Find(record.Links, l => l.Alias == trimmed[(slash + 1)..]) is not { } link) throw EngineException.NoSuchContainer(name);
            _core.Containers.Save(parent, record with { Links = [.. record.Links.Where(l => l != link)] });
            if (record.State.Running && _core.Containers.TryGetById(link.Child, out var child)) RewriteHosts(parent, link.Alias, child.Record, address: null);
        }
        finally
        {
            parent.Gate.Release();
        }
    }

    /// <summary>HostConfig.Links as inspect shows them: today's names of both.</summary>
    private string[]? ShowLinks(ContainerRecord record) => record.Links.Length == 0 ? null
        : [.. record.Links.Select(l => $"/{(_core.Containers.TryGetById(l.Child, out var child) ? child.Name : l.ChildName)}:/{record.Name}/{l.Alias}")];

    /// <summary>By the child's id, the names that others know it by.</summary>
    private ILookup<string, string> LinkNames() =>
        _core.Containers.All.SelectMany(c => c.Record.Links.Select(l => (l.Child, Name: $"/{c.Name}/{l.Alias}"))).OrderBy(l => l.Name, StringComparer.Ordinal).ToLookup(l => l.Child, l => l.Name);
}
