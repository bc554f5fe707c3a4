using System.Collections.Concurrent;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;

namespace Berth.Daemon.BuildKit;

/// <summary>What a client of a build offers while it runs: its files, logins, secrets. A connection the other way round: we call, the client answers.</summary>
internal sealed class BuildSession(string id, string sharedKey, IReadOnlyCollection<string> methods, GrpcChannel channel)
{
    private readonly HashSet<string> _methods = new(methods, StringComparer.OrdinalIgnoreCase);

    public string Id => id;

    /// <summary>The same for all builds of one place on one machine; empty: unknown.</summary>
    public string SharedKey => sharedKey;
    public GrpcChannel Channel => channel;

    /// <param name="method">/package.Service/Method</param>
    public bool Offers(string method) => _methods.Contains(method);
}

/// <summary>The sessions there are now.</summary>
internal sealed class BuildSessions
{
    /// <summary>A build may be asked for a moment before its session has arrived.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    private readonly ConcurrentDictionary<string, TaskCompletionSource<BuildSession>> _sessions = new(StringComparer.Ordinal);

    /// <summary>Serves a session until its connection ends.</summary>
    public async Task RunAsync(string id, string sharedKey, IReadOnlyCollection<string> methods, Stream stream, CancellationToken stopping)
    {
        using var channel = new GrpcChannel(stream);
        var slot = _sessions.GetOrAdd(id, _ => new TaskCompletionSource<BuildSession>(TaskCreationOptions.RunContinuationsAsynchronously));
        if (!slot.TrySetResult(new BuildSession(id, sharedKey, methods, channel))) throw new GrpcException(GrpcCode.InvalidArgument, $"session {id} is there already");
        try
        {
            using var either = CancellationTokenSource.CreateLinkedTokenSource(stopping, channel.Closed);
            await Task.Delay(Timeout.Infinite, either.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
        finally
        {
            _sessions.TryRemove(id, out _);
        }
    }

    /// <exception cref="GrpcException">There is none.</exception>
    public async Task<BuildSession> GetAsync(string id, CancellationToken cancellation)
    {
        // What stands before a colon tells contexts apart, not sessions.
        if (id.Split(':', 2) is [_, { Length: > 0 } after]) id = after;
        if (id.Length == 0) throw new GrpcException(GrpcCode.Unknown, "no active sessions");
        var slot = _sessions.GetOrAdd(id, _ => new TaskCompletionSource<BuildSession>(TaskCreationOptions.RunContinuationsAsynchronously));
        try
        {
            return await slot.Task.WaitAsync(Patience, cancellation);
        }
        catch (TimeoutException)
        {
            if (!slot.Task.IsCompleted) _sessions.TryRemove(new KeyValuePair<string, TaskCompletionSource<BuildSession>>(id, slot));
            throw new GrpcException(GrpcCode.Unknown, $"no active session for {id}: context deadline exceeded");
        }
    }
}
