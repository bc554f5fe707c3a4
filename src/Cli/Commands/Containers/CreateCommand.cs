using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Images;

namespace Berth.Cli.Commands.Containers;

/// <summary>berth create, and the creating half of berth run.</summary>
internal static class CreateCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["create", "container create"],
        Usage = "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        Summary = "Create a container without starting it",
        Flags = ContainerFlags.ForCreate,
        Interspersed = false,
        MinArguments = 1,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var request = RequestOf(invocation);
        var id = await CreateAsync(invocation, request);
        invocation.Context.Out.Write(id + "\n");
        return 0;
    }

    /// <summary>Reads the flags; what is wrong with them ends the command with 125.</summary>
    public static ContainerCreateRequest RequestOf(Invocation invocation)
    {
        try
        {
            if (invocation.Arguments.String("pull") is not ("always" or "missing" or "never") and var pull)
                throw new FormatException($"invalid pull option: '{pull}': must be one of \"always\", \"missing\" or \"never\"");
            foreach (var flag in WindowsFlags)
                if (invocation.Arguments.Changed(flag)) throw new CommandException($"\"--{flag}\" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux");
            var request = CreateRequestBuilder.Build(invocation.Arguments, invocation.Context.Variable);
            AddProxies(invocation.Context, request);
            return request;
        }
        catch (FormatException e)
        {
            throw WithHelp(invocation, e.Message, Application.BadFlags);
        }
    }

    private static readonly string[] WindowsFlags = ["cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"];

    // The proxies of the configuration, unless a flag sets the same variable.
    private static void AddProxies(CommandContext context, ContainerCreateRequest request)
    {
        var proxies = context.Config.ProxiesFor(context.Connection.HostText);
        if (proxies.Count == 0) return;
        var own = (request.Env ?? []).Select(e => CreateRequestBuilder.Cut(e).Key).ToHashSet(StringComparer.Ordinal);
        request.Env = [.. request.Env ?? [], .. proxies.Where(p => !own.Contains(p.Name)).Select(p => $"{p.Name}={p.Value}")];
    }

    public static CommandException WithHelp(Invocation invocation, string message, int exitCode) =>
        new($"{invocation.Context.ProgramName}: {message}\n\nRun '{invocation.Context.ProgramName} {invocation.Command.Name} --help' for more information", exitCode);

    /// <summary>Creates it, pulling the image when that is wanted, and writes the --cidfile.</summary>
    public static async Task<string> CreateAsync(Invocation invocation, ContainerCreateRequest request)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        using var idFile = ContainerIdFile.Open(flags.String("cidfile"));
        if (request.Tty && context.Terminal.OutputIsTerminal)
        {
            var (height, width) = context.Terminal.Size;
            request.HostConfig!.ConsoleSize = [(uint)height, (uint)width];
        }
        var (name, platform, pull) = (flags.String("name"), context.PlatformOf(flags), flags.String("pull"));
        ImageName.Check(request.Image, idAllowed: true);
        if (platform.Length > 0 && PlatformFlag.WrongWith(platform) is { } wrong) throw new CommandException($"error parsing specified platform: {wrong}");
        if (flags.Bool("use-api-socket")) ApiSocket.Add(context, request);
        if (pull == "always") await PullAsync(invocation, request.Image, platform);
        ContainerCreateResponse response;
        try
        {
            response = await context.Client.CreateContainerAsync(request, name, platform, invocation.Cancelled);
        }
        catch (EngineApiException e) when (e.Status == 404 && pull == "missing" && e.DaemonMessage.Contains("No such image", StringComparison.Ordinal))
        {
            if (!flags.Bool("quiet")) context.Err.Write($"Unable to find image '{ImageName.WithTag(request.Image)}' locally\n");
            await PullAsync(invocation, request.Image, platform);
            response = await context.Client.CreateContainerAsync(request, name, platform, invocation.Cancelled);
        }
        foreach (var warning in response.Warnings) context.Err.Write($"WARNING: {warning}\n");
        idFile?.Write(response.Id);
        if (flags.Bool("use-api-socket")) await ApiSocket.AddLoginsAsync(context, response.Id);
        return response.Id;
    }

    private static Task PullAsync(Invocation invocation, string image, string platform) =>
        PullCommand.PullAsync(invocation.Context, image, platform, invocation.Arguments.Bool("quiet") ? TextWriter.Null : invocation.Context.Err);

    /// <summary>--cidfile: must not exist before, and does not stay when no container was made.</summary>
    private sealed class ContainerIdFile : IDisposable
    {
        private readonly string _path;
        private readonly FileStream _file;
        private bool _written;

        private ContainerIdFile(string path, FileStream file) => (_path, _file) = (path, file);

        public static ContainerIdFile? Open(string path)
        {
            if (path.Length == 0) return null;
            if (Path.Exists(path)) throw new CommandException($"container ID file found, make sure the other container isn't running or delete {path}");
            try
            {
                return new ContainerIdFile(path, new FileStream(path, FileMode.CreateNew, FileAccess.Write));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new CommandException($"failed to create the container ID file: open {path}: {Files.Reason(e)}");
            }
        }

        public void Write(string id)
        {
            _file.Write(global::System.Text.Encoding.ASCII.GetBytes(id));
            _written = true;
        }

        public void Dispose()
        {
            _file.Dispose();
            if (!_written) File.Delete(_path);
        }
    }
}
