using System.Formats.Tar;
using System.Text.Json;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>berth build, and what comes out of a build: images, pushes, archives, files, results for other machines, what is said about it all.</summary>
public sealed class BuildExportsTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private string Context(string name, params (string Path, string Content)[] files)
    {
        var directory = Path.Combine(_daemon.WorkDirectory, "exports-" + name);
        foreach (var (path, content) in files)
        {
            var file = Path.Combine(directory, path);
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            File.WriteAllText(file, content.Replace("BASE", shared.Image, StringComparison.Ordinal));
        }
        return directory;
    }

    private string At(string name) => Path.Combine(_daemon.WorkDirectory, name);

    private Command Build(params string[] arguments) => _daemon.Berth(["build", .. arguments]).WithTimeout(TimeSpan.FromSeconds(60));

    private static JsonElement Json(string text)
    {
        using var document = JsonDocument.Parse(text);
        return document.RootElement.Clone();
    }

    [Fact]
    public async Task Steps_and_their_output_are_lines_and_what_is_found_again_is_called_cached()
    {
        var context = Context("plain", ("Dockerfile", "FROM BASE\nCOPY f /f\nRUN echo said-$(cat /f)\n"), ("f", "one"));
        var first = await Build("-t", "plain:1", "--iidfile", At("plain.id"), context);
        Assert.Equal("", first.Output);
        Assert.Contains(" said-one\n", first.Error, StringComparison.Ordinal);
        Assert.Contains(" naming to docker.io/library/plain:1 done\n", first.Error, StringComparison.Ordinal);
        Assert.Equal((await _daemon.Docker("image", "inspect", "plain:1", "-f", "{{.Id}}")).Line, await File.ReadAllTextAsync(At("plain.id"), TestContext.Current.CancellationToken));
        Assert.Equal(2, (await Build(context)).Error.Split(" CACHED\n").Length - 1);
        await File.WriteAllTextAsync(Path.Combine(context, "f"), "two", TestContext.Current.CancellationToken);
        var changed = await Build("--progress", "rawjson", context);
        Assert.Contains(changed.Error.Split('\n'), l => l.Contains("\"logs\"", StringComparison.Ordinal));
        Assert.Contains(" not cached: 1 file changed: f\n", (await Build("--build-arg", "x=y", "-t", "plain:2", Change(context, "f", "three"))).Error, StringComparison.Ordinal);
        Assert.StartsWith("sha256:", (await Build("-q", context)).Output, StringComparison.Ordinal);
    }

    private static string Change(string context, string file, string content)
    {
        File.WriteAllText(Path.Combine(context, file), content);
        return context;
    }

    [Fact]
    public async Task Errors_show_the_lines_they_are_about()
    {
        var context = Context("errors", ("Dockerfile", "FROM BASE\nRUN echo before; exit 3\n"), ("wrong", "FROM BASE\nRUNN true\n"));
        var failed = await Build(context).MayFail();
        Assert.Equal(1, failed.ExitCode);
        Assert.Contains("   2 | >>> RUN echo before; exit 3\n", failed.Error, StringComparison.Ordinal);
        Assert.EndsWith("ERROR: failed to build: process \"/bin/sh -c echo before; exit 3\" did not complete successfully: exit code: 3\n", failed.Error, StringComparison.Ordinal);
        var wrong = await Build("-f", Path.Combine(context, "wrong"), context).MayFail();
        Assert.Contains("   2 | >>> RUNN true\n", wrong.Error, StringComparison.Ordinal);
        Assert.Contains("did you mean RUN?", wrong.Error, StringComparison.Ordinal);
        Assert.Equal("unable to prepare context: path \"nowhere\" not found\n", (await Build("nowhere").MayFail()).Error);
    }

    [Fact]
    public async Task Dockerignore_a_dockerfile_elsewhere_one_from_stdin_and_secrets()
    {
        var context = Context("ignore", (".dockerignore", "out\n!out/in\n"), ("out/no", "1"), ("out/in", "2"), ("kept", "3"));
        Context("elsewhere", ("D", "FROM BASE\nCOPY . /all\nRUN --mount=type=secret,id=word find /all -type f | sort; wc -c < /run/secrets/word\n"));
        var built = await Build("--no-cache", "-f", At("exports-elsewhere/D"), "--secret", "id=word,env=WORD", context).WithEnvironment("WORD", "12345");
        Assert.Contains(" /all/kept\n", built.Error, StringComparison.Ordinal);
        Assert.Contains(" /all/out/in\n", built.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("/all/out/no", built.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("/all/.dockerfile", built.Error, StringComparison.Ordinal);
        Assert.Matches(@"#\d+ [\d.]+ 5\n", built.Error);
        Assert.Contains(" stdin-one\n", (await Build("--no-cache", "-").WithInput($"FROM {shared.Image}\nRUN echo stdin-one\n")).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Files_and_tars_hold_the_result_and_nothing_is_written_through_its_links()
    {
        var context = Context("files", ("Dockerfile", "FROM BASE AS make\nRUN mkdir -p /o/d && echo x > /o/d/x && chmod 755 /o/d/x && ln -s /etc/passwd /o/link && ln /o/d/x /o/hard && mknod /o/pipe p\nFROM scratch\nCOPY --from=make /o /\n"));
        await Build("-o", At("files-out"), context);
        Assert.Equal("x\n", await File.ReadAllTextAsync(At("files-out/hard"), TestContext.Current.CancellationToken));
        Assert.Equal("/etc/passwd", new FileInfo(At("files-out/link")).LinkTarget);
        Assert.True(File.GetUnixFileMode(At("files-out/d/x")).HasFlag(UnixFileMode.UserExecute));
        // Where a link lies in the way the build does not write to where it leads.
        Directory.Delete(At("files-out/d"), recursive: true);
        Directory.CreateDirectory(At("victim"));
        Directory.CreateSymbolicLink(At("files-out/d"), At("victim"));
        await Build("-o", "type=local,dest=" + At("files-out"), context).MayFail();
        Assert.Empty(Directory.GetFiles(At("victim")));

        await Build("-o", "type=tar,dest=" + At("files.tar"), "-o", "type=tar,dest=" + At("again.tar"), context);
        Assert.Equal(await File.ReadAllBytesAsync(At("files.tar"), TestContext.Current.CancellationToken), await File.ReadAllBytesAsync(At("again.tar"), TestContext.Current.CancellationToken));
        await using var tar = new TarReader(File.OpenRead(At("files.tar")));
        var entries = new Dictionary<string, TarEntryType>();
        while (await tar.GetNextEntryAsync(cancellationToken: TestContext.Current.CancellationToken) is { } entry) entries[entry.Name] = entry.EntryType;
        Assert.Equal((TarEntryType.Directory, TarEntryType.SymbolicLink, TarEntryType.HardLink, TarEntryType.Fifo), (entries["d/"], entries["link"], entries["hard"], entries["pipe"]));
    }

    [Fact]
    public async Task Archives_are_loaded_again_with_their_names()
    {
        var context = Context("archives", ("Dockerfile", "FROM BASE\nRUN echo archived > /word\n"));
        await Build("-o", "type=oci,dest=" + At("oci.tar") + ",compression=zstd,force-compression=true", "-o", "type=docker,dest=" + At("docker.tar"), "-t", "archived:1", "--annotation", "a=b", "--metadata-file", At("archived.json"), context);
        var metadata = Json(await File.ReadAllTextAsync(At("archived.json"), TestContext.Current.CancellationToken));
        Assert.Equal("docker.io/library/archived:1", metadata.GetProperty("image.name").GetString());
        Assert.Equal(metadata.GetProperty("containerimage.digest").GetString(), metadata.GetProperty("containerimage.descriptor").GetProperty("digest").GetString());
        foreach (var archive in (string[])["oci.tar", "docker.tar"])
        {
            Assert.Contains("Loaded image: archived:1", (await _daemon.Docker("load", "-i", At(archive))).Output, StringComparison.Ordinal);
            Assert.Equal("archived\n", (await _daemon.Docker("run", "--rm", "--network", "none", "archived:1", "cat", "/word")).Output);
            await _daemon.Docker("rmi", "archived:1");
        }
    }

    [Fact]
    public async Task A_push_takes_annotations_and_what_is_said_about_the_image_along()
    {
        await using var registry = await BerthRegistry.StartAsync();
        var context = Context("push", ("Dockerfile", "FROM BASE\nRUN echo pushed > /word && mkdir -p /lib/apk/db && printf 'P:left-pad\\nV:1.0-r0\\n\\n' > /lib/apk/db/installed\n"));
        await Build("--push", "-t", $"{registry.Host}/pushed:1", "--annotation", "org.example.key=value", "--annotation", "index:org.example.all=yes", "--provenance", "mode=max", "--sbom", "true", context);
        var index = Json(await registry.Http.GetStringAsync("/v2/pushed/manifests/1", TestContext.Current.CancellationToken));
        Assert.Equal("yes", index.GetProperty("annotations").GetProperty("org.example.all").GetString());
        var (image, attestation) = (index.GetProperty("manifests")[0], index.GetProperty("manifests")[1]);
        Assert.Equal(image.GetProperty("digest").GetString(), attestation.GetProperty("annotations").GetProperty("vnd.docker.reference.digest").GetString());
        var manifest = Json(await registry.Http.GetStringAsync("/v2/pushed/manifests/" + image.GetProperty("digest").GetString(), TestContext.Current.CancellationToken));
        Assert.Equal("value", manifest.GetProperty("annotations").GetProperty("org.example.key").GetString());
        var said = Json(await registry.Http.GetStringAsync("/v2/pushed/manifests/" + attestation.GetProperty("digest").GetString(), TestContext.Current.CancellationToken)).GetProperty("layers");
        var statements = new List<JsonElement>();
        foreach (var layer in said.EnumerateArray()) statements.Add(Json(await registry.Http.GetStringAsync("/v2/pushed/blobs/" + layer.GetProperty("digest").GetString(), TestContext.Current.CancellationToken)));
        var provenance = statements.Single(s => s.GetProperty("predicateType").GetString() == "https://slsa.dev/provenance/v0.2");
        Assert.Equal(image.GetProperty("digest").GetString(), "sha256:" + provenance.GetProperty("subject")[0].GetProperty("digest").GetProperty("sha256").GetString());
        var packages = statements.Single(s => s.GetProperty("predicateType").GetString() == "https://spdx.dev/Document").GetProperty("predicate").GetProperty("packages");
        Assert.Contains(packages.EnumerateArray(), p => p.GetProperty("name").GetString() == "left-pad" && p.GetProperty("versionInfo").GetString() == "1.0-r0");
        // The stock client pulls it as any other.
        await _daemon.Docker("rmi", "-f", $"{registry.Host}/pushed:1");
        await _daemon.Docker("pull", "-q", $"{registry.Host}/pushed:1");
        Assert.Equal("pushed\n", (await _daemon.Docker("run", "--rm", "--network", "none", $"{registry.Host}/pushed:1", "cat", "/word")).Output);
    }

    [Fact]
    public async Task Another_machine_finds_results_in_a_registry_in_an_image_and_what_commands_kept()
    {
        await using var registry = await BerthRegistry.StartAsync();
        await using var other = await TestDaemon.StartAsync();
        await other.LoadBusyboxAsync();
        var context = Context("machines", ("Dockerfile", "FROM BASE AS make\nCOPY f /f\nRUN --mount=type=cache,target=/kept,id=kept ls /kept; touch /kept/from-the-first; date +%N > /made\nFROM BASE\nCOPY --from=make /made /made\n"), ("f", "1"));
        await Build("--push", "-t", $"{registry.Host}/machines:1", "--cache-to", "inline", "--cache-to", $"type=registry,ref={registry.Host}/cache:max,mode=max,mounts=true", context);

        Command There(params string[] arguments) => other.Berth(["build", .. arguments]).WithTimeout(TimeSpan.FromSeconds(60));
        var all = await There("--cache-from", $"{registry.Host}/cache:max", "-t", "there", context);
        Assert.Equal(3, all.Error.Split(" CACHED\n").Length - 1);
        Assert.Equal((await _daemon.Docker("run", "--rm", "--network", "none", $"{registry.Host}/machines:1", "cat", "/made")).Output, (await other.Docker("run", "--rm", "--network", "none", "there", "cat", "/made")).Output);
        // The directory comes with them, when a command has to be run after all.
        Assert.Contains(" from-the-first\n", (await There("--cache-from", $"{registry.Host}/cache:max", "--no-cache", context)).Error, StringComparison.Ordinal);
        // A place that cannot be read is no reason to fail.
        Assert.Contains("importing cache manifest from " + registry.Host + "/nothing:1", (await There("--cache-from", $"{registry.Host}/nothing:1", context)).Error, StringComparison.Ordinal);

        // What a single stage made is found in the image alone.
        var single = Context("single", ("Dockerfile", "FROM BASE\nCOPY f /f\nRUN cat /f /proc/uptime > /made\n"), ("f", "2"));
        await Build("--push", "-t", $"{registry.Host}/single:1", "--cache-to", "inline", single);
        Assert.Equal(2, (await There("--cache-from", $"{registry.Host}/single:1", single)).Error.Split(" CACHED\n").Length - 1);
    }
}
