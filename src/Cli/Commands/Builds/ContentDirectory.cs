using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;

namespace Berth.Cli.Commands.Builds;

/// <summary>A directory of blobs as an OCI image layout has it: where <c>--cache-to type=local</c> puts them, and what <c>--build-context name=oci-layout://…</c> reads.</summary>
internal sealed class ContentDirectory(string directory)
{
    /// <summary>index.json and the like.</summary>
    private const int MaxIndexBytes = 16 << 20;

    private string Blobs => Path.Combine(directory, "blobs", "sha256");

    /// <exception cref="GrpcException">It is no digest: nothing outside the directory can be named.</exception>
    private string PathOf(string digest)
    {
        if (!digest.StartsWith("sha256:", StringComparison.Ordinal) || digest.Length != 71 || digest.AsSpan(7).ContainsAnyExcept("0123456789abcdef")) throw new GrpcException(GrpcCode.InvalidArgument, $"invalid checksum digest format: {digest}");
        return Path.Combine(Blobs, digest[7..]);
    }

    /// <exception cref="GrpcException">It is not there.</exception>
    public FileStream Open(string digest)
    {
        try
        {
            return new FileStream(PathOf(digest), FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new GrpcException(GrpcCode.NotFound, $"content {digest}: not found");
        }
    }

    public long SizeOf(string digest)
    {
        using var blob = Open(digest);
        return blob.Length;
    }

    public bool Has(string digest) => File.Exists(PathOf(digest));

    /// <summary>Takes a blob: what arrives is there under its name only when it is what it should be.</summary>
    public async Task TakeAsync(GrpcCall call)
    {
        string? unfinished = null;
        FileStream? file = null;
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        try
        {
            long offset = 0;
            while (await call.ReadAsync<WriteContentRequest>(call.Gone).ConfigureAwait(false) is { } request)
            {
                if (request.Expected.Length > 0 && Has(request.Expected)) throw new GrpcException(GrpcCode.AlreadyExists, $"content {request.Expected}: already exists");
                if (file is null)
                {
                    Directory.CreateDirectory(Path.Combine(directory, "ingest"));
                    unfinished = Path.Combine(directory, "ingest", Path.GetRandomFileName());
                    file = new FileStream(unfinished, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0);
                }
                if (request.Data.Length > 0)
                {
                    if (request.Offset != offset) throw new GrpcException(GrpcCode.InvalidArgument, $"write @{request.Offset} must occur at current offset {offset}");
                    await file.WriteAsync(request.Data, call.Gone).ConfigureAwait(false);
                    hash.AppendData(request.Data.Span);
                    offset += request.Data.Length;
                }
                var digest = "";
                if (request.Action == ContentAction.Commit)
                {
                    digest = "sha256:" + Convert.ToHexStringLower(hash.GetHashAndReset());
                    if (request.Total > 0 && request.Total != offset) throw new GrpcException(GrpcCode.InvalidArgument, $"unexpected commit size {offset}, expected {request.Total}");
                    if (request.Expected.Length > 0 && request.Expected != digest) throw new GrpcException(GrpcCode.InvalidArgument, $"unexpected commit digest {digest}, expected {request.Expected}");
                    await file.DisposeAsync().ConfigureAwait(false);
                    Directory.CreateDirectory(Blobs);
                    File.Move(unfinished!, PathOf(digest), overwrite: true);
                    unfinished = null;
                }
                await call.WriteAsync(new WriteContentResponse(request.Action) { Offset = offset, Total = request.Total, Digest = digest }).ConfigureAwait(false);
                if (request.Action == ContentAction.Commit) return;
            }
        }
        finally
        {
            if (file is not null) await file.DisposeAsync().ConfigureAwait(false);
            if (unfinished is not null) File.Delete(unfinished);
        }
    }

    /// <summary>The manifest that index.json has under a tag or name; null: none.</summary>
    /// <param name="name">What is looked for.</param>
    /// <param name="orOnly">If there is but one, that.</param>
    public string? Find(string name, bool orOnly)
    {
        var manifests = Index()["manifests"] as JsonArray ?? [];
        foreach (var manifest in manifests)
            if (Named(manifest, name)) return manifest?["digest"]?.GetValue<string>();
        return orOnly && manifests.Count == 1 ? manifests[0]?["digest"]?.GetValue<string>() : null;
    }

    /// <summary>Names a manifest in index.json, instead of what had the name before.</summary>
    public void Name(string descriptor, string tag)
    {
        var index = Index();
        index["schemaVersion"] = 2;
        index["mediaType"] ??= "application/vnd.oci.image.index.v1+json";
        var manifests = new JsonArray();
        foreach (var manifest in index["manifests"] as JsonArray ?? [])
            if (!Named(manifest, tag)) manifests.Add(manifest?.DeepClone());
        var entry = JsonNode.Parse(descriptor)!.AsObject();
        var annotations = entry["annotations"] as JsonObject ?? [];
        annotations["org.opencontainers.image.ref.name"] = tag;
        entry["annotations"] = annotations;
        manifests.Add((JsonNode)entry);
        index["manifests"] = manifests;
        Replace("index.json", index.ToJsonString());
        if (!File.Exists(Path.Combine(directory, "oci-layout"))) Replace("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
    }

    private void Replace(string name, string text)
    {
        var path = Path.Combine(directory, name);
        File.WriteAllText(path + ".new", text);
        File.Move(path + ".new", path, overwrite: true);
    }

    private static bool Named(JsonNode? manifest, string name) => manifest?["annotations"]?["org.opencontainers.image.ref.name"]?.GetValue<string>() == name || manifest?["annotations"]?["io.containerd.image.name"]?.GetValue<string>() == name;

    private JsonObject Index()
    {
        var path = Path.Combine(directory, "index.json");
        var file = new FileInfo(path);
        if (!file.Exists) return [];
        if (file.Length > MaxIndexBytes) throw new CommandException(string.Create(CultureInfo.InvariantCulture, $"{path} is larger than {MaxIndexBytes} bytes"));
        try
        {
            return JsonNode.Parse(File.ReadAllBytes(path)) as JsonObject ?? throw new JsonException("no object");
        }
        catch (JsonException e)
        {
            throw new CommandException($"{path}: {e.Message}");
        }
    }
}
