using System.Text;

namespace Berth.Cli.Commands.Containers;

/// <summary>--env-file and --label-file: a line each, # begins a comment, spaces before are skipped and those after are kept.</summary>
internal static class EnvironmentFiles
{
    /// <summary>Longest line that is read.</summary>
    private const int MaxLine = 64 * 1024;

    /// <param name="path">The file.</param>
    /// <param name="lookUp">Gives the value of a bare NAME; null leaves such lines out.</param>
    /// <exception cref="FormatException">Docker's words, with the file's name.</exception>
    public static IEnumerable<string> Read(string path, Func<string, string?>? lookUp)
    {
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new FormatException($"open {path}: no such file or directory");
        }
        catch (UnauthorizedAccessException)
        {
            throw new FormatException($"open {path}: {(Directory.Exists(path) ? "is a directory" : "permission denied")}");
        }
        var lines = new List<string>();
        try
        {
            Parse(bytes, lookUp, lines);
        }
        catch (FormatException e)
        {
            throw new FormatException($"invalid env file ({path}): {e.Message}");
        }
        return lines;
    }

    private static void Parse(byte[] bytes, Func<string, string?>? lookUp, List<string> lines)
    {
        var strict = new UTF8Encoding(false, throwOnInvalidBytes: true);
        var content = bytes.AsMemory();
        if (content.Span.StartsWith("\uFEFF"u8)) content = content[3..];
        for (var number = 1; content.Length > 0; number++)
        {
            var end = content.Span.IndexOf((byte)'\n');
            var raw = end < 0 ? content : content[..end];
            content = end < 0 ? default : content[(end + 1)..];
            if (raw.Length > MaxLine) throw new FormatException("bufio.Scanner: token too long");
            string line;
            try
            {
                line = strict.GetString(raw.Span).TrimEnd('\r').TrimStart();
            }
            catch (DecoderFallbackException)
            {
                throw new FormatException($"invalid utf8 bytes at line {number}: [{string.Join(' ', raw.ToArray())}]");
            }
            if (line.Length == 0 || line[0] == '#') continue;
            var equals = line.IndexOf('=');
            var key = equals < 0 ? line : line[..equals];
            if (key.Length == 0) throw new FormatException($"no variable name on line '{line}'");
            if (key.AsSpan().ContainsAny(' ', '\t')) throw new FormatException($"variable '{key}' contains whitespaces");
            if (equals >= 0) lines.Add(line);
            else if (lookUp?.Invoke(key) is { } value) lines.Add($"{key}={value}");
        }
    }
}
