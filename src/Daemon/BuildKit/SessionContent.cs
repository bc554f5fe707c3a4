using Berth.Api;
using Berth.Api.BuildKit;
using Berth.Api.Grpc;
using Berth.Builder;
using Berth.Images;

namespace Berth.Daemon.BuildKit;

/// <summary>A client's directory of blobs (containerd.services.content.v1.Content over its session): where <c>--cache-to type=local</c> puts them.</summary>
internal sealed class SessionContent(BuildSessions sessions, string sessionId, string store) : IClientContent
{
    private const string Service = "/containerd.services.content.v1.Content/";

    /// <summary>Bytes of one message.</summary>
    private const int PieceBytes = 1 << 20;

    private async Task<GrpcClientCall> OpenAsync(string method, CancellationToken cancellation)
    {
        var session = await sessions.GetAsync(sessionId, cancellation);
        return session.Channel.Open(Service + method, [("buildkit-attachable-store-id", store)], cancellation);
    }

    public async Task<Stream> OpenAsync(Digest digest, CancellationToken cancellation)
    {
        try
        {
            var call = await OpenAsync("Read", cancellation);
            await call.WriteAsync(new ReadContentRequest(digest.ToString()));
            await call.CompleteAsync();
            return new PieceStream<ReadContentResponse>(call, piece => piece.Data);
        }
        catch (GrpcException e)
        {
            throw new BuildException(e.Message, inner: e);
        }
    }

    public async Task WriteAsync(Berth.Images.Descriptor blob, Stream content, CancellationToken cancellation)
    {
        try
        {
            await using var call = await OpenAsync("Write", cancellation);
            var digest = blob.DigestText!;
            await call.WriteAsync(new WriteContentRequest(ContentAction.Stat, digest, blob.SizeBytes, digest, 0, default));
            if (await call.ReadAsync<WriteContentResponse>() is null) throw new GrpcException(GrpcCode.Unavailable, "the client has ended the call");
            var buffer = new byte[PieceBytes];
            long offset = 0;
            for (int count; (count = await content.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellation)) > 0; offset += count)
            {
                await call.WriteAsync(new WriteContentRequest(ContentAction.Write, digest, blob.SizeBytes, digest, offset, buffer.AsMemory(0, count)));
                if (await call.ReadAsync<WriteContentResponse>() is null) throw new GrpcException(GrpcCode.Unavailable, "the client has ended the call");
            }
            await call.WriteAsync(new WriteContentRequest(ContentAction.Commit, digest, blob.SizeBytes, digest, offset, default));
            await call.ReadAsync<WriteContentResponse>();
            await call.CompleteAsync();
        }
        catch (GrpcException e) when (e.Code == GrpcCode.AlreadyExists)
        {
            // It has the blob.
        }
        catch (GrpcException e)
        {
            throw new BuildException(e.Message, inner: e);
        }
    }
}
