using System.Security.Cryptography;
using System.Text;
using Berth.Dockerfile;
using Berth.Images;

namespace Berth.Builder;

/// <summary>
/// One thing a build has to do; what it stands on are other steps, and so a build is a graph. Steps that say the same and stand on the same are one step.
/// </summary>
public abstract record BuildStep
{
    /// <summary>What people are shown: "[build 2/3] RUN make".</summary>
    public string Title { get; init; } = "";

    /// <summary>The instruction alone.</summary>
    public string Text { get; init; } = "";
    public LineSpan Lines { get; init; }
    public bool NoCache { get; init; }

    public abstract IReadOnlyList<BuildStep> Inputs { get; }

    /// <summary>What it does, without what it stands on: part of the key its result is kept under.</summary>
    internal abstract string Definition { get; }
}

/// <summary>The steps of several plans: those that say the same and stand on the same are one. What builds for several platforms have in common is done once.</summary>
public sealed class StepTable
{
    private readonly Dictionary<string, BuildStep> _steps = new(StringComparer.Ordinal);
    private readonly Dictionary<BuildStep, int> _numbers = new(ReferenceEqualityComparer.Instance);

    /// <param name="step">Whose inputs have been through here.</param>
    public T One<T>(T step) where T : BuildStep
    {
        var inputs = string.Join(' ', step.Inputs.Select(i => _numbers.GetValueOrDefault(i, -1)));
        var key = Fields.Join(typeof(T).Name, step.Definition, (step as ContextStep)?.Name ?? "", (step as RunStep)?.Script?.Name ?? "", inputs, step.NoCache ? "anew" : "");
        if (_steps.TryGetValue(key, out var same)) return (T)same;
        _numbers[step] = _numbers.Count;
        _steps[key] = step;
        return step;
    }
}

/// <summary>An image that is here, or comes from a registry.</summary>
public sealed record ImageStep(Image Image) : BuildStep
{
    public override IReadOnlyList<BuildStep> Inputs => [];
    internal override string Definition => "image " + string.Join(' ', Image.DiffIds);
}

/// <summary>Nothing at all.</summary>
public sealed record ScratchStep : BuildStep
{
    public override IReadOnlyList<BuildStep> Inputs => [];
    internal override string Definition => "scratch";
}

/// <summary>The files sent with the build.</summary>
/// <param name="Name">Of a directory beside the build's own, which has none.</param>
public sealed record ContextStep(string Name = "") : BuildStep
{
    public override IReadOnlyList<BuildStep> Inputs => [];
    internal override string Definition => "context";
}

/// <summary>WORKDIR: a directory that is made when it is missing.</summary>
public sealed record DirectoryStep(BuildStep Root, string Path, string User) : BuildStep
{
    public override IReadOnlyList<BuildStep> Inputs => [Root];
    internal override string Definition => $"mkdir {Path} {User}";
}

/// <summary>COPY and ADD of files.</summary>
public sealed record CopyStep(BuildStep Root, BuildStep From) : BuildStep
{
    public required IReadOnlyList<string> Sources { get; init; }
    public IReadOnlyList<InlineFile> Files { get; init; } = [];

    /// <summary>Absolute; ends with a slash when it is to be a directory.</summary>
    public required string Destination { get; init; }
    public string Owner { get; init; } = "";
    public string Mode { get; init; } = "";
    public IReadOnlyList<string> Exclude { get; init; } = [];
    public bool Parents { get; init; }

    /// <summary>Archives are unpacked.</summary>
    public bool Unpack { get; init; }

    /// <summary>ADD: for messages.</summary>
    public bool IsAdd { get; init; }

    /// <summary>ADD of what comes from elsewhere.</summary>
    public IReadOnlyList<RemotePart> Remotes { get; init; } = [];

    public override IReadOnlyList<BuildStep> Inputs => [Root, From, .. Remotes.Select(r => r.From)];

    /// <summary>What is copied from each of the inputs but the first.</summary>
    internal IEnumerable<CopyStep> Parts => [this, .. Remotes.Select(r => this with { Sources = [r.Source], Files = [], Unpack = r.Unpack })];

    internal override string Definition => Fields.Join("copy", Fields.Join([.. Sources]), Fields.Join([.. Files.Select(f => f.Name + "=" + f.Content)]), Destination, Owner, Mode, Fields.Join([.. Exclude]), Parents ? "parents" : "", Unpack ? "unpack" : "",
        Fields.Join([.. Remotes.Select(r => r.Source + (r.Unpack ? " unpack" : ""))]));
}

/// <summary>One of the files of ADD that come from elsewhere.</summary>
/// <param name="Source">Of what <paramref name="From"/> gives.</param>
public sealed record RemotePart(BuildStep From, string Source, bool Unpack);

/// <summary>A file of the web. Asked for in every build: what it holds is what counts.</summary>
/// <param name="Checksum">"sha256:…"; empty: any.</param>
public sealed record DownloadStep(string Url, string FileName, string Checksum) : BuildStep
{
    public override IReadOnlyList<BuildStep> Inputs => [];
    internal override string Definition => Fields.Join("download", Url, Checksum);
}

/// <summary>A Git repository's files.</summary>
public sealed record GitStep(GitSource Source, bool KeepGitDirectory) : BuildStep
{
    public override IReadOnlyList<BuildStep> Inputs => [];
    internal override string Definition => Fields.Join("git", Source.ToString(), KeepGitDirectory ? "keep" : "");
}

/// <summary>A mount of a command.</summary>
/// <param name="From">Of a bind mount, and what a cache mount begins with; null for none.</param>
public sealed record StepMountSource(RunMount Mount, BuildStep? From);

/// <summary>RUN.</summary>
public sealed record RunStep(BuildStep Root) : BuildStep
{
    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>Put in the command's file system for it to run: a here-document with an interpreter of its own.</summary>
    public InlineFile? Script { get; init; }
    public required IReadOnlyList<string> Environment { get; init; }

    /// <summary>Proxies: the command has them, but they change nothing about what is kept.</summary>
    public IReadOnlyList<string> Proxies { get; init; } = [];
    public required string WorkingDirectory { get; init; }
    public string User { get; init; } = "";
    public string Network { get; init; } = "default";
    public bool Insecure { get; init; }

    /// <summary>What its stage is for; says nothing about the result, which is what the files below make of it.</summary>
    public Platform Platform { get; init; }
    public IReadOnlyList<StepMountSource> Mounts { get; init; } = [];

    public override IReadOnlyList<BuildStep> Inputs => [Root, .. Mounts.Where(m => m.From is not null).Select(m => m.From!)];

    internal override string Definition => Fields.Join("run", Fields.Join([.. Arguments]), Script?.Content ?? "", Fields.Join([.. Environment]), WorkingDirectory, User, Network, Insecure ? "insecure" : "",
        Fields.Join([.. Mounts.Select(m => m.Mount.ToString())]));
}

/// <summary>Texts put together so that no two lists give the same.</summary>
internal static class Fields
{
    public static string Join(params ReadOnlySpan<string> fields)
    {
        var text = new StringBuilder();
        foreach (var field in fields) text.Append(field.Length).Append(':').Append(field);
        return text.ToString();
    }

    public static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
}
