using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Berth.Testing;

/// <summary>What a name server said.</summary>
public sealed record DnsReply(int Code, bool Truncated, IReadOnlyList<string> Answers, bool HasEdns)
{
    /// <summary>"0: 192.0.2.7 192.0.2.8", sorted: code and what the answers hold.</summary>
    public override string ToString() => Answers.Count == 0 ? $"{Code}" : $"{Code}: {string.Join(' ', Answers.Order(StringComparer.Ordinal))}";
}

/// <summary>A small DNS client, written apart from the product's code so that the two can disagree.</summary>
public static class DnsProbe
{
    public const ushort A = 1, Cname = 5, Ptr = 12, Mx = 15, Txt = 16, Aaaa = 28, Any = 255;

    public static byte[] Query(string name, ushort type, ushort id = 0x1234, int? ednsBytes = null, byte ednsVersion = 0)
    {
        var message = new List<byte> { (byte)(id >> 8), (byte)id, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, (byte)(ednsBytes is null ? 0 : 1) };
        foreach (var label in name.Split('.', StringSplitOptions.RemoveEmptyEntries))
        {
            message.Add((byte)label.Length);
            message.AddRange(Encoding.Latin1.GetBytes(label));
        }
        message.AddRange([0, (byte)(type >> 8), (byte)type, 0, 1]);
        if (ednsBytes is { } size) message.AddRange([0, 0, 41, (byte)(size >> 8), (byte)size, 0, ednsVersion, 0, 0, 0, 0]);
        return [.. message];
    }

    /// <summary>An answer to a query: its header and question, the code, and these records under the question's name.</summary>
    public static byte[] Answer(ReadOnlySpan<byte> query, int code, params (ushort Type, byte[] Data)[] records)
    {
        var end = 12;
        while (query[end] != 0) end += query[end] + 1;
        var message = new List<byte>(query[..(end + 5)].ToArray());
        message[2] |= 0x80;
        message[3] = (byte)(0x80 | code);
        (message[6], message[7]) = ((byte)(records.Length >> 8), (byte)records.Length);
        (message[10], message[11]) = (0, 0);
        foreach (var (type, data) in records)
            message.AddRange([0xc0, 12, (byte)(type >> 8), (byte)type, 0, 1, 0, 0, 0, 60, (byte)(data.Length >> 8), (byte)data.Length, .. data]);
        return [.. message];
    }

    public static DnsReply Read(ReadOnlySpan<byte> message)
    {
        var questions = BinaryPrimitives.ReadUInt16BigEndian(message[4..]);
        var (answers, others) = (BinaryPrimitives.ReadUInt16BigEndian(message[6..]), BinaryPrimitives.ReadUInt16BigEndian(message[8..]) + BinaryPrimitives.ReadUInt16BigEndian(message[10..]));
        var at = 12;
        for (var i = 0; i < questions; i++)
        {
            Name(message, ref at);
            at += 4;
        }
        var texts = new List<string>();
        var (edns, code) = (false, message[3] & 15);
        for (var i = 0; i < answers + others; i++)
        {
            Name(message, ref at);
            var type = BinaryPrimitives.ReadUInt16BigEndian(message[at..]);
            var length = BinaryPrimitives.ReadUInt16BigEndian(message[(at + 8)..]);
            var data = at + 10;
            if (type == 41)
            {
                edns = true;
                code |= message[at + 4] << 4;
            }
            else if (i < answers)
            {
                texts.Add(type is A or Aaaa ? new IPAddress(message.Slice(data, length)).ToString() : type is Ptr or Cname ? Name(message, ref data) : $"type{type}");
            }
            at = at + 10 + length;
        }
        if (at != message.Length) throw new InvalidDataException($"{message.Length - at} bytes behind the last record");
        return new DnsReply(code, (message[2] & 2) != 0, texts, edns);
    }

    private static string Name(ReadOnlySpan<byte> message, ref int at)
    {
        var labels = new List<string>();
        var (position, behind) = (at, -1);
        while (message[position] != 0)
        {
            if (message[position] >= 0xc0)
            {
                if (behind < 0) behind = position + 2;
                position = BinaryPrimitives.ReadUInt16BigEndian(message[position..]) & 0x3fff;
                continue;
            }
            labels.Add(Encoding.Latin1.GetString(message.Slice(position + 1, message[position])));
            position += message[position] + 1;
        }
        at = behind < 0 ? position + 1 : behind;
        return string.Join('.', labels);
    }

    /// <summary>Asks over a connected datagram socket.</summary>
    public static async Task<DnsReply> AskAsync(Socket socket, byte[] query, CancellationToken cancellationToken)
    {
        await socket.SendAsync(query, cancellationToken);
        var buffer = new byte[65_535];
        while (true)
        {
            var got = await socket.ReceiveAsync(buffer, cancellationToken);
            if (got >= 12 && buffer[0] == query[0] && buffer[1] == query[1]) return Read(buffer.AsSpan(0, got));
        }
    }

    /// <summary>Asks over a connected stream socket; another query may follow.</summary>
    public static async Task<DnsReply> AskStreamAsync(Socket socket, byte[] query, CancellationToken cancellationToken)
    {
        using var stream = new NetworkStream(socket, ownsSocket: false);
        await stream.WriteAsync((byte[])[(byte)(query.Length >> 8), (byte)query.Length, .. query], cancellationToken);
        var length = new byte[2];
        await stream.ReadExactlyAsync(length, cancellationToken);
        var answer = new byte[BinaryPrimitives.ReadUInt16BigEndian(length)];
        await stream.ReadExactlyAsync(answer, cancellationToken);
        return Read(answer);
    }
}
