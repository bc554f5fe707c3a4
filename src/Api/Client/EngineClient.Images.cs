using System.Text;
using System.Text.Json;

namespace Berth.Api;

public sealed partial class EngineClient
{
    private static EnginePath Image(string name, string verb) => $"/images/{EnginePath.Segment(name)}/{verb}";

    public Task<ImageSummary[]> ListImagesAsync(bool all = false, Filters? filters = null, CancellationToken cancellationToken = default) => ListImagesAsync(all, filters, manifests: false, cancellationToken);

    /// <summary>With the platforms that each consists of, if wanted.</summary>
    public Task<ImageSummary[]> ListImagesAsync(bool all, Filters? filters, bool manifests, CancellationToken cancellationToken = default) =>
        GetAsync(new EnginePath("/images/json").AddIf("all", all).AddIf("manifests", manifests).AddIf("filters", filters?.ToString()), ApiJson.Wire.ImageSummaryArray, cancellationToken);

    public Task<ImageInspect> InspectImageAsync(string name, CancellationToken cancellationToken = default) =>
        GetAsync(Image(name, "json"), ApiJson.Wire.ImageInspect, cancellationToken);

    public Task<HistoryResponseItem[]> ImageHistoryAsync(string name, string? platform = null, CancellationToken cancellationToken = default) =>
        GetAsync(Image(name, "history").AddIf("platform", platform), ApiJson.Wire.HistoryResponseItemArray, cancellationToken);

    public Task TagImageAsync(string source, string repository, string tag, CancellationToken cancellationToken = default) =>
        PostAsync(Image(source, "tag").Add("repo", repository).AddIf("tag", tag), cancellationToken);

    public Task<ImageDeleteResponseItem[]> RemoveImageAsync(string name, bool force = false, bool prune = true, IReadOnlyList<string>? platforms = null, CancellationToken cancellationToken = default)
    {
        var path = new EnginePath("/images/" + EnginePath.Segment(name)).AddIf("force", force).AddIf("noprune", !prune);
        foreach (var platform in platforms ?? []) path = path.Add("platforms", platform);
        return PostAsync(path, default, ApiJson.Wire.ImageDeleteResponseItemArray, cancellationToken, method: "DELETE");
    }

    public Task<ImagePruneResponse> PruneImagesAsync(Filters? filters = null, CancellationToken cancellationToken = default) =>
        PostAsync(new EnginePath("/images/prune").AddIf("filters", filters?.ToString()), default, ApiJson.Wire.ImagePruneResponse, cancellationToken);

    /// <summary>Pulls; the answer's body is a stream of <see cref="JsonMessage"/> (<see cref="ReadMessagesAsync"/>).</summary>
    public Task<EngineResponse> PullImageAsync(string repository, string? tag, string? platform = null, AuthConfig? auth = null, CancellationToken cancellationToken = default) =>
        SendAsync("POST", new EnginePath("/images/create").Add("fromImage", repository).AddIf("tag", tag).AddIf("platform", platform), header: AuthHeader(auth), cancellationToken: cancellationToken);

    /// <summary>Pushes; the answer's body is a stream of <see cref="JsonMessage"/>.</summary>
    /// <param name="tag">"": all tags.</param>
    /// <param name="platform">JSON, or null.</param>
    public Task<EngineResponse> PushImageAsync(string repository, string tag, string? platform = null, AuthConfig? auth = null, CancellationToken cancellationToken = default) =>
        SendAsync("POST", Image(repository, "push").AddIf("tag", tag).AddIf("platform", platform), header: AuthHeader(auth ?? new()), cancellationToken: cancellationToken);

    public Task<AuthResponse> LoginAsync(AuthConfig auth, CancellationToken cancellationToken = default) =>
        PostAsync(new EnginePath("/auth"), Json(auth, ApiJson.Wire.AuthConfig), ApiJson.Wire.AuthResponse, cancellationToken);

    /// <summary>What a name stands for in its registry, asked by the engine: "sha256:…".</summary>
    public async Task<string> DistributionDigestAsync(string name, CancellationToken cancellationToken = default) =>
        (await GetAsync("/distribution/" + EnginePath.Segment(name) + "/json", ApiJson.Wire.DistributionInspect, cancellationToken).ConfigureAwait(false)).Descriptor.Digest;

    public Task<SearchResult[]> SearchImagesAsync(string term, string? limit = null, Filters? filters = null, AuthConfig? auth = null, CancellationToken cancellationToken = default) =>
        GetAsync(new EnginePath("/images/search").Add("term", term).AddIf("limit", limit).AddIf("filters", filters?.ToString()), ApiJson.Wire.SearchResultArray, cancellationToken, AuthHeader(auth));

    /// <summary>Makes an image of a root file system.</summary>
    /// <param name="source">"-" with <paramref name="content"/>, or a URL for the engine to fetch.</param>
    /// <param name="content">A tar, or null.</param>
    /// <param name="repository">Name, or "".</param>
    /// <param name="tag">Tag, or "".</param>
    /// <param name="message">Comment of its history entry.</param>
    /// <param name="changes">Dockerfile instructions.</param>
    /// <param name="platform">os/arch, or null.</param>
    /// <param name="cancellationToken">Ends the request.</param>
    public Task<EngineResponse> ImportImageAsync(string source, Stream? content, string repository = "", string tag = "", string message = "", IReadOnlyList<string>? changes = null, string? platform = null, CancellationToken cancellationToken = default)
    {
        var path = new EnginePath("/images/create").Add("fromSrc", source).AddIf("repo", repository).AddIf("tag", tag).AddIf("message", message).AddIf("platform", platform);
        foreach (var change in changes ?? []) path = path.Add("changes", change);
        return SendAsync("POST", path, bodyStream: content, contentType: "text/plain", cancellationToken: cancellationToken);
    }

    /// <summary>Loads the images of a tar; the answer's body is a stream of <see cref="JsonMessage"/>.</summary>
    /// <param name="platform">JSON, or null.</param>
    public Task<EngineResponse> LoadImagesAsync(Stream content, bool quiet = false, string? platform = null, CancellationToken cancellationToken = default) =>
        SendAsync("POST", new EnginePath("/images/load").Add("quiet", quiet ? "1" : "0").AddIf("platform", platform), bodyStream: content, contentType: "application/x-tar", cancellationToken: cancellationToken);

    /// <summary>The images as one tar, the answer's body.</summary>
    /// <param name="platform">JSON, or null.</param>
    public Task<EngineResponse> SaveImagesAsync(IReadOnlyList<string> names, string? platform = null, CancellationToken cancellationToken = default)
    {
        var path = new EnginePath("/images/get");
        foreach (var name in names) path = path.Add("names", name);
        return SendAsync("GET", path.AddIf("platform", platform), cancellationToken: cancellationToken);
    }

    /// <summary>A stream of JSON objects, one after the other with or without white space between, as messages.</summary>
    public static IAsyncEnumerable<JsonMessage> ReadMessagesAsync(Stream body, CancellationToken cancellationToken = default) =>
        ReadObjectsAsync(body, ApiJson.Wire.JsonMessage, cancellationToken);

    /// <summary>Longest single message of a stream.</summary>
    private const int MaxMessageBytes = 16 << 20;

    internal static async IAsyncEnumerable<T> ReadObjectsAsync<T>(Stream body, System.Text.Json.Serialization.Metadata.JsonTypeInfo<T> type, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var buffer = new byte[4096];
        int start = 0, end = 0;
        while (true)
        {
            while (NextObject(buffer.AsSpan(start, end - start), out var from, out var length))
            {
                T? value;
                try
                {
                    value = JsonSerializer.Deserialize(buffer.AsSpan(start + from, length), type);
                }
                catch (JsonException e)
                {
                    throw new IOException("the engine's stream has a malformed message: " + e.Message, e);
                }
                start += from + length;
                if (value is not null) yield return value;
            }
            if (start > 0)
            {
                buffer.AsSpan(start, end - start).CopyTo(buffer);
                (start, end) = (0, end - start);
            }
            if (end == buffer.Length)
            {
                if (end >= MaxMessageBytes) throw new IOException($"the engine's stream has a message of more than {MaxMessageBytes} bytes");
                Array.Resize(ref buffer, buffer.Length * 2);
            }
            var read = await body.ReadAsync(buffer.AsMemory(end), cancellationToken).ConfigureAwait(false);
            if (read == 0)
            {
                if (buffer.AsSpan(0, end).Trim(" \r\n\t"u8).Length > 0) throw new EndOfStreamException("unexpected EOF");
                yield break;
            }
            end += read;
        }
    }

    // Finds a complete object by its braces; strings are passed over.
    private static bool NextObject(ReadOnlySpan<byte> bytes, out int from, out int length)
    {
        from = bytes.IndexOf((byte)'{');
        length = 0;
        if (from < 0) return false;
        var depth = 0;
        var inString = false;
        for (var i = from; i < bytes.Length; i++)
        {
            var c = bytes[i];
            if (inString)
            {
                if (c == '\\') i++;
                else if (c == '"') inString = false;
            }
            else if (c == '"') inString = true;
            else if (c == '{') depth++;
            else if (c == '}' && --depth == 0)
            {
                length = i + 1 - from;
                return true;
            }
        }
        return false;
    }

    private static (string, string)? AuthHeader(AuthConfig? auth) => auth is null ? null
        : ("X-Registry-Auth", Convert.ToBase64String(Encoding.UTF8.GetBytes(JsonSerializer.Serialize(auth, ApiJson.Wire.AuthConfig))).Replace('+', '-').Replace('/', '_'));
}
