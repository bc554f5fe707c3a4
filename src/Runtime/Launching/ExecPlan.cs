using Berth.Linux.Abi;
using Berth.Runtime.Spec;

namespace Berth.Runtime.Launching;

/// <summary>What is to be done to add a process to a running container.</summary>
internal static class ExecPlan
{
    public static LaunchPlan For(OciProcess process, OciSpec spec, string cgroup)
    {
        var kinds = CloneFlags.None;
        foreach (var space in spec.Linux?.Namespaces ?? []) kinds |= NamespaceNames.Parse(space.Type);
        var steps = new List<LaunchStep>
        {
            new EnterCgroup(cgroup),
            // The network namespace may have come as a descriptor that the spec does not speak of; joining one that is already ours does no harm.
            new JoinContainer(kinds | CloneFlags.NewMount | CloneFlags.NewNet),
            new NewSession(),
        };
        if (process.Terminal == true) steps.Add(new OpenTerminal("/dev/pts", Console: false));
        if (process.Cwd is not "/") steps.Add(new ChangeDirectory(process.Cwd, Create: false));
        process = process with { OomScoreAdj = process.OomScoreAdj ?? spec.Process?.OomScoreAdj };
        LaunchPlan.AddProcess(steps, process, spec.Linux?.Seccomp);
        return new LaunchPlan(steps);
    }
}
