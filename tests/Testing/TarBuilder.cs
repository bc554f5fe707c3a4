using System.Globalization;
using System.Text;

namespace Berth.Testing;

/// <summary>
/// Writes tars byte by byte, so that tests can write what no honest program would. Names are Latin-1: a character is a byte.
/// </summary>
public sealed class TarBuilder
{
    private readonly MemoryStream bytes = new();

    public TarBuilder File(string name, string content = "", uint mode = 0x1A4, long uid = 0, long gid = 0, params (string Key, string Value)[] pax) =>
        File(name, Encoding.Latin1.GetBytes(content), mode, uid, gid, pax);

    public TarBuilder File(string name, byte[] content, uint mode = 0x1A4, long uid = 0, long gid = 0, params (string Key, string Value)[] pax) =>
        Entry('0', name, content: content, mode: mode, uid: uid, gid: gid, pax: pax);

    public TarBuilder Directory(string name, uint mode = 0x1ED, long uid = 0, long gid = 0, params (string Key, string Value)[] pax) =>
        Entry('5', name, mode: mode, uid: uid, gid: gid, pax: pax);

    public TarBuilder Link(string name, string target) => Entry('1', name, target);

    public TarBuilder Symlink(string name, string target) => Entry('2', name, target);

    public TarBuilder Device(char type, string name, uint major, uint minor, uint mode = 0x1B6) => Entry(type, name, mode: mode, major: major, minor: minor);

    /// <summary>Any header at all. With PAX records one extended header precedes it.</summary>
    public TarBuilder Entry(char type, string name, string link = "", byte[]? content = null, uint mode = 0x1A4, long uid = 0, long gid = 0,
        long mtime = 1_600_000_000, uint major = 0, uint minor = 0, (string Key, string Value)[]? pax = null, string prefix = "")
    {
        if (pax is { Length: > 0 })
        {
            var records = new MemoryStream();
            foreach (var (key, value) in pax) records.Write(PaxRecord(key, value));
            Header('x', "PaxHeaders/x", "", records.Length, 0x1A4, 0, 0, mtime, 0, 0, "");
            Content(records.ToArray());
        }
        Header(type, name, link, content?.Length ?? 0, mode, uid, gid, mtime, major, minor, prefix);
        if (content is not null) Content(content);
        return this;
    }

    public TarBuilder Raw(byte[] block)
    {
        bytes.Write(block);
        return this;
    }

    /// <summary>The archive with its two blocks of zeros.</summary>
    public byte[] Build()
    {
        var end = new byte[1024];
        return [.. bytes.ToArray(), .. end];
    }

    /// <summary>What was written, without an end.</summary>
    public byte[] Unfinished() => bytes.ToArray();

    private void Header(char type, string name, string link, long size, uint mode, long uid, long gid, long mtime, uint major, uint minor, string prefix)
    {
        var block = new byte[512];
        Text(name, 0, 100);
        Number(mode, 100, 8);
        Number(uid, 108, 8);
        Number(gid, 116, 8);
        Number(size, 124, 12);
        Number(mtime, 136, 12);
        block[156] = (byte)type;
        Text(link, 157, 100);
        "ustar\000"u8.CopyTo(block.AsSpan(257));
        Number(major, 329, 8);
        Number(minor, 337, 8);
        Text(prefix, 345, 155);
        Seal(block);
        bytes.Write(block);

        void Text(string text, int offset, int length) => Encoding.Latin1.GetBytes(text[..Math.Min(text.Length, length)]).CopyTo(block, offset);
        void Number(long value, int offset, int length)
        {
            var octal = Convert.ToString(value, 8);
            if (value >= 0 && octal.Length < length) Encoding.ASCII.GetBytes(octal.PadLeft(length - 1, '0')).CopyTo(block, offset);
            else
            {
                // GNU's base-256.
                for (var i = length - 1; i >= 0; i--)
                {
                    block[offset + i] = (byte)value;
                    value >>= 8;
                }
                block[offset] |= 0x80;
            }
        }
    }

    /// <summary>Writes the checksum into a header.</summary>
    public static byte[] Seal(byte[] block)
    {
        block.AsSpan(148, 8).Fill((byte)' ');
        var sum = block.Sum(b => (long)b);
        Encoding.ASCII.GetBytes(Convert.ToString(sum, 8).PadLeft(6, '0') + "\0 ").CopyTo(block, 148);
        return block;
    }

    private void Content(byte[] content)
    {
        bytes.Write(content);
        bytes.Write(new byte[-content.Length & 511]);
    }

    public static byte[] PaxRecord(string key, string value)
    {
        var body = Encoding.Latin1.GetBytes($" {key}={value}\n");
        var length = body.Length + 1;
        while (length != body.Length + length.ToString(CultureInfo.InvariantCulture).Length) length = body.Length + length.ToString(CultureInfo.InvariantCulture).Length;
        return [.. Encoding.ASCII.GetBytes(length.ToString(CultureInfo.InvariantCulture)), .. body];
    }
}
