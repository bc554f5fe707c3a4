using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;

namespace Berth.Daemon.Http;

/// <summary>
/// A response of JSON objects, a line each. The status is 200 from the first line on; a failure before it still has a status of its own.
/// Lines may be given from any thread, one at a time.
/// </summary>
internal sealed class JsonLines<T>(HttpResponse response, JsonTypeInfo<T> type)
{
    public bool Started { get; private set; }

    /// <summary>Sends the headers before there is a line.</summary>
    public async Task StartAsync()
    {
        Started = true;
        await response.StartAsync();
        await response.BodyWriter.FlushAsync();
    }

    public async Task WriteAsync(T line, CancellationToken cancellationToken = default)
    {
        Started = true;
        Put(line);
        await response.BodyWriter.FlushAsync(cancellationToken);
    }

    private void Put(T line)
    {
        using (var writer = new Utf8JsonWriter(response.BodyWriter, new JsonWriterOptions { Encoder = type.Options.Encoder, SkipValidation = true }))
            JsonSerializer.Serialize(writer, line, type);
        response.BodyWriter.GetSpan(1)[0] = (byte)'\n';
        response.BodyWriter.Advance(1);
    }
}
