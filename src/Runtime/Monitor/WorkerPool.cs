using Gate = System.Threading.Monitor;

namespace Berth.Runtime.Monitor;

/// <summary>
/// Threads for kernel work that takes milliseconds (launches, removal of cgroups), so that the loops never wait for it. Jobs begin in the order queued;
/// threads are made when all are busy and end after being idle, so that a quiet monitor stays small.
/// </summary>
internal sealed class WorkerPool(int maxThreads)
{
    private const int StackBytes = 256 * 1024;
    private static readonly TimeSpan IdleTime = TimeSpan.FromSeconds(5);

    private readonly object _gate = new();
    private readonly Queue<Action> _jobs = new();
    private int _threads, _idle;

    public void Queue(Action job)
    {
        lock (_gate)
        {
            _jobs.Enqueue(job);
            if (_idle >= _jobs.Count)
            {
                Gate.Pulse(_gate);
                return;
            }
            if (_threads == maxThreads) return;
            _threads++;
        }
        new Thread(Work, StackBytes) { IsBackground = true, Name = "worker" }.Start();
    }

    private void Work()
    {
        while (true)
        {
            Action job;
            lock (_gate)
            {
                while (_jobs.Count == 0)
                {
                    _idle++;
                    var woken = Gate.Wait(_gate, IdleTime);
                    _idle--;
                    if (woken || _jobs.Count > 0) continue;
                    _threads--;
                    return;
                }
                job = _jobs.Dequeue();
            }
            try
            {
                job();
            }
            catch (Exception failure)
            {
                Journal.Write($"bug: {failure}");
            }
        }
    }
}
