using System.Net.Sockets;
using System.Net.WebSockets;
using System.Text;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Attaching over a WebSocket, with .NET's own client.</summary>
public sealed class WebSocketTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private async Task<ClientWebSocket> ConnectAsync(string pathAndQuery)
    {
        var socket = new ClientWebSocket();
        using var handler = new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancellationToken) =>
            {
                var connection = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await connection.ConnectAsync(new UnixDomainSocketEndPoint(_daemon.SocketPath), cancellationToken);
                return new NetworkStream(connection, ownsSocket: true);
            },
        };
        using var invoker = new HttpMessageInvoker(handler, disposeHandler: false);
        await socket.ConnectAsync(new Uri("ws://d" + pathAndQuery), invoker, TestContext.Current.CancellationToken);
        return socket;
    }

    /// <summary>Reads until the text is there, or the server closes.</summary>
    private static async Task<string> ReadAsync(ClientWebSocket socket, string? until = null)
    {
        var (text, buffer) = (new StringBuilder(), new byte[4096]);
        while (until is null || !text.ToString().Contains(until, StringComparison.Ordinal))
        {
            var result = await socket.ReceiveAsync(buffer, TestContext.Current.CancellationToken);
            if (result.MessageType == WebSocketMessageType.Close)
            {
                Assert.Equal(WebSocketCloseStatus.NormalClosure, result.CloseStatus);
                break;
            }
            Assert.Equal(WebSocketMessageType.Binary, result.MessageType);
            text.Append(Encoding.UTF8.GetString(buffer, 0, result.Count));
        }
        return text.ToString();
    }

    [Fact]
    public async Task What_is_typed_goes_in_and_what_is_said_comes_out_in_both_streams()
    {
        await _daemon.Docker("run", "-d", "-i", "--name", "ws-1", shared.Image, "sh", "-c", "while read line; do echo got $line; echo err >&2; [ $line = end ] && exit; done");
        using var socket = await ConnectAsync("/containers/ws-1/attach/ws?stream=1&stdin=1&stdout=1&stderr=1");
        await socket.SendAsync(Encoding.UTF8.GetBytes("one\n"), WebSocketMessageType.Text, true, TestContext.Current.CancellationToken);
        Assert.Contains("got one\n", await ReadAsync(socket, "got one\n"));
        // In pieces, and long: what a frame is does not matter.
        await socket.SendAsync(Encoding.UTF8.GetBytes(new string('x', 70_000)), WebSocketMessageType.Binary, false, TestContext.Current.CancellationToken);
        await socket.SendAsync(Encoding.UTF8.GetBytes("\nend\n"), WebSocketMessageType.Binary, true, TestContext.Current.CancellationToken);
        var rest = await ReadAsync(socket);
        Assert.Contains("got " + new string('x', 70_000) + "\n", rest);
        Assert.Contains("got end\n", rest);
        Assert.Contains("err\n", rest);
        await _daemon.Docker("rm", "-f", "ws-1");
    }

    [Fact]
    public async Task The_last_output_arrives_though_the_client_still_types()
    {
        await _daemon.Docker("create", "-i", "--name", "ws-2", shared.Image, "sh", "-c", "head -c 300000 /dev/zero | tr '\\0' z; echo bye");
        using var socket = await ConnectAsync("/containers/ws-2/attach/ws?stream=1&stdin=1&stdout=1");
        await _daemon.Docker("start", "ws-2");
        Assert.Equal(new string('z', 300_000) + "bye\n", await ReadAsync(socket));
        Assert.Equal("bye\n", (await ReadAsync(await ConnectAsync("/containers/ws-2/attach/ws?logs=1&stdout=1")))[^4..]);
        await _daemon.Docker("rm", "-f", "ws-2");
    }

    [Fact]
    public async Task A_client_that_closes_leaves_the_container_running()
    {
        await _daemon.Docker("run", "-d", "-i", "--name", "ws-3", shared.Image, "cat");
        using (var socket = await ConnectAsync("/containers/ws-3/attach/ws?stream=1&stdin=1&stdout=1"))
        {
            await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, "", TestContext.Current.CancellationToken);
        }
        Assert.Equal("true", (await _daemon.Docker("inspect", "--format", "{{.State.Running}}", "ws-3")).Line);
        Assert.Equal((404, "{\"message\":\"No such container: nope\"}\n"), await _daemon.AskAsync("GET", "/containers/nope/attach/ws"));
        Assert.Equal(400, (await _daemon.AskAsync("GET", "/containers/ws-3/attach/ws?stream=1")).Status);
        await _daemon.Docker("rm", "-f", "ws-3");
    }
}
