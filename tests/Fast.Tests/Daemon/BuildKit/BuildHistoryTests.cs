using Berth.Api.BuildKit;
using Berth.Daemon.BuildKit;
using Berth.Testing;

namespace Berth.Fast.Tests.Daemon.BuildKit;

public sealed class BuildHistoryTests
{
    private static void Build(BuildHistory history, string name)
    {
        var request = new SolveRequest { Ref = name };
        history.Begin(request);
        history.End(request, new StatusLog(name, TimeProvider.System), null, null, new Dictionary<string, string>(), ("https://slsa.dev/provenance/v0.2", System.Text.Encoding.UTF8.GetBytes(name)));
    }

    private static string[] Records(string directory) => Directory.GetFiles(directory, "*.record");

    [Fact]
    public void The_oldest_go_with_all_they_have_and_what_somebody_pinned_stays()
    {
        using var directory = new TestDirectory();
        var history = new BuildHistory(directory.Path, TimeProvider.System);
        Build(history, "pinned");
        history.Update(new UpdateBuildHistoryRequest("pinned", Pinned: true, Delete: false, Finalize: false));
        for (var i = 0; i < BuildHistory.MaxRecords + BuildHistory.Slack; i++) Build(history, $"build/../{i}");
        Assert.Equal(BuildHistory.MaxRecords + 1, Records(directory.Path).Length);
        // A provenance for each, and the log, which is empty and the same for all.
        Assert.Equal(2 * (BuildHistory.MaxRecords + 1) + 1, Directory.GetFileSystemEntries(directory.Path).Length);
        Assert.NotNull(history.Log("pinned"));
        Assert.Null(history.Log("build/../0"));
    }

    [Fact]
    public void What_no_record_knows_goes_at_start()
    {
        using var directory = new TestDirectory();
        Build(new BuildHistory(directory.Path, TimeProvider.System), "one");
        var kept = Directory.GetFiles(directory.Path).Order().ToList();
        File.WriteAllText(Path.Combine(directory.Path, "sha256-" + new string('0', 64)), "of a build whose daemon was killed");
        File.WriteAllBytes(Path.Combine(directory.Path, "cut.record"), [0xFF]);
        _ = new BuildHistory(directory.Path, TimeProvider.System);
        Assert.Equal(kept, Directory.GetFiles(directory.Path).Order());
    }

    [Fact]
    public void Nobody_elses_builds_are_kept()
    {
        using var directory = new TestDirectory();
        var history = new BuildHistory(directory.Path, TimeProvider.System);
        var request = new SolveRequest { Ref = "x", Internal = true };
        history.Begin(request);
        history.End(request, new StatusLog("x", TimeProvider.System), null, null, new Dictionary<string, string>(), null);
        Assert.Empty(Directory.GetFiles(directory.Path));
    }
}
