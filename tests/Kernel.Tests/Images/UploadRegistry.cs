using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using Berth.Testing;

namespace Berth.Kernel.Tests.Images;

/// <summary>A registry in memory that takes uploads as the distribution-spec says, resumption included (which Debian's docker-registry cannot), and can be told to fail.</summary>
internal sealed class UploadRegistry : IDisposable
{
    private readonly HttpListener listener = new();
    private readonly Task serving;
    private readonly ConcurrentDictionary<string, MemoryStream> uploads = new();
    private readonly ConcurrentQueue<string> requests = new();
    private int number;

    public UploadRegistry()
    {
        Host = $"127.0.0.1:{Testing.Host.FreePort()}";
        listener.Prefixes.Add($"http://{Host}/");
        listener.Start();
        serving = ServeAsync();
    }

    public string Host { get; }

    /// <summary>By digest; whatever repository they were sent to.</summary>
    public ConcurrentDictionary<string, byte[]> Blobs { get; } = new();

    /// <summary>By "repository:tag".</summary>
    public ConcurrentDictionary<string, (byte[] Bytes, string Type)> Manifests { get; } = new();

    /// <summary>Asked before anything else; true when it has answered.</summary>
    public Func<HttpListenerContext, bool>? Instead { get; set; }

    /// <summary>The connection breaks after this much of the first PATCH; what came is kept.</summary>
    public int? CutFirstPatchAfter { get; set; }

    /// <summary>Methods and paths, without what is random in them.</summary>
    public IReadOnlyList<string> Requests => [.. requests];

    public int UnfinishedUploads => uploads.Count;

    public static bool Fail(HttpListenerContext context, int status, string code, string message, params (string Name, string Value)[] headers)
    {
        context.Request.InputStream.CopyTo(Stream.Null);
        foreach (var (name, value) in headers) context.Response.Headers[name] = value;
        return Answer(context, status, Encoding.UTF8.GetBytes($$"""{"errors":[{"code":"{{code}}","message":"{{message}}"}]}"""));
    }

    private static bool Answer(HttpListenerContext context, int status, byte[]? body = null)
    {
        context.Response.StatusCode = status;
        if (body is not null && context.Request.HttpMethod != "HEAD") context.Response.Close(body, willBlock: true);
        else context.Response.Close();
        return true;
    }

    private async Task ServeAsync()
    {
        while (true)
        {
            HttpListenerContext context;
            try
            {
                context = await listener.GetContextAsync();
            }
            catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
            {
                return;
            }
            _ = Task.Run(() =>
            {
                try
                {
                    Handle(context);
                }
                catch (Exception e) when (e is IOException or HttpListenerException or ObjectDisposedException)
                {
                    // the client had enough
                }
            });
        }
    }

    private void Handle(HttpListenerContext context)
    {
        var (request, response) = (context.Request, context.Response);
        var path = request.Url!.AbsolutePath;
        var parts = path.Split("/blobs/uploads/");
        requests.Enqueue($"{request.HttpMethod} {(parts.Length == 2 && parts[1].Length > 0 ? parts[0] + "/blobs/uploads/…" : path)}");
        if (Instead?.Invoke(context) == true) return;
        if (path == "/v2/")
        {
            Answer(context, 200, "{}"u8.ToArray());
            return;
        }
        if (parts.Length == 2)
        {
            Upload(context, parts[0], parts[1]);
            return;
        }
        if (path.Split("/blobs/") is [_, var digest])
        {
            var there = Blobs.TryGetValue(digest, out var blob);
            if (there && request.HttpMethod == "HEAD") response.ContentLength64 = blob!.Length;
            Answer(context, there ? 200 : 404, there ? blob : null);
            return;
        }
        if (path.Split("/manifests/") is [var repository, var tag] && request.HttpMethod == "PUT")
        {
            var manifest = new MemoryStream();
            request.InputStream.CopyTo(manifest);
            Manifests[$"{repository["/v2/".Length..]}:{tag}"] = (manifest.ToArray(), request.ContentType!);
            Answer(context, 201);
            return;
        }
        Fail(context, 404, "MANIFEST_UNKNOWN", "manifest unknown");
    }

    private void Upload(HttpListenerContext context, string repository, string id)
    {
        var (request, response) = (context.Request, context.Response);
        if (request.HttpMethod == "POST")
        {
            id = $"u{Interlocked.Increment(ref number)}";
            uploads[id] = new MemoryStream();
            response.Headers["Location"] = $"{repository}/blobs/uploads/{id}?state=a%2Fb";
            Answer(context, 202);
            return;
        }
        if (!uploads.TryGetValue(id, out var upload))
        {
            Fail(context, 404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
            return;
        }
        switch (request.HttpMethod)
        {
            case "DELETE":
                uploads.TryRemove(id, out _);
                Answer(context, 204);
                return;
            case "PATCH" when CutFirstPatchAfter is { } limit:
                CutFirstPatchAfter = null;
                var some = new byte[limit];
                request.InputStream.ReadExactly(some);
                upload.Write(some);
                response.Abort();
                return;
            case "PATCH":
                request.InputStream.CopyTo(upload);
                break;
            case "PUT":
                request.InputStream.CopyTo(upload);
                var said = request.QueryString["digest"];
                var digest = "sha256:" + Convert.ToHexStringLower(SHA256.HashData(upload.ToArray()));
                uploads.TryRemove(id, out _);
                if (said != digest)
                {
                    Fail(context, 400, "DIGEST_INVALID", "provided digest did not match uploaded content");
                    return;
                }
                Blobs[digest] = upload.ToArray();
                Answer(context, 201);
                return;
        }
        response.Headers["Location"] = $"{repository}/blobs/uploads/{id}?state=a%2Fb";
        response.Headers["Range"] = $"0-{Math.Max(0, upload.Length - 1)}";
        Answer(context, request.HttpMethod == "GET" ? 204 : 202);
    }

    public void Dispose()
    {
        listener.Close();
        serving.Wait();
    }
}
