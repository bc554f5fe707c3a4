using System.Net;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Berth.Daemon.Http;

/// <summary>How Kestrel is told to behave like Docker's server.</summary>
internal static class KestrelSetup
{
    public static KestrelServerOptions Options(IEnumerable<ListeningEndPoint> endpoints)
    {
        var kestrel = new KestrelServerOptions { AddServerHeader = false, AllowResponseHeaderCompression = false };
        var limits = kestrel.Limits;
        limits.MaxRequestBodySize = null; // JSON bodies have Limits.JsonBodyBytes, archives none
        limits.MaxRequestLineSize = Limits.HeadBytes;
        limits.MaxRequestHeadersTotalSize = Limits.HeadBytes;
        limits.MaxRequestHeaderCount = Limits.Headers;
        limits.RequestHeadersTimeout = Limits.HeadTime;
        // Clients keep connections for as long as they like, as with Docker. Not InfiniteTimeSpan: Kestrel turns it into ticks of its
        // clock, which overflows, and every idle connection is closed at the next second.
        limits.KeepAliveTimeout = TimeSpan.FromDays(365);
        limits.MinRequestBodyDataRate = null;
        limits.MinResponseDataRate = null; // `docker logs | less` may take all day
        foreach (var endpoint in endpoints)
            kestrel.Listen(endpoint, listen => listen.Protocols = HttpProtocols.Http1);
        return kestrel;
    }
}
