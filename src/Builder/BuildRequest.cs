using Berth.Api;
using Berth.Dockerfile;
using Berth.Images;
using Platform = Berth.Images.Platform;
using Microsoft.Win32.SafeHandles;

namespace Berth.Builder;

/// <summary>Everything one build is asked for, whichever door it came through.</summary>
public sealed record BuildRequest
{
    public required ReadOnlyMemory<byte> Dockerfile { get; init; }

    /// <summary>For messages.</summary>
    public string DockerfileName { get; init; } = "Dockerfile";

    /// <summary>A stage's name or number; empty: the last.</summary>
    public string Target { get; init; } = "";
    public IReadOnlyDictionary<string, string> Arguments { get; init; } = new Dictionary<string, string>();
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();
    public IReadOnlyList<ImageReference> Names { get; init; } = [];
    /// <summary>What is built for; of several the one that is planned.</summary>
    public Platform Platform { get; init; } = Platform.Host;

    /// <summary>What is built for, when it is for several platforms; empty: <see cref="Platform"/> alone.</summary>
    public IReadOnlyList<Platform> Platforms { get; init; } = [];

    /// <summary>The result is an index, and files are in a directory for each platform, even when there is one: BUILDKIT_MULTI_PLATFORM.</summary>
    public bool IsMultiPlatform => Platforms.Count > 1 || (Arguments.TryGetValue("BUILDKIT_MULTI_PLATFORM", out var text) && text is "1" or "t" or "T" or "TRUE" or "true" or "True");

    /// <summary>The platform was asked for, and does not come from the machine.</summary>
    public bool PlatformGiven { get; init; }
    public bool NoCache { get; init; }

    /// <summary>Names of stages that are built anew.</summary>
    public IReadOnlyList<string> NoCacheStages { get; init; } = [];

    /// <summary>What names in the Dockerfile stand for instead of a stage or an image: --build-context. A name may end in "::" and a platform, and is then for that one.</summary>
    public IReadOnlyDictionary<string, NamedContext> Contexts { get; init; } = new Dictionary<string, NamedContext>();

    /// <summary>Base images are pulled even when they are here.</summary>
    public bool Pull { get; init; }

    /// <summary>Network of commands that say none themselves.</summary>
    public string Network { get; init; } = "default";

    /// <summary>When a command fails, its files are kept as an image without a name, for who wants to look at them. Whoever asked removes it.</summary>
    public bool KeepFailed { get; init; }

    /// <summary>Limits of commands.</summary>
    public HostConfig Limits { get; init; } = new();

    /// <summary>RUN --security=insecure and --network=host are granted.</summary>
    public bool AllowInsecure { get; init; }
    public required IBuildSources Sources { get; init; }

    /// <summary>What .dockerignore leaves out of the context, for a warning; null without one.</summary>
    public PathPatterns? Ignored { get; init; }

    /// <summary>SOURCE_DATE_EPOCH: when the image is said to be made; no file of its steps is newer. Seconds.</summary>
    /// <exception cref="DockerfileException">It is no number.</exception>
    internal long? Epoch => !Arguments.TryGetValue("SOURCE_DATE_EPOCH", out var text) || text.Length == 0 ? null
        : long.TryParse(text, System.Globalization.NumberStyles.AllowLeadingSign, System.Globalization.CultureInfo.InvariantCulture, out var seconds) ? seconds
        : throw new DockerfileException($"invalid SOURCE_DATE_EPOCH: {text}: strconv.ParseInt: parsing {Api.Go.GoText.Quote(text)}: invalid syntax");

    /// <summary>What is to come out; empty: an image in the store, with <see cref="Names"/>.</summary>
    public IReadOnlyList<BuildOutput> Outputs { get; init; } = [];

    /// <summary>Where outputs that are files go; null when the client takes none.</summary>
    public IOutputSink? Sink { get; init; }

    /// <summary>Where else results are looked for.</summary>
    public IReadOnlyList<CacheLocation> CacheFrom { get; init; } = [];

    /// <summary>Where results are put for others.</summary>
    public IReadOnlyList<CacheLocation> CacheTo { get; init; } = [];

    /// <summary>How the result was made, to be said beside it: provenance, sbom; each with its attributes as the client wrote them.</summary>
    public IReadOnlyDictionary<string, string> Attestations { get; init; } = new Dictionary<string, string>();
}

/// <summary>What a name stands for: one of these.</summary>
public sealed record NamedContext
{
    /// <summary>Another image's name.</summary>
    public string ImageName { get; init; } = "";

    /// <summary>The result of another build.</summary>
    public Image? Result { get; init; }

    /// <summary>A directory of the client, by the name it has there; see <see cref="ContextStep.Name"/>.</summary>
    public string Directory { get; init; } = "";

    /// <summary>Files of elsewhere.</summary>
    public RemoteSource? Remote { get; init; }
}

/// <summary>Where a build's files come from.</summary>
public interface IBuildSources
{
    /// <summary>The files sent with the build, without what .dockerignore leaves out.</summary>
    /// <param name="step">The step that waits for them: what is told of their coming is told of it.</param>
    Task<BuildContext> OpenContextAsync(ContextStep step, CancellationToken cancellation);

    /// <summary>Null when nobody gave it.</summary>
    Task<byte[]?> GetSecretAsync(string id, CancellationToken cancellation);

    /// <summary>The client's SSH agent, at a socket made at the path, until it is disposed of. Null: the client forwards none under that id.</summary>
    Task<IDisposable?> ForwardAgentAsync(string id, string path, CancellationToken cancellation) => Task.FromResult<IDisposable?>(null);

    /// <summary>An image as the registry's credentials of this build's client allow.</summary>
    Task PullAsync(ImageReference name, Platform platform, Action<JsonMessage> progress, CancellationToken cancellation);

    /// <summary>What the client would say who it is to a registry; null: nobody.</summary>
    /// <param name="name">For which repository; the token may be for it alone.</param>
    Task<RegistryCredentials?> GetCredentialsAsync(ImageReference name, bool push, CancellationToken cancellation) => Task.FromResult<RegistryCredentials?>(null);

    /// <summary>What the client sends under an address of <see cref="RemoteFiles.SessionHost"/>, once; null: nothing.</summary>
    Task<Stream?> OpenUploadAsync(Uri address, CancellationToken cancellation) => Task.FromResult<Stream?>(null);

    /// <summary>One of the client's directories of blobs; null when it offers none.</summary>
    IClientContent? OpenContent(string store) => null;
}

/// <summary>A directory with the context's files.</summary>
/// <param name="Path">Of the host; nobody else writes there.</param>
/// <param name="Root">It, open for reading; paths are opened beneath it.</param>
/// <param name="Ignored">What .dockerignore says, for a warning; null without one.</param>
public sealed record BuildContext(string Path, SafeFileHandle Root, PathPatterns? Ignored)
{
    /// <summary>What its files hold, as far as it is known from before; null: nothing is remembered.</summary>
    public KnownDigests? Known { get; init; }
}

/// <summary>Is told what a build does, from any thread.</summary>
public interface IBuildProgress
{
    void Started(BuildStep step);

    /// <summary>It need not run: its result is there from before.</summary>
    void Cached(BuildStep step);

    /// <summary>Why it has to run though one like it ran before.</summary>
    void Missed(BuildStep step, string why);
    void Output(BuildStep step, ReadOnlyMemory<byte> bytes, bool stderr);
    void Pulling(BuildStep step, JsonMessage progress);

    /// <param name="failure">Null: it succeeded.</param>
    void Ended(BuildStep step, Exception? failure);
}

/// <summary>A directory of the client's that holds blobs by digest.</summary>
public interface IClientContent
{
    /// <exception cref="BuildException">It is not there.</exception>
    Task<Stream> OpenAsync(Digest digest, CancellationToken cancellation);

    /// <summary>Puts a blob there, unless it is.</summary>
    Task WriteAsync(Berth.Images.Descriptor blob, Stream content, CancellationToken cancellation);
}
