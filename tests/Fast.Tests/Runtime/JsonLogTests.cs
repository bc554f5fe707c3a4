using System.Runtime.CompilerServices;
using System.Text;
using Berth.Runtime.Monitor;

namespace Berth.Fast.Tests.Runtime;

public sealed class JsonLogTests : IDisposable
{
    private static readonly DateTimeOffset Time = new(2026, 1, 2, 3, 4, 5, 600, TimeSpan.Zero);
    private readonly string _directory = Directory.CreateTempSubdirectory("berth-log-").FullName;
    private readonly byte[] _buffer = new byte[JsonLogFile.MinBufferBytes];

    private string LogPath => Path.Combine(_directory, "x-json.log");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    // Written by Docker Engine 28.5 for a container that printed exactly these bytes; only the times were replaced.
    public static byte[] BytesOfTheDockerGolden()
    {
        var output = new List<byte>();
        output.AddRange("plain\n\n\r\n\ttab\u0001\u001f\u007f \"q\" \\b <a>&amp;\n"u8);
        output.AddRange("\u2028 \u2029 \ufffd \u00e4\n"u8);
        output.AddRange([0xff, 0xc0, 0x80, 0xe2, 0x82, (byte)'x', 0xed, 0xa0, 0x80, 0xf0, 0x9f, 0x98, 0x80, 0xf4, 0x90, 0x80, 0x80, 0xe2, 0x82, (byte)'\n']);
        output.AddRange(Enumerable.Repeat((byte)'a', 16383));
        output.Add((byte)'\n');
        output.AddRange(Enumerable.Repeat((byte)'b', 16384));
        output.Add((byte)'\n');
        output.AddRange(Enumerable.Repeat((byte)'c', 40000));
        output.AddRange("\n\0nul\nno newline at the end"u8);
        return [.. output];
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(4096)]
    [InlineData(1 << 20)]
    public void A_log_is_byte_for_byte_what_Docker_writes_however_the_output_arrives(int readBytes)
    {
        using (var log = Open(new LogSettings(LogDriver.JsonFile, LogPath)))
        {
            var line = new LogLine(stderr: false);
            foreach (var part in BytesOfTheDockerGolden().Chunk(readBytes)) log.Append(line, part);
            log.Finish(line);
        }

        Assert.Equal(File.ReadAllText(Golden("docker-json.log")), File.ReadAllText(LogPath));
    }

    [Theory]
    [InlineData(1_234_567, "2026-01-02T03:04:05.1234567Z")]
    [InlineData(1_000_000, "2026-01-02T03:04:05.1Z")]
    [InlineData(0, "2026-01-02T03:04:05Z")]
    [InlineData(1, "2026-01-02T03:04:05.0000001Z")]
    public void Times_have_no_trailing_zeros_as_in_Go(long ticks, string expected)
    {
        Span<byte> text = stackalloc byte[64];
        var length = JsonLogEncoder.FormatTime(new DateTime(2026, 1, 2, 3, 4, 5, DateTimeKind.Utc).AddTicks(ticks), text);

        Assert.Equal(expected, Encoding.ASCII.GetString(text[..length]));
    }

    [Fact]
    public void Pieces_of_a_long_line_carry_the_time_of_the_first()
    {
        var clock = new StoppedClock(Time);
        using var log = new JsonLogFile(new LogSettings(LogDriver.JsonFile, LogPath), _buffer, clock);
        var line = new LogLine(stderr: true);
        log.Append(line, Enumerable.Repeat((byte)'x', 20000).ToArray());
        clock.Now += TimeSpan.FromHours(1);
        log.Append(line, "end\nnext\n"u8);

        var hours = File.ReadAllLines(LogPath).Select(l => l[^14..^11]).ToArray();
        Assert.Equal(["T03", "T03", "T04"], hours);
    }

    [Fact]
    public void A_full_file_is_renamed_and_the_oldest_one_dropped()
    {
        using (var log = Open(new LogSettings(LogDriver.JsonFile, LogPath, MaxSizeBytes: 180, MaxFiles: 3)))
        {
            var line = new LogLine(stderr: false);
            // Three records of 64 bytes reach 180; a file is changed for the record after that. All in one read.
            log.Append(line, Encoding.ASCII.GetBytes(string.Concat(Enumerable.Range(0, 11).Select(i => $"{i:00}\n"))));
        }

        Assert.Equal(["x-json.log", "x-json.log.1", "x-json.log.2"], Directory.GetFiles(_directory).Select(Path.GetFileName).Order());
        Assert.Equal([["09", "10"], ["06", "07", "08"], ["03", "04", "05"]], new[] { "", ".1", ".2" }.Select(n => Texts(LogPath + n)));
    }

    [Fact]
    public void Rotated_files_are_compressed_and_while_one_is_the_newest_grows_on()
    {
        var jobs = new Queue<Action>();
        using var log = new JsonLogFile(new LogSettings(LogDriver.JsonFile, LogPath, MaxSizeBytes: 10, MaxFiles: 3, Compress: true), _buffer, new StoppedClock(Time), jobs.Enqueue);
        var line = new LogLine(stderr: false);
        log.Append(line, "1\n2\n3\n"u8); // the second would go to a third file, were it not for the job
        Assert.Equal([["2", "3"], ["1"]], new[] { "", ".1" }.Select(n => Texts(LogPath + n)));
        jobs.Dequeue()();
        log.Append(line, "4\n"u8);
        jobs.Dequeue()();
        log.Append(line, "5\n"u8);
        jobs.Dequeue()();

        Assert.Equal(["x-json.log", "x-json.log.1.gz", "x-json.log.2.gz"], Directory.GetFiles(_directory).Select(Path.GetFileName).Order());
        using var unpacked = new StreamReader(new System.IO.Compression.GZipStream(File.OpenRead(LogPath + ".1.gz"), System.IO.Compression.CompressionMode.Decompress));
        Assert.Equal("{\"log\":\"4\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.6Z\"}\n", unpacked.ReadToEnd());
    }

    [Fact]
    public void Attributes_stand_before_the_time_as_in_Dockers_files()
    {
        using (var log = Open(new LogSettings(LogDriver.JsonFile, LogPath, Attributes: "{\"a\":\"b\"}"))) log.Append(new LogLine(stderr: true), "hi\n"u8);
        Assert.Equal("{\"log\":\"hi\\n\",\"stream\":\"stderr\",\"attrs\":{\"a\":\"b\"},\"time\":\"2026-01-02T03:04:05.6Z\"}\n", File.ReadAllText(LogPath));
    }

    [Fact]
    public void With_one_file_rotation_starts_it_anew_under_a_new_inode()
    {
        using var log = Open(new LogSettings(LogDriver.JsonFile, LogPath, MaxSizeBytes: 10));
        var line = new LogLine(stderr: false);
        log.Append(line, "first\n"u8);
        using var reader = File.OpenText(LogPath);
        log.Append(line, "second\n"u8);

        Assert.Contains("first", reader.ReadToEnd());
        Assert.Equal(["second"], Texts(LogPath));
    }

    [Fact]
    public void Half_a_record_left_by_a_killed_monitor_is_cut_off()
    {
        using (var log = Open(new LogSettings(LogDriver.JsonFile, LogPath))) log.Append(new LogLine(false), "whole\n"u8);
        File.AppendAllText(LogPath, "{\"log\":\"" + new string('h', 3000));

        using (var log = Open(new LogSettings(LogDriver.JsonFile, LogPath))) log.Append(new LogLine(false), "next\n"u8);

        Assert.Equal(["whole", "next"], Texts(LogPath));
    }

    [Fact]
    public void A_full_disk_loses_whole_records_and_tells_once()
    {
        using var log = Open(new LogSettings(LogDriver.JsonFile, "/dev/full"));
        var line = new LogLine(false);
        log.Append(line, "lost\n"u8);
        log.Append(line, "lost as well\n"u8);

        Assert.Contains("ENOSPC", log.TakeError());
        Assert.Null(log.TakeError());
    }

    private JsonLogFile Open(LogSettings settings) => new(settings, _buffer, new StoppedClock(Time));

    private static string[] Texts(string path) => [.. File.ReadAllLines(path).Select(l => l.Split('"')[3].Replace("\\n", ""))];

    private static string Golden(string name, [CallerFilePath] string here = "") => Path.Combine(Path.GetDirectoryName(here)!, "testdata", name);

    private sealed class StoppedClock(DateTimeOffset now) : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = now;

        public override DateTimeOffset GetUtcNow() => Now;
    }
}
