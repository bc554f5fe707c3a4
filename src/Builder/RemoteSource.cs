using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;

namespace Berth.Builder;

/// <summary>Files that a build begins with and nobody sends, by what names them: a Git repository, a file of the web, the files in an archive of the web.</summary>
public sealed record RemoteSource
{
    /// <summary>What the file of an address is called that is no archive.</summary>
    public const string ContextFile = "context";

    /// <summary>Null: a file of the web.</summary>
    public GitSource? Git { get; init; }
    public string Url { get; init; } = "";
    public string FileName { get; init; } = ContextFile;

    /// <summary>Which the file has to have; empty: any.</summary>
    public string Checksum { get; init; } = "";

    /// <summary>An archive is unpacked.</summary>
    public bool Unpack { get; init; }

    /// <summary>For messages: as it was named.</summary>
    public string Name { get; init; } = "";

    /// <summary>What somebody names instead of a directory.</summary>
    /// <returns>Null: neither a repository nor an address.</returns>
    /// <exception cref="Dockerfile.DockerfileException">A repository, named wrongly.</exception>
    public static RemoteSource? TryParse(string text) =>
        GitSource.TryParseContext(text) is { } git ? new RemoteSource { Git = git, Name = text }
        : RemoteFiles.IsHttp(text) ? new RemoteSource { Url = text, Name = text, Unpack = true } : null;
}

/// <summary>Such files as they have come.</summary>
/// <param name="Directory">Of the host.</param>
/// <param name="Unpacked">They were in an archive.</param>
public sealed record FetchedSource(string Directory, bool Unpacked)
{
    /// <summary>Unpacks a file that is an archive.</summary>
    /// <returns>False: it is none.</returns>
    /// <exception cref="ImageException">It is a broken one.</exception>
    public static async Task<bool> TryUnpackAsync(string file, string directory, CancellationToken cancellation)
    {
        await using var saved = File.OpenRead(file);
        // By what it is: servers call everything application/octet-stream.
        if (!TreeArchive.IsTar(saved)) return false;
        saved.Position = 0;
        using var root = FileAt.Open(null, directory, OpenFlags.ReadOnly | OpenFlags.Directory);
        await TreeArchive.ExtractAsync(saved, root, "/", (0, 0), keepKinds: false, cancellation).ConfigureAwait(false);
        return true;
    }
}
