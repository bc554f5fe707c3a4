using System.Diagnostics;
using System.Text;
using Berth.Dockerfile;

namespace Berth.Fast.Tests.Dockerfile;

public class PathPatternsTests
{
    [Theory]
    [InlineData("*.md", "README.md", true)]
    [InlineData("*.md", "docs/README.md", false)]
    [InlineData("**/*.md", "docs/a/README.md", true)]
    [InlineData("**/*.md", "README.md", true)]
    [InlineData("docs", "docs/a/b", true)]
    [InlineData("docs", "docs2/a", false)]
    [InlineData("*/temp*", "a/temporary", true)]
    [InlineData("*/temp*", "a/b/temporary", false)]
    [InlineData("temp?", "tempa", true)]
    [InlineData("temp?", "temp", false)]
    [InlineData("**", "any/thing", true)]
    [InlineData("a/**", "a/b", true)]
    [InlineData("a/**/b", "a/b", true)]
    [InlineData("a/**/b", "a/x/y/b", true)]
    [InlineData("**/node_modules", "a/b/node_modules/c/d", true)]
    [InlineData("file[0-9].txt", "file5.txt", true)]
    [InlineData("file[^0-9].txt", "file5.txt", false)]
    [InlineData("./a//b/../c", "a/c", true)]
    [InlineData(@"a\*b", "a*b", true)]
    [InlineData(@"a\*b", "axb", false)]
    [InlineData("a+b.(c)", "a+b.(c)", true)]
    [InlineData("a.b", "axb", false)]
    public void A_pattern_matches_paths_as_docker_s_do(string pattern, string path, bool matches) => Assert.Equal(matches, new PathPatterns([pattern]).Matches(path));

    [Fact]
    public void The_last_pattern_that_says_something_decides()
    {
        var patterns = new PathPatterns(["*.md", "!README*.md", "README-secret.md"]);
        Assert.Equal([true, false, true], new[] { "a.md", "README-x.md", "README-secret.md" }.Select(patterns.Matches));
        Assert.True(patterns.HasExceptions);
    }

    [Fact]
    public void What_is_in_a_directory_that_is_out_can_be_taken_back()
    {
        var patterns = new PathPatterns(["vendor", "!vendor/keep"]);
        Assert.Equal([true, true, false, false], new[] { "vendor", "vendor/x", "vendor/keep", "vendor/keep/y" }.Select(patterns.Matches));
    }

    [Theory]
    [InlineData("[")]
    [InlineData("[a")]
    [InlineData("[]")]
    [InlineData("a\\")]
    [InlineData("!")]
    public void A_pattern_without_sense_is_refused(string pattern) => Assert.Throws<DockerfileException>(() => new PathPatterns([pattern]));

    [Fact]
    public void No_pattern_takes_for_ever()
    {
        var watch = Stopwatch.StartNew();
        Assert.False(new PathPatterns([string.Concat(Enumerable.Repeat("**/*a", 40)) + "b"]).Matches(new string('a', 2000)));
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(20), "backtracking would not end at all");
    }

    [Fact]
    public void An_ignore_file_gives_clean_patterns() => Assert.Equal(["node_modules", "a/c", "!keep", "x y", "!"],
        IgnoreFile.Parse(Encoding.UTF8.GetBytes("\uFEFF# a comment\nnode_modules/\r\n\n  /a/./b/../c  \n! /keep\nx y\n!\n")));
}
