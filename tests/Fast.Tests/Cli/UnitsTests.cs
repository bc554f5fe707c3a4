using Berth.Api;
using Berth.Cli.Commands;
using Berth.Cli.Output;

namespace Berth.Fast.Tests.Cli;

public class UnitsTests
{
    [Theory]
    [InlineData(0, "0B")]
    [InlineData(999, "999B")]
    [InlineData(1000, "1kB")]
    [InlineData(1923, "1.92kB")]
    [InlineData(4446000, "4.45MB")]
    [InlineData(999999, "1e+03kB")] // as docker has it
    [InlineData(123456789, "123MB")]
    [InlineData(5e12, "5TB")]
    public void Sizes_have_three_digits(double bytes, string text) => Assert.Equal(text, Units.HumanSize(bytes, 3));

    [Theory]
    [InlineData(25276510208, "23.54GiB")]
    [InlineData(1024, "1KiB")]
    [InlineData(1536, "1.5KiB")]
    public void Memory_counts_in_powers_of_1024(double bytes, string text) => Assert.Equal(text, Units.BytesSize(bytes));

    [Theory]
    [InlineData(0.4, "Less than a second")]
    [InlineData(1.9, "1 second")]
    [InlineData(59, "59 seconds")]
    [InlineData(60, "About a minute")]
    [InlineData(119, "About a minute")]
    [InlineData(120, "2 minutes")]
    [InlineData(3599, "59 minutes")]
    [InlineData(3600, "About an hour")]
    [InlineData(5399, "About an hour")]
    [InlineData(5400, "2 hours")]
    [InlineData(47 * 3600, "47 hours")]
    [InlineData(48 * 3600, "2 days")]
    [InlineData(14 * 86400, "2 weeks")]
    [InlineData(60 * 86400, "2 months")]
    [InlineData(800 * 86400, "2 years")]
    public void Durations_are_for_people(double seconds, string text) => Assert.Equal(text, Units.HumanDuration(TimeSpan.FromSeconds(seconds)));

    [Theory]
    [InlineData("5", 5)]
    [InlineData("5b", 5)]
    [InlineData("64m", 64L << 20)]
    [InlineData("64M", 64L << 20)]
    [InlineData("1.5g", 3L << 29)]
    [InlineData("2GiB", 2L << 30)]
    [InlineData("1 kb", 1024)]
    public void Memory_is_read_with_its_unit(string text, long bytes) => Assert.Equal(bytes, Units.ParseRam(text));

    [Theory]
    [InlineData("abc", "invalid size: 'abc'")]
    [InlineData("-1", "invalid size: '-1'")]
    [InlineData("5x", "invalid suffix: 'x'")]
    [InlineData("5bb", "invalid suffix: 'bb'")]
    [InlineData("5kib2", "strconv.ParseFloat: parsing \"5kib2\": invalid syntax")]
    public void Other_sizes_are_refused_in_dockers_words(string text, string message) => Assert.Equal(message, Assert.Throws<FormatException>(() => Units.ParseRam(text)).Message);

    [Theory]
    [InlineData("0", 0)]
    [InlineData("1s", 1_000_000_000)]
    [InlineData("1m30s", 90_000_000_000)]
    [InlineData("1.5h", 5400_000_000_000)]
    [InlineData("-2ms", -2_000_000)]
    public void Durations_are_read_as_Go_reads_them(string text, long nanoseconds) => Assert.Equal(nanoseconds, GoDuration.ParseNanoseconds(text));

    [Theory]
    [InlineData("")]
    [InlineData("5")]
    [InlineData("s")]
    [InlineData("5x")]
    [InlineData("99999999999999999999h")]
    public void Other_durations_are_refused(string text) => Assert.Throws<FormatException>(() => GoDuration.ParseNanoseconds(text));

    [Fact]
    public void Neighbouring_ports_are_joined_and_moved_ones_come_last()
    {
        Assert.Equal(
            "0.0.0.0:80-81->80-81/tcp, 9000-9001/udp, 127.0.0.1:8443->443/tcp, [::]:60081->8081/tcp",
            PortsText.Of(
            [
                new() { PrivatePort = 9001, Type = "udp" }, new() { PrivatePort = 9000, Type = "udp" },
                new() { IP = "127.0.0.1", PrivatePort = 443, PublicPort = 8443, Type = "tcp" },
                new() { IP = "0.0.0.0", PrivatePort = 80, PublicPort = 80, Type = "tcp" }, new() { IP = "0.0.0.0", PrivatePort = 81, PublicPort = 81, Type = "tcp" },
                new() { IP = "::", PrivatePort = 8081, PublicPort = 60081, Type = "tcp" },
            ]));
    }

    [Theory]
    [InlineData("1136073845", "1136073845")]
    [InlineData("1136073845.5", "1136073845.5")]
    [InlineData("2006-01-02T15:04:05.123456789Z", "1136214245.123456700")]
    [InlineData("10s", "1136214235.000000000")]
    public void Since_is_a_time_or_so_long_ago(string text, string unix) => Assert.Equal(unix, Times.ToUnix(text, new FixedClock()));

    private sealed class FixedClock : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => DateTimeOffset.FromUnixTimeSeconds(1136214245);
    }
}
