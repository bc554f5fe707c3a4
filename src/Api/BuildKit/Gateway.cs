namespace Berth.Api.BuildKit;

// moby.buildkit.v1.frontend.LLBBridge: a client that drives its build itself.

/// <summary>google.rpc.Status; the details are messages with their types.</summary>
public sealed record RpcStatus(int Code, string Message) : IProtoMessage<RpcStatus>
{
    /// <summary>google.protobuf.Any, encoded.</summary>
    public IReadOnlyList<byte[]> Details { get; init; } = [];

    public void WriteTo(ProtoWriter writer)
    {
        writer.Int64(1, Code);
        writer.String(2, Message);
        foreach (var detail in Details) writer.Element(3, detail);
    }

    public static RpcStatus Parse(ReadOnlySpan<byte> bytes)
    {
        var (code, message, details) = (0, "", new List<byte[]>());
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: code = reader.Int32(); break;
                case 2: message = reader.String(); break;
                case 3: details.Add(reader.Bytes()); break;
                default: reader.Skip(); break;
            }
        }
        return new RpcStatus(code, message) { Details = details };
    }

    public static byte[] Any(string typeUrl, byte[] value)
    {
        var writer = new ProtoWriter();
        writer.String(1, typeUrl);
        writer.Bytes(2, value);
        return writer.Written.ToArray();
    }

    public static (string TypeUrl, byte[] Value) OfAny(ReadOnlySpan<byte> any)
    {
        var (type, value) = ("", Array.Empty<byte>());
        var reader = new ProtoReader(any);
        while (reader.TryNext(out var field))
        {
            if (field == 1) type = reader.String();
            else if (field == 2) value = reader.Bytes();
            else reader.Skip();
        }
        return (type, value);
    }
}

public sealed record GatewaySolveRequest : IProtoMessage<GatewaySolveRequest>
{
    public byte[] Definition { get; init; } = [];
    public string Frontend { get; init; } = "";
    public IReadOnlyDictionary<string, string> Options { get; init; } = new Dictionary<string, string>();
    public IReadOnlyList<TypeAndAttributes> CacheImports { get; init; } = [];

    /// <summary>Definitions, encoded.</summary>
    public IReadOnlyDictionary<string, byte[]> Inputs { get; init; } = new Dictionary<string, byte[]>();
    public bool Evaluate { get; init; }

    public void WriteTo(ProtoWriter writer)
    {
        writer.Bytes(1, Definition);
        writer.String(2, Frontend);
        writer.Map(3, Options);
        writer.Bool(5, true);
        writer.Bool(6, true);
        writer.Messages(12, CacheImports);
        writer.Map(13, Inputs);
        writer.Bool(14, Evaluate);
    }

    public static GatewaySolveRequest Parse(ReadOnlySpan<byte> bytes)
    {
        var request = new GatewaySolveRequest();
        var options = new Dictionary<string, string>(StringComparer.Ordinal);
        var inputs = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        var imports = new List<TypeAndAttributes>();
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: request = request with { Definition = reader.Bytes() }; break;
                case 2: request = request with { Frontend = reader.String() }; break;
                case 3: reader.EntryTo(options); break;
                case 12: imports.Add(reader.Message<TypeAndAttributes>()); break;
                case 13:
                    var (key, value) = reader.Entry();
                    inputs[key] = value;
                    break;
                case 14: request = request with { Evaluate = reader.Bool() }; break;
                default: reader.Skip(); break;
            }
        }
        return request with { Options = options, Inputs = inputs, CacheImports = imports };
    }
}

/// <summary>A result of a build, or several by platform; one that is empty is nothing at all.</summary>
/// <param name="Definition">What it is made of, encoded, for use as another build's input.</param>
public sealed record ResultRef(string Id, byte[] Definition) : IProtoMessage<ResultRef>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Id);
        writer.Bytes(2, Definition);
    }

    public static ResultRef Parse(ReadOnlySpan<byte> bytes)
    {
        var (id, definition) = ("", Array.Empty<byte>());
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: id = reader.String(); break;
                case 2: definition = reader.Bytes(); break;
                default: reader.Skip(); break;
            }
        }
        return new ResultRef(id, definition);
    }
}

public sealed record GatewayResult : IProtoMessage<GatewayResult>
{
    /// <summary>The one there is, or of several the first.</summary>
    public ResultRef? Ref { get; init; }

    /// <summary>By platform, when the result is for several; null otherwise.</summary>
    public IReadOnlyList<KeyValuePair<string, ResultRef>>? Refs { get; init; }
    public IReadOnlyDictionary<string, byte[]> Metadata { get; init; } = new Dictionary<string, byte[]>();

    public void WriteTo(ProtoWriter writer)
    {
        if (Refs is null) writer.Message(3, Ref);
        else writer.Message(4, new RefMap(Refs));
        writer.Map(10, Metadata);
    }

    public static GatewayResult Parse(ReadOnlySpan<byte> bytes)
    {
        ResultRef? result = null;
        IReadOnlyList<KeyValuePair<string, ResultRef>>? refs = null;
        var metadata = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: result = new ResultRef(reader.String(), []); break;
                case 3: result = reader.Message<ResultRef>(); break;
                case 4: refs = reader.Message<RefMap>().Refs; break;
                case 10:
                    var (key, value) = reader.Entry();
                    metadata[key] = value;
                    break;
                default: reader.Skip(); break;
            }
        }
        return new GatewayResult { Ref = refs is { Count: > 0 } ? refs[0].Value : result, Refs = refs, Metadata = metadata };
    }

    private sealed record RefMap(IReadOnlyList<KeyValuePair<string, ResultRef>> Refs) : IProtoMessage<RefMap>
    {
        public void WriteTo(ProtoWriter writer)
        {
            foreach (var (platform, reference) in Refs) writer.Message(1, new Entry(platform, reference));
        }

        public static RefMap Parse(ReadOnlySpan<byte> bytes)
        {
            var refs = new List<KeyValuePair<string, ResultRef>>();
            var reader = new ProtoReader(bytes);
            while (reader.TryNext(out var field))
            {
                if (field != 1)
                {
                    reader.Skip();
                    continue;
                }
                var (platform, reference) = reader.Entry();
                refs.Add(new(platform, ResultRef.Parse(reference)));
            }
            return new RefMap(refs);
        }
    }

    private sealed record Entry(string Key, ResultRef Value) : IProtoMessage
    {
        public void WriteTo(ProtoWriter writer)
        {
            writer.String(1, Key);
            writer.Message(2, Value);
        }
    }
}

public sealed record GatewaySolveResponse(GatewayResult Result) : IProtoMessage<GatewaySolveResponse>
{
    public void WriteTo(ProtoWriter writer) => writer.Message(3, Result);

    public static GatewaySolveResponse Parse(ReadOnlySpan<byte> bytes)
    {
        var result = new GatewayResult();
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            if (field == 3) result = reader.Message<GatewayResult>();
            else reader.Skip();
        }
        return new GatewaySolveResponse(result);
    }
}

public sealed record ReturnRequest(GatewayResult? Result, RpcStatus? Error) : IProtoMessage<ReturnRequest>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.Message(1, Result);
        writer.Message(2, Error);
    }

    public static ReturnRequest Parse(ReadOnlySpan<byte> bytes)
    {
        GatewayResult? result = null;
        RpcStatus? error = null;
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: result = reader.Message<GatewayResult>(); break;
                case 2: error = reader.Message<RpcStatus>(); break;
                default: reader.Skip(); break;
            }
        }
        return new ReturnRequest(result, error);
    }
}

/// <summary>moby.buildkit.v1.apicaps.APICap: something that this server understands.</summary>
public sealed record Capability(string Id) : IProtoMessage
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Id);
        writer.Bool(2, true);
    }
}

public sealed record PongResponse : IProtoMessage
{
    public IReadOnlyList<Capability> Frontend { get; init; } = [];
    public IReadOnlyList<Capability> Definitions { get; init; } = [];
    public IReadOnlyList<WorkerRecord> Workers { get; init; } = [];

    public void WriteTo(ProtoWriter writer)
    {
        writer.Messages(1, Frontend);
        writer.Messages(2, Definitions);
        writer.Messages(3, Workers);
    }
}

/// <summary>What a definition's last operation names, when it is one source: our own results, sent back to us as inputs.</summary>
public static class SourceDefinition
{
    /// <summary>A definition whose result is one source.</summary>
    public static byte[] Encode(string identifier)
    {
        var source = new ProtoWriter();
        source.String(1, identifier);
        var operation = new ProtoWriter();
        operation.Element(3, source.Written);
        var digest = "sha256:" + Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(operation.Written));
        var input = new ProtoWriter();
        input.String(1, digest);
        var end = new ProtoWriter();
        end.Element(1, input.Written);
        var definition = new ProtoWriter();
        definition.Element(1, operation.Written);
        definition.Element(1, end.Written);
        // Clients refuse an operation without its metadata.
        definition.Map(2, new Dictionary<string, byte[]> { [digest] = [] });
        return definition.Written.ToArray();
    }

    /// <summary>The source that a definition is, or unpacks; null: it is something else.</summary>
    /// <exception cref="ProtoException"/>
    public static DefinedSource? Parse(ReadOnlySpan<byte> definition)
    {
        DefinedSource? found = null;
        var (sources, unpack) = (0, false);
        var reader = new ProtoReader(definition);
        while (reader.TryNext(out var field))
        {
            if (field != 1)
            {
                reader.Skip();
                continue;
            }
            var operation = new ProtoReader(reader.Span());
            while (operation.TryNext(out var part))
            {
                switch (part)
                {
                    case 3:
                        (found, sources) = (ParseSource(operation.Span()), sources + 1);
                        break;
                    case 4:
                        if (!IsUnpacking(operation.Span())) return null;
                        unpack = true;
                        break;
                    case 2 or 5 or 6 or 7: // a command, a build, a merge, a difference
                        return null;
                    default:
                        operation.Skip();
                        break;
                }
            }
        }
        return sources == 1 ? found! with { Unpack = unpack } : null;
    }

    private static DefinedSource ParseSource(ReadOnlySpan<byte> bytes)
    {
        var (identifier, attributes) = ("", new Dictionary<string, string>(StringComparer.Ordinal));
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            if (field == 1) identifier = reader.String();
            else if (field == 2) reader.EntryTo(attributes);
            else reader.Skip();
        }
        return new DefinedSource(identifier, attributes);
    }

    // FileOp.actions = 2, FileAction.copy = 4, FileActionCopy.attemptUnpackDockerCompatibility = 7; one action and nothing else.
    private static bool IsUnpacking(ReadOnlySpan<byte> bytes)
    {
        var (actions, unpack) = (0, false);
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            if (field != 2)
            {
                reader.Skip();
                continue;
            }
            actions++;
            var action = new ProtoReader(reader.Span());
            while (action.TryNext(out var part))
            {
                if (part != 4)
                {
                    action.Skip();
                    continue;
                }
                var copy = new ProtoReader(action.Span());
                while (copy.TryNext(out var detail))
                {
                    if (detail == 7) unpack = copy.Bool();
                    else copy.Skip();
                }
            }
        }
        return actions == 1 && unpack;
    }
}

/// <summary>A source of a definition.</summary>
/// <param name="Identifier">git://…, https://… and so on.</param>
/// <param name="Attributes">By BuildKit's names: git.fullurl, http.filename.</param>
public sealed record DefinedSource(string Identifier, IReadOnlyDictionary<string, string> Attributes)
{
    /// <summary>What is wanted is in the archive that it is.</summary>
    public bool Unpack { get; init; }

    public string this[string attribute] => Attributes.GetValueOrDefault(attribute, "");
}

/// <summary>ReadFile, ReadDir and StatFile: something about a file of a result.</summary>
public sealed record FileRequest(string Ref, string Path) : IProtoMessage<FileRequest>
{
    /// <summary>Of ReadDir.</summary>
    public string IncludePattern { get; init; } = "";

    /// <summary>Of ReadFile: a part of it, when <see cref="Ranged"/>.</summary>
    public long Offset { get; init; }
    public long Length { get; init; }
    public bool Ranged { get; init; }

    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Ref);
        writer.String(2, Path);
        writer.String(3, IncludePattern);
    }

    public static FileRequest Parse(ReadOnlySpan<byte> bytes)
    {
        var request = new FileRequest("", "");
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: request = request with { Ref = reader.String() }; break;
                case 2: request = request with { Path = reader.String() }; break;
                case 3: request = request with { IncludePattern = reader.String() }; break;
                default: reader.Skip(); break;
            }
        }
        return request;
    }
}

/// <summary>ReadFile: its third field is another than that of its like.</summary>
public sealed record ReadFileRequest(FileRequest File) : IProtoMessage<ReadFileRequest>
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, File.Ref);
        writer.String(2, File.Path);
        if (!File.Ranged) return;
        var range = new ProtoWriter();
        range.Int64(1, File.Offset);
        range.Int64(2, File.Length);
        writer.Element(3, range.Written);
    }

    public static ReadFileRequest Parse(ReadOnlySpan<byte> bytes)
    {
        var request = new FileRequest("", "");
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: request = request with { Ref = reader.String() }; break;
                case 2: request = request with { Path = reader.String() }; break;
                case 3:
                    request = request with { Ranged = true };
                    var range = new ProtoReader(reader.Span());
                    while (range.TryNext(out var part))
                    {
                        if (part == 1) request = request with { Offset = range.Int64() };
                        else if (part == 2) request = request with { Length = range.Int64() };
                        else range.Skip();
                    }
                    break;
                default: reader.Skip(); break;
            }
        }
        return new ReadFileRequest(request);
    }
}

/// <summary>Files as they are told: all of a directory, or one.</summary>
public sealed record FileStats(IReadOnlyList<FileStat> Entries) : IProtoMessage
{
    public void WriteTo(ProtoWriter writer) => writer.Messages(1, Entries);
}

/// <summary>An image's configuration is asked for.</summary>
public sealed record ImageConfigRequest(string Ref) : IProtoMessage<ImageConfigRequest>
{
    public WirePlatform? Platform { get; init; }
    public string ResolveMode { get; init; } = "";

    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Ref);
        writer.Message(2, Platform);
        writer.String(3, ResolveMode);
    }

    public static ImageConfigRequest Parse(ReadOnlySpan<byte> bytes)
    {
        var request = new ImageConfigRequest("");
        var reader = new ProtoReader(bytes);
        while (reader.TryNext(out var field))
        {
            switch (field)
            {
                case 1: request = request with { Ref = reader.String() }; break;
                case 2: request = request with { Platform = reader.Message<WirePlatform>() }; break;
                case 3: request = request with { ResolveMode = reader.String() }; break;
                default: reader.Skip(); break;
            }
        }
        return request;
    }
}

public sealed record ImageConfigResponse(string Digest, byte[] Config, string Ref) : IProtoMessage
{
    public void WriteTo(ProtoWriter writer)
    {
        writer.String(1, Digest);
        writer.Bytes(2, Config);
        writer.String(3, Ref);
    }
}
