using Berth.Api;
using Berth.Daemon.Http;
using Berth.Daemon.Routes;
using Berth.Engine;

namespace Berth.Fast.Tests.Daemon;

/// <summary>Versions, errors, bodies and streams as they look on the wire; texts and statuses are those of Docker Engine 28.5.</summary>
public class ServerTests
{
    private static async Task<(string Head, string Body)> Ask(TestServer server, string request)
    {
        using var client = server.Connect();
        await client.SendAsync(request.Contains("\n\n", StringComparison.Ordinal) ? request : request + "\nHost: d\nConnection: close\n\n");
        var all = await client.ReceiveToEndAsync();
        var end = all.IndexOf("\r\n\r\n", StringComparison.Ordinal);
        return (all[..end], all[(end + 4)..]);
    }

    private static Task<TestServer> Server() => TestServer.StartAsync(router =>
    {
        router.Get("/_ping", SystemRoutes.Ping);
        router.Head("/_ping", SystemRoutes.Ping);
        router.Get("/info", r => r.JsonAsync(new IdResponse { Id = r.Version.ToString() }, ApiJson.Wire.IdResponse));
        router.Get("/images/{name}/json", r => r.JsonAsync(new IdResponse { Id = r.Name }, ApiJson.Wire.IdResponse));
        router.Post("/containers/create", async r =>
        {
            var body = await r.ReadJsonAsync(ApiJson.Wire.ContainerCreateRequest);
            await r.JsonAsync(new IdResponse { Id = body.Image }, ApiJson.Wire.IdResponse, 201);
        });
        router.Post("/size", r =>
        {
            r.Query.Size("h", "height");
            return Task.CompletedTask;
        });
        foreach (var kind in Enum.GetValues<ErrorKind>())
            router.Get($"/error/{kind}", _ => throw new EngineException(kind, "why <it> failed"));
        router.Get("/fault", _ => throw new InvalidOperationException("our fault"));
    });

    [Fact]
    public async Task Ping_tells_what_clients_negotiate_with()
    {
        await using var server = await Server();
        var (head, body) = await Ask(server, "GET /_ping HTTP/1.1");
        Assert.StartsWith("HTTP/1.1 200 OK\r\n", head);
        foreach (var header in (string[])["Api-Version: 1.51", "Builder-Version: 2", "Cache-Control: no-cache, no-store, must-revalidate", "Docker-Experimental: false",
            "Ostype: linux", "Pragma: no-cache", "Server: Docker/28.5.2+test (linux)", "Swarm: inactive", "Content-Length: 2", "Content-Type: text/plain; charset=utf-8"])
            Assert.Contains(header, head.Split("\r\n"));
        Assert.Equal("OK", body);

        (head, body) = await Ask(server, "HEAD /v1.24/_ping HTTP/1.1");
        Assert.Contains("Content-Length: 0", head.Split("\r\n"));
        Assert.Equal("", body);
    }

    [Theory]
    [InlineData("/info", 200, "{\"Id\":\"1.51\"}\n")]
    [InlineData("/v1.24/info", 200, "{\"Id\":\"1.24\"}\n")]
    [InlineData("/v1.51/info", 200, "{\"Id\":\"1.51\"}\n")]
    [InlineData("/v1.52/info", 400, "{\"message\":\"client version 1.52 is too new. Maximum supported API version is 1.51\"}\n")]
    [InlineData("/v1.10/info", 400, "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version\n")]
    [InlineData("/v1/info", 400, "client version 1 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version\n")]
    [InlineData("/vx.1/info", 404, "{\"message\":\"page not found\"}\n")]
    [InlineData("/nope", 404, "{\"message\":\"page not found\"}\n")]
    [InlineData("/v1.44", 404, "{\"message\":\"page not found\"}\n")]
    public async Task The_version_in_the_path_is_checked(string path, int status, string body)
    {
        await using var server = await Server();
        var answer = await Ask(server, $"GET {path} HTTP/1.1");
        Assert.StartsWith($"HTTP/1.1 {status} ", answer.Head);
        Assert.Equal(body, answer.Body);
        Assert.Contains(status == 400 && body[0] != '{' ? "Content-Type: text/plain; charset=utf-8" : "Content-Type: application/json", answer.Head);
        Assert.Equal(status != 404, answer.Head.Contains("Api-Version: 1.51", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("/images/busybox/json", "busybox")]
    [InlineData("/v1.44/images/localhost:5000/a/b:1/json", "localhost:5000/a/b:1")]
    [InlineData("/images/a%2Fb:1/json", "a/b:1")]
    [InlineData("/images/a@sha256:00/json", "a@sha256:00")]
    public async Task Names_in_paths_may_hold_slashes(string path, string name)
    {
        await using var server = await Server();
        Assert.Equal($"{{\"Id\":\"{name}\"}}\n", (await Ask(server, $"GET {path} HTTP/1.1")).Body);
    }

    [Fact]
    public async Task Doubled_slashes_are_redirected()
    {
        await using var server = await Server();
        var (head, _) = await Ask(server, "GET //v1.44//info?a=b HTTP/1.1");
        Assert.StartsWith("HTTP/1.1 301 Moved Permanently\r\n", head);
        Assert.Contains("Location: /v1.44/info?a=b", head);
    }

    [Theory]
    [InlineData("", "", "invalid JSON: got EOF while reading request body")]
    [InlineData("Content-Type: application/json\n", "{", "invalid JSON: unexpected EOF")]
    [InlineData("Content-Type: application/json\n", "{\"Image\":\"a\"", "invalid JSON: unexpected EOF")]
    [InlineData("Content-Type: application/json\n", "{x}", "invalid JSON: invalid character 'x' at offset 1")]
    [InlineData("Content-Type: application/json\n", "{\"Image\":\"a\"} x", "unexpected content after JSON")]
    [InlineData("Content-Type: application/x-tar\n", "{}", "unsupported Content-Type header (application/x-tar): must be 'application/json'")]
    [InlineData("", "{}", "malformed Content-Type header (): mime: no media type")]
    public async Task Bodies_that_are_no_JSON_are_refused_in_Dockers_words(string header, string body, string message)
    {
        await using var server = await Server();
        var answer = await Ask(server, $"POST /containers/create HTTP/1.1\nHost: d\nConnection: close\n{header}Content-Length: {body.Length}\n\n{body}");
        Assert.StartsWith("HTTP/1.1 400 Bad Request\r\n", answer.Head);
        Assert.Equal($"{{\"message\":\"{message}\"}}\n", answer.Body);
    }

    [Fact]
    public async Task A_value_of_the_wrong_type_is_named()
    {
        await using var server = await Server();
        var answer = await Ask(server, "POST /containers/create HTTP/1.1\nHost: d\nConnection: close\nContent-Type: application/json; charset=utf-8\nContent-Length: 11\n\n{\"Image\":5}");
        Assert.StartsWith("HTTP/1.1 400 Bad Request\r\n", answer.Head);
        Assert.StartsWith("{\"message\":\"invalid JSON: json: cannot unmarshal .Image:", answer.Body);
    }

    [Fact]
    public async Task Chunked_bodies_and_names_in_any_case_are_read()
    {
        await using var server = await Server();
        var answer = await Ask(server, "POST /containers/create HTTP/1.1\nHost: d\nConnection: close\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n7\n{\"image\n4\n\":\"a\n2\n\"}\n0\n\n");
        Assert.StartsWith("HTTP/1.1 201 Created\r\n", answer.Head);
        Assert.Equal("{\"Id\":\"a\"}\n", answer.Body);
    }

    [Fact]
    public async Task A_JSON_body_has_a_limit()
    {
        await using var server = await Server();
        using var client = server.Connect();
        await client.SendAsync($"POST /containers/create HTTP/1.1\nHost: d\nContent-Type: application/json\nContent-Length: {Limits.JsonBodyBytes + 1}\n\n");
        client.HalfClose();
        var answer = await client.ReceiveToEndAsync();
        Assert.StartsWith("HTTP/1.1 413 ", answer);
        Assert.EndsWith("{\"message\":\"request body is too large: JSON of more than 16 MiB is not read\"}\n", answer);
    }

    [Theory]
    [InlineData(ErrorKind.InvalidParameter, 400)]
    [InlineData(ErrorKind.Unauthorized, 401)]
    [InlineData(ErrorKind.Forbidden, 403)]
    [InlineData(ErrorKind.NotFound, 404)]
    [InlineData(ErrorKind.Conflict, 409)]
    [InlineData(ErrorKind.System, 500)]
    [InlineData(ErrorKind.NotImplemented, 501)]
    [InlineData(ErrorKind.Unavailable, 503)]
    public async Task Each_kind_of_error_has_its_status(ErrorKind kind, int status)
    {
        await using var server = await Server();
        var (head, body) = await Ask(server, $"GET /error/{kind} HTTP/1.1");
        Assert.StartsWith($"HTTP/1.1 {status} ", head);
        Assert.Equal("{\"message\":\"why <it> failed\"}\n", body);
    }

    [Fact]
    public async Task Not_modified_has_no_body()
    {
        await using var server = await Server();
        var (head, body) = await Ask(server, "GET /error/NotModified HTTP/1.1");
        Assert.StartsWith("HTTP/1.1 304 Not Modified\r\n", head);
        Assert.Equal("", body);
    }

    [Fact]
    public async Task A_fault_of_ours_is_a_500_that_says_something()
    {
        await using var server = await Server();
        var (head, body) = await Ask(server, "GET /fault HTTP/1.1");
        Assert.StartsWith("HTTP/1.1 500 ", head);
        Assert.Equal("{\"message\":\"our fault\"}\n", body);
    }

    [Theory]
    [InlineData("", "invalid resize height \\\"\\\": invalid syntax")]
    [InlineData("?h=abc", "invalid resize height \\\"abc\\\": invalid syntax")]
    [InlineData("?h=-1", "invalid resize height \\\"-1\\\": value out of range")]
    [InlineData("?h=99999999999", "invalid resize height \\\"99999999999\\\": value out of range")]
    public async Task Sizes_are_checked_in_Dockers_words(string query, string message)
    {
        await using var server = await Server();
        Assert.Equal($"{{\"message\":\"{message}\"}}\n", (await Ask(server, $"POST /size{query} HTTP/1.1")).Body);
    }

    [Fact]
    public async Task A_client_that_half_closes_after_its_request_still_gets_its_answer()
    {
        await using var server = await Server();
        using var client = server.Connect();
        await client.SendAsync("GET /info HTTP/1.0\nHost: d\n\n");
        client.HalfClose(); // printf 'GET …' | nc -N -U berth.sock
        Assert.EndsWith("{\"Id\":\"1.51\"}\n", await client.ReceiveToEndAsync());
    }

    [Fact]
    public async Task Headers_and_lines_of_a_stream_are_sent_at_once()
    {
        var go = new TaskCompletionSource();
        await using var server = await TestServer.StartAsync(router => router.Post("/wait", async r =>
        {
            await r.StartAsync("application/json");
            await go.Task;
            await using var lines = r.Lines(ApiJson.Wire.IdResponse, "\n", r.Gone());
            lines.Add(new IdResponse { Id = "1" });
        }));
        using var client = server.Connect();
        await client.SendAsync("POST /wait HTTP/1.1\nHost: d\n\n");
        Assert.StartsWith("HTTP/1.1 200 OK", await client.ReceiveHeadAsync());
        go.SetResult();
        Assert.Equal("b\r\n{\"Id\":\"1\"}\n\r\n0\r\n\r\n", await client.ReceiveUntilAsync("0\r\n\r\n"));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_stream_ends_when_its_client_hangs_up(bool halfClose)
    {
        var gone = new TaskCompletionSource();
        await using var server = await TestServer.StartAsync(router => router.Get("/events", async r =>
        {
            var token = r.Gone();
            await r.StartAsync("application/json");
            await using var _ = token.Register(gone.SetResult);
            await gone.Task;
        }));
        var client = server.Connect();
        await client.SendAsync("GET /events HTTP/1.1\nHost: d\n\n");
        await client.ReceiveHeadAsync();
        if (halfClose)
            client.HalfClose();
        else
            client.Dispose();
        await gone.Task.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        client.Dispose();
    }

    [Fact]
    public async Task An_idle_connection_is_kept()
    {
        // Found by the docker client's "connection reset by peer": Kestrel's infinite keep-alive ended at its next heartbeat, within a second.
        await using var server = await Server();
        using var client = server.Connect();
        await client.SendAsync("GET /info HTTP/1.1\nHost: d\n\n");
        await client.ReceiveUntilAsync("{\"Id\":\"1.51\"}");
        await Task.Delay(TimeSpan.FromSeconds(2.2)); // two heartbeats: nothing tells of them
        await client.SendAsync("GET /info HTTP/1.1\nHost: d\n\n");
        await client.ReceiveUntilAsync("{\"Id\":\"1.51\"}");
    }

    [Fact]
    public async Task A_request_pipelined_behind_a_stream_is_no_hang_up()
    {
        var go = new TaskCompletionSource();
        CancellationToken token = default;
        await using var server = await TestServer.StartAsync(router =>
        {
            router.Get("/first", async r =>
            {
                token = r.Gone();
                await r.StartAsync("text/plain");
                await go.Task;
                Assert.False(token.IsCancellationRequested);
            });
            router.Get("/second", r => r.JsonAsync(new IdResponse { Id = "second" }, ApiJson.Wire.IdResponse));
        });
        using var client = server.Connect();
        await client.SendAsync("GET /first HTTP/1.1\nHost: d\n\n");
        await client.ReceiveHeadAsync();
        await client.SendAsync("GET /second HTTP/1.1\nHost: d\n\n");
        go.SetResult();
        await client.ReceiveUntilAsync("{\"Id\":\"second\"}");
    }

    [Fact]
    public async Task Streams_end_with_the_daemon()
    {
        await using var server = await TestServer.StartAsync(router => router.Get("/events", async r =>
        {
            var token = r.Gone();
            await r.StartAsync("application/json");
            await Task.Delay(Timeout.Infinite, token);
        }));
        using var client = server.Connect();
        await client.SendAsync("GET /events HTTP/1.1\nHost: d\n\n");
        await client.ReceiveHeadAsync();
        server.Stop();
        await client.ReceiveToEndAsync();
    }
}
