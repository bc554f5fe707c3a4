using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using System.Threading.Channels;
using Microsoft.AspNetCore.Http;

namespace Berth.Daemon.Http;

/// <summary>
/// A response of JSON objects, a line each, sent as they come. The status is 200 from the first line on; a failure before it still has a
/// status of its own. <see cref="Add"/> may be called from any thread and never waits: those that report progress must not be slowed by a
/// client that reads it slowly.
/// </summary>
internal sealed class JsonLines<T> : IAsyncDisposable
{
    private readonly HttpResponse _response;
    private readonly JsonTypeInfo<T> _type;
    private readonly byte[] _lineEnd;
    private readonly Channel<T> _lines = Channel.CreateUnbounded<T>(new UnboundedChannelOptions { SingleReader = true });
    private readonly Task _pump;
    private int _waiting;

    public JsonLines(HttpResponse response, JsonTypeInfo<T> type, string lineEnd, CancellationToken gone)
    {
        (_response, _type, _lineEnd) = (response, type, System.Text.Encoding.ASCII.GetBytes(lineEnd));
        _pump = PumpAsync(gone);
    }

    /// <summary>Whether a line was given: the status is decided then.</summary>
    public bool Started { get; private set; }

    /// <summary>Lines given and not sent yet; who can do without a line looks here.</summary>
    public int Waiting => Volatile.Read(ref _waiting);

    public void Add(T line)
    {
        Started = true;
        Interlocked.Increment(ref _waiting);
        _lines.Writer.TryWrite(line);
    }

    private async Task PumpAsync(CancellationToken gone)
    {
        try
        {
            await foreach (var line in _lines.Reader.ReadAllAsync(gone))
            {
                var more = Interlocked.Decrement(ref _waiting) > 0;
                var body = _response.BodyWriter;
                using (var writer = new Utf8JsonWriter(body, new JsonWriterOptions { Encoder = _type.Options.Encoder, SkipValidation = true }))
                    JsonSerializer.Serialize(writer, line, _type);
                _lineEnd.CopyTo(body.GetSpan(_lineEnd.Length));
                body.Advance(_lineEnd.Length);
                if (!more)
                    await body.FlushAsync(gone);
            }
        }
        catch (OperationCanceledException)
        {
            // The client is gone; what reports goes on or is cancelled by the same token.
        }
    }

    /// <summary>Sends what is left.</summary>
    public async ValueTask DisposeAsync()
    {
        _lines.Writer.TryComplete();
        await _pump;
    }
}
