using Berth.Cli.Output;

namespace Berth.Cli.Commands;

/// <summary>-o of save and export: an archive into a file.</summary>
internal static class OutputFile
{
    private const int BufferBytes = 1 << 20;

    /// <summary>How often the number on the terminal is painted anew.</summary>
    private static readonly TimeSpan PaintInterval = TimeSpan.FromMilliseconds(100);

    /// <summary>Before the engine is asked: a file that cannot be replaced costs nobody an archive.</summary>
    /// <exception cref="CommandException">With <paramref name="failure"/> in front: "failed to save image".</exception>
    public static void Check(string path, string failure)
    {
        if (Refusal(path) is { } reason) throw new CommandException($"{failure}: {reason}");
    }

    private static string? Refusal(string path)
    {
        var directory = Path.GetDirectoryName(path);
        if (!string.IsNullOrEmpty(directory) && !Directory.Exists(directory))
            return File.Exists(directory) ? $"invalid output path: stat {path}: not a directory" : $"invalid output path: stat {directory}: no such file or directory";
        if (Directory.Exists(path) && File.ResolveLinkTarget(path, returnFinalTarget: false) is null) return "cannot write to a directory";
        if (!OperatingSystem.IsLinux() || Linux.FileAt.TryStatus(null, path, followLinks: false, out _) is not { } status) return null;
        // What is written takes the file's place in the end: a device or a link would be gone.
        return status.Kind switch
        {
            Linux.Abi.FileKind.SymbolicLink => "cannot write to a symbolic link directly",
            Linux.Abi.FileKind.Fifo => "cannot write to a named pipe (FIFO)",
            Linux.Abi.FileKind.Socket => "cannot write to a socket",
            Linux.Abi.FileKind.CharacterDevice => "cannot write to a character device file",
            Linux.Abi.FileKind.BlockDevice => "cannot write to a block device file",
            _ => null,
        };
    }

    /// <summary>Writes all of it under another name first: what was there before is worth more than half an archive. On a terminal it shows how much there is.</summary>
    public static async Task WriteAsync(CommandContext context, string path, Stream body, string failure)
    {
        var unfinished = path + ".tmp-" + Environment.ProcessId;
        try
        {
            var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, BufferSize = 0 };
            // An archive holds whatever the image holds: not for everybody's eyes.
            if (!OperatingSystem.IsWindows()) options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            await using (var file = new FileStream(unfinished, options))
                await CopyAsync(context, body, file);
            File.Move(unfinished, path, overwrite: true);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or DirectoryNotFoundException)
        {
            throw new CommandException($"{failure}: open {path}: {Files.Reason(e)}");
        }
        finally
        {
            File.Delete(unfinished);
        }
    }

    private static async Task CopyAsync(CommandContext context, Stream body, FileStream file)
    {
        var buffer = new byte[BufferBytes];
        long written = 0;
        var begun = context.Time.GetTimestamp();
        var painted = begun;
        var isPainted = false;
        try
        {
            while (await body.ReadAsync(buffer, context.Cancelled) is var count and > 0)
            {
                await file.WriteAsync(buffer.AsMemory(0, count), context.Cancelled);
                written += count;
                if (!context.Terminal.OutputIsTerminal || context.Time.GetElapsedTime(painted) < PaintInterval) continue;
                painted = context.Time.GetTimestamp();
                context.Out.Write($"\r\u001b[2KWritten: {CopyMeter.Text(written, 0, context.Time.GetElapsedTime(begun))}");
                context.Out.Flush();
                isPainted = true;
            }
        }
        finally
        {
            if (isPainted) context.Out.Write("\r\u001b[2K");
        }
    }
}
