using Berth.Engine;

namespace Berth.Daemon.Host;

/// <summary>What the flags said: the engine's part, and the daemon's own.</summary>
internal sealed record DaemonOptions
{
    public EngineOptions Engine { get; init; } = new();

    /// <summary>-H, in order; empty: unix://&lt;exec-root&gt;/berth.sock.</summary>
    public IReadOnlyList<string> Hosts { get; init; } = [];

    /// <summary>Owns unix sockets; a group that does not exist is an error only when it was asked for.</summary>
    public string Group { get; init; } = "docker";
    public bool GroupGiven { get; init; }

    /// <summary>Null: &lt;exec-root&gt;/berthd.pid, so that engines with different exec roots do not meet.</summary>
    public string? PidFile { get; init; }

    public LogLevel LogLevel { get; init; } = LogLevel.Information;
    public bool LogAsJson { get; init; }

    /// <summary>Check the flags and end.</summary>
    public bool Validate { get; init; }

    public IReadOnlyList<string> EffectiveHosts => Hosts.Count > 0 ? Hosts : [$"unix://{Engine.ExecRoot}/berth.sock"];
    public string EffectivePidFile => PidFile ?? Path.Combine(Engine.ExecRoot, "berthd.pid");
}
