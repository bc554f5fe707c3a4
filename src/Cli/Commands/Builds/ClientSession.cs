using System.Globalization;
using System.Net.Sockets;
using Berth.Api;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;
using Berth.Cli.Configuration;
using Berth.Cli.Registries;

namespace Berth.Cli.Commands.Builds;

/// <summary>
/// What a build may ask of the user's machine while it runs: files of directories that were named, places for results, logins, secrets, the SSH agent. Nothing else is offered, whatever
/// the builder asks for.
/// </summary>
internal sealed class ClientSession(CommandContext context)
{
    /// <summary>One message of a stream of bytes; BuildKit's take four megabytes.</summary>
    private const int PieceBytes = 1 << 20;

    private readonly GrpcServer _server = new();
    private readonly Dictionary<string, string> _directories = new(StringComparer.Ordinal), _agents = new(StringComparer.Ordinal);
    private readonly Dictionary<string, byte[]> _secrets = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Stream> _uploads = new(StringComparer.Ordinal);
    private readonly Dictionary<int, Func<GrpcCall, Task>> _outputs = [];
    private readonly Dictionary<string, ContentDirectory> _stores = new(StringComparer.Ordinal);
    private readonly SemaphoreSlim _asking = new(1);

    public string Id { get; } = Convert.ToHexStringLower(System.Security.Cryptography.RandomNumberGenerator.GetBytes(13));

    /// <summary>The same for all builds of one place on one machine: what travelled before need not travel again.</summary>
    public string SharedKey { get; set; } = "";

    public void AddDirectory(string name, string path) => _directories[name] = path;

    public void AddSecret(string id, byte[] content) => _secrets[id] = content;

    /// <exception cref="CommandException">There is one with this id.</exception>
    public void AddAgent(string id, string socket)
    {
        if (!_agents.TryAdd(id, socket)) throw new CommandException($"duplicate agent ID \"{id}\"");
    }

    /// <summary>Something that is read once.</summary>
    /// <returns>How the builder names it.</returns>
    public string AddUpload(Stream content)
    {
        var id = Convert.ToHexStringLower(System.Security.Cryptography.RandomNumberGenerator.GetBytes(13));
        _uploads[id] = content;
        return "http://buildkit-session/" + id;
    }

    public void AddStore(string id, ContentDirectory store) => _stores[id] = store;

    /// <param name="output">The exporter's place in the list.</param>
    /// <param name="take">Takes the call of FileSend.</param>
    public void AddOutput(int output, Func<GrpcCall, Task> take) => _outputs[output] = take;

    /// <summary>Offers what was added until the connection ends.</summary>
    public async Task ServeAsync(EngineClient client, CancellationToken cancellation)
    {
        Register();
        await ServeAsync(await client.OpenSessionAsync(Id, SharedKey, _server.Methods, cancellation).ConfigureAwait(false), cancellation).ConfigureAwait(false);
    }

    /// <summary>The same on a connection that is there.</summary>
    public Task ServeAsync(Stream stream, CancellationToken cancellation)
    {
        Register();
        return _server.ServeAsync(stream, cancellation);
    }

    // Whatever was added by now: twice is as good as once.
    private void Register()
    {
        Add<Empty>("/grpc.health.v1.Health/Check", (_, _) => Task.FromResult<IProtoMessage>(new Serving()));
        Add<TextMessage>("/moby.filesync.v1.Auth/Credentials", CredentialsAsync);
        if (_directories.Count > 0) Add("/moby.filesync.v1.FileSync/DiffCopy", SendFilesAsync);
        if (_outputs.Count > 0) Add("/moby.filesync.v1.FileSend/DiffCopy", call =>
            _outputs.TryGetValue(int.TryParse(call.Header("buildkit-attachable-exporter-id"), NumberStyles.None, CultureInfo.InvariantCulture, out var id) ? id : 0, out var take) ? take(call)
                : throw new GrpcException(GrpcCode.Unknown, $"exporter {id} not found"));
        if (_secrets.Count > 0) Add<TextMessage>("/moby.buildkit.secrets.v1.Secrets/GetSecret", (_, request) =>
            _secrets.TryGetValue(request.Text, out var secret) ? Task.FromResult<IProtoMessage>(new BytesMessage(secret)) : throw new GrpcException(GrpcCode.NotFound, $"secret {request.Text}: not found"));
        if (_agents.Count > 0)
        {
            Add<TextMessage>("/moby.sshforward.v1.SSH/CheckAgent", (_, request) => _agents.ContainsKey(AgentOf(request.Text)) ? Task.FromResult<IProtoMessage>(Empty.Instance) : throw new GrpcException(GrpcCode.Unknown, $"unset ssh forward key {AgentOf(request.Text)}"));
            Add("/moby.sshforward.v1.SSH/ForwardAgent", ForwardAgentAsync);
        }
        if (_uploads.Count > 0) Add("/moby.upload.v1.Upload/Pull", UploadAsync);
        if (_stores.Count == 0) return;
        Add<TextMessage>("/containerd.services.content.v1.Content/Info", (call, request) => Task.FromResult<IProtoMessage>(new ContentInfoResponse(new ContentInfo(request.Text, StoreOf(call).SizeOf(request.Text)))));
        Add("/containerd.services.content.v1.Content/Read", ReadContentAsync);
        Add("/containerd.services.content.v1.Content/Write", call => StoreOf(call).TakeAsync(call));
    }

    private void Add(string method, Func<GrpcCall, Task> answer)
    {
        _server.Add(method, async call =>
        {
            try
            {
                await answer(call).ConfigureAwait(false);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or CommandException)
            {
                throw new GrpcException(GrpcCode.Unknown, e.Message);
            }
        });
    }

    private void Add<T>(string method, Func<GrpcCall, T, Task<IProtoMessage>> answer) where T : class, IProtoMessage<T> =>
        Add(method, async call => await call.WriteAsync(await answer(call, await call.RequestAsync<T>().ConfigureAwait(false)).ConfigureAwait(false)).ConfigureAwait(false));

    private Task SendFilesAsync(GrpcCall call)
    {
        var name = call.Header("dir-name");
        if (!_directories.TryGetValue(name, out var directory)) throw new GrpcException(GrpcCode.NotFound, $"no access allowed to dir \"{name}\"");
        var files = new ContextFiles(directory, Values("include-patterns"), Values("exclude-patterns"), Values("followpaths"));
        return new FileSender(files).SendAsync(() => call.ReadAsync<Packet>(call.Gone), call.WriteAsync, call.Gone);

        // Texts that are not ASCII come encoded, and a header says so.
        List<string> Values(string header)
        {
            var encoded = call.Header(header + "-encoded") is "1" or "true";
            var values = new List<string>();
            foreach (var value in call.Headers(header)) values.Add(encoded ? Uri.UnescapeDataString(value.Replace('+', ' ')) : value);
            return values;
        }
    }

    private async Task<IProtoMessage> CredentialsAsync(GrpcCall call, TextMessage host)
    {
        // One at a time: a helper may ask the user something.
        await _asking.WaitAsync(call.Gone).ConfigureAwait(false);
        try
        {
            var login = await new Credentials(context).GetAsync(host.Text is "registry-1.docker.io" or "docker.io" ? DockerConfig.HubKey : host.Text).ConfigureAwait(false);
            return login?.IdentityToken is { Length: > 0 } token ? new CredentialsResponse("", token) : new CredentialsResponse(login?.Username ?? "", login?.Password ?? "");
        }
        finally
        {
            _asking.Release();
        }
    }

    private static string AgentOf(string id) => id.Length > 0 ? id : "default";

    private async Task ForwardAgentAsync(GrpcCall call)
    {
        var id = AgentOf(call.Header("buildkit.ssh.id"));
        if (!_agents.TryGetValue(id, out var path)) throw new GrpcException(GrpcCode.NotFound, $"unset ssh forward key {id}");
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), call.Gone).ConfigureAwait(false);
        }
        catch (SocketException e)
        {
            throw new GrpcException(GrpcCode.Unknown, $"failed to connect to {path}: {e.Message}");
        }
        var asking = AskAsync();
        var buffer = new byte[32 * 1024];
        try
        {
            for (int count; (count = await socket.ReceiveAsync(buffer.AsMemory(), call.Gone).ConfigureAwait(false)) > 0;) await call.WriteAsync(new BytesMessage(buffer[..count])).ConfigureAwait(false);
        }
        catch (SocketException)
        {
            // The agent ended the connection.
        }
        await asking.ConfigureAwait(false);

        async Task AskAsync()
        {
            try
            {
                while (await call.ReadAsync<BytesMessage>(call.Gone).ConfigureAwait(false) is { } question)
                    for (var rest = question.Data.AsMemory(); rest.Length > 0;) rest = rest[await socket.SendAsync(rest, call.Gone).ConfigureAwait(false)..];
                socket.Shutdown(SocketShutdown.Send);
            }
            catch (SocketException)
            {
                // Seen where it is read.
            }
        }
    }

    private async Task UploadAsync(GrpcCall call)
    {
        var path = call.Header("urlpath").TrimStart('/');
        if (!_uploads.Remove(path, out var content)) throw new GrpcException(GrpcCode.Unknown, $"no http response from session for {path}");
        var buffer = new byte[PieceBytes];
        for (int count; (count = await content.ReadAsync(buffer, call.Gone).ConfigureAwait(false)) > 0;) await call.WriteAsync(new BytesMessage(buffer[..count])).ConfigureAwait(false);
    }

    private ContentDirectory StoreOf(GrpcCall call)
    {
        var id = call.Header("buildkit-attachable-store-id");
        return _stores.TryGetValue(id, out var store) ? store : throw new GrpcException(GrpcCode.NotFound, $"unknown store {id}: not found");
    }

    private async Task ReadContentAsync(GrpcCall call)
    {
        var request = await call.RequestAsync<ReadContentRequest>().ConfigureAwait(false);
        await using var blob = StoreOf(call).Open(request.Digest);
        if (request.Offset < 0 || request.Offset > blob.Length) throw new GrpcException(GrpcCode.InvalidArgument, $"read past object length {blob.Length} bytes");
        blob.Position = request.Offset;
        var left = request.Length > 0 ? Math.Min(request.Length, blob.Length - request.Offset) : blob.Length - request.Offset;
        var buffer = new byte[PieceBytes];
        while (left > 0)
        {
            var offset = blob.Position;
            var count = await blob.ReadAsync(buffer.AsMemory(0, (int)Math.Min(buffer.Length, left)), call.Gone).ConfigureAwait(false);
            if (count == 0) throw new GrpcException(GrpcCode.Unknown, $"{request.Digest} became shorter while it was sent");
            await call.WriteAsync(new ReadContentResponse(offset, buffer[..count])).ConfigureAwait(false);
            left -= count;
        }
    }

    private sealed record Serving : IProtoMessage
    {
        public void WriteTo(ProtoWriter writer) => writer.Int64(1, 1);
    }
}
