using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Berth.Api;

/// <summary>
/// The Docker Engine API as methods. Requests go out with the newest version this client knows; an engine that is older
/// says so once and is then spoken to in its own version (no request is spent on asking first).
/// Safe for concurrent use; connections are kept and used again.
/// </summary>
public sealed partial class EngineClient : IDisposable
{
    /// <summary>The newest API version these records describe.</summary>
    public const string LatestApiVersion = "1.51";

    public const string RawStream = "application/vnd.docker.raw-stream";
    public const string MultiplexedStream = "application/vnd.docker.multiplexed-stream";

    /// <summary>Longest JSON answer that is read into memory.</summary>
    private const int MaxJsonBytes = 256 << 20;

    /// <summary>Longest error text; the rest is cut.</summary>
    private const int MaxErrorBytes = 1 << 20;

    private readonly Stack<HttpConnection> _idle = new();
    private readonly bool _versionIsFixed, _blocking;
    private bool _disposed;

    /// <param name="host">Where the engine is.</param>
    /// <param name="apiVersion">null: the newest that both know.</param>
    /// <param name="userAgent">For the engine's logs.</param>
    /// <param name="blocking">
    /// Wait in system calls, on the calling thread: every method has finished when it returns. For a program that does one
    /// thing at a time, such as a command line, this saves the start of the thread pool and of the event loop (5 ms of
    /// 10, docs/decisions/0600-own-http-client.md); what is to happen at the same time needs threads of its own, and
    /// cancellation is not looked at while waiting.
    /// </param>
    public EngineClient(EngineHost host, string? apiVersion = null, string userAgent = "Berth-Client", bool blocking = false)
    {
        Host = host;
        _blocking = blocking;
        UserAgent = userAgent;
        _versionIsFixed = apiVersion is not null;
        ApiVersion = apiVersion ?? LatestApiVersion;
    }

    public EngineHost Host { get; }

    public string UserAgent { get; }

    /// <summary>Sent with every request, for a proxy in front of the engine.</summary>
    public IReadOnlyList<(string Name, string Value)> Headers { get; init; } = [];

    /// <summary>The version requests are sent with; may go down with the first answer.</summary>
    public string ApiVersion { get; private set; }

    /// <summary>Sends a request and reads the head of its answer.</summary>
    /// <exception cref="EngineApiException">A status of 400 or more.</exception>
    /// <exception cref="EngineConnectionException">Nobody listens there.</exception>
    /// <exception cref="IOException">The connection broke.</exception>
    public async Task<EngineResponse> SendAsync(
        string method, EnginePath path, ReadOnlyMemory<byte> body = default, Stream? bodyStream = null, string contentType = "application/json",
        (string Name, string Value)? header = null, bool versioned = true, CancellationToken cancellationToken = default, IReadOnlyList<(string Name, string Value)>? moreHeaders = null)
    {
        while (true)
        {
            var version = ApiVersion;
            var connection = await ConnectAsync(cancellationToken).ConfigureAwait(false);
            try
            {
                long? length = bodyStream is { CanSeek: true } ? bodyStream.Length - bodyStream.Position : null;
                var head = Head(method, versioned ? version : null, path.ToString(), contentType, body.Length, bodyStream is not null, length, header, upgrade: null, moreHeaders);
                IOException? writeFailed = null;
                try
                {
                    await connection.SendAsync(head, body, bodyStream, length, cancellationToken).ConfigureAwait(false);
                }
                catch (IOException e) when (bodyStream is not null)
                {
                    writeFailed = e; // it may have answered without reading all of it: that answer says more
                }
                int status;
                Dictionary<string, string> headers;
                try
                {
                    (status, _, headers) = await connection.ReadHeadAsync(cancellationToken).ConfigureAwait(false);
                }
                catch (Exception e) when (writeFailed is not null && e is IOException)
                {
                    throw writeFailed;
                }
                var answer = BodyOf(connection, status, headers, keep: writeFailed is null, isHead: method == "HEAD");
                if (status < 400) return new EngineResponse(status, headers, answer);
                var message = await ErrorOf(answer, status, headers, path.ToString(), cancellationToken).ConfigureAwait(false);
                if (bodyStream is null && LowerVersion(version, status, message, headers)) continue;
                throw new EngineApiException(status, message) { Challenge = headers.GetValueOrDefault("WWW-Authenticate") };
            }
            catch (Exception e) when (e is not EngineApiException)
            {
                connection.Dispose();
                throw;
            }
        }
    }

    /// <summary>
    /// Sends a request that asks for the switch of protocols (attach, exec start) and returns the connection.
    /// </summary>
    /// <param name="protocol">What is spoken from then on.</param>
    public async Task<HijackedStream> HijackAsync(EnginePath path, ReadOnlyMemory<byte> body = default, CancellationToken cancellationToken = default, string protocol = "tcp", IReadOnlyList<(string Name, string Value)>? moreHeaders = null)
    {
        while (true)
        {
            var version = ApiVersion;
            var connection = await ConnectAsync(cancellationToken).ConfigureAwait(false);
            try
            {
                var head = Head("POST", version, path.ToString(), "application/json", body.Length, false, null, null, protocol, moreHeaders);
                await connection.SendAsync(head, body, null, null, cancellationToken).ConfigureAwait(false);
                var (status, _, headers) = await connection.ReadHeadAsync(cancellationToken).ConfigureAwait(false);
                // Servers older than the upgrade headers answer 200 and go on the same way.
                if (status is 101 or 200) return new HijackedStream(connection, headers.GetValueOrDefault("Content-Type") == MultiplexedStream);
                var answer = BodyOf(connection, status, headers, keep: true, isHead: false);
                var message = await ErrorOf(answer, status, headers, path.ToString(), cancellationToken).ConfigureAwait(false);
                if (LowerVersion(version, status, message, headers)) continue;
                throw new EngineApiException(status, message);
            }
            catch (Exception e) when (e is not EngineApiException)
            {
                connection.Dispose();
                throw;
            }
        }
    }

    /// <summary>A connection on which nothing has been said yet: it is the caller's.</summary>
    public async Task<HijackedStream> OpenAsync(CancellationToken cancellationToken = default) =>
        new(new HttpConnection(await Host.ConnectAsync(_blocking, cancellationToken).ConfigureAwait(false), _blocking), multiplexed: false);

    /// <summary>The whole answer of a GET, as it came.</summary>
    public async Task<byte[]> GetBytesAsync(EnginePath path, CancellationToken cancellationToken = default, (string, string)? header = null)
    {
        using var response = await SendAsync("GET", path, header: header, cancellationToken: cancellationToken).ConfigureAwait(false);
        return await ReadAllAsync(response.Body, MaxJsonBytes, cancellationToken).ConfigureAwait(false);
    }

    internal async Task<T> GetAsync<T>(EnginePath path, JsonTypeInfo<T> type, CancellationToken cancellationToken, (string, string)? header = null) =>
        Read(await GetBytesAsync(path, cancellationToken, header).ConfigureAwait(false), type);

    internal async Task<T> PostAsync<T>(EnginePath path, ReadOnlyMemory<byte> body, JsonTypeInfo<T> type, CancellationToken cancellationToken, string method = "POST")
    {
        using var response = await SendAsync(method, path, body, cancellationToken: cancellationToken).ConfigureAwait(false);
        return Read(await ReadAllAsync(response.Body, MaxJsonBytes, cancellationToken).ConfigureAwait(false), type);
    }

    internal async Task PostAsync(EnginePath path, CancellationToken cancellationToken, ReadOnlyMemory<byte> body = default, string method = "POST")
    {
        using var response = await SendAsync(method, path, body, cancellationToken: cancellationToken).ConfigureAwait(false);
        await ReadAllAsync(response.Body, MaxJsonBytes, cancellationToken).ConfigureAwait(false);
    }

    internal static ReadOnlyMemory<byte> Json<T>(T value, JsonTypeInfo<T> type) => JsonSerializer.SerializeToUtf8Bytes(value, type);

    private static T Read<T>(byte[] json, JsonTypeInfo<T> type)
    {
        try
        {
            return JsonSerializer.Deserialize(json, type) ?? throw new IOException("the engine answered null");
        }
        catch (JsonException e)
        {
            throw new IOException("Error reading remote info: " + e.Message, e);
        }
    }

    private static async Task<byte[]> ReadAllAsync(Stream stream, int limit, CancellationToken cancellationToken)
    {
        var buffer = new byte[8192];
        var length = 0;
        while (true)
        {
            var read = await stream.ReadAsync(buffer.AsMemory(length), cancellationToken).ConfigureAwait(false);
            if (read == 0) return buffer.AsSpan(0, length).ToArray();
            length += read;
            if (length > limit) throw new IOException($"the engine's answer is longer than {limit} bytes");
            if (length == buffer.Length) Array.Resize(ref buffer, buffer.Length * 2);
        }
    }

    private async Task<string> ErrorOf(Stream body, int status, Dictionary<string, string> headers, string path, CancellationToken cancellationToken)
    {
        byte[] bytes;
        using (body) bytes = await ReadAllAsync(body, MaxErrorBytes, cancellationToken).ConfigureAwait(false);
        if (bytes.Length == 0)
            return $"request returned {status} for API route and version {path}, check if the server supports the requested API version";
        if (headers.GetValueOrDefault("Content-Type")?.StartsWith("application/json", StringComparison.Ordinal) == true)
        {
            try
            {
                return (JsonSerializer.Deserialize(bytes, ApiJson.Wire.ErrorResponse)?.Message ?? "").Trim();
            }
            catch (JsonException)
            {
                // Not what it says it is: show it as it came.
            }
        }
        return Encoding.UTF8.GetString(bytes).Trim();
    }

    // "client version 1.51 is too new. Maximum supported API version is 1.47" comes with the header Api-Version: 1.47.
    private bool LowerVersion(string sent, int status, string message, Dictionary<string, string> headers)
    {
        if (_versionIsFixed || status != 400 || !message.Contains("is too new", StringComparison.Ordinal)) return false;
        if (!headers.TryGetValue("Api-Version", out var theirs) || ApiVersions.Compare(theirs, sent) >= 0) return false;
        ApiVersion = theirs;
        return true;
    }

    private string Head(string method, string? version, string path, string contentType, int bodyLength, bool hasStream, long? streamLength, (string Name, string Value)? header, string? upgrade, IReadOnlyList<(string Name, string Value)>? moreHeaders = null)
    {
        var text = new StringBuilder(256);
        text.Append(method).Append(' ');
        if (version is not null) text.Append("/v").Append(version);
        text.Append(path).Append(" HTTP/1.1\r\nHost: ").Append(Host.SocketPath is null && Host.Command is null ? $"{Host.Host}:{Host.Port}" : "api.moby.localhost")
            .Append("\r\nUser-Agent: ").Append(UserAgent).Append("\r\n");
        foreach (var (name, value) in Headers) text.Append(name).Append(": ").Append(value).Append("\r\n");
        if (header is { } extra) text.Append(extra.Name).Append(": ").Append(extra.Value).Append("\r\n");
        if (moreHeaders is not null)
            foreach (var (name, value) in moreHeaders) text.Append(name).Append(": ").Append(value).Append("\r\n");
        if (upgrade is not null) text.Append("Connection: Upgrade\r\nUpgrade: ").Append(upgrade).Append("\r\n");
        if (hasStream || bodyLength > 0) text.Append("Content-Type: ").Append(contentType).Append("\r\n");
        if (hasStream && streamLength is null) text.Append("Transfer-Encoding: chunked\r\n");
        else if (hasStream || bodyLength > 0 || method is "POST" or "PUT") text.Append("Content-Length: ").Append(hasStream ? streamLength!.Value : bodyLength).Append("\r\n");
        return text.Append("\r\n").ToString();
    }

    private HttpBody BodyOf(HttpConnection connection, int status, Dictionary<string, string> headers, bool keep, bool isHead)
    {
        var chunked = headers.GetValueOrDefault("Transfer-Encoding")?.Contains("chunked", StringComparison.OrdinalIgnoreCase) == true;
        long? length = headers.TryGetValue("Content-Length", out var text) && long.TryParse(text, out var parsed) && parsed >= 0 ? parsed : null;
        if (isHead || status is 204 or 304) (length, chunked) = (0, false);
        var close = !keep || headers.GetValueOrDefault("Connection")?.Contains("close", StringComparison.OrdinalIgnoreCase) == true || (length is null && !chunked);
        return new HttpBody(connection, chunked ? null : length, chunked, close ? null : Release);
    }

    private async ValueTask<HttpConnection> ConnectAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            HttpConnection? kept;
            lock (_idle)
            {
                ObjectDisposedException.ThrowIf(_disposed, this);
                _idle.TryPop(out kept);
            }
            if (kept is null) return new HttpConnection(await Host.ConnectAsync(_blocking, cancellationToken).ConfigureAwait(false), _blocking);
            if (!kept.IsStale) return kept;
            kept.Dispose();
        }
    }

    private void Release(HttpConnection connection)
    {
        lock (_idle)
        {
            if (!_disposed && _idle.Count < MaxIdle)
            {
                _idle.Push(connection);
                return;
            }
        }
        connection.Dispose();
    }

    private const int MaxIdle = 16;

    public void Dispose()
    {
        lock (_idle)
        {
            _disposed = true;
            while (_idle.TryPop(out var connection)) connection.Dispose();
        }
    }
}

/// <summary>Order of "1.24" and the like.</summary>
public static class ApiVersions
{
    /// <summary>Negative when the first is older. Missing or odd parts count as zero.</summary>
    public static int Compare(string a, string b)
    {
        var (x, y) = (a.Split('.'), b.Split('.'));
        for (var i = 0; i < Math.Max(x.Length, y.Length); i++)
        {
            var order = Part(x, i).CompareTo(Part(y, i));
            if (order != 0) return order;
        }
        return 0;
    }

    private static int Part(string[] parts, int index) => index < parts.Length && int.TryParse(parts[index], out var number) ? number : 0;
}
