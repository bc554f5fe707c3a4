using System.Text.Json;
using System.Text.Json.Serialization;
using Berth.Runtime.Spec;

namespace Berth.Runtime.Seccomp;

/// <summary>Docker's profile format: the OCI object with rules that depend on capabilities, architecture and kernel (docs.docker.com/engine/security/seccomp).</summary>
internal sealed record DockerProfile
{
    public string? DefaultAction { get; init; }
    public uint? DefaultErrnoRet { get; init; }
    public IReadOnlyList<string>? Architectures { get; init; }
    public IReadOnlyList<DockerArchitecture>? ArchMap { get; init; }
    public IReadOnlyList<string>? Flags { get; init; }
    public IReadOnlyList<DockerSyscall>? Syscalls { get; init; }
}

internal sealed record DockerArchitecture
{
    public string? Architecture { get; init; }
    public IReadOnlyList<string>? SubArchitectures { get; init; }
}

internal sealed record DockerSyscall
{
    public IReadOnlyList<string>? Names { get; init; }
    /// <summary>Of old profiles, in place of Names.</summary>
    public string? Name { get; init; }
    public string? Action { get; init; }
    public uint? ErrnoRet { get; init; }
    public IReadOnlyList<OciSeccompArg>? Args { get; init; }
    public DockerFilter? Includes { get; init; }
    public DockerFilter? Excludes { get; init; }
}

/// <summary>For includes all must hold, for excludes one is enough.</summary>
internal sealed record DockerFilter
{
    public IReadOnlyList<string>? Caps { get; init; }
    public IReadOnlyList<string>? Arches { get; init; }
    /// <summary><c>4.8</c></summary>
    public string? MinKernel { get; init; }
}

// Go's decoder takes names in any case.
[JsonSourceGenerationOptions(PropertyNameCaseInsensitive = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(DockerProfile))]
internal sealed partial class DockerProfileJson : JsonSerializerContext;
