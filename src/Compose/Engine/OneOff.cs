using Berth.Compose.Loading;
using Berth.Compose.Yaml;

namespace Berth.Compose.Engine;

/// <summary>What `run` changes of a service.</summary>
public sealed record OneOff
{
    public string Name { get; init; } = "";

    public IReadOnlyList<string>? Command { get; init; }

    /// <summary>A command line; "" is none at all.</summary>
    public string? Entrypoint { get; init; }

    /// <summary>NAME=value.</summary>
    public IReadOnlyList<string> Environment { get; init; } = [];

    public IReadOnlyList<string> Labels { get; init; } = [];

    public IReadOnlyList<string> Volumes { get; init; } = [];

    public IReadOnlyList<string> Publish { get; init; } = [];

    /// <summary>The service's ports are published.</summary>
    public bool ServicePorts { get; init; }

    public bool Aliases { get; init; }

    public string User { get; init; } = "";

    public string WorkingDirectory { get; init; } = "";

    public IReadOnlyList<string> CapAdd { get; init; } = [];

    public IReadOnlyList<string> CapDrop { get; init; } = [];

    public bool Tty { get; init; }

    public bool Interactive { get; init; }

    public bool AutoRemove { get; init; }

    internal Node Apply(Node service)
    {
        service["container_name"] = null;
        service["depends_on"] = null;
        if (Command is not null) service["command"] = Node.Strings(Command);
        if (Entrypoint is not null)
        {
            service["entrypoint"] = Node.Strings(Specs.Words(Entrypoint));
            if (Command is null) service["command"] = null;
        }
        if (Environment.Count > 0)
        {
            var environment = service.Get("environment") ?? Node.Map();
            foreach (var variable in Environment)
            {
                var equals = variable.IndexOf('=');
                environment[equals < 0 ? variable : variable[..equals]] = equals < 0 ? Node.Null() : Node.Of(variable[(equals + 1)..]);
            }
            service["environment"] = environment;
        }
        var ports = Node.List();
        if (ServicePorts) ports.Items.AddRange(service.ListOf("ports"));
        foreach (var port in Publish) ports.Items.AddRange(Specs.Ports(port, default));
        service["ports"] = ports;
        if (Volumes.Count > 0)
        {
            var volumes = service.Get("volumes") ?? Node.List();
            foreach (var volume in Volumes)
            {
                var parsed = Specs.Volume(volume, default);
                if (parsed.TextOf("type") == "bind") parsed["source"] = Node.Of(RelativePaths.Join(Directory.GetCurrentDirectory(), parsed.TextOf("source")));
                volumes.Items.Add(parsed);
            }
            service["volumes"] = volumes;
        }
        if (User.Length > 0) service["user"] = Node.Of(User);
        if (WorkingDirectory.Length > 0) service["working_dir"] = Node.Of(WorkingDirectory);
        if (CapAdd.Count > 0) service["cap_add"] = Node.Strings(service.StringsOf("cap_add").Concat(CapAdd));
        if (CapDrop.Count > 0) service["cap_drop"] = Node.Strings(service.StringsOf("cap_drop").Concat(CapDrop));
        return service;
    }
}
