using System.Text;
using System.Text.Json.Nodes;
using Berth.Api;
using Berth.Cli.Configuration;

namespace Berth.Cli.Registries;

/// <summary>Who the user is to registries, wherever that is kept.</summary>
internal sealed class Credentials(CommandContext context)
{
    private readonly DockerConfig config = context.Config;

    private CredentialHelper? HelperFor(string server) =>
        (config.HelperFor(server) ?? (config.SaysNothing ? CredentialHelper.Default(context.Variable) : null)) is { } name ? new CredentialHelper(name) : null;

    /// <summary>Null when there are none.</summary>
    /// <exception cref="CommandException">A helper failed.</exception>
    public async Task<AuthConfig?> GetAsync(string server) =>
        HelperFor(server) is { } helper ? await helper.GetAsync(server, context.Cancelled) : config.Get(server);

    /// <summary>For a pull, push or search, that can do without: a helper that fails is passed over.</summary>
    public static async Task<AuthConfig?> ForImageAsync(CommandContext context, string image)
    {
        try
        {
            return await new Credentials(context).GetAsync(ServerOf(image));
        }
        catch (CommandException)
        {
            return null;
        }
    }

    /// <summary>The name in the file of the registry that an image's name says.</summary>
    internal static string ServerOf(string image)
    {
        var slash = image.IndexOf('/');
        var first = slash < 0 ? "" : image[..slash];
        if (!(first == "localhost" || first.AsSpan().ContainsAny('.', ':'))) return DockerConfig.HubKey;
        return first is "docker.io" or "index.docker.io" ? DockerConfig.HubKey : first;
    }

    /// <summary>A config.json with all that is known, wherever it is kept.</summary>
    /// <exception cref="CommandException">A helper failed.</exception>
    public async Task<string> AllAsFileAsync()
    {
        var auths = new JsonObject();
        foreach (var server in config.KnownServers)
        {
            if (await GetAsync(server) is not { } auth) continue;
            var entry = new JsonObject();
            if (auth.Username is { Length: > 0 }) entry["auth"] = Convert.ToBase64String(Encoding.UTF8.GetBytes($"{auth.Username}:{auth.Password}"));
            if (auth.IdentityToken is { Length: > 0 } token) entry["identitytoken"] = token;
            auths[server] = entry;
        }
        return new JsonObject { ["auths"] = auths }.ToJsonString();
    }

    /// <exception cref="CommandException">A helper failed.</exception>
    public async Task StoreAsync(string server, AuthConfig auth)
    {
        if (HelperFor(server) is { } helper)
        {
            await helper.StoreAsync(server, auth, context.Cancelled);
            config.Set(server, new AuthConfig());
            return;
        }
        if (config.Set(server, auth) && auth.Password is { Length: > 0 })
            context.Err.Write($"\nWARNING! Your credentials are stored unencrypted in '{config.Path}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n\n");
    }

    /// <exception cref="CommandException">A helper failed.</exception>
    public async Task EraseAsync(string server)
    {
        if (HelperFor(server) is { } helper) await helper.EraseAsync(server, context.Cancelled);
        config.Remove(server);
    }
}
