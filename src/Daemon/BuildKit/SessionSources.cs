using System.Text;
using Berth.Api;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;
using Berth.Builder;
using Berth.Dockerfile;
using Berth.Engine;
using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Daemon.BuildKit;

/// <summary>Where the files, secrets and logins of a build come from when its client serves them over a session.</summary>
internal sealed class SessionSources(
    BerthEngine engine, BuildService builder, BuildSessions sessions, ContextStore contexts, StatusLog status, FrontendOptions options, string sessionId, CancellationToken cancellation) : IBuildSources, IDisposable
{
    private const string DiffCopy = "/moby.filesync.v1.FileSync/DiffCopy", Pull = "/moby.upload.v1.Upload/Pull";

    private readonly List<IDisposable> _places = [];
    private readonly Lock _lock = new();

    /// <summary>The step that loads the Dockerfile: what there is to say about it is said there.</summary>
    public BuildStep Definition { get; private set; } = new ScratchStep { Title = "[internal] load build definition from " + Path.GetFileName(options.DockerfileName) };

    /// <summary>What the context's .dockerignore leaves out.</summary>
    public PathPatterns? Ignored { get; private set; }

    /// <summary>Says what of the contexts is needed.</summary>
    public BuildPlan? Plan { get; set; }

    /// <summary>Where the files of the build's own context are when nobody sends them; null: the client does.</summary>
    public RemoteSource? Remote { get; init; }

    private string _ignore = "";
    private bool _ignoreKnown;
    private FetchedSource? _fetched;
    private ImageStore.LayerSession? _session;

    /// <summary>For what is fetched for this build before it begins: held until the sources are given back.</summary>
    public ImageStore.LayerSession Session => _session ??= builder.OpenSession();

    /// <exception cref="BuildException">There is none.</exception>
    public async Task<byte[]> LoadDockerfileAsync()
    {
        if (Remote is not null && await FetchAsync(Remote) is { } there) return there;
        var name = options.DockerfileName;
        var slash = name.LastIndexOf('/');
        List<string> wanted = [name, name + ".dockerignore"];
        var other = name[(slash + 1)..] == "Dockerfile" ? name[..(slash + 1)] + "dockerfile" : null;
        if (other is not null) wanted.Add(other);
        return await StepAsync(Definition, async () =>
        {
            using var place = contexts.Take(null);
            await SyncAsync(options.DockerfileDirectory, options.SessionOf(options.DockerfileDirectory, sessionId), place.Root, null, wanted, [], Definition, "transferring dockerfile:");
            // The transfer has not failed when there is none.
            var dockerfile = ReadFile(place.Root, name, Document.MaxBytes) ?? (other is null ? null : ReadFile(place.Root, other, Document.MaxBytes));
            if (ReadFile(place.Root, name + ".dockerignore", IgnoreFile.MaxBytes) is { } ignore) (_ignore, _ignoreKnown) = (Encoding.UTF8.GetString(ignore), true);
            return dockerfile;
        }) ?? throw new BuildException($"failed to read dockerfile: open {name}: no such file or directory");
    }

    // The context of elsewhere, and its Dockerfile unless the client has that.
    private async Task<byte[]?> FetchAsync(RemoteSource remote)
    {
        var step = new ScratchStep { Title = remote.Git is null ? "[internal] load remote build context" : "[internal] load git source " + remote.Name };
        try
        {
            _fetched = await StepAsync(step, () => FetchAsync(remote, Session, step));
        }
        catch (BuildException e)
        {
            throw new BuildException((remote.Git is null ? "failed to read downloaded context: " : "failed to read dockerfile: failed to load cache key: ") + e.Message, inner: e);
        }
        if (options.HasOwnDockerfile) return null;
        Definition = step;
        using var root = FileAt.Open(null, _fetched.Directory, OpenFlags.ReadOnly | OpenFlags.Directory);
        var name = remote.Git is null && !_fetched.Unpacked ? remote.FileName : options.DockerfileName;
        return ReadFile(root, name, Document.MaxBytes) ?? throw new BuildException($"failed to read dockerfile: open {name}: no such file or directory");
    }

    /// <summary>Brings files of elsewhere.</summary>
    public Task<FetchedSource> FetchAsync(RemoteSource remote, ImageStore.LayerSession session, BuildStep step) =>
        builder.Remotes.FetchAsync(remote, session.NewDirectory, this, text => status.Output(step, Encoding.UTF8.GetBytes(text), stderr: true), cancellation);

    public async Task<Stream?> OpenUploadAsync(Uri address, CancellationToken cancellationToken)
    {
        try
        {
            var session = await sessions.GetAsync(sessionId, cancellationToken);
            if (!session.Offers(Pull)) return null;
            return new PieceStream<BytesMessage>(session.Channel.Open(Pull, [("urlpath", address.AbsolutePath), ("urlhost", address.Host)], cancellationToken), piece => piece.Data);
        }
        catch (GrpcException e)
        {
            throw new BuildException(e.Message, inner: e);
        }
    }

    /// <summary>Asks for the context's .dockerignore, unless the Dockerfile came with one. A context of elsewhere has none, as in BuildKit.</summary>
    public async Task LoadIgnoredAsync()
    {
        if (_fetched is not null) return;
        var step = new ScratchStep { Title = "[internal] load .dockerignore" };
        await StepAsync(step, async () =>
        {
            if (!_ignoreKnown)
            {
                using var place = contexts.Take(null);
                await SyncAsync(options.ContextDirectory, options.SessionOf(options.ContextDirectory, sessionId), place.Root, null, [".dockerignore"], [], step, "transferring context:");
                if (ReadFile(place.Root, ".dockerignore", IgnoreFile.MaxBytes) is { } ignore) _ignore = Encoding.UTF8.GetString(ignore);
            }
            if (_ignore.Length > 0) Ignored = Patterns(Encoding.UTF8.GetBytes(_ignore));
            return true;
        });
    }

    private static PathPatterns Patterns(byte[] text)
    {
        try
        {
            return new PathPatterns(IgnoreFile.Parse(text));
        }
        catch (DockerfileException e)
        {
            throw new BuildException("failed to read dockerignore patterns: " + e.Message);
        }
    }

    public async Task<BuildContext> OpenContextAsync(ContextStep step, CancellationToken cancellationToken)
    {
        try
        {
            if (step.Name.Length == 0 && _fetched is { } fetched) return new BuildContext(fetched.Directory, Session.Keep(FileAt.Open(null, fetched.Directory, OpenFlags.ReadOnly | OpenFlags.Directory)), null);
            var directory = step.Name.Length > 0 ? step.Name : options.ContextDirectory;
            var session = options.SessionOf(directory, sessionId);
            var ignore = step.Name.Length > 0 ? await LoadIgnoredAsync(directory, session) : _ignore;
            var place = await TakeAsync(session, directory);
            await SyncAsync(directory, session, place.Root, place.Known, Plan is null ? null : ContextPaths.Needed(Plan, step.Name), ignore.Length > 0 ? IgnoreFile.Parse(Encoding.UTF8.GetBytes(ignore)) : [], step, "transferring context:");
            return new BuildContext(place.Path, place.Root, step.Name.Length > 0 ? null : Ignored) { Known = place.Known };
        }
        catch (Exception e) when (e is GrpcException or LinuxException)
        {
            throw new BuildException(e.Message, inner: e);
        }
    }

    // Of a context beside the build's own.
    private async Task<string> LoadIgnoredAsync(string directory, string session)
    {
        var step = new ScratchStep { Title = $"[context {directory}] load .dockerignore" };
        return await StepAsync(step, async () =>
        {
            using var place = contexts.Take(null);
            await SyncAsync(directory, session, place.Root, null, [".dockerignore"], [], step, "transferring context:");
            return ReadFile(place.Root, ".dockerignore", IgnoreFile.MaxBytes) is { } text ? Encoding.UTF8.GetString(text) : "";
        });
    }

    // A client that says from where it builds gets the directory back that it had before.
    private async Task<ContextPlace> TakeAsync(string session, string directory)
    {
        var shared = (await sessions.GetAsync(session, cancellation)).SharedKey;
        var place = contexts.Take(shared.Length > 0 ? $"{shared} {directory}" : null);
        lock (_lock) _places.Add(place);
        return place;
    }

    private async Task<T> StepAsync<T>(BuildStep step, Func<Task<T>> work)
    {
        status.Started(step);
        try
        {
            var result = await work();
            status.Ended(step, null);
            return result;
        }
        catch (Exception e)
        {
            var failure = e is GrpcException or LinuxException or IOException ? new BuildException(e.Message, inner: e) : e;
            status.Ended(step, failure);
            if (failure == e) throw;
            throw failure;
        }
    }

    private async Task SyncAsync(string directory, string session, SafeFileHandle root, KnownDigests? known, IReadOnlyList<string>? wanted, IReadOnlyList<string> ignored, BuildStep step, string what)
    {
        var channel = (await sessions.GetAsync(session, cancellation)).Channel;
        var metadata = new List<(string, string)> { ("dir-name", directory) };
        Add(metadata, "followpaths", wanted ?? []);
        Add(metadata, "exclude-patterns", ignored);
        await using var call = channel.Open(DiffCopy, metadata, cancellation);
        long bytes = 0;
        status.Transferring(step, what, 0, done: false);
        var receiver = new FileReceiver(root, count => status.Transferring(step, what, bytes = count, done: false), known);
        await receiver.ReceiveAsync(() => call.ReadAsync<Packet>(), call.WriteAsync);
        await call.CompleteAsync();
        status.Transferring(step, what, bytes, done: true);
    }

    // Headers take ASCII only; the client knows by a second header that it has to decode.
    private static void Add(List<(string, string)> metadata, string name, IReadOnlyList<string> values)
    {
        if (values.Count == 0) return;
        var encode = values.Any(v => v.Any(c => c > 0x7F || char.IsControl(c)));
        foreach (var value in values) metadata.Add((name, encode ? Uri.EscapeDataString(value) : value));
        if (encode) metadata.Add((name + "-encoded", "1"));
    }

    private static byte[]? ReadFile(SafeFileHandle root, string path, int maxBytes)
    {
        using var file = FileAt.TryOpen(root, path, OpenFlags.ReadOnly | OpenFlags.NonBlocking, ResolveFlags.InRoot | ResolveFlags.NoMagicLinks, out _);
        if (file is null || FileAt.Status(file) is not { Kind: FileKind.Regular } found) return null;
        if (found.SizeBytes > (ulong)maxBytes) throw new BuildException($"{path} is larger than {maxBytes} bytes");
        var bytes = new byte[found.SizeBytes];
        using var stream = new FileStream(file, FileAccess.Read, bufferSize: 0);
        stream.ReadExactly(bytes);
        return bytes;
    }

    public async Task<byte[]?> GetSecretAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            var session = await sessions.GetAsync(sessionId, cancellationToken);
            if (!session.Offers("/moby.buildkit.secrets.v1.Secrets/GetSecret")) return null;
            return (await session.Channel.CallAsync<BytesMessage>("/moby.buildkit.secrets.v1.Secrets/GetSecret", new TextMessage(id), cancellationToken)).Data;
        }
        catch (GrpcException e) when (e.Code is GrpcCode.NotFound or GrpcCode.Unimplemented)
        {
            return null;
        }
        catch (GrpcException e)
        {
            throw new BuildException(e.Message, inner: e);
        }
    }

    public async Task<IDisposable?> ForwardAgentAsync(string id, string path, CancellationToken cancellationToken)
    {
        try
        {
            var session = await sessions.GetAsync(sessionId, cancellationToken);
            if (!session.Offers(AgentForward.CheckMethod)) return null;
            await session.Channel.CallAsync<Empty>(AgentForward.CheckMethod, new TextMessage(id), cancellationToken);
            return new AgentForward(session.Channel, id, path, cancellation);
        }
        catch (GrpcException e) when (e.Code is GrpcCode.NotFound or GrpcCode.Unimplemented or GrpcCode.Unknown)
        {
            return null;
        }
        catch (GrpcException e)
        {
            throw new BuildException(e.Message, inner: e);
        }
    }

    public async Task PullAsync(ImageReference name, Images.Platform platform, Action<JsonMessage> progress, CancellationToken cancellationToken) =>
        await engine.Images.PullAsync(name.ToString(), null, platform.ToString(), await LoginAsync(name, cancellationToken), progress, cancellationToken);

    public async Task<RegistryCredentials?> GetCredentialsAsync(ImageReference name, bool push, CancellationToken cancellationToken) =>
        await LoginAsync(name, cancellationToken) is { } login ? new RegistryCredentials(login.Username, login.Password, login.IdentityToken, login.RegistryToken) : null;

    public IClientContent? OpenContent(string store) => new SessionContent(sessions, sessionId, store);

    /// <summary>An image of a directory of the client's that is laid out as OCI has it.</summary>
    /// <param name="name">What the Dockerfile calls it.</param>
    /// <param name="layout">store@digest</param>
    /// <exception cref="BuildException"/>
    public async Task<Image> LoadLayoutAsync(string name, string layout, Images.Platform platform)
    {
        var at = layout.LastIndexOf('@');
        if (at < 0) throw new BuildException($"oci-layout reference {Berth.Api.Go.GoText.Quote(layout)} has no digest");
        if (!Digest.TryParse(layout[(at + 1)..], out var digest)) throw new BuildException($"could not parse oci-layout reference {Berth.Api.Go.GoText.Quote(layout)}: invalid reference format");
        // A tag before the digest says nothing more.
        var store = layout[..at].Split(':')[0];
        using var source = Session.OpenSource(new SessionContent(sessions, sessionId, "oci:" + store).OpenAsync);
        try
        {
            var (manifest, config) = await StepAsync(new ScratchStep { Title = $"[context {name}] load metadata for {name}@{digest}" }, async () =>
            {
                var manifest = Manifest.Parse(await source.GetManifestAsync(digest.ToString(), cancellation));
                if (manifest.Manifests is not null)
                {
                    var entry = manifest.Matching(platform) is [var best, ..] ? best : throw new BuildException($"{name}@{digest}: no match for platform in manifest: not found");
                    manifest = Manifest.Parse(await source.GetManifestAsync(entry.DigestText!, cancellation));
                }
                return (manifest, await source.GetBlobAsync(manifest.Config!.Digest, cancellation));
            });
            var parsed = Images.ImageConfig.Parse(config);
            var diffIds = (parsed.RootFs?.DiffIds ?? []).Select(Digest.Parse).ToList();
            if (diffIds.Count != (manifest.Layers ?? []).Count) throw new BuildException($"{name}@{digest}: mismatched image rootfs and manifest layers");
            return await StepAsync(new ScratchStep { Title = $"[context {name}] OCI load from client" }, async () =>
            {
                for (var i = 0; i < diffIds.Count; i++) await source.FetchLayerAsync(diffIds[i], manifest.Layers![i], cancellation);
                return Image.Loose(parsed, config, new Images.Platform(parsed.Os ?? "linux", parsed.Architecture ?? "", parsed.Variant ?? ""), diffIds);
            });
        }
        catch (Exception e) when (e is ImageException or System.Text.Json.JsonException)
        {
            throw new BuildException(e.Message, inner: e);
        }
    }

    private async Task<AuthConfig?> LoginAsync(ImageReference name, CancellationToken cancellationToken)
    {
        var host = name.Domain == "docker.io" ? "registry-1.docker.io" : name.Domain;
        try
        {
            var session = await sessions.GetAsync(sessionId, cancellationToken);
            if (!session.Offers("/moby.filesync.v1.Auth/Credentials")) return null;
            var login = await session.Channel.CallAsync<CredentialsResponse>("/moby.filesync.v1.Auth/Credentials", new TextMessage(host), cancellationToken);
            if (login.Secret.Length == 0) return null;
            // Without a name the secret is a token that stands for the user.
            return login.Username.Length == 0 ? new AuthConfig { IdentityToken = login.Secret } : new AuthConfig { Username = login.Username, Password = login.Secret };
        }
        catch (GrpcException)
        {
            return null; // as nobody, then: the registry says whether that will do
        }
    }

    /// <summary>Gives the contexts back. What was built of them is done.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            foreach (var place in _places) place.Dispose();
            _places.Clear();
        }
        _session?.Dispose();
    }
}
