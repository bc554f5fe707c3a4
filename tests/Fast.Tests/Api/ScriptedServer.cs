using System.Net.Sockets;
using System.Text;

namespace Berth.Fast.Tests.Api;

/// <summary>An engine of which every byte is written by the test: each connection is handed to it.</summary>
internal sealed class ScriptedServer : IDisposable
{
    private readonly Socket _listener;
    private readonly string _path;

    public ScriptedServer(Func<Connection, Task> serve)
    {
        _path = Path.Combine(Path.GetTempPath(), $"berth-test-{Guid.NewGuid():N}.sock");
        _listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        _listener.Bind(new UnixDomainSocketEndPoint(_path));
        _listener.Listen();
        _ = AcceptAsync(serve);
    }

    public string Host => "unix://" + _path;

    public int Connections { get; private set; }

    private async Task AcceptAsync(Func<Connection, Task> serve)
    {
        while (true)
        {
            Socket socket;
            try
            {
                socket = await _listener.AcceptAsync();
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                return;
            }
            Connections++;
            _ = Task.Run(async () =>
            {
                using var connection = new Connection(socket);
                try
                {
                    await serve(connection);
                }
                catch (IOException)
                {
                    // The client went; what the test asserts is on its side.
                }
            });
        }
    }

    public void Dispose()
    {
        _listener.Dispose();
        File.Delete(_path);
    }

    internal sealed class Connection(Socket socket) : IDisposable
    {
        private readonly NetworkStream _stream = new(socket, ownsSocket: true);

        public Stream Stream => _stream;

        /// <summary>The request's first line and headers; null at the end of the connection.</summary>
        public async Task<string?> ReadHeadAsync()
        {
            var head = new StringBuilder();
            var one = new byte[1];
            while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
            {
                if (await _stream.ReadAsync(one) == 0) return head.Length == 0 ? null : throw new EndOfStreamException(head.ToString());
                head.Append((char)one[0]);
            }
            return head.ToString();
        }

        public async Task<byte[]> ReadBytesAsync(int count)
        {
            var bytes = new byte[count];
            await _stream.ReadExactlyAsync(bytes);
            return bytes;
        }

        /// <summary>A body whose length the head gives.</summary>
        public async Task<string> ReadBodyAsync(string head)
        {
            const string name = "Content-Length: ";
            var from = head.IndexOf(name, StringComparison.Ordinal) + name.Length;
            return Encoding.UTF8.GetString(await ReadBytesAsync(int.Parse(head[from..head.IndexOf("\r\n", from, StringComparison.Ordinal)])));
        }

        public Task SendAsync(string text) => _stream.WriteAsync(Encoding.UTF8.GetBytes(text)).AsTask();

        public Task AnswerAsync(string body, string status = "200 OK", string headers = "") =>
            SendAsync($"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {Encoding.UTF8.GetByteCount(body)}\r\n\r\n{body}");

        public void CloseSend() => socket.Shutdown(SocketShutdown.Send);

        public void Dispose() => _stream.Dispose();
    }
}
