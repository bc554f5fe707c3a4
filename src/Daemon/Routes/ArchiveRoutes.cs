using System.IO.Compression;
using System.Text.Json;
using Berth.Api;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Routes;

/// <summary>The files of containers: /containers/{name}/archive, export, changes, and /commit.</summary>
internal static class ArchiveRoutes
{
    private const string PathStat = "X-Docker-Container-Path-Stat";

    public static void Map(Router router, BerthEngine engine)
    {
        var containers = engine.Containers;
        router.Head("/containers/{name}/archive", async r => SetStat(r, await containers.StatPathAsync(r.Name, PathOf(r), r.Stopping)));
        router.Get("/containers/{name}/archive", r => Read(r, containers));
        router.Get("/containers/{name}/export", r => Export(r, containers));
        router.Get("/containers/{name}/changes", r => Changes(r, containers));
        router.Post("/commit", r => Commit(r, containers));
        router.Put("/containers/{name}/archive", r => Extract(r, containers));
    }

    private static string PathOf(ApiRequest request) =>
        request.Query["path"] is { Length: > 0 } path ? path : throw EngineException.Invalid("bad parameter: pathcannot be empty");

    private static void SetStat(ApiRequest request, ContainerPathStat stat) =>
        request.Http.Response.Headers[PathStat] = Convert.ToBase64String(JsonSerializer.SerializeToUtf8Bytes(stat, ApiJson.Wire.ContainerPathStat));

    private static async Task Read(ApiRequest request, ContainerService containers)
    {
        var gone = request.Gone();
        using var archive = await containers.ReadArchiveAsync(request.Name, PathOf(request), gone);
        SetStat(request, archive.Stat);
        var response = request.Http.Response;
        response.ContentType = "application/x-tar";
        // curl --compressed and its like; the docker client does not ask.
        switch (Encoding(request.Http.Request.Headers.AcceptEncoding.ToString()))
        {
            case "gzip":
                response.Headers.ContentEncoding = "gzip";
                await using (var gzip = new GZipStream(response.Body, CompressionLevel.Fastest, leaveOpen: true)) await archive.CopyToAsync(gzip, gone);
                break;
            case "deflate":
                response.Headers.ContentEncoding = "deflate";
                await using (var deflate = new DeflateStream(response.Body, CompressionLevel.Fastest, leaveOpen: true)) await archive.CopyToAsync(deflate, gone);
                break;
            default:
                await archive.CopyToAsync(response.Body, gone);
                break;
        }
    }

    private static string Encoding(string accepted)
    {
        foreach (var wanted in (ReadOnlySpan<string>)["gzip", "deflate"])
        {
            foreach (var item in accepted.Split(','))
            {
                var parts = item.Split(';', StringSplitOptions.TrimEntries);
                if (parts[0].Trim() == wanted && (parts.Length == 1 || parts[1].Replace(" ", "") is not ("q=0" or "q=0.0"))) return wanted;
            }
        }
        return "";
    }

    private static async Task Extract(ApiRequest request, ContainerService containers)
    {
        var (body, blocks) = request.OpenBody();
        using (body)
            await containers.ExtractArchiveAsync(request.Name, PathOf(request), request.Query.Bool("copyUIDGID"), request.Query.Bool("noOverwriteDirNonDir"), body, blocks, request.Stopping);
    }

    private static async Task Export(ApiRequest request, ContainerService containers)
    {
        var gone = request.Gone();
        using var export = await containers.ExportAsync(request.Name, gone);
        request.Http.Response.ContentType = "application/octet-stream";
        await export.CopyToAsync(request.Http.Response.Body, gone);
    }

    private static async Task Changes(ApiRequest request, ContainerService containers)
    {
        if (containers.Changes(request.Name) is { } changes)
        {
            await request.JsonAsync(changes, ApiJson.Wire.ListFilesystemChange);
            return;
        }
        request.Http.Response.ContentType = "application/json";
        await request.Http.Response.Body.WriteAsync("null\n"u8.ToArray());
    }

    private static async Task Commit(ApiRequest request, ContainerService containers)
    {
        var query = request.Query;
        var config = await request.ReadOptionalJsonAsync(ApiJson.Wire.ContainerConfig);
        var id = await containers.CommitAsync(query["container"], new ContainerCommit
        {
            Repository = query["repo"], Tag = query["tag"], Author = query["author"], Message = query["comment"], Pause = query["pause"].Length == 0 || query.Bool("pause"),
            Changes = query.All("changes"), Config = config,
        }, request.Stopping);
        await request.JsonAsync(new IdResponse { Id = id }, ApiJson.Wire.IdResponse, 201);
    }
}
