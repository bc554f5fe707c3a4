using Berth.Images;

namespace Berth.Fast.Tests.Images;

public class ReferenceTests
{
    private const string Hex = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    [Theory]
    [InlineData("busybox", "docker.io/library/busybox", "busybox")]
    [InlineData("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36")]
    [InlineData("library/busybox", "docker.io/library/busybox", "busybox")]
    [InlineData("docker.io/busybox", "docker.io/library/busybox", "busybox")]
    [InlineData("index.docker.io/user/app", "docker.io/user/app", "user/app")]
    [InlineData("user/app", "docker.io/user/app", "user/app")]
    [InlineData("docker.io/library/foo/bar", "docker.io/library/foo/bar", "library/foo/bar")]
    [InlineData("localhost/app", "localhost/app", "localhost/app")]
    [InlineData("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1")]
    [InlineData("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c")]
    [InlineData("[2001:db8::1]:5000/app", "[2001:db8::1]:5000/app", "[2001:db8::1]:5000/app")]
    [InlineData("example.com/App-Less/x", null, null)]
    [InlineData("Uppercase.example/x", "Uppercase.example/x", "Uppercase.example/x")]
    [InlineData("UPPER/x", "UPPER/x", "UPPER/x")]
    [InlineData("foo_bar", "docker.io/library/foo_bar", "foo_bar")]
    [InlineData("foo__bar", "docker.io/library/foo__bar", "foo__bar")]
    [InlineData("foo---bar.baz", "docker.io/library/foo---bar.baz", "foo---bar.baz")]
    [InlineData("foo:5000", "docker.io/library/foo:5000", "foo:5000")]
    [InlineData("busybox@sha256:" + Hex, "docker.io/library/busybox@sha256:" + Hex, "busybox@sha256:" + Hex)]
    [InlineData("busybox:1@sha256:" + Hex, "docker.io/library/busybox:1@sha256:" + Hex, "busybox:1@sha256:" + Hex)]
    [InlineData("sha256:1234", "docker.io/library/sha256:1234", "sha256:1234")]
    public void Names_are_normalised_and_shown_as_docker_does(string text, string? full, string? familiar)
    {
        if (full is null)
        {
            Assert.False(ImageReference.TryParse(text, out _));
            return;
        }
        var reference = ImageReference.Parse(text);
        Assert.Equal((full, familiar), (reference.ToString(), reference.FamiliarString));
        Assert.Equal(reference, ImageReference.Parse(reference.ToString()));
        Assert.Equal(reference, ImageReference.Parse(reference.FamiliarString));
    }

    [Theory]
    [InlineData("", "invalid reference format")]
    [InlineData("-x", "invalid reference format")]
    [InlineData("x-", "invalid reference format")]
    [InlineData("a//b", "invalid reference format")]
    [InlineData("a/", "invalid reference format")]
    [InlineData("foo___bar", "invalid reference format")]
    [InlineData("foo..bar", "invalid reference format")]
    [InlineData("x:y:z", "invalid reference format")]
    [InlineData("x:-y", "invalid reference format")]
    [InlineData("x@sha256:12", "invalid reference format")]
    [InlineData("x@", "invalid reference format")]
    [InlineData("a b", "invalid reference format")]
    [InlineData("-host.example/x", "invalid reference format")]
    [InlineData("host:port/x", "invalid reference format")]
    [InlineData("[::1%eth0]:5000/x", "invalid reference format")]
    [InlineData("x@md5:ffffffffffffffffffffffffffffffff", "unsupported digest algorithm")]
    [InlineData("x@sha256:ffffffffffffffffffffffffffffffff", "invalid checksum digest length")]
    [InlineData("Foo", "invalid reference format: repository name (library/Foo) must be lowercase")]
    [InlineData("a/B", "invalid reference format: repository name (a/B) must be lowercase")]
    [InlineData(Hex, "invalid repository name (" + Hex + "), cannot specify 64-byte hexadecimal strings")]
    public void What_is_no_name_is_refused_in_docker_s_words(string text, string message)
    {
        var error = Assert.Throws<ImageException>(() => ImageReference.Parse(text));
        Assert.Equal((ImageErrorKind.InvalidParameter, message), (error.Kind, error.Message));
    }

    [Fact]
    public void A_path_has_at_most_255_characters_and_a_tag_128()
    {
        Assert.True(ImageReference.TryParse("host.example/" + new string('a', 255), out _));
        Assert.Equal("repository name must not be more than 255 characters", Assert.Throws<ImageException>(() => ImageReference.Parse("host.example/" + new string('a', 256))).Message);
        Assert.True(ImageReference.TryParse("a:" + new string('t', 128), out _));
        Assert.False(ImageReference.TryParse("a:" + new string('t', 129), out _));
    }

    [Fact]
    public void A_parser_of_names_returns_or_throws_its_own_exception()
    {
        const string alphabet = "aB0./:@-_[]%~ sha256f\0é";
        var random = new Random(4000);
        for (var i = 0; i < 50_000; i++)
        {
            var text = string.Concat(Enumerable.Range(0, random.Next(24)).Select(_ => alphabet[random.Next(alphabet.Length)]));
            if (ImageReference.TryParse(text, out var reference))
                Assert.Equal(reference, ImageReference.Parse(reference.ToString()));
        }
    }

    [Theory]
    [InlineData("sha256:" + Hex, true)]
    [InlineData("sha256:FFFFffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", false)]
    [InlineData("sha256:fff", false)]
    [InlineData("sha512:" + Hex + Hex, true)]
    [InlineData("md5:ffffffffffffffffffffffffffffffff", false)]
    [InlineData("sha256", false)]
    [InlineData("", false)]
    [InlineData("sha256:../../../../../../../../../../../../../../../../../../../../etc", false)]
    public void A_digest_exists_only_when_it_is_well_formed(string text, bool valid) => Assert.Equal(valid, Digest.TryParse(text, out _));

    [Fact]
    public void A_digest_verifies_its_content_and_no_other()
    {
        var digest = Digest.Sha256("hello"u8);
        Assert.Equal("sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", digest.ToString());
        Assert.Equal("2cf24dba5fb0", digest.ShortId);
        Assert.True(digest.Verifies("hello"u8));
        Assert.False(digest.Verifies("hellp"u8));
        Assert.False(default(Digest).Verifies("hello"u8));
    }

    [Theory]
    [InlineData("linux/amd64", "linux/amd64", true)]
    [InlineData("linux/x86_64", "linux/amd64", true)]
    [InlineData("linux/amd64", "linux/arm64", false)]
    [InlineData("linux/amd64", "windows/amd64", false)]
    [InlineData("linux/amd64", "linux/386", true)]
    [InlineData("linux/arm64", "linux/arm64/v8", true)]
    [InlineData("linux/aarch64", "linux/arm64", true)]
    [InlineData("linux/arm64", "linux/arm/v7", true)]
    [InlineData("linux/arm/v7", "linux/arm/v6", true)]
    [InlineData("linux/arm/v6", "linux/arm/v7", false)]
    [InlineData("linux/arm", "linux/arm/v7", true)]
    [InlineData("amd64", "linux/amd64", true)]
    public void A_platform_accepts_what_runs_on_it(string wanted, string offered, bool accepted) =>
        Assert.Equal(accepted, Platform.Parse(wanted).Accepts(Platform.Parse(offered)));

    [Theory]
    [InlineData("linux/amd64/v1/x", "\"linux/amd64/v1/x\": cannot parse platform specifier: invalid argument")]
    [InlineData("nonsense", "\"nonsense\": unknown operating system or architecture: invalid argument")]
    public void A_platform_that_is_none_is_refused(string text, string message) =>
        Assert.Equal(message, Assert.Throws<ImageException>(() => Platform.Parse(text)).Message);

    [Theory]
    [InlineData("busybox", "busybox", true)]
    [InlineData("busy*", "busybox", true)]
    [InlineData("*", "user/app", false)]
    [InlineData("*/*", "user/app", true)]
    [InlineData("user/a?p", "user/app", true)]
    [InlineData("[a-c]usybox", "busybox", true)]
    [InlineData("[^a-c]usybox", "busybox", false)]
    [InlineData("*:1*", "busybox:1.36", true)]
    [InlineData("a*b*c", "aXbYc", true)]
    [InlineData("a*b*c", "aXbYd", false)]
    [InlineData("a\\*", "a*", true)]
    public void Patterns_match_as_go_s_do(string pattern, string name, bool matches) => Assert.Equal(matches, GlobPattern.Matches(pattern, name));

    [Theory]
    [InlineData("[")]
    [InlineData("[a")]
    [InlineData("[]a]")]
    [InlineData("x\\")]
    [InlineData("[a-]")]
    public void A_bad_pattern_is_said_to_be_one(string pattern) =>
        Assert.Equal("syntax error in pattern", Assert.Throws<ImageException>(() => GlobPattern.Matches(pattern, "x")).Message);
}
