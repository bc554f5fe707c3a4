using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>--link on the default bridge: names, variables, what ps and inspect say, and what follows the linked container.</summary>
public sealed class LinkTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private readonly TestDaemon _daemon = shared.Daemon;

    private async Task<string> AddressOf(string name) => (await _daemon.Docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name)).Line;

    [Fact]
    public async Task A_linked_container_is_known_by_its_alias_from_start_to_rm()
    {
        await _daemon.Docker("run", "-d", "--name", "link-db", "--expose", "5432", "-e", "USER=me", shared.Image, "sleep", "600");
        await _daemon.Docker("run", "-d", "--name", "link-web", "--link", "link-db:db", "--link", "link-db", shared.Image, "sleep", "600");
        var address = await AddressOf("link-db");
        Assert.Equal($"tcp://{address}:5432", (await _daemon.Docker("exec", "link-web", "sh", "-c", "echo $DB_PORT")).Line);
        Assert.Equal("me", (await _daemon.Docker("exec", "link-web", "sh", "-c", "echo $DB_ENV_USER")).Line);
        Assert.Contains($"{address}\tdb ", (await _daemon.Docker("exec", "link-web", "cat", "/etc/hosts")).Output, StringComparison.Ordinal);
        Assert.Equal("link-db,link-web/db,link-web/link-db", (await _daemon.Docker("ps", "--no-trunc", "--filter", "name=link-db", "--format", "{{.Names}}")).Line);
        Assert.Equal("[/link-db:/link-web/db /link-db:/link-web/link-db]", (await _daemon.Docker("inspect", "--format", "{{.HostConfig.Links}}", "link-web")).Line);
        Assert.Equal("/link-db", (await _daemon.Docker("inspect", "--format", "{{.Name}}", "link-web/db")).Line);

        // Another takes its address meanwhile.
        await _daemon.Docker("stop", "-t", "0", "link-db");
        await _daemon.Docker("run", "-d", "--name", "link-other", shared.Image, "sleep", "600");
        await _daemon.Docker("rename", "link-db", "link-base");
        await _daemon.Docker("start", "link-base");
        var now = await AddressOf("link-base");
        Assert.Contains($"{now}\tdb ", (await _daemon.Docker("exec", "link-web", "cat", "/etc/hosts")).Output, StringComparison.Ordinal);
        Assert.Contains("/link-base:/link-web/db", (await _daemon.Docker("inspect", "--format", "{{.HostConfig.Links}}", "link-web")).Line, StringComparison.Ordinal);

        await _daemon.Docker("rm", "--link", "link-web/db");
        Assert.Equal("[/link-base:/link-web/link-db]", (await _daemon.Docker("inspect", "--format", "{{.HostConfig.Links}}", "link-web")).Line);
        Assert.DoesNotContain("\tdb ", (await _daemon.Docker("exec", "link-web", "cat", "/etc/hosts")).Output, StringComparison.Ordinal);
        await _daemon.Docker("rm", "-f", "link-web", "link-base", "link-other");
    }

    [Fact]
    public async Task A_link_to_what_is_not_there_or_does_not_run_is_refused()
    {
        await _daemon.Docker("create", "--name", "link-idle", shared.Image, "sleep", "600");
        await Refused("could not get container for nope: No such container: nope", "--link", "nope:x");
        await Refused("conflicting options: host type networking can't be used with links. This would result in undefined behavior", "--link", "link-idle", "--network", "host");
        await Refused("Cannot link to a non running container: /link-idle AS /link-refused/x", "--name", "link-refused", "--link", "link-idle:x");
        Assert.Equal("Error response from daemon: Conflict, cannot remove the default link name of the container\n", (await _daemon.Docker("rm", "--link", "link-idle").MayFail()).Error);
        await _daemon.Docker("rm", "link-idle", "link-refused");

        async Task Refused(string message, params string[] flags) =>
            Assert.StartsWith("docker: Error response from daemon: " + message + "\n", (await _daemon.Docker(["run", "-d", .. flags, shared.Image, "true"]).MayFail()).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_the_default_bridge_can_not_give_is_refused_and_what_it_can_is_given()
    {
        var ip = await _daemon.Docker("run", "--rm", "--ip", "172.31.99.9", shared.Image, "true").MayFail();
        Assert.StartsWith("docker: Error response from daemon: invalid config for network bridge: invalid endpoint settings:\n* user specified IP address is supported on user defined networks only\n" +
            "* no configured subnet or ip-range contain the IP address 172.31.99.9\n", ip.Error, StringComparison.Ordinal);
        await _daemon.Docker("run", "-d", "--name", "link-mac", "--mac-address", "02:42:ac:11:00:99", shared.Image, "sleep", "600");
        Assert.Equal("02:42:ac:11:00:99 02:42:ac:11:00:99", (await _daemon.Docker("inspect", "--format", "{{.Config.MacAddress}} {{.NetworkSettings.MacAddress}}", "link-mac")).Line);
        await _daemon.Docker("rm", "-f", "link-mac");
        var storage = await _daemon.Docker("create", "--storage-opt", "size=1G", shared.Image, "true").MayFail();
        Assert.Equal("Error response from daemon: --storage-opt is supported only for overlay over xfs with 'pquota' mount option\n", storage.Error);
    }
}
