using Berth.Runtime.Capabilities;

namespace Berth.Fast.Tests.Runtime;

public class CapabilityTests
{
    private static readonly string[] Two = ["CAP_CHOWN", "CAP_KILL"];

    [Fact]
    public void Nothing_added_or_dropped_changes_nothing() => Assert.Equal(Two, Capability.Tweak(Two, [], [], false));

    [Fact]
    public void Names_may_be_short_and_in_any_case() =>
        Assert.Equal(["CAP_KILL", "CAP_NET_ADMIN"], Capability.Tweak(Two, ["net_admin"], ["cap_chown"], false));

    [Fact]
    public void All_dropped_leaves_what_is_added() => Assert.Equal(["CAP_CHOWN"], Capability.Tweak(Two, ["chown"], ["ALL"], false));

    [Fact]
    public void All_added_leaves_out_what_is_dropped() =>
        Assert.Equal(Capability.Known().Except(["CAP_CHOWN"]), Capability.Tweak(Two, ["all"], ["chown"], false));

    [Fact]
    public void All_added_beats_all_dropped() => Assert.Equal(Capability.Known(), Capability.Tweak(Two, ["ALL"], ["ALL"], false));

    [Fact]
    public void A_privileged_container_has_what_we_have() => Assert.Equal(Capability.Known(), Capability.Tweak(Two, [], ["ALL"], true));

    [Theory]
    [InlineData("CapAdd", "invalid CapAdd: unknown capability: \"CAP_FOO\"")]
    [InlineData("CapDrop", "invalid CapDrop: unknown capability: \"CAP_FOO\"")]
    public void An_unknown_name_is_refused_in_dockers_words(string list, string message) =>
        Assert.Equal(message, Assert.Throws<FormatException>(() => Capability.Tweak(Two, list == "CapAdd" ? ["foo"] : [], list == "CapDrop" ? ["foo"] : [], false)).Message);

    [Fact]
    public void Masks_and_names_match()
    {
        Assert.Equal(0x00000000a80425fbUL, Capability.Mask(Capability.Default)); // what /proc/self/status says in a Docker container
        Assert.Equal(Capability.Default.Order(), Capability.NamesOf(0xa80425fb).Order());
    }

    [Fact]
    public void What_we_have_is_read_from_proc() =>
        Assert.Equal((0x1ffffffffffUL, 0xa80425fbUL), Capability.ReadAvailable("40\n", "Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t00000000a80425fb\n"));
}
