using System.Collections.Concurrent;
using Berth.Linux;
using Berth.Linux.Abi;
using Microsoft.Win32.SafeHandles;

namespace Berth.Engine;

/// <summary>
/// Limits on what containers (--storage-opt size=) and volumes (-o size=) may hold, where the data root's file system keeps project quotas. Which project is whose is written
/// nowhere but in the directories themselves.
/// </summary>
internal sealed class DirectoryQuotas(string dataRoot)
{
    // Others on the same file system (dockerd, xfs_quota's users) begin at 1. The administrator's own choice is the data root's project: ours follow it.
    private const uint FirstProject = 0x0B00_0000;

    private readonly ConcurrentDictionary<string, bool> _enforced = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();
    private uint _last;

    /// <param name="root">A directory for good: what is found out about it is kept.</param>
    public bool AreEnforced(string root) => _enforced.GetOrAdd(root, static root =>
    {
        try
        {
            using var directory = Open(root);
            return ProjectQuota.IsEnforced(directory);
        }
        catch (LinuxException)
        {
            return false;
        }
    });

    /// <summary>From now on the directories, new and empty ones, may hold so much together.</summary>
    /// <exception cref="EngineException">System.</exception>
    public void Limit(ulong bytes, params ReadOnlySpan<string> directories)
    {
        try
        {
            var project = Next();
            for (var i = 0; i < directories.Length; i++)
            {
                using var directory = Open(directories[i]);
                // The limit first: no file is ever made without.
                if (i == 0) ProjectQuota.Limit(directory, project, bytes);
                ProjectQuota.Assign(directory, project);
            }
        }
        catch (LinuxException e)
        {
            throw EngineException.System(e.Message, e);
        }
    }

    /// <summary>A directory found at start-up: its project is nobody else's.</summary>
    public void Adopt(string directory)
    {
        var project = ProjectOf(directory);
        lock (_lock) _last = Math.Max(_last, project);
    }

    /// <summary>The directory goes: its project holds nothing and has no limit any more.</summary>
    public void Release(string directory)
    {
        var project = ProjectOf(directory);
        if (project == 0) return;
        try
        {
            using var open = Open(directory);
            ProjectQuota.Limit(open, project, 0);
        }
        catch (LinuxException)
        {
            // The next one with this number sets its own.
        }
    }

    private uint Next()
    {
        lock (_lock)
        {
            if (_last < FirstProject) _last = Math.Max(_last, ProjectOf(dataRoot) is > 0 and var own ? own : FirstProject);
            return ++_last;
        }
    }

    private static uint ProjectOf(string directory)
    {
        try
        {
            using var open = Open(directory);
            return ProjectQuota.ProjectOf(open);
        }
        catch (LinuxException)
        {
            return 0;
        }
    }

    private static SafeFileHandle Open(string directory) => FileAt.Open(null, directory, OpenFlags.ReadOnly | OpenFlags.Directory | OpenFlags.NoFollow);
}
