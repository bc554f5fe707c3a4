using System.Text;
using Berth.Dockerfile;
using Berth.Images;

namespace Berth.Builder;

/// <summary>One line of an image's history.</summary>
/// <param name="Step">What made a layer, or might have; null for what only says something about the image.</param>
public sealed record PlannedHistory(string CreatedBy, BuildStep? Step);

/// <summary>What a build will do: the steps its target stands on, and the image that is made of them. Printable; carried out by <see cref="Solver"/>.</summary>
public sealed record BuildPlan
{
    /// <summary>The target's files.</summary>
    public required BuildStep Root { get; init; }

    /// <summary>The image the target stands on in the end; null for scratch.</summary>
    public required Image? Base { get; init; }
    public required ContainerConfig Config { get; init; }
    public required string Author { get; init; }
    public required IReadOnlyList<PlannedHistory> History { get; init; }
    public required Platform Platform { get; init; }

    /// <summary>The instructions of the stages that are needed, in order; each with what it does, if it does anything.</summary>
    public required IReadOnlyList<(string Text, BuildStep? Step)> Instructions { get; init; }
    public required Checks Checks { get; init; }

    /// <summary>The plans of a build for several platforms, of which this one is all together; empty: it is the only one.</summary>
    public IReadOnlyList<BuildPlan> Platforms { get; init; } = [];

    /// <summary>One for each platform.</summary>
    public IReadOnlyList<BuildPlan> Each => Platforms.Count > 0 ? Platforms : [this];

    /// <summary>Plans of one build that share their steps.</summary>
    public static BuildPlan Join(IReadOnlyList<BuildPlan> plans)
    {
        if (plans.Count == 1) return plans[0];
        var (instructions, seen) = (new List<(string, BuildStep?)>(), new HashSet<BuildStep>(ReferenceEqualityComparer.Instance));
        foreach (var plan in plans)
            foreach (var (text, step) in plan.Instructions)
                if (step is null ? plan == plans[0] : seen.Add(step)) instructions.Add((text, step));
        return plans[0] with { Platforms = plans, Instructions = instructions };
    }

    /// <summary>All that has to be done, inputs before what needs them.</summary>
    public IReadOnlyList<BuildStep> Steps
    {
        get
        {
            var (order, seen) = (new List<BuildStep>(), new HashSet<BuildStep>(ReferenceEqualityComparer.Instance));
            foreach (var plan in Each) Visit(plan.Root);
            return order;

            void Visit(BuildStep step)
            {
                if (!seen.Add(step)) return;
                foreach (var input in step.Inputs) Visit(input);
                order.Add(step);
            }
        }
    }

    public override string ToString()
    {
        var steps = Steps;
        var numbers = steps.Select((s, i) => (s, i)).ToDictionary(p => p.s, p => p.i + 1, (IEqualityComparer<BuildStep>)ReferenceEqualityComparer.Instance);
        var text = new StringBuilder();
        foreach (var step in steps)
        {
            text.Append('#').Append(numbers[step]).Append(' ').Append(step.Title);
            if (step.Inputs.Count > 0) text.Append(" on ").AppendJoin(", ", step.Inputs.Select(i => "#" + numbers[i]));
            text.Append('\n');
        }
        return text.ToString();
    }
}
