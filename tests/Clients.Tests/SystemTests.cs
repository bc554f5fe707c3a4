using System.Text.Json;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>docker system df, prune of each kind, and what info tells.</summary>
public sealed class SystemTests
{
    [Fact]
    public async Task Disk_usage_counts_layers_once_hard_links_once_and_what_containers_and_volumes_wrote()
    {
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        await daemon.Docker("tag", image, "again:1");
        await daemon.Docker("run", "--name", "writer", "-v", "kept:/d", image, "sh", "-c", "head -c 100000 /dev/zero > /big; head -c 50000 /dev/zero > /d/x; ln /d/x /d/y; ln -s /big /link");
        var (status, body) = await daemon.AskAsync("GET", "/system/df");
        Assert.Equal(200, status);
        using var all = JsonDocument.Parse(body);
        var root = all.RootElement;
        var layers = root.GetProperty("LayersSize").GetInt64();
        Assert.True(layers > 500_000);
        var only = Assert.Single(root.GetProperty("Images").EnumerateArray());
        Assert.Equal((1, layers), (only.GetProperty("Containers").GetInt32(), only.GetProperty("Size").GetInt64()));
        Assert.InRange(root.GetProperty("Containers")[0].GetProperty("SizeRw").GetInt64(), 100_000, 100_100);
        var volume = root.GetProperty("Volumes")[0];
        Assert.Equal((50_000, 1), (volume.GetProperty("UsageData").GetProperty("Size").GetInt64(), volume.GetProperty("UsageData").GetProperty("RefCount").GetInt64()));
        Assert.Equal("[]", root.GetProperty("BuildCache").GetRawText());

        using var some = JsonDocument.Parse((await daemon.AskAsync("GET", "/system/df?type=volume")).Body);
        Assert.Equal(("null", "null", "null"), (some.RootElement.GetProperty("Images").GetRawText(), some.RootElement.GetProperty("Containers").GetRawText(), some.RootElement.GetProperty("BuildCache").GetRawText()));
        Assert.Equal((400, "{\"message\":\"unknown object type: foo\"}\n"), await daemon.AskAsync("GET", "/system/df?type=foo"));
        Assert.Contains("Local Volumes   1         1         50kB", (await daemon.Docker("system", "df")).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Prune_removes_what_nothing_uses_and_says_how_much_it_was()
    {
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        await daemon.Docker("run", "-d", "--name", "stays", image, "sleep", "100");
        await daemon.Docker("run", "--name", "goes", "--label", "old", image, "sh", "-c", "head -c 20000 /dev/zero > /x");
        Assert.Equal("Total reclaimed space: 0B\n", (await daemon.Docker("container", "prune", "-f", "--filter", "label=other")).Output);
        Assert.Equal("Total reclaimed space: 0B\n", (await daemon.Docker("container", "prune", "-f", "--filter", "until=24h")).Output);
        Assert.EndsWith("Total reclaimed space: 20kB\n", (await daemon.Docker("container", "prune", "-f", "--filter", "label=old")).Output, StringComparison.Ordinal);

        // Used images stay, whatever is asked for.
        Assert.Equal("Total reclaimed space: 0B\n", (await daemon.Docker("image", "prune", "-af")).Output);
        Assert.Equal("busybox:test\n", (await daemon.Docker("images", "--format", "{{.Repository}}:{{.Tag}}")).Output);
        await daemon.Docker("rm", "-f", "stays");
        Assert.Equal("Total reclaimed space: 0B\n", (await daemon.Docker("image", "prune", "-f")).Output); // it has a name
        var pruned = (await daemon.Docker("system", "prune", "-af", "--volumes")).Output;
        Assert.Contains("untagged: busybox:test\n", pruned, StringComparison.Ordinal);
        Assert.Contains("deleted: sha256:", pruned, StringComparison.Ordinal);
        Assert.Equal("", (await daemon.Docker("images", "-q")).Output);
        Assert.Contains("invalid filter 'bad'", (await daemon.Docker("network", "prune", "-f", "--filter", "bad=1").MayFail()).Error, StringComparison.Ordinal);
    }
}
