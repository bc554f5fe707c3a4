using System.Text;

namespace Berth.Dockerfile;

/// <summary>A .dockerignore: patterns of files that do not belong to the build context. Dockerfile reference, ".dockerignore file".</summary>
public static class IgnoreFile
{
    public const int MaxBytes = 16 * 1024 * 1024;

    /// <summary>Its patterns, without comments, cleaned as paths.</summary>
    /// <exception cref="DockerfileException">It is too long.</exception>
    public static IReadOnlyList<string> Parse(ReadOnlySpan<byte> utf8)
    {
        if (utf8.Length > MaxBytes) throw new DockerfileException($".dockerignore is larger than {MaxBytes} bytes");
        var patterns = new List<string>();
        foreach (var line in Encoding.UTF8.GetString(utf8).TrimStart('\uFEFF').Split('\n'))
        {
            if (line.StartsWith('#')) continue;
            var pattern = line.Trim();
            if (pattern.Length == 0) continue;
            var except = pattern[0] == '!';
            if (except) pattern = pattern[1..].Trim();
            if (pattern.Length > 0)
            {
                pattern = PathPatterns.Clean(pattern);
                if (pattern.Length > 1 && pattern[0] == '/') pattern = pattern[1..];
            }
            patterns.Add(except ? "!" + pattern : pattern);
        }
        return patterns;
    }
}
