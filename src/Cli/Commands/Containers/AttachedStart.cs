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
        using var session = new StreamSession(await client.AttachAsync(id, attached.Stdin, attached.Stdout, attached.Stderr, detachKeys: detachKeys, cancellationToken: context.Cancelled), context, attached, detachKeys);
        using var wait = await client.BeginWaitAsync(id, removed ? "removed" : "next-exit", context.Cancelled);
        session.BeginInput();
        try
        {
            await client.StartContainerAsync(id, cancellationToken: context.Cancelled);
        }
        catch (EngineApiException e)
        {
            session.Dispose();
            if (removed) await wait.ResultAsync(context.Cancelled); // so that it is gone when we are
            throw failed(e);
        }

        using var size = attached.Tty && context.Terminal.OutputIsTerminal ? WindowSize.ForContainer(context, id) : null;
        Task<ContainerWaitResponse> exited;
        if (attached.Stdout || attached.Stderr)
        {
            if (!await session.CopyOutputAsync(context.Cancelled)) return null;
            exited = wait.ResultAsync(context.Cancelled);
        }
        else
        {
            // There is no output whose end could be waited for: the container's end is, or the keys that detach.
            exited = Task.Run(() => wait.ResultAsync(context.Cancelled));
            if (await Task.WhenAny(exited, session.Detached) == session.Detached) return null;
        }
        var result = await exited;
        if (result.Error is { Message: { } message })
        {
            context.Err.Write($"Error waiting for container: {message}\n");
            return Application.BadFlags;
        }
        return (int)result.StatusCode;
    }
}
