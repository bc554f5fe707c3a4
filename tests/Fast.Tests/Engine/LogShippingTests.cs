using System.IO.Compression;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using Berth.Api;
using Berth.Engine;
using Berth.Testing;

namespace Berth.Fast.Tests.Engine;

/// <summary>What the remote log drivers put on the wire, seen by receivers of the test's own.</summary>
public sealed class LogDestinationTests : IDisposable
{
    private const string Id = "abcdef0123450000000000000000000000000000000000000000000000000000";
    private static readonly long Time = new DateTimeOffset(2026, 1, 2, 3, 4, 5, 678, TimeSpan.Zero).ToUnixTimeMilliseconds() * 1_000_000;

    private readonly TestDirectory _directory = new();
    private readonly List<IDisposable> _owned = [];

    public void Dispose()
    {
        foreach (var one in _owned) one.Dispose();
        _directory.Dispose();
    }

    private static ContainerRecord Record(string driver, params (string Name, string Value)[] options) => new()
    {
        Id = Id, Name = "web", Created = DateTimeOffset.UnixEpoch, Path = "sh", Args = ["-c", "true"], ImageId = "sha256:0123456789", State = RunState.Created,
        Config = new ContainerConfig { Image = "img:1", Labels = new() { ["team"] = "blue", ["x.y"] = "z" }, Env = ["LANG=C", "A=b=c"] },
        HostConfig = new HostConfig { LogConfig = new LogConfig { Type = driver, Config = options.ToDictionary(o => o.Name, o => o.Value) } },
    };

    private static LoggedLine Line(string text, bool stderr = false, LinePart? part = null) => new(Encoding.UTF8.GetBytes(text), stderr, Time, part);

    private async Task SendAsync(ContainerRecord record, params LoggedLine[] lines)
    {
        await using var destination = LogDestination.For(record, Path.Combine(_directory.Path, "journal"));
        await destination.ConnectAsync(TestContext.Current.CancellationToken);
        foreach (var line in lines) await destination.AddAsync(line, TestContext.Current.CancellationToken);
        await destination.FlushAsync(TestContext.Current.CancellationToken);
    }

    private Socket Datagrams(string? unixPath = null)
    {
        var socket = unixPath is null ? new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp) : new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        _owned.Add(socket);
        socket.Bind(unixPath is null ? new IPEndPoint(IPAddress.Loopback, 0) : new UnixDomainSocketEndPoint(unixPath));
        return socket;
    }

    private static async Task<byte[]> ReceiveAsync(Socket socket)
    {
        var buffer = new byte[70_000];
        return buffer[..await socket.ReceiveAsync(buffer.AsMemory(), TestContext.Current.CancellationToken)];
    }

    private static int Port(Socket socket) => ((IPEndPoint)socket.LocalEndPoint!).Port;

    private (TcpListener Listener, Task<byte[]> All) Stream(Func<Stream, Task<Stream>>? wrap = null)
    {
        var listener = new TcpListener(IPAddress.Loopback, 0);
        _owned.Add(listener);
        listener.Start();
        return (listener, ReadAsync());

        async Task<byte[]> ReadAsync()
        {
            using var client = await listener.AcceptTcpClientAsync(TestContext.Current.CancellationToken);
            var stream = wrap is null ? client.GetStream() : await wrap(client.GetStream());
            var all = new MemoryStream();
            await stream.CopyToAsync(all, TestContext.Current.CancellationToken);
            return all.ToArray();
        }
    }

    private static int Port(TcpListener listener) => ((IPEndPoint)listener.LocalEndpoint).Port;

    private static string Local(string format) => DateTimeOffset.UnixEpoch.AddTicks(Time / 100).ToLocalTime().ToString(format, System.Globalization.CultureInfo.InvariantCulture);

    [Theory]
    [InlineData("", "local3", "<158>{stamp} {tag}[{pid}]: hi\n")]
    [InlineData("rfc3164", "3", "<30>{stamp} {host} {tag}[{pid}]: hi\n")]
    [InlineData("rfc5424", "", "<30>1 {seconds} {host} {tag} {pid} {tag} - hi\n")]
    [InlineData("rfc5424micro", "", "<30>1 {micros} {host} {tag} {pid} {tag} - hi\n")]
    public async Task Syslog_over_udp_has_Dockers_formats(string format, string facility, string expected)
    {
        var receiver = Datagrams();
        await SendAsync(Record("syslog", ("syslog-address", $"udp://127.0.0.1:{Port(receiver)}"), ("syslog-format", format), ("syslog-facility", facility), ("tag", "{{.Name}}/{{.ID}}")), Line(""), Line("hi"));
        var zone = Local("zzz") == "+00:00" ? "Z" : Local("zzz");
        Assert.Equal(expected.Replace("{stamp}", $"{Local("MMM")} {Local("%d"),2} {Local("HH:mm:ss")}").Replace("{seconds}", Local("yyyy-MM-ddTHH:mm:ss") + zone)
            .Replace("{micros}", Local("yyyy-MM-ddTHH:mm:ss.ffffff") + zone).Replace("{host}", Environment.MachineName).Replace("{tag}", "web/abcdef012345").Replace("{pid}", $"{Environment.ProcessId}"),
            Encoding.UTF8.GetString(await ReceiveAsync(receiver)));
    }

    [Fact]
    public async Task Syslog_over_tls_frames_its_messages_and_checks_who_receives_them()
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=127.0.0.1", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        using var certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        var file = Path.Combine(_directory.Path, "ca.pem");
        File.WriteAllText(file, certificate.ExportCertificatePem());

        var (listener, all) = Stream(async stream =>
        {
            var encrypted = new SslStream(stream);
            await encrypted.AuthenticateAsServerAsync(certificate);
            return encrypted;
        });
        await SendAsync(Record("syslog", ("syslog-address", $"tcp+tls://127.0.0.1:{Port(listener)}"), ("syslog-format", "rfc5424"), ("syslog-tls-ca-cert", file)), Line("one"), Line("two", stderr: true));
        var text = Encoding.UTF8.GetString(await all);
        var first = int.Parse(text[..text.IndexOf(' ', StringComparison.Ordinal)], System.Globalization.CultureInfo.InvariantCulture);
        Assert.EndsWith("- one\n", text[..(text.IndexOf(' ', StringComparison.Ordinal) + 1 + first)]);
        Assert.Contains("<27>1 ", text[(first + 3)..]);

        var (stranger, _) = Stream(async stream =>
        {
            var encrypted = new SslStream(stream);
            await encrypted.AuthenticateAsServerAsync(certificate);
            return encrypted;
        });
        await Assert.ThrowsAsync<IOException>(() => SendAsync(Record("syslog", ("syslog-address", $"tcp+tls://127.0.0.1:{Port(stranger)}")), Line("one")));
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("zlib")]
    [InlineData("none")]
    public async Task Gelf_over_udp_comes_in_chunks_when_it_is_long(string compression)
    {
        var receiver = Datagrams();
        var text = Convert.ToBase64String(new Random(1).GetItems(Enumerable.Range(0, 256).Select(b => (byte)b).ToArray(), 6000));
        await SendAsync(Record("gelf", ("gelf-address", $"udp://127.0.0.1:{Port(receiver)}"), ("gelf-compression-type", compression), ("labels", "team"), ("env", "A")), Line(text, stderr: true));
        var message = new MemoryStream();
        byte[] chunk;
        var seen = 0;
        do
        {
            chunk = await ReceiveAsync(receiver);
            Assert.Equal([0x1e, 0x0f], chunk[..2]);
            Assert.Equal(seen++, chunk[10]);
            message.Write(chunk.AsSpan(12));
        }
        while (seen < chunk[11]);
        Assert.InRange(seen, 2, 128);
        message.Position = 0;
        using Stream plain = compression switch { "gzip" => new GZipStream(message, CompressionMode.Decompress), "zlib" => new ZLibStream(message, CompressionMode.Decompress), _ => message };
        var json = JsonDocument.Parse(plain).RootElement;
        Assert.Equal((text, 3, 1767323045.678, "blue", "b=c", "sh -c true", Id), (json.GetProperty("short_message").GetString(), json.GetProperty("level").GetInt32(),
            json.GetProperty("timestamp").GetDouble(), json.GetProperty("_team").GetString(), json.GetProperty("_A").GetString(), json.GetProperty("_command").GetString(), json.GetProperty("_container_id").GetString()));
    }

    [Fact]
    public async Task Gelf_over_tcp_ends_each_message_with_a_zero_byte()
    {
        var (listener, all) = Stream();
        await SendAsync(Record("gelf", ("gelf-address", $"tcp://127.0.0.1:{Port(listener)}")), Line("one"), Line("two"));
        Assert.Equal(["one", "two"], Encoding.UTF8.GetString(await all).Split('\0', StringSplitOptions.RemoveEmptyEntries).Select(m => JsonDocument.Parse(m).RootElement.GetProperty("short_message").GetString()));
    }

    [Fact]
    public async Task Fluentd_gets_MessagePack()
    {
        var (listener, all) = Stream();
        await SendAsync(Record("fluentd", ("fluentd-address", $"127.0.0.1:{Port(listener)}"), ("fluentd-sub-second-precision", "true"), ("tag", "t")), Line("hi", part: new LinePart("p", 2, true)));
        // [ "t", EventTime, { 8 pairs }, {} ]
        var expected = new List<byte> { 0x94, 0xa1, (byte)'t', 0xd7, 0x00, 0x69, 0x57, 0x35, 0xa5, 0x28, 0x69, 0x75, 0x80, 0x88 };
        foreach (var text in (string[])["container_id", Id, "container_name", "/web", "source", "stdout", "log", "hi", "partial_message", "true", "partial_id", "p", "partial_ordinal", "2", "partial_last", "true"])
        {
            if (text.Length < 32) expected.Add((byte)(0xa0 | text.Length));
            else expected.AddRange([0xd9, (byte)text.Length]);
            expected.AddRange(Encoding.ASCII.GetBytes(text));
        }
        expected.Add(0x80);
        Assert.Equal(Convert.ToHexString([.. expected]), Convert.ToHexString(await all));
    }

    [Fact]
    public async Task Fluentd_that_does_not_acknowledge_is_a_failure()
    {
        var listener = new TcpListener(IPAddress.Loopback, 0);
        _owned.Add(listener);
        listener.Start();
        var sending = SendAsync(Record("fluentd", ("fluentd-address", $"127.0.0.1:{Port(listener)}"), ("fluentd-request-ack", "true")), Line("hi"));
        using (var client = await listener.AcceptTcpClientAsync(TestContext.Current.CancellationToken))
        {
            await client.GetStream().ReadAtLeastAsync(new byte[100], 1, cancellationToken: TestContext.Current.CancellationToken);
        }
        await Assert.ThrowsAsync<IOException>(() => sending);
    }

    [Fact]
    public async Task The_journal_gets_fields_and_what_has_newlines_with_its_length()
    {
        var journal = Datagrams(Path.Combine(_directory.Path, "journal"));
        await SendAsync(Record("journald", ("labels", "team,x.y")), Line("one", stderr: true), Line("two\nlines"));
        var first = Encoding.UTF8.GetString(await ReceiveAsync(journal)).Split('\n');
        foreach (var field in (string[])["CONTAINER_ID=abcdef012345", "CONTAINER_NAME=web", "TEAM=blue", "X_Y=z", "PRIORITY=3", "CONTAINER_LOG_ORDINAL=1", "MESSAGE=one", "SYSLOG_TIMESTAMP=2026-01-02T03:04:05.678Z"])
            Assert.Contains(field, first);
        Assert.EndsWith("\nMESSAGE\n\t\0\0\0\0\0\0\0two\nlines\n", Encoding.UTF8.GetString(await ReceiveAsync(journal)));
    }

    [Theory]
    [InlineData("{{.Name}}/{{.ID}}", "web/abcdef012345")]
    [InlineData("{{ .ImageName }}", "img:1")]
    [InlineData("{{index .ContainerLabels \"team\"}}-{{upper .Name}}", "blue-WEB")]
    [InlineData("{{.Name | upper}} {{truncate .ID 3}}", "WEB abc")]
    [InlineData("plain", "plain")]
    public void Tags_are_filled_in(string template, string expected) => Assert.Equal(expected, LogAttributes.Tag(Record("syslog", ("tag", template)), "{{.ID}}"));

    [Theory]
    [InlineData("{{.Nope}}")]
    [InlineData("{{.ID")]
    [InlineData("{{nope .ID}}")]
    [InlineData("{{}}")]
    [InlineData("{{truncate .ID}}")]
    [InlineData("{{index .ContainerLabels}}")]
    [InlineData("{{\"}}")]
    public void A_tag_that_makes_no_sense_is_refused(string template) => Assert.Throws<FormatException>(() => LogAttributes.Tag(Record("syslog", ("tag", template)), ""));

    [Fact]
    public void Chosen_labels_and_variables_become_attributes() =>
        Assert.Equal("""{"A":"b=c","LANG":"C","team":"blue","x.y":"z"}""", LogAttributes.Json(Record("json-file", ("labels", "team,absent"), ("labels-regex", "^x"), ("env-regex", "^[A-N]+$"))));
}

/// <summary>Each line once, whatever is rotated and restarted meanwhile.</summary>
public sealed class LogCursorTests : IDisposable
{
    private readonly TestDirectory _directory = new();
    private int _written;

    private string LogPath => Path.Combine(_directory.Path, "x.log");

    public void Dispose() => _directory.Dispose();

    // Times rise with the numbers.
    private string Record(int n) => $"{{\"log\":\"{n}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.{n:000000000}Z\"}}\n";

    private void Write(int count)
    {
        for (var i = 0; i < count; i++) File.AppendAllText(LogPath, Record(++_written));
    }

    private void Rotate(bool compress = false)
    {
        foreach (var ending in (string[])["", ".gz"])
        {
            if (File.Exists(LogPath + ".1" + ending)) File.Move(LogPath + ".1" + ending, LogPath + ".2" + ending, overwrite: true);
        }
        File.Move(LogPath, LogPath + ".1");
        File.WriteAllText(LogPath, "");
        if (!compress) return;
        using (var packed = new GZipStream(File.Create(LogPath + ".1.gz"), CompressionLevel.Fastest)) packed.Write(File.ReadAllBytes(LogPath + ".1"));
        File.Delete(LogPath + ".1");
    }

    private static int[] Read(LogCursor cursor, int atMost = int.MaxValue)
    {
        var lines = new List<int>();
        do
        {
            long last = 0;
            while (lines.Count < atMost && cursor.TryRead(out var line))
            {
                Assert.True(LogLine.TryParse(line.Span, new byte[line.Length], out var text, out _, out var time, out _) && LogLine.TryTime(time, out last));
                if (last > cursor.SkipBefore) lines.Add(int.Parse(text, System.Globalization.CultureInfo.InvariantCulture));
            }
            cursor.Commit(last);
        }
        while (lines.Count < atMost && cursor.AtEndOfFile);
        return [.. lines];
    }

    [Fact]
    public void Lines_go_on_across_rotations_and_half_a_line_waits_for_its_end()
    {
        using var cursor = new LogCursor(LogPath);
        Assert.Empty(Read(cursor)); // before there is a file
        Write(2);
        Assert.Equal([1, 2], Read(cursor));
        Write(1);
        Rotate();
        Write(1);
        Rotate();
        Write(1);
        Assert.Equal([3, 4, 5], Read(cursor));
        var whole = Record(++_written);
        File.AppendAllText(LogPath, whole[..10]);
        Assert.Empty(Read(cursor));
        File.AppendAllText(LogPath, whole[10..]);
        Assert.Equal([6], Read(cursor));
    }

    [Fact]
    public void The_next_daemon_begins_where_the_last_one_came_to()
    {
        Write(4);
        using (var first = new LogCursor(LogPath)) Assert.Equal([1, 2], Read(first, atMost: 2));
        Rotate();
        Write(1);
        using (var second = new LogCursor(LogPath)) Assert.Equal([3, 4, 5], Read(second));
        using (var third = new LogCursor(LogPath)) Assert.Empty(Read(third));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_file_that_was_compressed_meanwhile_is_neither_lost_nor_sent_twice(bool restarted)
    {
        var cursor = new LogCursor(LogPath);
        Write(4);
        Assert.Equal([1, 2], Read(cursor, atMost: 2));
        Rotate(compress: true);
        Write(2);
        Rotate(compress: true);
        Write(1);
        if (restarted)
        {
            cursor.Dispose();
            cursor = new LogCursor(LogPath);
        }
        Assert.Equal([3, 4, 5, 6, 7], Read(cursor));
        Assert.False(cursor.TakeGap());
        cursor.Dispose();
    }

    [Fact]
    public void What_was_rotated_away_unread_is_a_gap_that_is_told()
    {
        using (var cursor = new LogCursor(LogPath))
        {
            Write(2);
            Assert.Equal([1], Read(cursor, atMost: 1));
        }
        for (var i = 0; i < 3; i++)
        {
            Rotate();
            Write(1);
        }
        using var next = new LogCursor(LogPath);
        Assert.Equal([3, 4, 5], Read(next));
        Assert.True(next.TakeGap());
    }

    [Fact]
    public void After_a_rewind_the_uncommitted_lines_come_again()
    {
        Write(3);
        using var cursor = new LogCursor(LogPath);
        Assert.Equal([1], Read(cursor, atMost: 1));
        Assert.True(cursor.TryRead(out _));
        cursor.Rewind();
        Assert.Equal([2, 3], Read(cursor));
    }

    [Fact]
    public void A_detached_cursor_reads_to_the_end_of_files_that_are_gone()
    {
        Write(2);
        using var cursor = new LogCursor(LogPath);
        Assert.Equal([1], Read(cursor, atMost: 1));
        Rotate();
        Write(1);
        cursor.Detach();
        foreach (var file in Directory.GetFiles(_directory.Path)) File.Delete(file);
        Assert.Equal([2, 3], Read(cursor));
        Assert.Empty(Directory.GetFiles(_directory.Path));
    }
}
