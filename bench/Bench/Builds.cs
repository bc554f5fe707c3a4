using System.Globalization;
using System.Text;
using Berth.Testing;

namespace Berth.Bench;

/// <summary>Builds, by the client without BuildKit and by buildx; the same client on both engines.</summary>
internal sealed class Builds(Engine berth, Engine? docker, Options options, Table table) : IDisposable
{
    private const int SmallFiles = 20_000, Stages = 12;

    private readonly string _directory = Directory.CreateTempSubdirectory("berth-bench-").FullName;

    /// <summary>Debian's docker-buildx, or what BENCH_BUILDX names; null without one.</summary>
    private static string? Buildx { get; } = new[] { Environment.GetEnvironmentVariable("BENCH_BUILDX"), "/usr/libexec/docker/cli-plugins/docker-buildx", "/usr/lib/docker/cli-plugins/docker-buildx" }.FirstOrDefault(File.Exists);

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    internal async Task RunAsync()
    {
        foreach (var engine in docker is null ? [berth] : new[] { berth, docker }) engine.Client("tag", Images.Busybox, "berth-bench-base");
        foreach (var buildx in Buildx is null ? [false] : new[] { true, false })
        {
            var name = buildx ? "buildx" : "classic";
            if (options.Wants("build-12")) Row("build-12", $"{Stages} stages of RUN true, nothing kept ({name})", Steps(), "1/4", 0.25, (e, c) => Build(e, buildx, c, "--no-cache"));
            if (options.Wants("build-again")) Row("build-again", $"the same again with nothing changed ({name})", Steps(), "1/3", 1 / 3.0, (e, c) => Build(e, buildx, c), warm: true);
            if (options.Wants("build-20000")) Row("build-20000", $"a context of {SmallFiles} files, one of them changed ({name})", await FilesAsync(), "1/2", 0.5, (e, c) =>
            {
                File.WriteAllText(Path.Combine(c, "files", "d0", "f0"), Guid.NewGuid().ToString());
                return Build(e, buildx, c);
            }, warm: true);
            if (options.Wants("build-1g")) Row("build-1g", $"COPY of 1 GB, new each time ({name})", Large(), "0.7", 0.7, (e, c) =>
            {
                using (var file = File.OpenWrite(Path.Combine(c, "large"))) file.Write(Guid.NewGuid().ToByteArray());
                return Build(e, buildx, c);
            });
        }
        foreach (var engine in docker is null ? [berth] : new[] { berth, docker })
        {
            engine.Client("rmi", "--force", "berth-bench-built", "berth-bench-base");
            engine.Client("builder", "prune", "-af");
        }
    }

    private void Row(string row, string what, string context, string limit, double ratio, Func<Engine, string, TimeSpan> build, bool warm = false)
    {
        List<double> ours = [], theirs = [];
        for (var i = warm ? -1 : 0; i < Math.Min(options.Samples, 5); i++)
        {
            var mine = build(berth, context).TotalMilliseconds;
            var its = docker is null ? 0 : build(docker, context).TotalMilliseconds;
            if (i < 0) continue;
            ours.Add(mine);
            theirs.Add(its);
        }
        ours.Sort();
        theirs.Sort();
        table.Add(row, what, ours[ours.Count / 2], docker is null ? null : theirs[theirs.Count / 2], "ms", limit + " of Docker", (_, r) => r is null ? null : r <= ratio);
    }

    private TimeSpan Build(Engine engine, bool buildx, string context, params string[] flags) => buildx
        ? Engine.Time("env", ["DOCKER_HOST=" + engine.Host, "BUILDX_CONFIG=" + Path.Combine(_directory, "buildx-" + engine.Name), Buildx!, "build", "--provenance=false", "-q", "-t", "berth-bench-built", .. flags, context])
        : Engine.Time("env", ["DOCKER_BUILDKIT=0", "docker", "-H", engine.Host, "build", "-q", "-t", "berth-bench-built", .. flags, context]);

    private string Context(string name, string dockerfile)
    {
        var directory = Directory.CreateDirectory(Path.Combine(_directory, name)).FullName;
        File.WriteAllText(Path.Combine(directory, "Dockerfile"), dockerfile);
        return directory;
    }

    private string Steps()
    {
        var text = new StringBuilder("FROM berth-bench-base AS s0\nRUN true\n");
        for (var i = 1; i < Stages; i++) text.Append(CultureInfo.InvariantCulture, $"FROM s{i - 1} AS s{i}\nRUN true {i}\n");
        return Context("steps", text.ToString());
    }

    private async Task<string> FilesAsync()
    {
        const int PerDirectory = 200;
        var context = Context("files", "FROM berth-bench-base\nCOPY files /files\n");
        if (Directory.Exists(Path.Combine(context, "files"))) return context;
        for (var i = 0; i < SmallFiles; i++)
        {
            var directory = Path.Combine(context, "files", $"d{i / PerDirectory}");
            if (i % PerDirectory == 0) Directory.CreateDirectory(directory);
            await File.WriteAllTextAsync(Path.Combine(directory, $"f{i % PerDirectory}"), $"file {i}\n");
        }
        return context;
    }

    private string Large()
    {
        var context = Context("large", "FROM scratch\nCOPY large /large\n");
        var path = Path.Combine(context, "large");
        if (File.Exists(path)) return context;
        var (random, block) = (new Random(1), new byte[1 << 20]);
        using var file = File.Create(path);
        for (var i = 0; i < 1024; i++)
        {
            random.NextBytes(block);
            file.Write(block);
        }
        return context;
    }
}
