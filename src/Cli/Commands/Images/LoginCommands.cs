using System.Text;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Configuration;
using Berth.Cli.Registries;

namespace Berth.Cli.Commands.Images;

internal static class LoginCommands
{
    private const int MaxInputBytes = 64 * 1024;

    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["login"],
            Usage = "[OPTIONS] [SERVER]",
            Summary = "Log in to a registry (Docker Hub unless one is named)",
            Flags = static () =>
            [
                new("password", 'p', FlagKind.String, "Password or access token"),
                new("password-stdin", FlagKind.Bool, "Read the password or access token from STDIN"),
                new("username", 'u', FlagKind.String, "User name"),
            ],
            MaxArguments = 1,
            Run = LoginAsync,
        },
        new()
        {
            Paths = ["logout"],
            Usage = "[SERVER]",
            Summary = "Log out from a registry",
            MaxArguments = 1,
            Run = LogoutAsync,
        },
    ];

    private static async Task<int> LoginAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var (user, password) = (flags.String("username"), flags.String("password"));
        if (flags.Bool("password-stdin"))
        {
            if (flags.Changed("password")) throw new CommandException("conflicting options: cannot specify both --password and --password-stdin");
            if (!flags.Changed("username")) throw new CommandException("the --password-stdin option requires --username to be set");
        }
        if (flags.Changed("username") && user.Length == 0) throw new CommandException("username is empty");
        if (flags.Changed("password") && password.Length == 0) throw new CommandException("password is empty");
        if (password.Length > 0) context.Err.Write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
        if (flags.Bool("password-stdin"))
        {
            password = await ReadAsync(context, toEnd: true);
            if (password.EndsWith('\n')) password = password[..^1];
            if (password.EndsWith('\r')) password = password[..^1];
        }

        var given = flags.Positional is [var named] ? named : "";
        var isHub = given is "" or "docker.io" or DockerConfig.HubKey;
        var server = isHub ? DockerConfig.HubKey : DockerConfig.HostOf(given);
        var credentials = new Credentials(context);
        AuthConfig? known = null;
        if (user.Length == 0 && password.Length == 0)
        {
            try
            {
                known = await credentials.GetAsync(server);
            }
            catch (CommandException)
            {
                // What cannot be read is asked for.
            }
        }
        if (known is { Username.Length: > 0, Password.Length: > 0 } && await WithKnownAsync(context, credentials, server, known)) return 0;
        if ((user.Length == 0 || password.Length == 0) && !context.Terminal.InputIsTerminal) throw new CommandException("Error: Cannot perform an interactive login from a non TTY device");

        user = user.Trim();
        if (user.Length == 0) user = await AskUserAsync(context, isHub, known?.Username ?? "");
        password = password.Trim();
        if (password.Length == 0) password = await AskPasswordAsync(context);
        var auth = new AuthConfig { Username = user, Password = password, ServerAddress = server };
        var answer = await context.Client.LoginAsync(auth, context.Cancelled);
        await StoreAsync(credentials, server, auth, answer);
        context.Out.Write(answer.Status + "\n");
        return 0;
    }

    private static async Task<bool> WithKnownAsync(CommandContext context, Credentials credentials, string server, AuthConfig known)
    {
        context.Err.Write($"Authenticating with existing credentials... [Username: {known.Username}]\n\n Info -> To login with a different account, run '{context.ProgramName} logout' followed by '{context.ProgramName} login'\n\n\n");
        var auth = known with { ServerAddress = server, IdentityToken = null };
        try
        {
            var answer = await context.Client.LoginAsync(auth, context.Cancelled);
            await StoreAsync(credentials, server, auth, answer);
            context.Out.Write(answer.Status + "\n");
            return true;
        }
        catch (EngineApiException e)
        {
            context.Err.Write(e.Status == 401 ? "Stored credentials invalid or expired\n" : $"Login did not succeed, error: {e.Message}\n");
            return false;
        }
    }

    private static async Task StoreAsync(Credentials credentials, string server, AuthConfig auth, AuthResponse answer)
    {
        if (answer.IdentityToken.Length > 0) auth = auth with { Password = null, IdentityToken = answer.IdentityToken };
        try
        {
            await credentials.StoreAsync(server, auth);
        }
        catch (Exception e) when (e is CommandException or IOException or UnauthorizedAccessException)
        {
            throw new CommandException($"Error saving credentials: {e.Message}");
        }
    }

    private static async Task<string> AskUserAsync(CommandContext context, bool isHub, string known)
    {
        if (isHub) context.Out.Write("Docker Hub takes your Docker ID or e-mail address, and your password or a personal access token.\n\n");
        context.Out.Write(known.Length > 0 ? $"Username ({known}): " : "Username: ");
        var user = (await ReadAsync(context, toEnd: false)).Trim();
        if (user.Length == 0) user = known;
        return user.Length > 0 ? user : throw new CommandException("Error: Non-null Username Required");
    }

    private static async Task<string> AskPasswordAsync(CommandContext context)
    {
        string password;
        using (context.Terminal.HideInput())
        {
            context.Out.Write("Password: ");
            password = (await ReadAsync(context, toEnd: false)).Trim();
        }
        context.Out.Write("\n");
        return password.Length > 0 ? password : throw new CommandException("Error: Password Required");
    }

    private static async Task<string> ReadAsync(CommandContext context, bool toEnd)
    {
        context.Flush();
        var text = new List<byte>();
        var one = new byte[1];
        while (await context.InStream.ReadAsync(one, context.Cancelled) > 0)
        {
            if (text.Count >= MaxInputBytes) throw new CommandException($"more than {MaxInputBytes} bytes were given");
            if (one[0] == '\n' && !toEnd) break;
            text.Add(one[0]);
        }
        return Encoding.UTF8.GetString([.. text]);
    }

    private static async Task<int> LogoutAsync(Invocation invocation)
    {
        var context = invocation.Context;
        var given = invocation.Arguments.Positional is [var named] ? named : "";
        var host = given.Length > 0 ? DockerConfig.HostOf(given) : DockerConfig.HubKey;
        // Older clients wrote them by any of these.
        string[] servers = given.Length > 0 ? [given, host, "http://" + host, "https://" + host] : [host];
        context.Out.Write($"Removing login credentials for {host}\n");
        var credentials = new Credentials(context);
        var failures = new List<string>();
        foreach (var server in servers)
        {
            try
            {
                await credentials.EraseAsync(server);
            }
            catch (CommandException e)
            {
                failures.Add($"{server}: {e.Message}");
            }
        }
        if (failures.Count == servers.Length) context.Err.Write($"WARNING: could not erase credentials:\n{string.Join('\n', failures)}\n");
        return 0;
    }
}
