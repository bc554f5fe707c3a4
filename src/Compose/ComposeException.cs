namespace Berth.Compose;

/// <summary>A project that cannot be loaded, or a command that cannot be carried out; the message is for people and names what is at fault.</summary>
public sealed class ComposeException(string message, int exitCode = 1) : Exception(message)
{
    public int ExitCode { get; } = exitCode;
}
