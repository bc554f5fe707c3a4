using System.Text.Json;

namespace Berth.Images.Registry;

/// <summary>A registry said no. The message is Docker's: the code in words, then the registry's own.</summary>
internal sealed class RegistryException(int status, string? code, string message) : Exception(message)
{
    public int Status => status;

    /// <summary>MANIFEST_UNKNOWN and the like; null when the answer had none.</summary>
    public string? Code => code;

    /// <summary>Asking again would not help.</summary>
    public bool IsFinal => code is "UNAUTHORIZED" or "UNSUPPORTED" or "DENIED" or "TOOMANYREQUESTS" or "NAME_UNKNOWN" or "BLOB_UNKNOWN" or NoCredentialsCode || code is null;

    /// <summary>Our own code: the registry asks for a name and a password, and there are none.</summary>
    public const string NoCredentialsCode = "NO_CREDENTIALS";

    /// <summary>How long the registry asks to be left alone; null when it does not say.</summary>
    public TimeSpan? RetryAfter { get; private set; }

    public static RegistryException NoCredentials(string request) => new(401, NoCredentialsCode, $"{request}: no basic auth credentials");

    // Docker's words for the codes that come without a message (distribution/registry/api/errcode).
    private static string DefaultMessage(string code) => code switch
    {
        "UNAUTHORIZED" => "authentication required",
        "DENIED" => "requested access to the resource is denied",
        "TOOMANYREQUESTS" => "too many requests",
        "MANIFEST_UNKNOWN" => "manifest unknown",
        "NAME_UNKNOWN" => "repository name not known to registry",
        "BLOB_UNKNOWN" => "blob unknown to registry",
        _ => "unknown error",
    };

    public static RegistryException Of(int status, string code, string? message) =>
        new(status, code, $"{code.ToLowerInvariant().Replace('_', ' ')}: {(string.IsNullOrEmpty(message) ? DefaultMessage(code) : message)}");

    /// <summary>Reads an error answer.</summary>
    public static RegistryException From(HttpResponseMessage response, byte[] body)
    {
        var error = Read(response, body);
        if (response.Headers.RetryAfter is { } after) error.RetryAfter = after.Delta ?? after.Date - response.Headers.Date;
        return error;
    }

    private static RegistryException Read(HttpResponseMessage response, byte[] body)
    {
        var status = (int)response.StatusCode;
        if (status is < 400 or >= 500) return new(status, null, $"received unexpected HTTP status: {status} {response.ReasonPhrase}");
        foreach (var challenge in AuthChallenge.Of(response))
        {
            var code = challenge.Parameters.GetValueOrDefault("error") switch
            {
                "invalid_token" => "UNAUTHORIZED",
                "insufficient_scope" => "DENIED",
                _ => null,
            };
            if (code is not null) return Of(status, code, challenge.Parameters.GetValueOrDefault("error_description"));
        }
        RegistryErrors? parsed = null;
        try
        {
            parsed = JsonSerializer.Deserialize(body, ImagesJson.Default.RegistryErrors);
        }
        catch (JsonException)
        {
        }
        if (parsed?.Errors is [{ Code: { Length: > 0 } first } error, ..]) return Of(status, first, error.Message);
        if (!string.IsNullOrEmpty(parsed?.Details)) return Of(status, status == 401 ? "UNAUTHORIZED" : status == 429 ? "TOOMANYREQUESTS" : "UNKNOWN", parsed.Details);
        if (status == 401) return Of(status, "UNAUTHORIZED", null);
        return new(status, null, $"error parsing HTTP {status} response body: {(parsed is null ? "invalid JSON" : "no error details found in HTTP response body")}: {LayerShow(body)}");
    }

    private static string LayerShow(byte[] body) => Layers.TarExtractor.Show(body);
}
