namespace Berth.Registry;

/// <summary>The error codes of the distribution-spec, and two that docker-registry adds. The names on the wire are those of <see cref="DistributionException.Code"/>.</summary>
public enum DistributionError
{
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,

    /// <summary>A chunk that does not begin where the upload stands.</summary>
    RangeInvalid,

    /// <summary>A part of a blob that begins behind its end.</summary>
    RangeUnsatisfiable,

    /// <summary>A number of entries that is none.</summary>
    PaginationNumberInvalid,

    /// <summary>Too large to be taken: a manifest above <see cref="ManifestLinks.MaxBytes"/>.</summary>
    TooLarge,

    /// <summary>The other registry, whose content is wanted, cannot be reached or fails.</summary>
    Unavailable,
}

/// <summary>A request that is refused, and what for.</summary>
public sealed class DistributionException(DistributionError error, string message, Exception? inner = null) : Exception(message, inner)
{
    public DistributionError Error => error;

    public string Code => error switch
    {
        DistributionError.BlobUnknown => "BLOB_UNKNOWN",
        DistributionError.BlobUploadInvalid or DistributionError.RangeInvalid => "BLOB_UPLOAD_INVALID",
        DistributionError.BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
        DistributionError.DigestInvalid => "DIGEST_INVALID",
        DistributionError.ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
        DistributionError.ManifestInvalid => "MANIFEST_INVALID",
        DistributionError.ManifestUnknown => "MANIFEST_UNKNOWN",
        DistributionError.NameInvalid => "NAME_INVALID",
        DistributionError.NameUnknown => "NAME_UNKNOWN",
        DistributionError.SizeInvalid or DistributionError.TooLarge or DistributionError.RangeUnsatisfiable => "SIZE_INVALID",
        DistributionError.Unauthorized => "UNAUTHORIZED",
        DistributionError.Denied => "DENIED",
        DistributionError.Unsupported => "UNSUPPORTED",
        DistributionError.TooManyRequests => "TOOMANYREQUESTS",
        DistributionError.PaginationNumberInvalid => "PAGINATION_NUMBER_INVALID",
        _ => "UNAVAILABLE",
    };
}
