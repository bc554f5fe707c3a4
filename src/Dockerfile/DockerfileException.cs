namespace Berth.Dockerfile;

/// <summary>Lines of a Dockerfile, from 1 on, both ends included.</summary>
public readonly record struct LineSpan(int First, int Last);

/// <summary>A Dockerfile, or an ignore file, is wrong. The message is in the words of Docker's builder; the lines say where, if it is anywhere.</summary>
public sealed class DockerfileException(string message, LineSpan? lines = null) : Exception(message)
{
    public LineSpan? Lines { get; } = lines;
}
