using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Berth.Engine;
using Microsoft.AspNetCore.Http;

namespace Berth.Daemon.Http;

/// <summary>One request on its way through a route: what was asked, and the ways Docker's API answers.</summary>
internal sealed class ApiRequest(HttpContext http, ApiServer server, ApiVersion version, string name) : IAsyncDisposable
{
    private CancellationTokenSource? _gone;
    private Task _watch = Task.CompletedTask;

    public HttpContext Http => http;
    public ApiVersion Version => version;

    /// <summary>The {name} of the route, decoded.</summary>
    public string Name => name;

    public Query Query { get; } = new(http.Request.Query);

    /// <summary>
    /// For what must be finished once begun (start, stop, remove, …): a client that hangs up does not cancel it, the end of the daemon does.
    /// </summary>
    public CancellationToken Stopping => server.Stopping;

    /// <summary>
    /// For what only its client waits for (logs, events, wait, pull): fires when the client hangs up or half-closes, and when the daemon ends.
    /// Ask for it when the request's body has been read.
    /// </summary>
    public CancellationToken Gone()
    {
        if (_gone is null)
        {
            _gone = CancellationTokenSource.CreateLinkedTokenSource(server.Stopping, http.RequestAborted);
            if (Connection is { } connection)
                _watch = connection.WatchForHangUp(_gone);
        }
        return _gone.Token;
    }

    private SocketConnection? Connection => http.Features.Get<SocketConnection>();

    // ---- reading

    /// <summary>The body of an upload, to be disposed of before anything is answered.</summary>
    /// <returns>Also whether it is to be read by a thread that may wait.</returns>
    public (Stream Body, bool Blocks) OpenBody()
    {
        var headers = http.Request.Headers;
        // Who asks whether to go on (curl, of a large body) is told so by Kestrel when it reads.
        return headers.TransferEncoding == "chunked" && headers.Expect.Count == 0 && Connection?.TakeBody(Stopping) is { } body ? (body, true) : (http.Request.Body, false);
    }

    private const string Json = "application/json";

    /// <summary>A JSON body that may be absent: then <paramref name="absent"/>.</summary>
    public async Task<T> ReadJsonAsync<T>(JsonTypeInfo<T> type, T absent)
    {
        CheckContentType();
        var body = await ReadBodyAsync();
        return body.Length == 0 && http.Request.ContentLength is null or 0 ? absent : Parse(body, type);
    }

    /// <summary>A JSON body that may be absent, or "null" as some clients write that.</summary>
    public async Task<T?> ReadOptionalJsonAsync<T>(JsonTypeInfo<T> type) where T : class
    {
        CheckContentType();
        var body = await ReadBodyAsync();
        return body.Span.Trim(" \t\r\n"u8) is var text && (text.IsEmpty || text.SequenceEqual("null"u8)) ? null : Parse(body, type);
    }

    /// <summary>A JSON body that must be there.</summary>
    public async Task<T> ReadJsonAsync<T>(JsonTypeInfo<T> type)
    {
        CheckContentType();
        return Parse(await ReadBodyAsync(), type);
    }

    private void CheckContentType()
    {
        var type = http.Request.ContentType;
        if (string.IsNullOrEmpty(type))
        {
            // Without a body no type is needed; with one, Go's parser finds none to parse.
            if (http.Request.ContentLength is null or 0 && !http.Request.Headers.ContainsKey("Transfer-Encoding"))
                return;
            throw EngineException.Invalid("malformed Content-Type header (): mime: no media type");
        }
        if (!type.AsSpan(0, type.IndexOf(';') is var end and >= 0 ? end : type.Length).Trim().Equals(Json, StringComparison.OrdinalIgnoreCase))
            throw EngineException.Invalid($"unsupported Content-Type header ({type}): must be '{Json}'");
    }

    private async Task<ReadOnlyMemory<byte>> ReadBodyAsync()
    {
        if (http.Request.ContentLength > Limits.JsonBodyBytes)
            throw TooLarge();
        var body = new ArrayBufferWriter<byte>((int)(http.Request.ContentLength ?? 1024) + 1);
        int read;
        while ((read = await http.Request.Body.ReadAsync(body.GetMemory(1))) > 0)
        {
            body.Advance(read);
            if (body.WrittenCount > Limits.JsonBodyBytes)
                throw TooLarge();
        }
        return body.WrittenMemory;
    }

    private static BadHttpRequestException TooLarge() => new($"JSON of more than {Limits.JsonBodyBytes >> 20} MiB is not read", StatusCodes.Status413PayloadTooLarge);

    private static T Parse<T>(ReadOnlyMemory<byte> body, JsonTypeInfo<T> type)
    {
        var text = body.Span;
        if (text.IndexOfAnyExcept(" \t\r\n"u8) < 0)
            throw EngineException.Invalid("invalid JSON: got EOF while reading request body");
        var reader = new Utf8JsonReader(text, isFinalBlock: true, default);
        T? value;
        try
        {
            value = JsonSerializer.Deserialize(ref reader, type);
        }
        catch (JsonException e)
        {
            throw EngineException.Invalid("invalid JSON: " + Explain(e, text));
        }
        if (text[(int)reader.BytesConsumed..].IndexOfAnyExcept(" \t\r\n"u8) >= 0)
            throw EngineException.Invalid("unexpected content after JSON");
        return value ?? throw EngineException.Invalid("invalid JSON: null where an object was expected");
    }

    /// <summary>In the manner of Go's decoder, which names the byte, or the field and its type.</summary>
    private static string Explain(JsonException error, ReadOnlySpan<byte> text)
    {
        // What is left of the text tells a syntax error from a value of the wrong type.
        var syntax = new Utf8JsonReader(text, isFinalBlock: true, default);
        try
        {
            while (syntax.Read())
            {
            }
        }
        catch (JsonException e)
        {
            var at = Position(text, e.LineNumber ?? 0, e.BytePositionInLine ?? 0);
            if (at >= text.Length || text[at..].IndexOfAnyExcept(" \t\r\n"u8) < 0)
                return "unexpected EOF";
            Rune.DecodeFromUtf8(text[at..], out var rune, out _);
            return string.Create(CultureInfo.InvariantCulture, $"invalid character '{rune}' at offset {at}");
        }
        var path = error.Path is { Length: > 1 } p ? p[1..] : "";
        return path.Length > 0 ? $"json: cannot unmarshal {path}: {error.Message}" : $"json: {error.Message}";
    }

    private static int Position(ReadOnlySpan<byte> text, long line, long inLine)
    {
        var start = 0;
        for (; line > 0; line--)
        {
            var end = text[start..].IndexOf((byte)'\n');
            if (end < 0)
                break;
            start += end + 1;
        }
        return (int)Math.Min(start + inLine, text.Length);
    }

    // ---- answering

    public void Status(int status) => http.Response.StatusCode = status;

    public async Task JsonAsync<T>(T value, JsonTypeInfo<T> type, int status = 200)
    {
        var body = new ArrayBufferWriter<byte>(1024);
        using (var writer = new Utf8JsonWriter(body, new JsonWriterOptions { Encoder = type.Options.Encoder, SkipValidation = true }))
            JsonSerializer.Serialize(writer, value, type);
        body.GetSpan(1)[0] = (byte)'\n';
        body.Advance(1);
        http.Response.StatusCode = status;
        http.Response.ContentType = Json;
        http.Response.ContentLength = body.WrittenCount;
        await http.Response.BodyWriter.WriteAsync(body.WrittenMemory);
    }

    /// <summary>
    /// A stream of JSON objects, one a line, each sent as it is written. What pulls and loads report ends its lines with CRLF and events
    /// with LF; clients have got used to both.
    /// </summary>
    public JsonLines<T> Lines<T>(JsonTypeInfo<T> type, string lineEnd, CancellationToken gone)
    {
        if (!http.Response.HasStarted)
            http.Response.ContentType = Json;
        return new JsonLines<T>(http.Response, type, lineEnd, gone);
    }

    /// <summary>
    /// One object of an endless stream, and a line end. Waits for a client that reads slowly: what it misses meanwhile is for the sender to decide, who holds no more than
    /// it wants to. <see cref="StartAsync"/> comes first.
    /// </summary>
    public async Task WriteLineAsync<T>(T value, JsonTypeInfo<T> type, CancellationToken cancellationToken)
    {
        var body = http.Response.BodyWriter;
        using (var writer = new Utf8JsonWriter(body, new JsonWriterOptions { Encoder = type.Options.Encoder, SkipValidation = true }))
            JsonSerializer.Serialize(writer, value, type);
        body.GetSpan(1)[0] = (byte)'\n';
        body.Advance(1);
        await body.FlushAsync(cancellationToken);
    }

    /// <summary>Sends status and headers now; the client may rely on having them before there is a body.</summary>
    public async Task StartAsync(string? contentType)
    {
        http.Response.ContentType = contentType;
        await http.Response.StartAsync();
        await http.Response.BodyWriter.FlushAsync();
    }

    public const string RawStream = "application/vnd.docker.raw-stream";
    public const string MultiplexedStream = "application/vnd.docker.multiplexed-stream";

    /// <summary>Streams of output are named since API 1.42.</summary>
    public string StreamType(bool multiplexed) => multiplexed && !version.Before(42) ? MultiplexedStream : RawStream;

    /// <summary>
    /// Takes the connection over, for attach and exec: with an Upgrade header the answer is 101 and the stream's type, without it
    /// 200 and always raw-stream. The request's body must have been read.
    /// </summary>
    /// <param name="withHeaders">Also the headers every answer has; Docker sends them for exec and not for attach.</param>
    public async Task<HijackedStream> HijackAsync(bool multiplexed, bool withHeaders)
    {
        var upgrade = http.Request.Headers.ContainsKey("Upgrade");
        var head = new StringBuilder();
        if (upgrade)
            head.Append("HTTP/1.1 101 UPGRADED\r\nContent-Type: ").Append(StreamType(multiplexed)).Append("\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n");
        else
            head.Append("HTTP/1.1 200 OK\r\nContent-Type: ").Append(RawStream).Append("\r\n");
        if (withHeaders)
        {
            foreach (var (key, value) in server.Headers)
                head.Append(key).Append(": ").Append(value).Append("\r\n");
        }
        return await HijackAsync(head.Append("\r\n").ToString());
    }

    /// <summary>Answers an error on a taken-over connection: text, not JSON, and the end of the connection, as Docker does for attach.</summary>
    public async Task HijackErrorAsync(Exception error)
    {
        var (status, message) = Errors.Describe(error);
        await using var stream = await HijackAsync($"HTTP/1.1 {status} {Errors.Reason(status)}\r\nContent-Type: {RawStream}\r\n\r\n{message}\r\n");
    }

    /// <summary>What is wrong with the request as one for a websocket; null: nothing.</summary>
    public string? WebSocketFault()
    {
        var headers = http.Request.Headers;
        if (!headers.Upgrade.ToString().Equals("websocket", StringComparison.OrdinalIgnoreCase) || !headers.Connection.ToString().Contains("upgrade", StringComparison.OrdinalIgnoreCase))
            return "not websocket protocol";
        if (headers.SecWebSocketKey.ToString().Length == 0)
            return "mismatch challenge/response";
        return headers.SecWebSocketVersion.ToString() == "13" ? null : "missing or bad WebSocket Version";
    }

    /// <summary>Takes the connection over as a websocket; binary frames since API 1.28. See <see cref="WebSocketFault"/>.</summary>
    public async Task<WebSocketStream> AcceptWebSocketAsync() => new(await HijackAsync(
        $"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {WebSocketStream.Accept(http.Request.Headers.SecWebSocketKey.ToString())}\r\n\r\n"),
        binary: !version.Before(28));

    /// <summary>Takes the connection over for another protocol, as the Upgrade header asks for it.</summary>
    /// <exception cref="EngineException">It asks for none, or for another.</exception>
    public Task<HijackedStream> UpgradeAsync(string protocol)
    {
        var asked = http.Request.Headers.Upgrade.ToString();
        if (asked.Length == 0) throw EngineException.Invalid("no upgrade proto in request");
        if (asked != protocol) throw EngineException.Invalid($"protocol {asked} not supported");
        return HijackAsync($"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");
    }

    private async Task<HijackedStream> HijackAsync(string head)
    {
        if (Connection is not { } connection)
            throw new EngineException(ErrorKind.System, "this connection cannot be taken over");
        var stream = connection.Hijack();
        Hijacked = true;
        await stream.WriteAsync(Encoding.UTF8.GetBytes(head));
        return stream;
    }

    /// <summary>The connection is no longer HTTP; nothing may be answered on it.</summary>
    public bool Hijacked { get; private set; }

    public async ValueTask DisposeAsync()
    {
        if (_gone is null)
            return;
        await _gone.CancelAsync();
        await _watch;
        _gone.Dispose();
    }
}
