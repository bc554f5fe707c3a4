using System.Net;
using Berth.Networks.Dns;
using Berth.Testing;

namespace Berth.Fast.Tests.Networks;

public sealed class DnsMessageTests
{
    private static (string? Name, DnsType Type, DnsCode Problem, int Room) Read(byte[] message)
    {
        Span<char> name = stackalloc char[DnsLimits.NameBytes];
        return DnsQuery.TryRead(message, name, out var query, out var problem) ? (query.Name.ToString(), query.Type, problem, query.DatagramBytes) : (null, 0, problem, 0);
    }

    private static byte[] Bytes(string hex) => Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal));

    // Sent by dig 9.18 and by busybox nslookup.
    [Theory]
    [InlineData("7e22 0120 0001 0000 0000 0001 04646e7341 00 0001 0001 0000291000000000000000", "dnsa", "A", 4096)]
    [InlineData("0002 0100 0001 0000 0000 0000 03576562 076261636b456e64 00 001c 0001", "web.backend", "Aaaa", 512)]
    public void Queries_of_real_clients_are_read(string hex, string name, string type, int room) =>
        Assert.Equal((name, Enum.Parse<DnsType>(type), DnsCode.NoError, room), Read(Bytes(hex)));

    [Theory]
    [InlineData("0001 0100 0000 0000 0000 0000", "FormatError")] // no question
    [InlineData("0001 0100 0002 0000 0000 0000 01610000010001 01620000010001", "FormatError")] // two
    [InlineData("0001 0100 0001 0000 0000 0000 0161", "FormatError")] // cut off in the name
    [InlineData("0001 0100 0001 0000 0000 0000 016100 0001", "FormatError")] // cut off behind it
    [InlineData("0001 0100 0001 0000 0000 0000 c00c 0001 0001", "FormatError")] // a pointer to itself
    [InlineData("0001 0100 0001 0000 0000 0000 c000 0001 0001", "FormatError")] // a pointer into the header
    [InlineData("0001 0100 0001 0000 0000 0000 4161 00 0001 0001", "FormatError")] // label type 01
    [InlineData("0001 0100 0001 0000 0000 ffff 016100 0001 0001", "FormatError")] // records that are not there
    [InlineData("0001 0100 0001 0000 0000 0001 016100 0001 0001 0000290200000000000004", "FormatError")] // an option longer than the message
    [InlineData("0001 0100 0001 0000 0000 0002 016100 0001 0001 0000290200000000000000 0000290200000000000000", "FormatError")] // EDNS twice
    [InlineData("0001 0100 0001 0000 0000 0001 016100 0001 0001 0000290200000100000000", "BadVersion")]
    [InlineData("0001 1000 0001 0000 0000 0000 016100 0001 0001", "NotImplemented")] // opcode STATUS
    public void What_is_wrong_with_a_query_is_told(string hex, string problem) => Assert.Equal(Enum.Parse<DnsCode>(problem), Read(Bytes(hex)).Problem);

    [Theory]
    [InlineData("0001 0100 0001")] // no header
    [InlineData("0001 8100 0001 0000 0000 0000 016100 0001 0001")] // an answer
    public void Some_messages_are_not_answered_at_all(string hex) => Assert.Null(Read(Bytes(hex)).Name);

    [Fact]
    public void A_name_longer_than_names_are_is_refused()
    {
        var label = new string('a', 63);
        Assert.Equal(DnsCode.NoError, Read(DnsProbe.Query($"{label}.{label}.{label}.{label[..61]}", DnsProbe.A)).Problem);
        Assert.Equal(DnsCode.FormatError, Read(DnsProbe.Query($"{label}.{label}.{label}.{label[..62]}", DnsProbe.A)).Problem);
    }

    [Fact]
    public void A_compressed_name_is_read_where_its_pointers_lead()
    {
        // 12: "a.b"; 17: "c" → 14; 21: → 17
        var message = Bytes("000000000000000000000000 01610162 00 0163c00e c011");
        Span<char> text = stackalloc char[DnsLimits.NameBytes];
        var offset = 21;
        Assert.True(DnsName.TryRead(message, ref offset, text, out var length, out var plain));
        Assert.Equal("c.b", text[..length].ToString());
        Assert.Equal((23, true), (offset, plain));
    }

    [Fact]
    public void A_label_with_a_dot_in_it_is_no_name_of_ours()
    {
        Span<char> name = stackalloc char[DnsLimits.NameBytes];
        Assert.True(DnsQuery.TryRead(Bytes("0001 0100 0001 0000 0000 0000 03612e62 00 0001 0001"), name, out var query, out _));
        Assert.True(query.IsForeign);
    }

    [Theory]
    [InlineData("2.0.18.172.in-addr.arpa", "172.18.0.2")]
    [InlineData("b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa", "4321:0:1:2:3:4:567:89ab")]
    [InlineData("0.18.172.in-addr.arpa", null)]
    [InlineData("2.0.18.172.9.in-addr.arpa", null)]
    [InlineData("02.0.18.172.in-addr.arpa", null)]
    [InlineData("256.0.18.172.in-addr.arpa", null)]
    [InlineData("x.in-addr.arpa", null)]
    [InlineData("a.9.ip6.arpa", null)]
    public void The_address_of_a_reverse_query_is_read(string name, string? address)
    {
        Span<char> room = stackalloc char[DnsLimits.NameBytes];
        Assert.True(DnsQuery.TryRead(DnsProbe.Query(name, DnsProbe.Ptr), room, out var query, out _));
        Assert.Equal(address, query.TryReverse(out var found) ? found.ToString() : null);
    }

    private static byte[] Write(byte[] message, int room, DnsCode code = DnsCode.NoError, int addresses = 0)
    {
        Span<char> name = stackalloc char[DnsLimits.NameBytes];
        DnsQuery.TryRead(message, name, out var query, out _);
        Span<byte> into = new byte[room];
        var answer = new DnsAnswer(query, code, into);
        for (var i = 0; i < addresses; i++) answer.TryAdd(new IPAddress([10, 0, (byte)(i >> 8), (byte)i]), 5);
        return into[..answer.Finish()].ToArray();
    }

    [Fact]
    public void An_answer_repeats_the_question_as_it_was_written() => Assert.Equal(
        "7E228180000100010000000104446E53410000010001C00C00010001000000050004" + "0A000000" + "0000291000000000000000",
        Convert.ToHexString(Write(Bytes("7e22 0120 0001 0000 0000 0001 04446e5341 00 0001 0001 0000291000000000000000"), 512, addresses: 1)));

    [Fact]
    public void What_does_not_fit_is_left_out_and_said()
    {
        var reply = DnsProbe.Read(Write(DnsProbe.Query("many", DnsProbe.A, ednsBytes: 512), 512, addresses: 100));
        Assert.True(reply is { Truncated: true, HasEdns: true });
        Assert.InRange(reply.Answers.Count, 25, 31);
        Assert.False(DnsProbe.Read(Write(DnsProbe.Query("many", DnsProbe.A), 65_535, addresses: 1000)).Truncated);
    }

    [Fact]
    public void A_version_of_EDNS_that_does_not_exist_is_refused_in_EDNS() =>
        Assert.Equal((16, true), (DnsProbe.Read(Write(DnsProbe.Query("a", DnsProbe.A, ednsBytes: 512, ednsVersion: 1), 512, DnsCode.BadVersion)) is var r ? r.Code : 0, r.HasEdns));

    [Theory]
    [InlineData("web", 7, true)]
    [InlineData("WEB", 7, true)] // servers may change the case
    [InlineData("web", 8, false)]
    [InlineData("wep", 7, false)]
    public void An_answer_belongs_to_its_query(string name, ushort id, bool belongs)
    {
        var query = DnsProbe.Query("web", DnsProbe.A, id: 7);
        var answer = DnsProbe.Answer(DnsProbe.Query(name, DnsProbe.A, id), 0);
        Assert.Equal(belongs, DnsRelay.Answers(answer, 7, query.AsSpan(12)));
        Assert.False(DnsRelay.Answers(query, 7, query.AsSpan(12)));
    }

    [Fact]
    public void Whatever_arrives_is_read_or_refused()
    {
        var seed = Environment.TickCount;
        var random = new Random(seed);
        byte[][] seeds = [DnsProbe.Query("web.backend", DnsProbe.A, ednsBytes: 1232), DnsProbe.Query("2.0.18.172.in-addr.arpa", DnsProbe.Ptr), Bytes("0001 0100 0001 0000 0000 0001 0161c00c 0001 0001 c00c00290200000000000000")];
        Span<char> name = stackalloc char[DnsLimits.NameBytes];
        Span<byte> into = new byte[DnsLimits.MessageBytes];
        for (var i = 0; i < 200_000; i++)
        {
            var message = seeds[random.Next(seeds.Length)].ToArray();
            for (var changes = random.Next(6); changes >= 0; changes--) message[random.Next(message.Length)] = (byte)random.Next(256);
            var cut = message.AsSpan(0, random.Next(4) == 0 ? random.Next(message.Length + 1) : message.Length);
            try
            {
                if (!DnsQuery.TryRead(cut, name, out var query, out var problem)) continue;
                query.TryReverse(out _);
                var answer = new DnsAnswer(query, problem, into[..query.DatagramBytes]);
                answer.TryAdd(IPAddress.Loopback, 1);
                Assert.InRange(answer.Finish(), 12, query.DatagramBytes);
                if (query.QuestionEnd > 12) DnsRelay.Answers(cut, query.Id, cut[12..query.QuestionEnd]);
            }
            catch (Exception e) when (e is not Xunit.Sdk.XunitException)
            {
                Assert.Fail($"seed {seed}, message {Convert.ToHexString(cut)}: {e}");
            }
        }
    }
}
