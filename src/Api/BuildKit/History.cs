namespace Berth.Api.BuildKit;

// moby.buildkit.v1.Control: builds of the past.

/// <summary>Content by its digest.</summary>
public sealed record ContentDescriptor(string MediaType, string Digest, long Size) : IProtoMessage<ContentDescriptor>
{
    public IReadOnlyDictionary<string, string> Annotations { get; init; } = new Dictionary<string, string>();

    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, MediaType);
        writer.String(2, Digest);
        writer.Int64(3, Size);
        writer.Map(5, Annotations);
    }

    public static ContentDescriptor Parse(ReadOnlySpan<byte> bytes)
    {
        var (type, digest, size, annotations) = ("", "", 0L, new Dictionary<string, string>(StringComparer.Ordinal));
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: type = reader.String(); break;
                case 2: digest = reader.String(); break;
                case 3: size = reader.Int64(); break;
                case 5: reader.EntryTo(annotations); break;
                default: reader.Skip(); break;
            }
        }
        return new ContentDescriptor(type, digest, size) { Annotations = annotations };
    }
}

/// <summary>What came out of a build, and what is said of it.</summary>
public sealed record BuildResultInfo(ContentDescriptor? Result, IReadOnlyList<ContentDescriptor> Attestations) : IProtoMessage<BuildResultInfo>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.Message(1, Result);
        writer.Messages(2, Attestations);
        if (Result is null) return;
        // By the exporter's place in the list: the first.
        var entry = new ProtoWriter();
        entry.Message(2, Result);
        writer.Element(3, entry.Written);
    }

    public static BuildResultInfo Parse(ReadOnlySpan<byte> bytes)
    {
        ContentDescriptor? result = null;
        var attestations = new List<ContentDescriptor>();
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: result = reader.Message<ContentDescriptor>(); break;
                case 2: attestations.Add(reader.Message<ContentDescriptor>()); break;
                default: reader.Skip(); break;
            }
        }
        return new BuildResultInfo(result, attestations);
    }
}

/// <summary>A build, under way or over.</summary>
public sealed record BuildHistoryRecord(string Ref, DateTimeOffset CreatedAt) : IProtoMessage<BuildHistoryRecord>
{
    public string Frontend { get; init; } = "";
    public IReadOnlyDictionary<string, string> FrontendAttributes { get; init; } = new Dictionary<string, string>();
    public IReadOnlyList<TypeAndAttributes> Exporters { get; init; } = [];
    public RpcStatus? Error { get; init; }

    /// <summary>Null: it is under way.</summary>
    public DateTimeOffset? CompletedAt { get; init; }
    public ContentDescriptor? Logs { get; init; }
    public IReadOnlyDictionary<string, string> ExporterResponse { get; init; } = new Dictionary<string, string>();
    public BuildResultInfo? Result { get; init; }
    public int Generation { get; init; }
    public bool Pinned { get; init; }
    public int CachedSteps { get; init; }
    public int TotalSteps { get; init; }
    public int CompletedSteps { get; init; }

    /// <summary>A google.rpc.Status with the lines of the Dockerfile that it is about.</summary>
    public ContentDescriptor? ExternalError { get; init; }
    public int Warnings { get; init; }

    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Ref);
        writer.String(2, Frontend);
        writer.Map(3, FrontendAttributes);
        writer.Messages(4, Exporters);
        writer.Message(5, Error);
        writer.Time(6, CreatedAt);
        writer.Time(7, CompletedAt);
        writer.Message(8, Logs);
        writer.Map(9, ExporterResponse);
        writer.Message(10, Result);
        writer.Int64(12, Generation);
        writer.Bool(14, Pinned);
        writer.Int64(15, CachedSteps);
        writer.Int64(16, TotalSteps);
        writer.Int64(17, CompletedSteps);
        writer.Message(18, ExternalError);
        writer.Int64(19, Warnings);
    }

    public static BuildHistoryRecord Parse(ReadOnlySpan<byte> bytes)
    {
        var record = new BuildHistoryRecord("", default);
        var (attributes, response, exporters) = (new Dictionary<string, string>(StringComparer.Ordinal), new Dictionary<string, string>(StringComparer.Ordinal), new List<TypeAndAttributes>());
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: record = record with { Ref = reader.String() }; break;
                case 2: record = record with { Frontend = reader.String() }; break;
                case 3: reader.EntryTo(attributes); break;
                case 4: exporters.Add(reader.Message<TypeAndAttributes>()); break;
                case 5: record = record with { Error = reader.Message<RpcStatus>() }; break;
                case 6: record = record with { CreatedAt = reader.Time() }; break;
                case 7: record = record with { CompletedAt = reader.Time() }; break;
                case 8: record = record with { Logs = reader.Message<ContentDescriptor>() }; break;
                case 9: reader.EntryTo(response); break;
                case 10: record = record with { Result = reader.Message<BuildResultInfo>() }; break;
                case 12: record = record with { Generation = reader.Int32() }; break;
                case 14: record = record with { Pinned = reader.Bool() }; break;
                case 15: record = record with { CachedSteps = reader.Int32() }; break;
                case 16: record = record with { TotalSteps = reader.Int32() }; break;
                case 17: record = record with { CompletedSteps = reader.Int32() }; break;
                case 18: record = record with { ExternalError = reader.Message<ContentDescriptor>() }; break;
                case 19: record = record with { Warnings = reader.Int32() }; break;
                default: reader.Skip(); break;
            }
        }
        return record with { FrontendAttributes = attributes, ExporterResponse = response, Exporters = exporters };
    }
}

public enum BuildHistoryEventType
{
    Started,
    Complete,
    Deleted,
}

public sealed record BuildHistoryEvent(BuildHistoryEventType Type, BuildHistoryRecord Record) : IProtoMessage
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.Int64(1, (int)Type);
        writer.Message(2, Record);
    }
}

public sealed record BuildHistoryRequest : IProtoMessage<BuildHistoryRequest>
{
    public bool ActiveOnly { get; init; }
    public string Ref { get; init; } = "";

    /// <summary>What is there now, and no more.</summary>
    public bool EarlyExit { get; init; }
    public IReadOnlyList<string> Filters { get; init; } = [];
    public int Limit { get; init; }

    public void WriteTo(ProtoWriter writer)
    {
        writer.Bool(1, ActiveOnly);
        writer.String(2, Ref);
        writer.Bool(3, EarlyExit);
        foreach (var filter in Filters) writer.Element(4, filter);
        writer.Int64(5, Limit);
    }

    public static BuildHistoryRequest Parse(ReadOnlySpan<byte> bytes)
    {
        var (request, filters) = (new BuildHistoryRequest(), new List<string>());
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: request = request with { ActiveOnly = reader.Bool() }; break;
                case 2: request = request with { Ref = reader.String() }; break;
                case 3: request = request with { EarlyExit = reader.Bool() }; break;
                case 4: filters.Add(reader.String()); break;
                case 5: request = request with { Limit = reader.Int32() }; break;
                default: reader.Skip(); break;
            }
        }
        return request with { Filters = filters };
    }
}

public sealed record UpdateBuildHistoryRequest(string Ref, bool Pinned, bool Delete, bool Finalize) : IProtoMessage<UpdateBuildHistoryRequest>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Ref);
        writer.Bool(2, Pinned);
        writer.Bool(3, Delete);
        writer.Bool(4, Finalize);
    }

    public static UpdateBuildHistoryRequest Parse(ReadOnlySpan<byte> bytes)
    {
        var request = new UpdateBuildHistoryRequest("", false, false, false);
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: request = request with { Ref = reader.String() }; break;
                case 2: request = request with { Pinned = reader.Bool() }; break;
                case 3: request = request with { Delete = reader.Bool() }; break;
                case 4: request = request with { Finalize = reader.Bool() }; break;
                default: reader.Skip(); break;
            }
        }
        return request;
    }
}

/// <summary>A message that is encoded already.</summary>
public sealed record EncodedMessage(ReadOnlyMemory<byte> Bytes) : IProtoMessage
{
    public void WriteTo(ProtoWriter writer) => writer.Raw(Bytes.Span);
}
