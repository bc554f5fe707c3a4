using System.Net.Sockets;
using Berth.Linux;
using Berth.Runtime.Monitor;
using Microsoft.Win32.SafeHandles;

namespace Berth.Fast.Tests.Runtime;

/// <summary>The pump with plain pipes in place of a process.</summary>
public sealed class ProcessOutputTests : IDisposable
{
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(30), Short = TimeSpan.FromMilliseconds(100);
    private readonly EventLoop _loop = new();
    private readonly Thread _thread;
    private readonly string _directory = Directory.CreateTempSubdirectory("berth-output-").FullName;
    private readonly TaskCompletionSource<string?> _finished = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public ProcessOutputTests()
    {
        _thread = new Thread(_loop.Run);
        _thread.Start();
    }

    public void Dispose()
    {
        _loop.Stop();
        _thread.Join();
        _loop.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public async Task An_attachment_gets_everything_framed_and_then_the_end()
    {
        var process = Start();
        var reader = process.Attach(stdout: true, stderr: true, StreamFraming.Docker);
        process.Begin();
        Write(process.Stdout, "out"u8);
        Assert.Equal("01000000000000036F7574", Convert.ToHexString(await ReadAsync(reader, 11)));
        Write(process.Stderr, "err"u8);
        Assert.Equal("0200000000000003657272", Convert.ToHexString(await ReadAsync(reader, 11)));
        process.End();

        Assert.Empty(await ReadToEndAsync(reader));
        Assert.Null(await _finished.Task.WaitAsync(Long));
    }

    [Fact]
    public async Task The_end_is_told_only_after_the_log_is_whole()
    {
        var path = Path.Combine(_directory, "log");
        var process = Start(log: new LogSettings(LogDriver.JsonFile, path));
        process.Begin();
        Write(process.Stdout, "a\nhalf"u8);
        process.End();
        await _finished.Task.WaitAsync(Long);

        Assert.Equal(2, File.ReadAllLines(path).Length);
    }

    [Fact]
    public async Task A_slow_reader_holds_the_process_back_and_loses_nothing()
    {
        var process = Start(stall: Long);
        var reader = process.Attach(stdout: true, stderr: false, StreamFraming.Raw);
        process.Begin();
        var written = new byte[4 * 1024 * 1024];
        new Random(1).NextBytes(written);
        var writing = Task.Run(() =>
        {
            Write(process.Stdout, written);
            process.End();
        });
        Assert.False(_finished.Task.IsCompleted);

        Assert.Equal(written, await ReadToEndAsync(reader));
        await writing;
        await _finished.Task.WaitAsync(Long);
    }

    [Fact]
    public async Task A_reader_that_stands_still_is_dropped_and_the_others_go_on()
    {
        // Long enough that a busy machine does not make the quick reader look like a stuck one.
        var process = Start(stall: TimeSpan.FromSeconds(2));
        var stuck = process.Attach(stdout: true, stderr: false, StreamFraming.Raw);
        var quick = process.Attach(stdout: true, stderr: false, StreamFraming.Raw);
        process.Begin();
        var writing = Task.Run(() =>
        {
            Write(process.Stdout, new byte[4 * 1024 * 1024]);
            process.End();
        });

        Assert.Equal(4 * 1024 * 1024, (await ReadToEndAsync(quick)).Length);
        await writing;
        await _finished.Task.WaitAsync(Long);
        Assert.True((await ReadToEndAsync(stuck)).Length < 4 * 1024 * 1024);
    }

    [Fact]
    public async Task A_grandchild_that_keeps_the_pipe_delays_the_end_for_the_grace_only()
    {
        var process = Start(grace: Short);
        var reader = process.Attach(stdout: true, stderr: false, StreamFraming.Raw);
        process.Begin();
        using var grandchild = Descriptor.Duplicate(process.Stdout);
        Write(process.Stdout, "early"u8);
        process.End();
        await _finished.Task.WaitAsync(Long);

        Assert.Equal("early"u8.ToArray(), await ReadToEndAsync(reader));
        // It must not be killed by SIGPIPE, nor stopped by a full pipe.
        Write(grandchild, new byte[1024 * 1024]);
    }

    [Fact]
    public async Task An_attachment_that_comes_after_the_end_of_the_output_ends_at_once()
    {
        var process = Start();
        process.Begin();
        process.End();
        await _finished.Task.WaitAsync(Long);
        var reader = process.Attach(stdout: true, stderr: true, StreamFraming.Docker);

        Assert.Empty(await ReadToEndAsync(reader));
    }

    [Fact]
    public async Task A_reader_that_goes_away_disturbs_nobody()
    {
        var process = Start();
        var leaving = process.Attach(stdout: true, stderr: true, StreamFraming.Docker);
        var staying = process.Attach(stdout: true, stderr: true, StreamFraming.Raw);
        process.Begin();
        leaving.Dispose();
        Write(process.Stdout, "still here"u8);
        process.End();

        Assert.Equal("still here"u8.ToArray(), await ReadToEndAsync(staying));
        await _finished.Task.WaitAsync(Long);
    }

    private static void Write(SafeFileHandle pipe, ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            var count = Descriptor.TryWrite(pipe, bytes, out var errno);
            Assert.Equal(Errno.Success, errno);
            bytes = bytes[count..];
        }
    }

    private static async Task<byte[]> ReadAsync(Socket socket, int length)
    {
        var bytes = new byte[length];
        using var timeout = new CancellationTokenSource(Long);
        for (var at = 0; at < length;)
        {
            var count = await socket.ReceiveAsync(bytes.AsMemory(at), timeout.Token);
            Assert.NotEqual(0, count);
            at += count;
        }
        return bytes;
    }

    private static async Task<byte[]> ReadToEndAsync(Socket socket)
    {
        using var timeout = new CancellationTokenSource(Long);
        var all = new MemoryStream();
        await using var stream = new NetworkStream(socket, ownsSocket: true);
        await stream.CopyToAsync(all, timeout.Token);
        return all.ToArray();
    }

    private FakeProcess Start(LogSettings? log = null, TimeSpan? stall = null, TimeSpan? grace = null)
    {
        var context = new PumpContext(_loop, TimeProvider.System, stall ?? Long, grace ?? Long);
        return new FakeProcess(_loop, context, log is null ? null : new JsonLogFile(log, context.LogBuffer, TimeProvider.System), error => _finished.SetResult(error));
    }

    private sealed class FakeProcess
    {
        private readonly EventLoop _loop;
        private readonly ProcessOutput _output;

        public FakeProcess(EventLoop loop, PumpContext context, JsonLogFile? log, Action<string?> finished)
        {
            _loop = loop;
            (var stdout, Stdout) = Descriptor.Pipe();
            (var stderr, Stderr) = Descriptor.Pipe();
            _output = new ProcessOutput(context, "test", stdout, stderr, log, finished);
        }

        public SafeFileHandle Stdout { get; }
        public SafeFileHandle Stderr { get; }

        public void Begin() => _loop.Post(_output.Start);

        public Socket Attach(bool stdout, bool stderr, StreamFraming framing)
        {
            var attachment = Attachment.Create(stdout, stderr, framing, out var reader);
            _loop.Post(() => _output.Attach((SafeFileHandle)attachment.Socket, stdout, stderr, framing));
            return new Socket(reader);
        }

        public void End()
        {
            Stdout.Dispose();
            Stderr.Dispose();
            _loop.Post(_output.ProcessEnded);
        }
    }
}
