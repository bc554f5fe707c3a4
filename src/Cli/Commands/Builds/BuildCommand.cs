using System.Text;
using System.Text.Json;
using Berth.Api;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;
using Berth.Cli.Streams;

namespace Berth.Cli.Commands.Builds;

internal static class BuildCommand
{
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
            new("cache-from", FlagKind.List, "Where else results are looked for (type=registry,ref=NAME or type=local,src=PATH)"),
            new("cache-to", FlagKind.List, "Where results are put for others (type=registry|inline|local)"),
            new("call", FlagKind.String, "What to do: build, check, outline, targets") { Default = "build" },
            new("cgroup-parent", FlagKind.String, "Parent cgroup of commands"),
            new("check", FlagKind.Bool, "The same as --call=check"),
            new("compress", FlagKind.Bool, "Accepted for docker's sake: the engine is near") { Hidden = true },
            new("cpu-period", FlagKind.Int, "CPU CFS period of commands") { Hidden = true },
            new("cpu-quota", FlagKind.Int, "CPU CFS quota of commands") { Hidden = true },
            new("cpu-shares", 'c', FlagKind.Int, "CPU weight of commands") { Hidden = true },
            new("cpuset-cpus", FlagKind.String, "CPUs for commands (0-3, 0,1)") { Hidden = true },
            new("cpuset-mems", FlagKind.String, "Memory nodes for commands (0-3, 0,1)") { Hidden = true },
            new("debug", 'D', FlagKind.Bool, "Explain warnings; when a command fails, open a shell in its files"),
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
            new("platform", FlagKind.List, "Platforms of the image, os[/arch[/variant]]"),
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
        if (flags.Bool("squash")) throw new CommandException("squash is not supported: build from scratch with COPY --from for one layer");
        var question = BuildAnswers.Parse(flags.Bool("check") ? "check" : flags.String("call"));
        var mode = Mode(context, flags);
        if (flags.String("iidfile") is { Length: > 0 } stale) File.Delete(stale); // not to be left when the build fails
        var session = new ClientSession(context);
        var outputs = BuildOutputs.Of(context, flags);
        BuildInputs inputs;
        try
        {
            inputs = BuildInputs.Of(context, flags, session);
        }
        catch (FormatException e)
        {
            throw new CommandException(e.Message);
        }
        using (inputs)
        {
            if (question is null) outputs.Offer(session);
            var request = new SolveRequest
            {
                Ref = BuildSolve.NewRef(), Session = session.Id, Frontend = inputs.Frontend, FrontendAttributes = inputs.Attributes, Entitlements = inputs.Entitlements, Exporters = [.. outputs.Exporters],
                CacheImports = inputs.CacheFrom, CacheExports = inputs.CacheTo,
            };
            var opensShell = flags.Bool("debug") && question is null && context.Terminal is { InputIsTerminal: true, OutputIsTerminal: true };
            if (opensShell) inputs.Attributes[FailedStep.Wanted] = "1";
            context.Flush();
            // The engine asks while we ask it: threads that wait in the kernel would have to be one for each.
            using var client = context.NewClient(blocking: false);
            var solve = new BuildSolve(client, session);
            var explain = flags.Bool("debug") || context.Debug;
            using var view = BuildView.Create(question is null ? mode : "quiet", context, explain);
            try
            {
                if (question is { } asked)
                    return BuildAnswers.Print(context, asked.Question, asked.Json, await solve.AskAsync(request, asked.Question, view.Show, invocation.Cancelled), inputs.DockerfileName);
                var result = await solve.RunAsync(request, inputs, view.Show, invocation.Cancelled);
                view.End(result);
                WriteIndexes(inputs, outputs, result);
                WriteResults(flags, result);
                if (mode == "quiet" && ImageOf(result) is { Length: > 0 } image) context.Out.Write(image + "\n");
                return 0;
            }
            catch (GrpcException e)
            {
                invocation.Cancelled.ThrowIfCancellationRequested();
                view.End(null);
                view.Dispose();
                var failure = new CommandException(BuildSolve.SourceOf(e, inputs.DockerfileName) + "ERROR: failed to build: " + e.Message);
                if (!opensShell || BuildSolve.FailedImageOf(e) is not { } image) throw failure;
                context.Err.Write(failure.Message + "\n");
                await OpenShellAsync(context, image, inputs.Attributes.GetValueOrDefault("force-network-mode", ""));
                return 1;
            }
        }
    }

    // A container of the files as the failed command left them, with its environment, user and directory; both are gone afterwards.
    private static async Task OpenShellAsync(CommandContext context, string image, string network)
    {
        context.Err.Write("A shell in the files of the command that failed, without its mounts (exit leaves it):\n");
        context.Flush();
        try
        {
            var request = new ContainerCreateRequest
            {
                Image = image, Tty = true, OpenStdin = true, StdinOnce = true, AttachStdin = true, AttachStdout = true, AttachStderr = true, HostConfig = new HostConfig { AutoRemove = true, NetworkMode = network },
            };
            var container = await context.Client.CreateContainerAsync(request, cancellationToken: context.Cancelled);
            await AttachedStart.RunAsync(context, container.Id, new AttachedStreams(true, true, true, true), "", removed: true, e => e);
        }
        finally
        {
            await context.Client.RemoveImageAsync(image, force: true, cancellationToken: CancellationToken.None);
        }
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

    /// <summary>The image, as docker's clients name a build's result: "" when there is none.</summary>
    public static string ImageOf(IReadOnlyDictionary<string, string> result) => result.GetValueOrDefault("containerimage.config.digest") ?? result.GetValueOrDefault("containerimage.digest") ?? "";

    // Directories that the builder put blobs into: their index is the client's.
    private static void WriteIndexes(BuildInputs inputs, BuildOutputs outputs, IReadOnlyDictionary<string, string> result)
    {
        if (result.GetValueOrDefault("cache.manifest") is { Length: > 0 } cache)
            foreach (var (directory, tag) in inputs.CacheTags) new ContentDirectory(directory).Name(cache, tag);
        if (outputs.Layout is not { } layout || result.GetValueOrDefault("containerimage.descriptor") is not { Length: > 0 } descriptor) return;
        new ContentDirectory(layout).Name(Encoding.UTF8.GetString(Convert.FromBase64String(descriptor)), "latest");
    }

    private static void WriteResults(Arguments flags, IReadOnlyDictionary<string, string> result)
    {
        if (flags.String("iidfile") is { Length: > 0 } file) File.WriteAllText(file, ImageOf(result));
        if (flags.String("metadata-file") is not { Length: > 0 } metadata) return;
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            foreach (var key in result.Keys.Order(StringComparer.Ordinal))
            {
                // What is JSON in base64 is shown as JSON, as by buildx.
                if (key is "containerimage.descriptor" || key.StartsWith("buildx.build.provenance", StringComparison.Ordinal))
                {
                    json.WritePropertyName(key);
                    using var inner = JsonDocument.Parse(Convert.FromBase64String(result[key]));
                    inner.RootElement.WriteTo(json);
                }
                else json.WriteString(key, result[key]);
            }
            json.WriteEndObject();
        }
        File.WriteAllBytes(metadata, stream.ToArray());
    }
}
