using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>The commands of berth compose that do something to the containers and images of services; words and order are docker compose 2.40's.</summary>
public sealed class ComposeVerbsTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private const string Idle = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

    private readonly TestDaemon _daemon = shared.Daemon;

    private sealed class Files : IDisposable
    {
        public string Directory { get; } = System.IO.Directory.CreateTempSubdirectory("berth-compose-").FullName;

        public Files With(string name, string text)
        {
            System.IO.Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(Directory, name))!);
            File.WriteAllText(Path.Combine(Directory, name), text);
            return this;
        }

        public void Dispose() => System.IO.Directory.Delete(Directory, recursive: true);
    }

    private Command Compose(Files files, params string[] arguments) => _daemon.Berth(["compose", "-f", Path.Combine(files.Directory, "compose.yaml"), .. arguments]);

    private async Task<string> LeftAsync(string project)
    {
        var filter = $"label=com.docker.compose.project={project}";
        return (await _daemon.Docker("ps", "-aq", "--filter", filter)).Output + (await _daemon.Docker("network", "ls", "-q", "--filter", filter)).Output;
    }

    private static string Sorted(string text) => string.Concat(text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal).Select(l => l + "\n"));

    [Fact]
    public async Task Files_go_into_all_containers_of_a_service_and_come_out_of_the_first()
    {
        using var files = new Files().With("there", "word\n").With("compose.yaml", $$"""
            name: verbs1
            services:
              two: {image: {{shared.Image}}, command: sh -c "{{Idle}}", network_mode: none, scale: 2}
            """);
        var (there, back) = (Path.Combine(files.Directory, "there"), Path.Combine(files.Directory, "back"));
        await Compose(files, "up", "-d");
        Assert.Equal($" verbs1-two-1 copy {there} to verbs1-two-1:/w Copied\n verbs1-two-1 copy {there} to verbs1-two-1:/w Copying\n verbs1-two-2 copy {there} to verbs1-two-2:/w Copied\n verbs1-two-2 copy {there} to verbs1-two-2:/w Copying\n", Sorted((await Compose(files, "cp", there, "two:/w")).Error));
        Assert.Equal("word\n", (await Compose(files, "exec", "-T", "--index", "2", "two", "cat", "/w")).Output);
        await Compose(files, "exec", "-T", "two", "sh", "-c", "echo changed > /w");
        await Compose(files, "cp", "two:/w", back);
        Assert.Equal("changed\n", await File.ReadAllTextAsync(back, TestContext.Current.CancellationToken));
        Assert.Equal("copying between services is not supported\n", (await Compose(files, "cp", "two:/w", "one:/w").MayFail()).Error);
        Assert.Equal("no container found for service \"one\"\n", (await Compose(files, "cp", "one:/w", back).MayFail()).Error);

        var committed = await Compose(files, "commit", "-m", "why", "--index", "2", "two", "verbs1/copy:1");
        Assert.Matches("^ verbs1-two-2 Commit verbs1-two-2 Committing\n verbs1-two-2 Commit verbs1-two-2 Committed as sha256:[0-9a-f]{64}\n$", committed.Error);
        Assert.Equal("word\n", (await _daemon.Docker("run", "--rm", "--network", "none", "verbs1/copy:1", "cat", "/w")).Output);
        var archive = Path.Combine(files.Directory, "two.tar");
        Assert.Contains($" verbs1-two-1 export verbs1-two-1 to {archive} Exporting\n", (await Compose(files, "export", "-o", archive, "two")).Error);
        Assert.Equal("changed\n", (await new Command("tar", ["-xOf", archive, "w"])).Output);

        // The newest go first, and the others stay as they are.
        var ids = (await Compose(files, "ps", "-q")).Lines;
        var fewer = await Compose(files, "scale", "two=1");
        Assert.Contains(" Container verbs1-two-2  Removed\n", fewer.Error);
        Assert.Equal((await _daemon.Docker("inspect", "-f", "{{.Id}}", "verbs1-two-1")).Output, (await Compose(files, "ps", "-q")).Output);
        Assert.Contains((await Compose(files, "ps", "-q")).Line, ids);
        await Compose(files, "down", "-t", "1", "--rmi", "local");
        Assert.Equal("", (await _daemon.Docker("images", "-q", "verbs1/copy")).Output);
        Assert.Equal("", await LeftAsync("verbs1"));
    }

    [Fact]
    public async Task What_runs_is_listed_waited_for_attached_to_and_restarted_with_what_needs_it()
    {
        using var files = new Files().With("compose.yaml", $$"""
            name: verbs2
            services:
              base: {image: {{shared.Image}}, command: sh -c "{{Idle}}", network_mode: none}
              needs: {image: {{shared.Image}}, command: sh -c "{{Idle}}", network_mode: none, depends_on: {base: {condition: service_started, restart: true} } }
              talks: {image: {{shared.Image}}, command: sh -c "read line; echo said $$line; exit 5", network_mode: none, stdin_open: true}
            """);
        await Compose(files, "up", "-d");
        var top = await Compose(files, "top", "base");
        Assert.Matches("^SERVICE  #   UID .* CMD\nbase     1   root .* sh -c trap", top.Output);
        Assert.Equal(["verbs2-base-1", "verbs2-needs-1", "verbs2-talks-1"], (await Compose(files, "stats", "--no-stream", "--format", "{{.Name}}")).Lines.Order(StringComparer.Ordinal));
        Assert.Equal(4, (await Compose(files, "images")).Lines.Length);
        Assert.Contains("\"ContainerName\":\"verbs2-talks-1\"", (await Compose(files, "images", "--format", "json")).Output);
        Assert.Equal("verbs2\n", (await _daemon.Berth("compose", "ls", "-q", "--filter", "name=verbs2")).Output);

        using var waiting = Compose(files, "wait", "talks").MayFail().Start();
        using var attached = Compose(files, "attach", "talks").MayFail().Start();
        await attached.WriteAsync("hello\n");
        var said = await attached.WaitAsync();
        Assert.Equal((5, "said hello\n"), (said.ExitCode, said.Output));
        var waited = await waiting.WaitAsync();
        Assert.Equal(5, waited.ExitCode);
        Assert.Matches("^container \"[0-9a-f]{64}\" exited with status code 5\n$", waited.Output);
        Assert.Equal("no containers for project \"verbs2\"\n", (await Compose(files, "wait", "nobody").MayFail()).Error);

        Assert.Equal(" Container verbs2-base-1  Restarting\n Container verbs2-base-1  Started\n Container verbs2-needs-1  Restarting\n Container verbs2-needs-1  Started\n", (await Compose(files, "restart", "-t", "1", "base")).Error);
        Assert.Equal(" Container verbs2-base-1  Restarting\n Container verbs2-base-1  Started\n", (await Compose(files, "restart", "-t", "1", "--no-deps", "base")).Error);
        await Compose(files, "pause", "base");
        Assert.Matches("^Error response from daemon: Container [0-9a-f]{64} is already paused\n$", (await Compose(files, "pause", "base").MayFail()).Error);
        await Compose(files, "unpause", "base");
        Assert.Equal("Going to remove verbs2-talks-1\n", (await Compose(files, "rm", "-f", "talks")).Output);
        Assert.Equal("service \"talks\" has no container to start\n", (await Compose(files, "start").MayFail()).Error);
        await Compose(files, "kill");
        Assert.Equal("no container to kill\n", (await Compose(files, "kill")).Error);
        await Compose(files, "down");
        Assert.Equal("", await LeftAsync("verbs2"));
    }

    [Fact]
    public async Task A_dry_run_says_what_would_be_done_and_does_nothing()
    {
        using var files = new Files().With("there", "word\n").With("compose.yaml", $$"""
            name: verbs3
            services:
              one: {image: {{shared.Image}}, command: sh -c "{{Idle}}", network_mode: none}
            """);
        Assert.Equal("#1 Create verbs3-one-1, not found\n[1] -> #2 Start verbs3-one-1\n", (await Compose(files, "--dry-run", "up", "-d")).Output);
        Assert.Equal("", await LeftAsync("verbs3"));
        await Compose(files, "up", "-d");
        var before = (await _daemon.Docker("inspect", "verbs3-one-1")).Output;
        foreach (var verb in (string[])["kill", "pause", "pull", "push"]) Assert.StartsWith(" DRY-RUN MODE -  ", (await Compose(files, "--dry-run", verb)).Error);
        Assert.Equal(" DRY-RUN MODE -  verbs3-one-1 Commit verbs3-one-1 Committing\n DRY-RUN MODE -  verbs3-one-1 Commit verbs3-one-1 Committed\n", (await Compose(files, "commit", "--dry-run", "one", "verbs3/no")).Error);
        Assert.Contains(" Exported\n", (await Compose(files, "--dry-run", "export", "-o", Path.Combine(files.Directory, "no.tar"), "one")).Error);
        Assert.Contains(" Copied\n", (await Compose(files, "--dry-run", "cp", Path.Combine(files.Directory, "there"), "one:/there")).Error);
        Assert.Equal("#1 Restart verbs3-one-1\n", (await Compose(files, "--dry-run", "restart")).Output);
        Assert.Equal("#1 Stop verbs3-one-1\n", (await Compose(files, "--dry-run", "stop")).Output);
        Assert.Equal("#1 Stop verbs3-one-1\n[1] -> #2 Remove verbs3-one-1\n", (await Compose(files, "--dry-run", "down")).Output);
        Assert.Equal(before, (await _daemon.Docker("inspect", "verbs3-one-1")).Output);
        Assert.Equal(("", false), ((await _daemon.Docker("images", "-q", "verbs3/no")).Output, File.Exists(Path.Combine(files.Directory, "no.tar"))));
        await Compose(files, "down", "-t", "1");
    }

    [Fact]
    public async Task Images_go_to_a_registry_and_come_back_several_at_a_time()
    {
        await using var registry = await BerthRegistry.StartAsync();
        using var files = new Files().With("Dockerfile", $"FROM {shared.Image}\nRUN echo made > /made\n").With("compose.yaml", $$"""
            name: verbs4
            services:
              built: {image: {{registry.Host}}/built:1, build: {context: ., tags: ["{{registry.Host}}/built:2"]}, command: cat /made, network_mode: none}
              same: {image: {{registry.Host}}/built:1, command: cat /made, network_mode: none, depends_on: [built]}
              missing: {image: {{registry.Host}}/missing:1, network_mode: none, profiles: [all]}
            """);
        await Compose(files, "build", "--quiet").WithTimeout(TimeSpan.FromMinutes(1));
        var push = await Compose(files, "push");
        Assert.Contains(" same Skipped \n", push.Error);
        Assert.Contains($" Pushing {registry.Host}/built:2: ", push.Error);
        await _daemon.Docker("rmi", $"{registry.Host}/built:1", $"{registry.Host}/built:2");

        var pull = await Compose(files, "pull");
        Assert.Contains(" built Pulling \n", pull.Error);
        Assert.Contains(" built Pulled \n", pull.Error);
        Assert.Contains(" same Skipped - Image is already being pulled by built \n", pull.Error);
        Assert.Contains(" built Skipped - Image is already present locally \n", (await Compose(files, "pull", "--policy", "missing")).Error);
        var failed = await Compose(files, "--profile", "all", "pull", "missing").MayFail();
        Assert.Equal(1, failed.ExitCode);
        Assert.Contains($" missing Error manifest for {registry.Host}/missing:1 not found: manifest unknown", failed.Error);
        await Compose(files, "--profile", "all", "pull", "--ignore-pull-failures");

        await _daemon.Docker("rmi", $"{registry.Host}/built:1");
        Assert.Contains(" same Pulled \n", (await Compose(files, "up", "-d", "--no-deps", "same")).Error);
        await Eventually.HoldsAsync("it has printed what is in the image", async () => (await Compose(files, "logs", "--no-log-prefix", "same")).Output == "made\n");
        await Compose(files, "down", "--rmi", "all");
        Assert.Equal("", await LeftAsync("verbs4"));
    }

    [Fact]
    public async Task What_changes_is_carried_into_services_as_their_files_say()
    {
        using var files = new Files().With("Dockerfile", $"FROM {shared.Image}\nCOPY word /word\n").With("word", "one\n").With("sync/before", "before\n").With("exec/f", "x").With("again/f", "x").With("restart/f", "x").With("compose.yaml", $$"""
            name: verbs5
            services:
              synced:
                image: {{shared.Image}}
                command: sh -c "echo started; {{Idle}}"
                network_mode: none
                develop:
                  watch:
                  - {path: ./sync, target: /sync, action: sync, initial_sync: true, ignore: ["*.tmp"]}
                  - {path: ./exec, target: /exec, action: sync+exec, exec: {command: sh -c "cat /exec/f"} }
                  - {path: ./again, target: /again, action: sync+restart}
                  - {path: ./restart, action: restart}
              built:
                build: .
                command: sh -c "cat /word; {{Idle}}"
                network_mode: none
                develop: {watch: [{path: ./word, action: rebuild}]}
            """);
        using var watch = Compose(files, "watch").WithTimeout(TimeSpan.FromMinutes(1)).MayFail().Start();
        await watch.ErrorAsync("Watch enabled");
        Assert.Equal("before\n", (await Compose(files, "exec", "-T", "synced", "cat", "/sync/before")).Output);

        files.With("sync/no.tmp", "no").With("sync/after", "after\n");
        await Eventually.HoldsAsync("the new file is in the container", async () => (await Compose(files, "exec", "-T", "synced", "cat", "/sync/after").MayFail()).Output == "after\n");
        Assert.Equal("after\nbefore\n", (await Compose(files, "exec", "-T", "synced", "ls", "/sync")).Output);
        File.Delete(Path.Combine(files.Directory, "sync/before"));
        await Eventually.HoldsAsync("the deleted file is gone", async () => (await Compose(files, "exec", "-T", "synced", "ls", "/sync")).Output == "after\n");

        files.With("exec/f", "carried out\n");
        await watch.ErrorAsync("carried out");
        files.With("again/f", "again\n");
        await Eventually.HoldsAsync("it was restarted", async () => (await Compose(files, "logs", "--no-log-prefix", "synced").MayFail()).Output == "started\nstarted\n");
        Assert.Equal("again\n", (await Compose(files, "exec", "-T", "synced", "cat", "/again/f")).Output);
        files.With("restart/f", "now\n");
        await Eventually.HoldsAsync("it was restarted again", async () => (await Compose(files, "logs", "--no-log-prefix", "synced").MayFail()).Output == "started\nstarted\nstarted\n");
        files.With("word", "two\n");
        await Eventually.HoldsAsync("it runs the new image", async () => (await Compose(files, "logs", "--no-log-prefix", "built").MayFail()).Output == "two\n");
        watch.Signal("INT");
        Assert.Equal(130, (await watch.WaitAsync()).ExitCode);
        await Compose(files, "down", "-t", "1", "--rmi", "local");
        Assert.Equal("", await LeftAsync("verbs5"));
    }

    [Fact]
    public async Task Files_are_published_in_a_registry_and_included_from_there()
    {
        await using var registry = await BerthRegistry.StartAsync();
        using var files = new Files().With("compose.yaml", "name: verbs6\nservices: {one: {image: x, environment: {A: secret} } }\n");
        using var other = new Files().With("compose.yaml", $"name: other\ninclude: [\"oci://{registry.Host}/apps/one:1\"]\nservices: {{two: {{image: y}} }}\n");
        var refused = await Compose(files, "publish", $"{registry.Host}/apps/one:1").MayFail();
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains("service \"one\" has environment variable(s) declared.\nTo avoid leaking sensitive data, ", refused.Error);
        Assert.Equal($" one Skipped \n {registry.Host}/apps/one:1 publishing \n {registry.Host}/apps/one:1 published \n", (await Compose(files, "publish", "--with-env", "-y", $"{registry.Host}/apps/one:1")).Error);
        Assert.Equal("one\ntwo\n", (await Compose(other, "config", "--services").WithEnvironment("XDG_CACHE_HOME", other.Directory)).Output);
        var direct = _daemon.Berth("compose", "-f", $"oci://{registry.Host}/apps/one:1", "config", "--hash", "*").WithEnvironment("XDG_CACHE_HOME", other.Directory);
        Assert.Equal((await Compose(files, "config", "--hash", "*")).Output, (await direct).Output);
        var missing = await _daemon.Berth("compose", "-f", $"oci://{registry.Host}/apps/none:1", "config").WithEnvironment("XDG_CACHE_HOME", other.Directory).MayFail();
        Assert.StartsWith($"failed to pull OCI resource \"{registry.Host}/apps/none:1\": ", missing.Error);
    }

    [Fact]
    public async Task A_model_is_transformed_by_an_image_that_is_made_for_it()
    {
        using var files = new Files().With("compose.yaml", $$"""
            name: verbs7
            services: {one: {image: {{shared.Image}}, ports: ["81"], secrets: [word]} }
            secrets: {word: {file: ./word} }
            """).With("word", "sesame").With("image/Dockerfile", $"FROM {shared.Image}\nLABEL com.docker.compose.bridge=transformation\nRUN mkdir /templates && echo here > /templates/t\nCMD [\"cp\", \"/in/compose.yaml\", \"/out/made.yaml\"]\n");
        await _daemon.Berth("build", "-q", "-t", "verbs7/transform", Path.Combine(files.Directory, "image")).WithTimeout(TimeSpan.FromMinutes(1));
        Assert.Equal("verbs7/transform:latest\n", (await Compose(files, "bridge", "transformations", "ls", "-q")).Output);
        var output = Path.Combine(files.Directory, "out");
        await Compose(files, "bridge", "convert", "-t", "verbs7/transform", "-o", output);
        var made = await File.ReadAllTextAsync(Path.Combine(output, "made.yaml"), TestContext.Current.CancellationToken);
        Assert.Contains("    expose:\n      - \"81\"\n", made);
        Assert.Contains("    content: sesame\n", made);
        var copy = Path.Combine(files.Directory, "copy");
        Assert.Equal($"Transformer created in \"{copy}\"\n", (await Compose(files, "bridge", "transformations", "create", "--from", "verbs7/transform", copy)).Output);
        Assert.Equal("here\n", await File.ReadAllTextAsync(Path.Combine(copy, "templates/t"), TestContext.Current.CancellationToken));
        await _daemon.Docker("rmi", "verbs7/transform");
    }
}
