namespace Berth.Daemon.Registry;

internal enum RegistryResource
{
    Base,
    Catalog,
    Token,
    Tags,
    Manifest,
    Blob,
    Uploads,
    Upload,
    Referrers,
}

/// <summary>
/// A path of the distribution API taken apart: names have slashes in them, so it is read from its end. Nothing is checked here but the shape.
/// </summary>
/// <param name="Item">The tag, digest or upload id.</param>
internal readonly record struct RegistryPath(RegistryResource Resource, string Name, string Item)
{
    /// <summary>Null when it is none.</summary>
    public static RegistryPath? Parse(string path)
    {
        switch (path)
        {
            case "/v2" or "/v2/": return new(RegistryResource.Base, "", "");
            case "/v2/_catalog": return new(RegistryResource.Catalog, "", "");
            case "/token": return new(RegistryResource.Token, "", "");
        }
        if (!path.StartsWith("/v2/", StringComparison.Ordinal)) return null;
        var rest = path.AsSpan(4);
        if (Before(rest, "/tags/list") is { } tags) return new(RegistryResource.Tags, tags, "");
        if ((Before(rest, "/blobs/uploads/") ?? Before(rest, "/blobs/uploads")) is { } uploads) return new(RegistryResource.Uploads, uploads, "");
        var slash = rest.LastIndexOf('/');
        if (slash < 0 || slash == rest.Length - 1) return null;
        var front = rest[..slash];
        var item = rest[(slash + 1)..].ToString();
        if (Before(front, "/blobs/uploads") is { } upload) return new(RegistryResource.Upload, upload, item);
        if (Before(front, "/manifests") is { } manifest) return new(RegistryResource.Manifest, manifest, item);
        if (Before(front, "/blobs") is { } blob) return new(RegistryResource.Blob, blob, item);
        return Before(front, "/referrers") is { } referrers ? new(RegistryResource.Referrers, referrers, item) : null;
    }

    private static string? Before(ReadOnlySpan<char> text, string end) => text.Length > end.Length && text.EndsWith(end, StringComparison.Ordinal) ? text[..^end.Length].ToString() : null;
}
