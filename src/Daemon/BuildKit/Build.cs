using System.Collections.Concurrent;
using System.Text;
using System.Text.Json;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;
using Berth.Builder;
using Berth.Dockerfile;
using Berth.Engine;
using Berth.Images;
using Berth.Linux;
using Berth.Linux.Abi;

namespace Berth.Daemon.BuildKit;

/// <summary>What references stand for, once it is made.</summary>
internal interface IRefResult : IDisposable
{
    /// <summary>The files of one of them, to read.</summary>
    SourceTree OpenFiles(int index);
}

/// <summary>What the frontend was asked for, and what came of it.</summary>
internal sealed record FrontendOutcome(BuildRequest Request, BuildOutcomes Results) : IRefResult
{
    public SourceTree OpenFiles(int index) => Results.Each[index].OpenFiles();

    public void Dispose() => Results.Dispose();
}

/// <summary>Files of elsewhere that a client wants to look at.</summary>
internal sealed record FetchedFiles(FetchedSource Source, ImageStore.LayerSession Session) : IRefResult
{
    public SourceTree OpenFiles(int index)
    {
        var root = FileAt.Open(null, Source.Directory, OpenFlags.ReadOnly | OpenFlags.Directory);
        return new SourceTree(root, root);
    }

    public void Dispose() => Session.Dispose();
}

/// <summary>A result of a build for one platform, made when somebody needs it; those for the others are made with it, and once.</summary>
/// <param name="Index">Which of the results.</param>
internal sealed record BuildRef(string Id, int Index, Lazy<Task<IRefResult>> Result)
{
    public Task<IRefResult> EvaluateAsync() => Result.Value;

    /// <summary>Lets go of what was made.</summary>
    public async Task ReleaseAsync()
    {
        if (Index > 0 || !Result.IsValueCreated) return;
        await ((Task)Result.Value).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (Result.Value.IsCompletedSuccessfully) (await Result.Value).Dispose();
    }
}

/// <summary>One Control.Solve: lives as long as that call.</summary>
internal sealed class Build(SolveRequest request, TimeProvider time, CancellationToken cancellation)
{
    private readonly ConcurrentDictionary<string, BuildRef> _refs = new(StringComparer.Ordinal);
    private int _count;
    private volatile bool _ended;

    public SolveRequest Request => request;
    public StatusLog Status { get; } = new(request.Ref, time);

    /// <summary>What the frontend was asked for last; null: nothing yet.</summary>
    public IReadOnlyDictionary<string, string>? Attributes { get; set; }

    /// <summary>Fires when whoever asked for it is gone.</summary>
    public CancellationToken Cancellation => cancellation;

    /// <summary>What a client that drives its build itself says in the end.</summary>
    public TaskCompletionSource<ReturnRequest> Returned { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>One for each platform.</summary>
    public IReadOnlyList<BuildRef> Add(int platforms, Func<Task<IRefResult>> make)
    {
        if (_ended) throw new GrpcException(GrpcCode.NotFound, $"no such job {request.Ref}");
        var outcome = new Lazy<Task<IRefResult>>(make);
        var references = new List<BuildRef>();
        for (var i = 0; i < platforms; i++)
        {
            var reference = new BuildRef($"{request.Ref}/{Interlocked.Increment(ref _count)}", i, outcome);
            references.Add(_refs[reference.Id] = reference);
        }
        return references;
    }

    public BuildRef Find(string id) => _refs.TryGetValue(id, out var found) ? found : throw new GrpcException(GrpcCode.Unknown, $"no such ref: {id}");

    public async Task EndAsync()
    {
        _ended = true;
        foreach (var reference in _refs.Values) await reference.ReleaseAsync();
        Status.End();
    }
}

/// <summary>The builds there are now, by the names their clients gave them.</summary>
internal sealed class Builds
{
    /// <summary>Calls about a build may be here before the one that begins it.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    private readonly ConcurrentDictionary<string, TaskCompletionSource<Build>> _builds = new(StringComparer.Ordinal);

    public void Begin(Build build)
    {
        if (!Slot(build.Request.Ref).TrySetResult(build)) throw new GrpcException(GrpcCode.Unknown, $"job ID {build.Request.Ref} exists");
    }

    /// <summary>It has ended; who asks a moment later what happened in it is still told.</summary>
    public void End(Build build) => _ = ForgetAsync(build.Request.Ref);

    private async Task ForgetAsync(string id)
    {
        await Task.Delay(Patience);
        _builds.TryRemove(id, out _);
    }

    /// <exception cref="GrpcException">There is none.</exception>
    public async Task<Build> GetAsync(string id, CancellationToken cancellation)
    {
        var slot = Slot(id);
        try
        {
            return await slot.Task.WaitAsync(Patience, cancellation);
        }
        catch (TimeoutException)
        {
            if (!slot.Task.IsCompleted) _builds.TryRemove(new KeyValuePair<string, TaskCompletionSource<Build>>(id, slot));
            throw new GrpcException(GrpcCode.NotFound, $"no such job {id}");
        }
    }

    private TaskCompletionSource<Build> Slot(string id) => _builds.GetOrAdd(id, _ => new TaskCompletionSource<Build>(TaskCreationOptions.RunContinuationsAsynchronously));
}

/// <summary>A build's failures as its client is told them: the message, and where in which file.</summary>
internal static class BuildFailure
{
    public static GrpcException ToGrpc(Exception failure, string filename, byte[]? dockerfile)
    {
        var lines = failure switch { DockerfileException e => e.Lines, BuildException e => e.Lines, _ => null };
        List<byte[]> details = [];
        if (lines is { } span && dockerfile is not null) details.Add(RpcStatus.Any("github.com/moby/buildkit/errdefs.Source+json", Source(filename, dockerfile, span)));
        if (failure is BuildException { FailedImage: { } kept }) details.Add(RpcStatus.Any(FailedStep.Detail, Encoding.UTF8.GetBytes(kept)));
        var message = failure is BuildException { BaseImage: { } image } ? $"{image}: failed to resolve source metadata for {ImageReference.Parse(image).WithDefaultTag()}: {failure.Message}" : failure.Message;
        if (message.StartsWith("failed to calculate checksum of ref", StringComparison.Ordinal)) message = "failed to compute cache key: " + message;
        var missing = failure is EngineException { Kind: ErrorKind.NotFound } or BuildException { InnerException: EngineException { Kind: ErrorKind.NotFound } };
        return new GrpcException(missing ? GrpcCode.NotFound : GrpcCode.Unknown, message, details);
    }

    public static bool IsExpected(Exception e) => e is DockerfileException or BuildException or EngineException;

    private static byte[] Source(string filename, byte[] data, LineSpan lines)
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            json.WriteStartObject("info");
            json.WriteString("filename", filename);
            json.WriteBase64String("data", data);
            json.WriteString("language", "Dockerfile");
            json.WriteEndObject();
            json.WriteStartArray("ranges");
            WriteRange(json, lines);
            json.WriteEndArray();
            json.WriteEndObject();
        }
        return bytes.ToArray();
    }

    public static void WriteRange(Utf8JsonWriter json, LineSpan lines)
    {
        json.WriteStartObject();
        json.WriteStartObject("start");
        json.WriteNumber("line", lines.First);
        json.WriteEndObject();
        json.WriteStartObject("end");
        json.WriteNumber("line", lines.Last);
        json.WriteEndObject();
        json.WriteEndObject();
    }
}
