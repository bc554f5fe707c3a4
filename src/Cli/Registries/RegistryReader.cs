using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Berth.Api;

namespace Berth.Cli.Registries;

/// <summary>Asks a registry for manifests, without an engine: distribution-spec, with the logins of the configuration.</summary>
internal sealed partial class RegistryReader(CommandContext context, string repository, bool insecure) : IDisposable
{
    private const string Accepted =
        "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

    private const int MaxManifestBytes = 4 << 20;

    [GeneratedRegex("([a-z_]+)=\"([^\"]*)\"", RegexOptions.IgnoreCase)]
    private static partial Regex Parameter();

    private EngineClient? _client;
    private string? _authorization;

    private (string Host, string Path) Place()
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
        var (host, path) = Place();
        for (var attempt = 0; ; attempt++)
        {
            _client ??= ClientOf(host, tls: true);
            try
            {
                if (_authorization is not null) _client = WithAuthorization(host, _client);
                using var response = await _client.SendAsync("GET", $"/v2/{path}/manifests/{reference}", header: ("Accept", Accepted), versioned: false, cancellationToken: context.Cancelled);
                return (response.Header("Content-Type")?.Split(';')[0] ?? "", await BytesAsync(response.Body));
            }
            catch (EngineApiException e) when (e.Status == 401 && attempt < 2 && _authorization is null && e.Challenge is { } challenge)
            {
                _authorization = await AuthorizationAsync(challenge, host, path);
            }
            catch (EngineApiException e) when (e.Status == 404)
            {
                throw new CommandException($"no such manifest: {repository}{(reference.Contains(':') ? '@' : ':')}{reference}");
            }
            catch (EngineApiException e)
            {
                throw new CommandException($"{host}: {e.DaemonMessage}");
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
        using var client = new EngineClient(EngineHost.Parse($"tcp://{url.Host}:{url.Port}", open ? null : new EngineTls { SkipVerification = insecure }), userAgent: "Berth-Client/" + BuildInfo.Version, blocking: true);
        var query = new EnginePath(url.AbsolutePath).AddIf("service", parameters.GetValueOrDefault("service")).Add("scope", $"repository:{path}:pull");
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
