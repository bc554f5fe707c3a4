using Berth.Daemon.Registry;
using Berth.Registry;

namespace Berth.Fast.Tests.Registry;

/// <summary>Names, tags, paths, ranges and pages: what is read from a request before anything is done.</summary>
public class GrammarTests
{
    [Theory]
    [InlineData("a")]
    [InlineData("library/busybox")]
    [InlineData("a.b/c_d/e__f/g---h/0")]
    public void A_name_of_the_specs_grammar_is_one(string text) => Assert.True(RepositoryName.TryParse(text, out _));

    [Theory]
    [InlineData("")]
    [InlineData("A")]
    [InlineData("a//b")]
    [InlineData("/a")]
    [InlineData("a/")]
    [InlineData("..")]
    [InlineData("a/../b")]
    [InlineData("a/./b")]
    [InlineData("a..b")]
    [InlineData("a___b")]
    [InlineData("a._b")]
    [InlineData("_blobs")]
    [InlineData("a/_tags")]
    [InlineData("a%2fb")]
    [InlineData("a\0b")]
    [InlineData("a-")]
    [InlineData("ä")]
    public void Anything_else_is_no_name(string text) => Assert.False(RepositoryName.TryParse(text, out _));

    [Fact]
    public void A_name_has_255_characters_at_most()
    {
        Assert.True(RepositoryName.TryParse(new string('a', 255), out _));
        Assert.False(RepositoryName.TryParse(new string('a', 256), out _));
    }

    [Theory]
    [InlineData("latest", true)]
    [InlineData("_1.0-x", true)]
    [InlineData(".hidden", false)]
    [InlineData("-x", false)]
    [InlineData("..", false)]
    [InlineData("a b", false)]
    [InlineData("sha256:abc", false)]
    public void A_reference_is_a_tag_or_a_digest(string text, bool isOne) => Assert.Equal(isOne, ManifestReference.TryParse(text, out _));

    [Theory]
    [InlineData("/v2/", "Base", "", "")]
    [InlineData("/v2", "Base", "", "")]
    [InlineData("/v2/_catalog", "Catalog", "", "")]
    [InlineData("/v2/a/b/tags/list", "Tags", "a/b", "")]
    [InlineData("/v2/a/manifests/latest", "Manifest", "a", "latest")]
    [InlineData("/v2/a/blobs/sha256:0", "Blob", "a", "sha256:0")]
    [InlineData("/v2/a/blobs/uploads/", "Uploads", "a", "")]
    [InlineData("/v2/a/blobs/uploads", "Uploads", "a", "")]
    [InlineData("/v2/a/blobs/uploads/1", "Upload", "a", "1")]
    [InlineData("/v2/a/referrers/sha256:0", "Referrers", "a", "sha256:0")]
    [InlineData("/v2/manifests/manifests/manifests", "Manifest", "manifests", "manifests")]
    [InlineData("/v2/tags/list/tags/list", "Tags", "tags/list", "")]
    [InlineData("/v2/blobs/uploads/manifests/x", "Manifest", "blobs/uploads", "x")]
    public void A_path_is_read_from_its_end(string path, string resource, string name, string item) =>
        Assert.Equal((resource, name, item), RegistryPath.Parse(path) is { } p ? (p.Resource.ToString(), p.Name, p.Item) : default);

    [Theory]
    [InlineData("/")]
    [InlineData("/v1/")]
    [InlineData("/v2/a")]
    [InlineData("/v2/tags/list")]
    [InlineData("/v2/manifests/latest")]
    [InlineData("/v2/a/manifests/")]
    [InlineData("/v2/a/other/x")]
    public void Other_paths_are_none(string path) => Assert.Null(RegistryPath.Parse(path));

    [Theory]
    [InlineData("bytes=0-0", 10, 0, 1)]
    [InlineData("bytes=2-4", 10, 2, 3)]
    [InlineData("bytes=2-", 10, 2, 8)]
    [InlineData("bytes=8-99", 10, 8, 2)]
    [InlineData("bytes=-3", 10, 7, 3)]
    [InlineData("bytes=-99", 10, 0, 10)]
    public void A_range_is_cut_to_what_there_is(string header, long length, long from, long count)
    {
        Assert.Equal(new ByteRange(from, count), ByteRange.Parse(header, length, out var satisfiable));
        Assert.True(satisfiable);
    }

    [Theory]
    [InlineData("bytes=10-", 10)]
    [InlineData("bytes=10-12", 10)]
    [InlineData("bytes=-0", 10)]
    [InlineData("bytes=0-0", 0)]
    public void A_range_behind_the_end_cannot_be_satisfied(string header, long length)
    {
        Assert.Null(ByteRange.Parse(header, length, out var satisfiable));
        Assert.False(satisfiable);
    }

    [Theory]
    [InlineData("bytes=4-2")]
    [InlineData("bytes=0-1,3-4")]
    [InlineData("lines=0-1")]
    [InlineData("bytes=a-b")]
    [InlineData("bytes=--1")]
    [InlineData("bytes=99999999999999999999-")]
    public void What_is_no_single_range_of_bytes_is_passed_over(string header)
    {
        Assert.Null(ByteRange.Parse(header, 10, out var satisfiable));
        Assert.True(satisfiable);
    }

    [Theory]
    [InlineData("0-0", true)]
    [InlineData("5-9", true)]
    [InlineData("9-5", false)]
    [InlineData("bytes 0-1/2", false)]
    [InlineData("0-", false)]
    [InlineData("-1", false)]
    public void A_chunk_says_its_first_and_its_last_byte(string header, bool isOne) => Assert.Equal(isOne, ByteRange.TryParseChunk(header, out _));

    [Fact]
    public void Pages_follow_each_other_without_gap_or_repetition()
    {
        string[] all = ["A", "a", "a-b", "a.b", "b"];
        var seen = new List<string>();
        var last = "";
        while (true)
        {
            var page = Page.Of(all, 2, last);
            seen.AddRange(page.Items);
            if (!page.HasMore) break;
            last = page.Items[^1];
        }
        Assert.Equal(all, seen);
        Assert.Equal(["b"], Page.Of(all, 10, "a.zzz").Items); // last need not be there any more
        Assert.Empty(Page.Of(all, 0, "").Items);
        Assert.False(Page.Of(all, 0, "").HasMore);
        Assert.False(Page.Of(all, 5, "").HasMore);
    }

    [Fact]
    public void Flags_are_read_and_checked()
    {
        var (action, options) = RegistryFlags.Parse(["serve", "--listen", "0.0.0.0:5001", "--listen=[::1]:5001", "--read-only", "--keep-unreferenced", "90s"]);
        Assert.Equal(RegistryAction.Serve, action);
        Assert.Equal(["0.0.0.0:5001", "[::1]:5001"], options.Listen);
        Assert.True(options.ReadOnly);
        Assert.Equal(TimeSpan.FromSeconds(90), options.KeepUnreferenced);
        Assert.Equal(["127.0.0.1:5000"], RegistryFlags.Parse(["serve"]).Options.EffectiveListen);
        foreach (var wrong in (string[][])[["serve", "--bogus"], ["serve", "--listen"], ["serve", "x"], ["serve", "--tls-cert", "c"], ["serve", "--anonymous-read"], ["gc", "--listen", "x"], ["frob"]])
            Assert.Throws<Berth.Daemon.Host.FlagsException>(() => RegistryFlags.Parse(wrong));
    }
}
