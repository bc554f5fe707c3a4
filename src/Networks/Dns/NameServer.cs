using System.Net;
using System.Net.Sockets;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Berth.Networks.Dns;

/// <summary>Where a query goes that nobody here can answer.</summary>
/// <param name="FromHost">Asked from the host's namespace, where the address was configured; else from the container's.</param>
public readonly record struct UpstreamServer(IPAddress Address, bool FromHost)
{
    /// <summary>As resolv.conf's comment has it.</summary>
    public override string ToString() => FromHost ? $"host({Address})" : $"{Address}";
}

/// <summary>What a container's name service does with names that it does not know itself.</summary>
public sealed record ResolverSettings
{
    /// <summary>In the order they are asked; the first <see cref="NameServer.MaxServers"/> count.</summary>
    public IReadOnlyList<UpstreamServer> Servers { get; init; } = [];

    /// <summary>ndots was set by somebody: a name of one label is then not asked for outside, so that the client tries its search domains.</summary>
    public bool NdotsSet { get; init; }

    /// <summary>On internal networks alone: the host's servers are not asked, for the container is to reach nothing outside.</summary>
    public bool Internal { get; init; }
}

/// <summary>The two sockets of one container's name service. They are in its network namespace, and keep it alive.</summary>
public sealed record NameSockets(SafeFileHandle Udp, SafeFileHandle Tcp) : IDisposable
{
    public void Dispose()
    {
        Udp.Dispose();
        Tcp.Dispose();
    }
}

/// <summary>
/// The name service at 127.0.0.11 of every container on a network of the user's own. The sockets are opened inside the container's network namespace
/// and served here by one thread for all. Own names are answered from the <see cref="NameTable"/>; everything else goes to the servers in the
/// container's settings, byte for byte but for the id. docs/dns.md.
/// </summary>
internal sealed class NameServer(ReadinessLoop loop, NameTable names, ILogger logger) : IDisposable
{
    public static readonly IPAddress Address = new([127, 0, 0, 11]);
    public const ushort Port = 53;

    /// <summary>Where the sockets really are, so that the container may bind port 53 on all addresses itself. Above the range that ports are given from.</summary>
    internal const ushort ServedPort = 65_353;

    internal const string RewriteTable = "berth_dns";

    /// <summary>Servers outside that are asked for one query, as Docker does.</summary>
    internal const int MaxServers = 3;

    /// <summary>A name can mean another address any time; whoever caches answers shall not go on for long with what was.</summary>
    internal const uint TimeToLiveSeconds = 5;

    private const int Backlog = 16;
    /// <summary>When this process has no descriptors left.</summary>
    private static readonly TimeSpan AcceptPause = TimeSpan.FromSeconds(1);
    /// <summary>Datagrams of one container before it is the next one's turn.</summary>
    private const int DatagramsPerTurn = 64;
    internal const int MaxForwardsPerContainer = 512;
    internal const int MaxForwards = 2048;
    internal const int MaxConnectionsPerContainer = 32;
    internal const int MaxConnections = 1024;

    /// <summary>For one server outside; then the next is asked.</summary>
    internal TimeSpan ServerTimeout { get; init; } = TimeSpan.FromSeconds(4);
    internal TimeSpan IdleConnection { get; init; } = TimeSpan.FromSeconds(10);
    /// <summary>Of servers outside; for tests.</summary>
    internal ushort UpstreamPort { get; init; } = Port;

    private readonly ReadinessLoop loop = loop;
    private readonly ILogger logger = logger;

    // The loop's, all of it.
    private readonly Dictionary<string, Service> services = new(StringComparer.Ordinal);
    // Not before they are needed, and then pages only as far as messages are long.
    private byte[] received = [], written = [];
    private readonly List<IPAddress> found = [];
    private int forwards, connections;
    private bool tooManyTold;

    private enum Outcome { Nothing, Answered, Forward }

    /// <summary>The service of one container.</summary>
    private sealed class Service(NameServer owner, string containerId, NameSockets sockets, ResolverSettings settings) : IReady
    {
        internal string ContainerId => containerId;
        internal NameSockets Sockets => sockets;
        internal ResolverSettings Settings { get; set; } = settings;
        internal int UdpSlot, TcpSlot;
        /// <summary>Queries under way and open connections; null before the first.</summary>
        internal HashSet<Forward>? Forwards;
        internal HashSet<Connection>? Connections;

        public void Ready(int which, PollEvents events)
        {
            if (which == 0) owner.Receive(this);
            else owner.Accept(this);
        }
    }

    /// <summary>Opens the sockets in a container's namespace; the container need not run yet.</summary>
    /// <exception cref="LinuxException"/>
    internal NameSockets Open(SafeFileHandle networkNamespace, string containerName) => NetworkNamespace.Run(networkNamespace, () =>
    {
        try
        {
            PortRewrite.Install(RewriteTable, Address, Port, ServedPort);
            return Bind(ServedPort);
        }
        catch (LinuxException e)
        {
            logger.PortNotRewritten(containerName, e.Message);
            return Bind(Port);
        }
    });

    private static NameSockets Bind(ushort port)
    {
        var endpoint = new IPEndPoint(Address, port);
        var udp = InternetSocket.Open(AddressFamily.InterNetwork, stream: false);
        SafeFileHandle? tcp = null;
        try
        {
            InternetSocket.Bind(udp, endpoint);
            tcp = InternetSocket.Open(AddressFamily.InterNetwork, stream: true);
            InternetSocket.Bind(tcp, endpoint, reuse: true);
            InternetSocket.Listen(tcp, Backlog);
            return new NameSockets(udp, tcp);
        }
        catch
        {
            udp.Dispose();
            tcp?.Dispose();
            throw;
        }
    }

    /// <summary>Begins to answer; what was asked before waits in the sockets. They belong to this object from here on.</summary>
    internal void Serve(string containerId, NameSockets sockets, ResolverSettings settings) => loop.Post(() =>
    {
        End(containerId);
        if (received.Length == 0) (received, written) = (GC.AllocateUninitializedArray<byte>(DnsLimits.MessageBytes), GC.AllocateUninitializedArray<byte>(DnsLimits.MessageBytes));
        var service = new Service(this, containerId, sockets, settings);
        service.UdpSlot = loop.Add(sockets.Udp, PollEvents.Readable, service, 0);
        service.TcpSlot = loop.Add(sockets.Tcp, PollEvents.Readable, service, 1);
        services[containerId] = service;
    });

    internal void Configure(string containerId, ResolverSettings settings) => loop.Post(() =>
    {
        if (services.TryGetValue(containerId, out var service)) service.Settings = settings;
    });

    /// <summary>Ends the service and closes its sockets. Nothing happens when there is none.</summary>
    internal void Stop(string containerId) => loop.Post(() => End(containerId));

    private void End(string containerId)
    {
        if (!services.Remove(containerId, out var service)) return;
        loop.Remove(service.UdpSlot, service.Sockets.Udp);
        loop.Remove(service.TcpSlot, service.Sockets.Tcp);
        foreach (var forward in service.Forwards?.ToArray() ?? []) forward.Close();
        foreach (var connection in service.Connections?.ToArray() ?? []) connection.Close();
        service.Sockets.Dispose();
    }

    /// <summary>Closes everything; sockets that others keep go on collecting queries.</summary>
    public void Dispose() => loop.Post(() =>
    {
        foreach (var id in services.Keys.ToArray()) End(id);
    });

    private void Receive(Service service)
    {
        for (var i = 0; i < DatagramsPerTurn; i++)
        {
            var got = InternetSocket.TryReceiveFrom(service.Sockets.Udp, received.AsSpan(0, DnsLimits.QueryBytes), out var peer, out _);
            if (got < 0) return; // nothing left, or an error that is gone by having been told
            if (got > DnsLimits.QueryBytes) continue;
            var query = received.AsSpan(0, got);
            switch (Answer(service, query, stream: false, out var answer))
            {
                case Outcome.Answered:
                    InternetSocket.TrySendTo(service.Sockets.Udp, answer, peer);
                    break;
                case Outcome.Forward:
                    Begin(service, query, peer, null);
                    break;
            }
        }
    }

    private void Accept(Service service)
    {
        Errno errno;
        while (InternetSocket.TryAccept(service.Sockets.Tcp, out errno) is { } accepted)
        {
            if (connections >= MaxConnections || (service.Connections ??= []).Count >= MaxConnectionsPerContainer) accepted.Dispose();
            else new Connection(this, service, accepted).Open();
        }
        if (errno is not (Errno.EMFILE or Errno.ENFILE or Errno.ENOBUFS or Errno.ENOMEM)) return;
        // The client waits on, and so would be told again and again: not before there may be room.
        loop.Modify(service.TcpSlot, service.Sockets.Tcp, PollEvents.None);
        loop.After(AcceptPause, () =>
        {
            if (services.GetValueOrDefault(service.ContainerId) == service) loop.Modify(service.TcpSlot, service.Sockets.Tcp, PollEvents.Readable);
        });
    }

    /// <summary>What can be said at once. The answer lies in a buffer that the next one takes.</summary>
    private Outcome Answer(Service service, ReadOnlySpan<byte> message, bool stream, out ReadOnlySpan<byte> answer)
    {
        answer = default;
        Span<char> name = stackalloc char[DnsLimits.NameBytes];
        if (!DnsQuery.TryRead(message, name, out var query, out var problem)) return Outcome.Nothing;
        var room = written.AsSpan(0, stream ? DnsLimits.MessageBytes : query.DatagramBytes);
        if (problem != DnsCode.NoError)
        {
            answer = room[..new DnsAnswer(query, problem, room).Finish()];
            return Outcome.Answered;
        }
        if (query.IsInternet && !query.IsForeign && TryOwn(service, query, room, out var length))
        {
            answer = room[..length];
            return Outcome.Answered;
        }
        var settings = service.Settings;
        if (settings.NdotsSet && query.Type is DnsType.A or DnsType.Aaaa && !query.Name.Contains('.'))
        {
            answer = room[..new DnsAnswer(query, DnsCode.NoError, room).Finish()];
            return Outcome.Answered;
        }
        if (settings.Servers.Count == 0) problem = DnsCode.ServerFailure;
        else if (forwards >= MaxForwards || service.Forwards?.Count >= MaxForwardsPerContainer) problem = DnsCode.Refused;
        else return Outcome.Forward;
        if (problem == DnsCode.Refused && !tooManyTold)
        {
            tooManyTold = true;
            logger.TooManyForwards(forwards >= MaxForwards ? MaxForwards : MaxForwardsPerContainer);
        }
        answer = room[..new DnsAnswer(query, problem, room).Finish()];
        return Outcome.Answered;
    }

    private bool TryOwn(Service service, in DnsQuery query, Span<byte> room, out int length)
    {
        length = 0;
        if (query.Type == DnsType.Ptr)
        {
            if (!query.TryReverse(out var asked) || names.Reverse(service.ContainerId, asked) is not { } called) return false;
            Span<byte> labels = stackalloc byte[DnsLimits.NameBytes];
            var bytes = DnsName.Write(called, labels);
            if (bytes == 0) return false;
            var pointer = new DnsAnswer(query, DnsCode.NoError, room);
            pointer.TryAdd(DnsType.Ptr, TimeToLiveSeconds, labels[..bytes]);
            length = pointer.Finish();
            return true;
        }
        if (!names.Resolve(service.ContainerId, query.Name, found)) return false;
        // A name we know is ours in whole: without an address of the family asked for, or with no such record, the answer is empty and not "no such name".
        var answer = new DnsAnswer(query, DnsCode.NoError, room);
        if (found.Count > 1) Random.Shared.Shuffle(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(found));
        foreach (var address in found)
        {
            var wanted = query.Type == DnsType.Any || query.Type == (address.AddressFamily == AddressFamily.InterNetwork ? DnsType.A : DnsType.Aaaa);
            if (wanted && !answer.TryAdd(address, TimeToLiveSeconds)) break;
        }
        length = answer.Finish();
        return true;
    }

    private void Begin(Service service, ReadOnlySpan<byte> query, DatagramPeer peer, Connection? connection)
    {
        var forward = new Forward(this, service, query.ToArray(), peer, connection);
        (service.Forwards ??= []).Add(forward);
        forwards++;
        forward.Next();
    }

    /// <summary>A query on its way to servers outside, one after another, over the protocol it came by.</summary>
    private sealed class Forward(NameServer owner, Service service, byte[] query, DatagramPeer peer, Connection? connection) : IReady
    {
        private readonly NameServer owner = owner;
        private readonly ushort clientId = (ushort)((query[0] << 8) | query[1]);
        private SafeFileHandle? socket;
        private int slot, server, questionEnd;
        private ReadinessLoop.Deadline? deadline;
        // TCP: what was sent or received of what there is.
        private byte[]? buffer;
        private int done;
        private bool reading;

        private bool IsStream => connection is not null;

        internal void Next()
        {
            var servers = service.Settings.Servers;
            while (true)
            {
                Disconnect();
                if (server >= Math.Min(servers.Count, MaxServers))
                {
                    Fail();
                    return;
                }
                var target = servers[server++];
                if (target.FromHost && service.Settings.Internal) continue;
                if (!target.FromHost && target.Address.Equals(Address)) continue; // ourselves
                try
                {
                    Ask(target);
                    return;
                }
                catch (LinuxException e)
                {
                    owner.logger.UpstreamFailed(target.ToString(), e.Message); // no route to it perhaps
                }
            }
        }

        private void Ask(UpstreamServer target)
        {
            var endpoint = new IPEndPoint(target.Address, owner.UpstreamPort);
            if (target.FromHost)
            {
                socket = InternetSocket.Open(endpoint.AddressFamily, IsStream);
            }
            else
            {
                using var network = InternetSocket.NamespaceOf(service.Sockets.Udp);
                socket = owner.loop.Within(network, () => InternetSocket.Open(endpoint.AddressFamily, IsStream));
            }
            // A port of its own and a fresh id each time: who wants to answer in the server's stead must guess both.
            System.Security.Cryptography.RandomNumberGenerator.Fill(query.AsSpan(0, 2));
            if (!InternetSocket.TryConnect(socket, endpoint, out var errno) && errno != Errno.EINPROGRESS) throw new LinuxException("connect", $"{endpoint}", errno);
            if (IsStream)
            {
                buffer = new byte[query.Length + 2];
                (buffer[0], buffer[1]) = ((byte)(query.Length >> 8), (byte)query.Length);
                query.CopyTo(buffer, 2);
                (done, reading) = (0, false);
            }
            else if (Descriptor.TryWrite(socket, query, out errno) < 0)
            {
                throw new LinuxException("send", $"{endpoint}", errno);
            }
            slot = owner.loop.Add(socket, IsStream ? PollEvents.Writable : PollEvents.Readable, this);
            deadline = owner.loop.After(owner.ServerTimeout, Next);
        }

        public void Ready(int which, PollEvents events)
        {
            if (IsStream)
            {
                if (!ContinueStream()) Next();
                return;
            }
            while (true)
            {
                var got = Descriptor.TryRead(socket!, owner.received, out var errno);
                if (got < 0)
                {
                    if (errno != Errno.EAGAIN) Next(); // nobody listens there
                    return;
                }
                if (Take(owner.received.AsSpan(0, got))) return;
            }
        }

        /// <summary>False: this server is of no use.</summary>
        private bool ContinueStream()
        {
            while (true)
            {
                var count = reading
                    ? Descriptor.TryRead(socket!, buffer.AsSpan(done), out var errno)
                    : Descriptor.TryWrite(socket!, buffer.AsSpan(done), out errno);
                if (count < 0 && errno == Errno.EAGAIN) return true;
                if (count <= 0) return false;
                done += count;
                if (done < buffer!.Length) continue;
                if (!reading)
                {
                    (reading, done, buffer) = (true, 0, new byte[2]);
                    owner.loop.Modify(slot, socket!, PollEvents.Readable);
                }
                else if (buffer.Length == 2)
                {
                    (done, buffer) = (0, new byte[(buffer[0] << 8) | buffer[1]]);
                    if (buffer.Length == 0) return false;
                }
                else
                {
                    return Take(buffer);
                }
            }
        }

        /// <summary>False: no answer to this query.</summary>
        private bool Take(Span<byte> answer)
        {
            if (questionEnd == 0)
            {
                questionEnd = DnsLimits.HeaderBytes;
                if (!DnsName.TrySkip(query, ref questionEnd)) return false;
                questionEnd += 4;
            }
            var id = (ushort)((query[0] << 8) | query[1]);
            if (!DnsRelay.Answers(answer, id, query.AsSpan(DnsLimits.HeaderBytes, questionEnd - DnsLimits.HeaderBytes))) return false;
            if (DnsRelay.CodeOf(answer) is DnsCode.ServerFailure or DnsCode.Refused)
            {
                Next(); // perhaps another one can
                return true;
            }
            (answer[0], answer[1]) = ((byte)(clientId >> 8), (byte)clientId);
            Reply(answer);
            return true;
        }

        private void Fail()
        {
            (query[0], query[1]) = ((byte)(clientId >> 8), (byte)clientId);
            Span<char> name = stackalloc char[DnsLimits.NameBytes];
            DnsQuery.TryRead(query, name, out var read, out _);
            Reply(owner.written.AsSpan(0, new DnsAnswer(read, DnsCode.ServerFailure, owner.written).Finish()));
        }

        private void Reply(ReadOnlySpan<byte> answer)
        {
            Close();
            if (connection is not null) connection.Send(answer);
            else InternetSocket.TrySendTo(service.Sockets.Udp, answer, peer);
        }

        private void Disconnect()
        {
            deadline?.Cancel();
            if (socket is not null && slot != 0) owner.loop.Remove(slot, socket);
            socket?.Dispose();
            (socket, slot) = (null, 0);
        }

        internal void Close()
        {
            Disconnect();
            if (service.Forwards!.Remove(this)) owner.forwards--;
        }
    }

    /// <summary>A client over TCP: one query after another, each behind its length.</summary>
    private sealed class Connection(NameServer owner, Service service, SafeFileHandle socket) : IReady
    {
        private byte[] buffer = new byte[512];
        private int have;
        private byte[]? sending;
        private int sent;
        private int slot;
        private bool waiting, closed;
        private ReadinessLoop.Deadline? idle;

        internal void Open()
        {
            service.Connections!.Add(this);
            owner.connections++;
            slot = owner.loop.Add(socket, PollEvents.Readable, this);
            Expire();
        }

        private void Expire()
        {
            idle?.Cancel();
            idle = owner.loop.After(owner.IdleConnection, Close);
        }

        public void Ready(int which, PollEvents events)
        {
            if (sending is not null)
            {
                Continue();
                return;
            }
            var got = Descriptor.TryRead(socket, buffer.AsSpan(have), out var errno);
            if (got < 0 && errno == Errno.EAGAIN) return;
            if (got <= 0)
            {
                Close();
                return;
            }
            have += got;
            Expire();
            Process();
        }

        private void Process()
        {
            while (!closed && !waiting && sending is null && have >= 2)
            {
                var length = (buffer[0] << 8) | buffer[1];
                if (length > DnsLimits.QueryBytes)
                {
                    Close();
                    return;
                }
                if (have < 2 + length)
                {
                    if (buffer.Length < 2 + length) Array.Resize(ref buffer, 2 + length);
                    return;
                }
                var query = buffer.AsSpan(2, length).ToArray();
                have -= 2 + length;
                buffer.AsSpan(2 + length, have).CopyTo(buffer);
                switch (owner.Answer(service, query, stream: true, out var answer))
                {
                    case Outcome.Answered:
                        Send(answer);
                        break;
                    case Outcome.Forward:
                        // Nothing more is read meanwhile: one query at a time is enough for a client of a connection.
                        waiting = true;
                        owner.loop.Modify(slot, socket, PollEvents.None);
                        owner.Begin(service, query, default, this);
                        break;
                    default:
                        Close();
                        break;
                }
            }
        }

        internal void Send(ReadOnlySpan<byte> answer)
        {
            if (closed) return;
            sending = new byte[answer.Length + 2];
            (sending[0], sending[1]) = ((byte)(answer.Length >> 8), (byte)answer.Length);
            answer.CopyTo(sending.AsSpan(2));
            sent = 0;
            var resumed = waiting;
            waiting = false;
            Continue(resumed);
            if (resumed) Process();
        }

        private void Continue(bool resumed = true)
        {
            while (sending is not null && sent < sending.Length)
            {
                var count = Descriptor.TryWrite(socket, sending.AsSpan(sent), out var errno);
                if (count < 0 && errno == Errno.EAGAIN)
                {
                    owner.loop.Modify(slot, socket, PollEvents.Writable);
                    return;
                }
                if (count < 0)
                {
                    Close();
                    return;
                }
                sent += count;
            }
            sending = null;
            if (resumed) owner.loop.Modify(slot, socket, PollEvents.Readable);
        }

        internal void Close()
        {
            if (closed) return;
            closed = true;
            idle?.Cancel();
            service.Connections!.Remove(this);
            owner.connections--;
            owner.loop.Remove(slot, socket);
            socket.Dispose();
        }
    }
}
