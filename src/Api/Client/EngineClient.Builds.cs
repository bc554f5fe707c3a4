namespace Berth.Api;

public sealed partial class EngineClient
{
    /// <summary>Builds; the answer's body is a stream of <see cref="BuildEvent"/> (<see cref="ReadBuildEventsAsync"/>) from an engine that knows them, else of <see cref="JsonMessage"/>.</summary>
    /// <param name="path">/build with its query.</param>
    /// <param name="context">A tar, or null.</param>
    public Task<EngineResponse> BuildImageAsync(EnginePath path, Stream? context, IReadOnlyList<(string Name, string Value)> headers, CancellationToken cancellationToken = default) =>
        SendAsync("POST", path, bodyStream: context, contentType: "application/x-tar", cancellationToken: cancellationToken, moreHeaders: headers);

    public static IAsyncEnumerable<BuildEvent> ReadBuildEventsAsync(Stream body, CancellationToken cancellationToken = default) =>
        ReadObjectsAsync(body, ApiJson.Wire.BuildEvent, cancellationToken);
}
