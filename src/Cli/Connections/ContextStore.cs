using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;
using Berth.Api;

namespace Berth.Cli.Connections;

/// <summary>Where an engine is, under a name.</summary>
internal sealed record DockerContext
{
    public const string Default = "default", DefaultDescription = "Current DOCKER_HOST based configuration";

    public string Name { get; init; } = "";

    public string Description { get; init; } = "";

    public string Host { get; init; } = "";

    public bool SkipTlsVerify { get; init; }

    /// <summary>ca.pem, cert.pem and key.pem, those that are there.</summary>
    public IReadOnlyDictionary<string, byte[]> TlsFiles { get; init; } = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);

    /// <summary>Null: the connection is not secured.</summary>
    public EngineTls? Tls => TlsFiles.Count == 0 && !SkipTlsVerify ? null : new EngineTls { Authorities = File("ca.pem"), Certificate = File("cert.pem"), Key = File("key.pem"), SkipVerification = SkipTlsVerify };

    private string? File(string name) => TlsFiles.TryGetValue(name, out var bytes) ? Encoding.UTF8.GetString(bytes) : null;
}

/// <summary>
/// The contexts that Docker's clients share: <c>contexts/meta/&lt;sha256 of the name&gt;/meta.json</c> and
/// <c>contexts/tls/&lt;the same&gt;/docker/{ca,cert,key}.pem</c> under ~/.docker.
/// </summary>
internal sealed partial class ContextStore(string configDirectory)
{
    public const string Endpoint = "docker";

    /// <summary>Longest file that is read of a context.</summary>
    public const int MaxFileBytes = 10 << 20;

    private static readonly string[] TlsNames = ["ca.pem", "cert.pem", "key.pem"];

    [GeneratedRegex("^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$")]
    private static partial Regex GoodName();

    private static string Id(string name) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(name)));

    public string MetadataPath(string name) => Path.Combine(configDirectory, "contexts", "meta", Id(name));

    public string TlsPath(string name) => Path.Combine(configDirectory, "contexts", "tls", Id(name));

    /// <exception cref="CommandException">It is none for a new context.</exception>
    public static void CheckName(string name)
    {
        if (name.Length == 0) throw new CommandException("context name cannot be empty");
        if (name == DockerContext.Default) throw new CommandException("\"default\" is a reserved context name");
        if (!GoodName().IsMatch(name)) throw new CommandException($"context name {GoText.Quote(name)} is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\"");
    }

    public bool Exists(string name) => File.Exists(Path.Combine(MetadataPath(name), "meta.json"));

    /// <exception cref="CommandException">It is not there, or makes no sense.</exception>
    public DockerContext Read(string name)
    {
        var path = Path.Combine(MetadataPath(name), "meta.json");
        if (!File.Exists(path)) throw new CommandException($"context {GoText.Quote(name)}: context not found: open {path}: no such file or directory{Commands.NearestName.Text(name, List().Select(c => c.Name))}");
        var context = Parse(ReadFile(path), path);
        var files = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (var file in TlsNames)
            if (Path.Combine(TlsPath(name), Endpoint, file) is var pem && File.Exists(pem)) files[file] = ReadFile(pem);
        return context with { TlsFiles = files };
    }

    private static byte[] ReadFile(string path)
    {
        try
        {
            var info = new FileInfo(path);
            return info.Length <= MaxFileBytes ? File.ReadAllBytes(path) : throw new CommandException($"{path} has more than {MaxFileBytes} bytes");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CommandException($"open {path}: {Commands.Files.Reason(e)}");
        }
    }

    /// <exception cref="CommandException">It makes no sense.</exception>
    public static DockerContext Parse(byte[] json, string path)
    {
        try
        {
            var meta = JsonSerializer.Deserialize(json, ContextJson.Default.ContextMetadata) ?? throw new JsonException("it is null");
            var endpoint = meta.Endpoints?.GetValueOrDefault(Endpoint) ?? new();
            return new DockerContext { Name = meta.Name ?? "", Description = meta.Metadata?.Description ?? "", Host = endpoint.Host ?? "", SkipTlsVerify = endpoint.SkipTLSVerify };
        }
        catch (JsonException e)
        {
            throw new CommandException($"parsing {path}: {e.Message}");
        }
    }

    public static byte[] Serialize(DockerContext context) => JsonSerializer.SerializeToUtf8Bytes(
        new ContextMetadata
        {
            Name = context.Name,
            Metadata = new() { Description = context.Description.Length > 0 ? context.Description : null },
            Endpoints = new(StringComparer.Ordinal) { [Endpoint] = new() { Host = context.Host, SkipTLSVerify = context.SkipTlsVerify } },
        },
        ContextJson.Default.ContextMetadata);

    /// <summary>All that are kept, the default not among them; those that cannot be read are left out.</summary>
    public IEnumerable<DockerContext> List()
    {
        var directory = Path.Combine(configDirectory, "contexts", "meta");
        if (!Directory.Exists(directory)) yield break;
        foreach (var entry in Directory.EnumerateDirectories(directory))
        {
            var path = Path.Combine(entry, "meta.json");
            if (File.Exists(path)) yield return Parse(ReadFile(path), path);
        }
    }

    public void Write(DockerContext context)
    {
        const UnixFileMode owner = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        const UnixFileMode readable = owner | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;
        var meta = MetadataPath(context.Name);
        Create(meta, readable);
        var temporary = Path.Combine(meta, $"meta.json{Random.Shared.Next():x8}");
        File.WriteAllBytes(temporary, Serialize(context));
        File.Move(temporary, Path.Combine(meta, "meta.json"), overwrite: true);
        if (Directory.Exists(TlsPath(context.Name))) Directory.Delete(TlsPath(context.Name), recursive: true);
        if (context.TlsFiles.Count == 0) return;
        var tls = Path.Combine(TlsPath(context.Name), Endpoint);
        Create(tls, owner);
        foreach (var (name, bytes) in context.TlsFiles)
        {
            if (!TlsNames.Contains(name)) continue;
            var options = new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write };
            if (!OperatingSystem.IsWindows()) options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            using var file = new FileStream(Path.Combine(tls, name), options);
            file.Write(bytes);
        }
    }

    private static void Create(string directory, UnixFileMode mode)
    {
        if (OperatingSystem.IsWindows()) Directory.CreateDirectory(directory);
        else Directory.CreateDirectory(directory, mode);
    }

    public void Remove(string name)
    {
        if (Directory.Exists(MetadataPath(name))) Directory.Delete(MetadataPath(name), recursive: true);
        if (Directory.Exists(TlsPath(name))) Directory.Delete(TlsPath(name), recursive: true);
    }
}

internal sealed record ContextMetadata
{
    public string? Name { get; init; }
    public ContextDetails? Metadata { get; init; }
    public Dictionary<string, ContextEndpoint>? Endpoints { get; init; }
}

internal sealed record ContextDetails
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Description { get; init; }
}

internal sealed record ContextEndpoint
{
    public string? Host { get; init; }
    public bool SkipTLSVerify { get; init; }
}

[JsonSerializable(typeof(ContextMetadata))]
internal sealed partial class ContextJson : JsonSerializerContext;
