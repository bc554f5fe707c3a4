namespace Berth.Api.BuildKit;

// containerd.services.content.v1.Content (api/services/content/v1/content.proto): a store of blobs that a client offers over its session.

/// <summary>A blob, or a piece of it; a length of 0 is all that is left.</summary>
public sealed record ReadContentRequest(string Digest) : IProtoMessage<ReadContentRequest>
{
    public long Offset { get; init; }
    public long Length { get; init; }

    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Digest);
        writer.Int64(2, Offset);
        writer.Int64(3, Length);
    }

    public static ReadContentRequest Parse(ReadOnlySpan<byte> bytes)
    {
        var request = new ReadContentRequest("");
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: request = request with { Digest = reader.String() }; break;
                case 2: request = request with { Offset = reader.Int64() }; break;
                case 3: request = request with { Length = reader.Int64() }; break;
                default: reader.Skip(); break;
            }
        }
        return request;
    }
}

public sealed record ReadContentResponse(long Offset, byte[] Data) : IProtoMessage<ReadContentResponse>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.Int64(1, Offset);
        writer.Bytes(2, Data);
    }

    public static ReadContentResponse Parse(ReadOnlySpan<byte> bytes)
    {
        var (offset, data) = (0L, Array.Empty<byte>());
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: offset = reader.Int64(); break;
                case 2: data = reader.Bytes(); break;
                default: reader.Skip(); break;
            }
        }
        return new ReadContentResponse(offset, data);
    }
}

/// <summary>A blob there is: its digest and size.</summary>
public sealed record ContentInfo(string Digest, long Size) : IProtoMessage<ContentInfo>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Digest);
        writer.Int64(2, Size);
    }

    public static ContentInfo Parse(ReadOnlySpan<byte> bytes)
    {
        var (digest, size) = ("", 0L);
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: digest = reader.String(); break;
                case 2: size = reader.Int64(); break;
                default: reader.Skip(); break;
            }
        }
        return new ContentInfo(digest, size);
    }
}

public sealed record ContentInfoResponse(ContentInfo Info) : IProtoMessage
{
    public void WriteTo(ProtoWriter writer) => writer.Message(1, Info);
}

public enum ContentAction
{
    Stat,
    Write,
    Commit,
}

/// <summary>One thing done to a blob that is being written.</summary>
public sealed record WriteContentRequest(ContentAction Action, string Ref, long Total, string Expected, long Offset, ReadOnlyMemory<byte> Data) : IProtoMessage<WriteContentRequest>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.Int64(1, (int)Action);
        writer.String(2, Ref);
        writer.Int64(3, Total);
        writer.String(4, Expected);
        writer.Int64(5, Offset);
        writer.Bytes(6, Data.Span);
    }

    public static WriteContentRequest Parse(ReadOnlySpan<byte> bytes)
    {
        var request = new WriteContentRequest(ContentAction.Stat, "", 0, "", 0, default);
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: request = request with { Action = (ContentAction)reader.Int32() }; break;
                case 2: request = request with { Ref = reader.String() }; break;
                case 3: request = request with { Total = reader.Int64() }; break;
                case 4: request = request with { Expected = reader.String() }; break;
                case 5: request = request with { Offset = reader.Int64() }; break;
                case 6: request = request with { Data = reader.Bytes() }; break;
                default: reader.Skip(); break;
            }
        }
        return request;
    }
}

public sealed record WriteContentResponse(ContentAction Action) : IProtoMessage<WriteContentResponse>
{
    public long Offset { get; init; }
    public long Total { get; init; }
    public string Digest { get; init; } = "";

    public void WriteTo(ProtoWriter writer)
    {
        writer.Int64(1, (int)Action);
        writer.Int64(4, Offset);
        writer.Int64(5, Total);
        writer.String(6, Digest);
    }

    public static WriteContentResponse Parse(ReadOnlySpan<byte> bytes)
    {
        var response = new WriteContentResponse(ContentAction.Stat);
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: response = response with { Action = (ContentAction)reader.Int32() }; break;
                case 4: response = response with { Offset = reader.Int64() }; break;
                case 5: response = response with { Total = reader.Int64() }; break;
                case 6: response = response with { Digest = reader.String() }; break;
                default: reader.Skip(); break;
            }
        }
        return response;
    }
}
