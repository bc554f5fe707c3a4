using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Berth.Api;

namespace Berth.Cli.Registries;

/// <summary>Asks a registry for manifests and small blobs, and gives it some, without an engine: distribution-spec, with the logins of the configuration.</summary>
internal sealed partial class RegistryClient(CommandContext context, string repository, bool insecure, bool push = false) : IDisposable
{
    private const string Accepted =
        "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

    private const int MaxManifestBytes = 4 << 20;

    [GeneratedRegex("([a-z_]+)=\"([^\"]*)\"", RegexOptions.IgnoreCase)]
    private static partial Regex Parameter();

    private EngineClient? _client;
    private string? _authorization;

    /// <summary>A registry on this machine may do without TLS.</summary>
    public static bool IsOfThisMachine(string repository) => repository.Split('/')[0].Split(':')[0] is "localhost" or "127.0.0.1";

    private (string Host, string Path) Place() => PlaceOf(repository);

    private static (string Host, string Path) PlaceOf(string repository)
    {
        var slash = repository.IndexOf('/');
        var first = slash < 0 ? "" : repository[..slash];
        if (first == "localhost" || first.AsSpan().ContainsAny('.', ':')) return (first is "docker.io" or "index.docker.io" ? "registry-1.docker.io" : first, repository[(slash + 1)..]);
        return ("registry-1.docker.io", slash < 0 ? "library/" + repository : repository);
    }

    /// <summary>The manifest as it is kept, and its media type.</summary>
    /// <exception cref="CommandException">The registry has none, or does not give it.</exception>
    public async Task<(string MediaType, byte[] Bytes)> ManifestAsync(string reference)
    {
        try
        {
            using var response = await SendAsync("GET", $"/v2/{Place().Path}/manifests/{reference}", accept: Accepted);
            return (response.Header("Content-Type")?.Split(';')[0] ?? "", await BytesAsync(response.Body));
        }
        catch (EngineApiException e) when (e.Status == 404)
        {
            throw new CommandException($"no such manifest: {repository}{(reference.Contains(':') ? '@' : ':')}{reference}");
        }
        catch (EngineApiException e)
        {
            throw new CommandException($"{Place().Host}: {e.DaemonMessage}");
        }
    }

    /// <summary>A small blob, whole and checked.</summary>
    /// <exception cref="CommandException">The registry has none, or gives another.</exception>
    public async Task<byte[]> BlobAsync(string digest)
    {
        try
        {
            using var response = await SendAsync("GET", $"/v2/{Place().Path}/blobs/{digest}");
            byte[] bytes;
            if (response.Status is >= 300 and < 400 && Uri.TryCreate(response.Header("Location"), UriKind.Absolute, out var elsewhere))
            {
                // Kept by somebody else, who is not shown the login.
                using var client = ClientAt(elsewhere);
                using var there = await client.SendAsync("GET", elsewhere.PathAndQuery, versioned: false, cancellationToken: context.Cancelled);
                bytes = await BytesAsync(there.Body);
            }
            else bytes = await BytesAsync(response.Body);
            return Digest(bytes) == digest ? bytes : throw new CommandException($"{Place().Host} gave other bytes than those of {digest}");
        }
        catch (EngineApiException e)
        {
            throw new CommandException($"{Place().Host}: {digest}: {e.DaemonMessage}");
        }
    }

    public static string Digest(ReadOnlySpan<byte> bytes) => "sha256:" + Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes));

    /// <summary>Uploads a small blob, unless it is there.</summary>
    /// <exception cref="CommandException">The registry does not take it.</exception>
    public async Task PushBlobAsync(byte[] bytes)
    {
        var digest = Digest(bytes);
        try
        {
            try
            {
                using var there = await SendAsync("HEAD", $"/v2/{Place().Path}/blobs/{digest}");
                return;
            }
            catch (EngineApiException e) when (e.Status == 404)
            {
            }
            string place;
            using (var upload = await SendAsync("POST", $"/v2/{Place().Path}/blobs/uploads/")) place = upload.Header("Location") ?? throw new CommandException($"{Place().Host} says no place to upload to");
            if (Uri.TryCreate(place, UriKind.Absolute, out var absolute) && absolute.Scheme is "http" or "https") place = absolute!.PathAndQuery;
            using var put = await SendAsync("PUT", place + (place.Contains('?') ? "&" : "?") + "digest=" + Uri.EscapeDataString(digest), bytes, "application/octet-stream");
        }
        catch (EngineApiException e)
        {
            throw new CommandException($"{Place().Host}: {e.DaemonMessage}");
        }
    }

    /// <summary>The registry's own refusal comes through: another form may be taken.</summary>
    public async Task PushManifestAsync(string reference, byte[] bytes, string mediaType)
    {
        using var put = await SendAsync("PUT", $"/v2/{Place().Path}/manifests/{reference}", bytes, mediaType);
    }

    /// <summary>Takes a blob from another repository of the same registry.</summary>
    /// <returns>False: the registry did not take it from there.</returns>
    public async Task<bool> MountAsync(string digest, string from)
    {
        try
        {
            using var response = await SendAsync("POST", new EnginePath($"/v2/{Place().Path}/blobs/uploads/").Add("mount", digest).Add("from", PlaceOf(from).Path).ToString());
            return response.Status == 201;
        }
        catch (EngineApiException e)
        {
            throw new CommandException($"failed to mount blob {from}@{digest}: {e.DaemonMessage}");
        }
    }

    private async Task<EngineResponse> SendAsync(string method, string path, byte[]? body = null, string contentType = "application/json", string? accept = null)
    {
        var (host, name) = Place();
        for (var attempt = 0; ; attempt++)
        {
            _client ??= ClientOf(host, tls: true);
            try
            {
                if (_authorization is not null) _client = WithAuthorization(host, _client);
                return await _client.SendAsync(method, path, body ?? default(ReadOnlyMemory<byte>), contentType: contentType, header: accept is null ? null : ("Accept", accept), versioned: false, cancellationToken: context.Cancelled);
            }
            catch (EngineApiException e) when (e.Status == 401 && attempt < 2 && _authorization is null && e.Challenge is { } challenge)
            {
                _authorization = await AuthorizationAsync(challenge, host, name);
            }
            catch (EngineConnectionException) when (insecure && _client.Host.Tls is not null)
            {
                _client.Dispose();
                _client = ClientOf(host, tls: false);
            }
            catch (EngineConnectionException e)
            {
                throw new CommandException($"registry {host} cannot be reached: {(e.InnerException ?? e).Message}");
            }
        }
    }

    private EngineClient ClientOf(string host, bool tls) => new(
        EngineHost.Parse("tcp://" + (host.Contains(':') ? host : host + (tls ? ":443" : ":80")), tls ? new EngineTls { SkipVerification = insecure } : null), userAgent: "Berth-Client/" + BuildInfo.Version, blocking: true)
    {
        Headers = _authorization is null ? [] : [("Authorization", _authorization)],
    };

    // Another host than the registry: where its blobs lie, or who gives its tokens. It is shown no login but what the request itself has.
    private EngineClient ClientAt(Uri url) => new(
        EngineHost.Parse($"tcp://{url.Host}:{url.Port}", url.Scheme == "https" ? new EngineTls { SkipVerification = insecure } : null), userAgent: "Berth-Client/" + BuildInfo.Version, blocking: true);

    private EngineClient WithAuthorization(string host, EngineClient client)
    {
        if (client.Headers.Count > 0) return client;
        var tls = client.Host.Tls is not null;
        client.Dispose();
        return ClientOf(host, tls);
    }

    private async Task<string> AuthorizationAsync(string challenge, string host, string path)
    {
        var known = await new Credentials(context).GetAsync(host == "registry-1.docker.io" ? Configuration.DockerConfig.HubKey : host);
        var basic = known is { Username.Length: > 0, Password.Length: > 0 } ? "Basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes($"{known.Username}:{known.Password}")) : null;
        if (challenge.StartsWith("Basic", StringComparison.OrdinalIgnoreCase)) return basic ?? throw new CommandException($"{host} wants a login: {context.ProgramName} login {host}");
        var parameters = Parameter().Matches(challenge).ToDictionary(m => m.Groups[1].Value.ToLowerInvariant(), m => m.Groups[2].Value);
        if (!parameters.TryGetValue("realm", out var realm) || !Uri.TryCreate(realm, UriKind.Absolute, out var url) || url.Scheme is not ("https" or "http")) throw new CommandException($"{host} asks for a login in an unknown way: {challenge}");
        // A password goes over an open line only where the user said that it may.
        var open = url.Scheme == "http";
        using var client = ClientAt(url);
        var query = new EnginePath(url.AbsolutePath).AddIf("service", parameters.GetValueOrDefault("service")).Add("scope", $"repository:{path}:pull{(push ? ",push" : "")}");
        try
        {
            using var response = await client.SendAsync("GET", query, header: basic is null || (open && !insecure) ? null : ("Authorization", basic), versioned: false, cancellationToken: context.Cancelled);
            var answer = JsonNode.Parse(await BytesAsync(response.Body));
            return "Bearer " + ((string?)answer?["token"] ?? (string?)answer?["access_token"] ?? throw new CommandException($"{url.Host} gave no token"));
        }
        catch (EngineApiException e)
        {
            throw new CommandException($"{url.Host}: {e.DaemonMessage}");
        }
        catch (System.Text.Json.JsonException e)
        {
            throw new CommandException($"{url.Host} answered no JSON: {e.Message}");
        }
    }

    private async Task<byte[]> BytesAsync(Stream body)
    {
        using var bytes = new MemoryStream();
        var buffer = new byte[16 * 1024];
        int read;
        while ((read = await body.ReadAsync(buffer, context.Cancelled)) > 0)
        {
            if (bytes.Length + read > MaxManifestBytes) throw new CommandException($"the registry's answer has more than {MaxManifestBytes} bytes");
            bytes.Write(buffer, 0, read);
        }
        return bytes.ToArray();
    }

    public void Dispose() => _client?.Dispose();
}
