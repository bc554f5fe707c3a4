using Berth.Api;
using Berth.Builder;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Routes;

/// <summary>/_ping, /version, /info, /system/df, /debug/vars.</summary>
internal static class SystemRoutes
{
    public static void Map(Router router, BerthEngine engine, BuildService builder)
    {
        router.Get("/_ping", Ping);
        router.Head("/_ping", Ping);
        router.Get("/version", r => r.JsonAsync(engine.System.Version(ApiVersion.Max.ToString(), ApiVersion.Min.ToString()), ApiJson.Wire.SystemVersion));
        router.Get("/info", r => r.JsonAsync(engine.System.Info(), ApiJson.Wire.SystemInfo));
        router.Get("/system/df", r => DiskUsage(r, engine, builder));
        router.Get("/debug/vars", r => DebugVars(r, engine));
    }

    private static async Task DiskUsage(ApiRequest request, BerthEngine engine, BuildService builder)
    {
        // Kinds can be chosen since 1.42.
        var old = request.Version.Before(42);
        var answer = await engine.DiskUsage.MeasureAsync(old ? [] : request.Query.All("type"), request.Gone());
        if (answer.BuildCache is not null)
        {
            answer.BuildCache =
            [
                .. builder.Entries().Select(e => new BuildCacheRecord
                {
                    ID = e.Id, Type = e.Type, Description = e.Description, InUse = e.InUse, Shared = e.Shared, Size = e.SizeBytes, CreatedAt = e.Created, LastUsedAt = e.LastUsed, UsageCount = e.UsageCount,
                }),
            ];
        }
        if (old)
            answer.BuilderSize = answer.BuildCache?.Sum(r => r.Shared ? 0 : r.Size) ?? 0;
        if (request.Version.Before(44))
        {
            foreach (var image in answer.Images ?? [])
                image.VirtualSize = image.Size;
        }
        await request.JsonAsync(answer, ApiJson.Wire.DiskUsageResponse);
    }

    // Of Go's debugging pages the one that means something here. With gc=1, as its heap profile has it, what is told is alive.
    private static async Task DebugVars(ApiRequest request, BerthEngine engine)
    {
        var books = await engine.System.BooksAsync(request.Gone());
        if (request.Query.Bool("gc"))
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        var heap = GC.GetGCMemoryInfo();
        var live = GC.GetTotalMemory(forceFullCollection: false);
        await request.JsonAsync(new DebugVars
        {
            CommandLine = Environment.GetCommandLineArgs(), Berth = books,
            MemStats = new MemoryStatistics
            {
                Alloc = live, HeapAlloc = live, TotalAlloc = GC.GetTotalAllocatedBytes(), Sys = Environment.WorkingSet, HeapSys = heap.TotalCommittedBytes, NumGC = GC.CollectionCount(0),
            },
        }, ApiJson.Wire.DebugVars);
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
