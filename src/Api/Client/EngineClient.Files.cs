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

    /// <summary>What a path of a container is; a link is not followed.</summary>
    public async Task<ContainerPathStat> StatPathAsync(string id, string path, CancellationToken cancellationToken = default)
    {
        using var response = await SendAsync("HEAD", Container(id, "archive").Add("path", path), cancellationToken: cancellationToken).ConfigureAwait(false);
        return PathStatOf(response);
    }

    /// <summary>What the answer with an archive, or instead of one, says of its path.</summary>
    /// <exception cref="IOException">It says nothing.</exception>
    public static ContainerPathStat PathStatOf(EngineResponse response)
    {
        try
        {
            var json = Convert.FromBase64String(response.Header("X-Docker-Container-Path-Stat") ?? throw new IOException("the engine does not say what the path is"));
            return System.Text.Json.JsonSerializer.Deserialize(json, ApiJson.Wire.ContainerPathStat) ?? throw new IOException("the engine does not say what the path is");
        }
        catch (Exception e) when (e is FormatException or System.Text.Json.JsonException)
        {
            throw new IOException("unable to decode container path stat header: " + e.Message, e);
        }
    }

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
