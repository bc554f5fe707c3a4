using System.Runtime.InteropServices;
using Berth.Api;

namespace Berth.Cli.Streams;

/// <summary>Keeps the container's terminal as large as ours.</summary>
internal sealed class WindowSize : IDisposable
{
    private readonly CommandContext _context;
    private readonly Func<int, int, Task> _resize;
    private readonly PosixSignalRegistration? _registration;

    /// <summary>Sets the size now and whenever it changes. The container may not be quite there yet: tried again for half a second.</summary>
    public static WindowSize ForContainer(CommandContext context, string id) => new(context, (height, width) => context.Client.ResizeContainerAsync(id, height, width));

    /// <inheritdoc cref="ForContainer"/>
    public static WindowSize ForExec(CommandContext context, string id) => new(context, (height, width) => context.Client.ResizeExecAsync(id, height, width));

    private WindowSize(CommandContext context, Func<int, int, Task> resize)
    {
        (_context, _resize) = (context, resize);
        if (!OperatingSystem.IsWindows()) _registration = PosixSignalRegistration.Create(PosixSignal.SIGWINCH, signal => { _ = SetAsync(retries: 0); });
        _ = SetAsync(retries: 10);
    }

    private async Task SetAsync(int retries)
    {
        for (var attempt = 0; ; attempt++)
        {
            var (height, width) = _context.Terminal.Size;
            if (height == 0 && width == 0) return;
            try
            {
                await _resize(height, width).ConfigureAwait(false);
                return;
            }
            catch (Exception e) when (e is EngineApiException or IOException or EngineConnectionException or ObjectDisposedException)
            {
                if (attempt >= retries) return;
            }
            // There is no event to wait for: the engine says no until the process is there.
            await Task.Delay(TimeSpan.FromMilliseconds(10 * (attempt + 1)), _context.Time).ConfigureAwait(false);
        }
    }

    public void Dispose() => _registration?.Dispose();
}
