namespace Berth.Api;

public sealed partial class EngineClient
{
    /// <summary>What a container changed of its image's files.</summary>
    public async Task<IReadOnlyList<FilesystemChange>> ChangesAsync(string id, CancellationToken cancellationToken = default)
    {
        var json = await GetBytesAsync(Container(id, "changes"), cancellationToken).ConfigureAwait(false);
        return json.AsSpan().Trim(" \r\n"u8).SequenceEqual("null"u8) ? [] : Read(json, ApiJson.Wire.ListFilesystemChange);
    }

    /// <summary>The answer's body is a tar of the container's files.</summary>
    public Task<EngineResponse> ExportContainerAsync(string id, CancellationToken cancellationToken = default) => SendAsync("GET", Container(id, "export"), cancellationToken: cancellationToken);

    /// <summary>The answer's body is a tar of a path of the container.</summary>
    public Task<EngineResponse> ReadArchiveAsync(string id, string path, CancellationToken cancellationToken = default) =>
        SendAsync("GET", Container(id, "archive").Add("path", path), cancellationToken: cancellationToken);

    /// <summary>Unpacks a tar in a directory of the container.</summary>
    public async Task ExtractArchiveAsync(string id, string path, Stream tar, bool copyOwner = false, CancellationToken cancellationToken = default)
    {
        using var response = await SendAsync("PUT", Container(id, "archive").Add("path", path).AddIf("copyUIDGID", copyOwner).AddIf("noOverwriteDirNonDir", true), bodyStream: tar,
            contentType: "application/x-tar", cancellationToken: cancellationToken).ConfigureAwait(false);
        await ReadAllAsync(response.Body, MaxJsonBytes, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Makes an image of a container.</summary>
    public Task<IdResponse> CommitAsync(string id, string repository = "", string tag = "", string author = "", string message = "", bool pause = true, IReadOnlyList<string>? changes = null,
        CancellationToken cancellationToken = default)
    {
        var path = new EnginePath("/commit").Add("container", id).AddIf("repo", repository).AddIf("tag", tag).AddIf("author", author).AddIf("comment", message).AddIf("pause", pause ? null : "0");
        foreach (var change in changes ?? []) path = path.Add("changes", change);
        return PostAsync(path, default, ApiJson.Wire.IdResponse, cancellationToken);
    }
}
