using System.Net;

namespace Berth.Images.Registry;

internal sealed partial class RegistryClient
{
    /// <summary>Finds out whether the registry takes these credentials; returns a token to be kept instead of the password, if it gives one.</summary>
    /// <exception cref="ImageException">Unauthorized: the token server says that they are wrong. System: anything else, the texts are Docker's.</exception>
    public async Task<string?> LoginAsync(CancellationToken cancellation)
    {
        try
        {
            using var response = await SendAsync(HttpMethod.Get, endpoint.Api, null, cancellation).ConfigureAwait(false);
            if (response.StatusCode == HttpStatusCode.OK) return refreshToken;
            throw ImageException.Failed($"login attempt to {endpoint.Api} failed with status: {(int)response.StatusCode} {response.ReasonPhrase}");
        }
        catch (RegistryException e)
        {
            var message = e.Code == RegistryException.NoCredentialsCode ? e.Message : $"Get \"{endpoint.Api}\": {e.Message}";
            throw new ImageException(e.Code == "UNAUTHORIZED" ? ImageErrorKind.Unauthorized : ImageErrorKind.System, message, e);
        }
    }
}
