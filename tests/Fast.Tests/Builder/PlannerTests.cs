using System.Text;
using Berth.Builder;
using Berth.Dockerfile;
using Berth.Images;

namespace Berth.Fast.Tests.Builder;

public class PlannerTests
{
    private static readonly Platform Amd64 = new("linux", "amd64");

    private static Task<BuildPlan> Plan(string dockerfile, Func<BuildRequest, BuildRequest>? change = null, ContainerConfig? baseConfig = null)
    {
        var request = new BuildRequest { Dockerfile = Encoding.UTF8.GetBytes(dockerfile), Sources = null!, Platform = Amd64 };
        if (change is not null) request = change(request);
        return new Planner(Document.Parse(request.Dockerfile.Span), request, (name, _, _) => Task.FromResult(ImageOf(name, baseConfig))).PlanAsync();
    }

    private static Image ImageOf(string name, ContainerConfig? config) => new()
    {
        Id = Digest.Sha256(Encoding.UTF8.GetBytes(name)), Config = new ImageConfig { Os = "linux", Architecture = "amd64", Config = config ?? new ContainerConfig { Env = ["PATH=/bin"] } }, DiffIds = [Digest.Sha256(Encoding.UTF8.GetBytes("layer of " + name))],
        Platform = Amd64, ConfigBytes = default, Created = null, LastTagTime = null, LayerDirectories = [], Parent = default, RepoDigests = [], RepoTags = [], SizeBytes = 0,
    };

    [Fact]
    public async Task What_several_platforms_have_in_common_is_one_step()
    {
        var request = new BuildRequest { Dockerfile = "FROM --platform=$BUILDPLATFORM a AS build\nCOPY . /src\nRUN fetch\nARG TARGETARCH\nRUN make $TARGETARCH\nFROM scratch\nCOPY --from=build /out /\n"u8.ToArray(), Sources = null!, Platforms = [Amd64, new("linux", "arm64")] };
        var (shared, plans) = (new StepTable(), new List<BuildPlan>());
        foreach (var platform in request.Platforms)
            plans.Add(await new Planner(Document.Parse(request.Dockerfile.Span), request with { Platform = platform }, (name, _, _) => Task.FromResult(ImageOf(name, null)), shared).PlanAsync());
        var build = Platform.Host.Architecture;
        string Towards(string architecture) => build == architecture ? "" : "->" + architecture;
        Assert.Equal($"""
            #1 
            #2 [linux/{build} build 1/4] FROM docker.io/library/a:latest
            #3 [internal] load build context
            #4 [linux/{build} build 2/4] COPY . /src on #2, #3
            #5 [linux/{build} build 3/4] RUN fetch on #4
            #6 [linux/{build}{Towards("amd64")} build 4/4] RUN make amd64 on #5
            #7 [linux/amd64 stage-1 1/1] COPY --from=build /out / on #1, #6
            #8 [linux/{build}{Towards("arm64")} build 4/4] RUN make arm64 on #5
            #9 [linux/arm64 stage-1 1/1] COPY --from=build /out / on #1, #8

            """.ReplaceLineEndings("\n"), BuildPlan.Join(plans).ToString());
    }

    [Fact]
    public async Task Only_what_the_target_needs_is_planned()
    {
        var plan = await Plan("FROM a AS one\nRUN 1\nFROM a AS two\nRUN 2\nFROM b AS three\nCOPY --from=one /x /y\nRUN 3\n");
        Assert.Equal("""
            #1 [three 1/3] FROM docker.io/library/b:latest
            #2 [one 1/2] FROM docker.io/library/a:latest
            #3 [one 2/2] RUN 1 on #2
            #4 [three 2/3] COPY --from=one /x /y on #1, #3
            #5 [three 3/3] RUN 3 on #4

            """.ReplaceLineEndings("\n"), plan.ToString());
        Assert.Equal("#1 [two 1/2] FROM docker.io/library/a:latest\n#2 [two 2/2] RUN 2 on #1\n", (await Plan("FROM a AS one\nRUN 1\nFROM a AS two\nRUN 2\nFROM b\n", r => r with { Target = "TWO" })).ToString());
    }

    [Fact]
    public async Task Images_of_all_stages_that_are_needed_are_asked_for_at_once()
    {
        var dockerfile = Encoding.UTF8.GetBytes("FROM a AS one\nFROM b AS two\nFROM c AS idle\nFROM d\nCOPY --from=one /x /\nCOPY --from=1 /x /\n");
        var (asked, all) = (new List<string>(), new TaskCompletionSource());
        var plan = new Planner(Document.Parse(dockerfile), new BuildRequest { Dockerfile = dockerfile, Sources = null!, Platform = Amd64 }, async (name, _, _) =>
        {
            asked.Add(name);
            if (asked.Count == 3) all.SetResult();
            await all.Task.WaitAsync(TimeSpan.FromSeconds(10));
            return ImageOf(name, null);
        });
        await plan.PlanAsync();
        Assert.Equal(["d", "a", "b"], asked);
    }

    [Fact]
    public async Task Variables_come_from_arguments_the_image_and_env_in_that_order_of_rank()
    {
        var plan = await Plan("ARG TAG=1\nFROM a:$TAG\nARG WHO=nobody\nARG TAG\nENV GREETING=\"hi $WHO\" WHO=env\nARG OTHER=$GREETING\nRUN x\nLABEL tag=$TAG who=$WHO",
            r => r with { Arguments = new Dictionary<string, string> { ["WHO"] = "you", ["TAG"] = "2" } });
        var run = Assert.IsType<RunStep>(plan.Root);
        Assert.Equal(["PATH=/bin", "WHO=env", "TAG=2", "GREETING=hi you", "OTHER=hi you"], run.Environment);
        Assert.Equal("[1/2] FROM docker.io/library/a:2", Assert.IsType<ImageStep>(run.Root).Title);
        Assert.Equal(["PATH=/bin", "GREETING=hi you", "WHO=env"], plan.Config.Env!);
        Assert.Equal([("tag", "2"), ("who", "env")], plan.Config.Labels!.Select(l => (l.Key, l.Value)));
        Assert.Contains("RUN |3 WHO=env TAG=2 OTHER=hi you /bin/sh -c x # buildkit", plan.History.Select(h => h.CreatedBy));
    }

    [Fact]
    public async Task Platforms_are_known_to_from_and_where_they_are_asked_for()
    {
        var plan = await Plan("FROM --platform=$BUILDPLATFORM a\nARG TARGETARCH\nRUN x", r => r with { Platform = new Platform("linux", "arm64") });
        Assert.Contains("TARGETARCH=arm64", ((RunStep)plan.Root).Environment);
    }

    [Fact]
    public async Task Triggers_of_the_image_come_first()
    {
        var plan = await Plan("FROM a\nRUN mine", baseConfig: new ContainerConfig { OnBuild = ["RUN first", "ENV A=b"] });
        Assert.Equal("#1 [1/3] FROM docker.io/library/a:latest\n#2 [2/3] RUN first on #1\n#3 [3/3] RUN mine on #2\n", plan.ToString());
        Assert.Contains("A=b", plan.Config.Env!);
        Assert.Null(plan.Config.OnBuild);
    }

    [Fact]
    public async Task Destinations_are_within_the_working_directory()
    {
        async Task<string> To(string text) => ((CopyStep)(await Plan($"FROM a\nWORKDIR /w\nCOPY x {text}")).Root).Destination;
        Assert.Equal(["/w/y", "/w/y/", "/w/", "/w/", "/y", "/"], [await To("y"), await To("y/"), await To("."), await To("./"), await To("/y"), await To("/")]);
    }

    [Fact]
    public async Task A_proxy_reaches_commands_and_no_history()
    {
        var plan = await Plan("FROM a\nRUN x", r => r with { Arguments = new Dictionary<string, string> { ["HTTP_PROXY"] = "http://secret@proxy" } });
        Assert.Equal(["HTTP_PROXY=http://secret@proxy"], ((RunStep)plan.Root).Proxies);
        Assert.DoesNotContain(plan.History, h => h.CreatedBy.Contains("secret", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("FROM a\nCOPY --from=later x y\nFROM b AS later\n", "0", "cannot copy from stage \"later\", it needs to be defined before current stage \"stage-0\"")]
    [InlineData("FROM a\nCOPY --from=7 x y\n", "", "invalid stage index 7")]
    [InlineData("FROM a AS build\n", "bild", "target stage \"bild\" could not be found (did you mean build?)")]
    [InlineData("FROM $NOPE\n", "", "base name ($NOPE) should not be blank")]
    [InlineData("FROM a\nCOPY x y /z\n", "", "When using COPY with more than one source file, the destination must be a directory and end with a /")]
    [InlineData("FROM a\nCOPY --chmod=9 x y\n", "", "invalid chmod parameter: '9'. it should be octal string and between 0 and 07777")]
    [InlineData("FROM a\nSTOPSIGNAL FOO\n", "", "invalid signal: FOO")]
    [InlineData("FROM a\nCOPY https://example.org/x /y\n", "", "source can't be a URL for COPY")]
    [InlineData("FROM a\nRUN --security=insecure x\n", "", "security.insecure is not allowed")]
    public async Task A_plan_that_can_t_be_is_refused_in_docker_s_words(string dockerfile, string target, string message) =>
        Assert.Equal(message, (await Assert.ThrowsAsync<DockerfileException>(() => Plan(dockerfile, r => r with { Target = target }))).Message);

    [Theory]
    [InlineData("FROM a\nCMD x", "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals")]
    [InlineData("FROM a\nENV A b", "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format")]
    [InlineData("FROM a\nENV API_KEY=x", "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"API_KEY\")")]
    [InlineData("FROM a\nWORKDIR x", "WorkdirRelativePath: Relative workdir \"x\" can have unexpected results if the base image changes")]
    [InlineData("FROM a\nENV FOO=1\nLABEL a=$FOOO", "UndefinedVar: Usage of undefined variable '$FOOO' (did you mean $FOO?)")]
    [InlineData("ARG TAG=1\nFROM a$TAGG", "UndefinedArgInFrom: FROM argument 'TAGG' is not declared (did you mean TAG?)")]
    [InlineData("FROM --platform=linux/amd64 a", "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\"")]
    [InlineData("FROM --platform=$TARGETPLATFORM a", "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior")]
    [InlineData("FROM a\nCMD [\"x\"]\nCMD [\"y\"]", "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used")]
    public async Task A_broken_rule_is_told(string dockerfile, string finding) =>
        Assert.Equal([finding], (await Plan(dockerfile)).Checks.Findings.Select(f => $"{f.Rule.Name}: {f.Message}"));
}
