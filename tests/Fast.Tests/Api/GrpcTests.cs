using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Net;
using System.Net.Http.Headers;
using Berth.Api;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;

namespace Berth.Fast.Tests.Api;

public sealed class GrpcTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    // Both ends of a connection that is nothing but memory.
    private static (Stream Client, Stream Server) Connection()
    {
        var (there, back) = (new Pipe(), new Pipe());
        return (new Duplex(back.Reader.AsStream(), there.Writer.AsStream()), new Duplex(there.Reader.AsStream(), back.Writer.AsStream()));
    }

    private sealed class Duplex(Stream input, Stream output) : SequentialStream
    {
        public override bool CanRead => true;
        public override bool CanWrite => true;
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => input.ReadAsync(buffer, cancellationToken);
        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => output.WriteAsync(buffer, cancellationToken);
        public override Task FlushAsync(CancellationToken cancellationToken) => output.FlushAsync(cancellationToken);

        protected override void Dispose(bool disposing)
        {
            output.Dispose();
            input.Dispose();
        }
    }

    private static GrpcChannel Serve(GrpcServer server)
    {
        var (client, there) = Connection();
        _ = server.ServeAsync(there, Cancellation);
        return new GrpcChannel(client);
    }

    [Fact]
    public async Task A_call_has_an_answer_and_headers_that_come_more_than_once()
    {
        var server = new GrpcServer();
        server.Add<TextMessage>("/a.B/Join", (call, request) => Task.FromResult<IProtoMessage>(new TextMessage(request.Text + ":" + string.Join('|', call.Headers("part")) + call.Header("none"))));
        using var channel = Serve(server);
        var answer = await channel.CallAsync<TextMessage>("/a.B/Join", new TextMessage("ß"), Cancellation, [("part", "a,b"), ("other", "x"), ("part", new string('y', 40_000)), ("part", "")]);
        Assert.Equal($"ß:a,b|{new string('y', 40_000)}|", answer.Text);
    }

    [Fact]
    public async Task An_error_comes_with_its_code_its_text_and_its_details()
    {
        var server = new GrpcServer();
        server.Add<TextMessage>("/a.B/Fail", (_, request) => throw new GrpcException(GrpcCode.AlreadyExists, request.Text, ["detail"u8.ToArray()]));
        using var channel = Serve(server);
        var failure = await Assert.ThrowsAsync<GrpcException>(() => channel.CallAsync<Empty>("/a.B/Fail", new TextMessage("100 % größer\nthan"), Cancellation));
        Assert.Equal((GrpcCode.AlreadyExists, "100 % größer\nthan"), (failure.Code, failure.Message));
        Assert.Equal("detail"u8.ToArray(), Assert.Single(failure.Details));
        failure = await Assert.ThrowsAsync<GrpcException>(() => channel.CallAsync<Empty>("/a.B/Other", Empty.Instance, Cancellation));
        Assert.Equal((GrpcCode.Unimplemented, "unknown method Other for service a.B"), (failure.Code, failure.Message));
    }

    [Fact]
    public async Task Much_goes_both_ways_at_once()
    {
        const int Pieces = 150, PieceBytes = 100_000;
        var server = new GrpcServer();
        server.Add("/a.B/Echo", async call =>
        {
            while (await call.ReadAsync<BytesMessage>(call.Gone) is { } message) await call.WriteAsync(message);
        });
        using var channel = Serve(server);
        await Task.WhenAll(Enumerable.Range(0, 3).Select(async which =>
        {
            await using var call = channel.Open("/a.B/Echo", [], Cancellation);
            var writing = Task.Run(
                async () =>
                {
                    for (var i = 0; i < Pieces; i++) await call.WriteAsync(new BytesMessage(Piece(which, i)));
                    await call.CompleteAsync();
                }, Cancellation);
            for (var i = 0; i < Pieces; i++) Assert.Equal(Piece(which, i), (await call.ReadAsync<BytesMessage>())!.Data);
            Assert.Null(await call.ReadAsync<BytesMessage>());
            await writing;
        })).WaitAsync(Patience, Cancellation);

        static byte[] Piece(int which, int number)
        {
            var bytes = new byte[PieceBytes - number];
            new Random((which * Pieces) + number).NextBytes(bytes);
            return bytes;
        }
    }

    [Fact]
    public async Task A_message_may_be_larger_than_the_window_and_not_larger_than_the_limit()
    {
        var server = new GrpcServer();
        server.Add<BytesMessage>("/a.B/Count", (_, request) => Task.FromResult<IProtoMessage>(new TextMessage($"{request.Data.Length}")));
        using var channel = Serve(server);
        Assert.Equal("12000000", (await channel.CallAsync<TextMessage>("/a.B/Count", new BytesMessage(new byte[12_000_000]), Cancellation)).Text);
        var failure = await Assert.ThrowsAsync<GrpcException>(() => channel.CallAsync<TextMessage>("/a.B/Count", new BytesMessage(new byte[17 << 20]), Cancellation));
        Assert.Equal(GrpcCode.ResourceExhausted, failure.Code);
        Assert.Equal("1", (await channel.CallAsync<TextMessage>("/a.B/Count", new BytesMessage(new byte[1]), Cancellation)).Text);
    }

    [Fact]
    public async Task Who_is_not_read_waits_and_others_do_not_wait_for_him()
    {
        var read = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var server = new GrpcServer();
        server.Add("/a.B/Late", async call =>
        {
            await read.Task;
            var total = 0;
            while (await call.ReadAsync<BytesMessage>(call.Gone) is { } message) total += message.Data.Length;
            await call.WriteAsync(new TextMessage($"{total}"));
        });
        server.Add<TextMessage>("/a.B/Now", (_, request) => Task.FromResult<IProtoMessage>(request));
        using var channel = Serve(server);
        await using var late = channel.Open("/a.B/Late", [], Cancellation);
        var written = 0;
        var writing = Task.Run(
            async () =>
            {
                for (; written < 20; written++) await late.WriteAsync(new BytesMessage(new byte[1 << 20]));
                await late.CompleteAsync();
            }, Cancellation);
        // With what is around each message the last of those that the window has room for does not fit.
        const int Fit = (Http2Connection.StreamWindowBytes >> 20) - 1;
        while (Volatile.Read(ref written) < Fit) await channel.CallAsync<TextMessage>("/a.B/Now", new TextMessage("x"), Cancellation);
        for (var i = 0; i < 100; i++) await channel.CallAsync<TextMessage>("/a.B/Now", new TextMessage("x"), Cancellation);
        Assert.Equal(Fit, Volatile.Read(ref written));
        Assert.False(writing.IsCompleted);
        read.SetResult();
        await writing.WaitAsync(Patience, Cancellation);
        Assert.Equal($"{20 << 20}", (await late.ReadAsync<TextMessage>())!.Text);
    }

    [Fact]
    public async Task A_call_that_is_given_up_is_noticed_at_the_other_side_and_a_connection_that_ends_at_both()
    {
        var (begun, gone) = (new SemaphoreSlim(0), new SemaphoreSlim(0));
        var server = new GrpcServer();
        server.Add("/a.B/Wait", async call =>
        {
            await call.StartAsync();
            begun.Release();
            try
            {
                await call.ReadAsync<Empty>(CancellationToken.None);
            }
            catch (OperationCanceledException)
            {
                gone.Release();
            }
        });
        var (client, there) = Connection();
        var serving = server.ServeAsync(there, Cancellation);
        using var channel = new GrpcChannel(client);

        await using (channel.Open("/a.B/Wait", [], Cancellation)) Assert.True(await begun.WaitAsync(Patience, Cancellation));
        Assert.True(await gone.WaitAsync(Patience, Cancellation));

        using var cancel = new CancellationTokenSource();
        await using var cancelled = channel.Open("/a.B/Wait", [], cancel.Token);
        Assert.True(await begun.WaitAsync(Patience, Cancellation));
        var reading = cancelled.ReadAsync<Empty>();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading);
        Assert.True(await gone.WaitAsync(Patience, Cancellation));

        await using var cut = channel.Open("/a.B/Wait", [], Cancellation);
        Assert.True(await begun.WaitAsync(Patience, Cancellation));
        reading = cut.ReadAsync<Empty>();
        there.Dispose();
        Assert.Equal(GrpcCode.Cancelled, (await Assert.ThrowsAsync<GrpcException>(() => reading)).Code);
        Assert.True(await gone.WaitAsync(Patience, Cancellation));
        await serving.WaitAsync(Patience, Cancellation);
        Assert.True(channel.Closed.IsCancellationRequested);
        Assert.Throws<GrpcException>(() => channel.Open("/a.B/Wait", [], Cancellation));
    }

    [Fact]
    public async Task More_calls_at_a_time_than_the_limit_are_refused_and_the_connection_goes_on()
    {
        var end = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var server = new GrpcServer();
        server.Add("/a.B/Wait", async call =>
        {
            await call.StartAsync();
            await end.Task;
            await call.WriteAsync(Empty.Instance);
        });
        using var channel = Serve(server);
        var calls = Enumerable.Range(0, Http2Connection.MaxStreams + 1).Select(_ => channel.Open("/a.B/Wait", [], Cancellation)).ToList();
        Assert.Equal(GrpcCode.Unavailable, (await Assert.ThrowsAsync<GrpcException>(() => calls[^1].ReadAsync<Empty>())).Code);
        end.SetResult();
        foreach (var call in calls.SkipLast(1)) Assert.NotNull(await call.ReadAsync<Empty>());
        foreach (var call in calls) await call.DisposeAsync();
        await channel.CallAsync<Empty>("/a.B/Wait", Empty.Instance, Cancellation);
    }

    // Another's implementation of HTTP/2, with tables and Huffman's code in its headers.
    [Fact]
    public async Task Another_client_is_understood()
    {
        var server = new GrpcServer();
        server.Add<TextMessage>("/a.B/Echo", (call, request) => Task.FromResult<IProtoMessage>(new TextMessage(request.Text + call.Header("x-header"))));
        var (client, there) = Connection();
        _ = server.ServeAsync(there, Cancellation);
        using var handler = new SocketsHttpHandler { ConnectCallback = (_, _) => ValueTask.FromResult(client) };
        using var invoker = new HttpMessageInvoker(handler);
        for (var i = 0; i < 20; i++)
        {
            var message = ProtoWriter.Encode(new TextMessage($"{i}"));
            var compressed = i == 7;
            using var content = new ByteArrayContent([compressed ? (byte)1 : (byte)0, .. BigEndian(message.Length), .. message]);
            content.Headers.ContentType = new MediaTypeHeaderValue("application/grpc");
            using var request = new HttpRequestMessage(HttpMethod.Post, "http://localhost/a.B/Echo") { Version = HttpVersion.Version20, VersionPolicy = HttpVersionPolicy.RequestVersionExact, Content = content };
            request.Headers.Add("x-header", "a value of its own");
            using var response = await invoker.SendAsync(request, Cancellation);
            if (compressed)
            {
                Assert.Equal("12", Assert.Single(response.Headers.GetValues("grpc-status")));
                continue;
            }
            var body = await response.Content.ReadAsByteArrayAsync(Cancellation);
            Assert.Equal($"{i}a value of its own", TextMessage.Parse(body.AsSpan(5)).Text);
            Assert.Equal("0", Assert.Single(response.TrailingHeaders.GetValues("grpc-status")));
        }

        static byte[] BigEndian(int number)
        {
            var bytes = new byte[4];
            BinaryPrimitives.WriteInt32BigEndian(bytes, number);
            return bytes;
        }
    }

    public static TheoryData<string, byte[]> Nonsense => new()
    {
        { "no preface", "GET / HTTP/1.1\r\n\r\n0123456789"u8.ToArray() },
        { "too long a frame", Frame(0, 0, 1, new byte[16 * 1024 + 1]) },
        { "data of no stream", Frame(0, 0, 0, [1]) },
        { "padding beyond the frame", Frame(1, 0xC, 1, [9, 0x82]) },
        { "an index beyond the tables", Frame(1, 4, 1, [0xFF, 0x7F]) },
        { "a table larger than ours", Frame(1, 4, 1, [0x3F, 0xFF, 0x7F]) },
        { "a text that is cut short", Frame(1, 4, 1, [0x40, 5, 1]) },
        { "a number without an end", Frame(1, 4, 1, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]) },
        { "the end of text within a text", Frame(1, 4, 1, [0, 1, (byte)'x', 0x84, 0xFF, 0xFF, 0xFF, 0xFF]) },
        { "headers without an end", [.. Frame(1, 0, 1, new byte[16 * 1024]), .. Enumerable.Repeat(Frame(9, 0, 1, new byte[16 * 1024]), 64).SelectMany(f => f)] },
        { "headers that grow out of a table", Frame(1, 4, 1, [0x40, 1, (byte)'x', 0x7F, 0x81, 0x1E, .. new byte[4000], .. Enumerable.Repeat((byte)0xBE, 1000)]) },
        { "headers that are interrupted", [.. Frame(1, 0, 1, [0x82]), .. Frame(6, 0, 0, new byte[8])] },
        { "a continuation of nothing", Frame(9, 4, 1, [0x82]) },
        { "a window beyond 2^31", [.. Frame(8, 0, 0, [0x7F, 0xFF, 0xFF, 0xFF])] },
        { "a push", Frame(5, 4, 1, [0, 0, 0, 2]) },
        { "settings of a wrong length", Frame(4, 0, 0, [1]) },
    };

    private static byte[] Frame(byte type, byte flags, int stream, byte[] payload) =>
        [(byte)(payload.Length >> 16), (byte)(payload.Length >> 8), (byte)payload.Length, type, flags, (byte)(stream >> 24), (byte)(stream >> 16), (byte)(stream >> 8), (byte)stream, .. payload];

    [Theory, MemberData(nameof(Nonsense))]
    public async Task Nonsense_ends_the_connection_and_nothing_else(string what, byte[] bytes)
    {
        var faults = 0;
        var server = new GrpcServer(faulted: (_, _) => faults++);
        var (client, there) = Connection();
        var serving = server.ServeAsync(there, Cancellation);
        if (what != "no preface") await client.WriteAsync("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8.ToArray(), Cancellation);
        try
        {
            await client.WriteAsync(bytes, Cancellation);
            await client.FlushAsync(Cancellation);
        }
        catch (Exception e) when (e is IOException or InvalidOperationException)
        {
            // It was closed before it had all.
        }
        await serving.WaitAsync(Patience, Cancellation);
        Assert.Equal(0, faults);
    }

    // RFC 7541, C.5: answers with a table of 256 bytes that throws out what is old; C.6: the same with Huffman's code.
    [Theory]
    [InlineData("4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d", "4803333037c1c0bf", "plain")]
    [InlineData("488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3", "4883640effc1c0bf", "Huffman's")]
    public void Headers_are_read_as_the_specification_has_them(string first, string second, string coding)
    {
        Assert.NotEmpty(coding);
        var decoder = new HpackDecoder();
        Assert.Equal([(":status", "302"), ("cache-control", "private"), ("date", "Mon, 21 Oct 2013 20:13:21 GMT"), ("location", "https://www.example.com")], decoder.Decode([0x3F, 0xE1, 0x01, .. Convert.FromHexString(first)], 4096));
        Assert.Equal([(":status", "307"), ("cache-control", "private"), ("date", "Mon, 21 Oct 2013 20:13:21 GMT"), ("location", "https://www.example.com")], decoder.Decode(Convert.FromHexString(second), 4096));
        Assert.Throws<Http2Exception>(() => decoder.Decode([0xC2], 4096)); // it has gone: there is room for no more
    }

    [Fact]
    public void Headers_come_back_as_they_were_written()
    {
        List<(string, string)> headers = [(":method", "POST"), (":path", "/a"), ("empty", ""), ("long", new string('x', 300)), ("letters", "äöü €"), ("grpc-status", "0")];
        Assert.Equal(headers, new HpackDecoder().Decode(Hpack.Encode(headers), 4096));
    }
}
