using System.Net;
using System.Text.Json;
using Berth.Images.Registry;

namespace Berth.Images;

// What is asked of registries without keeping anything.
public sealed partial class ImageStore
{
    /// <summary>Where Docker Hub's accounts and its search are.</summary>
    private const string HubIndex = "index.docker.io";

    /// <summary>Results of a search that are asked for unless the caller says.</summary>
    private const int DefaultSearchLimit = 25, MaxSearchLimit = 100;

    /// <summary>Whether a registry takes the credentials. Returns a token to keep instead of the password, if the registry gives one.</summary>
    /// <param name="server">As the user wrote it, with or without <c>https://</c> and a path; empty: Docker Hub.</param>
    /// <exception cref="ImageException">InvalidParameter: no address. Unauthorized and System: see <see cref="RegistryClient.LoginAsync"/>.</exception>
    public async Task<string?> LoginAsync(string server, RegistryCredentials credentials, CancellationToken cancellation)
    {
        var host = HubIndex;
        if (server.Length > 0)
        {
            var address = server.StartsWith("https://", StringComparison.Ordinal) || server.StartsWith("http://", StringComparison.Ordinal) ? server : "https://" + server;
            if (!Uri.TryCreate(address, UriKind.Absolute, out var url)) throw ImageException.Invalid($"unable to parse server address: parse \"{address}\": invalid URL");
            host = url.Authority;
        }
        ImageException? last = null;
        foreach (var endpoint in RegistryEndpoint.For(host == HubIndex ? ImageReference.DefaultDomain : host, options.Registries, push: true))
        {
            // Only the registry itself: a mirror does not know its users.
            if (endpoint.IsMirror || !endpoint.TakesCredentials) continue;
            using var registry = new RegistryClient(transport, endpoint, "", credentials, options, actions: "");
            try
            {
                return await registry.LoginAsync(cancellation).ConfigureAwait(false);
            }
            catch (ImageException e) when (e.Kind != ImageErrorKind.Unauthorized)
            {
                last = e;
            }
            catch (IOException e)
            {
                last = ImageException.Failed(e.Message, e);
            }
        }
        throw last ?? ImageException.Failed($"no endpoints found for {host}");
    }

    /// <summary>What a name means in its registry: descriptor and platforms of the manifest or index.</summary>
    /// <exception cref="ImageException">NotFound, Unauthorized, Forbidden: the registry's own word. System.</exception>
    public async Task<RemoteManifest> InspectRemoteAsync(ImageReference name, RegistryCredentials? credentials, CancellationToken cancellation)
    {
        name = name.WithDefaultTag();
        Exception? last = null;
        foreach (var endpoint in RegistryEndpoint.For(name.Domain, options.Registries))
        {
            using var registry = new RegistryClient(transport, endpoint, name.Path, credentials, options);
            try
            {
                await registry.ReachAsync(cancellation).ConfigureAwait(false);
                return await InspectAsync(registry, name, cancellation).ConfigureAwait(false);
            }
            catch (Exception e) when (!cancellation.IsCancellationRequested && e is RegistryException or ImageException or IOException)
            {
                last = e;
                if (e is not RegistryUnreachableException && !endpoint.IsMirror) break;
            }
        }
        throw last switch
        {
            RegistryException { Code: not null and not RegistryException.NoCredentialsCode } e => new ImageException(e.Status switch
            {
                401 => ImageErrorKind.Unauthorized,
                403 => ImageErrorKind.Forbidden,
                404 => ImageErrorKind.NotFound,
                _ => ImageErrorKind.System,
            }, e.Message, e),
            ImageException e => e,
            null => ImageException.Failed($"no endpoints found for {name.FamiliarString}"),
            var e => ImageException.Failed(e.Message, e),
        };
    }

    private static async Task<RemoteManifest> InspectAsync(RegistryClient registry, ImageReference name, CancellationToken cancellation)
    {
        var (bytes, digest) = await registry.GetManifestAsync(name.HasDigest ? name.Digest.ToString() : name.Tag!, cancellation).ConfigureAwait(false);
        var manifest = Manifest.Parse(bytes, name);
        var type = manifest.MediaType ?? (manifest.IsIndex ? MediaTypes.OciIndex : MediaTypes.OciManifest);
        // As Docker: an index says it itself, for Docker's own manifests the configuration is looked at, for OCI's not.
        IReadOnlyList<DescriptorPlatform>? platforms = null;
        if (manifest.IsIndex) platforms = [.. manifest.Manifests!.Select(m => m.Platform ?? new DescriptorPlatform())];
        else if (type == MediaTypes.DockerManifest)
        {
            try
            {
                var config = await registry.GetBlobAsync(manifest.Config!.Digest, cancellation).ConfigureAwait(false);
                var platform = manifest.Config.Digest.Verifies(config) ? JsonSerializer.Deserialize(config, ImagesJson.Default.DescriptorPlatform) : null;
                if (platform is { IsEmpty: false }) platforms = [platform];
            }
            catch (Exception e) when (e is RegistryException or JsonException)
            {
                // Docker shows the descriptor all the same.
            }
        }
        return new RemoteManifest(new Descriptor { MediaType = type, DigestText = digest.ToString(), SizeBytes = bytes.Length }, platforms);
    }

    /// <summary>Asks a registry that offers it (<c>/v1/search</c>) for repositories.</summary>
    /// <param name="term">With a host in front, that registry; else Docker Hub.</param>
    /// <param name="limit">0: <see cref="DefaultSearchLimit"/>.</param>
    /// <exception cref="ImageException">InvalidParameter: the term, the limit, or no such registry. System: what it answers.</exception>
    public async Task<IReadOnlyList<SearchResult>> SearchAsync(string term, int limit, RegistryCredentials? credentials, CancellationToken cancellation)
    {
        if (term.Contains("://", StringComparison.Ordinal)) throw ImageException.Invalid($"invalid repository name: repository name ({term}) should not have a scheme");
        var slash = term.IndexOf('/');
        var first = slash < 0 ? "" : term[..slash];
        var isHub = !(first.Contains('.') || first.Contains(':') || first == "localhost") || first is ImageReference.DefaultDomain or HubIndex;
        var host = isHub ? HubIndex : first;
        if (first.Length > 0 && (!isHub || first is ImageReference.DefaultDomain or HubIndex)) term = term[(slash + 1)..];
        if (isHub && term.StartsWith("library/", StringComparison.Ordinal)) term = term["library/".Length..];
        if (limit == 0) limit = DefaultSearchLimit;

        var failures = new List<string>();
        var ways = RegistryEndpoint.For(host, options.Registries, push: true).Where(e => !e.IsMirror).ToList();
        foreach (var endpoint in ways)
        {
            using var registry = new RegistryClient(transport, endpoint, "", credentials, options, actions: "");
            if (!isHub && await registry.PingIndexAsync(cancellation).ConfigureAwait(false) is { } failure)
            {
                failures.Add(failure);
                continue;
            }
            if (limit is < 1 or > MaxSearchLimit) throw ImageException.Invalid($"limit {limit} is outside the range of [1, {MaxSearchLimit}]");
            return await registry.SearchAsync(term, limit, cancellation).ConfigureAwait(false);
        }
        if (ways.Count > 1) throw ImageException.Invalid($"invalid registry endpoint \"http://{host}/v1/\". HTTPS attempt: {failures[0]}. HTTP attempt: {failures[1]}");
        throw ImageException.Invalid($"invalid registry endpoint https://{host}/v1/: {failures.FirstOrDefault()}. If this private registry supports only HTTP or HTTPS with an unknown CA certificate, please add " +
            $"`--insecure-registry {host}` to the daemon's arguments. In the case of HTTPS, if you have access to the registry's CA certificate, no need for the flag; simply place the CA certificate at /etc/docker/certs.d/{host}/ca.crt");
    }
}

/// <summary>What a name means in a registry.</summary>
/// <param name="Platforms">Null when the manifest does not say.</param>
public sealed record RemoteManifest(Descriptor Descriptor, IReadOnlyList<DescriptorPlatform>? Platforms);

/// <summary>A repository that a search found.</summary>
public sealed record SearchResult
{
    [System.Text.Json.Serialization.JsonPropertyName("name")] public string? Name { get; init; }
    [System.Text.Json.Serialization.JsonPropertyName("description")] public string? Description { get; init; }
    [System.Text.Json.Serialization.JsonPropertyName("star_count")] public int StarCount { get; init; }
    [System.Text.Json.Serialization.JsonPropertyName("is_official")] public bool IsOfficial { get; init; }
}
