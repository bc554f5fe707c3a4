using System.Buffers.Text;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Berth.Images;
using Berth.Images.Registry;
using Berth.Images.Trust;
using Berth.Testing;

namespace Berth.Kernel.Tests.Images;

/// <summary>Images that must be signed to be pulled. The signatures are made here, with keys made here, in the forms of cosign and notation.</summary>
public sealed class TrustTests : IDisposable
{
    private const string Index = "application/vnd.oci.image.index.v1+json";

    private readonly TestDirectory directory = new();
    private readonly FakeRegistry registry = new();
    private readonly TestImage image = new TestImage().Layer(t => t.File("a", "a"));
    private readonly string digest;
    private ImageStore? store;

    public TrustTests()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        registry.Serve("app", "1", image);
        digest = TestImage.Digest(image.Manifest().Manifest);
        registry.Serve($"/v2/app/manifests/{digest}", image.Manifest().Manifest);
    }

    public void Dispose()
    {
        store?.Dispose();
        registry.Dispose();
        directory.Dispose();
    }

    public enum Place { Referrers, ReferrersTag, CosignTag }

    private async Task Pull(params TrustPolicy[] policies)
    {
        store?.Dispose();
        store = ImageStore.Open(directory["store"], new ImageStoreOptions { Registries = new RegistrySettings { Trust = policies } });
        await store.PullAsync(ImageReference.Parse($"{registry.Host}/app:1"), null, null, _ => { }, TestContext.Current.CancellationToken);
        Assert.Equal(image.Id, store.Get($"{registry.Host}/app:1").Id.ToString());
    }

    private async Task Refused(string reason, params TrustPolicy[] policies)
    {
        var error = await Assert.ThrowsAsync<ImageException>(() => Pull(policies));
        Assert.Equal(ImageErrorKind.Forbidden, error.Kind);
        Assert.Equal($"image {registry.Host}/app:1 ({digest}) is not trusted: the policy for {policies[0].Scope} asks for a {(policies[0].Kind == SignatureKind.Cosign ? "cosign" : "notation")} signature, and {reason}", error.Message);
        Assert.Empty(store!.All);
    }

    private TrustPolicy Cosign(params AsymmetricAlgorithm[] keys) => new()
    {
        Scope = registry.Host, Kind = SignatureKind.Cosign, Files = [.. keys.Select((key, i) => Write($"key{i}.pub", key.ExportSubjectPublicKeyInfoPem()))],
    };

    private TrustPolicy Notation(params X509Certificate2[] certificates) => new()
    {
        Scope = registry.Host + "/app", Kind = SignatureKind.Notation, Files = [Write("trusted.pem", string.Join('\n', certificates.Select(c => c.ExportCertificatePem())))],
    };

    private string Write(string name, string content)
    {
        File.WriteAllText(directory[name], content);
        return directory[name];
    }

    // A manifest with one layer, attached to the image where the place says.
    private void Attach(Place place, string artifactType, string layerType, byte[] content, string annotations = "{}")
    {
        var empty = "{}"u8.ToArray();
        registry.Serve($"/v2/app/blobs/{TestImage.Digest(content)}", content);
        var manifest = Encoding.UTF8.GetBytes($$"""
            {"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"{{artifactType}}","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{{TestImage.Digest(empty)}}","size":2},
             "layers":[{"mediaType":"{{layerType}}","digest":"{{TestImage.Digest(content)}}","size":{{content.Length}},"annotations":{{annotations}}}],
             "subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{{digest}}","size":{{image.Manifest().Manifest.Length}} } }
            """);
        registry.Serve($"/v2/app/manifests/{TestImage.Digest(manifest)}", manifest);
        var index = Encoding.UTF8.GetBytes($$"""
            {"schemaVersion":2,"mediaType":"{{Index}}","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{{TestImage.Digest(manifest)}}","size":{{manifest.Length}},"artifactType":"{{artifactType}}"}]}
            """);
        var tag = "sha256-" + digest[7..];
        switch (place)
        {
            case Place.Referrers: registry.Answers[$"/v2/app/referrers/{digest}"] = _ => new(200, index, Headers: ("Content-Type", Index)); break;
            case Place.ReferrersTag: registry.Serve($"/v2/app/manifests/{tag}", index); break;
            default: registry.Serve($"/v2/app/manifests/{tag}.sig", manifest); break;
        }
    }

    private void SignWithCosign(AsymmetricAlgorithm key, Place place = Place.Referrers, string? about = null)
    {
        var payload = CosignPayload(about ?? digest);
        var signature = key is ECDsa ecdsa ? ecdsa.SignData(payload, HashAlgorithmName.SHA256, DSASignatureFormat.Rfc3279DerSequence) : ((RSA)key).SignData(payload, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        AttachCosign(place, payload, signature);
    }

    private static byte[] CosignPayload(string digest) =>
        Encoding.UTF8.GetBytes($$"""{"critical":{"identity":{"docker-reference":"x"},"image":{"docker-manifest-digest":"{{digest}}"},"type":"cosign container image signature"},"optional":null}""");

    private void AttachCosign(Place place, byte[] payload, byte[] signature) =>
        Attach(place, "application/vnd.dev.cosign.artifact.sig.v1+json", "application/vnd.dev.cosign.simplesigning.v1+json", payload, $$"""{"dev.cosignproject.cosign/signature":"{{Convert.ToBase64String(signature)}}"}""");

    private void SignWithNotation(X509Certificate2 leaf, X509Certificate2[] chain, Place place = Place.Referrers, string? about = null, string header = "")
    {
        var payload = Base64Url.EncodeToString(Encoding.UTF8.GetBytes($$"""{"targetArtifact":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{{about ?? digest}}","size":1} }"""));
        using var rsa = leaf.GetRSAPrivateKey();
        using var ecdsa = leaf.GetECDsaPrivateKey();
        var head = Base64Url.EncodeToString(Encoding.UTF8.GetBytes(
            $$"""{"alg":"{{(rsa is null ? "ES256" : "PS256")}}","cty":"application/vnd.cncf.notary.payload.v1+json","crit":["io.cncf.notary.signingScheme"],"io.cncf.notary.signingScheme":"notary.x509"{{header}} }"""));
        var content = Encoding.ASCII.GetBytes($"{head}.{payload}");
        var signature = rsa?.SignData(content, HashAlgorithmName.SHA256, RSASignaturePadding.Pss) ?? ecdsa!.SignData(content, HashAlgorithmName.SHA256, DSASignatureFormat.IeeeP1363FixedFieldConcatenation);
        var certificates = string.Join(',', new[] { leaf }.Concat(chain).Select(c => $"\"{Convert.ToBase64String(c.RawData)}\""));
        Attach(place, "application/vnd.cncf.notary.signature", "application/jose+json",
            Encoding.UTF8.GetBytes($$"""{"payload":"{{payload}}","protected":"{{head}}","header":{"x5c":[{{certificates}}],"io.cncf.notary.signingAgent":"test"},"signature":"{{Base64Url.EncodeToString(signature)}}"}"""));
    }

    private static X509Certificate2 Authority(string name)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign, true));
        return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(30));
    }

    private static X509Certificate2 Signer(X509Certificate2 authority, AsymmetricAlgorithm key, int days = 10)
    {
        var request = key is RSA rsa ? new CertificateRequest("CN=signer", rsa, HashAlgorithmName.SHA256, RSASignaturePadding.Pss) : new CertificateRequest("CN=signer", (ECDsa)key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, true));
        using var issuer = authority.GetECDsaPrivateKey()!;
        var from = DateTimeOffset.UtcNow.AddDays(Math.Min(0, days) - 0.5);
        using var certificate = request.Create(authority.SubjectName, X509SignatureGenerator.CreateForECDsa(issuer), from, DateTimeOffset.UtcNow.AddDays(days), [1, 2, 3]);
        return key is RSA r ? certificate.CopyWithPrivateKey(r) : certificate.CopyWithPrivateKey((ECDsa)key);
    }

    [Theory]
    [InlineData(Place.Referrers)]
    [InlineData(Place.ReferrersTag)]
    [InlineData(Place.CosignTag)]
    public async Task An_image_signed_by_cosign_is_pulled_wherever_its_registry_keeps_the_signature(Place place)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        await Refused("it has no such signature", Cosign(key));
        SignWithCosign(key, place);
        await Pull(Cosign(key));
    }

    [Fact]
    public async Task One_of_several_keys_is_enough_and_rsa_keys_do_as_well()
    {
        using var other = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var key = RSA.Create(2048);
        SignWithCosign(key);
        await Pull(Cosign(other, key));
    }

    [Fact]
    public async Task Keys_of_Ed25519_do_too()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/openssl"), "openssl is not installed");
        await new Command("openssl", ["genpkey", "-algorithm", "ed25519", "-out", directory["ed.key"]]);
        await new Command("openssl", ["pkey", "-in", directory["ed.key"], "-pubout", "-out", directory["ed.pub"]]);
        var policy = new TrustPolicy { Scope = "*", Kind = SignatureKind.Cosign, Files = [directory["ed.pub"]] };
        var payload = CosignPayload(digest);
        File.WriteAllBytes(directory["payload"], payload);
        await new Command("openssl", ["pkeyutl", "-sign", "-inkey", directory["ed.key"], "-rawin", "-in", directory["payload"], "-out", directory["signature"]]);
        var signature = File.ReadAllBytes(directory["signature"]);
        signature[5] ^= 1;
        AttachCosign(Place.Referrers, payload, signature);
        await Refused("a signature was not made by any of the keys", policy);
        signature[5] ^= 1;
        AttachCosign(Place.Referrers, payload, signature);
        await Pull(policy);
    }

    // RFC 8032, 7.1, test 2.
    [Fact]
    public void Ed25519_is_that_of_the_RFC()
    {
        var key = Convert.FromHexString("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        var signature = Convert.FromHexString("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
        Assert.True(Berth.Linux.Ed25519.Verify(key, [0x72], signature));
        Assert.False(Berth.Linux.Ed25519.Verify(key, [0x73], signature));
        Assert.False(Berth.Linux.Ed25519.Verify(key, [0x72], signature[..63]));
        Assert.False(Berth.Linux.Ed25519.Verify(Enumerable.Repeat((byte)0xFF, 32).ToArray(), [0x72], signature));
    }

    [Fact]
    public async Task Another_key_s_signature_and_one_of_another_image_are_none()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var stranger = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        SignWithCosign(stranger);
        await Refused("a signature was not made by any of the keys", Cosign(key));
        var another = TestImage.Digest("another"u8.ToArray());
        SignWithCosign(key, about: another);
        await Refused($"a signature is for {another}", Cosign(key));
    }

    [Theory]
    [InlineData(Place.Referrers, true)]
    [InlineData(Place.ReferrersTag, false)]
    public async Task An_image_signed_by_notation_is_pulled_when_the_authority_is_trusted(Place place, bool rsa)
    {
        using var authority = Authority("ours");
        using AsymmetricAlgorithm key = rsa ? RSA.Create(2048) : ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var signer = Signer(authority, key);
        await Refused("it has no such signature", Notation(authority));
        SignWithNotation(signer, [authority], place);
        await Pull(Notation(authority));
        await Pull(Notation(signer));
    }

    [Fact]
    public async Task Notation_signatures_by_strangers_of_other_images_and_expired_ones_are_refused()
    {
        using var authority = Authority("ours");
        using var strange = Authority("theirs");
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var signer = Signer(authority, key);
        SignWithNotation(signer, [authority]);
        await Refused("none of the certificates vouches for CN=signer (UntrustedRoot)", Notation(strange));
        SignWithNotation(signer, [authority], about: TestImage.Digest("x"u8.ToArray()));
        await Refused($"a signature is for {TestImage.Digest("x"u8.ToArray())}", Notation(authority));
        SignWithNotation(signer, [authority], header: ",\"io.cncf.notary.expiry\":\"2020-01-01T00:00:00Z\"");
        await Refused("a signature has expired", Notation(authority));
    }

    [Fact]
    public async Task The_longest_scope_counts_and_what_no_policy_names_is_pulled_as_ever()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var everything = Cosign(key) with { Scope = "*" };
        await Refused("it has no such signature", everything);
        await Pull(everything, new TrustPolicy { Scope = registry.Host + "/app", Kind = SignatureKind.None });
        await Pull(Cosign(key) with { Scope = registry.Host + "/ap" });
        await Pull(Cosign(key) with { Scope = "elsewhere.example" });
    }

    [Fact]
    public async Task A_key_that_cannot_be_read_lets_nothing_through()
    {
        var policy = new TrustPolicy { Scope = "*", Kind = SignatureKind.Cosign, Files = [directory["missing.pub"]] };
        Assert.Equal($"open {directory["missing.pub"]}: no such file or directory", (await Assert.ThrowsAsync<ImageException>(() => Pull(policy))).Message);
        var nonsense = policy with { Files = [Write("nonsense.pub", "hello")] };
        Assert.Equal($"{directory["nonsense.pub"]} holds no public key of ECDSA, RSA or Ed25519 in PEM", (await Assert.ThrowsAsync<ImageException>(() => Pull(nonsense))).Message);
    }

    [Fact]
    public async Task An_index_may_be_what_was_signed()
    {
        var manifest = image.Manifest().Manifest;
        var index = Encoding.UTF8.GetBytes($$"""{"schemaVersion":2,"mediaType":"{{Index}}","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{{digest}}","size":{{manifest.Length}},"platform":{"os":"linux","architecture":"amd64"} }]}""");
        registry.Serve("/v2/app/manifests/1", index);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        SignWithCosign(key); // the manifest in it
        await Pull(Cosign(key));
    }
}
