using Berth.Api;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Fast.Tests.Daemon;

/// <summary>Bodies that are read past Kestrel: what was read, what was not, and that the connection goes on with the next request.</summary>
public class UploadTests
{
    private const string Chunked = "PUT /upload/{0} HTTP/1.1\nHost: d\nTransfer-Encoding: chunked\n\n";

    // The name says how much is read: "all", or a number of bytes; "fail" after it makes an error of it. The answer is what was read.
    private static Task<TestServer> Server() => TestServer.StartAsync(router =>
    {
        router.Put("/upload/{name}", async r =>
        {
            var (body, blocks) = r.OpenBody();
            var text = new MemoryStream();
            using (body)
            {
                var most = r.Name.StartsWith("all", StringComparison.Ordinal) ? int.MaxValue : int.Parse(r.Name.Split('-')[0]);
                var buffer = new byte[7];
                await Task.Run(async () =>
                {
                    while (most > 0)
                    {
                        var part = buffer.AsMemory(0, Math.Min(most, buffer.Length));
                        var read = blocks ? body.Read(part.Span) : await body.ReadAsync(part);
                        if (read == 0) break;
                        text.Write(buffer, 0, read);
                        most -= read;
                    }
                });
            }
            if (r.Name.EndsWith("-fail", StringComparison.Ordinal)) throw EngineException.Invalid("no such upload");
            await r.JsonAsync(new IdResponse { Id = $"{blocks} {System.Text.Encoding.Latin1.GetString(text.ToArray())}" }, ApiJson.Wire.IdResponse);
        });
        router.Get("/info", r => r.JsonAsync(new IdResponse { Id = "info" }, ApiJson.Wire.IdResponse));
    });

    [Theory]
    [InlineData("all", "hello, world")]
    [InlineData("0", "")]
    [InlineData("3", "hel")] // within a chunk
    [InlineData("5", "hello")] // a chunk, but not the line end behind it
    [InlineData("9", "hello, wo")]
    [InlineData("12", "hello, world")] // all but the end
    public async Task What_was_not_read_is_skipped_and_the_connection_goes_on(string how, string expected)
    {
        await using var server = await Server();
        using var client = server.Connect();
        for (var i = 0; i < 2; i++)
        {
            // With the next request right behind it.
            await client.SendAsync(string.Format(null, Chunked, how) + "5;extension=x\nhello\n7\n, world\n0\nTrailer: x\n\nGET /info HTTP/1.1\nHost: d\n\n");
            await AnswersAsync(client, "True " + expected);
            await AnswersAsync(client, "info");
        }
    }

    [Fact]
    public async Task A_body_may_come_byte_by_byte()
    {
        await using var server = await Server();
        using var client = server.Connect();
        foreach (var part in string.Format(null, Chunked, "all") + "5\nhello\n7\n, world\n0\n\n") await client.SendAsync(part.ToString());
        await AnswersAsync(client, "True hello, world");
    }

    [Fact]
    public async Task A_large_body_comes_whole()
    {
        await using var server = await Server();
        using var client = server.Connect();
        var chunk = new string('x', 40_000);
        await client.SendAsync(string.Format(null, Chunked, "all") + string.Concat(Enumerable.Repeat($"{chunk.Length:x}\n{chunk}\n", 20)) + "0\n\n");
        await AnswersAsync(client, "True " + string.Concat(Enumerable.Repeat(chunk, 20)));
    }

    [Fact]
    public async Task An_error_in_the_midst_of_a_body_is_answered()
    {
        await using var server = await Server();
        using var client = server.Connect();
        await client.SendAsync(string.Format(null, Chunked, "3-fail") + "5\nhello\n7\n, world\n0\n\n");
        Assert.StartsWith("HTTP/1.1 400 Bad Request\r\n", await client.ReceiveHeadAsync());
        Assert.Contains("no such upload", await client.ReceiveUntilAsync("}"));
    }

    [Theory]
    [InlineData("x\nhello\n0\n\n")]
    [InlineData("5\nhelloo\n0\n\n")]
    [InlineData("-5\nhello\n0\n\n")]
    public async Task What_are_no_chunks_is_an_error(string body)
    {
        await using var server = await Server();
        using var client = server.Connect();
        await client.SendAsync(string.Format(null, Chunked, "all") + body);
        Assert.Matches("^HTTP/1.1 [45]", await client.ReceiveHeadAsync());
        client.HalfClose();
        await client.ReceiveToEndAsync();
    }

    [Fact]
    public async Task A_client_that_goes_in_the_midst_of_a_body_ends_its_reading()
    {
        await using var server = await Server();
        using var client = server.Connect();
        await client.SendAsync(string.Format(null, Chunked, "all") + "5\nhel");
        client.HalfClose();
        await client.ReceiveToEndAsync();
    }

    [Theory]
    [InlineData("Content-Length: 5\n\nhello")]
    [InlineData("Transfer-Encoding: chunked\nExpect: 100-continue\n\n5\nhello\n0\n\n")]
    public async Task Other_bodies_are_Kestrels(string rest)
    {
        await using var server = await Server();
        using var client = server.Connect();
        var end = rest.IndexOf("\n\n", StringComparison.Ordinal) + 2;
        await client.SendAsync("PUT /upload/all HTTP/1.1\nHost: d\n" + rest[..end]);
        if (rest.Contains("Expect", StringComparison.Ordinal)) Assert.StartsWith("HTTP/1.1 100 Continue\r\n", await client.ReceiveHeadAsync());
        await client.SendAsync(rest[end..]);
        await AnswersAsync(client, "False hello");
    }

    private static async Task AnswersAsync(RawClient client, string id)
    {
        // The line end of the answer before comes first.
        Assert.StartsWith("HTTP/1.1 200 OK\r\n", (await client.ReceiveHeadAsync()).TrimStart('\n'));
        Assert.Equal($"{{\"Id\":\"{id}\"}}", await client.ReceiveUntilAsync("}"));
    }
}
