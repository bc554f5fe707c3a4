using Berth.Linux;

namespace Berth.Fast.Tests.Linux;

public sealed class ProgramPagesTests
{
    [Fact]
    public void What_nobody_wrote_to_is_given_back_and_nothing_else()
    {
        string[] maps =
        [
            "55d0a0000000-55d0a0001000 r--p 00000000 fd:00 11 /opt/my berthd.so",
            "55d0a0200000-55d0a0a00000 r--p 00000000 fd:00 12                         /opt/my berthd",
            "55d0a0a00000-55d0a1300000 r-xp 00800000 fd:00 12                         /opt/my berthd",
            "55d0a1300000-55d0a1400000 r--p 01100000 fd:00 12                         /opt/my berthd",
            "55d0a1400000-55d0a1500000 rw-p 01200000 fd:00 12                         /opt/my berthd",
            "7f0000000000-7f0000100000 rw-p 00000000 00:00 0",
        ];
        Assert.Equal([(0x55d0a0200000, 0x800000), (0x55d0a0a00000, 0x900000)], ProgramPages.Unwritten(maps, "/opt/my berthd"));
        Assert.Empty(ProgramPages.Unwritten(maps.Skip(4), "/opt/my berthd"));
        Assert.Empty(ProgramPages.Unwritten(maps, "/opt/other"));
    }

    [Fact]
    public void A_program_goes_on_without_its_pages()
    {
        var before = Environment.GetEnvironmentVariables().Count;
        ProgramPages.Release();
        Assert.Equal(before, Environment.GetEnvironmentVariables().Count);
    }
}
