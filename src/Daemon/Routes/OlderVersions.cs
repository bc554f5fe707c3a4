using Berth.Api;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Routes;

/// <summary>What a create request meant in the version its client speaks, said in the newest one's words.</summary>
internal static class OlderVersions
{
    /// <summary>Changes the request; returns warnings for the client.</summary>
    public static List<string> Adapt(ContainerCreateRequest request, ApiVersion version)
    {
        var warnings = new List<string>();
        var host = request.HostConfig ??= new HostConfig();
        var mounts = host.Mounts ?? [];
        var endpoints = request.NetworkingConfig?.EndpointsConfig;

        if (version.Before(40) && host.IpcMode.Length == 0)
            host.IpcMode = "shareable";
        if (version.Before(42))
        {
            foreach (var mount in mounts)
            {
                if (mount.Type != "volume")
                    mount.VolumeOptions = null;
                if (mount.Type != "tmpfs")
                    mount.TmpfsOptions = null;
                if (mount.BindOptions is { } bind)
                    bind.CreateMountpoint = false;
            }
            host.ConsoleSize = [0, 0];
        }
        else
        {
            foreach (var mount in mounts)
            {
                if (mount.VolumeOptions is not null && mount.Type != "volume")
                    throw EngineException.Invalid($"VolumeOptions must not be specified on mount type \"{mount.Type}\"");
                if (mount.BindOptions is not null && mount.Type != "bind")
                    throw EngineException.Invalid($"BindOptions must not be specified on mount type \"{mount.Type}\"");
                if (mount.TmpfsOptions is not null && mount.Type != "tmpfs")
                    throw EngineException.Invalid($"TmpfsOptions must not be specified on mount type \"{mount.Type}\"");
            }
        }
        if (version.Before(43))
            host.Annotations = null;
        if (version.Before(44))
        {
            if (mounts.Any(m => m.BindOptions is { ReadOnlyForceRecursive: true }))
                throw EngineException.Invalid("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer");
            // Read-only mounts were not recursive then.
            foreach (var mount in mounts.Where(m => m is { Type: "bind", ReadOnly: true }))
                (mount.BindOptions ??= new BindOptions()).ReadOnlyNonRecursive = true;
            if (endpoints is { Count: > 1 })
                throw EngineException.Invalid($"Container cannot be created with multiple network endpoints: {string.Join(", ", endpoints.Keys)}");
        }
        if (version.Before(45) && mounts.Any(m => m.VolumeOptions is { Subpath: not null }))
            throw EngineException.Invalid("VolumeOptions.Subpath needs API v1.45 or newer");
        if (version.Before(48))
        {
            if (mounts.Any(m => m.Type == "image"))
                throw EngineException.Invalid("Mount type \"Image\" needs API v1.48 or newer");
            foreach (var endpoint in endpoints?.Values ?? Enumerable.Empty<EndpointSettings>())
                endpoint.GwPriority = 0;
        }

        // The container-wide MAC address moved to the endpoint of the container's network in 1.44.
        if (request.MacAddress is { } mac)
        {
            var network = host.NetworkMode is "" or "default" ? "bridge" : host.NetworkMode;
            if (network is "host" or "none" || network.StartsWith("container:", StringComparison.Ordinal))
                throw EngineException.Invalid("conflicting options: mac-address and the network mode");
            var all = (request.NetworkingConfig ??= new NetworkingConfig()).EndpointsConfig ??= [];
            var endpoint = all.GetValueOrDefault(network) ?? (version.Before(44) ? all.Values.FirstOrDefault() : null) ?? (all[network] = new EndpointSettings());
            if (version.Before(44) || endpoint.MacAddress.Length == 0)
                endpoint.MacAddress = mac;
            else if (!string.Equals(endpoint.MacAddress, mac, StringComparison.OrdinalIgnoreCase))
                throw EngineException.Invalid("the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty");
            if (!version.Before(44))
                warnings.Add("The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.");
        }
        return warnings;
    }
}
