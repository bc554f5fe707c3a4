using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using Berth.Daemon.Http;
using Berth.Daemon.Registry;
using Berth.Registry;
using Berth.Testing;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Berth.Fast.Tests.Registry;

/// <summary>A clock that stands until it is moved.</summary>
internal sealed class MovableClock : TimeProvider
{
    // Files have the machine's time.
    private TimeSpan _ahead;

    public override DateTimeOffset GetUtcNow() => base.GetUtcNow() + _ahead;
    public void Advance(TimeSpan by) => _ahead += by;
}

/// <summary>A registry in this process, with its web server on a unix socket.</summary>
internal sealed class TestRegistry : IAsyncDisposable
{
    private readonly KestrelServer _server;
    private readonly TestDirectory _directory;

    private TestRegistry(TestDirectory directory, RegistryStore store, KestrelServer server, HttpClient http) => (_directory, Store, _server, Http) = (directory, store, server, http);

    public RegistryStore Store { get; }
    public HttpClient Http { get; }
    public int Collections { get; private set; }
    public string SocketPath => _directory["s"];

    public static async Task<TestRegistry> StartAsync(string? htpasswd = null, bool anonymousRead = false, string? noPushes = null, MovableClock? clock = null, Func<RegistryStore, Upstream>? upstream = null)
    {
        var directory = new TestDirectory();
        clock ??= new MovableClock();
        var store = RegistryStore.Open(directory["root"], new RegistryStoreOptions { Logger = NullLogger.Instance, Time = clock });
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(directory["s"]));
        socket.Listen();
        Htpasswd? users = null;
        if (htpasswd is not null)
        {
            File.WriteAllText(directory["htpasswd"], htpasswd);
            users = new Htpasswd(directory["htpasswd"], clock);
        }
        var server = new KestrelServer(Options.Create(KestrelSetup.Options([new ListeningEndPoint(socket, "test")])), new SocketTransport(), NullLoggerFactory.Instance);
        var http = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancellation) =>
            {
                var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await client.ConnectAsync(new UnixDomainSocketEndPoint(directory["s"]), cancellation);
                return new NetworkStream(client, ownsSocket: true);
            },
            AllowAutoRedirect = false,
        }) { BaseAddress = new Uri("http://registry"), Timeout = TimeSpan.FromSeconds(20) };
        var test = new TestRegistry(directory, store, server, http);
        await server.StartAsync(new RegistryServer(store, upstream?.Invoke(store), new RegistryAccess(users, anonymousRead, encrypted: false, clock), NullLogger.Instance, noPushes, logsAccess: false, () => test.Collections++), CancellationToken.None);
        return test;
    }

    public async Task<Answer> AskAsync(string method, string path, byte[]? body = null, params (string Name, string Value)[] headers)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        if (body is not null) request.Content = new ByteArrayContent(body);
        else if (method is "POST" or "PUT" or "PATCH") request.Content = new ByteArrayContent([]);
        foreach (var (name, value) in headers)
        {
            if (!request.Headers.TryAddWithoutValidation(name, value)) request.Content!.Headers.TryAddWithoutValidation(name, value);
        }
        using var response = await Http.SendAsync(request);
        var all = response.Headers.NonValidated.Concat(response.Content.Headers.NonValidated).ToDictionary(h => h.Key, h => h.Value.ToString(), StringComparer.OrdinalIgnoreCase);
        return new Answer((int)response.StatusCode, all, await response.Content.ReadAsByteArrayAsync());
    }

    /// <summary>Pushes a blob in one request; returns its digest.</summary>
    public async Task<string> PushBlobAsync(string repository, byte[] content)
    {
        var digest = TestImage.Digest(content);
        Assert.Equal(201, (await AskAsync("POST", $"/v2/{repository}/blobs/uploads/?digest={digest}", content)).Status);
        return digest;
    }

    public async Task<Answer> PutManifestAsync(string repository, string reference, string json, string type = "application/vnd.oci.image.manifest.v1+json") =>
        await AskAsync("PUT", $"/v2/{repository}/manifests/{reference}", Encoding.UTF8.GetBytes(json), ("Content-Type", type));

    /// <summary>Pushes an image of one layer; returns its manifest and that one's digest.</summary>
    public async Task<(string Json, string Digest)> PushImageAsync(string repository, string reference, string word, string more = "")
    {
        var config = await PushBlobAsync(repository, "{}"u8.ToArray());
        var layer = Encoding.UTF8.GetBytes("layer " + word);
        var json = $$"""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{{config}}","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{{await PushBlobAsync(repository, layer)}}","size":{{layer.Length}}}]{{more}}}""";
        var digest = TestImage.Digest(Encoding.UTF8.GetBytes(json));
        Assert.Equal(201, (await PutManifestAsync(repository, reference.Length > 0 ? reference : digest, json)).Status);
        return (json, digest);
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(2));
        await _server.StopAsync(limit.Token);
        _server.Dispose();
        Store.Dispose();
        _directory.Dispose();
    }
}

internal sealed record Answer(int Status, IReadOnlyDictionary<string, string> Headers, byte[] Body)
{
    public string Text => Encoding.UTF8.GetString(Body);
    public string this[string header] => Headers.GetValueOrDefault(header, "");

    /// <summary>The code of an error answer.</summary>
    public string Code
    {
        get
        {
            using var json = System.Text.Json.JsonDocument.Parse(Body);
            return json.RootElement.GetProperty("errors")[0].GetProperty("code").GetString()!;
        }
    }
}
