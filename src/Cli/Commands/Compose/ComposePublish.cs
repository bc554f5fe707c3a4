using System.Text;
using System.Text.Json;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Images;
using Berth.Cli.Registries;
using Berth.Compose;
using Berth.Compose.Engine;
using Berth.Compose.Model;

namespace Berth.Cli.Commands.Compose;

/// <summary>publish: a project's files go to a registry as an artifact, from where `include` and -f read them (oci://…).</summary>
internal static class ComposePublish
{
    private const string ManifestType = "application/vnd.oci.image.manifest.v1+json", EmptyType = "application/vnd.oci.empty.v1+json";

    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["publish", "alpha publish"],
            Usage = "[OPTIONS] REPOSITORY[:TAG]",
            Summary = "Put compose files into a registry",
            MinArguments = 1,
            MaxArguments = 1,
            Flags = static () =>
            [
                new("app", FlagKind.Bool, "Images that are referred to, too"), new("oci-version", FlagKind.String, "1.0 or 1.1 (the newest that the registry takes)"), new("resolve-image-digests", FlagKind.Bool, "Pin tags to digests"),
                new("with-env", FlagKind.Bool, "Environment variables and files, too"), new("yes", 'y', FlagKind.Bool, "Do not ask"),
            ],
            Run = static i => PublishAsync((ComposeInvocation)i),
        },
    ];

    private sealed record Layer(string MediaType, byte[] Content, string Annotation, string File);

    private static async Task<int> PublishAsync(ComposeInvocation invocation)
    {
        var flags = invocation.Arguments;
        if (flags.Bool("app")) throw new CommandException("--app is not there yet: push the images, and publish the files without it");
        var version = flags.String("oci-version");
        if (version is not ("" or "1.0" or "1.1")) throw new CommandException($"unsupported OCI version: {version}");
        var project = invocation.Loader.Load(new() { ResolveEnvironment = false });
        var reference = flags.Positional[0];
        using var section = invocation.Display.Begin("Publishing");
        if (!Check(invocation, project)) return 0;
        await ComposeImages.PushAsync(invocation, project, quiet: false, ignoreFailures: true, imageMandatory: true);

        var layers = new List<Layer>();
        foreach (var file in project.Files)
        {
            var text = await File.ReadAllTextAsync(file, invocation.Cancelled);
            var (includes, extends) = ModelText.RefersTo(text, file);
            if (includes) throw new CommandException("cannot publish compose file with local includes");
            if (extends) throw new CommandException($"{file}: extends of another file is not published yet");
            layers.Add(new Layer(RemoteFiles.FileType, Encoding.UTF8.GetBytes(text), "com.docker.compose.file", Path.GetFileName(file)));
        }
        if (flags.Bool("resolve-image-digests"))
        {
            await ImageDigests.ResolveAsync(invocation.Client, project, invocation.Cancelled);
            layers.Add(new Layer(RemoteFiles.FileType, Encoding.UTF8.GetBytes(ModelText.ImagesOnly(project).ToYaml()), "com.docker.compose.file", "image-digests.yaml"));
        }
        invocation.Display.Tell(new WorkNews(reference, "publishing", "", WorkState.Working));
        if (!invocation.DryRun)
        {
            try
            {
                await PushAsync(invocation, reference, layers, version);
            }
            catch (Exception e) when (e is CommandException or EngineApiException)
            {
                invocation.Display.Tell(new WorkNews(reference, "publishing", "", WorkState.Error));
                throw;
            }
        }
        invocation.Display.Tell(new WorkNews(reference, "published", "", WorkState.Done));
        return 0;
    }

    private static async Task PushAsync(ComposeInvocation invocation, string reference, List<Layer> layers, string version)
    {
        var name = ImageName.Parse(reference);
        using var registry = new RegistryClient(invocation.Context, name.Repository, RegistryClient.IsOfThisMachine(name.Repository), push: true);
        await registry.PushBlobAsync("{}"u8.ToArray());
        foreach (var layer in layers) await registry.PushBlobAsync(layer.Content);
        var tag = name.Tag.Length > 0 ? name.Tag : "latest";
        try
        {
            await registry.PushManifestAsync(tag, Manifest(layers, invocation.Context.Time.GetLocalNow(), version == "1.0"), ManifestType);
        }
        catch (EngineApiException e) when (version.Length == 0 && e.Status is >= 400 and < 500 and not (401 or 403 or 407))
        {
            // A registry of before artifacts had types.
            await registry.PushManifestAsync(tag, Manifest(layers, invocation.Context.Time.GetLocalNow(), old: true), ManifestType);
        }
    }

    private static byte[] Manifest(List<Layer> layers, DateTimeOffset now, bool old)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            writer.WriteStartObject();
            writer.WriteNumber("schemaVersion", 2);
            writer.WriteString("mediaType", ManifestType);
            if (!old) writer.WriteString("artifactType", RemoteFiles.ProjectType);
            writer.WritePropertyName("config");
            Descriptor(writer, old ? RemoteFiles.EmptyConfigType : EmptyType, "{}"u8.ToArray(), null);
            writer.WriteStartArray("layers");
            foreach (var layer in layers) Descriptor(writer, layer.MediaType, layer.Content, layer);
            writer.WriteEndArray();
            writer.WriteStartObject("annotations");
            writer.WriteString("org.opencontainers.image.created", now.ToString("yyyy-MM-ddTHH:mm:ssK", System.Globalization.CultureInfo.InvariantCulture));
            writer.WriteEndObject();
            writer.WriteEndObject();
        }
        return stream.ToArray();
    }

    private static void Descriptor(Utf8JsonWriter writer, string mediaType, byte[] content, Layer? layer)
    {
        writer.WriteStartObject();
        writer.WriteString("mediaType", mediaType);
        writer.WriteString("digest", RegistryClient.Digest(content));
        writer.WriteNumber("size", content.Length);
        if (layer is not null)
        {
            writer.WriteStartObject("annotations");
            writer.WriteString(layer.Annotation, layer.File);
            writer.WriteString("com.docker.compose.version", Labels.CompatibleVersion);
            writer.WriteEndObject();
        }
        writer.WriteBase64String("data", content);
        writer.WriteEndObject();
    }

    // What would become public is looked at before.
    private static bool Check(ComposeInvocation invocation, Project project)
    {
        var unnamed = project.ServiceNames.Where(n => project.Services[n].Get("build") is not null && project.Services[n].TextOf("image").Length == 0).ToList();
        if (unnamed.Count > 0) throw new CommandException("your Compose stack cannot be published as it only contains a build section for service(s):\n" + string.Concat(unnamed.Select(n => $"- {GoText.Quote(n)}\n")));
        var errors = new StringBuilder();
        foreach (var name in project.ServiceNames)
        {
            var service = project.Services[name];
            if (service.ListOf("env_file").Count > 0)
            {
                if (invocation.Arguments.Bool("with-env")) throw new CommandException($"service {GoText.Quote(name)}: env_file is not published yet; put its variables under environment");
                errors.Append($"service {GoText.Quote(name)} has env_file declared.\n");
            }
            if (service.MapOf("environment").Count > 0) errors.Append($"service {GoText.Quote(name)} has environment variable(s) declared.\n");
        }
        foreach (var config in project.Configs.Values)
            if (config.TextOf("environment").Length > 0) errors.Append($"config {GoText.Quote(config.TextOf("name"))} is declare as an environment variable.\n");
        if (invocation.Arguments.Bool("yes")) return true;
        var mounts = new StringBuilder();
        foreach (var name in project.ServiceNames)
        {
            var own = project.Services[name].ListOf("volumes").Where(static v => v.TextOf("type") == "bind").ToList();
            if (own.Count > 0) mounts.Append(name).Append(string.Concat(own.Select(static v => $"{v.TextOf("source")}:{v.TextOf("target")}:{(v.BoolOf("read_only") ? "ro" : "rw")}\n")));
        }
        if (mounts.Length > 0 && !Ask(invocation, "you are about to publish bind mounts declaration within your OCI artifact.\nonly the bind mount declarations will be added to the OCI artifact (not content)\nplease double check that you are not mounting potential user's sensitive directories or data\n" + mounts + "Are you ok to publish these bind mount declarations?")) return false;
        if (errors.Length == 0) return true;
        if (!invocation.Arguments.Bool("with-env"))
            throw new CommandException(errors + "To avoid leaking sensitive data, you must either explicitly allow the sending of environment variables by using the --with-env flag,\nor remove sensitive data from your Compose configuration");
        var variables = new StringBuilder();
        foreach (var name in project.ServiceNames)
            if (project.Services[name].MapOf("environment") is { Count: > 0 } environment)
                variables.Append($"Service/Config  {name}\n").Append(string.Concat(environment.OrderBy(e => e.Key, StringComparer.Ordinal).Select(static e => $"{e.Key}={(e.Value.IsNull ? "" : e.Value.Text)}\n")));
        return Ask(invocation, "you are about to publish environment variables within your OCI artifact.\nplease double check that you are not leaking sensitive data\n" + variables + "Are you ok to publish these environment variables?");
    }

    private static bool Ask(ComposeInvocation invocation, string question)
    {
        invocation.Context.Out.Write(question + (invocation.Context.Terminal.InputIsTerminal ? " [yN] " : ""));
        invocation.Context.Flush();
        using var input = new StreamReader(invocation.Context.InStream, leaveOpen: true);
        return input.ReadLine()?.Trim().ToLowerInvariant() is "y" or "yes" or "1" or "t" or "true" or "on";
    }
}
