namespace Berth.Images.Registry;

internal sealed partial class RegistryClient
{
    /// <summary>What refers to a manifest (distribution-spec 1.1, "Listing Referrers"), of one kind or ("") of all; null when the registry has no such list.</summary>
    public async Task<IReadOnlyList<Descriptor>?> GetReferrersAsync(Digest digest, string artifactType, CancellationToken cancellation)
    {
        var found = new List<Descriptor>();
        var url = InRepository($"referrers/{digest}{(artifactType.Length > 0 ? $"?artifactType={Uri.EscapeDataString(artifactType)}" : "")}");
        for (var page = 0; page < MaxTagPages; page++)
        {
            try
            {
                using var response = await GetAsync(url, MediaTypes.OciIndex, null, cancellation).ConfigureAwait(false);
                // A registry that knows nothing of it may answer anything with a page for people.
                if (response.Content.Headers.ContentType?.MediaType != MediaTypes.OciIndex) return null;
                var index = Manifest.Parse(await ReadAsync(response, Manifest.MaxBytes, "list of referrers", cancellation).ConfigureAwait(false));
                found.AddRange((index.Manifests ?? []).Where(m => artifactType.Length == 0 || m.ArtifactType == artifactType));
                if (found.Count > Manifest.MaxEntries || NextPage(url, response) is not { } next) return found;
                url = next;
            }
            catch (RegistryException e) when (page == 0 && e.Status is 404 or 405 or 400 or 501)
            {
                return null;
            }
        }
        return found;
    }
}
