namespace Berth.Engine;

/// <summary>The query of POST /containers/{id}/attach.</summary>
public sealed record AttachOptions
{
    public bool Stdin { get; init; }
    public bool Stdout { get; init; }
    public bool Stderr { get; init; }

    /// <summary>First what was logged so far.</summary>
    public bool Logs { get; init; }

    /// <summary>Then what comes; without it the session ends after the logs.</summary>
    public bool Stream { get; init; }

    /// <summary>"ctrl-p,ctrl-q" form; null or empty: the default.</summary>
    public string? DetachKeys { get; init; }

    /// <summary>False never frames the output (websocket); otherwise it is framed unless there is a terminal.</summary>
    public bool Multiplex { get; init; } = true;
}

/// <summary>
/// A client's conversation with a container's or an exec's process. Made attached; the caller hands it the client's duplex stream once the connection is
/// taken over. Dispose it also when <see cref="RunAsync"/> was never called (the client went away): that detaches.
/// </summary>
public abstract class StreamSession : IAsyncDisposable
{
    /// <summary>Output is framed: application/vnd.docker.multiplexed-stream; otherwise application/vnd.docker.raw-stream.</summary>
    public abstract bool Multiplexed { get; }

    /// <summary>
    /// Copies both ways until the conversation is over: output has ended, the user typed the detach keys, or the client is gone. Zero bytes read from
    /// <paramref name="client"/> are the client's half-close: stdin ends (if it may), output goes on. When the task completes all output was written to
    /// <paramref name="client"/>; the caller then closes the connection. Does not throw for a client that went away.
    /// </summary>
    /// <param name="client">Reads of the stream are cancelled through their token when output ends first.</param>
    /// <param name="cancellationToken">The connection is lost (a real hang-up, not a half-close), or the engine stops.</param>
    public abstract Task RunAsync(Stream client, CancellationToken cancellationToken);

    public abstract ValueTask DisposeAsync();
}

/// <summary>The query of GET /containers/{id}/logs.</summary>
public sealed record LogOptions
{
    public bool Stdout { get; init; }
    public bool Stderr { get; init; }
    public bool Follow { get; init; }
    public bool Timestamps { get; init; }

    /// <summary>Prefixes each line with the attributes chosen by log options (labels, env).</summary>
    public bool Details { get; init; }

    /// <summary>Unix seconds with an optional fraction, or RFC 3339; null or empty: from the beginning.</summary>
    public string? Since { get; init; }

    public string? Until { get; init; }

    /// <summary>"all", empty, or how many of the last lines.</summary>
    public string? Tail { get; init; }
}

/// <summary>An open log. Dispose it in any case.</summary>
public abstract class LogSession : IAsyncDisposable
{
    /// <summary>Output is framed; false for a container with a terminal.</summary>
    public abstract bool Multiplexed { get; }

    /// <summary>Writes the log; with Follow until the container ends, is removed, or the token fires.</summary>
    public abstract Task CopyToAsync(Stream client, CancellationToken cancellationToken);

    public abstract ValueTask DisposeAsync();
}
