namespace Berth.Images;

public sealed partial class ImageStore
{
    private readonly IDisposable? registryClient = null;

    /// <summary>Pulls one image, or all tags when the name has neither tag nor digest.</summary>
    /// <param name="progress">Called one at a time, from pool threads; must not block for long.</param>
    public Task PullAsync(ImageReference name, Platform? platform, RegistryCredentials? credentials, Action<ImageProgress> progress, CancellationToken cancellation) =>
        throw new NotImplementedException();
}
