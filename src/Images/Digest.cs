using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;

namespace Berth.Images;

/// <summary>
/// A content digest, <c>algorithm:hex</c>, that is known to be well formed: sha256, sha384 or sha512 with
/// lower-case hex of the right length (OCI image-spec, descriptor.md). <c>default</c> is "no digest".
/// </summary>
public readonly record struct Digest : IComparable<Digest>
{
    private readonly string? value;

    private Digest(string value) => this.value = value;

    /// <summary>True for <c>default(Digest)</c>, which names nothing.</summary>
    public bool IsEmpty => value is null;

    /// <summary><c>sha256</c>, <c>sha384</c> or <c>sha512</c>.</summary>
    public string Algorithm => value is null ? "" : value[..value.IndexOf(':')];

    /// <summary>The hexadecimal part.</summary>
    public string Hex => value is null ? "" : value[(value.IndexOf(':') + 1)..];

    /// <summary>The first twelve hexadecimal digits, as Docker's tables and progress lines show.</summary>
    public string ShortId => value is null ? "" : Hex[..12];

    /// <summary>The digest as written, or "" when empty.</summary>
    public override string ToString() => value ?? "";

    public int CompareTo(Digest other) => string.CompareOrdinal(value, other.value);

    public static bool TryParse([NotNullWhen(true)] string? text, out Digest digest)
    {
        digest = default;
        if (text is null) return false;
        var colon = text.IndexOf(':');
        if (colon < 0 || HexLength(text.AsSpan(0, colon)) != text.Length - colon - 1) return false;
        foreach (var c in text.AsSpan(colon + 1))
            if (!(c is >= '0' and <= '9' or >= 'a' and <= 'f')) return false;
        digest = new Digest(text);
        return true;
    }

    /// <exception cref="ImageException">InvalidParameter, when the text is not a digest.</exception>
    public static Digest Parse(string text) =>
        TryParse(text, out var digest) ? digest : throw ImageException.Invalid($"invalid checksum digest format: \"{text}\"");

    /// <summary>A sha256 digest from 64 lower-case hexadecimal digits.</summary>
    public static bool TryParseSha256Hex(string text, out Digest digest) => TryParse("sha256:" + text, out digest);

    public static Digest Sha256(ReadOnlySpan<byte> content) => FromSha256Hash(SHA256.HashData(content));

    internal static Digest FromSha256Hash(ReadOnlySpan<byte> hash) => new("sha256:" + Convert.ToHexStringLower(hash));

    /// <summary>Starts a hash of this digest's algorithm.</summary>
    internal IncrementalHash StartHash() => IncrementalHash.CreateHash(Algorithm switch
    {
        "sha384" => HashAlgorithmName.SHA384,
        "sha512" => HashAlgorithmName.SHA512,
        _ => HashAlgorithmName.SHA256,
    });

    internal bool Matches(ReadOnlySpan<byte> hash) => value is not null && Hex.AsSpan().SequenceEqual(Convert.ToHexStringLower(hash));

    /// <summary>Whether the bytes have this digest.</summary>
    public bool Verifies(ReadOnlySpan<byte> content)
    {
        using var hash = StartHash();
        hash.AppendData(content);
        return Matches(hash.GetHashAndReset());
    }

    private static int HexLength(ReadOnlySpan<char> algorithm) => algorithm switch
    {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => -1,
    };
}
