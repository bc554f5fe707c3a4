using Berth.Api;

namespace Berth.Cli;

/// <summary>What a command has of the world around it; tests give it another one.</summary>
internal sealed class CommandContext : IDisposable
{
    private EngineClient? _client;

    public string ProgramName { get; init; } = "berth";

    public required TextWriter Out { get; init; }

    public required TextWriter Err { get; init; }

    /// <summary>The bytes under <see cref="Out"/>, for what is not ours to encode.</summary>
    public required Stream OutStream { get; init; }

    public required Stream ErrStream { get; init; }

    public required Stream InStream { get; init; }

    public required ITerminal Terminal { get; init; }

    public TimeProvider Time { get; init; } = TimeProvider.System;

    public Func<string, string?> Variable { get; init; } = Environment.GetEnvironmentVariable;

    /// <summary>-H, or null.</summary>
    public string? HostFlag { get; set; }

    public bool Debug { get; set; }

    public CancellationToken Cancelled { get; init; }

    /// <summary>-H, DOCKER_HOST, or where berthd listens by default.</summary>
    public string Host => HostFlag ?? (Variable("DOCKER_HOST") is { Length: > 0 } host ? host : DefaultHost);

    public const string DefaultHost = "unix:///run/berth/berth.sock";

    public EngineClient Client => _client ??= NewClient(blocking: true);

    /// <summary>A client of the caller's own: one that does not block is for a command that waits for many things at once.</summary>
    public EngineClient NewClient(bool blocking)
    {
        try
        {
            return new EngineClient(EngineHost.Parse(Host), Variable("DOCKER_API_VERSION") is { Length: > 0 } version ? version : null, "Berth-Client/" + BuildInfo.Version, blocking);
        }
        catch (FormatException e)
        {
            throw new CommandException(e.Message);
        }
    }

    /// <summary>Lets what was printed so far be seen.</summary>
    public void Flush()
    {
        Out.Flush();
        Err.Flush();
    }

    public void Dispose() => _client?.Dispose();
}

/// <summary>The terminal, as far as commands ask for it.</summary>
internal interface ITerminal
{
    bool InputIsTerminal { get; }

    bool OutputIsTerminal { get; }

    /// <summary>Rows and columns of the output's terminal; (0, 0) without one.</summary>
    (int Height, int Width) Size { get; }

    /// <summary>Passes keys and bytes through unchanged until disposed; does nothing without a terminal.</summary>
    IDisposable MakeRaw();

    /// <summary>Does not show what is typed until disposed; does nothing without a terminal.</summary>
    IDisposable HideInput();
}

/// <summary>A command fails with this text and exit code.</summary>
internal sealed class CommandException(string message, int exitCode = 1) : Exception(message)
{
    public int ExitCode { get; } = exitCode;
}
