using Berth.Api;

namespace Berth.Fast.Tests.Api;

public class FiltersTests
{
    [Theory]
    [InlineData("""{"label":{"a=b":true,"c":true},"name":{"x":true}}""")]
    [InlineData("""{"name":["x"],"label":["c","a=b"]}""")]
    public void Both_forms_mean_the_same(string json)
    {
        var filters = Filters.Parse(json);
        Assert.Equal(["a=b", "c"], filters["label"]);
        Assert.Equal(["x"], filters["name"]);
        Assert.Empty(filters["other"]);
        Assert.Equal("""{"label":{"a=b":true,"c":true},"name":{"x":true}}""", filters.ToString());
    }

    [Theory]
    [InlineData("")]
    [InlineData(null)]
    [InlineData("{}")]
    public void Nothing_filters_nothing(string? json) => Assert.True(Filters.Parse(json).IsEmpty);

    [Theory]
    [InlineData("x")]
    [InlineData("[]")]
    [InlineData("""{"a":"b"}""")]
    [InlineData("""{"a":[1]}""")]
    [InlineData("""{"a":{"b":1}}""")]
    [InlineData("""{"a":["b"]}{""")]
    [InlineData("""{"a":[["b"]]}""")]
    public void What_has_neither_form_is_refused(string json) => Assert.Throws<FormatException>(() => Filters.Parse(json));

    [Fact]
    public void Labels_match_by_name_or_by_name_and_value_and_all_of_them_must()
    {
        var labels = new Dictionary<string, string> { ["a"] = "b", ["c"] = "" };
        Assert.True(new Filters().MatchLabels("label", labels));
        Assert.True(new Filters().Add("label", "a").Add("label", "c").MatchLabels("label", labels));
        Assert.True(new Filters().Add("label", "a=b").MatchLabels("label", labels));
        Assert.False(new Filters().Add("label", "a=x").MatchLabels("label", labels));
        Assert.False(new Filters().Add("label", "a").Add("label", "z").MatchLabels("label", labels));
        Assert.False(new Filters().Add("label", "a").MatchLabels("label", null));
    }

    [Fact]
    public void An_unknown_name_is_reported_in_dockers_words() =>
        Assert.Equal("invalid filter 'foo'", Assert.Throws<FormatException>(() => new Filters().Add("foo", "x").Validate("name", "id")).Message);

    [Fact]
    public void Yes_and_no_together_are_an_error()
    {
        Assert.True(new Filters().Add("dangling", "1").GetBool("dangling", absent: false));
        Assert.False(new Filters().Add("dangling", "false").GetBool("dangling", absent: true));
        Assert.True(new Filters().GetBool("dangling", absent: true));
        Assert.Throws<FormatException>(() => new Filters().Add("dangling", "1").Add("dangling", "0").GetBool("dangling", absent: true));
        Assert.Throws<FormatException>(() => new Filters().Add("dangling", "perhaps").GetBool("dangling", absent: true));
    }
}
