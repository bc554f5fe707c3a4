using System.Text;
using Berth.Api.Json;
using Berth.Engine;
using Berth.Testing;

namespace Berth.Fast.Tests.Engine;

public class LogReaderTests
{
    private static string Line(string text, string stream = "stdout", string time = "2026-01-02T03:04:05.123456789Z") =>
        $"{{\"log\":{System.Text.Json.JsonSerializer.Serialize(text)},\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n";

    private static async Task<string> Read(string path, LogQuery query, Task? ended = null)
    {
        using var watch = new LogWatch();
        using var reader = new LogReader(path, query, watch);
        using var output = new MemoryStream();
        await reader.CopyToAsync(output, ended ?? Task.CompletedTask, TestContext.Current.CancellationToken);
        return Encoding.UTF8.GetString(output.ToArray());
    }

    private static readonly LogQuery All = new() { Stdout = true, Stderr = true };

    [Theory]
    [InlineData("plain\n")]
    [InlineData("tab\t quote\" back\\ slash/ ünïcödé 漢字 😀\n")]
    [InlineData("control \u0001 \u001b[31m red\r\n")]
    [InlineData("")]
    public void A_line_is_read_back_as_it_was_written(string text)
    {
        foreach (var line in (string[])[Line(text), Line(text).Replace("{\"log\"", "{ \"log\"")])
        {
            var bytes = Encoding.UTF8.GetBytes(line.TrimEnd('\n'));
            Assert.True(LogLine.TryParse(bytes, new byte[bytes.Length], out var found, out var stderr, out var time, out _));
            Assert.Equal((text, false, "2026-01-02T03:04:05.123456789Z"), (Encoding.UTF8.GetString(found), stderr, Encoding.UTF8.GetString(time)));
        }
    }

    [Theory]
    [InlineData("{\"log\":\"abc")]
    [InlineData("{\"log\":\"abc\\u00")]
    [InlineData("not json")]
    [InlineData("")]
    [InlineData("{\"stream\":\"stdout\"}")]
    public void A_torn_line_is_no_line(string line)
    {
        var bytes = Encoding.UTF8.GetBytes(line);
        Assert.False(LogLine.TryParse(bytes, new byte[64], out _, out _, out _, out _));
    }

    [Fact]
    public async Task Attributes_come_before_the_line_when_details_are_asked_for_sorted_and_escaped()
    {
        using var directory = new TestDirectory();
        var path = Path.Combine(directory.Path, "x-json.log");
        var line = Line("hi\n").Replace(",\"time\"", ",\"attrs\":{\"z\":\"a b\",\"A&\":\"1\\\",\\\"time\\\":\\\"x\"},\"time\"", StringComparison.Ordinal);
        File.WriteAllText(path, line + line.Replace("{\"log\"", "{ \"log\"", StringComparison.Ordinal));
        Assert.Equal("A%26=1%22%2C%22time%22%3A%22x,z=a+b hi\nA%26=1%22%2C%22time%22%3A%22x,z=a+b hi\n", await Read(path, All with { Details = true }));
        Assert.Equal("2026-01-02T03:04:05.123456789Z hi\n2026-01-02T03:04:05.123456789Z hi\n", await Read(path, All with { Timestamps = true }));
    }

    [Fact]
    public async Task Compressed_files_are_read_as_the_others_and_leave_nothing_behind()
    {
        using var directory = new TestDirectory();
        var path = Path.Combine(directory.Path, "x-json.log");
        using (var packed = new System.IO.Compression.GZipStream(File.Create(path + ".2.gz"), System.IO.Compression.CompressionLevel.Fastest)) packed.Write(Encoding.UTF8.GetBytes(Line("1\n") + Line("2\n")));
        File.WriteAllText(path + ".1", Line("3\n"));
        File.WriteAllText(path + ".1.gz", "not yet whole"); // beside its source, which counts
        File.WriteAllText(path, Line("4\n"));
        Assert.Equal("1\n2\n3\n4\n", await Read(path, All));
        Assert.Equal("2\n3\n4\n", await Read(path, All with { Tail = 3 }));
        Assert.Equal(4, Directory.GetFiles(directory.Path, "*", new EnumerationOptions { AttributesToSkip = 0 }).Length);
    }

    [Fact]
    public async Task Rotated_files_are_read_oldest_first_and_the_tail_counts_over_all_of_them()
    {
        using var directory = new TestDirectory();
        var path = Path.Combine(directory.Path, "x-json.log");
        File.WriteAllText(path + ".2", Line("1\n") + Line("2\n"));
        File.WriteAllText(path + ".1", Line("3\n") + Line("4\n"));
        File.WriteAllText(path, Line("5\n") + Line("6\n"));
        Assert.Equal("1\n2\n3\n4\n5\n6\n", await Read(path, All));
        for (var tail = 0; tail <= 7; tail++)
            Assert.Equal(string.Concat(Enumerable.Range(1, 6).Skip(Math.Max(0, 6 - tail)).Select(n => $"{n}\n")), await Read(path, All with { Tail = tail }));
    }

    [Fact]
    public async Task Streams_times_and_frames_are_chosen()
    {
        using var directory = new TestDirectory();
        var path = Path.Combine(directory.Path, "x-json.log");
        File.WriteAllText(path, Line("out\n") + Line("err\n", "stderr", "2026-01-02T03:04:06.5Z"));
        Assert.Equal("err\n", await Read(path, All with { Stdout = false }));
        Assert.Equal("2026-01-02T03:04:05.123456789Z out\n2026-01-02T03:04:06.500000000Z err\n", await Read(path, All with { Timestamps = true }));
        Assert.Equal("\u0001\0\0\0\0\0\0\u0004out\n\u0002\0\0\0\0\0\0\u0004err\n", await Read(path, All with { Multiplexed = true }));
        Assert.True(GoTime.TryParse("2026-01-02T03:04:06Z", out var six));
        var nanoseconds = Timestamps.UnixNanoseconds(six);
        Assert.Equal("err\n", await Read(path, All with { Since = nanoseconds }));
        Assert.Equal("out\n", await Read(path, All with { Until = nanoseconds }));
    }

    [Fact]
    public async Task Following_sees_what_is_written_and_rotated_until_the_end()
    {
        using var directory = new TestDirectory();
        var path = Path.Combine(directory.Path, "x-json.log");
        File.WriteAllText(path, Line("1\n"));
        var ended = new TaskCompletionSource();
        var reading = Read(path, All with { Follow = true }, ended.Task);
        File.AppendAllText(path, Line("2\n"));
        File.Move(path, path + ".1");
        File.WriteAllText(path, Line("3\n"));
        var half = Line("4\n");
        File.AppendAllText(path, half[..10]);
        File.AppendAllText(path, half[10..]);
        ended.SetResult();
        Assert.Equal("1\n2\n3\n4\n", await reading.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_log_that_does_not_exist_yet_can_be_followed()
    {
        using var directory = new TestDirectory();
        var path = Path.Combine(directory.Path, "x-json.log");
        var ended = new TaskCompletionSource();
        var reading = Read(path, All with { Follow = true }, ended.Task);
        File.WriteAllText(path, Line("1\n"));
        ended.SetResult();
        Assert.Equal("1\n", await reading.WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_line_longer_than_the_buffer_is_read_whole()
    {
        using var directory = new TestDirectory();
        var path = Path.Combine(directory.Path, "x-json.log");
        var text = new string('x', 600_000) + "\n";
        File.WriteAllText(path, Line("a\n") + Line(text) + Line("b\n"));
        Assert.Equal("a\n" + text + "b\n", await Read(path, All));
    }
}
