using Berth.Builder;
using Berth.Dockerfile;

namespace Berth.Daemon.BuildKit;

/// <summary>What of a context a build takes: nothing else has to travel.</summary>
internal static class ContextPaths
{
    /// <summary>Patterns relative to the context's root; null: all of it.</summary>
    /// <param name="context">A context's name; see <see cref="ContextStep"/>.</param>
    public static IReadOnlyList<string>? Needed(BuildPlan plan, string context)
    {
        var paths = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var step in plan.Steps)
        {
            switch (step)
            {
                case CopyStep { From: ContextStep from } copy when from.Name == context:
                    foreach (var source in copy.Sources) Add(source);
                    break;
                case RunStep run:
                    foreach (var mount in run.Mounts)
                        if (mount.From is ContextStep source && source.Name == context) Add(mount.Mount.Source);
                    break;
            }
        }
        return paths.Contains("") ? null : [.. paths];

        void Add(string path) => paths.Add(PathPatterns.Clean("/" + path).Trim('/'));
    }
}
