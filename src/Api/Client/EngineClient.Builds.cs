namespace Berth.Api;

public sealed partial class EngineClient
{
    /// <summary>A connection on which the engine answers calls of BuildKit's protocol, in HTTP/2 from its first byte.</summary>
    public Task<HijackedStream> OpenBuilderAsync(CancellationToken cancellationToken = default) => HijackAsync("/grpc", protocol: "h2c", cancellationToken: cancellationToken);

    /// <summary>A connection on which the engine makes calls, in HTTP/2 from its first byte: what a client offers to its builds.</summary>
    /// <param name="id">Builds name it.</param>
    /// <param name="sharedKey">The same for all builds of one place.</param>
    /// <param name="methods">What may be called: /package.Service/Method.</param>
    public Task<HijackedStream> OpenSessionAsync(string id, string sharedKey, IEnumerable<string> methods, CancellationToken cancellationToken = default)
    {
        List<(string, string)> headers = [("X-Docker-Expose-Session-Uuid", id), ("X-Docker-Expose-Session-Sharedkey", sharedKey)];
        foreach (var method in methods) headers.Add(("X-Docker-Expose-Session-Grpc-Method", method));
        return HijackAsync("/session", protocol: "h2c", moreHeaders: headers, cancellationToken: cancellationToken);
    }
}
