using Berth.Api;
using Berth.Builder;
using Berth.Dockerfile;
using Berth.Engine;

namespace Berth.Fast.Tests.Builder;

public class RemoteAndCacheTests
{
    [Theory]
    [InlineData("https://github.com/a/b.git", "https://github.com/a/b.git", "", "")]
    [InlineData("https://github.com/a/b.git#v1:sub/dir", "https://github.com/a/b.git", "v1", "sub/dir")]
    [InlineData("http://host/b.git?branch=x&subdir=y", "http://host/b.git", "refs/heads/x", "y")]
    [InlineData("http://host/b.git?tag=x", "http://host/b.git", "refs/tags/x", "")]
    [InlineData("git@github.com:a/b.git#main", "git@github.com:a/b.git", "main", "")]
    [InlineData("ssh://git@host:22/a/b", "ssh://git@host:22/a/b", "", "")]
    [InlineData("git://host/a", "git://host/a", "", "")]
    public void A_git_repository_is_named_in_dockers_ways(string text, string remote, string reference, string directory)
    {
        var source = GitSource.TryParse(text)!;
        Assert.Equal((remote, reference, directory), (source.Remote, source.Ref, source.Directory));
    }

    [Theory]
    [InlineData("https://host/file.tar")]
    [InlineData("https://host/repo.git/file")]
    [InlineData("file:///etc/repo.git")]
    [InlineData("ext::sh -c id")]
    [InlineData("dir/file")]
    [InlineData("github.com/a/b")]
    public void Other_things_are_no_repositories(string text) => Assert.Null(GitSource.TryParse(text));

    [Theory]
    [InlineData("https://h/a.git?ref=a&branch=b", "ref conflicts: \"a\" vs \"refs/heads/b\"")]
    [InlineData("https://h/a.git?what=a", "unexpected query \"what\"")]
    [InlineData("https://h/a.git?ref=", "query \"ref\" has no value")]
    [InlineData("https://h/a.git#--upload-pack=id", "invalid git ref \"--upload-pack=id\"")]
    public void A_wrong_repository_is_told(string text, string message) => Assert.Equal(message, Assert.Throws<DockerfileException>(() => GitSource.TryParse(text)).Message);

    [Fact]
    public void A_context_may_leave_out_the_scheme_of_github() => Assert.Equal("https://github.com/a/b.git", GitSource.TryParseContext("github.com/a/b#main")!.Remote);

    [Theory]
    [InlineData("http://h/a/b.txt?x=1", "b.txt")]
    [InlineData("http://h/", "f")]
    [InlineData("http://h/a%20b", "a b")]
    [InlineData("http://h/a/%2e%2e", "f")]
    public void A_download_is_called_as_the_end_of_its_path(string url, string name) => Assert.Equal(name, RemoteFiles.NameOf(url));

    [Theory]
    [InlineData(0, 0, 0, null)]
    [InlineData(100, 0, 0, 100L)] // reserved
    [InlineData(0, 300, 0, 300L)] // at most
    [InlineData(0, 0, 600, 900L)] // 500 are free, 100 more are wanted
    [InlineData(950, 0, 600, 950L)] // but not from what is reserved
    [InlineData(0, 800, 800, 700L)]
    public void How_much_stays(long reserved, long max, long free, long? keep) => Assert.Equal(keep, new PruneRule { ReservedSpace = reserved, MaxUsedSpace = max, MinFreeSpace = free }.KeepBytes(1000, 500));

    [Fact]
    public void The_configuration_file_says_what_is_collected()
    {
        Assert.Empty(CacheFilters.ParseConfiguration("""{"enabled":false}""", "/"));
        Assert.Equal(4, CacheFilters.ParseConfiguration("""{"enabled":true}""", "/").Count);
        Assert.Equal(20L << 30, CacheFilters.ParseConfiguration("""{"defaultKeepStorage":"20GB"}""", "/")[^1].ReservedSpace);
        var rules = CacheFilters.ParseConfiguration("""{"policy":[{"keepStorage":"512MB","filter":["unused-for=48h","type==regular"]},{"maxUsedSpace":"1GB","filter":{"until":{"24h":true}},"all":true}]}""", "/");
        Assert.Equal((512L << 20, TimeSpan.FromHours(48), false), (rules[0].ReservedSpace, rules[0].KeepDuration, rules[0].All));
        Assert.Equal((1L << 30, TimeSpan.FromHours(24), true), (rules[1].MaxUsedSpace, rules[1].KeepDuration, rules[1].All));
        Assert.False(rules[0].Matches!(new KeptEntry { Id = "", Type = KeptEntry.CacheMount, Description = "" }));
        Assert.Throws<FormatException>(() => CacheFilters.ParseConfiguration("""{"defaultKeepStorage":"much"}""", "/"));
    }

    [Fact]
    public void Filters_are_checked_in_dockers_words()
    {
        var now = DateTimeOffset.UnixEpoch.AddDays(2);
        Assert.Equal(TimeSpan.FromDays(1), CacheFilters.Rule(new Filters().Add("until", "1970-01-02T00:00:00Z"), now).KeepDuration);
        Assert.Equal("conflicting filters: \"until\" and \"unused-for\"", Assert.Throws<EngineException>(() => CacheFilters.Rule(new Filters().Add("until", "1h").Add("unused-for", "1h"), now)).Message);
        var entry = new KeptEntry { Id = "abcdef", Type = KeptEntry.Regular, Description = "RUN x", Shared = true };
        foreach (var (name, value, matches) in ((string, string, bool)[])[("id", "bcd", true), ("id", "x", false), ("type", "regular", true), ("shared", "true", true), ("shared", "", true), ("private", "", false), ("inuse", "", false), ("description", "RUN x", true)])
            Assert.Equal(matches, CacheFilters.Rule(new Filters().Add(name, value), now).Matches!(entry));
    }
}
