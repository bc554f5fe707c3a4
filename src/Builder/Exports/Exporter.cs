using System.Globalization;
using System.Security.Cryptography;
using Berth.Api;
using Berth.Images;
using Berth.Linux.Abi;
using Platform = Berth.Images.Platform;

namespace Berth.Builder;

/// <summary>What becomes of a result: a step of its own to whoever watches.</summary>
public sealed record ExportStep : BuildStep
{
    public override IReadOnlyList<BuildStep> Inputs => [];
    internal override string Definition => "export";
}

/// <summary>Makes of a build's results what was asked for: an image in the store or in a registry, an archive, files.</summary>
/// <param name="results">One for each platform.</param>
/// <param name="attestations">For each of them.</param>
internal sealed class Exporter(BuildRequest request, IReadOnlyList<BuildOutcome> results, IReadOnlyList<IReadOnlyList<Attestation>> attestations, IBuildProgress progress, TimeProvider time)
{
    private const string ImageDigest = "containerimage.digest", ConfigDigest = "containerimage.config.digest", ImageName = "image.name", ImageDescriptor = "containerimage.descriptor";

    private readonly Dictionary<string, string> _metadata = new(StringComparer.Ordinal);

    /// <summary>BuildKit's names for what is known of the outputs.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>The image in the store; empty when there is none.</summary>
    public Digest Image { get; private set; }

    private ImageStore.LayerSession Session => results[0].Session;

    // SOURCE_DATE_EPOCH.
    private long? Epoch => request.Arguments.TryGetValue("SOURCE_DATE_EPOCH", out var text) && long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var seconds) ? seconds : null;

    private static BuildException Unknown(string type) => new($"exporter \"{type}\" could not be found");

    /// <exception cref="BuildException">There is no such output.</exception>
    public static void Check(string type)
    {
        if (type is not ("image" or "moby" or "registry" or "local" or "tar" or "oci" or "docker" or "cacheonly")) throw Unknown(type);
    }

    /// <exception cref="BuildException">An output that can't be, or went wrong.</exception>
    public async Task ExportAsync(BuildOutput output, CancellationToken cancellation)
    {
        Func<BuildOutput, BuildStep, CancellationToken, Task> export;
        string title;
        (export, title) = output.Type switch
        {
            "image" or "moby" or "registry" => ((Func<BuildOutput, BuildStep, CancellationToken, Task>)ToImageAsync, "exporting to image"),
            "local" => (ToFilesAsync, "exporting to client directory"),
            "tar" => (ToTarAsync, "exporting to client tarball"),
            "oci" => (ToArchiveAsync, "exporting to oci image format"),
            "docker" => (ToArchiveAsync, "exporting to docker image format"),
            "cacheonly" => ((_, _, _) => Task.CompletedTask, ""),
            var other => throw Unknown(other),
        };
        if (title.Length == 0) return;
        var step = new ExportStep { Title = title, Text = title };
        progress.Started(step);
        try
        {
            await export(output, step, cancellation).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            var failure = e is ImageException or IOException or UnauthorizedAccessException ? new BuildException(e.Message, inner: e) : e;
            progress.Ended(step, failure);
            if (failure == e) throw;
            throw failure;
        }
        progress.Ended(step, null);
    }

    private void Tell(BuildStep step, string what, string status = "done") => progress.Pulling(step, new JsonMessage { Id = what, Status = status });

    private void Tell(BuildStep step, ImageProgress line)
    {
        if (line.Id is null || line.Status is null) return;
        progress.Pulling(step, new JsonMessage { Id = line.Id, Status = line.Status, ProgressDetail = line.Current is null ? null : new JsonProgress { Current = line.Current.Value, Total = line.Total ?? 0 } });
    }

    /// <summary>How an output's layers are to be written.</summary>
    internal static LayerForm Form(BuildOutput output)
    {
        var compression = output["compression"] switch
        {
            "" or "gzip" => LayerCompression.Gzip,
            "zstd" => LayerCompression.Zstd,
            "uncompressed" => LayerCompression.None,
            var other => throw new BuildException($"unsupported compression type {other}"),
        };
        int? level = null;
        if (output["compression-level"] is { Length: > 0 } text)
            level = int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) ? number : throw new BuildException($"non-integer value {text} specified for compression-level");
        return new LayerForm(compression, level, output.Flag("force-compression"));
    }

    private ImageAssembly Assembly(BuildOutput output, LayerForm form, IReadOnlyList<ImageReference> names, bool oci, bool stays = false)
    {
        // A docker-archive has no place for what is said about its image. And what clients ask to be said unless told otherwise, with the time of day in it, is for images that go
        // elsewhere: here the same build gives the same index.
        IReadOnlyList<IReadOnlyList<Attestation>> said = output.Type == "docker" ? [.. results.Select(_ => (IReadOnlyList<Attestation>)[])]
            : stays ? [.. attestations.Select(a => (IReadOnlyList<Attestation>)[.. a.Where(b => !b.InlineOnly)])] : attestations;
        var annotations = ImageAnnotations.Of(output.Attributes);
        oci = output.Flag("oci-mediatypes", oci || annotations.Any || form.Compression == LayerCompression.Zstd || said.Any(a => a.Count > 0));
        if (!oci && annotations.Any) throw new BuildException("annotations can only be used with OCI media types: oci-mediatypes=true");
        return new ImageAssembly(results, oci, annotations, said, names, request.IsMultiPlatform);
    }

    private void Remember(AssembledImage image, IReadOnlyList<ImageReference> names)
    {
        _metadata[ImageDigest] = image.Root.DigestText!;
        if (image.Layers is not null) _metadata[ConfigDigest] = image.Config.ToString();
        _metadata[ImageDescriptor] = Convert.ToBase64String(ManifestText.Text(image.Root));
        if (names.Count > 0) _metadata[ImageName] = string.Join(',', names);
    }

    private async Task ToImageAsync(BuildOutput output, BuildStep step, CancellationToken cancellation)
    {
        var names = output.Names();
        var push = output.Type == "registry" || output.Flag("push");
        if (push && names.Count == 0) throw new BuildException("tag is needed when pushing to registry");
        var byDigest = output.Flag("push-by-digest");
        var store = output.Flag("store", otherwise: output.Type != "registry");
        // Names in the store stand for the index; without any there is nothing that could.
        var storesIndex = store && request.IsMultiPlatform && names.Count > 0 && !byDigest;
        if (store && !storesIndex)
        {
            Tell(step, "exporting layers");
            Image = await StoreAsync(output, byDigest ? [] : names).ConfigureAwait(false);
            Tell(step, "writing image " + Image);
            foreach (var name in byDigest ? [] : names) Tell(step, "naming to " + name);
            (_metadata[ImageDigest], _metadata[ConfigDigest]) = (Image.ToString(), Image.ToString());
            if (names.Count > 0) _metadata[ImageName] = string.Join(',', names);
        }
        if (!push && !storesIndex) return;
        var form = Form(output);
        var assembly = Assembly(output, form, names, oci: storesIndex, stays: !push);
        if (!push) await StoreIndexAsync(step, assembly, names, cancellation).ConfigureAwait(false);
        if (push) await PushAsync(output, step, assembly, names, form, storesIndex, cancellation).ConfigureAwait(false);
    }

    private async Task PushAsync(BuildOutput output, BuildStep step, ImageAssembly assembly, IReadOnlyList<ImageReference> names, LayerForm form, bool storesIndex, CancellationToken cancellation)
    {
        var byDigest = output.Flag("push-by-digest");
        foreach (var name in names)
        {
            var credentials = await request.Sources.GetCredentialsAsync(name, push: true, cancellation).ConfigureAwait(false);
            using var repository = await Session.OpenRepositoryAsync(name, form, credentials, p => Tell(step, p), cancellation).ConfigureAwait(false);
            AssembledImage pushed;
            try
            {
                // What the store has is what was pushed, to the byte.
                using var documents = storesIndex ? Session.NewDocuments(repository) : null;
                pushed = await assembly.PutAsync(documents ?? repository, byDigest ? null : name.Tag, cancellation).ConfigureAwait(false);
                if (documents is not null) await NameIndexAsync(step, pushed, documents, [name]).ConfigureAwait(false);
            }
            catch (Exception e) when (e is not OperationCanceledException and not BuildException)
            {
                throw new BuildException($"failed to push {name}: {e.Message}", inner: e);
            }
            Tell(step, $"pushing manifest for {name}@{pushed.Root.DigestText}");
            Remember(pushed, names);
        }
    }

    private async Task StoreIndexAsync(BuildStep step, ImageAssembly assembly, IReadOnlyList<ImageReference> names, CancellationToken cancellation)
    {
        Tell(step, "exporting layers");
        using var documents = Session.NewDocuments(null);
        var image = await assembly.PutAsync(documents, null, cancellation).ConfigureAwait(false);
        await NameIndexAsync(step, image, documents, names).ConfigureAwait(false);
        Remember(image, names);
    }

    private async Task NameIndexAsync(BuildStep step, AssembledImage image, DocumentTarget documents, IReadOnlyList<ImageReference> names)
    {
        Image = await Session.CreateIndexAsync(image.Root, documents, names, Platform.Best).ConfigureAwait(false);
        Tell(step, "exporting manifest list " + image.Root.DigestText);
        foreach (var name in names) Tell(step, "naming to " + name);
    }

    private async Task<Digest> StoreAsync(BuildOutput output, IReadOnlyList<ImageReference> names)
    {
        Digest image = default;
        // The last one is what the name means here; it is the machine's own platform when that is among them.
        foreach (var result in results.OrderBy(r => Platform.Best.Accepts(r.Plan.Platform))) image = await result.CreateImageAsync(names).ConfigureAwait(false);
        return image;
    }

    private async Task ToArchiveAsync(BuildOutput output, BuildStep step, CancellationToken cancellation)
    {
        var isDocker = output.Type == "docker";
        if (isDocker && request.IsMultiPlatform) throw new BuildException("docker exporter does not currently support exporting manifest lists");
        if (!output.Flag("tar", otherwise: true)) throw new BuildException($"{output.Type} exporter: tar=false is not supported: the archive is a tar, which can be unpacked");
        var (names, form) = (output.Names(), Form(output));
        var archive = Session.NewArchive(form);
        var image = await Assembly(output, form, names, oci: !isDocker).PutAsync(archive, null, cancellation).ConfigureAwait(false);
        Tell(step, "exporting layers");
        Tell(step, "exporting manifest " + image.Root.DigestText);
        Remember(image, names);
        var annotations = new Dictionary<string, string>(image.Root.Annotations ?? new Dictionary<string, string>(), StringComparer.Ordinal);
        annotations.TryAdd("org.opencontainers.image.created", (Epoch is { } epoch ? DateTimeOffset.FromUnixTimeSeconds(epoch) : time.GetUtcNow()).UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture));
        archive.AddEntry(image.Root with { Annotations = annotations }, names);
        if (isDocker) archive.AddDockerManifest(image.Config, names, image.Layers!);
        await using var stream = await Sink.OpenFileAsync(output, _metadata, cancellation).ConfigureAwait(false);
        if (stream is null) return;
        await archive.CopyToAsync(stream, cancellation).ConfigureAwait(false);
        Tell(step, "sending tarball");
    }

    private IOutputSink Sink => request.Sink ?? throw new BuildException("this output is a file of the client's, and the client takes none");

    private async Task ToFilesAsync(BuildOutput output, BuildStep step, CancellationToken cancellation)
    {
        using var files = Files(output, cancellation);
        await Sink.SendFilesAsync(output, files, cancellation).ConfigureAwait(false);
        Tell(step, "copying files");
    }

    private async Task ToTarAsync(BuildOutput output, BuildStep step, CancellationToken cancellation)
    {
        using var files = Files(output, cancellation);
        await using var stream = await Sink.OpenFileAsync(output, _metadata, cancellation).ConfigureAwait(false);
        if (stream is null) return;
        await files.WriteTarAsync(stream, cancellation).ConfigureAwait(false);
        Tell(step, "sending tarball");
    }

    // Every platform in a directory of its own when there are several, unless they are to be one tree.
    private FileSet Files(BuildOutput output, CancellationToken cancellation)
    {
        var split = output.Flag("platform-split", otherwise: request.IsMultiPlatform);
        var said = attestations.Any(a => a.Any(b => !b.InlineOnly));
        if (results.Count == 1 && !split && !said) return results[0].Session.OpenTree(results[0].Layers, Epoch);
        var all = new JoinedFiles(Epoch is { } epoch ? DateTimeOffset.FromUnixTimeSeconds(epoch) : time.GetUtcNow());
        try
        {
            for (var i = 0; i < results.Count; i++)
            {
                var files = results[i].Session.OpenTree(results[i].Layers, Epoch);
                var platform = results[i].Plan.Platform.ToString().Replace('/', '_');
                var directory = split ? platform : "";
                all.Add(directory, files);
                foreach (var attestation in attestations[i])
                {
                    if (attestation.InlineOnly) continue;
                    var name = output["attestation-prefix"] + attestation.FileName;
                    if (results.Count > 1 && !split) name = $"{Path.GetFileNameWithoutExtension(name)}.{platform}{Path.GetExtension(name)}";
                    all.Add(directory.Length > 0 ? $"{directory}/{name}" : name, ImageAssembly.Statement(attestation, Subjects(files, cancellation), indented: true));
                }
            }
            return all;
        }
        catch
        {
            all.Dispose();
            throw;
        }
    }

    private static List<(string, Digest)> Subjects(FileSet files, CancellationToken cancellation)
    {
        var subjects = new List<(string, Digest)>();
        foreach (var file in files.List(cancellation))
        {
            if (file.Kind != FileKind.Regular) continue;
            using var content = files.Open(file.Path);
            subjects.Add((file.Path, Digest.Parse("sha256:" + Convert.ToHexStringLower(SHA256.HashData(content)))));
        }
        return subjects;
    }
}
