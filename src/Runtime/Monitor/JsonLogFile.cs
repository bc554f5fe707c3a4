using System.IO.Compression;
using System.Text;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Monitor;

/// <summary>
/// A json-file log being written: lines as Docker splits them, rotation as Docker names it (x-json.log, x-json.log.1, ... the newest without a number).
/// Whoever follows the file sees it renamed and a new one in its place.
/// </summary>
internal sealed class JsonLogFile : IDisposable
{
    /// <summary>Longer lines are written in pieces of this many bytes; only the last piece ends in \n.</summary>
    public const int MaxLineBytes = 16 * 1024;

    private readonly LogSettings _settings;
    private readonly string _path;
    private readonly byte[] _buffer;
    private readonly TimeProvider _clock;
    private readonly Action<Action> _background;
    private readonly byte[] _attributes;
    private volatile bool _compressing;
    private SafeFileHandle _file;
    private long _size;
    private int _buffered;
    private long _lostBytes;

    /// <param name="buffer">Shared by all logs of one thread: empty between calls. At least <see cref="MinBufferBytes"/>.</param>
    /// <param name="background">Where rotated files are compressed; null: here and now.</param>
    /// <exception cref="LinuxException">The file can't be opened.</exception>
    public JsonLogFile(LogSettings settings, byte[] buffer, TimeProvider clock, Action<Action>? background = null)
    {
        _background = background ?? (work => work());
        _attributes = settings.Attributes is { Length: > 0 } attributes ? Encoding.UTF8.GetBytes(attributes) : [];
        if (_attributes.Length > MonitorLimits.LogAttributesBytes) throw new MonitorException(MonitorError.BadRequest, $"log attributes of {_attributes.Length} bytes; {MonitorLimits.LogAttributesBytes} are the limit");
        _settings = settings;
        _path = settings.Path!;
        _buffer = buffer;
        _clock = clock;
        _file = Open(OpenFlags.Append);
        _size = (long)FileAt.Status(_file).SizeBytes;
        if (_size > 0) _size = RepairEnd();
    }

    public const int MinBufferBytes = MaxLineBytes * JsonLogEncoder.MaxGrowth + JsonLogEncoder.MaxOverheadBytes + MonitorLimits.LogAttributesBytes;

    /// <summary>The first error since the last call; output was lost.</summary>
    public string? TakeError()
    {
        var error = _error;
        _error = null;
        return error;
    }

    private string? _error;

    /// <summary>Takes output as it was read. What follows the last newline waits in <paramref name="line"/>.</summary>
    public void Append(LogLine line, ReadOnlySpan<byte> output)
    {
        Span<byte> ending = stackalloc byte[JsonLogEncoder.MaxOverheadBytes + _attributes.Length];
        var now = _clock.GetUtcNow().UtcDateTime;
        ending = ending[..JsonLogEncoder.MakeEnding(line.Stderr, now, _attributes, ending)];
        while (output.Length > 0)
        {
            var window = output[..Math.Min(output.Length, MaxLineBytes - line.Length)];
            var newline = window.IndexOf((byte)'\n');
            if (newline < 0 && window.Length + line.Length < MaxLineBytes)
            {
                line.Add(window);
                break;
            }
            var piece = newline < 0 ? window : window[..newline];
            if (line.Length > 0)
            {
                line.Add(piece);
                piece = line.Pending;
            }
            Write(line, piece, newline >= 0, now, ending);
            line.Clear();
            output = output[(newline < 0 ? window.Length : newline + 1)..];
        }
        Flush();
    }

    /// <summary>End of a stream: what is left is a last line without \n.</summary>
    public void Finish(LogLine line)
    {
        if (line.Length == 0) return;
        Span<byte> ending = stackalloc byte[JsonLogEncoder.MaxOverheadBytes + _attributes.Length];
        var now = _clock.GetUtcNow().UtcDateTime;
        ending = ending[..JsonLogEncoder.MakeEnding(line.Stderr, now, _attributes, ending)];
        Write(line, line.Pending, complete: false, now, ending);
        line.Clear();
        Flush();
    }

    private void Write(LogLine line, ReadOnlySpan<byte> piece, bool complete, DateTime now, ReadOnlySpan<byte> ending)
    {
        if (_settings.MaxSizeBytes is { } limit && _size + _buffered >= limit)
        {
            Flush();
            // After a failed write the size may be below the limit again. While the file before is being compressed under its name this one grows on: nothing waits.
            if (_size >= limit && !_compressing) Rotate();
        }
        if (_buffer.Length - _buffered < piece.Length * JsonLogEncoder.MaxGrowth + JsonLogEncoder.MaxOverheadBytes + _attributes.Length) Flush();

        // All pieces of a long line carry the time of its first.
        if (line.PartialSince is { } since)
        {
            Span<byte> older = stackalloc byte[JsonLogEncoder.MaxOverheadBytes + _attributes.Length];
            _buffered += JsonLogEncoder.Encode(piece, older[..JsonLogEncoder.MakeEnding(line.Stderr, since, _attributes, older)], complete, _buffer.AsSpan(_buffered));
        }
        else
        {
            _buffered += JsonLogEncoder.Encode(piece, ending, complete, _buffer.AsSpan(_buffered));
        }
        line.PartialSince = complete ? null : line.PartialSince ?? now;
    }

    private void Flush()
    {
        var rest = _buffer.AsSpan(0, _buffered);
        _buffered = 0;
        var written = 0;
        while (written < rest.Length)
        {
            var count = Descriptor.TryWrite(_file, rest[written..], out var errno);
            if (count >= 0)
            {
                written += count;
                continue;
            }
            // Disk full, most likely: half a line must not stay, a reader would choke on it.
            Descriptor.TrySetLength(_file, _size);
            _lostBytes += rest.Length;
            _error ??= $"write(\"{_path}\") = {errno} ({errno.Describe()}): output of the container is lost";
            return;
        }
        _size += written;
    }

    private void Rotate()
    {
        try
        {
            if (_settings.MaxFiles < 2)
            {
                File.Delete(_path);
            }
            else
            {
                foreach (var ending in Endings)
                {
                    File.Delete($"{_path}.{_settings.MaxFiles - 1}{ending}");
                    for (var i = _settings.MaxFiles - 1; i > 1; i--) MoveIfThere($"{_path}.{i - 1}{ending}", $"{_path}.{i}{ending}");
                }
                MoveIfThere(_path, $"{_path}.1");
            }
            var fresh = Open(OpenFlags.Append | OpenFlags.Truncate);
            _file.Dispose();
            _file = fresh;
            _size = 0;
            if (_settings is { Compress: true, MaxFiles: > 1 })
            {
                _compressing = true;
                _background(Compress);
            }
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            // Keep writing to the old file: too large is better than lost.
            _error ??= $"rotating {_path}: {failure.Message}";
        }
    }

    private static readonly string[] Endings = ["", ".gz"];

    // Until the compressed file has its name the other is there, and readers take that where both are.
    private void Compress()
    {
        var source = $"{_path}.1";
        var unfinished = source + ".gz.tmp";
        try
        {
            using (var plain = File.OpenRead(source))
            using (var packed = new GZipStream(new FileStream(FileAt.Open(null, unfinished, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Truncate, 0x1A0 /* 0640 */), FileAccess.Write), CompressionLevel.Fastest))
                plain.CopyTo(packed);
            File.Move(unfinished, source + ".gz", overwrite: true);
            File.Delete(source);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            // Of a container that is being removed, or of a full disk: not compressed is no loss.
            Journal.Write($"compressing {source}: {failure.Message}");
            try
            {
                File.Delete(unfinished);
            }
            catch (IOException)
            {
                // With its directory.
            }
        }
        finally
        {
            _compressing = false;
        }
    }

    private static void MoveIfThere(string from, string to)
    {
        try
        {
            File.Move(from, to, overwrite: true);
        }
        catch (FileNotFoundException)
        {
        }
    }

    private SafeFileHandle Open(OpenFlags flags) => FileAt.Open(null, _path, OpenFlags.WriteOnly | OpenFlags.Create | flags, 0x1A0 /* 0640 */);

    // A monitor that was killed may have left half a line behind.
    private long RepairEnd()
    {
        using var reader = File.OpenHandle(_path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
        var size = RandomAccess.GetLength(reader);
        Span<byte> tail = stackalloc byte[1024];
        var end = size;
        while (end > 0)
        {
            var start = Math.Max(0, end - tail.Length);
            var block = tail[..(int)(end - start)];
            if (RandomAccess.Read(reader, block, start) != block.Length) return size;
            var newline = block.LastIndexOf((byte)'\n');
            if (newline >= 0)
            {
                end = start + newline + 1;
                break;
            }
            end = start;
        }
        if (end == size) return size;
        RandomAccess.SetLength(reader, end);
        return end;
    }

    public void Dispose() => _file.Dispose();
}

/// <summary>The unfinished line of one stream. Takes no memory while there is none.</summary>
internal sealed class LogLine(bool stderr)
{
    private const int KeepBytes = 512;
    private byte[] _bytes = [];

    public bool Stderr { get; } = stderr;
    public int Length { get; private set; }
    public ReadOnlySpan<byte> Pending => _bytes.AsSpan(0, Length);

    /// <summary>Pieces of this line were written, the first at this time.</summary>
    public DateTime? PartialSince { get; set; }

    public void Add(ReadOnlySpan<byte> bytes)
    {
        if (_bytes.Length < Length + bytes.Length) Array.Resize(ref _bytes, Math.Max(64, Math.Max(Length + bytes.Length, Math.Min(_bytes.Length * 2, JsonLogFile.MaxLineBytes))));
        bytes.CopyTo(_bytes.AsSpan(Length));
        Length += bytes.Length;
    }

    public void Clear()
    {
        Length = 0;
        if (_bytes.Length > KeepBytes) _bytes = [];
    }
}
