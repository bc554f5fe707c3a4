using System.Text;

namespace Berth.Compose.Engine;

public enum StepKind
{
    CreateNetwork,
    CreateVolume,
    Create,
    Recreate,
    Start,
    Stop,
    Restart,
    Remove,
    Wait,
    RemoveNetwork,
    RemoveVolume,
    RemoveImage,
}

/// <summary>One thing to do; it begins when those before it are done.</summary>
public sealed class Step
{
    internal Step(int id, StepKind kind, string subject, string reason, IEnumerable<Step> after)
    {
        (Id, Kind, Subject, Reason) = (id, kind, subject, reason);
        var before = new SortedDictionary<int, Step>();
        foreach (var step in after) before[step.Id] = step;
        After = [.. before.Values];
    }

    public int Id { get; }

    public StepKind Kind { get; }

    /// <summary>A container's, network's, volume's or image's name.</summary>
    public string Subject { get; }

    public string Reason { get; }

    public IReadOnlyList<Step> After { get; }

    /// <summary>Key of the service, network or volume in the project.</summary>
    public string Key { get; init; } = "";

    public int Number { get; init; }

    /// <summary>The container that is there already.</summary>
    public ServiceContainer? Container { get; init; }

    /// <summary>Of a wait: healthy, running_or_healthy, completed.</summary>
    public string Condition { get; init; } = "";

    /// <summary>Of a wait: nobody needs what does not come.</summary>
    public bool Optional { get; init; }

    public bool Volumes { get; init; }

    public override string ToString() => $"{(After.Count > 0 ? $"[{string.Join(',', After.Select(s => s.Id))}] -> " : "")}#{Id} {Kind} {Subject}{(Reason.Length > 0 ? ", " + Reason : "")}";
}

/// <summary>What is to be done to bring a project to where it should be. Printed by --dry-run, and by tests.</summary>
public sealed class Plan
{
    private readonly List<Step> _steps = [];

    public IReadOnlyList<Step> Steps => _steps;

    /// <summary>Containers that are as they should be.</summary>
    public List<ServiceContainer> Kept { get; } = [];

    /// <summary>What the user is to be told.</summary>
    public List<string> Warnings { get; } = [];

    internal int NextId => _steps.Count + 1;

    internal Step Add(Step step)
    {
        _steps.Add(step);
        return step;
    }

    public override string ToString()
    {
        var text = new StringBuilder();
        foreach (var step in _steps) text.Append(step).Append('\n');
        return text.ToString();
    }
}
