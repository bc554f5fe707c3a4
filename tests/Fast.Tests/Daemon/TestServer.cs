using System.Net.Sockets;
using System.Text;
using Berth.Daemon.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Berth.Fast.Tests.Daemon;

/// <summary>The daemon's web server on a unix socket of its own, with routes that the test brings.</summary>
internal sealed class TestServer : IAsyncDisposable
{
    private readonly KestrelServer _server;
    private readonly string _directory;
    private readonly CancellationTokenSource _stopping = new();

    private TestServer(KestrelServer server, string directory) => (_server, _directory) = (server, directory);

    public static async Task<TestServer> StartAsync(Action<Router> map)
    {
        var directory = Directory.CreateTempSubdirectory("berth-fast-").FullName;
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(Path.Combine(directory, "s")));
        socket.Listen();
        var router = new Router();
        map(router);
        var options = KestrelSetup.Options([new ListeningEndPoint(socket, "test")]);
        var server = new KestrelServer(Options.Create(options), new SocketTransport(), NullLoggerFactory.Instance);
        var test = new TestServer(server, directory);
        await server.StartAsync(new ApiServer(router, "28.5.2+test", NullLogger.Instance, test._stopping.Token), CancellationToken.None);
        return test;
    }

    public RawClient Connect() => new(Path.Combine(_directory, "s"));

    public void Stop() => _stopping.Cancel();

    public async ValueTask DisposeAsync()
    {
        await _stopping.CancelAsync();
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(2));
        await _server.StopAsync(limit.Token);
        _server.Dispose();
        Directory.Delete(_directory, recursive: true);
    }
}

/// <summary>Bytes to and from a socket; text is Latin-1, so that every byte is a character.</summary>
internal sealed class RawClient : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);
    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private string _unread = "";

    public RawClient(string path) => _socket.Connect(new UnixDomainSocketEndPoint(path));

    public async Task SendAsync(string text)
    {
        ReadOnlyMemory<byte> bytes = Encoding.Latin1.GetBytes(text.ReplaceLineEndings("\r\n"));
        while (bytes.Length > 0)
            bytes = bytes[await _socket.SendAsync(bytes)..];
    }

    public void HalfClose() => _socket.Shutdown(SocketShutdown.Send);

    /// <summary>Everything up to and including <paramref name="end"/>.</summary>
    public async Task<string> ReceiveUntilAsync(string end)
    {
        end = end.ReplaceLineEndings("\r\n");
        int at;
        while ((at = _unread.IndexOf(end, StringComparison.Ordinal)) < 0)
            Assert.True(await FillAsync(), $"the connection ended before {end.Trim()}; it brought: {_unread}");
        var found = _unread[..(at + end.Length)];
        _unread = _unread[found.Length..];
        return found;
    }

    public Task<string> ReceiveHeadAsync() => ReceiveUntilAsync("\r\n\r\n");

    /// <summary>Everything until the peer ends the connection.</summary>
    public async Task<string> ReceiveToEndAsync()
    {
        while (await FillAsync())
        {
        }
        return _unread;
    }

    private async Task<bool> FillAsync()
    {
        using var limit = new CancellationTokenSource(Patience);
        var buffer = new byte[64 * 1024];
        try
        {
            var read = await _socket.ReceiveAsync(buffer.AsMemory(), SocketFlags.None, limit.Token);
            _unread += Encoding.Latin1.GetString(buffer, 0, read);
            return read > 0;
        }
        catch (OperationCanceledException)
        {
            Assert.Fail($"nothing came for {Patience.TotalSeconds} s; so far: {_unread}");
            throw;
        }
    }

    public void Dispose() => _socket.Dispose();
}
