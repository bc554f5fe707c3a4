using System.Globalization;
using System.Text.Json;
using Berth.Api;
using Berth.Api.BuildKit;
using Berth.Builder;
using Berth.Dockerfile;
using Berth.Images;

namespace Berth.Daemon.BuildKit;

/// <summary>What a client asks of the Dockerfile frontend: a table of texts, by BuildKit's names (moby/buildkit frontend/dockerui).</summary>
internal sealed class FrontendOptions(IReadOnlyDictionary<string, string> options)
{
    public string this[string name] => options.GetValueOrDefault(name, "");

    public string DockerfileName => this["filename"] is { Length: > 0 } name ? name : "Dockerfile";

    /// <summary>Names of the client's directories.</summary>
    public string DockerfileDirectory => this["dockerfilekey"] is { Length: > 0 } name ? name : "dockerfile";
    public string ContextDirectory => this["contextkey"] is { Length: > 0 } name ? name : "context";

    /// <summary>A URL instead of the client's directory; empty: none.</summary>
    public string RemoteContext => this[ContextDirectory];

    /// <summary>The client has the Dockerfile, wherever the context is.</summary>
    public bool HasOwnDockerfile => options.ContainsKey("dockerfilekey");

    /// <summary>frontend.outline and so on: something else than a build.</summary>
    public string Request => this["requestid"];

    /// <summary>Several targets may share a session for a directory.</summary>
    public string SessionOf(string directory, string otherwise) => this["local-sessionid:" + directory] is { Length: > 0 } session ? session : otherwise;

    public Dictionary<string, string> WithPrefix(string prefix)
    {
        var found = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, value) in options)
            if (name.StartsWith(prefix, StringComparison.Ordinal)) found[name[prefix.Length..]] = value;
        return found;
    }

    /// <summary>Where results of others are: buildx says it here as JSON, older clients as names with commas between them.</summary>
    /// <exception cref="BuildException">It is no JSON.</exception>
    public IReadOnlyList<CacheLocation> CacheImports()
    {
        var found = new List<CacheLocation>();
        if (this["cache-imports"] is { Length: > 0 } json)
        {
            try
            {
                foreach (var entry in JsonSerializer.Deserialize(json, ApiJson.Wire.ListBuildOutputOption) ?? []) found.Add(new CacheLocation(entry.Type, entry.Attrs ?? []));
            }
            catch (JsonException e)
            {
                throw new BuildException($"failed to unmarshal cache-imports ({Berth.Api.Go.GoText.Quote(json)}): {e.Message}");
            }
        }
        foreach (var name in this["cache-from"].Split(',', StringSplitOptions.RemoveEmptyEntries)) found.Add(new CacheLocation("registry", new Dictionary<string, string> { ["ref"] = name }));
        return found;
    }

    /// <exception cref="BuildException">Something can't be understood.</exception>
    public BuildRequest ToRequest(ReadOnlyMemory<byte> dockerfile, IBuildSources sources, IReadOnlyList<string> entitlements)
    {
        var noCache = options.TryGetValue("no-cache", out var stages);
        var platforms = Platforms();
        return new BuildRequest
        {
            Dockerfile = dockerfile, DockerfileName = DockerfileName, Target = this["target"], Arguments = WithPrefix("build-arg:"), Labels = WithPrefix("label:"), Platform = platforms[0], Platforms = platforms.Count > 1 ? platforms : [],
            PlatformGiven = this["platform"].Length > 0, NoCache = noCache && stages is { Length: 0 }, NoCacheStages = stages?.Split(',', StringSplitOptions.RemoveEmptyEntries) ?? [], Pull = this["image-resolve-mode"] is "pull", Network = Network(), Limits = Limits(),
            KeepFailed = this[FailedStep.Wanted].Length > 0, AllowInsecure = entitlements.Contains("security.insecure"), Sources = sources, Attestations = WithPrefix("attest:"),
        };
    }

    private string Network() => this["force-network-mode"] switch
    {
        "" or "default" or "sandbox" => "default",
        "none" => "none",
        "host" => "host",
        var mode => throw new BuildException($"invalid netmode {mode}"),
    };

    /// <summary>The result is said to be for several platforms, even if it is one.</summary>
    public bool IsMultiPlatform => this["platform"].Contains(',') || this["build-arg:BUILDKIT_MULTI_PLATFORM"] is "1" or "t" or "T" or "TRUE" or "true" or "True";

    /// <summary>What is to be built for, each once; this machine's platform if it says nothing.</summary>
    /// <exception cref="BuildException">One is none.</exception>
    public IReadOnlyList<Images.Platform> Platforms()
    {
        if (this["platform"].Length == 0) return [Images.Platform.Host];
        var platforms = new List<Images.Platform>();
        foreach (var text in this["platform"].Split(','))
        {
            try
            {
                var platform = Images.Platform.Parse(text);
                if (!platforms.Contains(platform)) platforms.Add(platform);
            }
            catch (ImageException e)
            {
                throw new BuildException($"failed to parse target platform {text}: {e.Message}");
            }
        }
        return platforms;
    }

    private HostConfig Limits() => new()
    {
        Memory = Number("memory"), MemorySwap = Number("memswap"), CpuShares = Number("cpushares"), CpuPeriod = Number("cpuperiod"), CpuQuota = Number("cpuquota"), CpusetCpus = this["cpusetcpus"],
        CpusetMems = this["cpusetmems"], ShmSize = Number("shm-size"), CgroupParent = this["cgroup-parent"], ExtraHosts = Hosts(), Ulimits = Ulimits(),
    };

    private long Number(string name) => this[name].Length == 0 ? 0
        : long.TryParse(this[name], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) ? value
        : throw new BuildException($"failed to parse {name.Replace('-', ' ')}: strconv.ParseInt: parsing {Berth.Api.Go.GoText.Quote(this[name])}: invalid syntax");

    // "name=address,…"
    private string[] Hosts()
    {
        var hosts = new List<string>();
        foreach (var part in this["add-hosts"].Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = part.IndexOf('=');
            if (equals < 0) throw new BuildException($"failed to parse additional hosts: invalid key-value pair {part}");
            hosts.Add(part[..equals] + ":" + part[(equals + 1)..]);
        }
        return [.. hosts];
    }

    // "name=soft:hard,…"
    private Ulimit[]? Ulimits()
    {
        if (this["ulimit"].Length == 0) return null;
        var limits = new List<Ulimit>();
        foreach (var part in this["ulimit"].Split(','))
        {
            if (part.Split('=') is not [var name, var values] || values.Split(':') is not [var soft, .. var rest] || rest.Length > 1 ||
                !long.TryParse(soft, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var low) || !long.TryParse(rest is [var hard] ? hard : soft, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var high))
                throw new BuildException($"failed to parse ulimit: invalid ulimit argument: {part}");
            limits.Add(new Ulimit { Name = name, Soft = low, Hard = high });
        }
        return [.. limits];
    }
}
