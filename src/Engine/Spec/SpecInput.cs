using Berth.Runtime.Spec;

namespace Berth.Engine;

/// <summary>Everything the compiler needs, looked up beforehand: with it, a spec is a function of its input.</summary>
internal sealed record SpecInput
{
    public required ContainerRecord Container { get; init; }
    public required HostFacts Facts { get; init; }
    public required EngineOptions Options { get; init; }
    public required ResolvedUser User { get; init; }

    /// <summary>The user's mounts with their host paths, and the engine's files (/etc/hosts, …), in any order.</summary>
    public IReadOnlyList<SpecMount> Mounts { get; init; } = [];

    /// <summary>What its links say.</summary>
    public IReadOnlyList<string> LinkEnvironment { get; init; } = [];

    /// <summary>Joined instead of a new one: /proc/PID/ns/….</summary>
    public string? PidNamespacePath { get; init; }
    public string? IpcNamespacePath { get; init; }

    /// <summary>Host directory mounted as /dev/shm (ipc shareable, host, container); null: a tmpfs of its own.</summary>
    public string? ShmPath { get; init; }

    /// <summary>Host path of the init program, when --init holds.</summary>
    public string? InitPath { get; init; }

    /// <summary>--device, and for privileged containers every device of the host.</summary>
    public IReadOnlyList<OciDevice> Devices { get; init; } = [];

    /// <summary>Device cgroup rules of --device and --device-cgroup-rule.</summary>
    public IReadOnlyList<OciDeviceCgroup> DeviceRules { get; init; } = [];

    /// <summary>Block device numbers by path, for weights and throttles.</summary>
    public IReadOnlyDictionary<string, (long Major, long Minor)> BlockDevices { get; init; } = new Dictionary<string, (long, long)>();

    /// <summary>Null: no filter.</summary>
    public OciSeccomp? Seccomp { get; init; }
}

/// <summary>A mount whose source is known.</summary>
internal sealed record SpecMount
{
    public required string Destination { get; init; }

    /// <summary>Host path; null for a tmpfs.</summary>
    public string? Source { get; init; }
    public bool ReadWrite { get; init; } = true;
    public string Propagation { get; init; } = "";
    public bool NonRecursive { get; init; }
    public bool ReadOnlyNonRecursive { get; init; }
    public string TmpfsOptions { get; init; } = "";
}
