using System.Text;
using Berth.Dockerfile;

namespace Berth.Fast.Tests.Dockerfile;

public class ChecksTests
{
    private static string[] Find(string text)
    {
        var document = Document.Parse(Encoding.UTF8.GetBytes(text));
        var checks = new Checks(CheckOptions.Parse(document.Directives.Check ?? ""));
        checks.CheckText(document);
        return [.. checks.Findings.Select(f => $"{f.Lines.First} {f.Rule.Name}: {f.Message}")];
    }

    [Theory]
    [InlineData("FROM x AS Base\n", "1 StageNameCasing: Stage name 'Base' should be lowercase")]
    [InlineData("FROM x as base\n", "1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match")]
    [InlineData("FROM x\nRUN a \\\n\n b\n", "4 NoEmptyContinuation: Empty continuation line")]
    [InlineData("FROM x\nRUN a\nrun b\n", "3 ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase)")]
    [InlineData("from x\nrun a\nRUN b\n", "3 ConsistentInstructionCasing: Command 'RUN' should match the case of the command majority (lowercase)")]
    [InlineData("FROM x AS a\nFROM y AS a\n", "2 DuplicateStageName: Duplicate stage name \"a\", stage names should be unique")]
    [InlineData("FROM x AS scratch\n", "1 ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"")]
    [InlineData("FROM x\nMAINTAINER me\n", "2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label")]
    [InlineData("# check=experimental=all\nFROM x\n# what\nARG A\n", "4 InvalidDefinitionDescription: Comment for ARG should follow the format: `# A <description>`")]
    public void A_broken_rule_is_told_in_docker_s_words(string text, string finding) => Assert.Equal([finding], Find(text));

    [Theory]
    [InlineData("FROM x AS base\nRUN y\n")]
    [InlineData("FROM x\n# what\nARG A\n")]
    [InlineData("# check=skip=all\nFROM x as Base\n")]
    [InlineData("# check=skip=StageNameCasing,FromAsCasing\nFROM x as Base\n")]
    [InlineData("FROM x\n# check=skip=MaintainerDeprecated\nMAINTAINER me\n")]
    public void Where_nothing_is_wrong_or_all_is_skipped_nothing_is_found(string text) => Assert.Empty(Find(text));

    [Theory]
    [InlineData("skip", "invalid check option \"skip\"")]
    [InlineData("foo=bar", "invalid check option \"foo\"")]
    [InlineData("error=perhaps", "failed to parse check option \"error=perhaps\": strconv.ParseBool: parsing \"perhaps\": invalid syntax")]
    public void A_wrong_option_is_refused(string options, string message) => Assert.Equal(message, Assert.Throws<DockerfileException>(() => CheckOptions.Parse(options)).Message);

    [Fact]
    public void Findings_can_be_fatal()
    {
        var checks = new Checks(CheckOptions.Parse("error=true"));
        checks.ThrowIfFatal();
        checks.Report(CheckRule.JsonArgsRecommended, "x", new LineSpan(1, 1), []);
        Assert.Equal("lint violation found for rules: JSONArgsRecommended", Assert.Throws<DockerfileException>(checks.ThrowIfFatal).Message);
    }

    [Fact]
    public void A_rule_names_its_page() => Assert.Equal(
        ["https://docs.docker.com/go/dockerfile/rule/json-args-recommended/", "https://docs.docker.com/go/dockerfile/rule/from-as-casing/", "https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/"],
        new[] { CheckRule.JsonArgsRecommended, CheckRule.FromAsCasing, CheckRule.SecretsUsedInArgOrEnv }.Select(r => r.Url));
}
