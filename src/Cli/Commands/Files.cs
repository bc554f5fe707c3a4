namespace Berth.Cli.Commands;

internal static class Files
{
    /// <exception cref="CommandException">"open x: no such file or directory".</exception>
    public static FileStream OpenRead(string path)
    {
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CommandException($"open {path}: {(Directory.Exists(path) ? "is a directory" : Reason(e))}");
        }
    }

    /// <summary>Why a file could not be opened, as errno's text.</summary>
    public static string Reason(Exception e) => e switch
    {
        FileNotFoundException or DirectoryNotFoundException => "no such file or directory",
        UnauthorizedAccessException => "permission denied",
        _ => e.Message,
    };
}
