using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>Other people's clients, unmodified: Debian's python3-docker and npm's dockerode, each through a script that uses most of it (Scripts/).</summary>
public sealed class LibraryTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private static string Script(string name) => Path.Combine(Repository.Root, "tests", "Clients.Tests", "Scripts", name);

    [Fact]
    public async Task The_python_library_works()
    {
        if ((await new Command("python3", ["-c", "import docker"]).MayFail()).ExitCode != 0)
            Assert.Skip("python3-docker is not installed; ./test installs it");
        var result = await new Command("python3", [Script("docker_py.py"), "unix://" + shared.Daemon.SocketPath, shared.Image]).WithTimeout(TimeSpan.FromSeconds(60));
        Assert.Equal("done\n", result.Output);
    }

    [Fact]
    public async Task The_node_library_works()
    {
        var modules = Path.Combine(Repository.Root, "artifacts", "npm");
        if (!Directory.Exists(Path.Combine(modules, "node_modules", "dockerode")))
            Assert.Skip($"dockerode is not in {modules}; ./test installs it");
        var result = await new Command("node", [Script("dockerode.js"), shared.Daemon.SocketPath, shared.Image, modules]).WithTimeout(TimeSpan.FromSeconds(60));
        Assert.Equal("done\n", result.Output);
    }
}
