using System.Buffers;
using System.Buffers.Binary;
using System.Net;
using System.Text;
using System.Text.Json;
using Berth.Linux;
using Microsoft.Win32.SafeHandles;

namespace Berth.Engine;

/// <summary>What a reader of logs wants.</summary>
internal sealed record LogQuery
{
    public bool Stdout { get; init; }
    public bool Stderr { get; init; }
    public bool Timestamps { get; init; }

    /// <summary>Attributes before each line.</summary>
    public bool Details { get; init; }
    public bool Multiplexed { get; init; }

    /// <summary>Unix nanoseconds; lines before it are left out.</summary>
    public long Since { get; init; } = long.MinValue;
    public long Until { get; init; } = long.MaxValue;

    /// <summary>The last n lines of all files together; -1: all.</summary>
    public long Tail { get; init; } = -1;
    public bool Follow { get; init; }
}

/// <summary>
/// Reads a container's log files, oldest first, and writes what the client sees. Descriptors are opened at the start, so that a rotation in between renames
/// what we read and takes nothing away. With Follow it goes on at the end, woken by inotify, until it is told that the container has ended.
/// </summary>
internal sealed class LogReader(string path, LogQuery query, LogWatch watch) : IDisposable
{
    // Read in large pieces: the system call and the wake-up of the client cost more than the bytes.
    private const int ReadBytes = 256 * 1024;

    // A line of ours is at most 16 KiB of text, six times that when every byte is escaped. What does not fit is no log line and is skipped.
    private const int MaxLineBytes = 1024 * 1024;
    private const int WriteBytes = 256 * 1024;

    // Of a frame; and what a time grows by when it is written with all its digits and a blank.
    private const int HeaderBytes = 8, TimeBytesMore = 12;

    // A short log needs a short buffer.
    private const int LeastBytes = 4 * 1024;

    // Lent for as long as there is something to read: hundreds may follow logs that are silent.
    private byte[] _input = [], _scratch = [], _output = [];
    private int _pending;
    private bool _pastUntil;

    /// <param name="ended">Completes when nothing more will be written (the container does not run).</param>
    public async Task CopyToAsync(Stream client, Task ended, CancellationToken cancellationToken)
    {
        if (path.Length == 0) return;
        var files = LogFiles.OpenAll(path);
        try
        {
            if (query.Tail == 0 && !query.Follow) return;
            var (firstFile, offset) = query.Tail < 0 ? (0, 0L) : FindTail(files, query.Tail);
            for (var i = firstFile; i < files.Count && !_pastUntil; i++)
            {
                var last = i == files.Count - 1;
                var end = await CopyFileAsync(files[i].Handle, i == firstFile ? offset : 0, client, cancellationToken).ConfigureAwait(false);
                if (last && query.Follow && !_pastUntil)
                {
                    var current = files[i];
                    files.RemoveAt(i);
                    await FollowAsync(current, end, client, ended, cancellationToken).ConfigureAwait(false);
                    return;
                }
            }
            if (files.Count == 0 && query.Follow) await FollowAsync(null, 0, client, ended, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            foreach (var file in files) file.Dispose();
        }
    }

    /// <summary>Where the last n lines begin: counts newlines backwards.</summary>
    private (int File, long Offset) FindTail(List<LogFile> files, long lines)
    {
        if (lines == 0) return files.Count == 0 ? (0, 0) : (files.Count - 1, RandomAccess.GetLength(files[^1].Handle));
        // The newline before the first line wanted: one more than lines, since the last line has one at its end. A file's last newline stands before the next file's first line.
        var wanted = lines + 1;
        for (var i = files.Count - 1; i >= 0; i--)
        {
            var position = RandomAccess.GetLength(files[i].Handle);
            Ensure(ref _input, (int)Math.Min(ReadBytes, position), kept: 0);
            while (position > 0)
            {
                var count = (int)Math.Min(ReadBytes, position);
                position -= count;
                var chunk = _input.AsSpan(0, RandomAccess.Read(files[i].Handle, _input.AsSpan(0, count), position));
                while (true)
                {
                    var newline = chunk.LastIndexOf((byte)'\n');
                    if (newline < 0) break;
                    if (--wanted == 0) return (i, position + newline + 1);
                    chunk = chunk[..newline];
                }
            }
        }
        return (0, 0);
    }

    /// <summary>Copies from an offset to the end; returns where the first unfinished line begins.</summary>
    private async Task<long> CopyFileAsync(SafeFileHandle file, long offset, Stream client, CancellationToken cancellationToken)
    {
        var left = RandomAccess.GetLength(file) - offset;
        if (left <= 0) return offset;
        Ensure(ref _input, (int)Math.Clamp(left, LeastBytes, ReadBytes), kept: 0);
        try
        {
            return await CopyWholeLinesAsync(file, offset, client, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            Dispose();
        }
    }

    private async Task<long> CopyWholeLinesAsync(SafeFileHandle file, long offset, Stream client, CancellationToken cancellationToken)
    {
        var held = 0;
        while (!_pastUntil)
        {
            if (held == _input.Length)
            {
                if (held >= MaxLineBytes) held = 0;
                else Ensure(ref _input, held * 2, kept: held);
            }
            var count = RandomAccess.Read(file, _input.AsSpan(held), offset + held);
            if (count == 0) break;
            held += count;
            var start = 0;
            while (true)
            {
                start += Convert(_input.AsSpan(start, held - start));
                if (_pending < WriteBytes / 2) break;
                // Full: there may be more whole lines in what was read.
                await FlushAsync(client, cancellationToken).ConfigureAwait(false);
            }
            offset += start;
            held -= start;
            if (held > 0 && start > 0) _input.AsSpan(start, held).CopyTo(_input);
        }
        await FlushAsync(client, cancellationToken).ConfigureAwait(false);
        return offset;
    }

    private static void Ensure(ref byte[] buffer, int length, int kept)
    {
        if (buffer.Length >= length) return;
        var larger = ArrayPool<byte>.Shared.Rent(Math.Max(length, LeastBytes));
        buffer.AsSpan(0, kept).CopyTo(larger);
        Return(ref buffer);
        buffer = larger;
    }

    private static void Return(ref byte[] buffer)
    {
        if (buffer.Length > 0) ArrayPool<byte>.Shared.Return(buffer);
        buffer = [];
    }

    /// <summary>Converts whole lines as long as the output has room; returns how many bytes of input they were.</summary>
    private int Convert(ReadOnlySpan<byte> input)
    {
        var used = 0;
        while (_pending < WriteBytes)
        {
            var newline = input[used..].IndexOf((byte)'\n');
            if (newline < 0) break;
            Append(input.Slice(used, newline));
            used += newline + 1;
            if (_pastUntil) break;
        }
        return used;
    }

    private void Append(ReadOnlySpan<byte> line)
    {
        if (line.Length > MaxLineBytes) return;
        // Unescaped it is no longer than escaped.
        Ensure(ref _scratch, line.Length, kept: 0);
        if (!LogLine.TryParse(line, _scratch, out var text, out var stderr, out var time, out var attributes)) return;
        if (query.Since != long.MinValue || query.Until != long.MaxValue)
        {
            if (!LogLine.TryTime(time, out var nanoseconds) || nanoseconds < query.Since) return;
            if (nanoseconds > query.Until)
            {
                _pastUntil = true;
                return;
            }
        }
        if (stderr ? !query.Stderr : !query.Stdout) return;
        byte[] details = query.Details ? Details(attributes) : [];
        Ensure(ref _output, Math.Max(_pending + HeaderBytes + time.Length + TimeBytesMore + details.Length + 1 + text.Length, Math.Min(_input.Length, WriteBytes)), kept: _pending);
        var target = _output.AsSpan(_pending);
        var length = query.Multiplexed ? HeaderBytes : 0;
        if (query.Timestamps)
        {
            length += LogLine.WriteFixedTime(time, target[length..]);
            target[length++] = (byte)' ';
        }
        if (query.Details)
        {
            details.CopyTo(target[length..]);
            length += details.Length;
            target[length++] = (byte)' ';
        }
        text.CopyTo(target[length..]);
        length += text.Length;
        if (query.Multiplexed)
        {
            BinaryPrimitives.WriteUInt32BigEndian(target, stderr ? 2u << 24 : 1u << 24);
            BinaryPrimitives.WriteInt32BigEndian(target[4..], length - HeaderBytes);
        }
        _pending += length;
    }

    // All lines of a run have the same.
    private byte[] _attributes = [], _details = [];

    /// <summary>"name=value,name=value" in the order of names, escaped as in a query.</summary>
    private byte[] Details(ReadOnlySpan<byte> attributes)
    {
        if (attributes.SequenceEqual(_attributes)) return _details;
        _attributes = attributes.ToArray();
        try
        {
            var values = JsonSerializer.Deserialize(attributes, Api.ApiJson.Wire.DictionaryStringString) ?? [];
            var text = string.Join(',', values.Select(v => $"{Escape(v.Key)}={Escape(v.Value)}").Order(StringComparer.Ordinal));
            _details = Encoding.UTF8.GetBytes(text);
        }
        catch (JsonException)
        {
            _details = [];
        }
        return _details;
    }

    // Go's QueryEscape differs in these.
    private static string Escape(string text) => WebUtility.UrlEncode(text).Replace("!", "%21").Replace("*", "%2A").Replace("(", "%28").Replace(")", "%29").Replace("%7E", "~");

    private async ValueTask FlushAsync(Stream client, CancellationToken cancellationToken)
    {
        if (_pending == 0) return;
        var count = _pending;
        _pending = 0;
        await client.WriteAsync(_output.AsMemory(0, count), cancellationToken).ConfigureAwait(false);
        await client.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    private async Task FollowAsync(LogFile? file, long offset, Stream client, Task ended, CancellationToken cancellationToken)
    {
        try
        {
            using var changes = watch.Directory(Path.GetDirectoryName(path)!);
            while (!_pastUntil)
            {
                // Before reading, so that what is written while we read wakes us again.
                var over = ended.IsCompleted;
                var changed = changes.NextAsync(cancellationToken);
                if (file is not null) offset = await CopyFileAsync(file.Handle, offset, client, cancellationToken).ConfigureAwait(false);
                if (Rotated(ref file, out var former))
                {
                    if (former is not null)
                    {
                        // Whatever was written to the former between our read and its renaming.
                        using (former) await CopyFileAsync(former.Handle, offset, client, cancellationToken).ConfigureAwait(false);
                    }
                    offset = 0;
                    continue;
                }
                if (over) return;
                await Task.WhenAny(changed, ended).ConfigureAwait(false);
                cancellationToken.ThrowIfCancellationRequested();
            }
        }
        finally
        {
            file?.Dispose();
        }
    }

    /// <summary>Whether the name leads to another file than the one we have open; then that one is opened.</summary>
    private bool Rotated(ref LogFile? file, out LogFile? former)
    {
        former = null;
        var status = FileAt.TryStatus(null, path, followLinks: false, out _);
        if (status is null || (file is not null && status.Value.Inode == file.Inode) || LogFiles.TryOpen(path, packed: false) is not { } next) return false;
        former = file;
        file = next;
        return true;
    }

    public void Dispose()
    {
        Return(ref _input);
        Return(ref _scratch);
        Return(ref _output);
        _pending = 0;
    }
}
