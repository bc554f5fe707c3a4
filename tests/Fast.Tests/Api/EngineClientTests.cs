using System.Text;
using Berth.Api;

namespace Berth.Fast.Tests.Api;

public class EngineClientTests
{
    public static TheoryData<bool> BothWaysOfWaiting => [false, true];

    private static EngineClient Client(ScriptedServer server, bool blocking, string? version = null) => new(EngineHost.Parse(server.Host), version, blocking: blocking);

    // A blocking client blocks: the test's own thread must not be the one.
    private static Task<T> Run<T>(Func<Task<T>> act) => Task.Run(act).WaitAsync(TimeSpan.FromSeconds(20));

    [Theory]
    [MemberData(nameof(BothWaysOfWaiting))]
    public async Task A_connection_is_used_again_after_its_answer_was_read(bool blocking)
    {
        using var server = new ScriptedServer(async connection =>
        {
            while (await connection.ReadHeadAsync() is not null) await connection.AnswerAsync("""{"ApiVersion":"1.51"}""");
        });
        using var client = Client(server, blocking);
        for (var i = 0; i < 3; i++) Assert.Equal("1.51", (await Run(() => client.VersionAsync())).ApiVersion);
        Assert.Equal(1, server.Connections);
    }

    [Theory]
    [MemberData(nameof(BothWaysOfWaiting))]
    public async Task A_kept_connection_that_the_server_closed_is_not_used_again(bool blocking)
    {
        using var server = new ScriptedServer(async connection =>
        {
            await connection.ReadHeadAsync();
            await connection.AnswerAsync("{}");
        });
        using var client = Client(server, blocking);
        await Run(() => client.VersionAsync());
        // The close arrives on its own time; whether before or after is what must not matter for long.
        for (var i = 0; i < 200 && server.Connections < 2; i++)
        {
            try
            {
                await Run(() => client.VersionAsync());
            }
            catch (IOException)
            {
            }
        }
        Assert.True(server.Connections >= 2);
    }

    [Theory]
    [MemberData(nameof(BothWaysOfWaiting))]
    public async Task An_answer_in_chunks_is_put_together_and_the_connection_kept(bool blocking)
    {
        using var server = new ScriptedServer(async connection =>
        {
            while (await connection.ReadHeadAsync() is not null)
            {
                await connection.SendAsync("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                foreach (var piece in new[] { "{\"Api", "Version\":", "\"1.47\"}" }) await connection.SendAsync($"{piece.Length:x}\r\n{piece}\r\n");
                await connection.SendAsync("0\r\nTrailer: x\r\n\r\n");
            }
        });
        using var client = Client(server, blocking);
        Assert.Equal("1.47", (await Run(() => client.VersionAsync())).ApiVersion);
        Assert.Equal("1.47", (await Run(() => client.VersionAsync())).ApiVersion);
        Assert.Equal(1, server.Connections);
    }

    [Theory]
    [MemberData(nameof(BothWaysOfWaiting))]
    public async Task An_error_has_the_status_and_the_servers_words(bool blocking)
    {
        using var server = new ScriptedServer(async connection =>
        {
            await connection.ReadHeadAsync();
            await connection.AnswerAsync("""{"message":"No such container: x"}""", "404 Not Found");
        });
        using var client = Client(server, blocking);
        var error = await Assert.ThrowsAsync<EngineApiException>(() => Run(() => client.InspectContainerAsync("x")));
        Assert.Equal(404, error.Status);
        Assert.Equal("No such container: x", error.DaemonMessage);
        Assert.Equal("Error response from daemon: No such container: x", error.Message);
    }

    [Fact]
    public async Task An_older_engine_is_spoken_to_in_its_own_version_without_being_asked_first()
    {
        var paths = new List<string>();
        using var server = new ScriptedServer(async connection =>
        {
            while (await connection.ReadHeadAsync() is { } head)
            {
                var path = head.Split(' ')[1];
                lock (paths) paths.Add(path);
                if (path.StartsWith("/v1.47/", StringComparison.Ordinal)) await connection.AnswerAsync("[]");
                else await connection.AnswerAsync("""{"message":"client version 1.51 is too new. Maximum supported API version is 1.47"}""", "400 Bad Request", "Api-Version: 1.47\r\n");
            }
        });
        using var client = Client(server, blocking: false);
        Assert.Empty(await client.ListContainersAsync());
        Assert.Empty(await client.ListContainersAsync());
        Assert.Equal(["/v1.51/containers/json", "/v1.47/containers/json", "/v1.47/containers/json"], paths);
    }

    [Fact]
    public async Task A_version_that_was_asked_for_is_kept_to()
    {
        using var server = new ScriptedServer(async connection =>
        {
            await connection.ReadHeadAsync();
            await connection.AnswerAsync("""{"message":"client version 1.51 is too new. Maximum supported API version is 1.47"}""", "400 Bad Request", "Api-Version: 1.47\r\n");
        });
        using var client = Client(server, blocking: false, version: "1.51");
        Assert.Contains("too new", (await Assert.ThrowsAsync<EngineApiException>(() => client.ListContainersAsync())).Message);
    }

    [Theory]
    [MemberData(nameof(BothWaysOfWaiting))]
    public async Task After_the_switch_of_protocols_output_still_comes_when_input_has_ended(bool blocking)
    {
        using var server = new ScriptedServer(async connection =>
        {
            var head = await connection.ReadHeadAsync();
            Assert.Contains("Upgrade: tcp", head);
            Assert.Equal("""{"Detach":false,"Tty":true,"ConsoleSize":[24,80]}""", await connection.ReadBodyAsync(head!));
            // The first bytes of the stream come with the head.
            await connection.SendAsync("HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly ");
            var input = await new StreamReader(connection.Stream, leaveOpen: true).ReadToEndAsync();
            await connection.SendAsync("late:" + input);
        });
        using var client = Client(server, blocking);
        var output = await Run(async () =>
        {
            using var stream = await client.StartExecAsync("e", new ExecStartRequest { Tty = true, ConsoleSize = [24, 80] });
            Assert.True(stream.IsMultiplexed);
            await stream.WriteAsync("hi"u8.ToArray());
            stream.CloseWrite();
            return await new StreamReader(stream).ReadToEndAsync();
        });
        Assert.Equal("early late:hi", output);
    }

    [Theory]
    [MemberData(nameof(BothWaysOfWaiting))]
    public async Task A_body_of_unknown_length_goes_in_chunks(bool blocking)
    {
        var received = new TaskCompletionSource<string>();
        using var server = new ScriptedServer(async connection =>
        {
            var head = await connection.ReadHeadAsync();
            Assert.Contains("Transfer-Encoding: chunked", head);
            received.SetResult(Encoding.ASCII.GetString(await connection.ReadBytesAsync("00000003\r\nabc\r\n0\r\n\r\n".Length)));
            await connection.AnswerAsync("""{"stream":"Loaded image: x\n"}""");
        });
        using var client = Client(server, blocking);
        var messages = await Run(async () =>
        {
            using var response = await client.LoadImagesAsync(new NonSeekable("abc"u8.ToArray()));
            return await EngineClient.ReadMessagesAsync(response.Body).ToListAsync();
        });
        Assert.Equal("00000003\r\nabc\r\n0\r\n\r\n", await received.Task);
        Assert.Equal("Loaded image: x\n", Assert.Single(messages).Stream);
    }

    [Fact]
    public async Task An_engine_that_refuses_a_body_half_way_is_heard()
    {
        using var server = new ScriptedServer(async connection =>
        {
            await connection.ReadHeadAsync();
            await connection.AnswerAsync("""{"message":"no space left on device"}""", "500 Internal Server Error", "Connection: close\r\n");
        });
        using var client = Client(server, blocking: false);
        var error = await Assert.ThrowsAnyAsync<Exception>(() => client.LoadImagesAsync(new MemoryStream(new byte[8 << 20])));
        // A reset may overtake the answer; when it does not, the answer is what is reported.
        Assert.True(error is EngineApiException { DaemonMessage: "no space left on device" } or IOException, error.ToString());
    }

    [Fact]
    public async Task Messages_are_found_whatever_is_between_them_and_however_they_arrive()
    {
        var text = """{"status":"a {\"} b"}{"status":"c","progressDetail":{"current":1}}""" + "\r\n  \n" + """{"aux":{"x":{"y":1}}}""" + "\n";
        foreach (var piece in new[] { 1, 2, 7, 4096 })
        {
            var messages = await EngineClient.ReadMessagesAsync(new StdFrameTests.PieceStream(Encoding.UTF8.GetBytes(text), piece)).ToListAsync();
            Assert.Equal(["a {\"} b", "c", null], messages.Select(m => m.Status));
            Assert.Equal(1, messages[1].ProgressDetail!.Current);
        }
    }

    [Fact]
    public async Task A_stream_that_breaks_off_within_a_message_is_an_error() =>
        await Assert.ThrowsAsync<EndOfStreamException>(() => EngineClient.ReadMessagesAsync(new MemoryStream("""{"status":"a"}{"sta"""u8.ToArray())).ToListAsync().AsTask());

    [Fact]
    public async Task Nobody_listening_is_said_in_words_that_help()
    {
        using var client = new EngineClient(EngineHost.Parse("unix:///nowhere.sock"));
        var error = await Assert.ThrowsAsync<EngineConnectionException>(() => client.PingAsync());
        Assert.Equal("Cannot connect to the Docker daemon at unix:///nowhere.sock. Is the docker daemon running?", error.Message);
    }

    [Theory]
    [InlineData("unix:///run/x.sock", "/run/x.sock", "localhost", 0)]
    [InlineData("tcp://1.2.3.4:5", null, "1.2.3.4", 5)]
    [InlineData("tcp://host", null, "host", 2375)]
    [InlineData("tcp://[::1]:99/", null, "::1", 99)]
    [InlineData("http://:80", null, "127.0.0.1", 80)]
    public void Addresses_have_dockers_forms(string text, string? path, string host, int port)
    {
        var parsed = EngineHost.Parse(text);
        Assert.Equal((path, host, port), (parsed.SocketPath, parsed.Host, parsed.Port));
    }

    [Theory]
    [InlineData("host:2375")]
    [InlineData("ssh://")]
    [InlineData("unix://")]
    [InlineData("tcp://h:99999")]
    public void Other_addresses_are_refused(string text) => Assert.Throws<FormatException>(() => EngineHost.Parse(text));

    [Theory]
    [InlineData("1.24", "1.51", -1)]
    [InlineData("1.51", "1.51", 0)]
    [InlineData("1.9", "1.24", -1)]
    [InlineData("2.0", "1.99", 1)]
    public void Versions_are_compared_by_number(string a, string b, int order) => Assert.Equal(order, Math.Sign(ApiVersions.Compare(a, b)));

    private sealed class NonSeekable(byte[] bytes) : MemoryStream(bytes)
    {
        public override bool CanSeek => false;
    }
}
