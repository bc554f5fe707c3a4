namespace Berth.Api.BuildKit;

// moby.buildkit.v1.Control: what a build is asked for, and what is told of it while it runs. Members are named and numbered as the protocol has them; what nobody here
// needs is left out and skipped.

/// <summary>A message without content.</summary>
public sealed record Empty : IProtoMessage<Empty>
{
    public static readonly Empty Instance = new();

    public void WriteTo(ProtoWriter writer) { }

    public static Empty Parse(ReadOnlySpan<byte> bytes) => Instance;
}

/// <summary>A piece of a stream.</summary>
public sealed record BytesMessage(byte[] Data) : IProtoMessage<BytesMessage>
{
    public void WriteTo(ProtoWriter writer) => writer.Bytes(1, Data);

    public static BytesMessage Parse(ReadOnlySpan<byte> bytes)
    {
        byte[] data = [];
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            if (field == 1) data = reader.Bytes();
            else reader.Skip();
        }
        return new BytesMessage(data);
    }
}

/// <summary>An exporter, or a cache to import or export.</summary>
public sealed record TypeAndAttributes(string Type, IReadOnlyDictionary<string, string> Attributes) : IProtoMessage<TypeAndAttributes>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Type);
        writer.Map(2, Attributes);
    }

    public static TypeAndAttributes Parse(ReadOnlySpan<byte> bytes)
    {
        var (type, attributes) = ("", new Dictionary<string, string>(StringComparer.Ordinal));
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: type = reader.String(); break;
                case 2: reader.EntryTo(attributes); break;
                default: reader.Skip(); break;
            }
        }
        return new TypeAndAttributes(type, attributes);
    }
}

public sealed record SolveRequest : IProtoMessage<SolveRequest>
{
    public string Ref { get; init; } = "";
    public bool HasDefinition { get; init; }

    /// <summary>It is nobody's build: no history is kept of it.</summary>
    public bool Internal { get; init; }

    /// <summary>Definitions, encoded.</summary>
    public IReadOnlyDictionary<string, byte[]> Inputs { get; init; } = new Dictionary<string, byte[]>();
    public string Session { get; init; } = "";
    public string Frontend { get; init; } = "";
    public IReadOnlyDictionary<string, string> FrontendAttributes { get; init; } = new Dictionary<string, string>();
    public IReadOnlyList<TypeAndAttributes> CacheExports { get; init; } = [];
    public IReadOnlyList<TypeAndAttributes> CacheImports { get; init; } = [];
    public IReadOnlyList<string> Entitlements { get; init; } = [];
    public IReadOnlyList<TypeAndAttributes> Exporters { get; init; } = [];

    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Ref);
        if (Exporters.Count > 0)
        {
            writer.String(3, Exporters[0].Type);
            writer.Map(4, Exporters[0].Attributes);
        }
        writer.String(5, Session);
        writer.String(6, Frontend);
        writer.Map(7, FrontendAttributes);
        var cache = new ProtoWriter();
        cache.Messages(4, CacheExports);
        cache.Messages(5, CacheImports);
        writer.Bytes(8, cache.Written);
        foreach (var entitlement in Entitlements) writer.Element(9, entitlement);
        writer.Map(10, Inputs);
        writer.Bool(11, Internal);
        writer.Messages(13, Exporters);
    }

    public static SolveRequest Parse(ReadOnlySpan<byte> bytes)
    {
        var request = new SolveRequest();
        var attributes = new Dictionary<string, string>(StringComparer.Ordinal);
        var (oldExporter, oldAttributes) = ("", new Dictionary<string, string>(StringComparer.Ordinal));
        List<TypeAndAttributes> exporters = [], exports = [], imports = [];
        var entitlements = new List<string>();
        var inputs = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: request = request with { Ref = reader.String() }; break;
                case 2: request = request with { HasDefinition = reader.Span().Length > 0 }; break;
                case 3: oldExporter = reader.String(); break;
                case 4: reader.EntryTo(oldAttributes); break;
                case 5: request = request with { Session = reader.String() }; break;
                case 6: request = request with { Frontend = reader.String() }; break;
                case 7: reader.EntryTo(attributes); break;
                case 8: ReadCaches(reader.Span(), exports, imports); break;
                case 9: entitlements.Add(reader.String()); break;
                case 10:
                    var (key, value) = reader.Entry();
                    inputs[key] = value;
                    break;
                case 11: request = request with { Internal = reader.Bool() }; break;
                case 13: exporters.Add(reader.Message<TypeAndAttributes>()); break;
                default: reader.Skip(); break;
            }
        }
        // Clients say the first exporter twice, for servers that know only one.
        if (exporters.Count == 0 && oldExporter.Length > 0) exporters.Add(new TypeAndAttributes(oldExporter, oldAttributes));
        return request with { FrontendAttributes = attributes, Exporters = exporters, Inputs = inputs, CacheExports = exports, CacheImports = imports, Entitlements = entitlements };
    }

    private static void ReadCaches(ReadOnlySpan<byte> bytes, List<TypeAndAttributes> exports, List<TypeAndAttributes> imports)
    {
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            if (field == 4) exports.Add(reader.Message<TypeAndAttributes>());
            else if (field == 5) imports.Add(reader.Message<TypeAndAttributes>());
            else reader.Skip();
        }
    }
}

public sealed record SolveResponse(IReadOnlyDictionary<string, string> ExporterResponse) : IProtoMessage<SolveResponse>
{
    public void WriteTo(ProtoWriter writer) => writer.Map(1, ExporterResponse);

    public static SolveResponse Parse(ReadOnlySpan<byte> bytes)
    {
        var response = new Dictionary<string, string>(StringComparer.Ordinal);
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            if (field == 1) reader.EntryTo(response);
            else reader.Skip();
        }
        return new SolveResponse(response);
    }
}

/// <summary>A message that is one text and nothing else, the first field: what StatusRequest and the like are.</summary>
public sealed record TextMessage(string Text) : IProtoMessage<TextMessage>
{
    public void WriteTo(ProtoWriter writer) => writer.String(1, Text);

    public static TextMessage Parse(ReadOnlySpan<byte> bytes)
    {
        var text = "";
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            if (field == 1) text = reader.String();
            else reader.Skip();
        }
        return new TextMessage(text);
    }
}

public sealed record StatusResponse : IProtoMessage<StatusResponse>
{
    public IReadOnlyList<Vertex> Vertexes { get; init; } = [];
    public IReadOnlyList<VertexStatus> Statuses { get; init; } = [];
    public IReadOnlyList<VertexLog> Logs { get; init; } = [];
    public IReadOnlyList<VertexWarning> Warnings { get; init; } = [];

    public void WriteTo(ProtoWriter writer)
    {
        writer.Messages(1, Vertexes);
        writer.Messages(2, Statuses);
        writer.Messages(3, Logs);
        writer.Messages(4, Warnings);
    }

    public static StatusResponse Parse(ReadOnlySpan<byte> bytes)
    {
        List<Vertex> vertexes = [];
        List<VertexStatus> statuses = [];
        List<VertexLog> logs = [];
        List<VertexWarning> warnings = [];
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: vertexes.Add(reader.Message<Vertex>()); break;
                case 2: statuses.Add(reader.Message<VertexStatus>()); break;
                case 3: logs.Add(reader.Message<VertexLog>()); break;
                case 4: warnings.Add(reader.Message<VertexWarning>()); break;
                default: reader.Skip(); break;
            }
        }
        return new StatusResponse { Vertexes = vertexes, Statuses = statuses, Logs = logs, Warnings = warnings };
    }
}

/// <summary>A step, as far as it is. Said again whenever it changes.</summary>
public sealed record Vertex(string Digest, string Name) : IProtoMessage<Vertex>
{
    public IReadOnlyList<string> Inputs { get; init; } = [];
    public bool Cached { get; init; }
    public DateTimeOffset? Started { get; init; }
    public DateTimeOffset? Completed { get; init; }
    public string Error { get; init; } = "";

    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Digest);
        foreach (var input in Inputs) writer.Element(2, input);
        writer.String(3, Name);
        writer.Bool(4, Cached);
        writer.Time(5, Started);
        writer.Time(6, Completed);
        writer.String(7, Error);
    }

    public static Vertex Parse(ReadOnlySpan<byte> bytes)
    {
        var vertex = new Vertex("", "");
        var inputs = new List<string>();
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: vertex = vertex with { Digest = reader.String() }; break;
                case 2: inputs.Add(reader.String()); break;
                case 3: vertex = vertex with { Name = reader.String() }; break;
                case 4: vertex = vertex with { Cached = reader.Bool() }; break;
                case 5: vertex = vertex with { Started = reader.Time() }; break;
                case 6: vertex = vertex with { Completed = reader.Time() }; break;
                case 7: vertex = vertex with { Error = reader.String() }; break;
                default: reader.Skip(); break;
            }
        }
        return vertex with { Inputs = inputs };
    }
}

/// <summary>Something within a step that has a size or a beginning and an end.</summary>
public sealed record VertexStatus(string Id, string Vertex) : IProtoMessage<VertexStatus>
{
    public string Name { get; init; } = "";
    public long Current { get; init; }
    public long Total { get; init; }
    public DateTimeOffset Timestamp { get; init; }
    public DateTimeOffset? Started { get; init; }
    public DateTimeOffset? Completed { get; init; }

    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Id);
        writer.String(2, Vertex);
        writer.String(3, Name);
        writer.Int64(4, Current);
        writer.Int64(5, Total);
        writer.Time(6, Timestamp);
        writer.Time(7, Started);
        writer.Time(8, Completed);
    }

    public static VertexStatus Parse(ReadOnlySpan<byte> bytes)
    {
        var status = new VertexStatus("", "");
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: status = status with { Id = reader.String() }; break;
                case 2: status = status with { Vertex = reader.String() }; break;
                case 3: status = status with { Name = reader.String() }; break;
                case 4: status = status with { Current = reader.Int64() }; break;
                case 5: status = status with { Total = reader.Int64() }; break;
                case 6: status = status with { Timestamp = reader.Time() }; break;
                case 7: status = status with { Started = reader.Time() }; break;
                case 8: status = status with { Completed = reader.Time() }; break;
                default: reader.Skip(); break;
            }
        }
        return status;
    }
}

/// <param name="Stream">1 or 2.</param>
public sealed record VertexLog(string Vertex, DateTimeOffset Timestamp, int Stream, byte[] Message) : IProtoMessage<VertexLog>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Vertex);
        writer.Time(2, Timestamp);
        writer.Int64(3, Stream);
        writer.Bytes(4, Message);
    }

    public static VertexLog Parse(ReadOnlySpan<byte> bytes)
    {
        var log = new VertexLog("", default, 1, []);
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: log = log with { Vertex = reader.String() }; break;
                case 2: log = log with { Timestamp = reader.Time() }; break;
                case 3: log = log with { Stream = reader.Int32() }; break;
                case 4: log = log with { Message = reader.Bytes() }; break;
                default: reader.Skip(); break;
            }
        }
        return log;
    }
}

public sealed record VertexWarning(string Vertex) : IProtoMessage<VertexWarning>
{
    public int Level { get; init; }
    public string Short { get; init; } = "";
    public IReadOnlyList<string> Detail { get; init; } = [];
    public string Url { get; init; } = "";
    public SourceInfo? Info { get; init; }
    public SourceRange? Range { get; init; }

    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Vertex);
        writer.Int64(2, Level);
        writer.String(3, Short);
        foreach (var line in Detail) writer.Element(4, line);
        writer.String(5, Url);
        writer.Message(6, Info);
        writer.Message(7, Range);
    }

    public static VertexWarning Parse(ReadOnlySpan<byte> bytes)
    {
        var warning = new VertexWarning("");
        var detail = new List<string>();
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: warning = warning with { Vertex = reader.String() }; break;
                case 2: warning = warning with { Level = reader.Int32() }; break;
                case 3: warning = warning with { Short = reader.String() }; break;
                case 4: detail.Add(reader.String()); break;
                case 5: warning = warning with { Url = reader.String() }; break;
                case 6: warning = warning with { Info = reader.Message<SourceInfo>() }; break;
                case 7 when warning.Range is null: warning = warning with { Range = reader.Message<SourceRange>() }; break;
                default: reader.Skip(); break;
            }
        }
        return warning with { Detail = detail };
    }
}

/// <summary>A file that steps and warnings come from.</summary>
public sealed record SourceInfo(string Filename, byte[] Data, string Language) : IProtoMessage<SourceInfo>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Filename);
        writer.Bytes(2, Data);
        writer.String(4, Language);
    }

    public static SourceInfo Parse(ReadOnlySpan<byte> bytes)
    {
        var info = new SourceInfo("", [], "");
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: info = info with { Filename = reader.String() }; break;
                case 2: info = info with { Data = reader.Bytes() }; break;
                case 4: info = info with { Language = reader.String() }; break;
                default: reader.Skip(); break;
            }
        }
        return info;
    }
}

/// <summary>Lines, from 1 on, both included.</summary>
public sealed record SourceRange(int First, int Last) : IProtoMessage<SourceRange>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.Message(1, new Position(First));
        writer.Message(2, new Position(Last));
    }

    public static SourceRange Parse(ReadOnlySpan<byte> bytes)
    {
        var (first, last) = (0, 0);
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            if (field == 1) first = reader.Message<Position>().Line;
            else if (field == 2) last = reader.Message<Position>().Line;
            else reader.Skip();
        }
        return new SourceRange(first, last);
    }

    private sealed record Position(int Line) : IProtoMessage<Position>
    {
        public void WriteTo(ProtoWriter writer) => writer.Int64(1, Line);

        public static Position Parse(ReadOnlySpan<byte> bytes)
        {
            var line = 0;
            var reader = new ProtoReader(bytes);
            while (reader.TryNext(out var field))
            {
                if (field == 1) line = reader.Int32();
                else reader.Skip();
            }
            return new Position(line);
        }
    }
}

public sealed record WirePlatform(string Os, string Architecture, string Variant = "", string OsVersion = "") : IProtoMessage<WirePlatform>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Architecture);
        writer.String(2, Os);
        writer.String(3, Variant);
        writer.String(4, OsVersion);
    }

    public static WirePlatform Parse(ReadOnlySpan<byte> bytes)
    {
        var platform = new WirePlatform("", "");
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: platform = platform with { Architecture = reader.String() }; break;
                case 2: platform = platform with { Os = reader.String() }; break;
                case 3: platform = platform with { Variant = reader.String() }; break;
                case 4: platform = platform with { OsVersion = reader.String() }; break;
                default: reader.Skip(); break;
            }
        }
        return platform;
    }
}

public sealed record BuildKitVersion(string Package, string Version, string Revision) : IProtoMessage
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Package);
        writer.String(2, Version);
        writer.String(3, Revision);
    }
}

public sealed record InfoResponse(BuildKitVersion Version) : IProtoMessage
{
    public void WriteTo(ProtoWriter writer) => writer.Message(1, Version);
}

public sealed record GcPolicy : IProtoMessage
{
    public bool All { get; init; }

    /// <summary>Nanoseconds.</summary>
    public long KeepDuration { get; init; }
    public IReadOnlyList<string> Filters { get; init; } = [];
    public long ReservedSpace { get; init; }
    public long MaxUsedSpace { get; init; }
    public long MinFreeSpace { get; init; }

    public void WriteTo(ProtoWriter writer)
    {
        writer.Bool(1, All);
        writer.Int64(2, KeepDuration);
        writer.Int64(3, ReservedSpace);
        foreach (var filter in Filters) writer.Element(4, filter);
        writer.Int64(5, MaxUsedSpace);
        writer.Int64(6, MinFreeSpace);
    }
}

public sealed record WorkerRecord(string Id) : IProtoMessage
{
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();
    public IReadOnlyList<WirePlatform> Platforms { get; init; } = [];
    public IReadOnlyList<GcPolicy> GcPolicies { get; init; } = [];
    public BuildKitVersion? Version { get; init; }

    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Id);
        writer.Map(2, Labels);
        writer.Messages(3, Platforms);
        writer.Messages(4, GcPolicies);
        writer.Message(5, Version);
    }
}

public sealed record ListWorkersResponse(IReadOnlyList<WorkerRecord> Records) : IProtoMessage
{
    public void WriteTo(ProtoWriter writer) => writer.Messages(1, Records);
}

public sealed record DiskUsageRequest(IReadOnlyList<string> Filters) : IProtoMessage<DiskUsageRequest>
{
    public void WriteTo(ProtoWriter writer)
    {
        foreach (var filter in Filters) writer.Element(1, filter);
    }

    public static DiskUsageRequest Parse(ReadOnlySpan<byte> bytes)
    {
        var filters = new List<string>();
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            if (field == 1) filters.Add(reader.String());
            else reader.Skip();
        }
        return new DiskUsageRequest(filters);
    }
}

public sealed record UsageRecord(string Id) : IProtoMessage
{
    public bool Mutable { get; init; }
    public bool InUse { get; init; }
    public long Size { get; init; }
    public DateTimeOffset CreatedAt { get; init; }
    public DateTimeOffset? LastUsedAt { get; init; }
    public long UsageCount { get; init; }
    public string Description { get; init; } = "";
    public string RecordType { get; init; } = "";
    public bool Shared { get; init; }
    public IReadOnlyList<string> Parents { get; init; } = [];

    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Id);
        writer.Bool(2, Mutable);
        writer.Bool(3, InUse);
        writer.Int64(4, Size);
        writer.Time(6, CreatedAt);
        writer.Time(7, LastUsedAt);
        writer.Int64(8, UsageCount);
        writer.String(9, Description);
        writer.String(10, RecordType);
        writer.Bool(11, Shared);
        foreach (var parent in Parents) writer.Element(12, parent);
    }
}

public sealed record DiskUsageResponse(IReadOnlyList<UsageRecord> Records) : IProtoMessage
{
    public void WriteTo(ProtoWriter writer) => writer.Messages(1, Records);
}

public sealed record PruneRequest : IProtoMessage<PruneRequest>
{
    public IReadOnlyList<string> Filters { get; init; } = [];
    public bool All { get; init; }

    /// <summary>Nanoseconds.</summary>
    public long KeepDuration { get; init; }
    public long ReservedSpace { get; init; }
    public long MaxUsedSpace { get; init; }
    public long MinFreeSpace { get; init; }

    public void WriteTo(ProtoWriter writer)
    {
        foreach (var filter in Filters) writer.Element(1, filter);
        writer.Bool(2, All);
        writer.Int64(3, KeepDuration);
        writer.Int64(4, ReservedSpace);
        writer.Int64(5, MaxUsedSpace);
        writer.Int64(6, MinFreeSpace);
    }

    public static PruneRequest Parse(ReadOnlySpan<byte> bytes)
    {
        var request = new PruneRequest();
        var filters = new List<string>();
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: filters.Add(reader.String()); break;
                case 2: request = request with { All = reader.Bool() }; break;
                case 3: request = request with { KeepDuration = reader.Int64() }; break;
                case 4: request = request with { ReservedSpace = reader.Int64() }; break;
                case 5: request = request with { MaxUsedSpace = reader.Int64() }; break;
                case 6: request = request with { MinFreeSpace = reader.Int64() }; break;
                default: reader.Skip(); break;
            }
        }
        return request with { Filters = filters };
    }
}
