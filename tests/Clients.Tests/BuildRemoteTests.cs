using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Files of builds that come from the web and from Git.</summary>
public sealed class BuildRemoteTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private string NewDirectory() => Directory.CreateDirectory(Path.Combine(_daemon.WorkDirectory, "remote-" + Guid.NewGuid().ToString("N"))).FullName;

    private async Task<CommandResult> BuildAsync(string dockerfile)
    {
        var directory = NewDirectory();
        await File.WriteAllTextAsync(Path.Combine(directory, "Dockerfile"), dockerfile.Replace("BASE", shared.Image, StringComparison.Ordinal));
        return await _daemon.Docker("build", "-q", directory).WithEnvironment("DOCKER_BUILDKIT", "0").MayFail();
    }

    private async Task<string> RunAsync(string image, params string[] command) => (await _daemon.Docker(["run", "--rm", "--network", "none", image, .. command])).Output;

    [Fact]
    public async Task Files_of_the_web_are_added()
    {
        var directory = NewDirectory();
        await File.WriteAllTextAsync(Path.Combine(directory, "file.txt"), "hello\n", TestContext.Current.CancellationToken);
        await File.WriteAllBytesAsync(Path.Combine(directory, "packed.tar"), Images.Tar(("inside", "i"u8.ToArray())), TestContext.Current.CancellationToken);
        using var web = new FileServer(directory);
        const string Digest = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        var built = await BuildAsync($"FROM BASE\nADD {web.Address}/file.txt /d/\nADD --checksum={Digest} --chmod=644 --chown=3:4 {web.Address}/file.txt /e\nADD {web.Address}/packed.tar /kept.tar\nADD --unpack=true {web.Address}/packed.tar /unpacked/\n");
        Assert.Equal("600 0 0 hello\n", await RunAsync(built.Line, "sh", "-c", "stat -c '%a %u %g' /d/file.txt | tr '\\n' ' '; cat /d/file.txt"));
        Assert.Equal("644 3 4\n", await RunAsync(built.Line, "stat", "-c", "%a %u %g", "/e"));
        Assert.Equal("inside\ni", await RunAsync(built.Line, "sh", "-c", "tar tf /kept.tar; cat /unpacked/inside"));
        Assert.Contains("failed to load cache key: invalid response status 404", (await BuildAsync($"FROM BASE\nADD {web.Address}/nothing /\n")).Error, StringComparison.Ordinal);
        Assert.Contains($"digest mismatch {Digest}: sha256:{new string('0', 64)}", (await BuildAsync($"FROM BASE\nADD --checksum=sha256:{new string('0', 64)} {web.Address}/file.txt /\n")).Error, StringComparison.Ordinal);
        Assert.Contains("connect: connection refused", (await BuildAsync("FROM BASE\nADD http://127.0.0.1:1/x /\n")).Error, StringComparison.Ordinal);
        Assert.Contains("source can't be a URL for COPY", (await BuildAsync($"FROM BASE\nCOPY {web.Address}/file.txt /\n")).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Git_repositories_are_added()
    {
        var directory = NewDirectory();
        var first = await FileServer.RepositoryAsync(directory);
        using var web = new FileServer(directory);
        var built = await BuildAsync($"FROM BASE\nADD {web.Address}/repo.git /a\nADD {web.Address}/repo.git#v1:sub /b/\nADD --keep-git-dir=true {web.Address}/repo.git#main /c\nADD --checksum={first} {web.Address}/repo.git?tag=v1 /d\n");
        Assert.Equal("/a: Dockerfile sub\n/a/sub: one two\n/b: one\n/d/sub: one\n.git\n",
            await RunAsync(built.Line, "sh", "-c", "for d in /a /a/sub /b /d/sub; do echo $d: $(ls $d); done; ls -d /a/.git 2>/dev/null; cd /c && ls -d .git"));
        Assert.Contains("repository does not contain ref nope", (await BuildAsync($"FROM BASE\nADD {web.Address}/repo.git#nope /\n")).Error, StringComparison.Ordinal);
        Assert.Contains($"expected checksum to match {first}", (await BuildAsync($"FROM BASE\nADD --checksum={first} {web.Address}/repo.git /\n")).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_context_may_be_somewhere_else()
    {
        var directory = NewDirectory();
        await FileServer.RepositoryAsync(directory);
        await File.WriteAllTextAsync(Path.Combine(directory, "Alone"), $"FROM {shared.Image}\nRUN echo alone > /word\n", TestContext.Current.CancellationToken);
        await File.WriteAllBytesAsync(Path.Combine(directory, "context.tar.gz"), TestImage.Gzip(Images.Tar(("Dockerfile", System.Text.Encoding.UTF8.GetBytes($"FROM {shared.Image}\nCOPY x /\n")), ("x", "x"u8.ToArray()))), TestContext.Current.CancellationToken);
        using var web = new FileServer(directory);
        async Task<(int Status, string Body)> Build(string remote, string tag) => await _daemon.AskAsync("POST", $"/build?t={tag}&remote={Uri.EscapeDataString(remote)}");
        Assert.Contains("Successfully tagged remote:git", (await Build(web.Address + "/repo.git#v1", "remote:git")).Body, StringComparison.Ordinal);
        Assert.Equal("one\n", await RunAsync("remote:git", "ls", "/context/sub"));
        Assert.Contains("Successfully tagged remote:tar", (await Build(web.Address + "/context.tar.gz", "remote:tar")).Body, StringComparison.Ordinal);
        Assert.Contains("Successfully tagged remote:file", (await Build(web.Address + "/Alone", "remote:file")).Body, StringComparison.Ordinal);
        Assert.Equal("alone\n", await RunAsync("remote:file", "cat", "/word"));
        Assert.Contains("with status 404 Not Found", (await Build(web.Address + "/nothing", "remote:no")).Body, StringComparison.Ordinal);
        Assert.Contains("remoteURL (/etc) could not be recognized as URL", (await Build("/etc", "remote:no")).Body, StringComparison.Ordinal);
    }
}
