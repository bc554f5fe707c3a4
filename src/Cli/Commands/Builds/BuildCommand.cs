using System.Text;
using System.Text.Json;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;
using Berth.Cli.Registries;

namespace Berth.Cli.Commands.Builds;

internal static class BuildCommand
{
    /// <summary>Largest secret, as of docker.</summary>
    private const int MaxSecretBytes = 500 * 1024;

    /// <summary>All of them travel in one header.</summary>
    private const int MaxSecretsBytes = 16 * 1024;

    public static readonly Command Command = new()
    {
        Paths = ["build", "image build", "builder build"],
        Usage = "[OPTIONS] PATH | URL | -",
        Summary = "Build an image from a Dockerfile",
        CommonRank = 3,
        Flags = static () =>
        [
            new("add-host", FlagKind.List, "A name and its address for /etc/hosts of commands (host:ip)"),
            new("allow", FlagKind.List, "Permit network.host or security.insecure to commands"),
            new("annotation", FlagKind.List, "Add an annotation to the image"),
            new("attest", FlagKind.List, "Say how the image was made (type=provenance|sbom)"),
            new("build-arg", FlagKind.List, "Set a build-time variable"),
            new("build-context", FlagKind.List, "Another directory or image that the Dockerfile may name (name=path)"),
            new("builder", FlagKind.String, "Accepted for docker's sake: the engine is the builder") { Hidden = true },
            new("cache-from", FlagKind.List, "Where else results are looked for (type=registry,ref=NAME)"),
            new("cache-to", FlagKind.List, "Where results are put for others (type=registry|inline)"),
            new("call", FlagKind.String, "What to do: build, or check") { Default = "build" },
            new("cgroup-parent", FlagKind.String, "Parent cgroup of commands"),
            new("check", FlagKind.Bool, "The same as --call=check"),
            new("compress", FlagKind.Bool, "Accepted for docker's sake: the engine is near") { Hidden = true },
            new("cpu-period", FlagKind.Int, "CPU CFS period of commands") { Hidden = true },
            new("cpu-quota", FlagKind.Int, "CPU CFS quota of commands") { Hidden = true },
            new("cpu-shares", 'c', FlagKind.Int, "CPU weight of commands") { Hidden = true },
            new("cpuset-cpus", FlagKind.String, "CPUs for commands (0-3, 0,1)") { Hidden = true },
            new("cpuset-mems", FlagKind.String, "Memory nodes for commands (0-3, 0,1)") { Hidden = true },
            new("debug", 'D', FlagKind.Bool, "Explain warnings"),
            new("disable-content-trust", FlagKind.Bool, "Accepted for docker's sake") { Default = "true", Hidden = true },
            new("file", 'f', FlagKind.String, "The Dockerfile (PATH/Dockerfile); - reads it from STDIN"),
            new("force-rm", FlagKind.Bool, "Accepted for docker's sake: nothing is left behind") { Hidden = true },
            new("iidfile", FlagKind.String, "Write the image's id to this file"),
            new("isolation", FlagKind.String, "Accepted for docker's sake") { Hidden = true },
            new("label", FlagKind.List, "Set a label of the image"),
            new("load", FlagKind.Bool, "Put the image into the engine's store (the default)"),
            new("memory", 'm', FlagKind.Bytes, "Memory limit of commands") { Hidden = true },
            new("memory-swap", FlagKind.BytesOrUnlimited, "Memory and swap limit of commands") { Hidden = true },
            new("metadata-file", FlagKind.String, "Write what is known of the result to this file"),
            new("network", FlagKind.String, "Network of commands (default, none, host)") { Default = "default" },
            new("no-cache", FlagKind.Bool, "Do everything again"),
            new("no-cache-filter", FlagKind.List, "Do these stages again"),
            new("output", 'o', FlagKind.List, "What comes out (type=local|tar|oci|docker|image|registry,dest=PATH), or a directory"),
            new("platform", FlagKind.List, "Platform of the image, os[/arch[/variant]]"),
            new("progress", FlagKind.String, "How it is shown: auto, plain, tty, quiet, rawjson"),
            new("provenance", FlagKind.String, "The same as --attest=type=provenance"),
            new("pull", FlagKind.Bool, "Fetch base images even when they are here"),
            new("push", FlagKind.Bool, "Send the image to its registry"),
            new("quiet", 'q', FlagKind.Bool, "Print the image's id only"),
            new("rm", FlagKind.Bool, "Accepted for docker's sake: nothing is left behind") { Default = "true", Hidden = true },
            new("sbom", FlagKind.String, "The same as --attest=type=sbom"),
            new("secret", FlagKind.List, "A secret for commands (id=NAME[,src=FILE|,env=VARIABLE])"),
            new("security-opt", FlagKind.List, "Accepted for docker's sake") { Hidden = true },
            new("shm-size", FlagKind.Bytes, "Size of /dev/shm of commands"),
            new("squash", FlagKind.Bool, "Not done") { Hidden = true },
            new("ssh", FlagKind.List, "SSH agent for commands (default|ID[=SOCKET])"),
            new("tag", 't', FlagKind.List, "Name of the image (NAME[:TAG])"),
            new("target", FlagKind.String, "The stage to build"),
            new("ulimit", FlagKind.List, "Limits of commands"),
        ],
        MinArguments = 1,
        MaxArguments = 1,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        Refuse(flags);
        var check = flags.Bool("check") || flags.String("call") is "check" or "lint";
        if (!check && flags.String("call") is not ("build" or "")) throw new CommandException($"--call={flags.String("call")} is not supported: build, check");
        var mode = Mode(context, flags);
        var outputs = BuildOutputs.Of(context, flags);
        var path = Query(flags, check);
        var source = flags.Positional[0];
        var dockerfile = flags.String("file");
        using var sent = BuildContextTar.Open(context, source, dockerfile);
        foreach (var (name, value) in sent.Query) path = path.Add(name, value);
        if (outputs.Wanted.Count > 0) path = path.Add("outputs", JsonSerializer.Serialize(outputs.Wanted, ApiJson.Wire.ListBuildOutputOption));
        if (!outputs.NamesImage) foreach (var tag in flags.List("tag")) path = path.Add("t", tag);

        var headers = new List<(string, string)> { ("Accept", BuildEvent.MediaType) };
        if (await LoginsAsync(context, flags, sent.Dockerfile) is { } logins) headers.Add(("X-Registry-Config", logins));
        if (Secrets(context, flags.List("secret")) is { } secrets) headers.Add((BuildEvent.SecretsHeader, secrets));
        context.Flush();
        using var view = BuildView.Create(mode, context, () => sent.Dockerfile, sent.DockerfileName, explain: flags.Bool("debug") || context.Debug);
        EngineResponse response;
        try
        {
            response = await context.Client.BuildImageAsync(path, sent.Tar, headers, invocation.Cancelled);
        }
        catch (EngineApiException e)
        {
            throw new CommandException((mode == "quiet" ? "" : "ERROR: ") + e.Message);
        }
        using (response)
        {
            if (response.Header("Content-Type")?.StartsWith(BuildEvent.MediaType, StringComparison.Ordinal) != true) return await ClassicAsync(context, response, flags, mode);
            await foreach (var line in EngineClient.ReadBuildEventsAsync(response.Body, invocation.Cancelled))
            {
                if (line.Kind == "data") outputs.Take(line.Output, line.Data ?? []);
                else view.Show(line);
            }
        }
        if (view.Failure is { } failure)
        {
            view.Dispose();
            if (failure.Text is { Length: > 0 } text) throw new CommandException(view.Explain(failure, text));
            return 1;
        }
        if (check)
        {
            if (view.Warnings == 0) context.Out.Write("Check complete, no warnings found.\n");
            return view.Warnings > 0 ? 1 : 0;
        }
        if (view.Result is not { } result) throw new CommandException("the engine ended the build without a result");
        WriteResults(context, flags, result);
        if (mode == "quiet" && result.Image is { Length: > 0 } image) context.Out.Write(image + "\n");
        return 0;
    }

    private static void Refuse(Arguments flags)
    {
        if (flags.Bool("squash")) throw new CommandException("squash is not supported: build from scratch with COPY --from for one layer");
        foreach (var flag in (ReadOnlySpan<string>)["ssh", "build-context", "no-cache-filter"])
            if (flags.List(flag).Count > 0) throw new CommandException($"--{flag} is not supported by berth build yet: use docker buildx build, which this engine serves as well");
        if (flags.List("platform").SelectMany(p => p.Split(',')).Count() > 1) throw new CommandException("several platforms at once are not supported by berth build yet: use docker buildx build, which this engine serves as well");
    }

    private static string Mode(CommandContext context, Arguments flags)
    {
        if (flags.Bool("quiet")) return "quiet";
        var mode = flags.String("progress") is { Length: > 0 } given ? given : context.Variable("BUILDKIT_PROGRESS") is { Length: > 0 } variable ? variable : "auto";
        return mode switch
        {
            "auto" => context.Terminal.OutputIsTerminal ? "tty" : "plain",
            "plain" or "tty" or "quiet" or "rawjson" => mode,
            "none" => "quiet",
            _ => throw new CommandException($"invalid progress mode {mode}: auto, plain, tty, quiet, rawjson"),
        };
    }

    private static EnginePath Query(Arguments flags, bool check)
    {
        var path = new EnginePath("/build").AddIf("nocache", flags.Bool("no-cache")).AddIf("pull", flags.Bool("pull")).AddIf("target", flags.String("target")).AddIf("call", check ? "check" : null)
            .AddIf("platform", flags.List("platform") is [var platform] ? platform : null).AddIf("cgroupparent", flags.String("cgroup-parent")).AddIf("cpusetcpus", flags.String("cpuset-cpus")).AddIf("cpusetmems", flags.String("cpuset-mems"));
        if (flags.Changed("network")) path = path.Add("networkmode", flags.String("network"));
        foreach (var (flag, name) in (ReadOnlySpan<(string, string)>)[("cpu-period", "cpuperiod"), ("cpu-quota", "cpuquota"), ("cpu-shares", "cpushares"), ("memory", "memory"), ("memory-swap", "memswap"), ("shm-size", "shmsize")])
            if (flags.Changed(flag)) path = path.Add(name, flags.String(flag));
        foreach (var host in flags.List("add-host")) path = path.Add("extrahosts", host);
        foreach (var allowed in flags.List("allow")) path = path.Add("allow", allowed);
        var arguments = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var argument in flags.List("build-arg"))
        {
            var equals = argument.IndexOf('=');
            if (equals > 0) arguments[argument[..equals]] = argument[(equals + 1)..];
            else if (Environment.GetEnvironmentVariable(argument) is { } value) arguments[argument] = value;
        }
        if (arguments.Count > 0) path = path.Add("buildargs", JsonSerializer.Serialize(arguments, ApiJson.Wire.DictionaryStringString));
        var labels = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var label in flags.List("label")) labels[label.Split('=', 2)[0]] = label.Split('=', 2) is [_, var value] ? value : "";
        if (labels.Count > 0) path = path.Add("labels", JsonSerializer.Serialize(labels, ApiJson.Wire.DictionaryStringString));
        if (flags.List("ulimit").Count > 0)
        {
            var limits = new List<Ulimit>();
            foreach (var text in flags.List("ulimit"))
            {
                var parts = text.Split('=', 2);
                var values = parts.Length == 2 ? parts[1].Split(':', 2) : [];
                if (values.Length == 0 || !long.TryParse(values[0], out var soft) || !long.TryParse(values[^1], out var hard)) throw new CommandException($"invalid ulimit argument: {text}");
                limits.Add(new Ulimit { Name = parts[0], Soft = soft, Hard = hard });
            }
            path = path.Add("ulimits", JsonSerializer.Serialize<Ulimit[]>([.. limits], ApiJson.Wire.UlimitArray));
        }
        if (Locations(flags.List("cache-from"), isFrom: true) is { Count: > 0 } from) path = path.Add("berthcachefrom", JsonSerializer.Serialize(from, ApiJson.Wire.ListBuildOutputOption));
        if (Locations(flags.List("cache-to"), isFrom: false) is { Count: > 0 } to) path = path.Add("berthcacheto", JsonSerializer.Serialize(to, ApiJson.Wire.ListBuildOutputOption));
        var attests = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var attest in flags.List("attest"))
        {
            var fields = BuildOutputs.Fields(attest, "attest");
            if (!fields.Remove("type", out var type) || type.Length == 0) throw new CommandException($"attestation type not specified: {attest}");
            if (fields.Remove("disabled", out var disabled) && disabled is "" or "true" or "1") continue;
            attests[type] = string.Join(',', fields.Select(f => $"{f.Key}={f.Value}"));
        }
        foreach (var type in (ReadOnlySpan<string>)["provenance", "sbom"])
            if (flags.Changed(type) && flags.String(type) is var value && value is not ("false" or "0")) attests[type] = value is "true" or "1" or "" ? "" : value;
        if (attests.Count > 0) path = path.Add("attests", JsonSerializer.Serialize(attests, ApiJson.Wire.DictionaryStringString));
        return path;
    }

    // "name" alone is a registry's; "type=…,ref=…" says it.
    private static List<BuildOutputOption> Locations(IReadOnlyList<string> texts, bool isFrom)
    {
        var locations = new List<BuildOutputOption>();
        foreach (var text in texts)
        {
            if (!text.Contains('=', StringComparison.Ordinal))
            {
                locations.Add(text == "inline" && !isFrom ? new BuildOutputOption { Type = "inline" } : new BuildOutputOption { Type = "registry", Attrs = new() { ["ref"] = text } });
                continue;
            }
            var fields = BuildOutputs.Fields(text, isFrom ? "cache-from" : "cache-to");
            if (!fields.Remove("type", out var type)) throw new CommandException("type required form> \"" + text + "\"");
            locations.Add(new BuildOutputOption { Type = type, Attrs = fields });
        }
        return locations;
    }

    // For the registries that the Dockerfile and the flags name.
    private static async Task<string?> LoginsAsync(CommandContext context, Arguments flags, byte[]? dockerfile)
    {
        var names = new List<string>(flags.List("tag"));
        foreach (var location in flags.List("cache-from").Concat(flags.List("cache-to"))) names.Add(location.Contains("ref=", StringComparison.Ordinal) ? location[(location.IndexOf("ref=", StringComparison.Ordinal) + 4)..].Split(',')[0] : location);
        foreach (var line in Encoding.UTF8.GetString(dockerfile ?? []).Split('\n'))
        {
            var words = line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            if (words is [var from, _, ..] && from.Equals("FROM", StringComparison.OrdinalIgnoreCase)) names.Add(words.Skip(1).FirstOrDefault(w => !w.StartsWith("--", StringComparison.Ordinal)) ?? "");
            foreach (var word in words)
                if (word.StartsWith("--from=", StringComparison.Ordinal)) names.Add(word["--from=".Length..]);
        }
        var logins = new Dictionary<string, AuthConfig>(StringComparer.Ordinal);
        var asked = new HashSet<string>(StringComparer.Ordinal);
        foreach (var name in names)
            if (name.Length > 0 && !name.Contains('$') && asked.Add(Credentials.ServerOf(name)) && await Credentials.ForImageAsync(context, name) is { } login) logins[Credentials.ServerOf(name)] = login;
        return logins.Count == 0 ? null : Convert.ToBase64String(JsonSerializer.SerializeToUtf8Bytes(logins, ApiJson.Wire.DictionaryStringAuthConfig)).Replace('+', '-').Replace('/', '_');
    }

    private static string? Secrets(CommandContext context, IReadOnlyList<string> texts)
    {
        if (texts.Count == 0) return null;
        var secrets = new Dictionary<string, string>(StringComparer.Ordinal);
        var total = 0;
        foreach (var text in texts)
        {
            var fields = BuildOutputs.Fields(text, "secret");
            if (!fields.TryGetValue("id", out var id) || id.Length == 0) throw new CommandException($"invalid secret {text}: it has no id");
            var file = fields.GetValueOrDefault("src") ?? fields.GetValueOrDefault("source") ?? "";
            var variable = fields.GetValueOrDefault("env") ?? "";
            if (file.Length == 0 && variable.Length == 0)
            {
                if (context.Variable(id) is not null) variable = id;
                else file = id;
            }
            byte[] content;
            if (variable.Length > 0) content = Encoding.UTF8.GetBytes(context.Variable(variable) ?? "");
            else
            {
                using var stream = Files.OpenRead(file);
                if (stream.Length > MaxSecretBytes) throw new CommandException($"invalid secret size {stream.Length}: secrets are limited to {MaxSecretBytes} bytes");
                content = new byte[stream.Length];
                stream.ReadExactly(content);
            }
            if ((total += content.Length) > MaxSecretsBytes) throw new CommandException($"the secrets are larger than {MaxSecretsBytes} bytes together: use docker buildx build, which this engine serves as well");
            secrets[id] = Convert.ToBase64String(content);
        }
        return Convert.ToBase64String(JsonSerializer.SerializeToUtf8Bytes(secrets, ApiJson.Wire.DictionaryStringString));
    }

    private static void WriteResults(CommandContext context, Arguments flags, BuildEvent result)
    {
        if (flags.String("iidfile") is { Length: > 0 } file)
            File.WriteAllText(file, result.Metadata?.GetValueOrDefault("containerimage.config.digest") ?? result.Metadata?.GetValueOrDefault("containerimage.digest") ?? result.Image ?? "");
        if (flags.String("metadata-file") is not { Length: > 0 } metadata) return;
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            foreach (var key in (result.Metadata ?? []).Keys.Order(StringComparer.Ordinal))
            {
                var value = result.Metadata![key];
                // What is JSON in base64 is shown as JSON, as by buildx.
                if (key is "containerimage.descriptor" || key.StartsWith("buildx.build.provenance", StringComparison.Ordinal))
                {
                    json.WritePropertyName(key);
                    using var inner = JsonDocument.Parse(Convert.FromBase64String(value));
                    inner.RootElement.WriteTo(json);
                }
                else json.WriteString(key, value);
            }
            json.WriteEndObject();
        }
        File.WriteAllBytes(metadata, stream.ToArray());
    }

    // An engine that knows nothing of events: its own words.
    private static async Task<int> ClassicAsync(CommandContext context, EngineResponse response, Arguments flags, string mode)
    {
        var id = "";
        await foreach (var message in EngineClient.ReadMessagesAsync(response.Body, context.Cancelled))
        {
            if (message.ErrorDetail is { } error) throw new CommandException(error.Message ?? "");
            if (message.Aux is { } aux && aux.ValueKind == JsonValueKind.Object && aux.TryGetProperty("ID", out var made)) id = made.GetString() ?? "";
            else if (mode != "quiet" && message.Stream is { } text) context.Out.Write(text);
            else if (mode != "quiet" && message.Status is { } status) context.Out.Write(status + "\n");
            context.Flush();
        }
        WriteResults(context, flags, new BuildEvent { Kind = "result", Image = id });
        if (mode == "quiet") context.Out.Write(id + "\n");
        return 0;
    }
}
