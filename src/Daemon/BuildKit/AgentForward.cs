using System.Net.Sockets;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;

namespace Berth.Daemon.BuildKit;

/// <summary>A socket here that is the SSH agent of a build's client: each connection is a call of moby.sshforward.v1.SSH.</summary>
internal sealed class AgentForward : IDisposable
{
    public const string CheckMethod = "/moby.sshforward.v1.SSH/CheckAgent";
    private const string ForwardMethod = "/moby.sshforward.v1.SSH/ForwardAgent";

    /// <summary>At a time; a command with more waits.</summary>
    private const int MaxConnections = 64;

    private readonly GrpcChannel _channel;
    private readonly string _id;
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly SemaphoreSlim _free = new(MaxConnections);
    private readonly CancellationTokenSource _stop;

    public AgentForward(GrpcChannel channel, string id, string path, CancellationToken cancellation)
    {
        (_channel, _id) = (channel, id);
        _stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        _listener.Bind(new UnixDomainSocketEndPoint(path));
        _listener.Listen(MaxConnections);
        _ = AcceptAsync();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                await _free.WaitAsync(_stop.Token);
                _ = ServeAsync(await _listener.AcceptAsync(_stop.Token));
            }
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // The command has ended.
        }
    }

    private async Task ServeAsync(Socket socket)
    {
        try
        {
            using (socket)
            {
                await using var call = _channel.Open(ForwardMethod, [("buildkit.ssh.id", _id)], _stop.Token);
                var asking = AskAsync(socket, call);
                while (await call.ReadAsync<BytesMessage>() is { } answer)
                    for (var rest = answer.Data.AsMemory(); rest.Length > 0;) rest = rest[await socket.SendAsync(rest, _stop.Token)..];
                socket.Shutdown(SocketShutdown.Both);
                await asking;
            }
        }
        catch (Exception e) when (e is GrpcException or OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // One connection to the agent has failed: whoever made it sees that.
        }
        finally
        {
            _free.Release();
        }
    }

    private async Task AskAsync(Socket socket, GrpcClientCall call)
    {
        var buffer = new byte[32 * 1024];
        int count;
        while ((count = await socket.ReceiveAsync(buffer.AsMemory(), _stop.Token)) > 0) await call.WriteAsync(new BytesMessage(buffer[..count]));
        await call.CompleteAsync();
    }

    public void Dispose()
    {
        _stop.Cancel();
        _listener.Dispose();
    }
}
