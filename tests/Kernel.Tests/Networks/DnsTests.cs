using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Berth.Linux;
using Berth.Networks;
using Berth.Networks.Dns;
using Berth.Testing;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Berth.Kernel.Tests.Networks;

/// <summary>The name server in network namespaces of the test's own: "host", and a container with an address that "host" has too, so that servers can be asked from either.</summary>
public sealed class DnsTests : IAsyncLifetime
{
    private const string Container = "asker";

    private readonly Machine machine = Machine.Create();
    private readonly NameTable names = new();
    private readonly List<IDisposable> open = [];
    private readonly ReadinessLoop loop;
    private readonly NameServer server;
    private readonly SafeFileHandle container;
    private readonly CancellationTokenSource ends = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);

    public DnsTests()
    {
        loop = new ReadinessLoop(new HostNamespace(machine.Host), machine.Logger);
        server = NewServer();
        container = NetworkNamespace.Create(() =>
        {
            using var netlink = NetlinkSocket.OpenRoute();
            var batch = new NetlinkBatch();
            batch.SetLink("lo", up: true);
            netlink.Execute(batch);
        });
        names.Put(new DnsEndpoint(Container, "n1", "net", ["me", "aaaaaaaaaaaa"], [], [IPAddress.Parse("10.1.0.2")]));
        names.Put(new DnsEndpoint("other", "n1", "net", ["web", "www"], [], [IPAddress.Parse("10.1.0.3"), IPAddress.Parse("fd00::3")]));
    }

    private NameServer NewServer() => new(loop, names, machine.Logger) { ServerTimeout = TimeSpan.FromMilliseconds(300), IdleConnection = TimeSpan.FromMilliseconds(200) };

    public ValueTask InitializeAsync()
    {
        ends.CancelAfter(TimeSpan.FromSeconds(20)); // an answer that never comes fails the test
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        await ends.CancelAsync();
        foreach (var o in open) o.Dispose();
        loop.Dispose();
        container.Dispose();
        ends.Dispose();
        await machine.DisposeAsync();
        Assert.DoesNotContain(machine.Log, l => l.Contains(": bug:", StringComparison.Ordinal));
    }

    private void Start(params UpstreamServer[] servers) => Start(new ResolverSettings { Servers = servers });

    private void Start(ResolverSettings settings) => server.Serve(Container, server.Open(container, "me"), settings);

    private Socket Client(bool stream = false, IPEndPoint? to = null)
    {
        var socket = NetworkNamespace.Run(container, () => new Socket(AddressFamily.InterNetwork, stream ? SocketType.Stream : SocketType.Dgram, stream ? ProtocolType.Tcp : ProtocolType.Udp));
        open.Add(socket);
        socket.Connect(to ?? new IPEndPoint(IPAddress.Parse("127.0.0.11"), 53));
        return socket;
    }

    private async Task<string> AskAsync(string name, ushort type = DnsProbe.A) => (await DnsProbe.AskAsync(Client(), DnsProbe.Query(name, type), ends.Token)).ToString();

    /// <summary>A server outside that answers each question in its own way, over both protocols, and counts them.</summary>
    private ConcurrentQueue<string> Upstream(SafeFileHandle place, string address, Func<byte[], bool, byte[]?> answer)
    {
        var asked = new ConcurrentQueue<string>();
        var endpoint = new IPEndPoint(IPAddress.Parse(address), 53);
        var (udp, tcp) = NetworkNamespace.Run(place, () =>
        {
            var u = new Socket(endpoint.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            u.Bind(endpoint);
            var t = new Socket(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            t.Bind(endpoint);
            t.Listen();
            return (u, t);
        });
        open.Add(udp);
        open.Add(tcp);
        _ = DatagramsAsync();
        _ = StreamsAsync();
        return asked;

        async Task DatagramsAsync()
        {
            var buffer = new byte[65_535];
            try
            {
                while (true)
                {
                    var got = await udp.ReceiveFromAsync(buffer, new IPEndPoint(endpoint.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any, 0), ends.Token);
                    asked.Enqueue("udp");
                    if (answer(buffer[..got.ReceivedBytes], false) is { } reply) await udp.SendToAsync(reply, got.RemoteEndPoint, ends.Token);
                }
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
            {
            }
        }

        async Task StreamsAsync()
        {
            try
            {
                while (true)
                {
                    using var client = await tcp.AcceptAsync(ends.Token);
                    using var stream = new NetworkStream(client);
                    var length = new byte[2];
                    await stream.ReadExactlyAsync(length, ends.Token);
                    var query = new byte[(length[0] << 8) | length[1]];
                    await stream.ReadExactlyAsync(query, ends.Token);
                    asked.Enqueue("tcp");
                    if (answer(query, true) is { } reply) await stream.WriteAsync((byte[])[(byte)(reply.Length >> 8), (byte)reply.Length, .. reply], ends.Token);
                }
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or IOException or ObjectDisposedException)
            {
            }
        }
    }

    private static byte[] Is(byte[] query, string address) => DnsProbe.Answer(query, 0, (DnsProbe.A, IPAddress.Parse(address).GetAddressBytes()));

    [Theory]
    [InlineData("web", DnsProbe.A, "0: 10.1.0.3")]
    [InlineData("Web.NET", DnsProbe.A, "0: 10.1.0.3")]
    [InlineData("web", DnsProbe.Aaaa, "0: fd00::3")]
    [InlineData("me", DnsProbe.Aaaa, "0")] // known, but no IPv6
    [InlineData("web", DnsProbe.Mx, "0")]
    [InlineData("web", DnsProbe.Any, "0: 10.1.0.3 fd00::3")]
    [InlineData("3.0.1.10.in-addr.arpa", DnsProbe.Ptr, "0: web.net")]
    [InlineData("unknown", DnsProbe.A, "2")] // and nobody to ask
    public async Task Names_of_the_networks_are_answered(string name, ushort type, string expected)
    {
        Start();
        Assert.Equal(expected, await AskAsync(name, type));
        var stream = Client(stream: true);
        Assert.Equal(expected, (await DnsProbe.AskStreamAsync(stream, DnsProbe.Query(name, type), ends.Token)).ToString());
        Assert.Equal(expected, (await DnsProbe.AskStreamAsync(stream, DnsProbe.Query(name, type), ends.Token)).ToString());
    }

    [Fact]
    public async Task Who_is_gone_is_gone_at_once()
    {
        Start();
        Assert.Equal("0: 10.1.0.3", await AskAsync("web"));
        names.Remove("other", "n1");
        Assert.Equal("2", await AskAsync("web"));
    }

    [Fact]
    public async Task Several_addresses_take_turns_at_the_front()
    {
        Start();
        for (var i = 4; i < 8; i++) names.Put(new DnsEndpoint($"c{i}", "n1", "net", ["www"], [], [IPAddress.Parse($"10.1.0.{i}")]));
        var client = Client();
        var first = new HashSet<string>();
        for (var i = 0; i < 200 && first.Count < 5; i++)
        {
            var reply = await DnsProbe.AskAsync(client, DnsProbe.Query("www", DnsProbe.A), ends.Token);
            Assert.Equal(5, reply.Answers.Count);
            first.Add(reply.Answers[0]);
        }
        Assert.Equal(5, first.Count);
    }

    [Fact]
    public async Task An_answer_that_is_too_long_for_a_datagram_is_had_over_tcp()
    {
        Start();
        for (var i = 0; i < 1000; i++) names.Put(new DnsEndpoint($"m{i}", "n1", "net", ["many"], [], [new IPAddress([10, 2, (byte)(i >> 8), (byte)i])]));
        Assert.True((await DnsProbe.AskAsync(Client(), DnsProbe.Query("many", DnsProbe.A, ednsBytes: 1232), ends.Token)).Truncated);
        var whole = await DnsProbe.AskStreamAsync(Client(stream: true), DnsProbe.Query("many", DnsProbe.A), ends.Token);
        Assert.Equal((1000, false), (whole.Answers.Count, whole.Truncated));
    }

    [Fact]
    public async Task The_container_may_serve_port_53_itself()
    {
        Start();
        var own = NetworkNamespace.Run(container, () =>
        {
            var s = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            s.Bind(new IPEndPoint(IPAddress.Any, 53));
            var t = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            t.Bind(new IPEndPoint(IPAddress.Any, 53));
            t.Listen();
            open.Add(t);
            return s;
        });
        open.Add(own);
        Assert.Equal("0: 10.1.0.3", await AskAsync("web"));
        var query = DnsProbe.Query("web", DnsProbe.A);
        await Client(to: new IPEndPoint(IPAddress.Loopback, 53)).SendAsync(query, ends.Token);
        var buffer = new byte[512];
        Assert.Equal(query, buffer[..await own.ReceiveAsync(buffer, ends.Token)]);
    }

    [Fact]
    public async Task A_server_on_the_hosts_loopback_is_asked_from_the_host()
    {
        var asked = Upstream(machine.Host, "127.0.0.53", (q, _) => Is(q, "192.0.2.77"));
        Start(new UpstreamServer(IPAddress.Parse("127.0.0.53"), FromHost: true));
        Assert.Equal("0: 192.0.2.77", await AskAsync("elsewhere.example"));
        Assert.Equal("0: 192.0.2.77", (await DnsProbe.AskStreamAsync(Client(stream: true), DnsProbe.Query("elsewhere.example", DnsProbe.A), ends.Token)).ToString());
        Assert.Equal(["udp", "tcp"], asked);
        Assert.Equal("0: 10.1.0.3", await AskAsync("web"));
        Assert.Equal(2, asked.Count);
    }

    [Fact]
    public async Task A_server_given_for_the_container_is_asked_from_the_container()
    {
        Upstream(container, "127.0.0.9", (q, _) => Is(q, "192.0.2.78"));
        Upstream(machine.Host, "127.0.0.9", (q, _) => Is(q, "192.0.2.79"));
        Start(new UpstreamServer(IPAddress.Parse("127.0.0.9"), FromHost: false));
        Assert.Equal("0: 192.0.2.78", await AskAsync("elsewhere.example"));
    }

    [Fact]
    public async Task The_next_server_is_asked_when_one_refuses_fails_or_is_silent()
    {
        Upstream(machine.Host, "127.0.0.1", (q, _) => DnsProbe.Answer(q, 5));
        var silent = Upstream(machine.Host, "127.0.0.2", (_, _) => null);
        Upstream(machine.Host, "127.0.0.3", (q, _) => DnsProbe.Answer(q, 3));
        Start([.. new[] { 1, 2, 3 }.Select(i => new UpstreamServer(IPAddress.Parse($"127.0.0.{i}"), true))]);
        Assert.Equal("3", await AskAsync("nowhere.example"));
        Assert.Single(silent);
    }

    [Fact]
    public async Task Where_nobody_listens_is_passed_over_without_waiting()
    {
        Upstream(machine.Host, "127.0.0.3", (q, _) => Is(q, "192.0.2.1"));
        var slow = new NameServer(loop, names, machine.Logger) { ServerTimeout = TimeSpan.FromMinutes(10) };
        slow.Serve("slow", slow.Open(container, "me"), new ResolverSettings { Servers = [new UpstreamServer(IPAddress.Parse("127.0.0.2"), true), new UpstreamServer(IPAddress.Parse("192.0.2.200"), false), new UpstreamServer(IPAddress.Parse("127.0.0.3"), true)] });
        Assert.Equal("0: 192.0.2.1", await AskAsync("elsewhere.example"));
        slow.Stop("slow");
    }

    [Fact]
    public async Task A_server_over_IPv6_is_asked()
    {
        Upstream(machine.Host, "::1", (q, _) => Is(q, "192.0.2.6"));
        Start(new UpstreamServer(IPAddress.IPv6Loopback, FromHost: true));
        Assert.Equal("0: 192.0.2.6", await AskAsync("elsewhere.example"));
    }

    [Fact]
    public async Task Forged_answers_are_not_believed()
    {
        byte[]? asked = null;
        Upstream(machine.Host, "127.0.0.1", (q, _) =>
        {
            asked = q;
            var forged = Is(q, "6.6.6.6");
            forged[0] ^= 1;
            return forged;
        });
        Upstream(machine.Host, "127.0.0.2", (q, _) =>
        {
            Assert.NotEqual(asked![..2], q[..2]); // a fresh id for each
            return Is(DnsProbe.Query("other.example", DnsProbe.A, (ushort)((q[0] << 8) | q[1])), "6.6.6.6");
        });
        Start(new UpstreamServer(IPAddress.Parse("127.0.0.1"), true), new UpstreamServer(IPAddress.Parse("127.0.0.2"), true));
        Assert.Equal("2", await AskAsync("elsewhere.example"));
    }

    [Fact]
    public async Task A_truncated_answer_is_passed_on_and_the_whole_is_had_over_tcp()
    {
        var asked = Upstream(machine.Host, "127.0.0.1", (q, stream) =>
        {
            if (stream) return DnsProbe.Answer(q, 0, [.. Enumerable.Range(0, 4000).Select(i => (DnsProbe.A, new byte[] { 10, 9, (byte)(i >> 8), (byte)i }))]);
            var cut = DnsProbe.Answer(q, 0);
            cut[2] |= 2;
            return cut;
        });
        Start(new UpstreamServer(IPAddress.Loopback, true));
        Assert.True((await DnsProbe.AskAsync(Client(), DnsProbe.Query("big.example", DnsProbe.A), ends.Token)).Truncated);
        Assert.Equal(4000, (await DnsProbe.AskStreamAsync(Client(stream: true), DnsProbe.Query("big.example", DnsProbe.A), ends.Token)).Answers.Count);
        Assert.Equal(["udp", "tcp"], asked);
    }

    [Fact]
    public async Task On_internal_networks_the_hosts_servers_are_not_asked()
    {
        var asked = Upstream(machine.Host, "127.0.0.1", (q, _) => Is(q, "192.0.2.1"));
        Start(new ResolverSettings { Servers = [new UpstreamServer(IPAddress.Loopback, true)], Internal = true });
        Assert.Equal("2", await AskAsync("elsewhere.example"));
        Assert.Equal("0: 10.1.0.3", await AskAsync("web"));
        Assert.Empty(asked);
        server.Configure(Container, new ResolverSettings { Servers = [new UpstreamServer(IPAddress.Loopback, true)] });
        Assert.Equal("0: 192.0.2.1", await AskAsync("elsewhere.example"));
    }

    [Fact]
    public async Task With_ndots_set_single_labels_stay_inside()
    {
        var asked = Upstream(machine.Host, "127.0.0.1", (q, _) => Is(q, "192.0.2.1"));
        Start(new ResolverSettings { Servers = [new UpstreamServer(IPAddress.Loopback, true)], NdotsSet = true });
        Assert.Equal("0", await AskAsync("single"));
        Assert.Equal("0: 192.0.2.1", await AskAsync("two.labels"));
        Assert.Single(asked);
    }

    [Fact]
    public async Task Queries_wait_while_nobody_serves_and_are_answered_by_the_next_server()
    {
        var sockets = server.Open(container, "me");
        // What the daemon's successor is handed.
        var kept = new NameSockets(Descriptor.Duplicate(sockets.Udp), Descriptor.Duplicate(sockets.Tcp));
        server.Serve(Container, sockets, new ResolverSettings());
        Assert.Equal("0: 10.1.0.3", await AskAsync("web"));
        server.Stop(Container);
        await SettledAsync();

        var waiting = DnsProbe.AskAsync(Client(), DnsProbe.Query("web", DnsProbe.A), ends.Token);
        var stream = DnsProbe.AskStreamAsync(Client(stream: true), DnsProbe.Query("web", DnsProbe.A), ends.Token);
        Assert.False(waiting.IsCompleted || stream.IsCompleted);
        NewServer().Serve(Container, kept, new ResolverSettings());
        Assert.Equal("0: 10.1.0.3", (await waiting).ToString());
        Assert.Equal("0: 10.1.0.3", (await stream).ToString());
    }

    private Task SettledAsync()
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        loop.Post(done.SetResult);
        return done.Task;
    }

    [Fact]
    public async Task A_server_that_is_stopped_holds_nothing()
    {
        Upstream(machine.Host, "127.0.0.1", (_, _) => null);
        Start(new UpstreamServer(IPAddress.Loopback, true));
        var client = Client();
        await client.SendAsync(DnsProbe.Query("never.example", DnsProbe.A), ends.Token);
        Assert.Equal("0: 10.1.0.3", (await DnsProbe.AskStreamAsync(Client(stream: true), DnsProbe.Query("web", DnsProbe.A), ends.Token)).ToString());
        server.Stop(Container);
        await SettledAsync();
        foreach (var o in open) o.Dispose();
        Assert.Equal("", Sockets(container) + Sockets(machine.Host));

        // Of a namespace, but for TCP connections that are over: proc_net_tcp.txt has the states.
        static string Sockets(SafeFileHandle place) => NetworkNamespace.Run(place, () => string.Join('\n', new[] { "udp", "tcp" }
            .SelectMany(p => File.ReadLines("/proc/thread-self/net/" + p).Skip(1)).Where(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries)[3] is "01" or "07" or "0A")));
    }

    [Fact]
    public async Task Connections_that_say_nothing_are_closed()
    {
        Start();
        var idle = Client(stream: true);
        Assert.Equal(0, await idle.ReceiveAsync(new byte[1], ends.Token));
    }

    [Fact]
    public async Task More_connections_than_a_container_may_have_are_closed()
    {
        var patient = new NameServer(loop, names, machine.Logger) { IdleConnection = TimeSpan.FromMinutes(10) };
        patient.Serve(Container, patient.Open(container, "me"), new ResolverSettings());
        var held = Enumerable.Range(0, NameServer.MaxConnectionsPerContainer).Select(_ => Client(stream: true)).ToList();
        foreach (var h in held) Assert.Equal("0: 10.1.0.3", (await DnsProbe.AskStreamAsync(h, DnsProbe.Query("web", DnsProbe.A), ends.Token)).ToString());
        Assert.Equal(0, await Client(stream: true).ReceiveAsync(new byte[1], ends.Token));
        Assert.Equal("0: 10.1.0.3", (await DnsProbe.AskStreamAsync(held[0], DnsProbe.Query("web", DnsProbe.A), ends.Token)).ToString());
        patient.Stop(Container);
    }

    [Fact]
    public async Task Rubbish_is_answered_with_an_error_or_not_at_all()
    {
        Start();
        var client = Client();
        await client.SendAsync(new byte[] { 1, 2, 3 }, ends.Token);
        await client.SendAsync(new byte[60_000], ends.Token);
        Assert.Equal("1", (await DnsProbe.AskAsync(client, [0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0x0c, 0, 1, 0, 1], ends.Token)).ToString());
        Assert.Equal("4", (await DnsProbe.AskAsync(client, [0, 9, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0], ends.Token)).ToString());
        Assert.Equal("0: 10.1.0.3", await AskAsync("web"));
    }
}
