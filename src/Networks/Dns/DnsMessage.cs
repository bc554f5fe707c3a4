using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace Berth.Networks.Dns;

// The part of DNS (RFC 1035, with EDNS of RFC 6891) that a name server for containers needs: read a query, write the answer to it, and tell whether
// an answer from elsewhere belongs to a query. Everything read comes from a container or from the network and may be made to do harm: all lengths are
// checked, every loop is bounded by the message, and nothing is allocated.

/// <summary>TYPE of a question or record: those we speak of, any other number is passed on.</summary>
internal enum DnsType : ushort { A = 1, Ptr = 12, Mx = 15, Aaaa = 28, Opt = 41, Any = 255 }

internal enum DnsCode : byte { NoError = 0, FormatError = 1, ServerFailure = 2, NameError = 3, NotImplemented = 4, Refused = 5, BadVersion = 16 }

internal static class DnsLimits
{
    internal const int HeaderBytes = 12;
    /// <summary>RFC 1035 2.3.4: a name with its length bytes.</summary>
    internal const int NameBytes = 255;
    internal const int LabelBytes = 63;
    /// <summary>RFC 1035 4.2.1: a datagram for a client that says nothing else.</summary>
    internal const int PlainDatagramBytes = 512;
    /// <summary>Queries hold one name and a few options; more than this is not one.</summary>
    internal const int QueryBytes = 4096;
    internal const int MessageBytes = 65_535;
    /// <summary>Records of a query that are looked through for EDNS.</summary>
    internal const int QueryRecords = 16;
    /// <summary>Compression pointers followed for one name; each must point back, and a name has at most 127 labels.</summary>
    internal const int Pointers = 127;
}

/// <summary>A name as text: labels joined by dots, without the one at the end.</summary>
internal static class DnsName
{
    /// <summary>Reads the name at <paramref name="offset"/> and moves it behind. ASCII letters become lower case.</summary>
    /// <param name="plain">False: a label holds a dot or a byte that is no printable ASCII, so no name of ours can be meant, and the text is not to be trusted.</param>
    /// <returns>False: no name, or one that runs out of the message or in circles.</returns>
    internal static bool TryRead(ReadOnlySpan<byte> message, ref int offset, Span<char> text, out int length, out bool plain)
    {
        (length, plain) = (0, true);
        var (at, bytes, pointers, behind) = (offset, 0, 0, -1);
        while (true)
        {
            if ((uint)at >= (uint)message.Length) return false;
            var size = message[at];
            if (size == 0) break;
            if ((size & 0xc0) == 0xc0)
            {
                if (at + 1 >= message.Length || ++pointers > DnsLimits.Pointers) return false;
                var target = ((size & 0x3f) << 8) | message[at + 1];
                // A former occurrence (RFC 1035 4.1.4): forward and self references are how circles are made.
                if (target >= at || target < DnsLimits.HeaderBytes) return false;
                if (behind < 0) behind = at + 2;
                at = target;
                continue;
            }
            if (size > DnsLimits.LabelBytes || at + 1 + size > message.Length) return false;
            bytes += 1 + size;
            if (bytes + 1 > DnsLimits.NameBytes || length + size + 1 > text.Length) return false;
            if (length > 0) text[length++] = '.';
            foreach (var b in message.Slice(at + 1, size))
            {
                plain &= b is > 0x20 and < 0x7f and not (byte)'.';
                text[length++] = b is >= (byte)'A' and <= (byte)'Z' ? (char)(b | 0x20) : (char)b;
            }
            at += 1 + size;
        }
        offset = behind < 0 ? at + 1 : behind;
        return true;
    }

    /// <summary>Passes over a name without looking where pointers lead.</summary>
    internal static bool TrySkip(ReadOnlySpan<byte> message, ref int offset)
    {
        for (var at = offset; (uint)at < (uint)message.Length;)
        {
            var size = message[at];
            if (size == 0 || (size & 0xc0) == 0xc0)
            {
                offset = at + (size == 0 ? 1 : 2);
                return offset <= message.Length;
            }
            if (size > DnsLimits.LabelBytes) return false;
            at += 1 + size;
        }
        return false;
    }

    /// <summary>As labels, without compression.</summary>
    /// <returns>Bytes written, or 0: no name (an empty or overlong label, or no room).</returns>
    internal static int Write(ReadOnlySpan<char> name, Span<byte> into)
    {
        var written = 0;
        foreach (var range in name.Split('.'))
        {
            var label = name[range];
            if (label.Length is 0 or > DnsLimits.LabelBytes || written + label.Length + 2 > Math.Min(into.Length, DnsLimits.NameBytes)) return 0;
            into[written++] = (byte)label.Length;
            foreach (var c in label)
            {
                if (c > 0x7f) return 0;
                into[written++] = (byte)c;
            }
        }
        into[written++] = 0;
        return written;
    }
}

/// <summary>A query with one question, as it was sent.</summary>
internal ref struct DnsQuery
{
    internal ReadOnlySpan<byte> Message { get; private set; }
    internal readonly ushort Id => BinaryPrimitives.ReadUInt16BigEndian(Message);
    /// <summary>Where the question ends; it begins behind the header.</summary>
    internal int QuestionEnd { get; private set; }
    internal ReadOnlySpan<char> Name { get; private set; }
    /// <summary>No name of ours can be meant: see <see cref="DnsName.TryRead"/>.</summary>
    internal bool IsForeign { get; private set; }
    internal DnsType Type { get; private set; }
    internal bool IsInternet { get; private set; }
    internal bool HasEdns { get; private set; }
    internal int DatagramBytes { get; private set; }

    /// <param name="name">Room for the name's text; <see cref="Name"/> lies in it.</param>
    /// <param name="problem">NoError, or what the client is to be told.</param>
    /// <returns>False: nothing can be answered at all. True with a problem: see there.</returns>
    internal static bool TryRead(ReadOnlySpan<byte> message, Span<char> name, out DnsQuery query, out DnsCode problem)
    {
        query = new DnsQuery { Message = message, DatagramBytes = DnsLimits.PlainDatagramBytes, QuestionEnd = DnsLimits.HeaderBytes };
        problem = DnsCode.FormatError;
        // An answer is never answered, or two servers would keep each other busy.
        if (message.Length < DnsLimits.HeaderBytes || (message[2] & 0x80) != 0) return false;
        if ((message[2] & 0x78) != 0)
        {
            problem = DnsCode.NotImplemented;
            return true;
        }
        if (BinaryPrimitives.ReadUInt16BigEndian(message[4..]) != 1) return true;
        var at = DnsLimits.HeaderBytes;
        if (!DnsName.TryRead(message, ref at, name, out var length, out var plain) || at + 4 > message.Length) return true;
        query.Name = name[..length];
        query.IsForeign = !plain || length == 0;
        query.Type = (DnsType)BinaryPrimitives.ReadUInt16BigEndian(message[at..]);
        query.IsInternet = BinaryPrimitives.ReadUInt16BigEndian(message[(at + 2)..]) is 1 or 255;
        query.QuestionEnd = at + 4;

        at = query.QuestionEnd;
        var records = BinaryPrimitives.ReadUInt16BigEndian(message[6..]) + BinaryPrimitives.ReadUInt16BigEndian(message[8..]) + BinaryPrimitives.ReadUInt16BigEndian(message[10..]);
        if (records > DnsLimits.QueryRecords) return true;
        for (var i = 0; i < records; i++)
        {
            if (!DnsName.TrySkip(message, ref at) || at + 10 > message.Length) return true;
            var type = (DnsType)BinaryPrimitives.ReadUInt16BigEndian(message[at..]);
            var dataBytes = BinaryPrimitives.ReadUInt16BigEndian(message[(at + 8)..]);
            if (type == DnsType.Opt)
            {
                if (query.HasEdns) return true; // RFC 6891 6.1.1: one
                query.HasEdns = true;
                query.DatagramBytes = Math.Max(DnsLimits.PlainDatagramBytes, (int)BinaryPrimitives.ReadUInt16BigEndian(message[(at + 2)..]));
                if (message[at + 5] != 0)
                {
                    problem = DnsCode.BadVersion;
                    return true;
                }
            }
            at += 10 + dataBytes;
            if (at > message.Length) return true;
        }
        problem = DnsCode.NoError;
        return true;
    }

    /// <summary>The address that a PTR question asks for, in whole: d.c.b.a.in-addr.arpa, or 32 hex digits and ip6.arpa.</summary>
    internal readonly bool TryReverse(out IPAddress address)
    {
        address = IPAddress.None;
        const string V4 = ".in-addr.arpa", V6 = ".ip6.arpa";
        if (Name.EndsWith(V4, StringComparison.Ordinal))
        {
            Span<byte> bytes = stackalloc byte[4];
            var at = 4;
            foreach (var range in Name[..^V4.Length].Split('.'))
            {
                var part = Name[range];
                if (at == 0 || part.Length > 1 && part[0] == '0' || !byte.TryParse(part, System.Globalization.NumberStyles.None, null, out bytes[--at])) return false;
            }
            if (at != 0) return false;
            address = new IPAddress(bytes);
            return true;
        }
        if (!Name.EndsWith(V6, StringComparison.Ordinal) || Name.Length != 63 + V6.Length) return false;
        Span<byte> wide = stackalloc byte[16];
        for (var i = 0; i < 32; i++)
        {
            if (i < 31 && Name[2 * i + 1] != '.') return false;
            var digit = Name[2 * i];
            if (!char.IsAsciiHexDigit(digit)) return false;
            var value = digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
            wide[15 - i / 2] |= (byte)((i & 1) == 0 ? value : value << 4);
        }
        address = new IPAddress(wide);
        return true;
    }
}

/// <summary>Writes the answer to a query: header, its question, records, and EDNS when the query had it.</summary>
internal ref struct DnsAnswer
{
    private const int EdnsBytes = 11;
    private const ushort QuestionName = 0xc000 | DnsLimits.HeaderBytes;

    private readonly Span<byte> into;
    private readonly bool edns;
    private readonly DnsCode code;
    private int length;
    private int records;
    private bool truncated;

    /// <param name="into">As long as the answer may be.</param>
    internal DnsAnswer(in DnsQuery query, DnsCode code, Span<byte> into)
    {
        this.into = into;
        this.code = code;
        edns = query.HasEdns;
        length = query.QuestionEnd;
        query.Message[..length].CopyTo(into);
        into[2] = (byte)(0x80 | query.Message[2] & 0x79); // an answer; opcode and "recursion desired" as asked
        into[3] = (byte)(0x80 | (byte)code & 0x0f); // recursion available
        into[4..12].Clear();
        if (length > DnsLimits.HeaderBytes) into[5] = 1;
    }

    /// <summary>False: there is no room, and the answer says so.</summary>
    internal bool TryAdd(DnsType type, uint timeToLiveSeconds, scoped ReadOnlySpan<byte> data)
    {
        if (truncated || length + 12 + data.Length + (edns ? EdnsBytes : 0) > into.Length)
        {
            truncated = true;
            return false;
        }
        var record = into[length..];
        BinaryPrimitives.WriteUInt16BigEndian(record, QuestionName);
        BinaryPrimitives.WriteUInt16BigEndian(record[2..], (ushort)type);
        BinaryPrimitives.WriteUInt16BigEndian(record[4..], 1);
        BinaryPrimitives.WriteUInt32BigEndian(record[6..], timeToLiveSeconds);
        BinaryPrimitives.WriteUInt16BigEndian(record[10..], (ushort)data.Length);
        data.CopyTo(record[12..]);
        length += 12 + data.Length;
        records++;
        return true;
    }

    internal bool TryAdd(IPAddress address, uint timeToLiveSeconds)
    {
        Span<byte> bytes = stackalloc byte[16];
        address.TryWriteBytes(bytes, out var written);
        return TryAdd(address.AddressFamily == AddressFamily.InterNetwork ? DnsType.A : DnsType.Aaaa, timeToLiveSeconds, bytes[..written]);
    }

    /// <summary>The answer's length.</summary>
    internal int Finish()
    {
        if (truncated) into[2] |= 0x02;
        BinaryPrimitives.WriteUInt16BigEndian(into[6..], (ushort)records);
        if (edns && length + EdnsBytes <= into.Length)
        {
            var option = into.Slice(length, EdnsBytes);
            option.Clear();
            BinaryPrimitives.WriteUInt16BigEndian(option[1..], (ushort)DnsType.Opt);
            BinaryPrimitives.WriteUInt16BigEndian(option[3..], DnsLimits.QueryBytes); // what we take
            option[5] = (byte)((byte)code >> 4);
            into[11] = 1;
            length += EdnsBytes;
        }
        return length;
    }
}

/// <summary>Answers of other servers, which are passed on as they are.</summary>
internal static class DnsRelay
{
    /// <summary>Whether this is an answer to that question under that id. Nothing more is looked at.</summary>
    /// <param name="question">The query's bytes behind its header, up to the end of its question.</param>
    internal static bool Answers(ReadOnlySpan<byte> answer, ushort id, ReadOnlySpan<byte> question)
    {
        if (answer.Length < DnsLimits.HeaderBytes || BinaryPrimitives.ReadUInt16BigEndian(answer) != id || (answer[2] & 0x80) == 0) return false;
        var code = CodeOf(answer);
        var questions = BinaryPrimitives.ReadUInt16BigEndian(answer[4..]);
        // Refusals of servers that could not read the query come without it.
        if (questions == 0) return code is DnsCode.FormatError or DnsCode.NotImplemented or DnsCode.ServerFailure or DnsCode.Refused;
        if (questions != 1 || answer.Length < DnsLimits.HeaderBytes + question.Length) return false;
        var theirs = answer.Slice(DnsLimits.HeaderBytes, question.Length);
        // The last four bytes are type and class, which have no upper case.
        return System.Text.Ascii.EqualsIgnoreCase(theirs[..^4], question[..^4]) && theirs[^4..].SequenceEqual(question[^4..]) || theirs.SequenceEqual(question);
    }

    internal static DnsCode CodeOf(ReadOnlySpan<byte> message) => (DnsCode)(message[3] & 0x0f);
}
