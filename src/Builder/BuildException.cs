using Berth.Dockerfile;

namespace Berth.Builder;

/// <summary>A build failed by what it was given: the message is for the user, in the words of Docker's builder; the lines are those of the instruction.</summary>
public sealed class BuildException(string message, LineSpan? lines = null, Exception? inner = null) : Exception(message, inner)
{
    public LineSpan? Lines { get; } = lines;

    /// <summary>Exit status of the command that failed; 0 for other failures.</summary>
    public int ExitCode { get; init; }

    /// <summary>The id of an image with the files as the command left them; null when they are gone (<see cref="BuildRequest.KeepFailed"/>).</summary>
    public string? FailedImage { get; init; }

    /// <summary>The name after the FROM that no image was had for; null for other failures.</summary>
    public string? BaseImage { get; init; }
}
