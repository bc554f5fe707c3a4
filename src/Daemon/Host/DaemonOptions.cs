using Berth.Engine;

namespace Berth.Daemon.Host;

/// <summary>What the flags said: the engine's part, and the daemon's own.</summary>
internal sealed record DaemonOptions
{
    public EngineOptions Engine { get; init; } = new();

    /// <summary>"builder"."gc" of the configuration file, as JSON; null: as by default.</summary>
    public string? BuilderGarbage { get; init; }

    /// <summary>-H, in order; empty: unix://&lt;exec-root&gt;/berth.sock.</summary>
    public IReadOnlyList<string> Hosts { get; init; } = [];

    /// <summary>Owns unix sockets; a group that does not exist is an error only when it was asked for.</summary>
    public string Group { get; init; } = "docker";
    public bool GroupGiven { get; init; }

    /// <summary>Null: &lt;exec-root&gt;/berthd.pid, so that engines with different exec roots do not meet.</summary>
    public string? PidFile { get; init; }

    /// <summary>Where the configuration came from, and is read again on SIGHUP.</summary>
    public string ConfigFile { get; init; } = Flags.DefaultConfigFile;

    /// <summary>The keys that were in the file.</summary>
    public IReadOnlySet<string> SetInFile { get; init; } = new HashSet<string>();

    /// <summary>--tls; null: nobody said anything about it.</summary>
    public bool? Tls { get; init; }

    /// <summary>--tlsverify; null with TLS on: yes.</summary>
    public bool? TlsVerify { get; init; }
    public string TlsCaCertificate { get; init; } = DefaultCertificatePath("ca.pem");
    public string TlsCertificate { get; init; } = DefaultCertificatePath("cert.pem");
    public string TlsKey { get; init; } = DefaultCertificatePath("key.pem");

    /// <summary>Where Prometheus reads; empty: nowhere.</summary>
    public string MetricsAddress { get; init; } = "";

    public LogLevel LogLevel { get; init; } = LogLevel.Information;
    public bool LogAsJson { get; init; }

    /// <summary>Check the flags and end.</summary>
    public bool Validate { get; init; }

    public IReadOnlyList<string> EffectiveHosts => Hosts.Count > 0 ? Hosts : [$"unix://{Engine.ExecRoot}/berth.sock"];

    // Where the docker client looks for its own.
    private static string DefaultCertificatePath(string name) => Path.Combine(
        Environment.GetEnvironmentVariable("DOCKER_CERT_PATH") is { Length: > 0 } path ? path
        : Environment.GetEnvironmentVariable("DOCKER_CONFIG") is { Length: > 0 } config ? config
        : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".docker"), name);

    public string EffectivePidFile => PidFile ?? Path.Combine(Engine.ExecRoot, "berthd.pid");
}
