using Berth.Images;
using Microsoft.Win32.SafeHandles;

namespace Berth.Registry;

/// <summary>
/// A blob that is being fetched, and is read meanwhile by whoever wants it. Its last byte is given out only when all of it has been checked: a reader never has the whole of
/// something wrong.
/// </summary>
public sealed class FillingBlob
{
    private readonly Lock gate = new();
    private TaskCompletionSource changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<long?> started = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long written;
    private bool verified;
    private Exception? failure;

    internal FillingBlob(Digest digest, string path) => (Digest, Path) = (digest, path);

    public Digest Digest { get; }
    internal string Path { get; }

    /// <summary>Its length, as soon as the registry has said it; null: it is known at the end only.</summary>
    public Task<long?> Length => started.Task;

    /// <summary>Ends with the blob kept, or as it failed.</summary>
    public Task Done { get; internal set; } = Task.CompletedTask;

    /// <summary>To read what has come; it stays readable when the file has its name. Null: it has it already, and is found there when this is <see cref="Done"/>.</summary>
    public SafeFileHandle? TryOpen()
    {
        try
        {
            return File.OpenHandle(Path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    /// <summary>How many bytes can be read; waits until there are more than <paramref name="than"/>.</summary>
    public async Task<long> MoreAsync(long than, CancellationToken cancellation)
    {
        while (true)
        {
            Task next;
            lock (gate)
            {
                if (failure is not null) throw new IOException($"blob {Digest} could not be fetched: {failure.Message}", failure);
                var readable = verified ? written : written - 1;
                if (readable > than) return readable;
                next = changed.Task;
            }
            await next.WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    internal void Begin(long? length) => started.TrySetResult(length);

    internal void Advance(long to) => Change(() => written = to);
    internal void Verified() => Change(() => verified = true);

    internal void Fail(Exception error)
    {
        Change(() => failure = error);
        if (started.TrySetException(error)) _ = started.Task.Exception; // told to whoever waits, and to nobody else
    }

    private void Change(Action what)
    {
        TaskCompletionSource waiting;
        lock (gate)
        {
            what();
            (waiting, changed) = (changed, new(TaskCreationOptions.RunContinuationsAsynchronously));
        }
        waiting.TrySetResult();
    }
}
