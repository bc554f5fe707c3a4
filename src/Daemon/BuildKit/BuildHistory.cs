using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using System.Threading.Channels;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;

namespace Berth.Daemon.BuildKit;

/// <summary>
/// Builds of the past and what was said in them: <c>docker buildx history</c>. A file for each record, and one by digest for each thing that a record refers to: its log (the
/// messages of Control.Status, each with its length before it, as BuildKit keeps them), its error, its provenance. Nothing is held in memory but what is under way; a
/// record is the last file of its build that is written, and files that no record knows are removed at start.
/// </summary>
internal sealed class BuildHistory
{
    /// <summary>Records that are kept, beside those that somebody pinned. The oldest go.</summary>
    public const int MaxRecords = 100;

    /// <summary>Records more than that before the oldest go together: to look through all of them after every build would take longer than some builds do.</summary>
    public const int Slack = 20;

    /// <summary>Pinned ones.</summary>
    public const int MaxPinned = 100;

    /// <summary>Of one build's log; what comes after is left out.</summary>
    public const int MaxLogBytes = 16 << 20;

    /// <summary>Of one piece of a log or blob in a message.</summary>
    private const int PieceBytes = 1 << 20;

    /// <summary>Events that wait for one listener; who is slower is left behind.</summary>
    private const int MaxWaiting = 1000;

    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
    private const string Records = ".record", LogType = "application/vnd.buildkit.status.v0", ErrorType = "application/vnd.googeapis.google.rpc.status+proto", ProvenanceType = "application/vnd.in-toto+json", ImageType = "application/vnd.docker.container.image.v1+json";

    private readonly string _directory;
    private readonly TimeProvider _time;
    private readonly Lock _lock = new();
    private readonly ConcurrentDictionary<string, BuildHistoryRecord> _active = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<Channel<BuildHistoryEvent>, bool> _listeners = new();

    public BuildHistory(string directory, TimeProvider time)
    {
        (_directory, _time) = (directory, time);
        Directory.CreateDirectory(directory, Private);
        var known = new HashSet<string>(StringComparer.Ordinal);
        foreach (var record in Read())
        {
            known.Add(Path.GetFileName(PathOf(record.Ref)));
            foreach (var blob in BlobsOf(record)) known.Add(Path.GetFileName(PathOf(blob)));
        }
        foreach (var file in Directory.EnumerateFiles(directory))
            if (!known.Contains(Path.GetFileName(file))) File.Delete(file);
    }

    /// <summary>What clients compare times with: their clock may be another.</summary>
    public (string Name, string Value) Timestamp => ("buildkit-current-timestamp", _time.GetUtcNow().UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fffffff'Z'", System.Globalization.CultureInfo.InvariantCulture));

    public void Begin(SolveRequest request)
    {
        if (request.Internal) return;
        var record = new BuildHistoryRecord(request.Ref, _time.GetUtcNow()) { Frontend = request.Frontend, FrontendAttributes = request.FrontendAttributes, Exporters = request.Exporters };
        _active[request.Ref] = record;
        Tell(new BuildHistoryEvent(BuildHistoryEventType.Started, record));
    }

    /// <summary>Keeps what happened. A history that can't be written is no reason for a build to fail.</summary>
    /// <param name="attributes">What the frontend was asked for in the end, when the client drove the build itself.</param>
    /// <param name="provenance">How the result was made; null: there is none.</param>
    public void End(SolveRequest request, StatusLog status, IReadOnlyDictionary<string, string>? attributes, GrpcException? failure, IReadOnlyDictionary<string, string> response, (string Type, byte[] Predicate)? provenance)
    {
        if (!_active.TryGetValue(request.Ref, out var record)) return;
        try
        {
            var (total, completed, cached, warnings) = status.Counts();
            record = record with
            {
                CompletedAt = _time.GetUtcNow(), FrontendAttributes = attributes ?? record.FrontendAttributes, Frontend = record.Frontend.Length > 0 ? record.Frontend : attributes is null ? "" : "dockerfile.v0", ExporterResponse = response,
                TotalSteps = total, CompletedSteps = completed, CachedSteps = cached, Warnings = warnings, Logs = Keep(LogType, Log(status)),
            };
            if (failure is not null)
            {
                record = record with
                {
                    Error = new RpcStatus((int)failure.Code, failure.Message),
                    ExternalError = failure.Details.Count == 0 ? null : Keep(ErrorType, ProtoWriter.Encode(new RpcStatus((int)failure.Code, failure.Message) { Details = failure.Details })),
                };
            }
            else
            {
                var image = response.GetValueOrDefault("containerimage.config.digest") is { Length: > 0 } digest ? new ContentDescriptor(ImageType, digest, 0) : null;
                var said = provenance is { } given ? Keep(ProvenanceType, given.Predicate) with { Annotations = new Dictionary<string, string> { ["in-toto.io/predicate-type"] = given.Type } } : null;
                if (image is not null || said is not null) record = record with { Result = new BuildResultInfo(image, said is null ? [] : [said]) };
            }
            Write(record);
            Collect();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The disk is full: the next start removes what no record knows.
        }
        finally
        {
            _active.TryRemove(request.Ref, out _);
        }
        Tell(new BuildHistoryEvent(BuildHistoryEventType.Complete, record));
    }

    /// <summary>What there is, the newest first.</summary>
    private List<BuildHistoryRecord> Read()
    {
        var records = new List<BuildHistoryRecord>();
        foreach (var file in Directory.EnumerateFiles(_directory, "*" + Records))
            if (TryRead(file) is { } record) records.Add(record);
        records.Sort(static (a, b) => b.CreatedAt.CompareTo(a.CreatedAt));
        return records;
    }

    // One that is cut short or removed meanwhile is none.
    private static BuildHistoryRecord? TryRead(string file)
    {
        try
        {
            return BuildHistoryRecord.Parse(File.ReadAllBytes(file));
        }
        catch (Exception e) when (e is IOException or ProtoException)
        {
            return null;
        }
    }

    /// <summary>Tells what is under way and what is over, then whatever happens, until the client has heard enough.</summary>
    public async Task ListenAsync(GrpcCall call)
    {
        var request = await call.RequestAsync<BuildHistoryRequest>();
        if (request.Limit < 0) throw new GrpcException(GrpcCode.Unknown, $"invalid limit {request.Limit}");
        await call.StartAsync([Timestamp]);
        var events = Channel.CreateBounded<BuildHistoryEvent>(MaxWaiting);
        _listeners[events] = true;
        try
        {
            foreach (var (reference, record) in _active)
                if (request.Ref.Length == 0 || request.Ref == reference) await call.WriteAsync(new BuildHistoryEvent(BuildHistoryEventType.Started, record));
            if (!request.ActiveOnly)
            {
                var count = 0;
                foreach (var record in request.Ref.Length > 0 ? TryRead(PathOf(request.Ref)) is { } one ? [one] : [] : Read())
                {
                    // Clients go over it with their filters themselves, too: they may have more than there is room for.
                    if (request.Limit > 0 && request.Filters.Count == 0 && ++count > request.Limit) break;
                    await call.WriteAsync(new BuildHistoryEvent(BuildHistoryEventType.Complete, record));
                }
            }
            if (request.EarlyExit) return;
            await foreach (var happened in events.Reader.ReadAllAsync(call.Gone))
                if (request.Ref.Length == 0 || happened.Record.Ref == request.Ref) await call.WriteAsync(happened);
        }
        finally
        {
            _listeners.TryRemove(events, out _);
        }
    }

    private void Tell(BuildHistoryEvent happened)
    {
        foreach (var (listener, _) in _listeners)
            if (!listener.Writer.TryWrite(happened)) listener.Writer.TryComplete();
    }

    /// <exception cref="GrpcException">There is no such record.</exception>
    public void Update(UpdateBuildHistoryRequest request)
    {
        // What was going on in the server (its trace) is all that there would be to wait for.
        if (request.Finalize && !request.Delete) return;
        BuildHistoryRecord record;
        lock (_lock)
        {
            record = TryRead(PathOf(request.Ref)) ?? throw new GrpcException(GrpcCode.Unknown, request.Delete ? $"lease \"ref_{request.Ref}\": not found" : $"failed to retrieve ref {request.Ref}: file does not exist");
            if (request.Delete) Remove([record], Read());
            else if (record.Pinned != request.Pinned)
            {
                if (request.Pinned && Read().FindAll(r => r.Pinned).Count >= MaxPinned) throw new GrpcException(GrpcCode.ResourceExhausted, $"more than {MaxPinned} builds can't be pinned");
                Write(record = record with { Pinned = request.Pinned, Generation = record.Generation + 1 });
            }
        }
        Tell(new BuildHistoryEvent(request.Delete ? BuildHistoryEventType.Deleted : BuildHistoryEventType.Complete, record));
    }

    /// <summary>What was said in a build that is over.</summary>
    /// <returns>Null: there is no such build.</returns>
    public IEnumerable<EncodedMessage>? Log(string reference) => TryRead(PathOf(reference)) is { Logs: { } log } ? Messages(PathOf(log)) : null;

    private static IEnumerable<EncodedMessage> Messages(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
        var head = new byte[4];
        while (file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false) == head.Length)
        {
            var length = BinaryPrimitives.ReadUInt32LittleEndian(head);
            if (length > MaxLogBytes) yield break;
            var bytes = new byte[length];
            file.ReadExactly(bytes);
            yield return new EncodedMessage(bytes);
        }
    }

    private static byte[] Log(StatusLog status)
    {
        using var log = new MemoryStream();
        var head = new byte[4];
        foreach (var message in status.All())
        {
            var bytes = ProtoWriter.Encode(message);
            if (log.Length + bytes.Length > MaxLogBytes) break;
            BinaryPrimitives.WriteUInt32LittleEndian(head, (uint)bytes.Length);
            log.Write(head);
            log.Write(bytes);
        }
        return log.ToArray();
    }

    // ---- what records refer to: containerd.services.content.v1.Content, to read

    public Task<IProtoMessage> BlobInfoAsync(GrpcCall call, TextMessage request)
    {
        var file = new FileInfo(BlobPath(request.Text));
        return file.Exists ? Task.FromResult<IProtoMessage>(new BlobInfo(request.Text, file.Length, file.LastWriteTimeUtc)) : throw Missing(request.Text);
    }

    public async Task ReadBlobAsync(GrpcCall call)
    {
        var request = await call.RequestAsync<ReadContentRequest>();
        FileStream file;
        try
        {
            file = new FileStream(BlobPath(request.Digest), FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
        }
        catch (FileNotFoundException)
        {
            throw Missing(request.Digest);
        }
        await using (file)
        {
            if (request.Offset < 0 || request.Offset > file.Length || request.Length < 0) throw new GrpcException(GrpcCode.InvalidArgument, "the part is not within the blob");
            file.Position = request.Offset;
            var left = request.Length == 0 ? file.Length - request.Offset : Math.Min(request.Length, file.Length - request.Offset);
            var buffer = new byte[PieceBytes];
            while (left > 0)
            {
                var at = file.Position;
                var count = await file.ReadAsync(buffer.AsMemory(0, (int)Math.Min(buffer.Length, left)), call.Gone);
                if (count == 0) break;
                await call.WriteAsync(new ReadContentResponse(at, buffer[..count]));
                left -= count;
            }
        }
    }

    private static GrpcException Missing(string digest) => new(GrpcCode.NotFound, $"content {digest}: not found");

    private string BlobPath(string digest) => Images.Digest.TryParse(digest, out _) ? Path.Combine(_directory, digest.Replace(':', '-')) : throw new GrpcException(GrpcCode.InvalidArgument, $"{digest} is no digest");

    private string PathOf(ContentDescriptor blob) => Path.Combine(_directory, blob.Digest.Replace(':', '-'));

    // Clients choose references: as a file's name only their hash will do.
    private string PathOf(string reference) => Path.Combine(_directory, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(reference))) + Records);

    private ContentDescriptor Keep(string type, byte[] content)
    {
        var blob = new ContentDescriptor(type, "sha256:" + Convert.ToHexStringLower(SHA256.HashData(content)), content.Length);
        Replace(PathOf(blob), content);
        return blob;
    }

    private void Write(BuildHistoryRecord record) => Replace(PathOf(record.Ref), ProtoWriter.Encode(record));

    private static void Replace(string path, byte[] content)
    {
        var temporary = $"{path}.{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4))}.tmp";
        using (var file = new FileStream(temporary, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite, BufferSize = 0 })) file.Write(content);
        File.Move(temporary, path, overwrite: true);
    }

    private void Collect()
    {
        lock (_lock)
        {
            if (Directory.GetFiles(_directory, "*" + Records).Length <= MaxRecords + Slack) return;
            var (records, doomed) = (Read(), new List<BuildHistoryRecord>());
            var count = 0;
            foreach (var record in records)
                if (!record.Pinned && ++count > MaxRecords) doomed.Add(record);
            Remove(doomed, records);
        }
    }

    private static IEnumerable<ContentDescriptor> BlobsOf(BuildHistoryRecord record)
    {
        if (record.Logs is { } log) yield return log;
        if (record.ExternalError is { } error) yield return error;
        foreach (var attestation in record.Result?.Attestations ?? []) yield return attestation;
    }

    // Content is by its digest: two builds may have the same.
    private void Remove(List<BuildHistoryRecord> doomed, List<BuildHistoryRecord> all)
    {
        var needed = new HashSet<string>(StringComparer.Ordinal);
        foreach (var record in all)
        {
            if (doomed.Exists(d => d.Ref == record.Ref)) continue;
            foreach (var blob in BlobsOf(record)) needed.Add(blob.Digest);
        }
        foreach (var record in doomed)
        {
            File.Delete(PathOf(record.Ref));
            foreach (var blob in BlobsOf(record))
                if (!needed.Contains(blob.Digest)) File.Delete(PathOf(blob));
        }
    }

    private sealed record BlobInfo(string Digest, long Size, DateTimeOffset Created) : IProtoMessage
    {
        public void WriteTo(ProtoWriter writer)
        {
            var info = new ProtoWriter();
            info.String(1, Digest);
            info.Int64(2, Size);
            info.Time(3, Created);
            info.Time(4, Created);
            writer.Element(1, info.Written);
        }
    }
}
