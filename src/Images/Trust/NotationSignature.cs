using System.Buffers.Text;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Berth.Images.Trust;

/// <summary>
/// A signature of the Notary Project in a JWS envelope (notaryproject/specifications, signature-envelope-jws.md), scheme notary.x509: the certificates are in it, and one of those that the
/// policy names must vouch for them.
/// </summary>
internal static class NotationSignature
{
    public const string ArtifactType = "application/vnd.cncf.notary.signature";
    public const string EnvelopeType = "application/jose+json";

    private const string PayloadType = "application/vnd.cncf.notary.payload.v1+json";
    private const string Scheme = "io.cncf.notary.signingScheme", Expiry = "io.cncf.notary.expiry";

    /// <summary>Certificates in one envelope.</summary>
    private const int MaxCertificates = 16;

    /// <summary>Null when it is good and about that manifest; else what is wrong.</summary>
    public static string? Problem(ReadOnlySpan<byte> envelope, Digest manifest, X509Certificate2Collection trusted, DateTimeOffset now)
    {
        try
        {
            var jws = JsonSerializer.Deserialize(envelope, ImagesJson.Default.JwsEnvelope);
            if (jws is not { Payload: { } payload, Protected: { } head, Signature: { } signature, Header.Certificates: { Count: > 0 and <= MaxCertificates } chain })
                return "a signature's envelope lacks a part";
            var header = JsonSerializer.Deserialize(Base64Url.DecodeFromChars(head), ImagesJson.Default.JwsProtected)!;
            if (header.ContentType != PayloadType) return $"what was signed is {header.ContentType}";
            if (header.Critical?.Except([Scheme, Expiry]).FirstOrDefault() is { } unknown) return $"a signature demands that {unknown} be understood";
            if (header.SigningScheme != "notary.x509") return $"a signature's scheme is {header.SigningScheme}";
            if (header.Expires is { } expires && expires <= now) return "a signature has expired";

            var certificates = new X509Certificate2Collection();
            try
            {
                foreach (var der in chain) certificates.Add(X509CertificateLoader.LoadCertificate(Convert.FromBase64String(der)));
                if (!Verifies(certificates[0], header.Algorithm ?? "", Encoding.ASCII.GetBytes($"{head}.{payload}"), Base64Url.DecodeFromChars(signature))) return "a signature is not the certificate's";
                if (Distrust(certificates, trusted, now) is { } why) return why;
            }
            finally
            {
                foreach (var certificate in certificates) certificate.Dispose();
            }
            var statement = JsonSerializer.Deserialize(Base64Url.DecodeFromChars(payload), ImagesJson.Default.NotaryPayload);
            return statement?.Target?.DigestText == manifest.ToString() ? null : $"a signature is for {statement?.Target?.DigestText}";
        }
        catch (Exception e) when (e is JsonException or FormatException or CryptographicException or NullReferenceException)
        {
            return "a signature's envelope is malformed";
        }
    }

    // JWS: ECDSA as r and s in a row.
    private static bool Verifies(X509Certificate2 leaf, string algorithm, byte[] content, byte[] signature)
    {
        var hash = algorithm switch
        {
            "PS256" or "ES256" => HashAlgorithmName.SHA256,
            "PS384" or "ES384" => HashAlgorithmName.SHA384,
            "PS512" or "ES512" => HashAlgorithmName.SHA512,
            _ => default,
        };
        if (hash == default) return false;
        if (algorithm[0] == 'P')
        {
            using var rsa = leaf.GetRSAPublicKey();
            return rsa?.VerifyData(content, signature, hash, RSASignaturePadding.Pss) == true;
        }
        using var ecdsa = leaf.GetECDsaPublicKey();
        return ecdsa?.VerifyData(content, signature, hash, DSASignatureFormat.IeeeP1363FixedFieldConcatenation) == true;
    }

    private static string? Distrust(X509Certificate2Collection chain, X509Certificate2Collection trusted, DateTimeOffset now)
    {
        var leaf = chain[0];
        if (leaf.Extensions.OfType<X509KeyUsageExtension>().FirstOrDefault() is { } usage && !usage.KeyUsages.HasFlag(X509KeyUsageFlags.DigitalSignature)) return $"{leaf.Subject} is not for signing";
        if (trusted.Any(t => t.RawDataMemory.Span.SequenceEqual(leaf.RawDataMemory.Span)))
            return now >= leaf.NotBefore && now <= leaf.NotAfter ? null : $"{leaf.Subject} is not valid today";
        using var build = new X509Chain();
        build.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        build.ChainPolicy.CustomTrustStore.AddRange(trusted);
        build.ChainPolicy.ExtraStore.AddRange(chain);
        build.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        build.ChainPolicy.VerificationTime = now.LocalDateTime;
        build.ChainPolicy.DisableCertificateDownloads = true;
        return build.Build(leaf) ? null : $"none of the certificates vouches for {leaf.Subject} ({build.ChainStatus.FirstOrDefault().Status})";
    }
}

internal sealed record JwsEnvelope
{
    [JsonPropertyName("payload")] public string? Payload { get; init; }
    [JsonPropertyName("protected")] public string? Protected { get; init; }
    [JsonPropertyName("header")] public JwsHeader? Header { get; init; }
    [JsonPropertyName("signature")] public string? Signature { get; init; }
}

internal sealed record JwsHeader
{
    [JsonPropertyName("x5c")] public IReadOnlyList<string>? Certificates { get; init; }
}

internal sealed record JwsProtected
{
    [JsonPropertyName("alg")] public string? Algorithm { get; init; }
    [JsonPropertyName("cty")] public string? ContentType { get; init; }
    [JsonPropertyName("crit")] public IReadOnlyList<string>? Critical { get; init; }
    [JsonPropertyName("io.cncf.notary.signingScheme")] public string? SigningScheme { get; init; }
    [JsonPropertyName("io.cncf.notary.expiry")] public DateTimeOffset? Expires { get; init; }
}

internal sealed record NotaryPayload
{
    [JsonPropertyName("targetArtifact")] public Descriptor? Target { get; init; }
}
