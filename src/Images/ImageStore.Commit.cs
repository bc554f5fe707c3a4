using System.Globalization;
using System.Text.Json;
using Berth.Images.Layers;
using Berth.Linux;
using Berth.Linux.Abi;

namespace Berth.Images;

/// <summary>What <c>docker commit</c> says about the image it makes.</summary>
public sealed record CommitOptions
{
    public required string ContainerId { get; init; }

    /// <summary>The container's image; empty when it was made from none.</summary>
    public required Digest Parent { get; init; }

    /// <summary>How the container runs: what <see cref="Config"/> leaves open is as here.</summary>
    public required ContainerConfig ContainerConfig { get; init; }

    /// <summary>How containers of the image are to run; null: as the container.</summary>
    public ContainerConfig? Config { get; init; }
    public string Author { get; init; } = "";
    public string Message { get; init; } = "";
    public ImageReference? Name { get; init; }
}

public sealed partial class ImageStore
{
    // A tar of nothing, as a diff id.
    private static readonly Digest EmptyLayer = Digest.Sha256(new byte[2 * TarReader.BlockBytes]);

    /// <summary>Makes an image of a container's image and, on top, what the container changed.</summary>
    /// <param name="upperDirectory">The container's own layer; whoever may write to it should be frozen.</param>
    /// <exception cref="ImageException">NotFound when the container's image has gone.</exception>
    public async Task<Digest> CommitAsync(string upperDirectory, CommitOptions commit, CancellationToken cancellation)
    {
        var config = Complete(commit.Config ?? commit.ContainerConfig, commit.ContainerConfig);
        ImageConfig? parent = null;
        if (!commit.Parent.IsEmpty) parent = TryGet(commit.Parent, out var image) ? image.Config : throw NoSuchImage(commit.Parent.ToString());

        Digest id;
        using (var hold = new Hold(this))
        {
            using var layer = await UnpackTreeAsync(upperDirectory, cancellation).ConfigureAwait(false);
            var isEmpty = layer.DiffId == EmptyLayer;
            if (!isEmpty) hold.Publish(layer);
            var created = options.Time.GetUtcNow().UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fffffff'Z'", CultureInfo.InvariantCulture);
            var author = commit.Author.Length == 0 ? null : commit.Author;
            var message = commit.Message.Length == 0 ? null : commit.Message;
            var step = new HistoryRecord
            {
                Created = created, Author = author, Comment = message, CreatedBy = string.Join(' ', commit.ContainerConfig.Cmd ?? []) is { Length: > 0 } command ? command : null, EmptyLayer = isEmpty ? true : null,
            };
            var made = new ImageConfig
            {
                Architecture = parent?.Architecture ?? Platform.Host.Architecture, Variant = parent?.Variant, Os = parent?.Os ?? "linux", OsVersion = parent?.OsVersion,
                Created = created, Author = author, Comment = message, Container = commit.ContainerId, Config = config,
                RootFs = new RootFs { Type = "layers", DiffIds = [.. parent?.RootFs?.DiffIds ?? [], .. isEmpty ? (string[])[] : [layer.DiffId.ToString()]] },
                History = [.. parent?.History ?? [], step],
            };
            await hold.MakeDurableAsync().ConfigureAwait(false);
            id = Commit(hold, JsonSerializer.SerializeToUtf8Bytes(made, ImagesJson.Default.ImageConfig), [], commit.Parent);
        }
        Tell("create", id);
        if (commit.Name is { } name) Tag(id, name);
        return id;
    }

    // The way of every layer: the tree as a tar, the tar hashed and unpacked.
    private async Task<UnpackedLayer> UnpackTreeAsync(string upperDirectory, CancellationToken cancellation, long? latestSeconds = null)
    {
        using var pipe = new BlockPipe();
        var writing = Task.Factory.StartNew(() =>
        {
            try
            {
                using var end = pipe.OpenWriter();
                var writer = new TarWriter(end);
                using (var upper = FileAt.Open(null, upperDirectory, OpenFlags.ReadOnly | OpenFlags.Directory))
                    new TreeTar(writer, new TreeTarRules { IsUpperDirectory = true, UserXattrs = true, LatestSeconds = latestSeconds }, cancellation).AddDirectory(upper, null);
                writer.Complete();
                end.Flush();
                pipe.Complete();
            }
            catch (Exception e)
            {
                pipe.Complete(e);
            }
        }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        try
        {
            return await Task.Factory.StartNew(() => layers.Unpack(pipe.Reader, cancellation), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
        }
        finally
        {
            pipe.Dispose();
            await writing.ConfigureAwait(false);
        }
    }

    /// <summary>What the one leaves open the other says; lists that both have are joined.</summary>
    internal static ContainerConfig Complete(ContainerConfig config, ContainerConfig from)
    {
        var entrypointOpen = config.Entrypoint is null or { Count: 0 };
        var env = new List<string>(config.Env ?? []);
        foreach (var variable in from.Env ?? [])
        {
            var name = variable.Split('=', 2)[0];
            if (!env.Exists(v => v.Split('=', 2)[0] == name)) env.Add(variable);
        }
        return config with
        {
            User = string.IsNullOrEmpty(config.User) ? from.User : config.User,
            ExposedPorts = Join(config.ExposedPorts, from.ExposedPorts),
            Env = env.Count == 0 ? null : env,
            Labels = Join(config.Labels, from.Labels),
            Cmd = entrypointOpen && config.Cmd is null or { Count: 0 } ? from.Cmd : config.Cmd,
            Entrypoint = entrypointOpen && config.Entrypoint is null ? from.Entrypoint : config.Entrypoint,
            Healthcheck = Complete(config.Healthcheck, from.Healthcheck),
            WorkingDir = string.IsNullOrEmpty(config.WorkingDir) ? from.WorkingDir : config.WorkingDir,
            Volumes = Join(config.Volumes, from.Volumes),
            StopSignal = string.IsNullOrEmpty(config.StopSignal) ? from.StopSignal : config.StopSignal,
        };
    }

    private static HealthcheckConfig? Complete(HealthcheckConfig? check, HealthcheckConfig? from)
    {
        if (check is null || from is null) return check ?? from;
        return check with
        {
            Test = check.Test is null or { Count: 0 } ? from.Test : check.Test,
            Interval = check.Interval is null or 0 ? from.Interval : check.Interval,
            Timeout = check.Timeout is null or 0 ? from.Timeout : check.Timeout,
            StartPeriod = check.StartPeriod is null or 0 ? from.StartPeriod : check.StartPeriod,
            StartInterval = check.StartInterval is null or 0 ? from.StartInterval : check.StartInterval,
            Retries = check.Retries is null or 0 ? from.Retries : check.Retries,
        };
    }

    private static IReadOnlyDictionary<string, T>? Join<T>(IReadOnlyDictionary<string, T>? own, IReadOnlyDictionary<string, T>? from)
    {
        if (own is null or { Count: 0 }) return from;
        var all = new SortedDictionary<string, T>(StringComparer.Ordinal);
        foreach (var (key, value) in from ?? new Dictionary<string, T>()) all[key] = value;
        foreach (var (key, value) in own) all[key] = value;
        return all;
    }
}
