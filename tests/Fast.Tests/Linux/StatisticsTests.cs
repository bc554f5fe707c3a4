using System.Text;
using Berth.Linux;
using Berth.Linux.Cgroups;

namespace Berth.Fast.Tests.Linux;

/// <summary>The kernel's texts behind `docker stats`.</summary>
public class StatisticsTests
{
    private static ReadOnlySpan<byte> Bytes(string text) => Encoding.ASCII.GetBytes(text);

    [Fact]
    public void A_value_is_found_by_its_whole_name()
    {
        var text = "oom_kill 3\noom 2\nmax 18446744073709551615\n";
        Assert.Equal(2UL, StatisticsText.Value(Bytes(text), "oom"u8));
        Assert.Equal(ulong.MaxValue, StatisticsText.Value(Bytes(text), "max"u8));
        Assert.Equal(0UL, StatisticsText.Value(Bytes(text), "absent"u8));
    }

    [Fact]
    public void Max_is_no_limit() => Assert.Equal(ulong.MaxValue, StatisticsText.Number("max\n"u8));

    [Fact]
    public void More_processors_than_fit_at_first_are_all_read()
    {
        var numbers = Enumerable.Range(1, 200).Select(n => (ulong)n).ToArray();
        Assert.Equal(numbers, StatisticsText.Numbers(Bytes(string.Join(' ', numbers) + " \n")));
    }

    [Fact]
    public void Io_of_v1_has_an_entry_per_operation_and_none_for_the_sum_of_all()
    {
        var entries = StatisticsText.IoEntries("8:0 Read 4096\n8:0 Total 4096\n8:16 7\nTotal 4096\n"u8);
        Assert.Equal([new(8, 0, "Read", 4096), new(8, 0, "Total", 4096), new(8, 16, "", 7)], entries);
    }

    [Fact]
    public void Io_of_v2_has_two_entries_per_device()
    {
        var entries = StatisticsText.UnifiedIo("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:0 \n254:1 wbytes=5\n"u8);
        Assert.Equal([new(8, 0, "read", 10), new(8, 0, "write", 20), new(254, 1, "read", 0), new(254, 1, "write", 5)], entries);
    }

    [Fact]
    public void Interfaces_are_those_of_the_container_and_not_the_kernels_own()
    {
        var text = """
            Inter-|   Receive                                                |  Transmit
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
                lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
              eth0: 1296       16    1    2    0     0          0         0       84       3    4    5    0     0       0          0
              sit0:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0

            """;
        Assert.Equal([new InterfaceCounters("eth0", 1296, 16, 1, 2, 84, 3, 4, 5)], NetworkCounters.Parse(Bytes(text)));
    }

    [Fact]
    public void Time_of_all_processors_is_the_first_line_without_what_guests_used() =>
        Assert.Equal((280_000_000UL, 2U), ProcessorTimes.Parse("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 5 cpu\n"u8));
}
