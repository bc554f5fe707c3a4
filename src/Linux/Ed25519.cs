using System.Runtime.InteropServices;

namespace Berth.Linux;

/// <summary>Signatures by Ed25519 (RFC 8032), which .NET does not have: by OpenSSL's libcrypto, which .NET's own cryptography stands on. It is loaded when first needed.</summary>
public static unsafe partial class Ed25519
{
    public const int KeyBytes = 32, SignatureBytes = 64;

    private const string Library = "libcrypto.so.3";

    // EVP_PKEY_ED25519 of openssl/evp.h: NID_ED25519.
    private const int KeyType = 1087;

    /// <summary>Whether the key's owner signed the content.</summary>
    /// <exception cref="DllNotFoundException">With a message that says which package to install.</exception>
    public static bool Verify(ReadOnlySpan<byte> publicKey, ReadOnlySpan<byte> content, ReadOnlySpan<byte> signature)
    {
        if (publicKey.Length != KeyBytes) throw new ArgumentException($"a public key of Ed25519 has {KeyBytes} bytes", nameof(publicKey));
        if (signature.Length != SignatureBytes) return false;
        nint key = 0, context = 0;
        try
        {
            fixed (byte* k = publicKey) key = EVP_PKEY_new_raw_public_key(KeyType, 0, k, KeyBytes);
            context = EVP_MD_CTX_new();
            if (key == 0 || context == 0 || EVP_DigestVerifyInit(context, 0, 0, 0, key) != 1) return false; // 32 bytes that are no point of the curve
            fixed (byte* s = signature)
            fixed (byte* c = content)
                return EVP_DigestVerify(context, s, SignatureBytes, c, (nuint)content.Length) == 1;
        }
        catch (DllNotFoundException e)
        {
            throw new DllNotFoundException("signatures of Ed25519 are verified by libcrypto.so.3, which is not installed: install the package libssl3", e);
        }
        finally
        {
            if (context != 0) EVP_MD_CTX_free(context);
            if (key != 0) EVP_PKEY_free(key);
        }
    }

    [LibraryImport(Library)]
    private static partial nint EVP_PKEY_new_raw_public_key(int type, nint engine, byte* key, nuint length);

    [LibraryImport(Library)]
    private static partial void EVP_PKEY_free(nint key);

    [LibraryImport(Library)]
    private static partial nint EVP_MD_CTX_new();

    [LibraryImport(Library)]
    private static partial void EVP_MD_CTX_free(nint context);

    [LibraryImport(Library)]
    private static partial int EVP_DigestVerifyInit(nint context, nint keyContext, nint type, nint engine, nint key);

    [LibraryImport(Library)]
    private static partial int EVP_DigestVerify(nint context, byte* signature, nuint signatureLength, byte* content, nuint length);
}
