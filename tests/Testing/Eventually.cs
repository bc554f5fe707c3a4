using System.Diagnostics;

namespace Berth.Testing;

/// <summary>For what happens soon and tells nobody: asks again until it holds. Prefer an event where there is one.</summary>
public static class Eventually
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(20);

    public static Task HoldsAsync(string what, Func<bool> condition, TimeSpan? within = null) => HoldsAsync(what, () => Task.FromResult(condition()), within);

    public static async Task HoldsAsync(string what, Func<Task<bool>> condition, TimeSpan? within = null)
    {
        var limit = within ?? TimeSpan.FromSeconds(10);
        var started = Stopwatch.GetTimestamp();
        while (!await condition())
        {
            if (Stopwatch.GetElapsedTime(started) > limit)
                throw new TestException($"not so after {limit.TotalSeconds} s: {what}");
            await Task.Delay(Interval);
        }
    }
}
