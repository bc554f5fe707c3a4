using System.Runtime.InteropServices;
using System.Threading.Channels;

namespace Berth.Cli.Streams;

/// <summary>
/// --sig-proxy: signals that reach this process go to the container's instead. In order, one at a time; those that cannot
/// be delivered (the container has just ended) are dropped.
/// </summary>
internal sealed class SignalForwarder : IDisposable
{
    /// <summary>By number (signal(7), x64 and arm64). Not KILL and STOP, which nobody can catch; not CHLD, PIPE and URG, which are about us; not WINCH, which the terminal's new size brings about.</summary>
    private static readonly (int Number, string Name)[] Forwarded =
    [
        (1, "HUP"), (2, "INT"), (3, "QUIT"), (10, "USR1"), (12, "USR2"), (14, "ALRM"), (15, "TERM"), (18, "CONT"), (20, "TSTP"), (21, "TTIN"), (22, "TTOU"),
    ];

    private readonly List<PosixSignalRegistration> _registrations = [];
    private readonly Channel<string> _queue = Channel.CreateUnbounded<string>(new UnboundedChannelOptions { SingleReader = true });

    public SignalForwarder(CommandContext context, string containerId)
    {
        if (!OperatingSystem.IsLinux()) return;
        foreach (var (number, name) in Forwarded)
            _registrations.Add(PosixSignalRegistration.Create((PosixSignal)number, signal =>
            {
                signal.Cancel = true;
                _queue.Writer.TryWrite(name);
            }));
        _ = ForwardAsync(context, containerId);
    }

    private async Task ForwardAsync(CommandContext context, string containerId)
    {
        await foreach (var name in _queue.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            try
            {
                await context.Client.KillContainerAsync(containerId, name).ConfigureAwait(false);
            }
            catch (Exception e)
            {
                if (context.Debug) context.Err.WriteLine($"signal {name} was not forwarded: {e.Message}");
            }
        }
    }

    public void Dispose()
    {
        foreach (var registration in _registrations) registration.Dispose();
        _queue.Writer.TryComplete();
    }
}
