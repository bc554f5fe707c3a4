using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using Berth.Api;
using Berth.Cli.Commands.Images;
using Berth.Cli.Registries;

namespace Berth.Cli.Commands.Compose;

/// <summary>
/// Compose files that are elsewhere: in a registry, as `publish` put them there, or in a git repository. They are copied to docker compose's own cache, by digest or commit, and read there.
/// </summary>
internal sealed class RemoteFiles(CommandContext context)
{
    public const string ProjectType = "application/vnd.docker.compose.project", FileType = "application/vnd.docker.compose.file+yaml", EnvFileType = "application/vnd.docker.compose.envfile", EmptyConfigType = "application/vnd.docker.compose.config.empty.v1+json";

    private const string Prefix = "oci://";

    private static readonly string[] Names = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

    private readonly Dictionary<string, string> _known = new(StringComparer.Ordinal);

    /// <summary>Where a copy is; null: this names a file of this machine.</summary>
    /// <exception cref="CommandException">It cannot be had.</exception>
    public string? Find(string path)
    {
        if (_known.TryGetValue(path, out var known)) return known;
        if (path.StartsWith(Prefix, StringComparison.Ordinal))
        {
            if (!Enabled("COMPOSE_EXPERIMENTAL_OCI_REMOTE")) throw new CommandException("OCI remote resource is disabled by \"COMPOSE_EXPERIMENTAL_OCI_REMOTE\"");
            try
            {
                return _known[path] = FromRegistryAsync(path[Prefix.Length..]).GetAwaiter().GetResult();
            }
            catch (CommandException e)
            {
                throw new CommandException($"failed to pull OCI resource {GoText.Quote(path[Prefix.Length..])}: {e.Message}");
            }
        }
        if (!IsGit(path)) return null;
        if (!Enabled("COMPOSE_EXPERIMENTAL_GIT_REMOTE")) throw new CommandException("git remote resource is disabled by \"COMPOSE_EXPERIMENTAL_GIT_REMOTE\"");
        return _known[path] = FromGit(path);
    }

    private bool Enabled(string variable) => context.Variable(variable)?.ToLowerInvariant() is not ("0" or "f" or "false");

    private string Cache => context.Variable("XDG_CACHE_HOME") is { Length: > 0 } own ? Path.Combine(own, "docker-compose") : Path.Combine(context.HomeDirectory, ".cache", "docker-compose");

    // ---- registries

    private async Task<string> FromRegistryAsync(string reference)
    {
        var name = ImageName.Parse(reference);
        using var registry = new RegistryClient(context, name.Repository, RegistryClient.IsOfThisMachine(name.Repository));
        var (type, bytes) = await registry.ManifestAsync(name.Digest.Length > 0 ? name.Digest : name.Tag.Length > 0 ? name.Tag : "latest");
        var directory = Path.Combine(Cache, RegistryClient.Digest(bytes)["sha256:".Length..]);
        var file = Path.Combine(directory, "compose.yaml");
        if (File.Exists(file)) return file;
        var manifest = Json(bytes, reference);
        if (type.EndsWith("image.index.v1+json", StringComparison.Ordinal))
        {
            // A whole application: images, and among them the project.
            var project = (manifest["manifests"] as JsonArray)?.FirstOrDefault(m => (string?)m?["artifactType"] == ProjectType) ?? throw new CommandException($"OCI index {reference} doesn't refer to compose artifacts");
            (_, bytes) = await registry.ManifestAsync((string?)project["digest"] ?? "");
            manifest = Json(bytes, reference);
        }
        var artifact = (string?)manifest["artifactType"] ?? "";
        if (artifact.Length > 0 ? artifact != ProjectType : (string?)manifest["config"]?["mediaType"] != EmptyConfigType) throw new CommandException($"{reference} is not a compose project OCI artifact, but {artifact}");
        var temporary = directory + "." + Environment.ProcessId.ToString(System.Globalization.CultureInfo.InvariantCulture);
        Directory.CreateDirectory(temporary);
        try
        {
            var first = true;
            foreach (var layer in manifest["layers"] as JsonArray ?? [])
            {
                var digest = (string?)layer?["digest"] ?? "";
                var annotations = layer?["annotations"];
                var content = (string?)layer?["data"] is { } data && Convert.FromBase64String(data) is var inline && RegistryClient.Digest(inline) == digest ? inline : await registry.BlobAsync(digest);
                var target = (string?)layer?["mediaType"] switch
                {
                    FileType => annotations?["com.docker.compose.extends"] is not null ? Plain((string?)annotations["com.docker.compose.file"]) : "compose.yaml",
                    EnvFileType => Plain((string?)annotations?["com.docker.compose.envfile"]),
                    _ => null,
                };
                if (target is null) continue;
                await using var stream = new FileStream(Path.Combine(temporary, target), FileMode.Append);
                if (!first && target == "compose.yaml") await stream.WriteAsync("\n---\n"u8.ToArray());
                await stream.WriteAsync(content);
                first = false;
            }
            if (!File.Exists(Path.Combine(temporary, "compose.yaml"))) throw new CommandException($"{reference} has no compose file");
            if (!Directory.Exists(directory)) Directory.Move(temporary, directory);
            return file;
        }
        finally
        {
            if (Directory.Exists(temporary)) Directory.Delete(temporary, recursive: true);
        }

        // It comes from elsewhere, and it is to stay in its directory.
        static string Plain(string? name) => name is { Length: > 0 } and not ("." or "..") && !name.AsSpan().ContainsAny('/', '\\') ? name : throw new CommandException("invalid OCI artifact");
    }

    private static JsonNode Json(byte[] bytes, string reference)
    {
        try
        {
            return JsonNode.Parse(bytes) as JsonObject ?? throw new CommandException($"{reference}: its manifest is no JSON object");
        }
        catch (System.Text.Json.JsonException e)
        {
            throw new CommandException($"{reference}: its manifest is no JSON: {e.Message}");
        }
    }

    // ---- git

    private static bool IsGit(string path) =>
        path.StartsWith("git://", StringComparison.Ordinal) || path.StartsWith("ssh://", StringComparison.Ordinal) || path.StartsWith("git@", StringComparison.Ordinal) || path.StartsWith("github.com/", StringComparison.Ordinal)
        || ((path.StartsWith("https://", StringComparison.Ordinal) || path.StartsWith("http://", StringComparison.Ordinal)) && (path.Split('#')[0].EndsWith(".git", StringComparison.Ordinal) || path.StartsWith("https://github.com/", StringComparison.Ordinal)))
        || (path.StartsWith("file://", StringComparison.Ordinal) && path.Split('#')[0].EndsWith(".git", StringComparison.Ordinal));

    // https://host/repository.git#ref:directory
    private string FromGit(string path)
    {
        var hash = path.IndexOf('#');
        var (remote, fragment) = hash < 0 ? (path, "") : (path[..hash], path[(hash + 1)..]);
        if (remote.StartsWith("github.com/", StringComparison.Ordinal)) remote = "https://" + remote;
        var colon = fragment.IndexOf(':');
        var (reference, below) = colon < 0 ? (fragment, "") : (fragment[..colon], fragment[(colon + 1)..]);
        if (reference.Length == 0) reference = "HEAD";
        // A name that begins with a dash would be an option of git's.
        if (reference.StartsWith('-') || remote.StartsWith('-')) throw new CommandException($"{path} is no git repository");
        if (below.Split('/', '\\').Contains("..")) throw new CommandException($"git subdirectory path traversal detected: {below}");
        if (below.StartsWith('/')) throw new CommandException($"git subdirectory must be relative, got: {below}");
        if (!IsCommit(reference))
        {
            var (code, output) = Git(null, "ls-remote", "--exit-code", "--", remote, reference);
            if (code == 2) throw new CommandException($"repository does not contain ref {path}, output: {GoText.Quote(output)}: exit status 2");
            if (code != 0) throw new CommandException($"failed to access repository at {remote}:\n {output}");
            reference = output.Length >= 40 && IsCommit(output[..40]) ? output[..40] : throw new CommandException($"unexpected git command output: {GoText.Quote(output)}");
        }
        var directory = Path.Combine(Cache, reference);
        if (!Directory.Exists(directory))
        {
            var temporary = directory + "." + Environment.ProcessId.ToString(System.Globalization.CultureInfo.InvariantCulture);
            Directory.CreateDirectory(temporary);
            try
            {
                foreach (var words in (string[][])[["init", "--quiet"], ["remote", "add", "origin", remote], ["fetch", "--quiet", "--depth=1", "origin", reference], ["checkout", "--quiet", reference]])
                    if (Git(temporary, words) is (not 0, var output)) throw new CommandException($"failed to access repository at {remote}:\n {output}");
                if (!Directory.Exists(directory)) Directory.Move(temporary, directory);
            }
            finally
            {
                if (Directory.Exists(temporary)) Directory.Delete(temporary, recursive: true);
            }
        }
        var place = below.Length == 0 ? directory : Path.Combine(directory, below);
        if (File.Exists(place)) return place;
        foreach (var name in Names)
            if (File.Exists(Path.Combine(place, name))) return Path.Combine(place, name);
        throw new CommandException(Directory.Exists(place) ? $"no compose file in {path}: not found" : $"stat {place}: no such file or directory");
    }

    private static bool IsCommit(string text) => text.Length == 40 && !text.AsSpan().ContainsAnyExcept("0123456789abcdef");

    private (int Code, string Output) Git(string? directory, params string[] words)
    {
        var start = new ProcessStartInfo("git", words) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        if (directory is not null) start.WorkingDirectory = directory;
        // Nobody is asked for passwords behind a program's back.
        if (string.IsNullOrEmpty(context.Variable("GIT_TERMINAL_PROMPT"))) start.Environment["GIT_TERMINAL_PROMPT"] = "0";
        if (string.IsNullOrEmpty(context.Variable("GIT_SSH")) && string.IsNullOrEmpty(context.Variable("GIT_SSH_COMMAND"))) start.Environment["GIT_SSH_COMMAND"] = "ssh -o ControlMaster=no -o BatchMode=yes";
        try
        {
            using var process = Process.Start(start)!;
            process.StandardInput.Close();
            var error = process.StandardError.ReadToEndAsync();
            var output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, output + error.GetAwaiter().GetResult());
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new CommandException($"git is needed for {string.Join(' ', words)}: {e.Message}");
        }
    }
}
