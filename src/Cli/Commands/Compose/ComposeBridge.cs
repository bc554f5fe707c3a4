using System.Text.Json;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Images;
using Berth.Cli.Output;
using Berth.Compose.Model;
using Berth.Compose.Yaml;

namespace Berth.Cli.Commands.Compose;

/// <summary>bridge: images that turn a compose model into something else (manifests of Kubernetes, say) are given it in a container.</summary>
internal static class ComposeBridge
{
    private const string Usual = "docker/compose-bridge-kubernetes";

    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["bridge convert"], Usage = "", Summary = "Convert compose files to Kubernetes manifests, Helm charts, or another model", MaxArguments = 0,
            Flags = static () =>
            [
                new("output", 'o', FlagKind.String, "Directory for what comes out") { Default = "out" }, new("templates", FlagKind.String, "Directory of templates for the transformation"),
                new("transformation", 't', FlagKind.List, $"Image that transforms the model (default: {Usual})") { ValueName = "stringArray" },
            ],
            Run = static i => ConvertAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["bridge transformations create"], Usage = "[OPTION] PATH", Summary = "Create a new transformation", MinArguments = 1, MaxArguments = 1, Flags = static () => [new("from", 'f', FlagKind.String, $"Existing transformation to copy (default: {Usual})")],
            Run = static i => CreateAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["bridge transformations list", "bridge transformations ls"], Usage = "", Summary = "List available transformations", MaxArguments = 0,
            Flags = static () => [new("format", FlagKind.String, "table or json") { Default = "table" }, new("quiet", 'q', FlagKind.Bool, "Names only")],
            Run = static i => ListAsync((ComposeInvocation)i),
        },
    ];

    private static async Task<int> ListAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var images = await context.Client.ListImagesAsync(false, new Filters().Add("label", "com.docker.compose.bridge=transformation"), invocation.Cancelled);
        if (flags.Bool("quiet"))
        {
            foreach (var image in images) context.Out.Write((image.RepoTags is [var name, ..] ? name : image.Id) + "\n");
            return 0;
        }
        if (flags.String("format") == "json")
        {
            context.Out.Write(JsonSerializer.Serialize(images, ApiJson.Default.ImageSummaryArray) + "\n\n");
            return 0;
        }
        var lines = new List<string> { "IMAGE ID\tREPO\tTAGS\tSIZE" };
        foreach (var image in images)
        {
            var name = image.RepoTags is [var first, ..] ? ImageName.Parse(first) : new ImageName("<none>", "<none>", "");
            lines.Add($"{Shorten.Id(image.Id)}\t{name.Repository}\t{name.Tag}\t{Units.HumanSize(image.Size, 3)}");
        }
        TableWriter.Write(context.Out, lines, minWidth: 20);
        return 0;
    }

    private static async Task<int> CreateAsync(ComposeInvocation invocation)
    {
        var context = invocation.Context;
        var output = Path.GetFullPath(invocation.Arguments.Positional[0]);
        if (Path.Exists(output)) throw new CommandException($"output folder {output} already exists");
        var created = await context.Client.CreateContainerAsync(new ContainerCreateRequest { Image = invocation.Arguments.String("from") is { Length: > 0 } from ? from : Usual }, "", null, invocation.Cancelled);
        try
        {
            Directory.CreateDirectory(output);
            if (await invocation.OtherAsync("cp", ["--quiet", created.Id + ":/templates", output]) is not 0 and var code) return code;
        }
        finally
        {
            await context.Client.RemoveContainerAsync(created.Id, force: true, volumes: false, cancellationToken: CancellationToken.None);
        }
        await File.WriteAllTextAsync(Path.Combine(output, "Dockerfile"), "FROM docker/compose-bridge-transformer\nLABEL com.docker.compose.bridge=transformation\nCOPY templates /templates\n", invocation.Cancelled);
        context.Out.Write($"Transformer created in {GoText.Quote(output)}\n");
        return 0;
    }

    private static async Task<int> ConvertAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var project = invocation.Load();
        foreach (var name in project.ServiceNames)
        {
            // What the image says of ports belongs to the model that is handed on.
            var service = project.Services[name];
            var image = project.ImageOf(name);
            var exposed = new SortedSet<string>(service.StringsOf("expose"), StringComparer.Ordinal);
            foreach (var port in (await InspectAsync(invocation, image)).Config?.ExposedPorts ?? []) exposed.Add(port.Split('/')[0]);
            foreach (var port in service.ListOf("ports")) exposed.Add(port.TextOf("target"));
            service["image"] = Node.Of(image);
            if (exposed.Count > 0) service["expose"] = Node.Strings(exposed);
        }
        foreach (var file in project.Secrets.Values.Concat(project.Configs.Values))
        {
            if (file.BoolOf("external")) continue;
            if (file.TextOf("environment") is { Length: > 0 } variable) file["content"] = Node.Of(invocation.Loader.Environment.GetValueOrDefault(variable, ""));
            else if (file.TextOf("file") is { Length: > 0 } path) file["content"] = Node.Of(await File.ReadAllTextAsync(path, invocation.Cancelled));
        }
        var output = Path.GetFullPath(flags.String("output"));
        var directory = Directory.CreateTempSubdirectory("berth-bridge-").FullName;
        try
        {
            if (Directory.Exists(output)) Directory.Delete(output, recursive: true);
            Directory.CreateDirectory(output);
            await File.WriteAllTextAsync(Path.Combine(directory, "compose.yaml"), Berth.Compose.ModelText.WithContents(project), invocation.Cancelled);
            List<string> binds = [$"{directory}:/in", $"{output}:/out"];
            if (flags.String("templates") is { Length: > 0 } templates) binds.Add(Path.GetFullPath(templates) + ":/templates");
            foreach (var transformation in flags.List("transformation") is { Count: > 0 } given ? given : [Usual])
            {
                await InspectAsync(invocation, transformation);
                // As who runs this, so that what comes out is theirs.
                var user = OperatingSystem.IsLinux() && Array.Find(await File.ReadAllLinesAsync("/proc/self/status", invocation.Cancelled), static l => l.StartsWith("Uid:", StringComparison.Ordinal)) is { } line ? line.Split('\t')[1] : "";
                var created = await context.Client.CreateContainerAsync(new ContainerCreateRequest { Image = transformation, User = user, Env = ["LICENSE_AGREEMENT=true"], HostConfig = new HostConfig { AutoRemove = true, Binds = [.. binds] } }, "", null, invocation.Cancelled);
                if (await invocation.OtherAsync("start", ["--attach", created.Id]) is not 0 and var code) return code;
            }
            return 0;
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static async Task<ImageInspect> InspectAsync(ComposeInvocation invocation, string image)
    {
        try
        {
            return await invocation.Context.Client.InspectImageAsync(image, invocation.Cancelled);
        }
        catch (EngineApiException e) when (e.Status == 404)
        {
            await PullCommand.PullAsync(invocation.Context, image, "", invocation.Context.Out);
            return await invocation.Context.Client.InspectImageAsync(image, invocation.Cancelled);
        }
    }
}
