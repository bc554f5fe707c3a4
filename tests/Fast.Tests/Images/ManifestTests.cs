using System.Text;
using Berth.Images;
using Berth.Images.Registry;

namespace Berth.Fast.Tests.Images;

public class ManifestTests
{
    private static Manifest Parse(string json) => Manifest.Parse(Encoding.UTF8.GetBytes(json));

    private static string Entry(string platform, char digest, string more = "")
    {
        var parts = platform.Split('/');
        var variant = parts.Length > 2 ? $",\"variant\":\"{parts[2]}\"" : "";
        var its = platform.Length == 0 ? "" : $",\"platform\":{{\"os\":\"{parts[0]}\",\"architecture\":\"{parts[1]}\"{variant}}}";
        return $"{{\"digest\":\"sha256:{new string(digest, 64)}\",\"size\":1{its}{more}}}";
    }

    [Fact]
    public void Of_an_index_the_best_match_comes_first()
    {
        var index = Parse($"{{\"schemaVersion\":2,\"manifests\":[{Entry("", 'e')},{Entry("linux/386", 'a')},{Entry("linux/amd64", 'b')},{Entry("linux/arm64", 'c')},{Entry("windows/amd64", 'd')}]}}");
        Assert.Equal("bae", string.Concat(index.Matching(Platform.Parse("linux/amd64")).Select(e => e.Digest.Hex[0])));
        Assert.Equal("ce", string.Concat(index.Matching(Platform.Parse("linux/arm64")).Select(e => e.Digest.Hex[0])));
    }

    [Fact]
    public void Of_arm_variants_the_newest_that_still_runs_comes_first()
    {
        var index = Parse($"{{\"schemaVersion\":2,\"manifests\":[{Entry("linux/arm/v5", '5')},{Entry("linux/arm/v7", '7')},{Entry("linux/arm/v6", '6')}]}}");
        Assert.Equal("765", string.Concat(index.Matching(Platform.Parse("linux/arm/v7")).Select(e => e.Digest.Hex[0])));
        Assert.Equal("65", string.Concat(index.Matching(Platform.Parse("linux/arm/v6")).Select(e => e.Digest.Hex[0])));
    }

    [Fact]
    public void Attestations_are_no_images()
    {
        var index = Parse($"{{\"schemaVersion\":2,\"manifests\":[{Entry("unknown/unknown", 'a')},{Entry("linux/amd64", 'b', ",\"annotations\":{\"vnd.docker.reference.type\":\"attestation-manifest\"}")}]}}");
        Assert.Empty(index.Matching(Platform.Parse("linux/amd64")));
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("null")]
    [InlineData("{}")]
    [InlineData("""{"schemaVersion":2}""")]
    [InlineData("""{"schemaVersion":2,"manifests":[],"config":{}}""")]
    [InlineData("""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"manifests":[]}""")]
    [InlineData("""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","layers":[],"manifests":[]}""")]
    [InlineData("""{"schemaVersion":1,"fsLayers":[]}""")]
    public void What_is_neither_manifest_nor_index_is_refused(string json) =>
        Assert.Equal(ImageErrorKind.InvalidParameter, Assert.Throws<ImageException>(() => Parse(json)).Kind);

    [Fact]
    public void A_digest_of_a_descriptor_is_checked_when_it_is_used() =>
        Assert.Throws<ImageException>(() => Parse("""{"schemaVersion":2,"config":{"digest":"sha256:../../x"},"layers":[]}""").Config!.Digest);

    [Fact]
    public void Chain_ids_are_those_of_the_specification()
    {
        Digest a = Digest.Sha256("a"u8), b = Digest.Sha256("b"u8);
        Assert.Equal([a, Digest.Sha256(Encoding.ASCII.GetBytes($"{a} {b}"))], ImageStore.ChainIds([a, b]));
    }

    [Theory]
    [InlineData("Bearer realm=\"https://a/t\",service=\"s,x\",scope=\"repository:a:pull,push\"", "bearer", "realm=https://a/t|service=s,x|scope=repository:a:pull,push")]
    [InlineData("Basic realm=x", "basic", "realm=x")]
    [InlineData("Negotiate", "negotiate", "")]
    [InlineData("Bearer realm=\"a\\\"b\" , error=invalid_token", "bearer", "realm=a\"b|error=invalid_token")]
    [InlineData("Bearer realm=\"never ends", null, null)]
    [InlineData("", null, null)]
    public void Challenges_are_read(string header, string? scheme, string? parameters)
    {
        var challenge = AuthChallenge.Parse(header);
        Assert.Equal(scheme, challenge?.Scheme);
        Assert.Equal(parameters, challenge is null ? null : string.Join('|', challenge.Parameters.Select(p => $"{p.Key}={p.Value}")));
    }
}
