namespace Berth.Engine;

/// <summary>Deletes trees that are already gone for every reader.</summary>
internal static class TrashCan
{
    /// <summary>Never throws: what can't be deleted now is tried again by the next start.</summary>
    public static bool Delete(string path)
    {
        try
        {
            if (Directory.Exists(path)) Directory.Delete(path, recursive: true);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}

internal static class DiskUsage
{
    /// <summary>Bytes of the files below a directory, links not followed; what vanishes meanwhile is not counted.</summary>
    public static ulong Of(string directory) => Linux.FileTree.SizeBytes(directory);
}
