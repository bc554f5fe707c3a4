using System.Text;
using Berth.Api;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Fast.Tests.Daemon;

/// <summary>Attach and exec at the level of bytes: what leaves and arrives on the socket, against the real web server and stub handlers.</summary>
public class HijackTests
{
    /// <summary>Echoes its input, then has more to say when the input has ended: `echo hi | docker run -i … sh -c 'cat; echo bye'`.</summary>
    private static async Task EchoThenBye(ApiRequest request, bool withHeaders)
    {
        await using var client = await request.HijackAsync(multiplexed: true, withHeaders);
        var buffer = new byte[4096];
        int read;
        while ((read = await client.ReadAsync(buffer)) > 0)
            await client.WriteAsync(buffer.AsMemory(0, read));
        await client.WriteAsync("bye"u8.ToArray());
    }

    private static Task<TestServer> Server() => TestServer.StartAsync(router =>
    {
        router.Post("/containers/{name}/attach", r => EchoThenBye(r, withHeaders: false));
        router.Post("/exec/{name}/start", async r =>
        {
            Assert.False((await r.ReadJsonAsync(ApiJson.Wire.ExecStartRequest)).Detach);
            await EchoThenBye(r, withHeaders: true);
        });
        router.Get("/info", r => r.JsonAsync(new IdResponse { Id = "info" }, ApiJson.Wire.IdResponse));
        router.Post("/fails/{name}/attach", r => r.HijackErrorAsync(EngineException.NoSuchContainer(r.Name)));
    });

    [Fact]
    public async Task Output_written_after_the_client_has_half_closed_still_arrives()
    {
        await using var server = await Server();
        using var client = server.Connect();
        await client.SendAsync("POST /v1.51/containers/x/attach HTTP/1.1\nHost: d\nConnection: Upgrade\nUpgrade: tcp\nContent-Type: text/plain\nContent-Length: 0\n\n");
        Assert.Equal("HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", await client.ReceiveHeadAsync());
        await client.SendAsync("hello");
        client.HalfClose();
        Assert.Equal("hellobye", await client.ReceiveToEndAsync());
    }

    [Fact]
    public async Task An_upgrade_whose_request_has_a_body_is_upgraded_all_the_same()
    {
        await using var server = await Server();
        using var client = server.Connect();
        await client.SendAsync("POST /v1.51/exec/x/start HTTP/1.1\nHost: d\nConnection: Upgrade\nUpgrade: tcp\nContent-Type: application/json\nContent-Length: 16\n\n{\"Detach\":false}");
        Assert.Equal("HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n" +
            "Api-Version: 1.51\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: Docker/28.5.2+test (linux)\r\n\r\n", await client.ReceiveHeadAsync());
        await client.SendAsync("hello");
        client.HalfClose();
        Assert.Equal("hellobye", await client.ReceiveToEndAsync());
    }

    [Theory]
    [InlineData("Content-Length: 16\n\n{\"Detach\":false}")]
    [InlineData("Transfer-Encoding: chunked\n\n10\n{\"Detach\":false}\n0\n\n")]
    public async Task Input_sent_together_with_the_request_is_not_lost(string body)
    {
        await using var server = await Server();
        using var client = server.Connect();
        await client.SendAsync("POST /v1.51/exec/x/start HTTP/1.1\nHost: d\nConnection: Upgrade\nUpgrade: tcp\nContent-Type: application/json\n" + body + "early");
        client.HalfClose();
        await client.ReceiveHeadAsync();
        Assert.Equal("earlybye", await client.ReceiveToEndAsync());
    }

    [Fact]
    public async Task Without_an_upgrade_header_the_answer_is_200_and_a_raw_stream()
    {
        await using var server = await Server();
        using var client = server.Connect();
        await client.SendAsync("POST /v1.51/containers/x/attach HTTP/1.1\nHost: d\n\n");
        Assert.Equal("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n", await client.ReceiveHeadAsync());
        client.HalfClose();
        Assert.Equal("bye", await client.ReceiveToEndAsync());
    }

    [Fact]
    public async Task Before_1_42_every_stream_is_called_raw()
    {
        await using var server = await Server();
        using var client = server.Connect();
        await client.SendAsync("POST /v1.41/containers/x/attach HTTP/1.1\nHost: d\nConnection: Upgrade\nUpgrade: tcp\n\n");
        Assert.Contains("\r\nContent-Type: application/vnd.docker.raw-stream\r\n", await client.ReceiveHeadAsync());
    }

    [Fact]
    public async Task A_connection_that_served_requests_before_can_be_taken_over()
    {
        await using var server = await Server();
        using var client = server.Connect();
        await client.SendAsync("GET /info HTTP/1.1\nHost: d\n\n");
        await client.ReceiveUntilAsync("{\"Id\":\"info\"}");
        await client.SendAsync("POST /v1.51/containers/x/attach HTTP/1.1\nHost: d\nConnection: Upgrade\nUpgrade: tcp\n\nx");
        client.HalfClose();
        await client.ReceiveHeadAsync();
        Assert.Equal("xbye", await client.ReceiveToEndAsync());
    }

    [Fact]
    public async Task An_error_before_the_takeover_is_text_and_ends_the_connection()
    {
        await using var server = await Server();
        using var client = server.Connect();
        await client.SendAsync("POST /v1.51/fails/nope/attach HTTP/1.1\nHost: d\nConnection: Upgrade\nUpgrade: tcp\n\n");
        client.HalfClose();
        Assert.Equal("HTTP/1.1 404 Not Found\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\nNo such container: nope\r\n", await client.ReceiveToEndAsync());
    }

    [Fact]
    public async Task The_end_of_output_reaches_a_client_that_is_still_sending()
    {
        await using var server = await TestServer.StartAsync(router => router.Post("/x", async r =>
        {
            await using var client = await r.HijackAsync(multiplexed: false, withHeaders: false);
            await client.WriteAsync(Encoding.ASCII.GetBytes(new string('o', 100_000)));
        }));
        using var client = server.Connect();
        await client.SendAsync("POST /x HTTP/1.1\nHost: d\n\n");
        await client.ReceiveHeadAsync();
        // `yes | docker run -i … head`: unread input must not reset the connection under the output.
        await client.SendAsync(new string('i', 100_000));
        Assert.Equal(new string('o', 100_000), await client.ReceiveToEndAsync());
    }
}
