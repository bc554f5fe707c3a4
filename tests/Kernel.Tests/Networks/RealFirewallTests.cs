using System.Diagnostics;
using Berth.Linux;
using Berth.Networks;
using Berth.Testing;
using static Berth.Kernel.Tests.Networks.Machine;

namespace Berth.Kernel.Tests.Networks;

/// <summary>Beside ufw and firewalld themselves, with the commands that docs/networks.md names. They run in the test's network namespace, and in a mount and
/// a pid namespace of their own where their packages lie over /etc and /usr: this machine's firewall and files are not touched.</summary>
public sealed class RealFirewallTests
{
    private static CancellationToken None => CancellationToken.None;

    private static SandboxRequest Web => new() { ContainerName = "web", Endpoints = [new EndpointRequest()], Ports = [PortRequest.Parse("80/tcp", null, "8080")] };

    /// <summary>A shell in which the package is installed, beside "host".</summary>
    private sealed class Shell : IDisposable
    {
        private const string Ended = "== ended ";
        private readonly Process process;

        internal Shell(Machine machine, string package)
        {
            var root = DebianPackage.Unpack(package);
            Assert.SkipWhen(root is null, $"Debian's package {package} can't be had here");
            const string Script = """
                set -e
                mount -t tmpfs tmpfs /mnt
                for d in etc usr; do
                  mkdir /mnt/$d /mnt/$d.work
                  mount -t overlay overlay -o "lowerdir=$0/$d:/$d,upperdir=/mnt/$d,workdir=/mnt/$d.work" /$d
                done
                mount -t tmpfs tmpfs /run
                set +e
                exec sh
                """;
            process = NetworkNamespace.Run(machine.Host, () => Process.Start(new ProcessStartInfo("unshare", ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", Script, root!])
            {
                RedirectStandardInput = true, RedirectStandardOutput = true, WorkingDirectory = "/",
            })!);
        }

        /// <summary>What it prints; it must succeed.</summary>
        internal string Run(string command)
        {
            process.StandardInput.Write($"{{ {command}\n}} 2>&1 < /dev/null; echo '{Ended}'$?\n");
            process.StandardInput.Flush();
            var lines = new List<string>();
            while (process.StandardOutput.ReadLine() is { } line)
            {
                if (!line.StartsWith(Ended, StringComparison.Ordinal))
                {
                    lines.Add(line);
                    continue;
                }
                Assert.True(line == Ended + "0", $"{command}: {string.Join('\n', lines)}");
                return string.Join('\n', lines);
            }
            throw new InvalidOperationException($"the shell ended at: {command}");
        }

        // With the first process of a pid namespace all of them end.
        public void Dispose()
        {
            process.StandardInput.Close();
            process.WaitForExit();
            process.Dispose();
        }
    }

    private static Shell Ufw(Machine machine)
    {
        var shell = new Shell(machine, "ufw");
        shell.Run("cp /usr/share/ufw/ufw.conf /usr/share/ufw/iptables/*.rules /etc/ufw/"); // as the package does when it is installed
        shell.Run("ufw --force enable");
        return shell;
    }

    private static Shell Firewalld(Machine machine)
    {
        var shell = new Shell(machine, "firewalld");
        // A bus of its own: the system's would have polkit asked, which knows nothing of a package that is not installed.
        shell.Run("""
            mkdir /run/dbus
            cat > /run/bus.conf <<'BUS'
            <busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
              <policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/></policy></busconfig>
            BUS
            dbus-daemon --config-file=/run/bus.conf --fork --nopidfile
            """);
        shell.Run("firewalld --nofork --nopid > /run/firewalld.log 2>&1 & for i in 1 2 3 4 5 6 7 8 9 10; do firewall-cmd --state > /dev/null 2>&1 && break; sleep 0.2; done; firewall-cmd --state");
        return shell;
    }

    private static async Task<(NetworkManager Engine, NetworkSandbox Web)> StartAsync(Machine machine, PublishThrough through)
    {
        var engine = await machine.StartEngineAsync(machine.Options with { PublishThrough = through });
        var web = await engine.JoinAsync("web", Web, None);
        machine.Serve(web.Namespace!, 80, "web");
        if (through == PublishThrough.Forward) machine.Serve(machine.Outside, 7000, "outside");
        return (engine, web);
    }

    private static Task<string> FromOutsideAsync(Machine machine) => FetchAsync(machine.Outside, HostAddress, 8080, timeoutMilliseconds: 300);

    [Fact]
    public async Task Behind_ufw_a_published_port_is_closed_until_ufw_lets_it_pass()
    {
        await using var machine = Create();
        using var ufw = Ufw(machine);
        var (engine, web) = await StartAsync(machine, PublishThrough.Forward);
        using var _ = web;
        Assert.Equal("timed out", await FromOutsideAsync(machine));
        Assert.Equal("web sees 198.18.50.1", await FetchAsync(machine.Host, "127.0.0.1", 8080));
        Assert.Contains("(with ufw: ufw route allow in on berth0; ufw route allow out on berth0)", Assert.Single(engine.FirewallWarnings));

        ufw.Run("ufw route allow in on berth0");
        Assert.Equal("outside sees 192.0.2.1", await FetchAsync(web.Namespace!, OutsideAddress, 7000));
        Assert.Equal("timed out", await FromOutsideAsync(machine));
        ufw.Run("ufw route allow out on berth0");
        Assert.Equal("web sees 192.0.2.2", await FromOutsideAsync(machine));
        ufw.Run("ufw reload");
        Assert.Equal("web sees 192.0.2.2", await FromOutsideAsync(machine));
    }

    [Fact]
    public async Task Behind_ufw_a_port_published_through_input_opens_like_any_programs()
    {
        await using var machine = Create();
        using var ufw = Ufw(machine);
        var (_, web) = await StartAsync(machine, PublishThrough.Input);
        using var __ = web;
        Assert.Equal("timed out", await FromOutsideAsync(machine));
        ufw.Run("ufw allow 8080/tcp");
        Assert.Equal("web sees 198.18.50.1", await FromOutsideAsync(machine));
        ufw.Run("ufw delete allow 8080/tcp");
        Assert.Equal("timed out", await FromOutsideAsync(machine));
    }

    [Fact]
    public async Task Firewalld_lets_redirected_packets_pass_which_is_said_and_judges_ports_published_through_input()
    {
        await using var machine = Create();
        using var firewalld = Firewalld(machine);
        var (forward, web) = await StartAsync(machine, PublishThrough.Forward);
        using (web)
        {
            // Its own rule, older than us: ct status dnat accept.
            Assert.Equal("web sees 192.0.2.2", await FromOutsideAsync(machine));
            Assert.Contains(forward.FirewallWarnings, w => w.Contains("filter_FORWARD lets redirected packets pass whatever its other rules say", StringComparison.Ordinal));
            Assert.Contains(machine.Log, l => l.Contains("lets redirected packets pass", StringComparison.Ordinal));
            // Containers' way out is closed, and opened by the command of the warning.
            Assert.Contains(forward.FirewallWarnings, w => w.Contains("firewall-cmd --permanent --zone=trusted --add-interface=berth0; firewall-cmd --reload", StringComparison.Ordinal));
            Assert.Equal("unreachable", await FetchAsync(web.Namespace!, OutsideAddress, 7000));
            firewalld.Run("firewall-cmd -q --permanent --zone=trusted --add-interface=berth0; firewall-cmd -q --reload");
            Assert.Equal("outside sees 192.0.2.1", await FetchAsync(web.Namespace!, OutsideAddress, 7000));
            Assert.Equal("web sees 192.0.2.2", await FromOutsideAsync(machine));
        }
        await forward.LeaveAsync("web", None);
        await machine.KillAsync(forward);

        var (input, carried) = await StartAsync(machine, PublishThrough.Input);
        using var _ = carried;
        Assert.Equal("unreachable", await FromOutsideAsync(machine));
        Assert.DoesNotContain(input.FirewallWarnings, w => w.Contains("published ports", StringComparison.Ordinal));
        firewalld.Run("firewall-cmd -q --add-port=8080/tcp");
        Assert.Equal("web sees 198.18.50.1", await FromOutsideAsync(machine));
    }
}
