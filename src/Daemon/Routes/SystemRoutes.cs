using Berth.Api;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Routes;

/// <summary>/_ping, /version, /info.</summary>
internal static class SystemRoutes
{
    public static void Map(Router router, BerthEngine engine)
    {
        router.Get("/_ping", Ping);
        router.Head("/_ping", Ping);
        router.Get("/version", r => r.JsonAsync(engine.System.Version(ApiVersion.Max.ToString(), ApiVersion.Min.ToString()), ApiJson.Wire.SystemVersion));
        router.Get("/info", r => r.JsonAsync(engine.System.Info(), ApiJson.Wire.SystemInfo));
    }

    /// <summary>What every client asks first: the API version in its headers decides what it speaks from then on.</summary>
    public static async Task Ping(ApiRequest request)
    {
        var response = request.Http.Response;
        response.Headers["Builder-Version"] = "2";
        response.Headers.CacheControl = "no-cache, no-store, must-revalidate";
        response.Headers.Pragma = "no-cache";
        response.Headers["Swarm"] = "inactive";
        response.ContentType = "text/plain; charset=utf-8";
        if (request.Http.Request.Method == "HEAD")
        {
            response.ContentLength = 0;
            return;
        }
        response.ContentLength = 2;
        await response.Body.WriteAsync("OK"u8.ToArray());
    }
}
