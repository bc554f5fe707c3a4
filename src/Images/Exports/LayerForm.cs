namespace Berth.Images;

public enum LayerCompression
{
    Gzip,
    Zstd,
    None,
}

/// <summary>How layers are to be written.</summary>
/// <param name="Level">null: what was found to be best.</param>
/// <param name="Force">Also those that are known to lie in the registry in another form.</param>
public sealed record LayerForm(LayerCompression Compression = LayerCompression.Gzip, int? Level = null, bool Force = false)
{
    public bool IsPlainGzip => Compression == LayerCompression.Gzip && Level is null;

    internal string MediaType => Compression switch
    {
        LayerCompression.Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        LayerCompression.Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        _ => "application/vnd.oci.image.layer.v1.tar",
    };
}
