using System.Globalization;
using System.Text.Json;
using Berth.Images;

namespace Berth.Builder;

/// <summary>How a result was made, as SLSA provenance (slsa.dev/provenance, v0.2 or v1) with the members that BuildKit puts there: parameters, base images, times; with mode=max also the steps and the Dockerfile.</summary>
internal static class Provenance
{
    private const string BuildType = "https://mobyproject.org/buildkit@v1", BuildType1 = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

    /// <param name="attributes">mode, version, builder-id, filename, inline-only, reproducible: "key=value,…".</param>
    /// <exception cref="BuildException">An attribute is none.</exception>
    public static Attestation Of(BuildRequest request, BuildOutcome result, string attributes, DateTimeOffset started, DateTimeOffset finished)
    {
        var options = AttestationOptions.Parse(attributes);
        var all = options["mode"] switch { "min" => false, "" or "max" => true, var other => throw new BuildException($"invalid mode {Berth.Api.Go.GoText.Quote(other)}") };
        var isFirst = options["version"] switch { "" or "v0.2" => false, "v1" => true, var other => throw new BuildException($"invalid version {Berth.Api.Go.GoText.Quote(other)}") };
        var predicate = ManifestText.Json(json =>
        {
            json.WriteStartObject();
            if (isFirst) WriteFirst(json, request, result, options, all, started, finished);
            else WriteOld(json, request, result, options, all, started, finished);
            json.WriteEndObject();
        });
        return new Attestation(isFirst ? "https://slsa.dev/provenance/v1" : "https://slsa.dev/provenance/v0.2", predicate, options["filename"] is { Length: > 0 } name ? name : "provenance.json", options.Flag("inline-only"));
    }

    private static void WriteOld(Utf8JsonWriter json, BuildRequest request, BuildOutcome result, AttestationOptions options, bool all, DateTimeOffset started, DateTimeOffset finished)
    {
        json.WriteStartObject("builder");
        json.WriteString("id", options["builder-id"]);
        json.WriteEndObject();
        json.WriteString("buildType", BuildType);
        WriteMaterials(json, "materials", result);
        json.WriteStartObject("invocation");
        json.WriteStartObject("configSource");
        json.WriteString("entryPoint", request.DockerfileName);
        json.WriteEndObject();
        json.WriteStartObject("parameters");
        WriteParameters(json, request, all);
        json.WriteEndObject();
        json.WriteStartObject("environment");
        json.WriteString("platform", Platform.Host.ToString());
        json.WriteEndObject();
        json.WriteEndObject();
        if (all)
        {
            json.WriteStartObject("buildConfig");
            WriteSteps(json, result);
            json.WriteEndObject();
        }
        json.WriteStartObject("metadata");
        json.WriteString("buildInvocationID", InvocationId(result, started));
        json.WriteString("buildStartedOn", Time(started));
        json.WriteString("buildFinishedOn", Time(finished));
        json.WriteStartObject("completeness");
        json.WriteBoolean("parameters", all);
        json.WriteBoolean("environment", true);
        json.WriteBoolean("materials", false);
        json.WriteEndObject();
        json.WriteBoolean("reproducible", options.Flag("reproducible"));
        json.WriteStartObject(BuildType + "#metadata");
        if (all) WriteSource(json, request);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void WriteFirst(Utf8JsonWriter json, BuildRequest request, BuildOutcome result, AttestationOptions options, bool all, DateTimeOffset started, DateTimeOffset finished)
    {
        json.WriteStartObject("buildDefinition");
        json.WriteString("buildType", BuildType1);
        json.WriteStartObject("externalParameters");
        json.WriteStartObject("configSource");
        json.WriteString("path", request.DockerfileName);
        json.WriteEndObject();
        json.WriteStartObject("request");
        WriteParameters(json, request, all);
        json.WriteEndObject();
        json.WriteEndObject();
        json.WriteStartObject("internalParameters");
        if (all)
        {
            json.WriteStartObject("buildConfig");
            WriteSteps(json, result);
            json.WriteEndObject();
        }
        json.WriteString("builderPlatform", Platform.Host.ToString());
        json.WriteEndObject();
        WriteMaterials(json, "resolvedDependencies", result);
        json.WriteEndObject();
        json.WriteStartObject("runDetails");
        json.WriteStartObject("builder");
        json.WriteString("id", options["builder-id"]);
        json.WriteEndObject();
        json.WriteStartObject("metadata");
        json.WriteString("invocationID", InvocationId(result, started));
        json.WriteString("startedOn", Time(started));
        json.WriteString("finishedOn", Time(finished));
        json.WriteStartObject("buildkit_metadata");
        if (all) WriteSource(json, request);
        json.WriteEndObject();
        json.WriteStartObject("buildkit_completeness");
        json.WriteBoolean("request", all);
        json.WriteBoolean("resolvedDependencies", false);
        json.WriteEndObject();
        if (options.Flag("reproducible")) json.WriteBoolean("buildkit_reproducible", true);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    // Arguments may hold what is not for everybody: with mode=min only what the result is called.
    private static void WriteParameters(Utf8JsonWriter json, BuildRequest request, bool all)
    {
        json.WriteString("frontend", "dockerfile.v0");
        json.WriteStartObject("args");
        if (request.Target.Length > 0) json.WriteString("target", request.Target);
        if (all)
        {
            foreach (var name in request.Arguments.Keys.Order(StringComparer.Ordinal)) json.WriteString("build-arg:" + name, request.Arguments[name]);
            foreach (var name in request.Labels.Keys.Order(StringComparer.Ordinal)) json.WriteString("label:" + name, request.Labels[name]);
            if (request.NoCache) json.WriteString("no-cache", "");
        }
        json.WriteEndObject();
        json.WriteStartArray("locals");
        foreach (var name in (ReadOnlySpan<string>)["context", "dockerfile"])
        {
            json.WriteStartObject();
            json.WriteString("name", name);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void WriteMaterials(Utf8JsonWriter json, string member, BuildOutcome result)
    {
        json.WriteStartArray(member);
        var seen = new HashSet<Digest>();
        foreach (var step in result.Plan.Steps)
        {
            if (step is not ImageStep { Image: var image } || !seen.Add(image.Id)) continue;
            var tagged = image.RepoTags.FirstOrDefault() ?? image.RepoDigests.FirstOrDefault()?.Split('@')[0];
            var digest = image.RepoDigests.Count > 0 && Digest.TryParse(image.RepoDigests[0].Split('@')[^1], out var known) ? known : image.Id;
            json.WriteStartObject();
            var colon = tagged?.LastIndexOf(':') ?? -1;
            var name = tagged is null ? image.Id.Hex : colon > tagged.LastIndexOf('/') ? $"{tagged[..colon]}@{tagged[(colon + 1)..]}" : tagged;
            json.WriteString("uri", $"pkg:docker/{name}?platform={Uri.EscapeDataString(image.Platform.ToString())}");
            json.WriteStartObject("digest");
            json.WriteString(digest.Algorithm, digest.Hex);
            json.WriteEndObject();
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    // The graph: what each step does, and which it stands on.
    private static void WriteSteps(Utf8JsonWriter json, BuildOutcome result)
    {
        var steps = result.Plan.Steps;
        var numbers = new Dictionary<BuildStep, int>(ReferenceEqualityComparer.Instance);
        json.WriteStartArray("berth_steps");
        foreach (var step in steps)
        {
            numbers[step] = numbers.Count;
            json.WriteStartObject();
            json.WriteString("id", $"step{numbers[step]}");
            json.WriteString("name", step.Title);
            if (result.StepKeys.TryGetValue(step, out var key)) json.WriteString("digest", "sha256:" + key);
            if (step.Inputs.Count > 0)
            {
                json.WriteStartArray("inputs");
                foreach (var input in step.Inputs) json.WriteStringValue($"step{numbers[input]}");
                json.WriteEndArray();
            }
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void WriteSource(Utf8JsonWriter json, BuildRequest request)
    {
        json.WriteStartObject("source");
        json.WriteStartArray("infos");
        json.WriteStartObject();
        json.WriteString("filename", request.DockerfileName);
        json.WriteString("language", "Dockerfile");
        json.WriteBase64String("data", request.Dockerfile.Span);
        json.WriteEndObject();
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static string InvocationId(BuildOutcome result, DateTimeOffset started) => Fields.Hash(started.Ticks.ToString(CultureInfo.InvariantCulture) + string.Join(' ', result.Layers))[..25];

    private static string Time(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fffffff'Z'", CultureInfo.InvariantCulture);
}

/// <summary>"key=value,key=value", as behind --attest.</summary>
internal sealed class AttestationOptions
{
    private readonly Dictionary<string, string> _values = new(StringComparer.Ordinal);

    public static AttestationOptions Parse(string text)
    {
        var options = new AttestationOptions();
        foreach (var field in text.Split(',', StringSplitOptions.RemoveEmptyEntries)) options._values[field.Split('=', 2)[0]] = field.Split('=', 2) is [_, var value] ? value : "true";
        return options;
    }

    public string this[string name] => _values.GetValueOrDefault(name, "");

    public bool Flag(string name) => this[name] is "true" or "1";
}
