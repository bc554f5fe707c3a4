using System.Globalization;
using System.Text;

namespace Berth.Daemon.Http;

/// <summary>How long requests on containers took, as dockerd counts them: a histogram per action.</summary>
internal sealed class ActionTimes
{
    // Prometheus' default buckets, in seconds; dockerd's too.
    private static readonly double[] Buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

    private static readonly (string Method, string Template, string Action)[] Actions =
    [
        ("GET", "/containers/{name}/changes", "changes"), ("POST", "/commit", "commit"), ("POST", "/containers/create", "create"), ("DELETE", "/containers/{name}", "delete"),
        ("POST", "/containers/{name}/start", "start"),
    ];

    private readonly Lock _lock = new();
    private readonly long[][] _counts = [.. Actions.Select(_ => new long[Buckets.Length + 1])];
    private readonly double[] _sums = new double[Actions.Length];

    public void Add(Route route, TimeSpan took)
    {
        var action = Array.FindIndex(Actions, a => a.Template == route.Template && a.Method == route.Method);
        if (action < 0)
            return;
        var bucket = Array.FindIndex(Buckets, b => took.TotalSeconds <= b);
        lock (_lock)
        {
            _counts[action][bucket < 0 ? Buckets.Length : bucket]++;
            _sums[action] += took.TotalSeconds;
        }
    }

    /// <summary>In Prometheus' text format: buckets count all that was no slower.</summary>
    public void Write(StringBuilder text, string name)
    {
        lock (_lock)
        {
            for (var action = 0; action < Actions.Length; action++)
            {
                long below = 0;
                for (var bucket = 0; bucket <= Buckets.Length; bucket++)
                {
                    below += _counts[action][bucket];
                    var limit = bucket < Buckets.Length ? Buckets[bucket].ToString(CultureInfo.InvariantCulture) : "+Inf";
                    text.Append(CultureInfo.InvariantCulture, $"{name}_bucket{{action=\"{Actions[action].Action}\",le=\"{limit}\"}} {below}\n");
                }
                text.Append(CultureInfo.InvariantCulture, $"{name}_sum{{action=\"{Actions[action].Action}\"}} {_sums[action]}\n{name}_count{{action=\"{Actions[action].Action}\"}} {below}\n");
            }
        }
    }
}
