using Berth.Builder;
using Berth.Dockerfile;

namespace Berth.Fast.Tests.Builder;

public class FileModeTests
{
    [Theory]
    [InlineData("755", "644", false, "755")]
    [InlineData("0600", "755", true, "600")]
    [InlineData("4755", "644", false, "4755")]
    [InlineData("u+x", "644", false, "744")]
    [InlineData("+x", "644", false, "755")]
    [InlineData("go-rwx", "755", false, "700")]
    [InlineData("u=rwX,go=rX", "600", false, "644")]
    [InlineData("u=rwX,go=rX", "600", true, "755")]
    [InlineData("u=rwX,go=rX", "700", false, "755")]
    [InlineData("g=u", "740", false, "770")]
    [InlineData("u+s,+t", "755", false, "5755")]
    [InlineData("a=r", "777", false, "444")]
    public void A_mode_is_changed_as_chmod_would(string text, string before, bool directory, string after) =>
        Assert.Equal(Convert.ToUInt32(after, 8), Berth.Builder.FileMode.Parse(text)!(Convert.ToUInt32(before, 8), directory));

    [Theory]
    [InlineData("888")]
    [InlineData("17777")]
    [InlineData("u~x")]
    [InlineData("u")]
    [InlineData("x=1")]
    public void A_mode_that_is_none_is_refused(string text) =>
        Assert.Equal($"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777", Assert.Throws<DockerfileException>(() => Berth.Builder.FileMode.Parse(text)).Message);
}
