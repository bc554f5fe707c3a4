using System.Text;
using Berth.Api;

namespace Berth.Cli.Output;

/// <summary>
/// Shows the messages of pull, load and import. On a terminal every layer keeps its line, which is painted again as it
/// goes on; elsewhere bars are left out and what remains is a line each.
/// </summary>
internal sealed class ProgressDisplay(TextWriter target, bool isTerminal, int width, TimeProvider? clock = null)
{
    private readonly TimeProvider _clock = clock ?? TimeProvider.System;
    private readonly Dictionary<(string Id, string Status), (long Start, long Bytes)> _begun = [];
    private readonly Dictionary<string, int> _lines = new(StringComparer.Ordinal);

    /// <exception cref="CommandException">The engine ended the stream with an error.</exception>
    public async Task ShowAsync(Stream body, Action<JsonMessage>? aux, CancellationToken cancellationToken)
    {
        await foreach (var message in EngineClient.ReadMessagesAsync(body, cancellationToken))
        {
            if (message.Aux is not null) aux?.Invoke(message);
            else Show(message);
        }
    }

    public void Show(JsonMessage message)
    {
        if (message.ErrorDetail is { } error) throw new CommandException(error.Message ?? "");
        if (message.Error is { } text) throw new CommandException(text);
        var up = 0;
        if (message.Id is { } id && message.ProgressDetail is not null)
        {
            if (!_lines.TryGetValue(id, out var line))
            {
                _lines[id] = line = _lines.Count;
                if (isTerminal) target.Write('\n');
            }
            up = _lines.Count - line;
            if (isTerminal) target.Write($"\u001b[{up}A");
        }
        else _lines.Clear(); // the lines above are no longer where they were

        Line(message);
        if (up > 0 && isTerminal) target.Write($"\u001b[{up}B");
        target.Flush();
    }

    private void Line(JsonMessage message)
    {
        var bar = message.ProgressDetail is { } progress ? Bar(progress, width) : "";
        var end = "";
        if (isTerminal && message.Stream is null && message.ProgressDetail is not null)
        {
            target.Write("\u001b[2K\r");
            end = "\r";
        }
        else if (bar.Length > 0) return;
        if (message.Id is not null) target.Write(message.Id + ": ");
        if (message.ProgressDetail is not null && isTerminal)
        {
            var line = $"{message.Status} {bar}";
            var rate = Rate(message);
            // A line that is longer than the terminal is two: nothing would be where it is painted again.
            if ((message.Id?.Length ?? 0) + 2 + line.Length + rate.Length < width) line += rate;
            target.Write(line + end);
        }
        else if (message.Stream is not null) target.Write(message.Stream + end);
        else target.Write($"{message.Status}{end}\n");
    }

    /// <summary>"  2.1MB/s 3s": since it began, and until it will have ended; "" for what counts no bytes.</summary>
    private string Rate(JsonMessage message)
    {
        if (message is not { Id: { } id, Status: { } status, ProgressDetail: { Units: null, HideCounts: false, Current: > 0, Total: > 0 } progress }) return "";
        if (!_begun.TryGetValue((id, status), out var begun))
        {
            _begun[(id, status)] = (_clock.GetTimestamp(), progress.Current);
            return "";
        }
        var seconds = _clock.GetElapsedTime(begun.Start).TotalSeconds;
        if (seconds < 0.5 || progress.Current <= begun.Bytes) return "";
        var rate = (progress.Current - begun.Bytes) / seconds;
        var left = progress.Total > progress.Current ? " " + CopyMeter.Left(TimeSpan.FromSeconds((progress.Total - progress.Current) / rate)) : "";
        return $"  {Units.HumanSize(rate, 3)}/s{left}";
    }

    /// <summary>"[====>     ]  1.05MB/4.45MB"; without the bar itself when the terminal is narrow.</summary>
    internal static string Bar(JsonProgress progress, int width)
    {
        if (progress is { Current: <= 0, Total: <= 0 }) return "";
        if (progress.Total <= 0) return progress.Units is null ? Units.HumanSize(progress.Current).PadLeft(8) : $"{progress.Current} {progress.Units}";
        var text = new StringBuilder();
        if (width > 110)
        {
            var done = Math.Min(50, (int)((double)progress.Current / progress.Total * 100) / 2);
            text.Append('[').Append('=', done).Append('>').Append(' ', 50 - done).Append("] ");
        }
        if (progress.HideCounts) return text.ToString();
        var wonky = progress.Current > progress.Total;
        if (progress.Units is null)
        {
            text.Append(Units.HumanSize(progress.Current).PadLeft(8));
            if (!wonky) text.Append('/').Append(Units.HumanSize(progress.Total));
        }
        else text.Append(wonky ? $"{progress.Current} {progress.Units}" : $"{progress.Current}/{progress.Total} {progress.Units}");
        return text.ToString();
    }
}
