using Berth.Dockerfile;

namespace Berth.Fast.Tests.Dockerfile;

public class WordExpanderTests
{
    private static string? Lookup(string name) => name switch { "HOME" => "/home/me", "EMPTY" => "", "PATH" => "a:b:c", "TWO" => "one two", "FILE" => "archive.tar.gz", _ => null };

    private static readonly WordExpander Expander = new('\\', Lookup);

    [Theory]
    [InlineData("plain", "plain")]
    [InlineData("$HOME/x", "/home/me/x")]
    [InlineData("${HOME}x", "/home/mex")]
    [InlineData("$NOPE.", ".")]
    [InlineData("'$HOME'", "$HOME")]
    [InlineData("\"$HOME\"", "/home/me")]
    [InlineData(@"\$HOME", "$HOME")]
    [InlineData(@"""\$HOME \a \""""", @"$HOME \a """)]
    [InlineData(@"a\bc\", "abc")]
    [InlineData("$", "$")]
    [InlineData("$.x", "$.x")]
    [InlineData("$1a", "a")]
    [InlineData("it''s", "its")]
    [InlineData("${NOPE:-word}", "word")]
    [InlineData("${NOPE-word}", "word")]
    [InlineData("${EMPTY:-word}", "word")]
    [InlineData("${EMPTY-word}", "")]
    [InlineData("${HOME:-word}", "/home/me")]
    [InlineData("${HOME:+word}", "word")]
    [InlineData("${NOPE:+word}", "")]
    [InlineData("${EMPTY+word}", "word")]
    [InlineData("${EMPTY:+word}", "")]
    [InlineData("${HOME:?no}", "/home/me")]
    [InlineData("${NOPE:-${ALSO:-$HOME}}", "/home/me")]
    [InlineData("${NOPE:-\"a }\"}", "a }")]
    [InlineData("${FILE#*.}", "tar.gz")]
    [InlineData("${FILE##*.}", "gz")]
    [InlineData("${FILE%.*}", "archive.tar")]
    [InlineData("${FILE%%.*}", "archive")]
    [InlineData("${FILE%.???}", "archive.tar.gz")]
    [InlineData("${FILE#x}", "archive.tar.gz")]
    [InlineData("${PATH/:/ }", "a b:c")]
    [InlineData("${PATH//:/ }", "a b c")]
    [InlineData(@"${HOME/\/home/~}", "~/me")]
    [InlineData("${PATH//*/x}", "x")]
    [InlineData("ÄÖ$HOME😀", "ÄÖ/home/me😀")]
    public void A_word_becomes_what_a_shell_makes_of_it(string word, string expanded) => Assert.Equal(expanded, Expander.Expand(word).Text);

    // The words of Docker's builder.
    [Theory]
    [InlineData("'x", "failed to process \"'x\": unexpected end of statement while looking for matching single-quote")]
    [InlineData("\"x", "failed to process \"\\\"x\": unexpected end of statement while looking for matching double-quote")]
    [InlineData("${HOME", "failed to process \"${HOME\": syntax error: missing '}'")]
    [InlineData("${HOME:-x", "failed to process \"${HOME:-x\": syntax error: missing '}'")]
    [InlineData("${}", "failed to process \"${}\": syntax error: bad substitution")]
    [InlineData("${HOME:}x", "failed to process \"${HOME:}x\": unsupported modifier (:}) in substitution")]
    [InlineData("${HOME!x}", "failed to process \"${HOME!x}\": unsupported modifier (!) in substitution")]
    [InlineData("${NOPE:?set it}", "failed to process \"${NOPE:?set it}\": NOPE: set it")]
    [InlineData("${NOPE?}", "failed to process \"${NOPE?}\": NOPE: is not allowed to be unset")]
    [InlineData("${EMPTY:?}", "failed to process \"${EMPTY:?}\": EMPTY: is not allowed to be empty")]
    [InlineData(@"${HOME#a\b}", @"failed to process ""${HOME#a\\b}"": invalid pattern (a\b) in substitution: invalid escape '\b'")]
    [InlineData("${HOME/x}", "failed to process \"${HOME/x}\": syntax error: missing '/' in ${}")]
    public void What_cannot_be_read_is_an_error_in_docker_s_words(string word, string message) => Assert.Equal(message, Assert.Throws<DockerfileException>(() => Expander.Expand(word)).Message);

    [Theory]
    [InlineData("a b  c", "a|b|c")]
    [InlineData("'a b' c", "a b|c")]
    [InlineData(@"a\ b c", "a b|c")]
    [InlineData("$TWO 'x y'", "one|two|x y")]
    [InlineData("\"$TWO\" z", "one two|z")]
    [InlineData("", "")]
    public void Words_end_at_blanks_outside_quotes(string text, string words) => Assert.Equal(words, string.Join('|', Expander.Split(text)));

    [Fact]
    public void Variables_that_were_asked_for_are_told()
    {
        var expansion = Expander.Expand("$HOME ${NOPE:-$ALSO}");
        Assert.Equal(["HOME"], expansion.Found);
        Assert.Equal(["ALSO", "NOPE"], expansion.Missing.Order());
    }

    [Fact]
    public void In_here_documents_quotes_are_text() => Assert.Equal("it's \"/home/me\"", new WordExpander('\\', Lookup) { QuotesAreText = true }.Expand("it's \"$HOME\"").Text);

    [Fact]
    public void The_other_escape_character_escapes() => Assert.Equal(@"C:\x $HOME", new WordExpander('`', Lookup).Expand(@"C:\x `$HOME").Text);

    [Fact]
    public void Braces_nested_without_end_are_refused()
    {
        var deep = string.Concat(Enumerable.Repeat("${A:-", 5000));
        Assert.Throws<DockerfileException>(() => Expander.Expand(deep));
    }
}
