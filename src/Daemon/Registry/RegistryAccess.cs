using System.Buffers.Text;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Berth.Registry;
using Microsoft.AspNetCore.Http;

namespace Berth.Daemon.Registry;

/// <summary>
/// Who may do what. Without a password file everybody everything. With one, its users everything; and where reading is free, who is no user may read. Clients then need a token
/// server: asked for a password, Docker gives up when it has none, and not asked, it never shows the one it has; so /v2/ asks for a token, which nobody gets too, for reading.
/// </summary>
/// <param name="encrypted">Clients come by TLS.</param>
internal sealed class RegistryAccess(Htpasswd? users, bool anonymousRead, bool encrypted, TimeProvider time)
{
    private static readonly TimeSpan TokenLife = TimeSpan.FromMinutes(5);
    private readonly byte[] _key = RandomNumberGenerator.GetBytes(32);

    public const string Nobody = "-";

    /// <returns>The user's name.</returns>
    /// <exception cref="DistributionException">Unauthorized; the answer says what is asked for.</exception>
    public async Task<string> CheckAsync(HttpContext http, bool isBase)
    {
        if (users is null) return Nobody;
        var reads = http.Request.Method is "GET" or "HEAD";
        var user = await UserAsync(http);
        if (user is not null)
        {
            if (user.Length > 0 || (anonymousRead && reads)) return user.Length > 0 ? user : Nobody;
        }
        else if (anonymousRead && reads && !isBase && !http.Request.Headers.ContainsKey("Authorization"))
        {
            return Nobody;
        }
        http.Response.Headers.WWWAuthenticate = anonymousRead
            ? $"Bearer realm=\"{Scheme(http)}://{http.Request.Host}/token\",service=\"{http.Request.Host}\"{(user is null ? "" : ",error=\"insufficient_scope\"")}"
            : "Basic realm=\"Berth registry\"";
        throw user is null ? new DistributionException(DistributionError.Unauthorized, "authentication required")
            : new DistributionException(DistributionError.Denied, "requested access to the resource is denied");
    }

    /// <summary>The token of whoever asks: a user who proves it, or nobody.</summary>
    public async Task<string> TokenAsync(HttpContext http)
    {
        if (users is null || !anonymousRead) throw new DistributionException(DistributionError.Unsupported, "this registry has no tokens");
        var user = await UserAsync(http);
        if (user is null && http.Request.Headers.ContainsKey("Authorization"))
        {
            http.Response.Headers.WWWAuthenticate = "Basic realm=\"Berth registry\"";
            throw new DistributionException(DistributionError.Unauthorized, "incorrect username or password");
        }
        var claim = Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{(time.GetUtcNow() + TokenLife).ToUnixTimeSeconds()} {user}"));
        return $"{Base64Url.EncodeToString(claim)}.{Base64Url.EncodeToString(HMACSHA256.HashData(_key, claim))}";
    }

    public static int TokenSeconds => (int)TokenLife.TotalSeconds;

    // Null: nobody proved anything. "": the bearer of nobody's token.
    private async Task<string?> UserAsync(HttpContext http)
    {
        var header = http.Request.Headers.Authorization.ToString();
        if (header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase)) return anonymousRead ? Bearer(header["Bearer ".Length..].Trim()) : null;
        if (!header.StartsWith("Basic ", StringComparison.OrdinalIgnoreCase)) return null;
        string text;
        try
        {
            text = Encoding.UTF8.GetString(Convert.FromBase64String(header["Basic ".Length..].Trim()));
        }
        catch (FormatException)
        {
            return null;
        }
        var colon = text.IndexOf(':');
        return colon > 0 && await users!.CheckAsync(text[..colon], text[(colon + 1)..], http.Connection.RemoteIpAddress, http.RequestAborted) ? text[..colon] : null;
    }

    private string? Bearer(string token)
    {
        var dot = token.IndexOf('.');
        if (dot < 0) return null;
        try
        {
            var claim = Base64Url.DecodeFromChars(token.AsSpan(0, dot));
            if (!CryptographicOperations.FixedTimeEquals(HMACSHA256.HashData(_key, claim), Base64Url.DecodeFromChars(token.AsSpan(dot + 1)))) return null;
            var (until, user) = Encoding.UTF8.GetString(claim).Split(' ', 2) is [var first, var second] ? (first, second) : ("0", "");
            return long.Parse(until, CultureInfo.InvariantCulture) > time.GetUtcNow().ToUnixTimeSeconds() ? user : null;
        }
        catch (FormatException)
        {
            return null;
        }
    }

    // Behind a proxy that ends TLS the client has come by https, and must not be sent elsewhere with its password.
    private string Scheme(HttpContext http) => encrypted || http.Request.Headers["X-Forwarded-Proto"] == "https" ? "https" : "http";
}
