using System.Formats.Tar;
using System.Text;
using Berth.Api;

namespace Berth.Cli.Commands.Containers;

/// <summary>--use-api-socket: the container is given the engine's socket, and our logins to registries as its own.</summary>
internal static class ApiSocket
{
    private const string Socket = "/var/run/docker.sock", Directory = "/run/secrets/docker";

    public static void Add(CommandContext context, ContainerCreateRequest request)
    {
        request.HostConfig!.Mounts = [.. request.HostConfig.Mounts ?? [], new Mount { Type = "bind", Source = Socket, Target = Socket }];
        if (!Has(request.Env)) request.Env = [.. request.Env ?? [], "DOCKER_CONFIG=" + Directory];

        static bool Has(string[]? environment) => environment?.Any(e => e.StartsWith("DOCKER_CONFIG=", StringComparison.Ordinal)) == true;
    }

    /// <summary>Those that helpers keep are in it as well: the container has no helpers.</summary>
    public static async Task AddLoginsAsync(CommandContext context, string id)
    {
        var config = await new Registries.Credentials(context).AllAsFileAsync();
        using var tar = new MemoryStream();
        using (var writer = new TarWriter(tar, TarEntryFormat.Ustar, leaveOpen: true))
            writer.WriteEntry(new UstarTarEntry(TarEntryType.RegularFile, Directory.TrimStart('/') + "/config.json")
            {
                Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite, ModificationTime = context.Time.GetUtcNow(), DataStream = new MemoryStream(Encoding.UTF8.GetBytes(config)),
            });
        tar.Position = 0;
        await context.Client.ExtractArchiveAsync(id, "/", tar, cancellationToken: context.Cancelled);
    }
}
