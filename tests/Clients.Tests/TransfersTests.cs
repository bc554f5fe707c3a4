using System.Security.Cryptography;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>What moves bytes says how far it is: painted again in place on a terminal, plain lines or nothing elsewhere.</summary>
public sealed class TransfersTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    [Fact]
    public async Task Progress_is_painted_on_a_terminal_and_plain_elsewhere()
    {
        await using var registry = await BerthRegistry.StartAsync();
        using var directory = new TestDirectory();
        string In(string name) => Path.Combine(directory.Path, name);
        File.WriteAllBytes(In("root.tar"), new TarBuilder().File("big", RandomNumberGenerator.GetBytes(24 << 20)).Build());
        var image = $"{registry.Host}/moved:1";
        await _daemon.Docker("run", "-d", "--name", "moved", shared.Image, "sleep", "600");
        foreach (var (line, onTerminal, elsewhere) in ((string, string[], string[])[])
        [
            ($"import {In("root.tar")} {image}", ["Sending to the engine - "], ["sha256:"]),
            ($"push {image}", ["Pushing [", "\u001b[1A", "Pushed"], ["digest: sha256:"]),
            ($"save -o {In("saved.tar")} {image}", [], []),
            ($"rmi {image}", ["Untagged: "], ["Untagged: "]),
            ($"pull {image}", ["Downloading [", "\u001b[1A", "Pull complete"], ["Pull complete", "Status: Downloaded newer image"]),
            ($"load -i {In("saved.tar")}", ["Sending to the engine - ", "Loaded image: "], ["Loaded image: "]),
            ($"cp {In("saved.tar")} moved:/x", ["Copying to container - ", "Successfully copied 25.2MB"], []), // docker prints nothing where nobody looks
            ($"cp moved:/x {In("again.tar")}", ["Copying from container - ", "Successfully copied 25.2MB"], []),
            ($"export -o {In("exported.tar")} moved", [], []),
        ])
        {
            var painted = await new Command("script", ["-qefc", $"stty cols 120; exec '{Repository.Executable("berth")}' {line}", "/dev/null"],
                new Dictionary<string, string> { ["DOCKER_HOST"] = "unix://" + _daemon.SocketPath, ["DOCKER_CONFIG"] = directory.Path, ["SHELL"] = "/bin/sh", ["TERM"] = "xterm", ["NO_COLOR"] = "1" });
            foreach (var text in onTerminal) Assert.Contains(text, painted.Output, StringComparison.Ordinal);
            Assert.DoesNotMatch(@"\x1b\[[\d;]*m", painted.Output); // no colours
            if (line.StartsWith("rmi", StringComparison.Ordinal)) await _daemon.Docker("load", "-qi", In("saved.tar"));
            else if (line.StartsWith("pull", StringComparison.Ordinal)) await _daemon.Docker("rmi", image);

            var plain = await _daemon.Berth(line.Split(' '));
            foreach (var text in elsewhere) Assert.Contains(text, plain.Output, StringComparison.Ordinal);
            Assert.DoesNotMatch(@"[\x1b\r]", plain.Output + plain.Error);
            if (line.StartsWith("rmi", StringComparison.Ordinal)) await _daemon.Docker("image", "prune", "-f"); // what the first import made has the same layer
        }
        await _daemon.Docker("rm", "-f", "moved");
    }
}
