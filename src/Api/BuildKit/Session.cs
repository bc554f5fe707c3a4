namespace Berth.Api.BuildKit;

// What a client serves to the builder while its build runs: files, logins, secrets.

/// <summary>moby.filesync.v1.Auth.</summary>
public sealed record CredentialsResponse(string Username, string Secret) : IProtoMessage<CredentialsResponse>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Username);
        writer.String(2, Secret);
    }

    public static CredentialsResponse Parse(ReadOnlySpan<byte> bytes)
    {
        var (name, secret) = ("", "");
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: name = reader.String(); break;
                case 2: secret = reader.String(); break;
                default: reader.Skip(); break;
            }
        }
        return new CredentialsResponse(name, secret);
    }
}

public enum PacketType
{
    Stat,
    Request,
    Data,
    End,
    Error,
}

/// <summary>A packet of a transfer of files: the sender tells its files in order, the receiver asks for contents by their place in it.</summary>
public sealed record Packet(PacketType Type) : IProtoMessage<Packet>
{
    public FileStat? Stat { get; init; }
    public uint Id { get; init; }
    public byte[] Data { get; init; } = [];

    public void WriteTo(ProtoWriter writer)
    {
        writer.Int64(1, (int)Type);
        writer.Message(2, Stat);
        writer.Int64(3, Id);
        writer.Bytes(4, Data);
    }

    /// <summary>As it came: what a transfer shows of its size.</summary>
    public int EncodedBytes { get; init; }

    public static Packet Parse(ReadOnlySpan<byte> bytes)
    {
        var (type, id, stat, data) = (PacketType.Stat, 0u, (FileStat?)null, Array.Empty<byte>());
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: type = (PacketType)reader.Int32(); break;
                case 2: stat = reader.Message<FileStat>(); break;
                case 3: id = reader.UInt32(); break;
                case 4: data = reader.Bytes(); break;
                default: reader.Skip(); break;
            }
        }
        return new Packet(type) { Stat = stat, Id = id, Data = data, EncodedBytes = bytes.Length };
    }
}

/// <summary>A file as it is told. The mode is Go's: permissions below, the kind in high bits.</summary>
public sealed record FileStat(string Path) : IProtoMessage<FileStat>
{
    public const uint Directory = 1u << 31, SymbolicLink = 1u << 27, Device = 1u << 26, NamedPipe = 1u << 25, Socket = 1u << 24, SetUid = 1u << 23, SetGid = 1u << 22, CharacterDevice = 1u << 21, Sticky = 1u << 20, Irregular = 1u << 19;
    public const uint Kinds = Directory | SymbolicLink | Device | NamedPipe | Socket | CharacterDevice | Irregular;

    public uint Mode { get; init; }
    public uint Uid { get; init; }
    public uint Gid { get; init; }
    public long Size { get; init; }

    /// <summary>Nanoseconds since 1970.</summary>
    public long ModTime { get; init; }

    /// <summary>Of a symbolic link; of a regular file: another name of a file that was told before.</summary>
    public string LinkName { get; init; } = "";
    public long DeviceMajor { get; init; }
    public long DeviceMinor { get; init; }
    public IReadOnlyDictionary<string, byte[]> Xattrs { get; init; } = NoXattrs;

    private static readonly Dictionary<string, byte[]> NoXattrs = [];

    /// <summary>The twelve bits of the kernel.</summary>
    public uint Permissions => Mode & 0x1FF | ((Mode & SetUid) != 0 ? 0x800u : 0) | ((Mode & SetGid) != 0 ? 0x400u : 0) | ((Mode & Sticky) != 0 ? 0x200u : 0);

    public static uint ModeOf(uint permissions) =>
        permissions & 0x1FF | ((permissions & 0x800) != 0 ? SetUid : 0) | ((permissions & 0x400) != 0 ? SetGid : 0) | ((permissions & 0x200) != 0 ? Sticky : 0);

    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Path);
        writer.Int64(2, Mode);
        writer.Int64(3, Uid);
        writer.Int64(4, Gid);
        writer.Int64(5, Size);
        writer.Int64(6, ModTime);
        writer.String(7, LinkName);
        writer.Int64(8, DeviceMajor);
        writer.Int64(9, DeviceMinor);
        writer.Map(10, Xattrs);
    }

    public static FileStat Parse(ReadOnlySpan<byte> bytes)
    {
        var (path, link, mode, uid, gid, size, time, major, minor) = ("", "", 0u, 0u, 0u, 0L, 0L, 0L, 0L);
        Dictionary<string, byte[]>? xattrs = null;
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: path = reader.String(); break;
                case 2: mode = reader.UInt32(); break;
                case 3: uid = reader.UInt32(); break;
                case 4: gid = reader.UInt32(); break;
                case 5: size = reader.Int64(); break;
                case 6: time = reader.Int64(); break;
                case 7: link = reader.String(); break;
                case 8: major = reader.Int64(); break;
                case 9: minor = reader.Int64(); break;
                case 10:
                    var (key, value) = reader.Entry();
                    (xattrs ??= [])[key] = value;
                    break;
                default: reader.Skip(); break;
            }
        }
        return new FileStat(path) { Mode = mode, Uid = uid, Gid = gid, Size = size, ModTime = time, LinkName = link, DeviceMajor = major, DeviceMinor = minor, Xattrs = xattrs ?? NoXattrs };
    }
}
