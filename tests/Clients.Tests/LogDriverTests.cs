using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Where containers' output goes besides `docker logs`.</summary>
public sealed class LogDriverTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    /// <summary>A syslog server over tcp: text of all it got so far.</summary>
    private sealed class Receiver : IDisposable
    {
        private readonly TcpListener _listener;
        private readonly StringBuilder _text = new();

        public Receiver(int port = 0)
        {
            _listener = new TcpListener(IPAddress.Loopback, port);
            _listener.Start();
            _ = AcceptAsync();
        }

        public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

        public string[] Lines
        {
            get
            {
                lock (_text) return [.. _text.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l[(l.IndexOf("]: ", StringComparison.Ordinal) + 3)..])];
            }
        }

        private async Task AcceptAsync()
        {
            try
            {
                while (true) _ = ReadAsync(await _listener.AcceptTcpClientAsync());
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // Disposed.
            }
        }

        private async Task ReadAsync(TcpClient client)
        {
            using (client)
            {
                var buffer = new byte[64 * 1024];
                int count;
                while ((count = await client.GetStream().ReadAsync(buffer)) > 0)
                {
                    lock (_text) _text.Append(Encoding.UTF8.GetString(buffer, 0, count));
                }
            }
        }

        public void Dispose() => _listener.Dispose();
    }

    private static int UnusedPort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static string[] Syslog(int port, string name) => ["--log-driver", "syslog", "--log-opt", $"syslog-address=tcp://127.0.0.1:{port}", "--name", name];

    [Fact]
    public async Task A_destination_that_is_down_holds_up_nothing_and_gets_all_when_it_is_up()
    {
        var port = UnusedPort();
        await _daemon.Docker(["run", .. Syslog(port, "down-1"), shared.Image, "seq", "1", "50000"]); // ends as if there were no destination
        Assert.Equal(50000, (await _daemon.Docker("logs", "down-1")).Lines.Length);
        using var receiver = new Receiver(port);
        await Eventually.HoldsAsync("every line has arrived", () => receiver.Lines.Length >= 50000, TimeSpan.FromSeconds(30));
        Assert.Equal(Enumerable.Range(1, 50000).Select(n => n.ToString(CultureInfo.InvariantCulture)), receiver.Lines);
        await _daemon.Docker("rm", "down-1");
    }

    [Fact]
    public async Task The_last_words_of_a_container_that_removes_itself_arrive()
    {
        using var receiver = new Receiver();
        await _daemon.Docker(["run", "--rm", .. Syslog(receiver.Port, "last-1"), shared.Image, "sh", "-c", "seq 1 1000; echo bye"]);
        await Eventually.HoldsAsync("the last line has arrived", () => receiver.Lines is [.., "bye"]);
        Assert.Equal(1001, receiver.Lines.Length);
    }

    [Fact]
    public async Task Local_files_are_read_as_logs_and_compressed_when_rotated()
    {
        await _daemon.Docker("run", "--name", "local-1", "--log-driver", "local", "--log-opt", "max-size=100k", "--log-opt", "max-file=50", shared.Image, "seq", "1", "20000");
        Assert.Equal(Enumerable.Range(1, 20000).Select(n => n.ToString(CultureInfo.InvariantCulture)), (await _daemon.Docker("logs", "local-1")).Lines);
        Assert.Equal(["19998", "19999", "20000"], (await _daemon.Docker("logs", "--tail", "3", "local-1")).Lines);
        var id = (await _daemon.Docker("inspect", "--format", "{{.Id}}{{.LogPath}}", "local-1")).Line; // the path is not told, as under Docker
        Assert.NotEmpty(Directory.GetFiles(Path.Combine(_daemon.DataRoot, "containers", id, "local-logs"), "*.gz"));
        await _daemon.Docker("rm", "local-1");
    }

    [Fact]
    public async Task Labels_variables_and_tag_are_details_of_each_line()
    {
        await _daemon.Docker("run", "--name", "attrs-1", "--label", "team=blue", "-e", "PLACE=here there", "--log-opt", "labels=team", "--log-opt", "env=PLACE", "--log-opt", "tag={{.Name}}", shared.Image, "echo", "hi");
        Assert.Equal("PLACE=here+there,tag=attrs-1,team=blue hi\n", (await _daemon.Docker("logs", "--details", "attrs-1")).Output);
        await _daemon.Docker("rm", "attrs-1");
    }

    [Fact]
    public async Task Without_options_logs_are_rotated_and_minus_one_turns_that_off()
    {
        foreach (var (name, options, files) in ((string, string[], int)[])[("grow-1", [], 2), ("grow-2", ["--log-opt", "max-size=-1"], 1)])
        {
            await _daemon.Docker(["run", "--name", name, .. options, shared.Image, "sh", "-c", "yes " + new string('x', 999) + " | head -c 21000000"]);
            var path = (await _daemon.Docker("inspect", "--format", "{{.LogPath}}", name)).Line;
            Assert.Equal(files, Directory.GetFiles(Path.GetDirectoryName(path)!, "*-json.log*").Length);
            await _daemon.Docker("rm", name);
        }
    }

    [Theory]
    [InlineData("unknown log opt 'foo' for json-file log driver", "--log-opt", "foo=1")]
    [InlineData("unknown log opt 'foo' for log driver local", "--log-driver", "local", "--log-opt", "foo=1")]
    [InlineData("unsupported scheme: 'foo'", "--log-driver", "syslog", "--log-opt", "syslog-address=foo://x")]
    [InlineData("gelf-address is a required parameter", "--log-driver", "gelf")]
    [InlineData("unknown log opt \"foo\" for gelf log driver", "--log-driver", "gelf", "--log-opt", "gelf-address=udp://127.0.0.1:1", "--log-opt", "foo=1")]
    [InlineData("invalid fluentd-address (tcp://x:1/y): should not contain a path element", "--log-driver", "fluentd", "--log-opt", "fluentd-address=tcp://x:1/y")]
    [InlineData("error looking up logging plugin foo: plugin \"foo\" not found", "--log-driver", "foo")]
    [InlineData("logger: max-buffer-size option is only supported with 'mode=non-blocking'", "--log-opt", "max-buffer-size=1m")]
    public async Task A_bad_option_is_refused_in_Dockers_words(string message, params string[] arguments)
    {
        var result = await _daemon.Docker(["create", .. arguments, shared.Image, "true"]).MayFail();
        Assert.Equal((1, $"Error response from daemon: {message}"), (result.ExitCode, result.Error.Split('\n')[0]));
    }
}

/// <summary>No line is lost when the daemon or the monitor dies while lines are on their way.</summary>
public sealed class LogDeliveryCrashTests
{
    [Fact]
    public async Task Every_line_arrives_though_daemon_and_monitor_are_killed_meanwhile()
    {
        await using var daemon = await TestDaemon.StartAsync();
        var image = await daemon.LoadBusyboxAsync();
        using var receiver = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0)) { Client = { ReceiveBufferSize = 8 << 20 } };
        var port = ((IPEndPoint)receiver.Client.LocalEndPoint!).Port;
        var seen = new HashSet<string>();
        using var stop = new CancellationTokenSource();
        var receiving = Task.Run(async () =>
        {
            try
            {
                while (true)
                {
                    var text = Encoding.UTF8.GetString((await receiver.ReceiveAsync(stop.Token)).Buffer);
                    lock (seen) seen.Add(text[(text.IndexOf("]: ", StringComparison.Ordinal) + 3)..].TrimEnd());
                }
            }
            catch (OperationCanceledException)
            {
            }
        });
        await daemon.Docker("run", "-d", "--name", "sent", "--log-driver", "syslog", "--log-opt", $"syslog-address=udp://127.0.0.1:{port}", image,
            "sh", "-c", "for i in $(seq 1 300); do echo line $i; usleep 8000; done; echo end");
        int Count()
        {
            lock (seen) return seen.Count;
        }
        await Eventually.HoldsAsync("some lines have arrived", () => Count() > 20);
        await daemon.KillAsync();
        await daemon.RestartAsync();
        var before = Count();
        await Eventually.HoldsAsync("lines arrive again", () => Count() > before);
        Berth.Testing.Host.Kill(daemon.MonitorPid!.Value);
        await daemon.Docker("wait", "sent");
        await Eventually.HoldsAsync("the last line has arrived", () =>
        {
            lock (seen) return seen.Contains("end");
        });
        Assert.Equal(Enumerable.Range(1, 300).Select(n => $"line {n}").Append("end").Order(), seen.Order());
        await stop.CancelAsync();
        await receiving;
    }
}
