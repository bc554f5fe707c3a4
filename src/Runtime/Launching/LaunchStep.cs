using Berth.Linux.Abi;
using Berth.Runtime.Spec;

namespace Berth.Runtime.Launching;

/// <summary>One line of a plan. What it says is what happens: <see cref="Starter"/> carries it out and decides nothing.</summary>
internal abstract record LaunchStep;

/// <summary>v1: writes itself into each hierarchy's tasks file; v2: is born in it.</summary>
internal sealed record EnterCgroup(string Path) : LaunchStep
{
    public override string ToString() => $"enter cgroup {Path}";
}

/// <param name="Path">null: the descriptor given to the launcher.</param>
internal sealed record JoinNamespace(CloneFlags Kind, string? Path) : LaunchStep
{
    public override string ToString() => $"join {NamespaceNames.Of(Kind)} namespace {Path ?? "(descriptor)"}";
}

internal sealed record NewNamespaces(CloneFlags Kinds) : LaunchStep
{
    public override string ToString() => $"new namespaces {NamespaceNames.Of(Kinds)}";
}

/// <summary>The namespaces of a running container, all at once.</summary>
internal sealed record JoinContainer(CloneFlags Kinds) : LaunchStep
{
    public override string ToString() => $"join container's namespaces {NamespaceNames.Of(Kinds)}";
}

internal sealed record MountRoot(RootFilesystem Root) : LaunchStep
{
    public override string ToString() => $"mount overlay on / lower={string.Join(':', Root.LowerDirectories)} upper={Root.UpperDirectory} work={Root.WorkDirectory}{(Root.IsVolatile ? " volatile" : "")}";
}

/// <summary>A new instance of a file system.</summary>
internal sealed record MountFileSystem(string Type, string Source, string Target, MountAttributes Attributes, IReadOnlyList<KeyValuePair<string, string?>> Data) : LaunchStep
{
    public bool CopyUp { get; init; }

    public override string ToString() => $"mount {Type} on {Target} {MountOptions.Print(Attributes, Data)}{(CopyUp ? " with a copy of what is there" : "")}";
}

/// <summary>A part of the host's tree.</summary>
internal sealed record MountBind(string Source, string Target, bool Recursive) : LaunchStep
{
    public MountAttributes Set { get; init; }
    public MountAttributes Clear { get; init; }
    public MountAttributes RecursiveSet { get; init; }
    public MountAttributes RecursiveClear { get; init; }
    public MountPropagation Propagation { get; init; }
    public bool PropagationRecursive { get; init; }

    public override string ToString()
    {
        var words = new List<string> { Recursive ? "rbind" : "bind" };
        if (Propagation != 0) words.Add((PropagationRecursive ? "r" : "") + Propagation.ToString().ToLowerInvariant());
        if (Set != 0) words.Add(MountOptions.Print(Set, []));
        if (RecursiveSet != 0) words.Add("recursive:" + MountOptions.Print(RecursiveSet, []));
        return $"bind {Source} on {Target} {string.Join(',', words)}";
    }
}

internal sealed record MakeDevice(OciDevice Device) : LaunchStep
{
    public override string ToString() =>
        $"device {Device.Path} {Device.Type} {Device.Major}:{Device.Minor} 0{Convert.ToString(Device.FileMode ?? DefaultMode, 8)} {Device.Uid ?? 0}:{Device.Gid ?? 0}";

    public const uint DefaultMode = 0x1B6; // 0666
}

internal sealed record MakeSymlink(string Path, string To) : LaunchStep
{
    public override string ToString() => $"link {Path} -> {To}";
}

/// <summary>The terminal becomes the controlling one of a new session.</summary>
internal sealed record OpenTerminal(string? DevPts, bool Console) : LaunchStep
{
    public override string ToString() => $"terminal of {DevPts ?? "the host"}{(Console ? ", bound on /dev/console" : "")}";
}

internal sealed record NewSession : LaunchStep
{
    public override string ToString() => "new session";
}

internal sealed record SetSysctl(string Key, string Value) : LaunchStep
{
    public override string ToString() => $"sysctl {Key} = {Value}";
}

internal sealed record SetHostname(string Name) : LaunchStep
{
    public override string ToString() => $"hostname {Name}";
}

internal sealed record SetDomainname(string Name) : LaunchStep
{
    public override string ToString() => $"domainname {Name}";
}

internal sealed record MakeReadonly(string Path) : LaunchStep
{
    public override string ToString() => $"make read-only {Path}";
}

/// <summary>Files show /dev/null, directories an empty one.</summary>
internal sealed record Mask(string Path) : LaunchStep
{
    public override string ToString() => $"mask {Path}";
}

/// <summary>A mount that was needed writable until now.</summary>
internal sealed record Remount(string Target, MountAttributes Set, MountPropagation Propagation) : LaunchStep
{
    public override string ToString() => $"remount {Target}{(Set == 0 ? "" : " " + MountOptions.Print(Set, []))}{(Propagation == 0 ? "" : " " + Propagation.ToString().ToLowerInvariant())}";
}

internal sealed record SetOomScore(int Value) : LaunchStep
{
    public override string ToString() => $"oom_score_adj {Value}";
}

internal sealed record SetLimit(string Type, ulong Soft, ulong Hard) : LaunchStep
{
    public override string ToString() => $"limit {Type} {Soft}:{Hard}";
}

internal sealed record SetNoNewPrivileges : LaunchStep
{
    public override string ToString() => "no new privileges";
}

internal sealed record ChangeDirectory(string Path, bool Create) : LaunchStep
{
    public override string ToString() => $"directory {Path}";
}

/// <summary>Ids, groups and capabilities.</summary>
internal sealed record BecomeUser(uint Uid, uint Gid, IReadOnlyList<uint> Groups, uint Umask, OciCapabilities? Capabilities) : LaunchStep
{
    public override string ToString()
    {
        var capabilities = Capabilities is null ? "all capabilities"
            : $"bounding={List(Capabilities.Bounding)} effective={List(Capabilities.Effective)} permitted={List(Capabilities.Permitted)} inheritable={List(Capabilities.Inheritable)} ambient={List(Capabilities.Ambient)}";
        return $"user {Uid}:{Gid} groups={string.Join(',', Groups)} umask=0{Convert.ToString(Umask, 8)} {capabilities}";
    }

    private static string List(IReadOnlyList<string>? names) => names is null || names.Count == 0 ? "-" : string.Join(',', names.Select(n => n.StartsWith("CAP_", StringComparison.Ordinal) ? n[4..] : n));
}

internal sealed record InstallFilter(OciSeccomp Seccomp) : LaunchStep
{
    public override string ToString() => $"seccomp {Seccomp.DefaultAction}, {Seccomp.Syscalls?.Sum(rule => rule.Names.Count) ?? 0} names";
}

/// <summary>Tries each path in turn; a name with a slash in it is its only one.</summary>
internal sealed record Execute(IReadOnlyList<string> Candidates, IReadOnlyList<string> Arguments, IReadOnlyList<string> Environment) : LaunchStep
{
    public override string ToString() => $"execute {string.Join(" | ", Candidates)} [{string.Join(' ', Arguments)}] with {string.Join(' ', Environment)}";
}

internal static class NamespaceNames
{
    private static readonly (CloneFlags Flag, string Name)[] All =
    [
        (CloneFlags.NewMount, OciNamespaceTypes.Mount), (CloneFlags.NewPid, OciNamespaceTypes.Pid), (CloneFlags.NewNet, OciNamespaceTypes.Network),
        (CloneFlags.NewIpc, OciNamespaceTypes.Ipc), (CloneFlags.NewUts, OciNamespaceTypes.Uts), (CloneFlags.NewCgroup, OciNamespaceTypes.Cgroup),
        (CloneFlags.NewUser, OciNamespaceTypes.User), (CloneFlags.NewTime, OciNamespaceTypes.Time),
    ];

    public static string Of(CloneFlags flags) => string.Join(',', All.Where(pair => flags.HasFlag(pair.Flag)).Select(pair => pair.Name));

    public static CloneFlags Parse(string name)
    {
        foreach (var (flag, known) in All)
            if (known == name) return flag;
        throw new LaunchException(LaunchErrorKind.InvalidSpec, $"unknown namespace {name}");
    }
}
