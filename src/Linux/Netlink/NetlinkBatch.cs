using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Berth.Linux.Abi;

namespace Berth.Linux;

/// <summary>
/// Netlink requests written one after another, to be sent in one system call. The kernel carries them out in order and
/// acknowledges each; one that fails does not stop the next. Each has a description, which is what an error names.
/// Layout: netlink(7), header of 16 bytes, then a family header, then attributes aligned to 4.
/// </summary>
public sealed class NetlinkBatch
{
    private byte[] buffer = new byte[512];
    private int length;
    private int messageStart = -1;
    private readonly List<Request> requests = [];

    /// <param name="Optional">These errors are what was wanted anyway (EEXIST on create, ENODEV on delete).</param>
    /// <param name="Acknowledged">The kernel answers it; otherwise only if it is refused.</param>
    internal readonly record struct Request(string Call, string Description, Errno[] Optional, bool Acknowledged = true);

    public int Count => requests.Count;

    /// <summary>How many of them the kernel answers when all is well.</summary>
    internal int AnswersExpected { get; private set; }

    internal IReadOnlyList<Request> Requests => requests;

    internal Span<byte> Finish()
    {
        EndMessage();
        return buffer.AsSpan(0, length);
    }

    public void Clear()
    {
        length = 0;
        messageStart = -1;
        requests.Clear();
        AnswersExpected = 0;
    }

    /// <summary>Starts a request. Its sequence number is its place in the batch, from <paramref name="call"/> to the next Begin.</summary>
    internal void Begin(ushort type, ushort flags, string call, string description, params Errno[] optional)
    {
        EndMessage();
        messageStart = length;
        var header = Take(Abi.Netlink.NLMSG_HDRLEN);
        MemoryMarshal.Write(header[4..], type);
        MemoryMarshal.Write(header[6..], (ushort)(flags | Abi.Netlink.NLM_F_REQUEST | Abi.Netlink.NLM_F_ACK));
        MemoryMarshal.Write(header[8..], requests.Count);
        requests.Add(new Request(call, description, optional));
        AnswersExpected++;
    }

    /// <summary>One of the two marks around requests that the kernel shall carry out all or not at all (nfnetlink); it answers them only with an error.</summary>
    internal void BeginMark(ushort type, string call, string description)
    {
        Begin(type, 0, call, description);
        MemoryMarshal.Write(buffer.AsSpan(messageStart + 6), Abi.Netlink.NLM_F_REQUEST);
        requests[^1] = requests[^1] with { Acknowledged = false };
        AnswersExpected--;
    }

    private void EndMessage()
    {
        if (messageStart >= 0) MemoryMarshal.Write(buffer.AsSpan(messageStart), length - messageStart);
        messageStart = -1;
    }

    /// <summary>Zeroed room for <paramref name="bytes"/> bytes, rounded up to 4. Valid until the next write.</summary>
    internal Span<byte> Take(int bytes)
    {
        var aligned = (bytes + 3) & ~3;
        if (length + aligned > buffer.Length) Array.Resize(ref buffer, Math.Max(buffer.Length * 2, length + aligned));
        var span = buffer.AsSpan(length, aligned);
        span.Clear();
        length += aligned;
        return span[..bytes];
    }

    internal void Attribute(ushort type, ReadOnlySpan<byte> value)
    {
        var span = Take(4 + value.Length);
        MemoryMarshal.Write(span, (ushort)(4 + value.Length));
        MemoryMarshal.Write(span[2..], type);
        value.CopyTo(span[4..]);
    }

    internal void Attribute(ushort type, byte value) => Attribute(type, [value]);

    internal void Attribute(ushort type, int value)
    {
        Span<byte> b = stackalloc byte[4];
        MemoryMarshal.Write(b, value);
        Attribute(type, b);
    }

    internal void AttributeUInt16(ushort type, ushort value)
    {
        Span<byte> b = stackalloc byte[2];
        MemoryMarshal.Write(b, value);
        Attribute(type, b);
    }

    internal void AttributeBigEndian(ushort type, ushort value)
    {
        Span<byte> b = stackalloc byte[2];
        BinaryPrimitives.WriteUInt16BigEndian(b, value);
        Attribute(type, b);
    }

    internal void AttributeBigEndian(ushort type, uint value)
    {
        Span<byte> b = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(b, value);
        Attribute(type, b);
    }

    /// <summary>With the terminating zero that the kernel wants of names.</summary>
    internal void Attribute(ushort type, string value)
    {
        var bytes = new byte[Encoding.UTF8.GetByteCount(value) + 1];
        Encoding.UTF8.GetBytes(value, bytes);
        Attribute(type, bytes);
    }

    /// <summary>Attributes written until the dispose are inside this one.</summary>
    internal Nested Nest(ushort type)
    {
        var start = length;
        MemoryMarshal.Write(Take(4)[2..], type);
        return new Nested(this, start);
    }

    internal readonly ref struct Nested(NetlinkBatch batch, int start)
    {
        public void Dispose() => MemoryMarshal.Write(batch.buffer.AsSpan(start), (ushort)(batch.length - start));
    }
}
