using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Berth.Api;
using Berth.Daemon.Host;
using Berth.Engine;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Berth.Daemon.Http;

/// <summary>
/// From Kestrel's request to a route and back: the version in the path, the headers every answer has, errors as Docker words them,
/// and a debug line per request. There is no ASP.NET host, pipeline or container in between (docs/decisions/0801).
/// </summary>
internal sealed class ApiServer : IHttpApplication<HttpContext>
{
    private readonly Router _router;
    private readonly ILogger _log;
    private readonly ActionTimes? _times;
    private readonly IdleTrim? _idle;

    /// <param name="engineVersion">As `docker version` shows it.</param>
    /// <param name="stopping">Fires when the daemon ends: streams end then.</param>
    /// <param name="times">Where the time of requests is counted; null: nowhere.</param>
    /// <param name="idle">Is told of the end of each request.</param>
    public ApiServer(Router router, string engineVersion, ILogger log, CancellationToken stopping, ActionTimes? times = null, IdleTrim? idle = null)
    {
        _idle = idle;
        _times = times;
        _router = router;
        _log = log;
        Stopping = stopping;
        Headers =
        [
            new("Api-Version", ApiVersion.Max.ToString()),
            new("Docker-Experimental", "false"),
            new("Ostype", "linux"),
            new("Server", $"Docker/{engineVersion} (linux)"),
        ];
    }

    public CancellationToken Stopping { get; }

    /// <summary>On every answer of a route; an unknown path has none of them.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Headers { get; }

    public HttpContext CreateContext(IFeatureCollection contextFeatures) => new DefaultHttpContext(contextFeatures);

    public void DisposeContext(HttpContext context, Exception? exception) => _idle?.Touch();

    public async Task ProcessRequestAsync(HttpContext http)
    {

        // Kestrel decodes the path but leaves %2F: some clients write an image's slashes so.
        var path = (http.Request.Path.Value ?? "").Replace("%2F", "/", StringComparison.OrdinalIgnoreCase);
        if (path.Contains("//", StringComparison.Ordinal))
        {
            while (path.Contains("//", StringComparison.Ordinal))
                path = path.Replace("//", "/", StringComparison.Ordinal);
            http.Response.StatusCode = 301;
            // Decoded by Kestrel, and a header takes ASCII only.
            http.Response.Headers.Location = new PathString(path).ToUriComponent() + http.Request.QueryString;
            return;
        }

        var (version, versionText, rest) = Split(path);
        if (http.Request.Method == "OPTIONS")
        {
            Common(http);
            return;
        }
        if (!_router.TryFind(http.Request.Method, rest, out var route, out var name))
        {
            await ErrorAsync(http, 404, "page not found");
            return;
        }
        _log.Request(http.Request.Method, path, http.Request.QueryString.Value ?? "");

        Common(http);
        if (version < ApiVersion.Min || version > ApiVersion.Max)
        {
            http.Response.Headers.Remove("Docker-Experimental");
            await WrongVersionAsync(http, version, versionText);
            return;
        }

        var request = new ApiRequest(http, this, version, name);
        var began = Stopwatch.GetTimestamp();
        try
        {
            await route.Handler(request);
            _times?.Add(route, Stopwatch.GetElapsedTime(began));
        }
        catch (Exception e)
        {
            await FailedAsync(request, route, e);
        }
        finally
        {
            await request.DisposeAsync();
            // What follows on a taken-over connection is not HTTP: Kestrel must not answer there nor wait for a next request.
            if (request.Hijacked)
                http.Abort();
        }
    }

    private static (ApiVersion Version, string Text, string Tail) Split(string path)
    {
        if (path.Length > 2 && path[1] == 'v')
        {
            var end = path.IndexOf('/', 1);
            if (end > 0 && ApiVersion.TryParse(path.AsSpan(2, end - 2), out var version))
                return (version, path[2..end], path[end..]);
        }
        return (ApiVersion.Max, "", path);
    }

    private void Common(HttpContext http)
    {
        foreach (var (key, value) in Headers)
            http.Response.Headers[key] = value;
    }

    private static async Task WrongVersionAsync(HttpContext http, ApiVersion version, string text)
    {
        if (version > ApiVersion.Max)
        {
            await ErrorAsync(http, 400, $"client version {text} is too new. Maximum supported API version is {ApiVersion.Max}");
            return;
        }
        // Clients that old print the body as it is; so it is text.
        var body = Encoding.UTF8.GetBytes($"client version {text} is too old. Minimum supported API version is {ApiVersion.Min}, please upgrade your client to a newer version\n");
        http.Response.StatusCode = 400;
        http.Response.ContentType = "text/plain; charset=utf-8";
        http.Response.Headers.XContentTypeOptions = "nosniff";
        http.Response.ContentLength = body.Length;
        await http.Response.Body.WriteAsync(body);
    }

    private async Task FailedAsync(ApiRequest request, Route route, Exception error)
    {
        var http = request.Http;
        if (error is OperationCanceledException || http.RequestAborted.IsCancellationRequested)
        {
            _log.RequestCancelled(route.Method, http.Request.Path.Value ?? "");
            if (request.Hijacked || http.Response.HasStarted)
                http.Abort();
            else
                await ErrorAsync(http, 500, "context canceled");
            return;
        }
        var (status, message) = Errors.Describe(error);
        if (error is EngineException or BadHttpRequestException or FormatException)
        {
            if (status >= 500)
                _log.RequestError(route.Method, route.Template, message, status);
        }
        else
        {
            _log.RequestFault(error, route.Method, route.Template);
        }
        if (request.Hijacked)
            return;
        if (http.Response.HasStarted)
        {
            // Too late for a status: a body cut short is the only sign left.
            http.Abort();
            return;
        }
        await ErrorAsync(http, status, message);
    }

    private static async Task ErrorAsync(HttpContext http, int status, string message)
    {
        http.Response.StatusCode = status;
        if (status == 304)
            return;
        var body = new MemoryStream();
        JsonSerializer.Serialize(body, new ErrorResponse { Message = message }, ApiJson.Wire.ErrorResponse);
        body.WriteByte((byte)'\n');
        http.Response.ContentType = "application/json";
        http.Response.ContentLength = body.Length;
        if (http.Request.Method == "HEAD")
            return;
        await http.Response.Body.WriteAsync(body.GetBuffer().AsMemory(0, (int)body.Length));
    }
}
