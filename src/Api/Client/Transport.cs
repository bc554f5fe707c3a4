using System.Diagnostics;
using System.IO.Pipes;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;

namespace Berth.Api;

/// <summary>The bytes of a connection, and how its two directions end: a socket, a socket with TLS, or a program's standard streams.</summary>
internal abstract class Transport(Stream stream) : IDisposable
{
    public Stream Stream { get; } = stream;

    /// <summary>A kept connection that has something to read has been closed by the other side (or is out of step).</summary>
    public abstract bool IsStale { get; }

    /// <summary>Says that no more is sent; what is received goes on.</summary>
    public abstract void ShutdownSend();

    /// <summary>Both directions end at once, a read that is under way included; descriptors stay until disposed.</summary>
    public abstract void Shutdown();

    /// <summary>Why it ended, when that is known better than by the stream.</summary>
    public virtual EngineConnectionException? Failure() => null;

    public virtual void Dispose() => Stream.Dispose();
}

internal class SocketTransport(Socket socket, Stream? above = null) : Transport(above ?? new NetworkStream(socket, ownsSocket: true))
{
    protected Socket Socket { get; } = socket;

    public override bool IsStale
    {
        get
        {
            try
            {
                return Socket.Poll(0, SelectMode.SelectRead);
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                return true;
            }
        }
    }

    public override void ShutdownSend() => Socket.Shutdown(SocketShutdown.Send);

    public override void Shutdown()
    {
        try
        {
            Socket.Shutdown(SocketShutdown.Both);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
        }
    }
}

internal sealed class TlsTransport : SocketTransport
{
    private readonly SslStream _tls;

    private TlsTransport(Socket socket, SslStream tls) : base(socket, tls) => _tls = tls;

    /// <exception cref="EngineConnectionException">The two sides do not believe each other.</exception>
    public static async ValueTask<TlsTransport> AuthenticateAsync(EngineHost host, EngineTls tls, Socket socket, CancellationToken cancellationToken)
    {
        var options = tls.Options(host.Host);
        var stream = new SslStream(new NetworkStream(socket, ownsSocket: true));
        try
        {
            await stream.AuthenticateAsClientAsync(options, cancellationToken).ConfigureAwait(false);
            return new TlsTransport(socket, stream);
        }
        catch (Exception e) when (e is AuthenticationException or IOException)
        {
            await stream.DisposeAsync().ConfigureAwait(false);
            throw new EngineConnectionException($"error during connect: {host.Text}: TLS: {(e.InnerException ?? e).Message}", e);
        }
    }

    // The end of the records, not of the connection: its answer comes the same way.
    public override void ShutdownSend() => _tls.ShutdownAsync().GetAwaiter().GetResult();
}

/// <summary>A named pipe of Windows, where engines of that system listen.</summary>
internal sealed class PipeTransport : Transport
{
    /// <summary>How long a pipe may have no free end.</summary>
    private const int PatienceMilliseconds = 10_000;

    private readonly NamedPipeClientStream _pipe;

    private PipeTransport(NamedPipeClientStream pipe) : base(pipe) => _pipe = pipe;

    /// <exception cref="EngineConnectionException">Nobody listens there.</exception>
    public static async ValueTask<PipeTransport> ConnectAsync(EngineHost host, string machine, string name, CancellationToken cancellationToken)
    {
        var pipe = new NamedPipeClientStream(machine, name, PipeDirection.InOut, PipeOptions.Asynchronous);
        try
        {
            await pipe.ConnectAsync(PatienceMilliseconds, cancellationToken).ConfigureAwait(false);
            return new PipeTransport(pipe);
        }
        catch (Exception e) when (e is TimeoutException or IOException or UnauthorizedAccessException)
        {
            await pipe.DisposeAsync().ConfigureAwait(false);
            throw new EngineConnectionException(host, e);
        }
    }

    public override bool IsStale => !_pipe.IsConnected;

    // A message of no bytes is what engines there take for the end.
    public override void ShutdownSend() => _pipe.Write([]);

    public override void Shutdown() => _pipe.Dispose();
}

/// <summary>A program that passes on what it is told: ssh to another machine's engine.</summary>
internal sealed class ProcessTransport : Transport
{
    /// <summary>Most that is kept of what it says went wrong.</summary>
    private const int MaxErrorChars = 4096;

    private readonly Process _process;
    private readonly IReadOnlyList<string> _command;
    private readonly StringBuilder _errors = new();

    private ProcessTransport(Process process, IReadOnlyList<string> command) : base(new Duplex(process.StandardOutput.BaseStream, process.StandardInput.BaseStream))
    {
        (_process, _command) = (process, command);
        process.ErrorDataReceived += (_, line) =>
        {
            lock (_errors)
                if (line.Data is not null && _errors.Length < MaxErrorChars) _errors.Append(_errors.Length > 0 ? "\n" : "").Append(line.Data);
        };
        process.BeginErrorReadLine();
    }

    public static ProcessTransport Start(EngineHost host, IReadOnlyList<string> command)
    {
        try
        {
            var start = new ProcessStartInfo(command[0], command.Skip(1)) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
            return new ProcessTransport(Process.Start(start)!, command);
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new EngineConnectionException($"error during connect: {host.Text}: exec: \"{command[0]}\": {e.Message}", e);
        }
    }

    public override bool IsStale => _process.HasExited;

    public override void ShutdownSend() => _process.StandardInput.Close();

    public override void Shutdown()
    {
        try
        {
            _process.Kill();
        }
        catch (InvalidOperationException)
        {
            // It has ended by itself.
        }
    }

    public override EngineConnectionException? Failure()
    {
        _process.WaitForExit(TimeSpan.FromSeconds(1)); // its output has ended; so does it
        if (!_process.HasExited) return null;
        _process.WaitForExit(); // for the rest of what it says
        lock (_errors)
            return new EngineConnectionException($"error during connect: command [{string.Join(' ', _command)}] has exited with exit status {_process.ExitCode}, make sure the URL is valid, and Docker 18.09 or later is installed on the remote host: stderr={_errors}");
    }

    public override void Dispose()
    {
        Shutdown();
        base.Dispose();
        _process.Dispose();
    }

    /// <summary>One stream of the two.</summary>
    private sealed class Duplex(Stream input, Stream output) : SequentialStream
    {
        public override int Read(Span<byte> buffer) => input.Read(buffer);
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => input.ReadAsync(buffer, cancellationToken);
        public override void Write(ReadOnlySpan<byte> buffer)
        {
            output.Write(buffer);
            output.Flush();
        }
        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await output.WriteAsync(buffer, cancellationToken).ConfigureAwait(false);
            await output.FlushAsync(cancellationToken).ConfigureAwait(false);
        }
        public override void Flush() => output.Flush();
        public override bool CanRead => true;
        public override bool CanWrite => true;

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                input.Dispose();
                try
                {
                    output.Dispose();
                }
                catch (IOException)
                {
                    // Nobody reads any more.
                }
            }
            base.Dispose(disposing);
        }
    }
}
