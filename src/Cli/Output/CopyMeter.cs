using System.Diagnostics;

namespace Berth.Cli.Output;

/// <summary>
/// How a transfer goes, on a line of its own: "Copying to container - 12.4MB/40MB  8.2MB/s  4s left". Written while bytes
/// pass, at most ten times a second; nothing without a terminal.
/// </summary>
internal sealed class CopyMeter(CommandContext context, bool quiet, string title) : IDisposable
{
    private readonly Stopwatch _clock = new();
    private long _bytes, _shownAt = -1;
    private bool _open;

    /// <summary>Of what is sent to the engine: shown until it answers.</summary>
    public static CopyMeter ForUpload(CommandContext context, Stream? content)
    {
        var meter = new CopyMeter(context, quiet: content is null || !context.Terminal.OutputIsTerminal, "Sending to the engine") { Total = content is { CanSeek: true } ? content.Length : 0 };
        meter.Begin();
        return meter;
    }

    /// <summary>Of how many; 0: not known.</summary>
    public long Total { get; init; }

    public long Bytes => _bytes;

    public void Begin()
    {
        _clock.Start();
        if (quiet) return;
        _open = true;
        context.Err.Write($"{title} - 0B");
    }

    /// <summary>The same stream; what is read of it is counted.</summary>
    public Stream Count(Stream stream) => new Counted(stream, this);

    private void Add(int count)
    {
        _bytes += count;
        if (!_open || _clock.ElapsedMilliseconds - _shownAt < 100) return;
        _shownAt = _clock.ElapsedMilliseconds;
        context.Err.Write($"\r\u001b[2K{title} - {Text(_bytes, Total, _clock.Elapsed)}");
    }

    internal static string Text(long bytes, long total, TimeSpan elapsed)
    {
        var text = Units.HumanSize(bytes, 3) + (total > 0 ? "/" + Units.HumanSize(total, 3) : "");
        if (elapsed.TotalSeconds < 0.5 || bytes == 0) return text;
        var rate = bytes / elapsed.TotalSeconds;
        text += $"  {Units.HumanSize(rate, 3)}/s";
        return total > bytes ? text + $"  {Left(TimeSpan.FromSeconds((total - bytes) / rate))} left" : text;
    }

    /// <summary>"4s", "1m20s", "2h5m".</summary>
    internal static string Left(TimeSpan time) => time.TotalSeconds < 1 ? "1s" : time.TotalMinutes < 1 ? $"{(int)time.TotalSeconds}s" : time.TotalHours < 1 ? $"{(int)time.TotalMinutes}m{time.Seconds}s" : $"{(long)time.TotalHours}h{time.Minutes}m";

    private void Clear()
    {
        if (!_open) return;
        _open = false;
        context.Err.Write("\r\u001b[2K");
    }

    /// <summary>Says what was copied.</summary>
    public void End(string destination)
    {
        Clear();
        if (!quiet) context.Err.Write($"Successfully copied {Units.HumanSize(_bytes, 3)} to {destination}\n");
    }

    public void Dispose() => Clear();

    private sealed class Counted(Stream inner, CopyMeter meter) : Stream
    {
        public override int Read(Span<byte> buffer)
        {
            var read = inner.Read(buffer);
            meter.Add(read);
            return read;
        }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var read = await inner.ReadAsync(buffer, cancellationToken);
            meter.Add(read);
            return read;
        }

        public override bool CanRead => true;
        public override bool CanSeek => inner.CanSeek;
        public override bool CanWrite => false;
        public override long Length => inner.Length;
        public override long Position { get => inner.Position; set => inner.Position = value; }
        public override void Flush() { }
        public override long Seek(long offset, SeekOrigin origin) => inner.Seek(offset, origin);
        public override void SetLength(long value) => throw new NotSupportedException();
        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
