using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Berth.Api;
using Berth.Api.BuildKit;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;

namespace Berth.Cli.Commands.Builds;

/// <summary>What a build is made from and how, as the flags say it: attributes for the builder's frontend by BuildKit's names, and what the session has to offer for them.</summary>
internal sealed class BuildInputs : IDisposable
{
    /// <summary>Largest secret, as of docker.</summary>
    private const int MaxSecretBytes = 500 * 1024;

    /// <summary>Largest Dockerfile, as the engine takes it.</summary>
    private const int MaxDockerfileBytes = 16 * 1024 * 1024;

    private const string ContextDirectory = "context", DockerfileDirectory = "dockerfile";

    private readonly CommandContext _context;
    private readonly Arguments _flags;
    private readonly ClientSession _session;
    private readonly List<string> _temporary = [];

    private BuildInputs(CommandContext context, Arguments flags, ClientSession session) => (_context, _flags, _session) = (context, flags, session);

    public Dictionary<string, string> Attributes { get; } = new(StringComparer.Ordinal);
    public List<string> Entitlements { get; } = [];
    public List<TypeAndAttributes> CacheFrom { get; } = [];
    public List<TypeAndAttributes> CacheTo { get; } = [];

    /// <summary>Names whose address only the builder knows: they are put into "add-hosts" when it has said it.</summary>
    public List<string> GatewayHosts { get; } = [];

    /// <summary>Local caches whose index is written when the build has ended: by directory, the tag.</summary>
    public Dictionary<string, string> CacheTags { get; } = new(StringComparer.Ordinal);

    /// <summary>As the user would type it.</summary>
    public string DockerfileName { get; private set; } = "Dockerfile";

    public void Dispose()
    {
        foreach (var directory in _temporary)
        {
            try
            {
                Directory.Delete(directory, recursive: true);
            }
            catch (IOException)
            {
                // It is in the system's place for such files.
            }
        }
    }

    /// <exception cref="CommandException">Something that can't be.</exception>
    public static BuildInputs Of(CommandContext context, Arguments flags, ClientSession session)
    {
        var inputs = new BuildInputs(context, flags, session);
        try
        {
            inputs.LoadContext(flags.Positional[0], flags.String("file"));
            foreach (var text in flags.List("build-context")) inputs.AddContext(text);
            inputs.AddAttributes();
            inputs.AddAttestations();
            inputs.AddCaches();
            foreach (var text in flags.List("secret")) inputs.AddSecret(text);
            foreach (var text in flags.List("ssh")) inputs.AddAgent(text);
            return inputs;
        }
        catch
        {
            inputs.Dispose();
            throw;
        }
    }

    // ---- where the files are

    private static bool IsRemote(string source) => source.StartsWith("http://", StringComparison.Ordinal) || source.StartsWith("https://", StringComparison.Ordinal) || source.StartsWith("git://", StringComparison.Ordinal)
        || source.StartsWith("git@", StringComparison.Ordinal) || source.StartsWith("ssh://", StringComparison.Ordinal) || source.StartsWith("github.com/", StringComparison.Ordinal);

    private void LoadContext(string source, string file)
    {
        Stream? dockerfile = null;
        var (directory, name) = ("", file);
        if (source == "-")
        {
            if (file == "-") throw new CommandException("invalid argument: can't use stdin for both build context and dockerfile");
            if (_context.Terminal.InputIsTerminal) throw new CommandException("the context is read from standard input, which is a terminal: type a path, or a Dockerfile with <");
            var input = Peek(out var isArchive);
            if (isArchive) Attributes[ContextDirectory] = _session.AddUpload(input);
            else
            {
                if (file.Length > 0) throw new CommandException("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles");
                dockerfile = input;
                DockerfileName = "-";
                _session.AddDirectory(ContextDirectory, Temporary());
            }
        }
        else if (IsRemote(source))
        {
            Attributes[ContextDirectory] = source;
            if (file == "-") dockerfile = _context.InStream;
            else if (Path.IsPathRooted(file))
            {
                (directory, name) = (Path.GetDirectoryName(file)!, Path.GetFileName(file));
                Attributes["dockerfilekey"] = DockerfileDirectory;
            }
            if (file.Length > 0) DockerfileName = file;
        }
        else if (Directory.Exists(source))
        {
            var path = Path.GetFullPath(source);
            _session.AddDirectory(ContextDirectory, path);
            _session.SharedKey = KeyOf(path);
            if (file == "-") dockerfile = _context.InStream;
            else if (file.Length == 0)
            {
                directory = path;
                name = File.Exists(Path.Combine(path, "Dockerfile")) || !File.Exists(Path.Combine(path, "dockerfile")) ? "Dockerfile" : "dockerfile";
                DockerfileName = Path.GetRelativePath(Directory.GetCurrentDirectory(), Path.Combine(path, name));
            }
            else
            {
                var full = Path.GetFullPath(file);
                (directory, name) = (Path.GetDirectoryName(full)!, Path.GetFileName(full));
                if (name == "Dockerfile" && !File.Exists(full) && File.Exists(Path.Combine(directory, "dockerfile"))) name = "dockerfile";
                DockerfileName = file;
            }
            if (file == "-") DockerfileName = "-";
            else if (!File.Exists(Path.Combine(directory, name)))
                throw new CommandException($"failed to read dockerfile: open {DockerfileName}: {(Directory.Exists(Path.Combine(directory, name)) ? "is a directory" : "no such file or directory")}");
        }
        else throw new CommandException(File.Exists(source) ? $"unable to prepare context: \"{source}\" is a file: the context is a directory, -f names the Dockerfile" : $"unable to prepare context: path \"{source}\" not found");

        if (dockerfile is not null)
        {
            (directory, name) = (Temporary(), "Dockerfile");
            Attributes["dockerfilekey"] = DockerfileDirectory;
            using var to = File.Create(Path.Combine(directory, name));
            var buffer = new byte[16 * 1024];
            for (int count; (count = dockerfile.Read(buffer)) > 0;)
            {
                to.Write(buffer, 0, count);
                if (to.Length > MaxDockerfileBytes) throw new CommandException($"the Dockerfile is larger than {MaxDockerfileBytes} bytes");
            }
        }
        if (directory.Length > 0) _session.AddDirectory(DockerfileDirectory, directory);
        Attributes["filename"] = name.Length > 0 ? name : "Dockerfile";
    }

    private Stream Peek(out bool isArchive)
    {
        var head = new byte[512];
        var count = 0;
        for (int read; count < head.Length && (read = _context.InStream.Read(head, count, head.Length - count)) > 0;) count += read;
        isArchive = head.AsSpan(0, count) is [0x1F, 0x8B, ..] or [0x28, 0xB5, 0x2F, 0xFD, ..] or [(byte)'B', (byte)'Z', (byte)'h', ..] or [0xFD, (byte)'7', (byte)'z', ..]
            || (count == head.Length && head.AsSpan(257, 5).SequenceEqual("ustar"u8));
        return new JoinedStream(head.AsMemory(0, count), _context.InStream);
    }

    private string Temporary()
    {
        var directory = Directory.CreateTempSubdirectory("berth-build-").FullName;
        _temporary.Add(directory);
        return directory;
    }

    // For people, and for this directory of this user on this machine alone. It goes into a header.
    private static string KeyOf(string path)
    {
        var hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{Environment.MachineName}\n{Environment.UserName}\n{path}")))[..24];
        var name = new StringBuilder();
        foreach (var c in Path.GetFileName(path)) name.Append(char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.' ? c : '_');
        return $"{name}:{hash}";
    }

    private void AddContext(string text)
    {
        if (text.Length == 0) return;
        if (text.Split('=', 2) is not [{ Length: > 0 } name, { Length: > 0 } path]) throw new CommandException($"invalid context value: {text}, expected key=value");
        if (name.EndsWith(":latest", StringComparison.Ordinal)) name = name[..^":latest".Length];
        if (IsRemote(path) || path.StartsWith("docker-image://", StringComparison.Ordinal) || path.StartsWith("target:", StringComparison.Ordinal))
        {
            Attributes["context:" + name] = path;
            return;
        }
        const string Layout = "oci-layout://";
        if (path.StartsWith(Layout, StringComparison.Ordinal))
        {
            var (place, digest, tag) = (path[Layout.Length..], "", "");
            if (place.LastIndexOf("@sha256:", StringComparison.Ordinal) is >= 0 and var at) (place, digest) = (place[..at], place[(at + 1)..]);
            if (place.LastIndexOf(':') is > 0 and var colon && !place.AsSpan(colon).Contains('/')) (place, tag) = (place[..colon], place[(colon + 1)..]);
            var store = new ContentDirectory(place);
            if (digest.Length == 0) digest = store.Find(tag.Length > 0 ? tag : "latest", orOnly: true) ?? throw new CommandException($"oci-layout reference \"{path}\" could not be resolved: failed to resolve digest");
            var id = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(12));
            _session.AddStore("oci:" + id, store);
            Attributes["context:" + name] = $"{Layout}{id}{(tag.Length > 0 ? ":" + tag : "")}@{digest}";
            return;
        }
        if (!Directory.Exists(path)) throw new CommandException(File.Exists(path) ? $"failed to get build context path {path}: not a directory" : $"failed to get build context {name}: stat {path}: no such file or directory");
        var local = name is ContextDirectory or DockerfileDirectory ? "_" + name : name;
        _session.AddDirectory(local, Path.GetFullPath(path));
        Attributes["context:" + name] = "local:" + local;
        Attributes["sharedkey:localdir:" + name] = KeyOf(Path.GetFullPath(path));
    }

    // ---- how

    private void AddAttributes()
    {
        foreach (var (name, value) in _context.Config.ProxiesFor(_context.Connection.HostText)) Attributes["build-arg:" + name] = value;
        foreach (var argument in _flags.List("build-arg"))
        {
            var equals = argument.IndexOf('=');
            if (equals > 0) Attributes["build-arg:" + argument[..equals]] = argument[(equals + 1)..];
            else if (_context.Variable(argument) is { } value) Attributes["build-arg:" + argument] = value;
        }
        foreach (var label in _flags.List("label")) Attributes["label:" + label.Split('=', 2)[0]] = label.Split('=', 2) is [_, var value] ? value : "";
        Attributes["image-resolve-mode"] = _flags.Bool("pull") ? "pull" : "local";
        if (_flags.String("target") is { Length: > 0 } target) Attributes["target"] = target;
        var stages = Split("no-cache-filter");
        if (_flags.Bool("no-cache")) Attributes["no-cache"] = "";
        else if (stages.Count > 0) Attributes["no-cache"] = string.Join(',', stages);
        if (_flags.String("cgroup-parent") is { Length: > 0 } parent) Attributes["cgroup-parent"] = parent;
        var platforms = Split("platform");
        if (platforms.Count == 0 && _context.Variable("DOCKER_DEFAULT_PLATFORM") is { Length: > 0 } platform) platforms = [platform];
        if (platforms.Count > 0) Attributes["platform"] = string.Join(',', platforms);
        switch (_flags.String("network"))
        {
            case "host":
                Attributes["force-network-mode"] = "host";
                Entitlements.Add("network.host");
                break;
            case "none": Attributes["force-network-mode"] = "none"; break;
            case "" or "default": break;
            case var network: throw new CommandException($"network mode \"{network}\" not supported by buildkit");
        }
        foreach (var allowed in _flags.List("allow")) if (!Entitlements.Contains(allowed)) Entitlements.Add(allowed);
        foreach (var (flag, name) in (ReadOnlySpan<(string, string)>)[("shm-size", "shm-size"), ("memory", "memory"), ("memory-swap", "memswap"), ("cpu-shares", "cpushares"), ("cpu-period", "cpuperiod"), ("cpu-quota", "cpuquota"), ("cpuset-cpus", "cpusetcpus"), ("cpuset-mems", "cpusetmems")])
            if (_flags.Changed(flag) && _flags.String(flag) is { Length: > 0 } value and not "0") Attributes[name] = value;
        var hosts = new List<string>();
        foreach (var host in Split("add-host"))
        {
            var cut = host.IndexOf('=') is > 0 and var equals ? equals : host.IndexOf(':');
            if (cut <= 0 || cut == host.Length - 1) throw new CommandException($"invalid host {host}");
            var (name, address) = (host[..cut], host[(cut + 1)..]);
            if (address == "host-gateway") GatewayHosts.Add(name);
            else hosts.Add($"{name}={(address is ['[', .., ']'] ? address[1..^1] : address)}");
        }
        if (hosts.Count > 0) Attributes["add-hosts"] = string.Join(',', hosts);
        var limits = new List<string>();
        foreach (var text in _flags.List("ulimit"))
        {
            var limit = CreateRequestBuilder.ParseUlimit(text);
            limits.Add(string.Create(CultureInfo.InvariantCulture, $"{limit.Name}={limit.Soft}:{limit.Hard}"));
        }
        if (limits.Count > 0) Attributes["ulimit"] = string.Join(',', limits);
        if (Attributes.GetValueOrDefault("build-arg:BUILDKIT_MULTI_PLATFORM") is "true" or "1") Attributes["multi-platform"] = "true";
        if (Attributes.GetValueOrDefault("build-arg:BUILDKIT_SYNTAX") is not { } syntax) return;
        if (syntax.Trim().Length == 0) throw new CommandException("empty BUILDKIT_SYNTAX build-arg is invalid, use --build-arg BUILDKIT_SYNTAX without '=' for optional behavior");
        Attributes["source"] = syntax.Trim().Split(' ')[0];
        Attributes["cmdline"] = syntax;
    }

    /// <summary>A frontend that is an image, when the user asks for one.</summary>
    public string Frontend => Attributes.ContainsKey("source") ? "gateway.v0" : "dockerfile.v0";

    private List<string> Split(string flag)
    {
        var values = new List<string>();
        foreach (var text in _flags.List(flag)) values.AddRange(text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
        return values;
    }

    private void AddAttestations()
    {
        foreach (var attest in _flags.List("attest"))
        {
            var fields = BuildOutputs.Fields(attest, "attest");
            if (!fields.Remove("type", out var type) || type.Length == 0) throw new CommandException($"attestation type not specified: {attest}");
            if (fields.Remove("disabled", out var disabled) && disabled is "" or "true" or "1") continue;
            var words = new List<string>();
            foreach (var (key, value) in fields) words.Add($"{key}={value}");
            Attributes["attest:" + type] = string.Join(',', words);
        }
        foreach (var type in (ReadOnlySpan<string>)["provenance", "sbom"])
            if (_flags.Changed(type) && _flags.String(type) is var value and not ("false" or "0")) Attributes["attest:" + type] = value is "true" or "1" or "" ? "" : value;
    }

    private void AddCaches()
    {
        foreach (var text in _flags.List("cache-to"))
        {
            if (Location(text, "cache-to") is not { } to) continue;
            if (to.Type == "local")
            {
                if (to.Attributes.GetValueOrDefault("dest") is not { Length: > 0 } directory) throw new CommandException("local cache exporter requires dest");
                Directory.CreateDirectory(directory);
                _session.AddStore("local:" + directory, new ContentDirectory(directory));
                CacheTags[directory] = to.Attributes.GetValueOrDefault("tag", "latest");
            }
            CacheTo.Add(to);
        }
        if (Attributes.GetValueOrDefault("build-arg:BUILDKIT_INLINE_CACHE") is "1" or "true") CacheTo.Add(new TypeAndAttributes("inline", new Dictionary<string, string>()));
        foreach (var text in _flags.List("cache-from"))
        {
            if (Location(text, "cache-from") is not { } place) continue;
            if (place.Type == "local")
            {
                if (place.Attributes.GetValueOrDefault("src") is not { Length: > 0 } directory) throw new CommandException("local cache importer requires src");
                var store = new ContentDirectory(directory);
                var digest = place.Attributes.GetValueOrDefault("digest") ?? store.Find(place.Attributes.GetValueOrDefault("tag", "latest"), orOnly: false);
                if (digest is null || !store.Has(digest))
                {
                    _context.Err.Write($"WARNING: local cache import at {directory} skipped: {(digest is null ? $"no digest found for tag {place.Attributes.GetValueOrDefault("tag", "latest")}" : $"digest {digest} unavailable")}\n");
                    continue;
                }
                place = place with { Attributes = new Dictionary<string, string>(place.Attributes) { ["digest"] = digest } };
                _session.AddStore("local:" + directory, store);
            }
            CacheFrom.Add(place);
        }
        if (CacheFrom.Count == 0) return;
        var imports = new List<BuildOutputOption>();
        foreach (var from in CacheFrom) imports.Add(new BuildOutputOption { Type = from.Type, Attrs = new Dictionary<string, string>(from.Attributes) });
        Attributes["cache-imports"] = JsonSerializer.Serialize(imports, ApiJson.Wire.ListBuildOutputOption);
    }

    // "name" alone is a registry's; "type=…,ref=…" says it.
    private static TypeAndAttributes Location(string text, string flag)
    {
        if (!text.Contains('=', StringComparison.Ordinal))
            return text == "inline" && flag == "cache-to" ? new TypeAndAttributes("inline", new Dictionary<string, string>()) : new TypeAndAttributes("registry", new Dictionary<string, string> { ["ref"] = text });
        var fields = BuildOutputs.Fields(text, flag);
        if (!fields.Remove("type", out var type)) throw new CommandException("type required form> \"" + text + "\"");
        if (type == "registry" && fields.GetValueOrDefault("ref", "").Length == 0) throw new CommandException($"registry cache {(flag == "cache-to" ? "exporter" : "importer")} requires ref");
        return new TypeAndAttributes(type, fields);
    }

    private void AddSecret(string text)
    {
        var fields = BuildOutputs.Fields(text, "secret");
        if (!fields.TryGetValue("id", out var id) || id.Length == 0) throw new CommandException($"invalid secret {text}: it has no id");
        var file = fields.GetValueOrDefault("src") ?? fields.GetValueOrDefault("source") ?? "";
        var variable = fields.GetValueOrDefault("env") ?? "";
        if (file.Length == 0 && variable.Length == 0)
        {
            if (_context.Variable(id) is not null) variable = id;
            else file = id;
        }
        if (variable.Length > 0)
        {
            _session.AddSecret(id, Encoding.UTF8.GetBytes(_context.Variable(variable) ?? ""));
            return;
        }
        using var stream = Files.OpenRead(file);
        var content = new MemoryStream();
        var buffer = new byte[4096];
        for (int count; (count = stream.Read(buffer)) > 0;)
        {
            content.Write(buffer, 0, count);
            if (content.Length > MaxSecretBytes) throw new CommandException($"invalid secret size {content.Length}: secrets are limited to {MaxSecretBytes} bytes");
        }
        _session.AddSecret(id, content.ToArray());
    }

    // default, or id=socket. Keys themselves are the agent's business.
    private void AddAgent(string text)
    {
        var (id, path) = text.Split('=', 2) is [var name, var given] ? (name, given) : (text, "");
        if (path.Length == 0) path = _context.Variable("SSH_AUTH_SOCK") ?? "";
        if (path.Length == 0) throw new CommandException("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set");
        if (path.Contains(',')) throw new CommandException("only single socket allowed");
        if (!File.Exists(path)) throw new CommandException($"stat {path}: no such file or directory");
        // A socket has no attributes of a file that is read; a key does.
        if ((File.GetAttributes(path) & (FileAttributes.Directory | FileAttributes.Device)) == FileAttributes.Directory || new FileInfo(path).Length > 0)
            throw new CommandException($"{path} is no socket: berth build forwards an agent and reads no keys; add the key with ssh-add and use --ssh {(id.Length > 0 ? id : "default")}");
        _session.AddAgent(id.Length > 0 ? id : "default", path);
    }

    /// <summary>Two streams, one after the other.</summary>
    private sealed class JoinedStream(ReadOnlyMemory<byte> head, Stream rest) : SequentialStream
    {
        private ReadOnlyMemory<byte> _head = head;

        public override bool CanRead => true;

        public override int Read(Span<byte> buffer)
        {
            if (_head.IsEmpty) return rest.Read(buffer);
            var count = Math.Min(buffer.Length, _head.Length);
            _head.Span[..count].CopyTo(buffer);
            _head = _head[count..];
            return count;
        }
    }
}
