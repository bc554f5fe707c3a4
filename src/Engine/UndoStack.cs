namespace Berth.Engine;

/// <summary>What was made so far, undone in reverse order unless committed. An undo that throws does not keep the others from running.</summary>
public sealed class UndoStack : IDisposable
{
    private readonly Stack<Action> _steps = new();

    public void Push(Action undo) => _steps.Push(undo);

    public void Commit() => _steps.Clear();

    public void Dispose()
    {
        List<Exception>? failures = null;
        while (_steps.TryPop(out var undo))
        {
            try
            {
                undo();
            }
            catch (Exception e)
            {
                (failures ??= []).Add(e);
            }
        }
        // The failure that made us undo is on its way up and matters more; nobody can act on these.
        _ = failures;
    }
}
