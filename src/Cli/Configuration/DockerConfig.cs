using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Berth.Api;

namespace Berth.Cli.Configuration;

/// <summary>
/// The configuration that Docker's clients share, <c>~/.docker/config.json</c>: who the user is to which registry, the context in use, formats of listings,
/// proxies for containers. What is not known here is written back as it was.
/// </summary>
internal sealed class DockerConfig
{
    /// <summary>Docker Hub's name in the file.</summary>
    public const string HubKey = "https://index.docker.io/v1/";

    private const int MaxBytes = 16 * 1024 * 1024;

    private readonly JsonObject root;

    // Why the file could not be read: then it is not written either.
    private readonly string? damage;

    private DockerConfig(string path, JsonObject root, string? damage) => (Path, this.root, this.damage) = (path, root, damage);

    public string Path { get; }

    /// <summary>Reads it. One that makes no sense is warned about, as by docker, and counts as empty.</summary>
    public static DockerConfig Load(CommandContext context)
    {
        var path = System.IO.Path.Combine(context.ConfigDirectory, "config.json");
        string? damage = null;
        try
        {
            var file = new FileInfo(path);
            if (!file.Exists) return new DockerConfig(path, [], null);
            if (file.Length > MaxBytes) throw new JsonException($"it has more than {MaxBytes} bytes");
            var text = File.ReadAllText(path);
            var root = string.IsNullOrWhiteSpace(text) ? [] : JsonNode.Parse(text) as JsonObject ?? throw new JsonException("it is not an object");
            var config = new DockerConfig(path, root, null);
            foreach (var server in config.Servers) config.FromFile(server); // so that what is wrong is said at once
            return config;
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException)
        {
            damage = e.Message;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            damage = e.Message;
        }
        context.Err.Write($"WARNING: Error parsing config file ({path}): {damage}\n");
        return new DockerConfig(path, [], damage);
    }

    /// <summary>A setting that is a text; null when it is not given.</summary>
    public string? Text(string name) => Text(root, name) is { Length: > 0 } text ? text : null;

    /// <summary>A setting that is a list of texts.</summary>
    public IReadOnlyList<string> List(string name) => root[name] is JsonArray list ? [.. list.OfType<JsonValue>().Where(v => v.GetValueKind() == JsonValueKind.String).Select(v => v.GetValue<string>())] : [];

    /// <summary>A setting that maps names to texts.</summary>
    public IReadOnlyDictionary<string, string> Map(string name)
    {
        var map = new SortedDictionary<string, string>(StringComparer.Ordinal);
        if (root[name] is JsonObject entries)
            foreach (var (key, value) in entries)
                if (value is JsonValue text && text.GetValueKind() == JsonValueKind.String) map[key] = text.GetValue<string>();
        return map;
    }

    /// <summary>
    /// The proxies that containers are told of: those of the engine's address, or else the default ones, as the variables
    /// they become, in both cases of letters.
    /// </summary>
    public IReadOnlyList<(string Name, string Value)> ProxiesFor(string host)
    {
        if (root["proxies"] is not JsonObject all || (all[host] ?? all["default"]) is not JsonObject proxies) return [];
        var variables = new List<(string, string)>();
        foreach (var (key, name) in (ReadOnlySpan<(string, string)>)[("httpProxy", "HTTP_PROXY"), ("httpsProxy", "HTTPS_PROXY"), ("noProxy", "NO_PROXY"), ("ftpProxy", "FTP_PROXY"), ("allProxy", "ALL_PROXY")])
        {
            if (Text(proxies, key) is not { Length: > 0 } value) continue;
            variables.Add((name, value));
            variables.Add((name.ToLowerInvariant(), value));
        }
        return variables;
    }

    /// <summary>Changes a text, or removes it ("") and saves.</summary>
    public void SetText(string name, string value)
    {
        if (value.Length == 0 && root[name] is null) return;
        if (value.Length == 0) root.Remove(name);
        else root[name] = value;
        Save();
    }

    private JsonObject? Auths => root["auths"] as JsonObject;

    /// <summary>Those that the file has something for, or names a helper of.</summary>
    public IReadOnlyCollection<string> KnownServers => [.. Servers.Union((root["credHelpers"] as JsonObject)?.Select(h => h.Key) ?? [])];

    private IEnumerable<string> Servers => Auths?.Select(a => a.Key).ToList() ?? [];

    /// <summary>The helper that keeps a server's credentials; null: the file itself.</summary>
    public string? HelperFor(string server) => root["credHelpers"] is JsonObject helpers && helpers[server] is JsonValue own ? own.GetValue<string>() : root["credsStore"] is JsonValue all ? NullIfEmpty(all.GetValue<string>()) : null;

    /// <summary>Nothing was ever said about credentials: the system's own store is used then, where there is one.</summary>
    public bool SaysNothing => Auths is not { Count: > 0 } && root["credsStore"] is null && root["credHelpers"] is not JsonObject { Count: > 0 };

    private static string? NullIfEmpty(string text) => text.Length > 0 ? text : null;

    /// <summary>What the file has for a server; older files name it by an address.</summary>
    public AuthConfig? Get(string server)
    {
        if (Auths?.ContainsKey(server) == true) return FromFile(server);
        return Servers.FirstOrDefault(s => HostOf(s) == server) is { } old ? FromFile(old) : null;
    }

    private AuthConfig? FromFile(string server)
    {
        if (Auths?[server] is not JsonObject entry) return null;
        var auth = new AuthConfig { ServerAddress = server, IdentityToken = Text(entry, "identitytoken"), RegistryToken = Text(entry, "registrytoken"), Email = Text(entry, "email") };
        if (Text(entry, "auth") is not { Length: > 0 } encoded) return auth with { Username = Text(entry, "username"), Password = Text(entry, "password") };
        string decoded;
        try
        {
            decoded = Encoding.UTF8.GetString(Convert.FromBase64String(encoded));
        }
        catch (FormatException)
        {
            throw new FormatException($"auths of {server}: illegal base64 data");
        }
        var colon = decoded.IndexOf(':');
        if (colon <= 0) throw new FormatException("Invalid auth configuration file");
        return auth with { Username = decoded[..colon], Password = decoded[(colon + 1)..].Trim('\0') };
    }

    private static string? Text(JsonObject entry, string name) => entry[name] is JsonValue value && value.TryGetValue(out string? text) ? text : null;

    /// <summary>Keeps credentials in the file; nothing happens when they are there. False: nothing was changed.</summary>
    public bool Set(string server, AuthConfig auth)
    {
        if (Auths?.ContainsKey(server) == true && FromFile(server) is { } there
            && (there.Username ?? "", there.Password ?? "", there.IdentityToken ?? "") == (auth.Username ?? "", auth.Password ?? "", auth.IdentityToken ?? "")) return false;
        var entry = Auths?[server] as JsonObject ?? [];
        foreach (var name in (ReadOnlySpan<string>)["auth", "username", "password", "identitytoken"]) entry.Remove(name);
        if (auth.Username is { Length: > 0 } || auth.Password is { Length: > 0 })
            entry["auth"] = Convert.ToBase64String(Encoding.UTF8.GetBytes($"{auth.Username}:{auth.Password}"));
        if (auth.IdentityToken is { Length: > 0 } token) entry["identitytoken"] = token;
        var auths = Auths;
        if (auths is null) root["auths"] = auths = [];
        if (auths[server] != entry) auths[server] = entry;
        Save();
        return true;
    }

    public void Remove(string server)
    {
        if (Auths?.Remove(server) == true) Save();
    }

    // Another program may read it at any moment: it is replaced whole. Nobody but the user may read it, unless the user said otherwise.
    private void Save()
    {
        if (damage is not null) throw new CommandException($"{Path} is not changed, for it could not be read: {damage}");
        var target = (new FileInfo(Path).LinkTarget is null ? null : File.ResolveLinkTarget(Path, returnFinalTarget: true)?.FullName) ?? Path;
        var directory = System.IO.Path.GetDirectoryName(target)!;
        const UnixFileMode owner = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        if (!Directory.Exists(directory))
        {
            if (OperatingSystem.IsWindows()) Directory.CreateDirectory(directory);
            else Directory.CreateDirectory(directory, owner | UnixFileMode.UserExecute);
        }
        var temporary = $"{target}{Random.Shared.Next():x8}";
        try
        {
            var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
            if (!OperatingSystem.IsWindows()) options.UnixCreateMode = File.Exists(target) ? File.GetUnixFileMode(target) : owner;
            using (var file = new FileStream(temporary, options))
            using (var writer = new Utf8JsonWriter(file, new JsonWriterOptions { Indented = true, IndentCharacter = '\t', IndentSize = 1, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
                root.WriteTo(writer);
            File.Move(temporary, target, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    /// <summary>"https://host:port/path" and "host:port/path" are host:port.</summary>
    public static string HostOf(string address)
    {
        if (address.Contains("://", StringComparison.Ordinal) && Uri.TryCreate(address, UriKind.Absolute, out var url) && url.Host.Length > 0) return url.IsDefaultPort ? url.Host : url.Authority;
        var slash = address.IndexOf('/');
        return slash < 0 ? address : address[..slash];
    }
}
