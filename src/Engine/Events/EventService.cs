using Berth.Api;

namespace Berth.Engine;

/// <summary>What happened, to whoever listens: the last <see cref="KeptEvents"/> are remembered for `since`.</summary>
public sealed class EventService
{
    internal const int KeptEvents = 256;

    internal EventService() { }

    /// <summary>
    /// Past events between since and until (none without since), then those to come until <paramref name="until"/> or for ever. The subscription exists when
    /// the method returns; the sequence ends with the token without throwing.
    /// </summary>
    /// <param name="since">Unix seconds with an optional fraction, or RFC 3339; null or empty: only what comes.</param>
    /// <exception cref="EngineException">InvalidParameter.</exception>
    public IAsyncEnumerable<EventMessage> Subscribe(string? since, string? until, Filters filters, CancellationToken cancellationToken) =>
        throw new NotImplementedException();
}
