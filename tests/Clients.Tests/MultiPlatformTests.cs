using System.Text.Json;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Builds for several platforms: one index, in the store, in registries, in archives; and programs of other processors.</summary>
public sealed class MultiPlatformTests(BuildxTests.Fixture shared) : IClassFixture<BuildxTests.Fixture>
{
    private static readonly string Own = System.Runtime.InteropServices.RuntimeInformation.OSArchitecture == System.Runtime.InteropServices.Architecture.Arm64 ? "arm64" : "amd64";
    private static readonly string Other = Own == "arm64" ? "amd64" : "arm64";
    private static readonly string Both = $"linux/{Own},linux/{Other}";

    // The first command is the same for both, the second is not: it knows what it builds for.
    private const string CrossBuild = """
        FROM --platform=$BUILDPLATFORM BASE AS build
        RUN mkdir /out; cat /proc/sys/kernel/random/uuid > /out/once
        ARG TARGETPLATFORM
        ARG TARGETARCH
        ARG BUILDPLATFORM
        RUN echo "$BUILDPLATFORM for $TARGETPLATFORM" > /out/$TARGETARCH
        FROM scratch
        COPY --from=build /out /
        LABEL kind=cross
        CMD ["/run"]
        """;

    private readonly TestDaemon _daemon = shared.Daemon;

    private string At(string name) => Path.Combine(_daemon.WorkDirectory, name);

    private string Context(string name, string dockerfile)
    {
        Directory.CreateDirectory(At("multi-" + name));
        File.WriteAllText(At($"multi-{name}/Dockerfile"), dockerfile.Replace("BASE", shared.Image, StringComparison.Ordinal));
        return At("multi-" + name);
    }

    private Command Docker(params string[] arguments)
    {
        Assert.SkipWhen(shared.Configuration is null, "the package docker-buildx can't be had here");
        return _daemon.Docker(arguments).WithEnvironment("DOCKER_CONFIG", shared.Configuration!).WithEnvironment("BUILDKIT_PROGRESS", "plain").WithEnvironment("NO_COLOR", "1").WithTimeout(TimeSpan.FromSeconds(60));
    }

    private static JsonElement Json(string text)
    {
        using var document = JsonDocument.Parse(text);
        return document.RootElement.Clone();
    }

    private async Task<JsonElement> Get(string path) => Json((await _daemon.AskAsync("GET", path)).Body);

    [Fact]
    public async Task A_list_of_platforms_gives_an_index_that_the_name_stands_for()
    {
        var context = Context("store", CrossBuild);
        var (metadata, iid) = (At("multi.json"), At("multi.iid"));
        var built = await Docker("build", "--platform", Both, "-t", "multi:store", "--label", "by=store", "--metadata-file", metadata, "--iidfile", iid, context);
        Assert.Contains($"[linux/{Own} build 2/3] RUN mkdir /out", built.Error, StringComparison.Ordinal);
        Assert.Contains($"[linux/{Own}->{Other} build 3/3] RUN echo", built.Error, StringComparison.Ordinal);
        Assert.Equal(2, built.Error.Split("build 2/3] RUN mkdir").Length); // once for both
        var index = Json(await File.ReadAllTextAsync(metadata, TestContext.Current.CancellationToken)).GetProperty("containerimage.digest").GetString()!;
        Assert.Equal(index, await File.ReadAllTextAsync(iid, TestContext.Current.CancellationToken));

        Assert.Equal($"linux/{Own}", (await Docker("image", "inspect", "multi:store", "-f", "{{.Os}}/{{.Architecture}}")).Line);
        Assert.Equal(Other, (await Docker("image", "inspect", "--platform", "linux/" + Other, "multi:store", "-f", "{{.Architecture}}")).Line);
        Assert.Equal("map[by:store kind:cross]", (await Docker("image", "inspect", index, "-f", "{{.Config.Labels}}")).Line);
        var row = (await Get("/v1.48/images/json?manifests=1&filters=" + Uri.EscapeDataString("""{"reference":["multi:store"]}""")))[0];
        Assert.Equal(index, row.GetProperty("Descriptor").GetProperty("digest").GetString());
        Assert.Equal("application/vnd.oci.image.index.v1+json", row.GetProperty("Descriptor").GetProperty("mediaType").GetString());
        Assert.Equal([Own, Other], row.GetProperty("Manifests").EnumerateArray().Select(m => m.GetProperty("ImageData").GetProperty("Platform").GetProperty("architecture").GetString()));
        Assert.All(row.GetProperty("Manifests").EnumerateArray(), m => Assert.True(m.GetProperty("Available").GetBoolean()));
        var tree = (await Docker("images", "--tree", "multi:store")).Output;
        Assert.Contains("linux/" + Own, tree, StringComparison.Ordinal);
        Assert.Contains("linux/" + Other, tree, StringComparison.Ordinal);

        // The same again, as after a restart: nothing is new.
        Assert.Equal(index + "\n", (await Docker("build", "-q", "--platform", Both, "-t", "multi:store", "--label", "by=store", context)).Output);
        await Docker("rmi", "multi:store");
        Assert.Equal(0, (await Get("/images/json?all=1&filters=" + Uri.EscapeDataString("""{"label":["by=store"]}"""))).GetArrayLength());
    }

    [Fact]
    public async Task Files_come_in_a_directory_for_each_platform()
    {
        var context = Context("files", CrossBuild);
        await Docker("build", "--platform", Both, "-o", At("multi-local"), context);
        Assert.Equal($"linux/{Own} for linux/{Other}\n", await File.ReadAllTextAsync(At($"multi-local/linux_{Other}/{Other}"), TestContext.Current.CancellationToken));
        Assert.False(File.Exists(At($"multi-local/linux_{Other}/{Own}")));
        Assert.Equal(await File.ReadAllTextAsync(At($"multi-local/linux_{Own}/once"), TestContext.Current.CancellationToken), await File.ReadAllTextAsync(At($"multi-local/linux_{Other}/once"), TestContext.Current.CancellationToken));
        await Docker("build", "--platform", Both, "-o", "type=tar,dest=" + At("multi.tar"), context);
        Assert.Contains($"linux_{Other}/{Other}\n", (await new Command("tar", ["tf", At("multi.tar")])).Output, StringComparison.Ordinal);
        await Docker("build", "--platform", "linux/" + Other, "--build-arg", "BUILDKIT_MULTI_PLATFORM=1", "-o", At("multi-one"), context);
        Assert.True(File.Exists(At($"multi-one/linux_{Other}/{Other}")));

        await Docker("build", "--platform", Both, "--provenance=true", "-t", "multi:oci", "-o", "type=oci,dest=" + At("multi-oci.tar"), context);
        await Docker("load", "-q", "-i", At("multi-oci.tar"));
        Assert.Equal(Other, (await Docker("image", "inspect", "--platform", "linux/" + Other, "multi:oci", "-f", "{{.Architecture}}")).Line);
        Assert.Contains("docker exporter does not support exporting manifest lists", (await Docker("build", "--platform", Both, "-o", "type=docker,dest=" + At("multi-docker.tar"), context).MayFail()).Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("berth")]
    [InlineData("docker-registry")]
    public async Task An_index_is_pushed_with_all_its_parts_and_pulled_by_platform(string kind)
    {
        await using var registry = kind == "berth" ? await BerthRegistry.StartAsync() : null;
        using var debian = kind == "berth" ? null : DockerRegistry.Start();
        Assert.SkipWhen(registry is null && debian is null, "the package docker-registry is not to be had");
        var name = $"{registry?.Host ?? debian!.Host}/multi/{kind}";
        var context = Context("push-" + kind, CrossBuild);
        // What the build says of itself, what it pushes and what a push of the stored image sends are the same.
        await Docker("build", "--platform", Both, "--provenance=true", "--sbom=true", "--annotation", "index:org.example.a=1", "--annotation", $"manifest[linux/{Other}]:org.example.b=2", "-o", $"type=image,name={name}:1", "--metadata-file", At("push.json"), context);
        var index = Json(await File.ReadAllTextAsync(At("push.json"), TestContext.Current.CancellationToken)).GetProperty("containerimage.digest").GetString()!;
        var pushed = await Docker("push", name + ":1");
        Assert.StartsWith($"1: digest: {index} size: ", pushed.Lines[^1], StringComparison.Ordinal);
        Assert.Equal(pushed.Lines[^1], (await Docker("push", name + ":1")).Lines[^1]);
        await Docker("build", "--platform", Both, "-t", name + ":2", "--push", "--provenance=false", context);

        var raw = Json((await Docker("buildx", "imagetools", "inspect", "--raw", name + ":1")).Output);
        Assert.Equal("1", raw.GetProperty("annotations").GetProperty("org.example.a").GetString());
        var entries = raw.GetProperty("manifests").EnumerateArray().ToList();
        Assert.Equal([Own, Other, "unknown", "unknown"], entries.Select(e => e.GetProperty("platform").GetProperty("architecture").GetString()));
        Assert.Equal(entries[1].GetProperty("digest").GetString(), entries[3].GetProperty("annotations").GetProperty("vnd.docker.reference.digest").GetString());
        Assert.Equal("2", Json((await Docker("buildx", "imagetools", "inspect", "--raw", $"{name}@{entries[1].GetProperty("digest").GetString()}")).Output).GetProperty("annotations").GetProperty("org.example.b").GetString());
        Assert.Matches("Platform: +linux/" + Other, (await Docker("buildx", "imagetools", "inspect", name + ":2")).Output);
        await Docker("buildx", "imagetools", "create", "-t", name + ":3", name + ":1");
        Assert.Equal(index, Json((await Docker("buildx", "imagetools", "inspect", name + ":3", "--format", "{{json .Manifest}}")).Output).GetProperty("digest").GetString());

        // One of them alone.
        var one = await Docker("push", "--platform", "linux/" + Other, name + ":1");
        Assert.Contains(entries[1].GetProperty("digest").GetString()!, one.Output, StringComparison.Ordinal);
        Assert.False(Json((await Docker("buildx", "imagetools", "inspect", "--raw", name + ":1")).Output).TryGetProperty("manifests", out _));

        await Docker("rmi", name + ":1", name + ":2");
        await Docker("pull", "-q", "--platform", "linux/" + Other, name + ":3");
        Assert.Equal(Other, (await Docker("image", "inspect", name + ":3", "-f", "{{.Architecture}}")).Line);
        await Docker("pull", "-q", "--platform", "linux/" + Own, name + ":3");
        // Both are here now, and what lies in the registry beside them stays a part of it.
        Assert.StartsWith($"3: digest: {index} size: ", (await Docker("push", name + ":3")).Lines[^1], StringComparison.Ordinal);
        await Docker("rmi", name + ":3");
    }

    [Fact]
    public async Task Saved_and_loaded_again_the_name_still_stands_for_all_of_them()
    {
        await Docker("build", "--platform", Both, "-t", "multi:saved", Context("saved", CrossBuild));
        await Docker("save", "-o", At("multi-saved.tar"), "multi:saved");
        await Docker("rmi", "multi:saved");
        await Docker("load", "-i", At("multi-saved.tar"));
        Assert.Equal(Own, (await Docker("image", "inspect", "multi:saved", "-f", "{{.Architecture}}")).Line);
        Assert.Equal(Other, (await Docker("image", "inspect", "--platform", "linux/" + Other, "multi:saved", "-f", "{{.Architecture}}")).Line);
        await Docker("rmi", "multi:saved");
    }

    [Fact]
    public async Task A_bake_target_gives_each_platform_to_the_one_that_builds_on_it()
    {
        var context = Context("bake", CrossBuild);
        await File.WriteAllTextAsync(Path.Combine(context, "second"), "FROM first\nARG TARGETARCH\nCOPY --from=first /$TARGETARCH /mine\n", TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(Path.Combine(context, "docker-bake.json"), $$"""
            {"target":{"first":{"context":"{{context}}","platforms":["linux/{{Own}}","linux/{{Other}}"] },
              "second":{"context":"{{context}}","dockerfile":"second","contexts":{"first":"target:first"},"platforms":["linux/{{Own}}","linux/{{Other}}"],"output":["{{At("multi-bake")}}"]} } }
            """, TestContext.Current.CancellationToken);
        await Docker("buildx", "bake", "--allow=fs=*", "-f", Path.Combine(context, "docker-bake.json"), "second");
        Assert.Equal($"linux/{Own} for linux/{Other}\n", await File.ReadAllTextAsync(At($"multi-bake/linux_{Other}/mine"), TestContext.Current.CancellationToken));
        Assert.Equal($"linux/{Own} for linux/{Own}\n", await File.ReadAllTextAsync(At($"multi-bake/linux_{Own}/mine"), TestContext.Current.CancellationToken));
    }

    // A program for arm64 in no file's way: makes /made (mkdirat), says so (write) and ends (exit).
    private static readonly byte[] Arm64Program = Convert.FromBase64String(
        "f0VMRgIBAQAAAAAAAAAAAAIAtwABAAAAeABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAABAEAAAAAAAAEAAAAFAAAAAAAAAAAAAAAAAEAAAAAAAAAAQAAAAAAAwAAAAAAAAADAAAAAAAAAAAAQAAAAAAAA" +
        "YAyAkoEBABCiPYDSSASA0gEAANQgAIDSAQEAUMIBgNIICIDSAQAA1AAAgNKoC4DSAQAA1C9tYWRlAG1hZGUgb24gYXJtNjQK");

    [Fact]
    public async Task Programs_of_another_processor_run_when_an_emulator_is_registered_and_an_error_says_so_when_none_is()
    {
        Assert.SkipWhen(Own == "arm64", "the other processor is this machine's own");
        using var handlers = BinaryHandlers.Open();
        Assert.SkipWhen(handlers is null, "the kernel has no binfmt_misc, or it can't be mounted here");
        Assert.SkipWhen(handlers.RunsArm64, "this machine runs programs for arm64 already: how it fails can't be seen");
        const string Emulator = "/usr/bin/qemu-aarch64-static";
        var emulator = File.Exists(Emulator) ? Emulator : DebianPackage.Unpack("qemu-user-static") is { } root && File.Exists(root + Emulator) ? root + Emulator : null;
        Assert.SkipWhen(emulator is null, "the package qemu-user-static can't be had here");
        var context = Context("foreign", "FROM scratch\nCOPY run /run\nCMD [\"/run\"]\n");
        await File.WriteAllBytesAsync(Path.Combine(context, "run"), Arm64Program, TestContext.Current.CancellationToken);
        File.SetUnixFileMode(Path.Combine(context, "run"), (UnixFileMode)0x1ED);
        await File.WriteAllTextAsync(Path.Combine(context, "running"), "FROM scratch\nCOPY run /run\nRUN [\"/run\"]\n", TestContext.Current.CancellationToken);
        await Docker("build", "--platform", "linux/arm64", "-t", "multi:foreign", context);

        var build = await Docker("build", "--platform", "linux/arm64", "-f", Path.Combine(context, "running"), context).MayFail();
        Assert.Equal(1, build.ExitCode);
        Assert.Contains("did not complete successfully: exit code: 255: programs for linux/arm64 need an emulator on this machine (linux/amd64), and none is registered for containers: install qemu-user-static", build.Error, StringComparison.Ordinal);
        Assert.Contains("   3 | >>> RUN [\"/run\"]", build.Error, StringComparison.Ordinal);
        var run = await Docker("run", "--rm", "--network", "none", "--platform", "linux/arm64", "multi:foreign").MayFail();
        Assert.Equal(255, run.ExitCode);
        Assert.Contains("exec /run: exec format error", run.Error, StringComparison.Ordinal);
        Assert.Contains("WARNING: programs for linux/arm64 need an emulator", run.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("linux/arm64", (await Docker("buildx", "inspect")).Output, StringComparison.Ordinal);

        using (handlers.Register("berth-test-aarch64", "\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00", "\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff", emulator))
        {
            Assert.Contains("linux/arm64", (await Docker("buildx", "inspect")).Output, StringComparison.Ordinal);
            var made = await Docker("build", "--platform", "linux/arm64", "-f", Path.Combine(context, "running"), "-o", At("multi-foreign"), context);
            Assert.Contains("made on arm64", made.Error, StringComparison.Ordinal);
            Assert.True(Directory.Exists(At("multi-foreign/made")));
            Assert.Equal("made on arm64\n", (await Docker("run", "--rm", "--network", "none", "--platform", "linux/arm64", "multi:foreign")).Output);
        }
        await Docker("rmi", "multi:foreign");
    }
}
