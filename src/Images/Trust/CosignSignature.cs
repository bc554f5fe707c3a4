using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using Berth.Linux;

namespace Berth.Images.Trust;

/// <summary>
/// A signature as cosign makes it with a key: over a small JSON document that names the manifest's digest ("simple signing"), the signature beside it in
/// an annotation.
/// </summary>
internal static class CosignSignature
{
    public const string ArtifactType = "application/vnd.dev.cosign.artifact.sig.v1+json";
    public const string PayloadType = "application/vnd.dev.cosign.simplesigning.v1+json";
    public const string SignatureAnnotation = "dev.cosignproject.cosign/signature";

    private const string Statement = "cosign container image signature";

    /// <summary>Null when one of the keys made it and it is about that manifest; else what is wrong.</summary>
    public static string? Problem(ReadOnlySpan<byte> payload, string? signature, Digest manifest, IReadOnlyList<PublicKey> keys)
    {
        byte[] bytes;
        try
        {
            bytes = Convert.FromBase64String(signature ?? "");
        }
        catch (FormatException)
        {
            return "a signature is not base64";
        }
        var signed = false;
        foreach (var key in keys) signed |= key.Verifies(payload, bytes);
        if (!signed) return "a signature was not made by any of the keys";
        SimpleSigning? statement;
        try
        {
            statement = JsonSerializer.Deserialize(payload, ImagesJson.Default.SimpleSigning);
        }
        catch (JsonException)
        {
            return "what was signed is not JSON";
        }
        if (statement?.Critical is not { Type: Statement } critical) return "what was signed is not a statement about an image";
        return critical.Image?.ManifestDigest == manifest.ToString() ? null : $"a signature is for {critical.Image?.ManifestDigest}";
    }
}

/// <summary>A public key from a PEM file: ECDSA, RSA or Ed25519.</summary>
internal sealed class PublicKey : IDisposable
{
    private readonly ECDsa? ecdsa;
    private readonly RSA? rsa;
    private readonly byte[]? ed25519;

    private PublicKey(ECDsa? ecdsa = null, RSA? rsa = null, byte[]? ed25519 = null) => (this.ecdsa, this.rsa, this.ed25519) = (ecdsa, rsa, ed25519);

    // SubjectPublicKeyInfo of RFC 8410 up to the key itself: there is only this one way to write it.
    private static ReadOnlySpan<byte> Ed25519Info => [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00];

    /// <exception cref="ImageException">It can't be read, or is another kind of key.</exception>
    public static PublicKey Read(string path)
    {
        var pem = PemFile.Read(path);
        if (TryReadEd25519(pem) is { } key) return new PublicKey(ed25519: key);
        var ecdsa = ECDsa.Create();
        try
        {
            ecdsa.ImportFromPem(pem);
            return new PublicKey(ecdsa);
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            ecdsa.Dispose();
        }
        var rsa = RSA.Create();
        try
        {
            rsa.ImportFromPem(pem);
            return new PublicKey(rsa: rsa);
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            rsa.Dispose();
            throw ImageException.Failed($"{path} holds no public key of ECDSA, RSA or Ed25519 in PEM", e);
        }
    }

    private static byte[]? TryReadEd25519(string pem)
    {
        if (!PemEncoding.TryFind(pem, out var fields) || pem.AsSpan()[fields.Label] is not "PUBLIC KEY") return null;
        var info = Convert.FromBase64String(pem[fields.Base64Data]);
        return info.Length == Ed25519Info.Length + Ed25519.KeyBytes && info.AsSpan().StartsWith(Ed25519Info) ? info[Ed25519Info.Length..] : null;
    }

    /// <summary>By SHA-256; ECDSA in DER, RSA by PKCS #1 v1.5, as cosign. Ed25519 signs the content itself.</summary>
    /// <exception cref="ImageException">What it takes to verify such signatures is not installed.</exception>
    public bool Verifies(ReadOnlySpan<byte> content, ReadOnlySpan<byte> signature)
    {
        try
        {
            if (ed25519 is not null) return Ed25519.Verify(ed25519, content, signature);
        }
        catch (DllNotFoundException e)
        {
            throw ImageException.Failed(e.Message, e);
        }
        return ecdsa?.VerifyData(content, signature, HashAlgorithmName.SHA256, DSASignatureFormat.Rfc3279DerSequence)
            ?? rsa!.VerifyData(content, signature, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
    }

    public void Dispose()
    {
        ecdsa?.Dispose();
        rsa?.Dispose();
    }
}

internal static class PemFile
{
    /// <summary>Larger than any key or bundle of certificates.</summary>
    private const int MaxBytes = 1024 * 1024;

    /// <exception cref="ImageException">It can't be read.</exception>
    public static string Read(string path)
    {
        try
        {
            return Storage.DiskFile.TryRead(path, MaxBytes) is { } bytes ? System.Text.Encoding.UTF8.GetString(bytes) : throw ImageException.Failed($"open {path}: no such file or directory");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw ImageException.Failed($"open {path}: {e.Message}", e);
        }
    }
}

/// <summary>containers/image, "atomic container signature", as cosign fills it in.</summary>
internal sealed record SimpleSigning
{
    [JsonPropertyName("critical")] public CriticalPart? Critical { get; init; }

    internal sealed record CriticalPart
    {
        [JsonPropertyName("image")] public ImagePart? Image { get; init; }
        [JsonPropertyName("type")] public string? Type { get; init; }
    }

    internal sealed record ImagePart
    {
        [JsonPropertyName("docker-manifest-digest")] public string? ManifestDigest { get; init; }
    }
}
