using Berth.Engine;
using Berth.Linux;

namespace Berth.Fast.Tests.Engine;

/// <summary>Options of the local volume driver; texts are those Docker Engine 28.5 gave.</summary>
public sealed class LocalMountTests
{
    private static Dictionary<string, string> Options(string text) =>
        text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(o => o.Split('=', 2)).ToDictionary(o => o[0], o => o[1]);

    [Theory]
    [InlineData("type=tmpfs device=tmpfs o=size=1m,uid=1000", "tmpfs:/v, data: size=1m,uid=1000")]
    [InlineData("type=none device=/srv o=bind", "/srv:/v, flags: 0x1000")]
    [InlineData("type=none device=/srv o=rbind,ro", "/srv:/v, flags: 0x5001")]
    [InlineData("type=ext4 device=/dev/x o=ro,nosuid,foo=bar", "/dev/x:/v, flags: 0x3, data: foo=bar")]
    [InlineData("type=ext4 device=/dev/x o=ro,rw,defaults,shared", "/dev/x:/v")]
    [InlineData("type=cifs device=//h/x o=username=a,password=secret,vers=3.0", "//h/x:/v, data: username=a,password=********,vers=3.0")]
    public void Options_become_the_arguments_of_mount(string options, string printed) => Assert.Equal(printed, LocalMount.From(Options(options))!.Print("/v"));

    [Fact]
    public void Propagation_is_a_call_of_its_own() => Assert.Equal(MountFlags.Shared | MountFlags.Recursive, LocalMount.From(Options("type=tmpfs device=x o=rshared"))!.Propagation);

    [Fact]
    public void Without_type_and_device_a_volume_is_a_directory()
    {
        Assert.Null(LocalMount.From(null));
        Assert.Null(LocalMount.From(new Dictionary<string, string> { ["size"] = "0" }));
    }

    [Theory]
    [InlineData("foo=bar", "invalid option: \"foo\"")]
    [InlineData("type=tmpfs", "missing required option: \"device\"")]
    [InlineData("device=x", "missing required option: \"type\"")]
    [InlineData("o=ro type=x", "missing required option: \"device\"")]
    [InlineData("size=10m", "quota size requested but no quota support")]
    [InlineData("size=abc", "invalid size: 'abc'")]
    [InlineData("type=cifs device=//h:445/x", "port not allowed in CIFS device URL, include 'port' in 'o='")]
    [InlineData("type=cifs device=//h/x", null)]
    [InlineData("size=0", null)]
    public void What_is_wrong_with_options_is_said_as_dockerd_says_it(string options, string? problem) => Assert.Equal(problem, LocalMount.Problem(Options(options), quota: false));

    [Fact]
    public void A_mount_table_tells_points_with_blanks_and_who_passes_mounts_on()
    {
        var table = MountTable.Parse("""
            21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
            30 21 0:9 / /mnt/a\040b rw shared:4 master:2 - tmpfs x rw
            31 21 0:9 / /mnt/slave rw master:2 - tmpfs x rw
            broken line
            """);
        Assert.Equal(3, table.Count);
        Assert.Equal(new MountEntry(30, "/mnt/a b", "tmpfs", "x", Shared: true, Slave: true), table[1]);
        Assert.Equal("/mnt/a b", MountTable.Of("/mnt/a b/c", table)!.Point);
        Assert.Equal("/", MountTable.Of("/mnt/slaves", table)!.Point);
    }
}
