using Berth.Api;
using Berth.Cli.Streams;

namespace Berth.Cli.Commands.Containers;

/// <summary>Attaches to a container, starts it and stays with it to the end: berth run, berth start -a.</summary>
internal static class AttachedStart
{
    /// <summary>The exit code; null when the user detached.</summary>
    /// <param name="context">The world around.</param>
    /// <param name="id">The container, created and not running.</param>
    /// <param name="attached">What to attach.</param>
    /// <param name="detachKeys">"" for the default.</param>
    /// <param name="removed">It is removed when it exits: that is what is waited for.</param>
    /// <param name="failed">Makes the error of a start that failed.</param>
    public static async Task<int?> RunAsync(CommandContext context, string id, AttachedStreams attached, string detachKeys, bool removed, Func<Exception, Exception> failed)
    {
        var client = context.Client;
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(context.Cancelled);
        var attaching = client.AttachAsync(id, attached.Stdin, attached.Stdout, attached.Stderr, detachKeys: detachKeys, cancellationToken: ending.Token);
        var waiting = client.BeginWaitAsync(id, removed ? "removed" : "next-exit", ending.Token);
        HijackedStream stream;
        try
        {
            stream = await attaching;
        }
        catch (EngineApiException)
        {
            ending.Cancel();
            await waiting.ContinueWith(static _ => { }, TaskScheduler.Default);
            throw;
        }
        using var session = new StreamSession(stream, context, attached, detachKeys);
        var exited = await waiting;
        var streams = session.RunAsync(ending.Token);
        try
        {
            await client.StartContainerAsync(id, cancellationToken: context.Cancelled);
        }
        catch (EngineApiException e)
        {
            session.Dispose();
            await streams.ContinueWith(static _ => { }, TaskScheduler.Default);
            if (removed) await exited.ContinueWith(static _ => { }, TaskScheduler.Default); // so that it is gone when we are
            throw failed(e);
        }

        using var size = attached.Tty && context.Terminal.OutputIsTerminal ? WindowSize.ForContainer(context, id) : null;
        if (!attached.Stdout && !attached.Stderr)
        {
            // No output whose end could be waited for: the input may be read for ever.
            if (await Task.WhenAny(exited, streams) == streams && !await streams) return null;
        }
        else if (!await streams) return null;
        var result = await exited;
        if (result.Error is { Message: { } message })
        {
            context.Err.Write($"Error waiting for container: {message}\n");
            return Application.BadFlags;
        }
        return (int)result.StatusCode;
    }
}
