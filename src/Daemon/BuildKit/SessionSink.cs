using Berth.Api;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;
using Berth.Builder;
using Berth.Images;
using Berth.Linux.Abi;

namespace Berth.Daemon.BuildKit;

/// <summary>Outputs that are the client's, over its session: moby.filesync.v1.FileSend, for one file as a stream of bytes, for a directory as a transfer of files.</summary>
internal sealed class SessionSink(BuildSessions sessions, string sessionId) : IOutputSink
{
    private const string DiffCopy = "/moby.filesync.v1.FileSend/DiffCopy";

    /// <summary>Clients take messages of four megabytes; small ones keep both sides busy.</summary>
    private const int PieceBytes = 256 * 1024;

    public async Task<Stream?> OpenFileAsync(BuildOutput output, IReadOnlyDictionary<string, string> metadata, CancellationToken cancellation)
    {
        var headers = new List<(string, string)> { ("buildkit-attachable-exporter-id", output.Id) };
        foreach (var (name, value) in metadata) headers.Add(("exporter-md-" + name, value));
        return new FileStream(await OpenAsync(headers, cancellation));
    }

    public async Task SendFilesAsync(BuildOutput output, FileSet files, CancellationToken cancellation)
    {
        await using var call = await OpenAsync([("buildkit-attachable-exporter-id", output.Id), ("buildkit-exporter-multi-platform", "1")], cancellation);
        try
        {
            await new FileSender(new SentFileSet(files)).SendAsync(() => call.ReadAsync<Packet>(), call.WriteAsync, cancellation);
            await call.CompleteAsync();
            while (await call.ReadAsync<Packet>() is not null) { }
        }
        catch (GrpcException e)
        {
            throw new BuildException(e.Message, inner: e);
        }
    }

    private async Task<GrpcClientCall> OpenAsync(IEnumerable<(string, string)> headers, CancellationToken cancellation)
    {
        try
        {
            var session = await sessions.GetAsync(sessionId, cancellation);
            if (!session.Offers(DiffCopy)) throw new BuildException($"method {DiffCopy} not supported by the client");
            return session.Channel.Open(DiffCopy, headers, cancellation);
        }
        catch (GrpcException e)
        {
            throw new BuildException(e.Message, inner: e);
        }
    }

    /// <summary>What is written goes to the client; it has taken it when this is disposed of.</summary>
    private sealed class FileStream(GrpcClientCall call) : SequentialStream
    {
        private bool _disposed;

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            while (buffer.Length > 0)
            {
                var piece = buffer[..Math.Min(PieceBytes, buffer.Length)];
                try
                {
                    await call.WriteAsync(new BytesMessage(piece.ToArray()));
                }
                catch (GrpcException e)
                {
                    throw new IOException(await WhyAsync() ?? e.Message, e);
                }
                buffer = buffer[piece.Length..];
            }
        }

        // A client that ends the call has said why.
        private async Task<string?> WhyAsync()
        {
            try
            {
                await call.ReadAsync<BytesMessage>();
                return null;
            }
            catch (GrpcException e)
            {
                return e.Message;
            }
        }

        public override async ValueTask DisposeAsync()
        {
            if (_disposed) return;
            _disposed = true;
            try
            {
                await call.CompleteAsync();
                while (await call.ReadAsync<BytesMessage>() is not null) { }
            }
            catch (GrpcException e)
            {
                throw new IOException(e.Message, e);
            }
            finally
            {
                await call.DisposeAsync();
            }
            await base.DisposeAsync();
        }

        public override void Write(ReadOnlySpan<byte> buffer) => WriteAsync(buffer.ToArray()).AsTask().GetAwaiter().GetResult();
        public override bool CanWrite => true;
    }
}
