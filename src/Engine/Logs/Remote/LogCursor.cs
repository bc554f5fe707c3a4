using System.Globalization;
using System.Text;
using Berth.Linux;
using Microsoft.Win32.SafeHandles;

namespace Berth.Engine;

/// <summary>
/// Reads a log's lines once each, in order, across rotations and across restarts of the daemon. Where it is is kept in a small file beside the log: inode and offset of the next
/// line, and the time of the last one for the case that its file is gone. Not thread-safe but for <see cref="Detach"/>.
/// </summary>
internal sealed class LogCursor : IDisposable
{
    private const int ReadBytes = 256 * 1024, MaxLineBytes = 1024 * 1024;
    private const string PositionFile = "log-position";

    private readonly string _path;
    private readonly Lock _lock = new();

    // The one being read, and those after it as far as they are known.
    private List<LogFile> _files = [];
    private SafeFileHandle? _position;
    private byte[] _buffer = [];
    private int _start, _end;
    private long _offset; // of _buffer[_start] in the file
    private long _savedOffset, _lastTime;
    private ulong _savedInode;
    private bool _detached;

    public LogCursor(string path)
    {
        _path = path;
        var (inode, offset, time) = Load();
        _lastTime = time;
        Open(inode, offset);
    }

    /// <summary>Lines between the last one delivered and the first there is were rotated away; cleared by reading it.</summary>
    public bool TakeGap()
    {
        var gap = _gap;
        _gap = false;
        return gap;
    }

    private bool _gap;

    public long LastTime => _lastTime;

    /// <summary>The next line without its newline, as the file has it; false at the end for now. Good until the next call.</summary>
    public bool TryRead(out ReadOnlyMemory<byte> line)
    {
        while (true)
        {
            var newline = _buffer.AsSpan(_start, _end - _start).IndexOf((byte)'\n');
            if (newline >= 0)
            {
                line = _buffer.AsMemory(_start, newline);
                _start += newline + 1;
                _offset += newline + 1;
                return true;
            }
            if (!Fill() && !NextFile())
            {
                line = default;
                return false;
            }
        }
    }

    /// <summary>What was read is delivered.</summary>
    /// <param name="time">Of the last line.</param>
    public void Commit(long time)
    {
        lock (_lock)
        {
            // Writing wakes whoever watches the directory, which is us, too.
            if (_files.Count == 0 || (_offset == _savedOffset && _files[0].Inode == _savedInode)) return;
            _lastTime = time;
            (_savedOffset, _savedInode) = (_offset, _files[0].Inode);
            if (_detached) return;
            // Of one length always, so that each write covers the one before.
            var text = string.Create(CultureInfo.InvariantCulture, $"{_files[0].Inode:D20} {_offset:D20} {_lastTime:D20}\n");
            _position ??= File.OpenHandle(Path.Combine(Path.GetDirectoryName(_path)!, PositionFile), FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete);
            RandomAccess.Write(_position, Encoding.ASCII.GetBytes(text), 0);
        }
    }

    /// <summary>Back to what was committed last, in the same file or the ones after it. What was read since is read again.</summary>
    public void Rewind()
    {
        _start = _end = 0;
        _offset = _savedOffset;
    }

    /// <summary>The files are about to be removed: all there are are held open, and are read from those descriptors from now on. From any thread.</summary>
    public void Detach()
    {
        lock (_lock)
        {
            if (_files.Count == 0) Open(0, 0); // the first line may have come after we looked
            FindLater();
            _detached = true;
        }
    }

    public bool IsDetached => _detached;

    private bool Fill()
    {
        SafeFileHandle file;
        lock (_lock)
        {
            if (_files.Count == 0) Open(0, 0);
            if (_files.Count == 0) return false;
            file = _files[0].Handle;
        }
        if (_buffer.Length == 0) _buffer = new byte[ReadBytes];
        if (_start > 0)
        {
            _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
            (_end, _start) = (_end - _start, 0);
        }
        if (_end == _buffer.Length)
        {
            // No line of ours is that long: passed over.
            if (_buffer.Length >= MaxLineBytes) (_offset, _end) = (_offset + _end, 0);
            else Array.Resize(ref _buffer, MaxLineBytes);
        }
        var count = RandomAccess.Read(file, _buffer.AsSpan(_end), _offset + _end);
        _end += count;
        return count > 0;
    }

    /// <summary>A batch ends with its file: committed before the next is begun, so that a rewind never crosses files.</summary>
    public bool AtEndOfFile
    {
        get
        {
            lock (_lock)
            {
                FindLater();
                return _files.Count > 1;
            }
        }
    }

    private bool NextFile()
    {
        lock (_lock)
        {
            FindLater();
            // Not before what was read of this one is delivered.
            if (_files.Count < 2 || _offset != _savedOffset) return false;
            // Something may have been written between our last read and the rename.
            if (RandomAccess.GetLength(_files[0].Handle) > _offset + (_end - _start)) return true;
            _files[0].Dispose();
            _files.RemoveAt(0);
            (_start, _end, _offset, _savedOffset, SkipBefore) = (0, 0, 0, 0, 0);
            return true;
        }
    }

    /// <summary>Opens what came after the files we hold.</summary>
    private void FindLater()
    {
        if (_detached || _files.Count == 0) return;
        if (FileAt.TryStatus(null, _path, followLinks: false, out _) is not { } status || status.Inode == _files[^1].Inode) return;
        var all = LogFiles.OpenAll(_path);
        var known = all.FindLastIndex(f => f.Inode == _files[^1].Inode);
        if (known < 0 && all.Count > 0)
        {
            // Ours was rotated away, or is another file since it was compressed: what follows is told by the times of the lines.
            known = all.FindLastIndex(f => FirstTime(f) is { } first && first <= LastTimeOf(_files[^1]));
            if (known < 0) _gap = true;
        }
        for (var i = 0; i < all.Count; i++)
        {
            if (i <= known) all[i].Dispose();
            else _files.Add(all[i]);
        }
    }

    private void Open(ulong inode, long offset)
    {
        if (_detached) return;
        var all = LogFiles.OpenAll(_path);
        var at = all.FindIndex(f => f.Inode == inode && IsPosition(f, offset));
        if (at < 0)
        {
            offset = 0;
            at = 0;
            // Everything there is, but for what was delivered before.
            if (_lastTime > 0)
            {
                at = Math.Max(0, all.FindLastIndex(f => FirstTime(f) is { } first && first <= _lastTime));
                _gap = all.Count > 0 && (FirstTime(all[at]) ?? 0) > _lastTime;
                SkipBefore = _lastTime;
            }
        }
        for (var i = 0; i < at; i++) all[i].Dispose();
        _files = at < all.Count ? all[at..] : [];
        (_start, _end, _offset, _savedOffset) = (0, 0, offset, offset);
    }

    /// <summary>Lines up to this time were delivered before, out of a file that is gone or has another form by now.</summary>
    public long SkipBefore { get; private set; }

    /// <summary>Inodes are given again: what was kept must also be true of the file.</summary>
    private bool IsPosition(LogFile file, long offset)
    {
        if (offset > RandomAccess.GetLength(file.Handle)) return false;
        return offset == 0 ? _lastTime == 0 || FirstTime(file) is not { } first || first > _lastTime : LastTimeOf(file, offset) == _lastTime;
    }

    private static long? FirstTime(LogFile file)
    {
        var buffer = new byte[64 * 1024];
        var count = RandomAccess.Read(file.Handle, buffer, 0);
        var newline = buffer.AsSpan(0, count).IndexOf((byte)'\n');
        return newline < 0 ? null : TimeOf(buffer.AsSpan(0, newline));
    }

    private static long LastTimeOf(LogFile file) => LastTimeOf(file, RandomAccess.GetLength(file.Handle));

    private static long LastTimeOf(LogFile file, long end)
    {
        var buffer = new byte[Math.Min(end, MaxLineBytes)];
        var count = RandomAccess.Read(file.Handle, buffer, end - buffer.Length);
        var text = buffer.AsSpan(0, count).TrimEnd((byte)'\n');
        return TimeOf(text[(text.LastIndexOf((byte)'\n') + 1)..]) ?? 0;
    }

    private static long? TimeOf(ReadOnlySpan<byte> line) =>
        LogLine.TryParse(line, new byte[line.Length], out _, out _, out var time, out _) && LogLine.TryTime(time, out var nanoseconds) ? nanoseconds : null;

    private (ulong Inode, long Offset, long Time) Load()
    {
        try
        {
            var fields = File.ReadAllText(Path.Combine(Path.GetDirectoryName(_path)!, PositionFile)).Split(' ', '\n');
            return (ulong.Parse(fields[0], CultureInfo.InvariantCulture), long.Parse(fields[1], CultureInfo.InvariantCulture), long.Parse(fields[2], CultureInfo.InvariantCulture));
        }
        catch (Exception e) when (e is IOException or FormatException or OverflowException or IndexOutOfRangeException)
        {
            return default;
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            foreach (var file in _files) file.Dispose();
            _files.Clear();
            _position?.Dispose();
            _detached = true;
        }
    }
}
