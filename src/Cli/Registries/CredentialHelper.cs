using System.ComponentModel;
using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Serialization;
using Berth.Api;

namespace Berth.Cli.Registries;

/// <summary>A program that keeps credentials, <c>docker-credential-&lt;name&gt;</c>: what is to be done is its argument, the rest goes through standard input and output.</summary>
internal sealed class CredentialHelper(string name)
{
    /// <summary>What a helper says when it has none; it is no failure.</summary>
    private const string NotFound = "credentials not found in native keychain";

    private const string Prefix = "docker-credential-", TokenUser = "<token>";

    private const int MaxOutputBytes = 1024 * 1024;

    /// <summary>A helper may ask the user to unlock something, but not for ever.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    /// <summary>The system's own store, if it has one: pass where there is that, or else the secret service.</summary>
    public static string? Default(Func<string, string?> variable)
    {
        var platform = OnPath("pass", variable) ? "pass" : "secretservice";
        return OnPath(Prefix + platform, variable) ? platform : null;
    }

    private static bool OnPath(string program, Func<string, string?> variable) =>
        (variable("PATH") ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries).Any(directory => File.Exists(Path.Combine(directory, program)));

    /// <summary>Null when it has none.</summary>
    /// <exception cref="CommandException">It failed; the text is docker's.</exception>
    public async Task<AuthConfig?> GetAsync(string server, CancellationToken cancellation)
    {
        var (output, failure) = await RunAsync("get", server, cancellation);
        if (failure is not null) return output == NotFound ? null : throw new CommandException($"error getting credentials - err: {failure}, out: `{output}`");
        HelperCredentials? found;
        try
        {
            found = JsonSerializer.Deserialize(output, HelperJson.Default.HelperCredentials);
        }
        catch (JsonException e)
        {
            throw new CommandException($"error getting credentials - {Prefix}{name} answered no JSON: {e.Message}");
        }
        if (found is null) return null;
        return found.Username == TokenUser ? new AuthConfig { ServerAddress = server, IdentityToken = found.Secret } : new AuthConfig { ServerAddress = server, Username = found.Username, Password = found.Secret };
    }

    /// <exception cref="CommandException">It failed.</exception>
    public async Task StoreAsync(string server, AuthConfig auth, CancellationToken cancellation)
    {
        var token = auth.IdentityToken is { Length: > 0 };
        var credentials = new HelperCredentials { ServerUrl = server, Username = token ? TokenUser : auth.Username ?? "", Secret = (token ? auth.IdentityToken : auth.Password) ?? "" };
        var (output, failure) = await RunAsync("store", JsonSerializer.Serialize(credentials, HelperJson.Default.HelperCredentials), cancellation);
        if (failure is not null) throw new CommandException($"error storing credentials - err: {failure}, out: `{output}`");
    }

    /// <exception cref="CommandException">It failed.</exception>
    public async Task EraseAsync(string server, CancellationToken cancellation)
    {
        var (output, failure) = await RunAsync("erase", server, cancellation);
        if (failure is not null) throw new CommandException($"error erasing credentials - err: {failure}, out: `{output}`");
    }

    private async Task<(string Output, string? Failure)> RunAsync(string action, string input, CancellationToken cancellation)
    {
        // Helpers are found on PATH only: the name comes from a file.
        if (name.Contains('/')) throw new CommandException($"{name} is no name of a credential helper");
        Process process;
        try
        {
            process = Process.Start(new ProcessStartInfo(Prefix + name, [action]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        }
        catch (Win32Exception)
        {
            return ("", $"exec: \"{Prefix}{name}\": executable file not found in $PATH");
        }
        using (process)
        using (var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation))
        {
            limit.CancelAfter(Patience);
            try
            {
                try
                {
                    await process.StandardInput.WriteAsync(input.AsMemory(), limit.Token);
                    process.StandardInput.Close();
                }
                catch (IOException)
                {
                    // It does not listen; what it says will tell.
                }
                var buffer = new char[MaxOutputBytes];
                var count = await process.StandardOutput.ReadBlockAsync(buffer, limit.Token);
                await process.WaitForExitAsync(limit.Token);
                return (new string(buffer, 0, count).Trim(), process.ExitCode == 0 ? null : $"exit status {process.ExitCode}");
            }
            finally
            {
                if (!process.HasExited) process.Kill();
            }
        }
    }
}

internal sealed record HelperCredentials
{
    [JsonPropertyName("ServerURL")] public string ServerUrl { get; init; } = "";
    public string Username { get; init; } = "";
    public string Secret { get; init; } = "";
}

[JsonSerializable(typeof(HelperCredentials))]
internal sealed partial class HelperJson : JsonSerializerContext;
