using System.Text.Json;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Builds of the past.</summary>
public sealed partial class BuildxTests
{
    [Fact]
    public async Task Builds_of_the_past_are_listed_and_told_again_until_they_are_removed()
    {
        Assert.SkipWhen((await Docker("buildx", "history", "ls", "--help").MayFail()).Output is var help && !help.Contains("build records", StringComparison.Ordinal), "this docker-buildx knows no history");
        var context = Context("history", ("Dockerfile", "FROM BASE\nARG WHO\nRUN echo told to $WHO\n"), ("Fails", "FROM BASE\nRUN echo before; exit 3\n"));
        var metadata = context + ".json";
        await Docker("buildx", "build", "--no-cache", "-t", "bx-history", "--build-arg", "WHO=everybody", "--metadata-file", metadata, context);
        using var written = JsonDocument.Parse(File.ReadAllText(metadata));
        var reference = written.RootElement.GetProperty("buildx.build.ref").GetString()!.Split('/')[^1];
        Assert.Equal("https://mobyproject.org/buildkit@v1", written.RootElement.GetProperty("buildx.build.provenance").GetProperty("buildType").GetString());
        await Docker("buildx", "build", "-f", Path.Combine(context, "Fails"), context).MayFail();

        var listed = (await Docker("buildx", "history", "ls", "--format", "{{.Ref}} {{.Status}}")).Lines;
        Assert.Matches("^\\w+ Error$", listed[0]);
        Assert.Equal(reference + " Completed", listed[1]);
        using (var inspected = JsonDocument.Parse((await Docker("buildx", "history", "inspect", reference, "--format", "json")).Output))
        {
            Assert.Equal("completed", inspected.RootElement.GetProperty("Status").GetString());
            Assert.Equal("everybody", inspected.RootElement.GetProperty("BuildArgs")[0].GetProperty("Value").GetString());
            Assert.Equal(inspected.RootElement.GetProperty("NumTotalSteps").GetInt32(), inspected.RootElement.GetProperty("NumCompletedSteps").GetInt32());
        }
        Assert.Contains("told to everybody\n", (await Docker("buildx", "history", "logs", reference)).Error, StringComparison.Ordinal);
        var failed = await Docker("buildx", "history", "inspect");
        Assert.Contains("did not complete successfully: exit code: 3", failed.Output, StringComparison.Ordinal);
        Assert.Contains("   2 | >>> RUN echo before; exit 3\n", failed.Output, StringComparison.Ordinal);

        await _daemon.KillAsync();
        await _daemon.RestartAsync();
        Assert.Contains("told to everybody\n", (await Docker("buildx", "history", "logs", reference)).Error, StringComparison.Ordinal);
        await Docker("buildx", "history", "rm", reference);
        Assert.DoesNotContain(reference, (await Docker("buildx", "history", "ls", "--format", "{{.Ref}}")).Output, StringComparison.Ordinal);
        Assert.Contains($"lease \"ref_{reference}\": not found", (await Docker("buildx", "history", "rm", reference).MayFail()).Error, StringComparison.Ordinal);
        await Docker("buildx", "history", "rm", "--all");
        Assert.Empty(Directory.GetFileSystemEntries(Path.Combine(_daemon.DataRoot, "build", "history")));
    }

    [Fact]
    public async Task An_output_that_is_none_is_refused_before_anything_is_built()
    {
        var context = Context("output", ("Dockerfile", "FROM BASE\nRUN echo never built\n"));
        var refused = await Docker("buildx", "build", "--no-cache", "--output", "type=foo", context).MayFail();
        Assert.Contains("failed to solve: exporter \"foo\" could not be found", refused.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("never built", refused.Error, StringComparison.Ordinal);
    }
}
