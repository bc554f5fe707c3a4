using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text;

namespace Berth.Testing;

/// <summary>What a command left.</summary>
public sealed record CommandResult(string CommandLine, int ExitCode, string Output, string Error, TimeSpan Duration)
{
    /// <summary>Output without its last line end.</summary>
    public string Line => Output.TrimEnd('\r', '\n');

    public string[] Lines => Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    public override string ToString() => $"$ {CommandLine}\nexit {ExitCode} after {Duration.TotalSeconds:0.00} s\nstdout: {Output}\nstderr: {Error}";
}

/// <summary>
/// A command to be run: await it for its result. It must exit 0 unless <see cref="MayFail"/> was said, and end in time; otherwise the test fails with all
/// that the command printed.
/// </summary>
public sealed class Command(string file, IReadOnlyList<string> arguments, IReadOnlyDictionary<string, string>? environment = null)
{
    public static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(30);

    private readonly Dictionary<string, string> _environment = environment is null ? [] : new(environment);
    private byte[]? _input;
    private bool _mayFail;
    private TimeSpan _timeout = DefaultTimeout;

    /// <summary>Text for standard input, which then ends. Without it standard input is /dev/null.</summary>
    public Command WithInput(string text) => WithInput(Encoding.UTF8.GetBytes(text));

    public Command WithInput(byte[] bytes)
    {
        _input = bytes;
        return this;
    }

    public Command WithEnvironment(string name, string value)
    {
        _environment[name] = value;
        return this;
    }

    public Command WithTimeout(TimeSpan timeout)
    {
        _timeout = timeout;
        return this;
    }

    /// <summary>The test looks at the exit code itself.</summary>
    public Command MayFail()
    {
        _mayFail = true;
        return this;
    }

    public TaskAwaiter<CommandResult> GetAwaiter() => RunAsync().GetAwaiter();

    public async Task<CommandResult> RunAsync()
    {
        using var running = Start();
        if (_input is not null)
            await running.WriteAsync(_input);
        running.CloseInput();
        return await running.WaitAsync();
    }

    /// <summary>Starts it, with its standard input open, and goes on.</summary>
    public RunningCommand Start()
    {
        var start = new ProcessStartInfo(file)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        foreach (var (name, value) in _environment)
            start.Environment[name] = value;
        var line = Path.GetFileName(file) + " " + string.Join(' ', arguments.Select(Quote));
        return new RunningCommand(Process.Start(start)!, line, _timeout, _mayFail);
    }

    private static string Quote(string argument) => argument.Length > 0 && argument.All(c => char.IsLetterOrDigit(c) || "-_=./:,@%+".Contains(c)) ? argument : $"'{argument}'";
}

/// <summary>A command under way.</summary>
public sealed class RunningCommand : IDisposable
{
    private readonly Process _process;
    private readonly string _line;
    private readonly TimeSpan _timeout;
    private readonly bool _mayFail;
    private readonly long _startedAt = Stopwatch.GetTimestamp();
    private readonly Collector _output, _error;

    internal RunningCommand(Process process, string line, TimeSpan timeout, bool mayFail)
    {
        (_process, _line, _timeout, _mayFail) = (process, line, timeout, mayFail);
        _output = new(process.StandardOutput.BaseStream);
        _error = new(process.StandardError.BaseStream);
    }

    public int Id => _process.Id;
    public string OutputSoFar => _output.Text;
    public string ErrorSoFar => _error.Text;
    public bool HasExited => _process.HasExited;

    public Task WriteAsync(string text) => WriteAsync(Encoding.UTF8.GetBytes(text));

    public async Task WriteAsync(byte[] bytes)
    {
        try
        {
            await _process.StandardInput.BaseStream.WriteAsync(bytes);
            await _process.StandardInput.BaseStream.FlushAsync();
        }
        catch (IOException)
        {
            // It ended without reading all of it: its exit code and output tell.
        }
    }

    public void CloseInput()
    {
        try
        {
            _process.StandardInput.Close();
        }
        catch (IOException)
        {
        }
    }

    /// <summary>Waits until standard output holds <paramref name="text"/>.</summary>
    public Task OutputAsync(string text) => WaitForAsync(_output, text);

    public Task ErrorAsync(string text) => WaitForAsync(_error, text);

    private async Task WaitForAsync(Collector collector, string text)
    {
        if (!await collector.ContainsAsync(text, _timeout))
            throw new TestException($"\"{text}\" did not come from:\n{Describe()}");
    }

    public void Signal(string name)
    {
        using var kill = Process.Start("kill", ["-" + name, _process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
    }

    public async Task<CommandResult> WaitAsync()
    {
        using var limit = new CancellationTokenSource(_timeout);
        try
        {
            await _process.WaitForExitAsync(limit.Token);
            await _output.Ended.WaitAsync(limit.Token);
            await _error.Ended.WaitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            var text = Describe();
            _process.Kill(entireProcessTree: true);
            throw new TestException($"not finished after {_timeout.TotalSeconds} s:\n{text}");
        }
        var result = new CommandResult(_line, _process.ExitCode, _output.Text, _error.Text, Stopwatch.GetElapsedTime(_startedAt));
        return _mayFail || result.ExitCode == 0 ? result : throw new TestException($"failed:\n{result}");
    }

    private string Describe() => $"$ {_line}\nstdout: {_output.Text}\nstderr: {_error.Text}";

    /// <summary>Kills it if it still runs.</summary>
    public void Dispose()
    {
        if (!_process.HasExited)
            _process.Kill(entireProcessTree: true);
        _process.Dispose();
    }

    /// <summary>Reads a stream to its end and lets others wait for what it brings.</summary>
    private sealed class Collector
    {
        private readonly MemoryStream _bytes = new();
        private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Collector(Stream stream) => Ended = ReadAsync(stream);

        public Task Ended { get; }

        public string Text
        {
            get
            {
                lock (_bytes)
                    return Encoding.UTF8.GetString(_bytes.GetBuffer(), 0, (int)_bytes.Length);
            }
        }

        private async Task ReadAsync(Stream stream)
        {
            var buffer = new byte[64 * 1024];
            int read;
            while ((read = await stream.ReadAsync(buffer)) > 0)
            {
                lock (_bytes)
                    _bytes.Write(buffer, 0, read);
                Interlocked.Exchange(ref _changed, new(TaskCreationOptions.RunContinuationsAsynchronously)).SetResult();
            }
            Interlocked.Exchange(ref _changed, new(TaskCreationOptions.RunContinuationsAsynchronously)).SetResult();
        }

        public async Task<bool> ContainsAsync(string text, TimeSpan timeout)
        {
            var deadline = Task.Delay(timeout);
            while (true)
            {
                var changed = Volatile.Read(ref _changed).Task;
                var ended = Ended.IsCompleted;
                if (Text.Contains(text, StringComparison.Ordinal))
                    return true;
                if (ended || await Task.WhenAny(changed, Ended, deadline) == deadline)
                    return Text.Contains(text, StringComparison.Ordinal);
            }
        }
    }
}
