using System.Buffers;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Berth.Daemon.Http;
using Berth.Images;
using Berth.Linux;
using Berth.Registry;
using Microsoft.AspNetCore.Http;
using Microsoft.Win32.SafeHandles;

namespace Berth.Daemon.Registry;

/// <summary>
/// Answers with a blob or a part of it. What is large goes from the file to the socket by sendfile(2): the connection is taken from Kestrel for this one answer, its head
/// written here, and given back for the next request (docs/registry.md, "Downloads").
/// </summary>
internal static class BlobResponse
{
    /// <summary>Below it the way through Kestrel is as quick.</summary>
    private const int SendFileFromBytes = 128 * 1024;

    /// <summary>One system call's worth: a thread is not held for longer than this takes.</summary>
    private const int SendFileBytes = 4 << 20;

    /// <summary>Sent the usual way when the socket has no room: its completion says that there is some again.</summary>
    private const int PieceBytes = 32 * 1024;

    /// <summary>A client that takes nothing for so long is gone.</summary>
    private static readonly TimeSpan StalledAfter = TimeSpan.FromMinutes(5);

    /// <summary>Sets what every answer about a blob has. False: the answer is complete without a body.</summary>
    public static bool Begin(HttpContext http, Digest digest, long length, out ByteRange part)
    {
        var headers = http.Response.Headers;
        var tag = $"\"{digest}\"";
        headers["Docker-Content-Digest"] = digest.ToString();
        headers.ETag = tag;
        headers.AcceptRanges = "bytes";
        headers.CacheControl = "max-age=31536000"; // it has a digest: it never changes
        part = new ByteRange(0, length);
        if (Matches(http.Request.Headers.IfNoneMatch.ToString(), tag))
        {
            http.Response.StatusCode = 304;
            return false;
        }
        var request = http.Request.Headers;
        if (request.Range.Count > 0 && (request["If-Range"].Count == 0 || request["If-Range"] == tag))
        {
            if (ByteRange.Parse(request.Range.ToString(), length, out var satisfiable) is { } asked)
            {
                part = asked;
                http.Response.StatusCode = 206;
                headers.ContentRange = string.Create(CultureInfo.InvariantCulture, $"bytes {asked.From}-{asked.From + asked.Count - 1}/{length}");
            }
            else if (!satisfiable)
            {
                headers.ContentRange = string.Create(CultureInfo.InvariantCulture, $"bytes */{length}");
                throw new DistributionException(DistributionError.RangeUnsatisfiable, $"the blob has {length} bytes");
            }
        }
        http.Response.ContentType = "application/octet-stream";
        http.Response.ContentLength = part.Count;
        return http.Request.Method != "HEAD";
    }

    /// <summary>Whether the client has it already: If-None-Match is a list, or a star.</summary>
    public static bool Matches(string header, string tag) =>
        header.Length > 0 && header.Split(',').Any(t => t.AsSpan().Trim() is var given && (given is "*" || given.SequenceEqual(tag) || (given.StartsWith("W/") && given[2..].SequenceEqual(tag))));

    public static async Task SendAsync(HttpContext http, SafeFileHandle file, ByteRange part)
    {
        if (part.Count >= SendFileFromBytes && http.Request.Protocol == "HTTP/1.1" && !http.Request.Headers.ContainsKey("Transfer-Encoding") && http.Request.ContentLength is null or 0
            && http.Features.Get<SocketConnection>() is { } connection)
        {
            await TakeOverAsync(http, connection, file, part);
            return;
        }
        var body = http.Response.BodyWriter;
        for (var (at, left) = (part.From, part.Count); left > 0;)
        {
            var memory = body.GetMemory(PieceBytes);
            var count = RandomAccess.Read(file, memory.Span[..(int)Math.Min(memory.Length, left)], at);
            if (count == 0) throw new IOException("a blob has become shorter");
            body.Advance(count);
            (at, left) = (at + count, left - count);
            if ((await body.FlushAsync(http.RequestAborted)).IsCompleted) return; // nobody reads any more
        }
    }

    /// <summary>Answers with what is still coming, as it comes. False: nothing was answered, it has come and is in the store.</summary>
    public static async Task<bool> TryRelayAsync(HttpContext http, FillingBlob blob)
    {
        var length = await blob.Length.WaitAsync(http.RequestAborted);
        if (length is null)
        {
            await blob.Done.WaitAsync(http.RequestAborted);
            length = await blob.MoreAsync(-1, http.RequestAborted);
        }
        using var file = blob.TryOpen();
        if (file is null)
        {
            await blob.Done.WaitAsync(http.RequestAborted);
            return false;
        }
        if (!Begin(http, blob.Digest, length.Value, out var part)) return true;
        var body = http.Response.BodyWriter;
        for (var (at, end) = (part.From, part.From + part.Count); at < end;)
        {
            var readable = Math.Min(end, await blob.MoreAsync(at, http.RequestAborted));
            while (at < readable)
            {
                var memory = body.GetMemory(PieceBytes);
                var count = RandomAccess.Read(file, memory.Span[..(int)Math.Min(memory.Length, readable - at)], at);
                if (count == 0) throw new IOException("a blob has become shorter");
                body.Advance(count);
                at += count;
                if ((await body.FlushAsync(http.RequestAborted)).IsCompleted) return true; // it is fetched to its end all the same
            }
        }
        return true;
    }

    private static async Task TakeOverAsync(HttpContext http, SocketConnection connection, SafeFileHandle file, ByteRange part)
    {
        var stream = connection.Hijack();
        // What has come behind the request went with the stream and can't be given back.
        var last = stream.HasEarlyInput || http.Request.Headers.Connection.ToString().Contains("close", StringComparison.OrdinalIgnoreCase);
        var kept = false;
        try
        {
            await stream.WriteAsync(Head(http, last));
            await SendFileAsync(stream.Socket, file, part);
            kept = !last;
        }
        catch (Exception e) when (e is IOException or SocketException or OperationCanceledException)
        {
            // The client has gone; what it got is too short, and the end of the connection says so.
        }
        finally
        {
            if (kept) connection.GiveBack();
            else await stream.DisposeAsync();
            http.Abort(); // for Kestrel this connection is over
        }
    }

    private static byte[] Head(HttpContext http, bool last)
    {
        var head = new StringBuilder(512);
        head.Append(http.Response.StatusCode == 206 ? "HTTP/1.1 206 Partial Content\r\n" : "HTTP/1.1 200 OK\r\n");
        head.Append(CultureInfo.InvariantCulture, $"Date: {DateTime.UtcNow:R}\r\n");
        foreach (var (name, values) in http.Response.Headers)
            head.Append(name).Append(": ").Append(values.ToString()).Append("\r\n");
        if (last) head.Append("Connection: close\r\n");
        return Encoding.Latin1.GetBytes(head.Append("\r\n").ToString());
    }

    private static async Task SendFileAsync(Socket socket, SafeFileHandle file, ByteRange part)
    {
        byte[]? piece = null;
        using var stalled = new CancellationTokenSource();
        try
        {
            for (var (at, left) = (part.From, part.Count); left > 0;)
            {
                if (SendFile.TrySend(socket.SafeHandle, file, at, Math.Min(left, SendFileBytes)) is { } sent)
                {
                    if (sent == 0) throw new IOException("a blob has become shorter");
                    (at, left) = (at + sent, left - sent);
                    continue;
                }
                piece ??= ArrayPool<byte>.Shared.Rent(PieceBytes);
                var count = RandomAccess.Read(file, piece.AsSpan(0, (int)Math.Min(PieceBytes, left)), at);
                if (count == 0) throw new IOException("a blob has become shorter");
                stalled.CancelAfter(StalledAfter);
                for (var done = 0; done < count;)
                    done += await socket.SendAsync(piece.AsMemory(done, count - done), SocketFlags.None, stalled.Token);
                (at, left) = (at + count, left - count);
            }
        }
        finally
        {
            if (piece is not null) ArrayPool<byte>.Shared.Return(piece);
        }
    }
}
