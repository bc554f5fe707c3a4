namespace Berth.Images.Storage;

internal static class DiskFile
{
    /// <summary>
    /// Replaces a file so that a reader, or the next start after a crash, sees either the old content or the new:
    /// temporary name, fsync, rename.
    /// </summary>
    public static void Replace(string path, ReadOnlySpan<byte> content, bool sync)
    {
        var temporary = path + ".tmp";
        using (var file = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 0))
        {
            file.Write(content);
            if (sync) file.Flush(flushToDisk: true);
        }
        File.Move(temporary, path, overwrite: true);
    }

    /// <exception cref="ImageException">When it is larger than <paramref name="maxBytes"/>.</exception>
    public static byte[]? TryRead(string path, int maxBytes)
    {
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
            if (file.Length > maxBytes) throw ImageException.Failed($"{path} is larger than {maxBytes} bytes");
            var content = new byte[file.Length];
            file.ReadExactly(content);
            return content;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }
}
