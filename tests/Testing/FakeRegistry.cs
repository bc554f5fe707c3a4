using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;
using Berth.Testing;

namespace Berth.Testing;

/// <summary>
/// A registry that does what it is told, wrong things above all: a table from path to answer. Plain HTTP/1.1, one request per
/// connection.
/// </summary>
public sealed class FakeRegistry : IDisposable
{
    public sealed record Request(string Method, string Path, IReadOnlyDictionary<string, string> Headers);

    /// <param name="CutAfter">The connection is closed after this many bytes of the body, whatever Content-Length promised.</param>
    public sealed record Answer(int Status, byte[] Body, int? CutAfter = null, params (string Name, string Value)[] Headers)
    {
        /// <summary>What Content-Length says, when that is not the truth; -1: nothing, and the end of the connection is the end of the body.</summary>
        public long? ClaimedLength { get; init; }

        /// <summary>Writes the body instead.</summary>
        public Action<Stream>? Writer { get; init; }

        public static Answer Ok(byte[] body) => new(200, body);
        public static Answer Error(int status, string code, string message) =>
            new(status, Encoding.UTF8.GetBytes($$"""{"errors":[{"code":"{{code}}","message":"{{message}}"}]}"""));
    }

    private readonly TcpListener listener;
    private readonly SslServerAuthenticationOptions? tls;
    private readonly Task accepting;
    private readonly List<Request> requests = [];
    private readonly Dictionary<string, long> sent = [];

    /// <param name="address">Loopback unless given: what is trusted without a certificate.</param>
    public FakeRegistry(IPAddress? address = null, SslServerAuthenticationOptions? tls = null)
    {
        (listener, this.tls) = (new TcpListener(address ?? IPAddress.Loopback, 0), tls);
        listener.Start();
        accepting = AcceptAsync();
    }

    /// <summary>Answers by "/v2/…" path; a missing one is 404.</summary>
    public Dictionary<string, Func<Request, Answer>> Answers { get; } = new() { ["/v2/"] = _ => Answer.Ok("{}"u8.ToArray()) };

    public string Host => ((IPEndPoint)listener.LocalEndpoint).ToString();

    /// <summary>Bytes of bodies sent so far, by path.</summary>
    public IReadOnlyDictionary<string, long> Sent
    {
        get
        {
            lock (requests) return new Dictionary<string, long>(sent);
        }
    }

    public IReadOnlyList<Request> Requests
    {
        get
        {
            lock (requests) return [.. requests];
        }
    }

    /// <summary>Serves a path with ranges, as registries do; <paramref name="cutAfter"/> says after how many bytes an answer breaks off.</summary>
    public void ServeRanges(string path, byte[] body, Func<int?>? cutAfter = null) => Answers[path] = request =>
    {
        var from = request.Headers.TryGetValue("Range", out var range) ? int.Parse(range["bytes=".Length..^1], System.Globalization.CultureInfo.InvariantCulture) : 0;
        var cut = cutAfter?.Invoke() is { } after ? Math.Min(after, body.Length - from) : (int?)null;
        return from > 0 ? new Answer(206, body[from..], cut, ("Content-Range", $"bytes {from}-{body.Length - 1}/{body.Length}")) : new Answer(200, body, cut);
    };

    public void Serve(string path, byte[] body) => Answers[path] = _ => Answer.Ok(body);

    /// <summary>Serves an image under a tag.</summary>
    public void Serve(string repository, string tag, TestImage image)
    {
        var (manifest, blobs) = image.Manifest();
        Serve($"/v2/{repository}/manifests/{tag}", manifest);
        foreach (var blob in blobs) Serve($"/v2/{repository}/blobs/{TestImage.Digest(blob)}", blob);
    }

    private async Task AcceptAsync()
    {
        while (true)
        {
            TcpClient client;
            try
            {
                client = await listener.AcceptTcpClientAsync();
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                return;
            }
            _ = Task.Run(() => Handle(client));
        }
    }

    private void Handle(TcpClient client)
    {
        using (client)
            try
            {
                using Stream stream = tls is null ? client.GetStream() : new SslStream(client.GetStream());
                if (stream is SslStream secure) secure.AuthenticateAsServer(tls!);
                var reader = new StreamReader(stream, Encoding.Latin1);
                var first = reader.ReadLine()?.Split(' ');
                if (first is not [var method, var path, ..] || first[2].StartsWith("HTTP", StringComparison.Ordinal) == false) return; // a TLS hello, for one
                var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
                while (reader.ReadLine() is { Length: > 0 } line) headers[line[..line.IndexOf(':')]] = line[(line.IndexOf(':') + 1)..].Trim();
                var request = new Request(method, path, headers);
                lock (requests) requests.Add(request);
                var bare = path.Split('?')[0];
                var answer = Answers.TryGetValue(bare, out var answering) ? answering(request) : Answer.Error(404, "MANIFEST_UNKNOWN", "manifest unknown");
                var head = new StringBuilder($"HTTP/1.1 {answer.Status} Status\r\nConnection: close\r\n");
                if (answer.ClaimedLength != -1) head.Append($"Content-Length: {answer.ClaimedLength ?? answer.Body.Length}\r\n");
                foreach (var (name, value) in answer.Headers) head.Append($"{name}: {value}\r\n");
                stream.Write(Encoding.Latin1.GetBytes(head + "\r\n"));
                if (answer.Writer is { } write)
                {
                    write(stream);
                    return;
                }
                var count = answer.CutAfter ?? answer.Body.Length;
                lock (requests) sent[bare] = sent.GetValueOrDefault(bare) + count;
                stream.Write(answer.Body.AsSpan(0, count));
            }
            catch (Exception e) when (e is IOException or AuthenticationException)
            {
                // the client had enough
            }
    }

    public void Dispose()
    {
        listener.Dispose();
        accepting.Wait();
    }
}
