using System.Globalization;
using System.Text;
using Berth.Api;

namespace Berth.Compose.Engine;

/// <summary>The lines that containers print, each with the name of its container.</summary>
public sealed class Follower(EngineClient client, Action<string, string, bool> line)
{
    /// <summary>Follows a container's log until it stops; every line goes out whole.</summary>
    public async Task FollowAsync(string id, string name, bool tty, bool follow, string? since, string? until, string tail, bool timestamps, CancellationToken cancellationToken)
    {
        using var response = await client.LogsAsync(id, follow: follow, since: since, until: until, tail: tail, timestamps: timestamps, cancellationToken: cancellationToken).ConfigureAwait(false);
        await CopyAsync(response.Body, name, tty, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Attaches to a container's output. What it prints from the moment this returns goes out, until the inner task ends with the container; whether its log can be read does not matter.</summary>
    public async Task<Task> AttachAsync(string id, string name, bool tty, CancellationToken cancellationToken)
    {
        var stream = await client.AttachAsync(id, stdin: false, stdout: true, stderr: true, cancellationToken: cancellationToken).ConfigureAwait(false);
        return Task.Run(async () =>
        {
            using (stream) await CopyAsync(stream, name, tty, cancellationToken).ConfigureAwait(false);
        }, CancellationToken.None);
    }

    private async Task CopyAsync(Stream from, string name, bool tty, CancellationToken cancellationToken)
    {
        using var output = new Lines(text => line(name, text, false));
        using var error = new Lines(text => line(name, text, true));
        if (tty) await from.CopyToAsync(output, cancellationToken).ConfigureAwait(false);
        else await StdFrame.DemultiplexAsync(from, output, error, cancellationToken).ConfigureAwait(false);
        output.End();
        error.End();
    }

    /// <summary>Unix seconds with nanoseconds, as the engine takes them.</summary>
    public static string Time(long nanoseconds) => string.Create(CultureInfo.InvariantCulture, $"{nanoseconds / 1_000_000_000}.{nanoseconds % 1_000_000_000:000000000}");

    /// <summary>Bytes come in, lines go out.</summary>
    private sealed class Lines(Action<string> line) : SequentialStream
    {
        /// <summary>A longer line goes out in pieces.</summary>
        private const int MaxLine = 1 << 20;

        private readonly MemoryStream _rest = new();

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            while (!buffer.IsEmpty)
            {
                var end = buffer.IndexOf((byte)'\n');
                _rest.Write(end < 0 ? buffer : buffer[..end]);
                if (end < 0 && _rest.Length < MaxLine) return;
                End(always: end >= 0);
                buffer = end < 0 ? [] : buffer[(end + 1)..];
            }
        }

        public void End(bool always = false)
        {
            if (_rest.Length == 0 && !always) return;
            var text = Encoding.UTF8.GetString(_rest.GetBuffer(), 0, (int)_rest.Length);
            _rest.SetLength(0);
            line(text.TrimEnd('\r'));
        }

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            Write(buffer.Span);
            return ValueTask.CompletedTask;
        }

        public override bool CanWrite => true;
    }
}
