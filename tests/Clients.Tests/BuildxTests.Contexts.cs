using System.Text;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Contexts that are no directory of the client.</summary>
public sealed partial class BuildxTests
{
    private Task<string> RunAsync(string image, params string[] command) => OutputAsync(_daemon.Docker(["run", "--rm", "--network", "none", image, .. command]));

    private static async Task<string> OutputAsync(Command command) => (await command).Output;

    [Fact]
    public async Task A_context_comes_from_standard_input_as_an_archive_or_as_a_dockerfile_alone()
    {
        // Packed: buildx takes a tar that begins with an extended header, as these do, for a Dockerfile.
        var context = TestImage.Gzip(Images.Tar(("Dockerfile", Encoding.UTF8.GetBytes($"FROM {shared.Image}\nCOPY . /srv\nRUN --mount=target=/c cp /c/sub/f /again\n")), ("sub/f", "piped\n"u8.ToArray())));
        var built = await Docker("buildx", "build", "-t", "bx-stdin", "-").WithInput(context);
        Assert.Contains("[internal] load remote build context", built.Error, StringComparison.Ordinal);
        Assert.Equal("piped\npiped\n", await RunAsync("bx-stdin", "cat", "/srv/sub/f", "/again"));
        await Docker("build", "-t", "bx-stdin", "-f", "sub/Other", "-").WithInput(TestImage.Gzip(Images.Tar(("sub/Other", Encoding.UTF8.GetBytes($"FROM {shared.Image}\nRUN echo zipped > /word\n")))));
        Assert.Equal("zipped\n", await RunAsync("bx-stdin", "cat", "/word"));
        await Docker("build", "-t", "bx-stdin", "-").WithInput($"FROM {shared.Image}\nRUN echo alone > /word\n");
        Assert.Equal("alone\n", await RunAsync("bx-stdin", "cat", "/word"));
        var without = await Docker("build", "-f", "None", "-").WithInput(context).MayFail();
        Assert.Contains("failed to solve: failed to read dockerfile: open None: no such file or directory", without.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_context_may_be_somewhere_else_and_who_may_not_have_it_is_told()
    {
        var directory = Directory.CreateDirectory(Path.Combine(_daemon.WorkDirectory, "buildx-remote")).FullName;
        await FileServer.RepositoryAsync(directory);
        await File.WriteAllTextAsync(Path.Combine(directory, "Alone"), $"FROM {shared.Image}\nRUN echo alone > /word\n", TestContext.Current.CancellationToken);
        await File.WriteAllBytesAsync(Path.Combine(directory, "context.tar.gz"), TestImage.Gzip(Images.Tar(("Dockerfile", Encoding.UTF8.GetBytes($"FROM {shared.Image}\nCOPY x /\n")), ("x", "x"u8.ToArray()))), TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(Path.Combine(directory, "bake.json"), """{"target":{"default":{"tags":["bx-baked"],"dockerfile-inline":"FROM BASE\nCOPY . /baked"}}}""".Replace("BASE", shared.Image, StringComparison.Ordinal), TestContext.Current.CancellationToken);
        using var web = new FileServer(directory);
        var empty = Context("remote-empty", ("Own", "FROM BASE\nCOPY --from=repo / /repo\nCOPY --from=file context /file\nRUN --mount=from=repo,target=/m ls /m > /seen\n"));

        await _daemon.Docker("tag", shared.Image, "busybox:test"); // what the repository's Dockerfile begins with
        await Docker("build", "-t", "bx-remote", web.Address + "/repo.git#v1");
        Assert.Equal("one\n", await RunAsync("bx-remote", "ls", "/context/sub"));
        await Docker("build", "-t", "bx-remote", web.Address + "/context.tar.gz");
        Assert.Equal("x", await RunAsync("bx-remote", "cat", "/x"));
        await Docker("build", "-t", "bx-remote", web.Address + "/Alone");
        Assert.Equal("alone\n", await RunAsync("bx-remote", "cat", "/word"));
        await Docker("build", "-t", "bx-remote", "-f", web.Address + "/Alone", empty);
        Assert.Equal("alone\n", await RunAsync("bx-remote", "cat", "/word"));
        await Docker("buildx", "bake", "-f", "cwd://" + Path.Combine(directory, "bake.json"), web.Address + "/repo.git#main:sub");
        Assert.Equal("one\ntwo\n", await RunAsync("bx-baked", "ls", "/baked"));
        Assert.Contains("\"bx-baked\"", (await Docker("buildx", "bake", "--print", web.Address + "/bake.json")).Output, StringComparison.Ordinal);
        await Docker("build", "-t", "bx-remote", "-f", Path.Combine(empty, "Own"), "--build-context", $"repo={web.Address}/repo.git#main:sub", "--build-context", $"file={web.Address}/Alone", empty);
        Assert.StartsWith("one\ntwo\none\ntwo\nFROM", await RunAsync("bx-remote", "sh", "-c", "ls /repo; cat /seen /file"), StringComparison.Ordinal);

        Assert.Contains("failed to solve: failed to read downloaded context: failed to load cache key: invalid response status 404", (await Docker("build", web.Address + "/nothing").MayFail()).Error, StringComparison.Ordinal);
        Assert.Contains("repository does not contain ref nope", (await Docker("build", web.Address + "/repo.git#nope").MayFail()).Error, StringComparison.Ordinal);
        Assert.Contains("failed to open subdir sub/three: no such file or directory", (await Docker("build", web.Address + "/repo.git#v1:sub/three").MayFail()).Error, StringComparison.Ordinal);

        // Only who knows the token: it is sent, and nowhere to be read.
        web.Authorization = "basic " + Convert.ToBase64String("x-access-token:hush-hush"u8);
        Assert.Contains($"failed to read dockerfile: failed to load cache key: error fetching default branch for repository {web.Address}/repo.git: ", (await Docker("build", web.Address + "/repo.git").MayFail()).Error, StringComparison.Ordinal);
        var with = await Docker("build", "--secret", "id=GIT_AUTH_TOKEN,env=TOKEN", "-t", "bx-remote", web.Address + "/repo.git").WithEnvironment("TOKEN", "hush-hush");
        Assert.DoesNotContain("hush", with.Error, StringComparison.Ordinal);
        Assert.Equal("one\ntwo\n", await RunAsync("bx-remote", "ls", "/context/sub"));
        web.Authorization = "Bearer hush-hush";
        await Docker("build", "--secret", "id=HTTP_AUTH_TOKEN_127.0.0.1,env=TOKEN", "-t", "bx-remote", web.Address + "/context.tar.gz").WithEnvironment("TOKEN", "hush-hush");
    }

    [Fact]
    public async Task An_image_in_a_directory_of_the_client_is_a_context()
    {
        var context = Context("layout", ("Dockerfile", "FROM BASE\nRUN echo laid out > /word\nENV WORD=kept\n"), ("Again", "FROM base\nRUN echo $WORD >> /word\n"), ("Copy", "FROM BASE\nCOPY --from=base /word /copied\n"));
        var tar = context + ".tar";
        await Docker("build", "-o", "type=oci,dest=" + tar, context);
        var layout = Directory.CreateDirectory(context + ".layout").FullName;
        await new Command("tar", ["xf", tar, "-C", layout]);
        var built = await Docker("build", "-t", "bx-layout", "-f", Path.Combine(context, "Again"), "--build-context", "base=oci-layout://" + layout, context);
        Assert.Contains("[context base] OCI load from client", built.Error, StringComparison.Ordinal);
        Assert.Equal("laid out\nkept\n", await RunAsync("bx-layout", "cat", "/word"));
        await Docker("build", "-t", "bx-layout", "-f", Path.Combine(context, "Copy"), "--build-context", "base=oci-layout://" + layout, context);
        Assert.Equal("laid out\n", await RunAsync("bx-layout", "cat", "/copied"));
    }
}
