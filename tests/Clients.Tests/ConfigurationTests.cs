using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>The daemon's own configuration: file, reload, TLS, metrics.</summary>
public sealed class ConfigurationTests
{
    private static Task Signal(TestDaemon daemon, string signal) => new Command("kill", ["-" + signal, daemon.Pid.ToString(CultureInfo.InvariantCulture)]).RunAsync();

    [Fact]
    public async Task A_file_configures_the_daemon_and_is_read_again_on_SIGHUP()
    {
        using var directory = new TestDirectory();
        var file = Path.Combine(directory.Path, "daemon.json");
        File.WriteAllText(file, """{"labels":["colour=red"],"default-ulimits":{"nofile":{"Name":"nofile","Soft":123,"Hard":234}},"init":true,"no-new-privileges":true,"default-shm-size":"2m","log-opts":{"max-size":"1m"}}""");
        await using var daemon = await TestDaemon.StartAsync("--config-file", file);
        var image = await daemon.LoadBusyboxAsync();
        Assert.Equal("[colour=red]\n", (await daemon.Docker("info", "-f", "{{.Labels}}")).Output);
        Assert.Equal("123\n2048\nNoNewPrivs:\t1\n/sbin/docker-init\n",
            (await daemon.Docker("run", "--rm", image, "sh", "-c", "ulimit -Sn; df -k /dev/shm | tail -1 | awk '{print $2}'; grep NoNewPrivs /proc/self/status; tr '\\0' '\\n' < /proc/1/cmdline | head -1")).Output);

        var since = DateTimeOffset.UtcNow.AddSeconds(-5).ToUnixTimeSeconds();
        File.WriteAllText(file, """{"labels":["colour=blue"],"max-concurrent-downloads":7,"insecure-registries":["old.example:5000"],"default-shm-size":"3m","log-opts":{"max-size":"2m","max-file":"4"}}""");
        await Signal(daemon, "HUP");
        await Eventually.HoldsAsync("the labels are the new ones", async () => (await daemon.Docker("info", "-f", "{{.Labels}}")).Output == "[colour=blue]\n");
        var events = (await daemon.Docker("events", "--since", since.ToString(CultureInfo.InvariantCulture), "--until", DateTimeOffset.UtcNow.AddSeconds(1).ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture),
            "--filter", "type=daemon", "--format", "{{.Action}} {{index .Actor.Attributes \"max-concurrent-downloads\"}} {{index .Actor.Attributes \"labels\"}} {{index .Actor.Attributes \"debug\"}}")).Output;
        Assert.Equal("reload 7 [\"colour=blue\"] true\n", events);
        Assert.Contains("old.example:5000", (await daemon.Docker("info")).Output, StringComparison.Ordinal);
        await daemon.Docker("create", "--name", "after", image);
        Assert.Equal("3145728 2m 4\n", (await daemon.Docker("inspect", "-f", "{{.HostConfig.ShmSize}} {{index .HostConfig.LogConfig.Config \"max-size\"}} {{index .HostConfig.LogConfig.Config \"max-file\"}}", "after")).Output);

        // A file that is wrong changes nothing, and says so.
        File.WriteAllText(file, """{"labels":["colour=green"],"nosuch":1}""");
        await Signal(daemon, "HUP");
        await Eventually.HoldsAsync("the daemon complains", () => daemon.LogTail(20).Contains("the following directives don't match any configuration option: nosuch", StringComparison.Ordinal));
        Assert.Equal("[colour=blue]\n", (await daemon.Docker("info", "-f", "{{.Labels}}")).Output);
    }

    [Theory]
    [InlineData("""{"debug":true}""", "debug: (from flag: true, from file: true)", "--debug")]
    [InlineData("""{"hosts":["unix:///a"],"labels":["a=1"]}""", "hosts: (from flag: [unix:///b], from file: [unix:///a]), labels: (from flag: [b=2], from file: [a=1])", "-H", "unix:///b", "--label", "b=2")]
    public async Task What_is_in_the_file_and_in_a_flag_is_an_error(string json, string conflict, params string[] flags)
    {
        using var directory = new TestDirectory();
        var file = Path.Combine(directory.Path, "c.json");
        File.WriteAllText(file, json);
        var result = await new Command(Repository.Executable("berthd"), ["--validate", "--config-file", file, .. flags]).MayFail();
        Assert.Equal((1, $"unable to configure the Docker daemon with file {file}: the following directives are specified both as a flag and in the configuration file: {conflict}\n"), (result.ExitCode, result.Error));
    }

    [Fact]
    public async Task Validate_checks_and_starts_nothing()
    {
        using var directory = new TestDirectory();
        var file = Path.Combine(directory.Path, "c.json");
        File.WriteAllText(file, """{"data-root":"DIR/data","exec-root":"DIR/run","hosts":["unix://DIR/sock"]}""".Replace("DIR", directory.Path, StringComparison.Ordinal));
        var result = await new Command(Repository.Executable("berthd"), ["--validate", "--config-file", file]);
        Assert.Equal("configuration OK\n", result.Error);
        Assert.Equal([file], Directory.EnumerateFileSystemEntries(directory.Path));
    }

    [Fact]
    public async Task Clients_with_a_certificate_are_served_over_tls_and_others_not()
    {
        using var directory = new TestDirectory();
        var ca = Authority("berth test authority");
        Write("ca.pem", ca.ExportCertificatePem());
        foreach (var (name, address, usage) in (ReadOnlySpan<(string, bool, string)>)[("server", true, "1.3.6.1.5.5.7.3.1"), ("client", false, "1.3.6.1.5.5.7.3.2")])
        {
            var (certificate, key) = Issue(ca, name, usage, address);
            Write(name + ".pem", certificate);
            Write(name + "-key.pem", key);
        }
        var stranger = Issue(Authority("somebody else"), "client", "1.3.6.1.5.5.7.3.2", false);
        Write("stranger.pem", stranger.Certificate);
        Write("stranger-key.pem", stranger.Key);

        var port = Host.FreePort();
        await using var daemon = await TestDaemon.StartAsync("-H", $"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", In("ca.pem"), "--tlscert", In("server.pem"), "--tlskey", In("server-key.pem"));
        var image = await daemon.LoadBusyboxAsync();
        Command With(string program, string name, params string[] arguments) => new(program,
            ["-H", $"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", In("ca.pem"), "--tlscert", In(name + ".pem"), "--tlskey", In(name + "-key.pem"), .. arguments],
            new Dictionary<string, string> { ["DOCKER_CONFIG"] = directory.Path, ["DOCKER_HOST"] = "", ["DOCKER_CONTEXT"] = "" });

        foreach (var program in (string[])["docker", Repository.Executable("berth")])
        {
            Command Client(string name, params string[] arguments) => With(program, name, arguments);
            // Half-closing, both ways, and a taken-over connection.
            var echoed = await Client("client", "run", "-i", "--rm", image, "sh", "-c", "cat; echo bye").WithInput("hello\n");
            Assert.Equal("hello\nbye\n", echoed.Output);
            Assert.Equal(200_000, (await Client("client", "run", "--rm", image, "sh", "-c", "yes | head -c 200000")).Output.Length);
            await Client("client", "run", "-d", "--name", "tls", image, "sleep", "100");
            Assert.Equal("in\n", (await Client("client", "exec", "-i", "tls", "cat").WithInput("in\n")).Output);

            Assert.NotEqual(0, (await Client("stranger", "version").MayFail()).ExitCode);
            await Client("client", "rm", "-f", "tls");
        }

        // The same from the environment, with the files where DOCKER_CERT_PATH says or beside config.json, and from a context that either client made.
        foreach (var (from, to) in (ReadOnlySpan<(string, string)>)[("client.pem", "cert.pem"), ("client-key.pem", "key.pem")]) File.Copy(In(from), In(to));
        string[] programs = ["docker", Repository.Executable("berth")];
        foreach (var program in programs)
        {
            Command Plain(params string[] arguments) => new(program, arguments, new Dictionary<string, string> { ["DOCKER_CONFIG"] = directory.Path, ["DOCKER_HOST"] = "", ["DOCKER_CONTEXT"] = "" });
            var host = $"tcp://127.0.0.1:{port}";
            Assert.Equal("busybox", (await Plain("images", "--format", "{{.Repository}}").WithEnvironment("DOCKER_HOST", host).WithEnvironment("DOCKER_TLS_VERIFY", "1").WithEnvironment("DOCKER_CERT_PATH", directory.Path)).Line.Split(':')[0].Split('/')[^1]);
            await Plain("--tlsverify", "ps").WithEnvironment("DOCKER_HOST", host);
            Assert.NotEqual(0, (await Plain("ps").WithEnvironment("DOCKER_HOST", host).MayFail()).ExitCode); // without TLS
            Assert.NotEqual(0, (await Plain("--tls", "--tlscert", In("stranger.pem"), "--tlskey", In("stranger-key.pem"), "ps").WithEnvironment("DOCKER_HOST", host).MayFail()).ExitCode);
            // Whoever answers, but they want to know us; and an authority that did not make the engine's certificate.
            await Plain("--tls", "ps").WithEnvironment("DOCKER_HOST", host);
            var other = await Plain("--tlsverify", "--tlscacert", In("stranger.pem"), "ps").WithEnvironment("DOCKER_HOST", host).MayFail();
            Assert.NotEqual(0, other.ExitCode);
            Assert.Contains("certificate", other.Error, StringComparison.Ordinal);

            var name = Path.GetFileName(program) + "s";
            await Plain("context", "create", name, "--docker", $"host={host},ca={In("ca.pem")},cert={In("client.pem")},key={In("client-key.pem")}");
            await Plain("context", "create", name + "-blind", "--docker", $"host={host},skip-tls-verify=true,cert={In("client.pem")},key={In("client-key.pem")}");
            await Plain("context", "export", name, In(name + ".tar"));
            foreach (var user in programs)
            {
                Command Through(string context, params string[] arguments) => new(user, ["--context", context, .. arguments], new Dictionary<string, string> { ["DOCKER_CONFIG"] = directory.Path, ["DOCKER_HOST"] = "" });
                Assert.Equal("hello\n", (await Through(name, "run", "-i", "--rm", image, "cat").WithInput("hello\n")).Output);
                await Through(name + "-blind", "ps");
                var imported = $"{name}-{Path.GetFileName(user)}";
                await Through("default", "context", "import", imported, In(name + ".tar"));
                await Through(imported, "ps");
            }
        }

        using var plain = new HttpClient();
        await Assert.ThrowsAnyAsync<Exception>(() => plain.GetStringAsync($"http://127.0.0.1:{port}/_ping", TestContext.Current.CancellationToken));

        string In(string name) => Path.Combine(directory.Path, name);
        void Write(string name, string text) => File.WriteAllText(In(name), text);
    }

    [Fact]
    public async Task Metrics_have_dockerds_names()
    {
        var port = Host.FreePort();
        await using var daemon = await TestDaemon.StartAsync("--metrics-addr", $"127.0.0.1:{port}");
        var image = await daemon.LoadBusyboxAsync();
        await daemon.Docker("run", "--rm", image, "true");
        await daemon.Docker("run", "-d", "--name", "runner", image, "sleep", "100");
        using var http = new HttpClient();
        var text = await http.GetStringAsync($"http://127.0.0.1:{port}/metrics", TestContext.Current.CancellationToken);
        Assert.Contains("\nengine_daemon_container_states_containers{state=\"running\"} 1\n", text, StringComparison.Ordinal);
        Assert.Contains("\nengine_daemon_container_actions_seconds_count{action=\"start\"} 2\n", text, StringComparison.Ordinal);
        Assert.Contains("\nengine_daemon_container_actions_seconds_bucket{action=\"create\",le=\"+Inf\"} 2\n", text, StringComparison.Ordinal);
        Assert.Matches("\nengine_daemon_engine_info\\{.*version=\".+\"\\} 1\n", text);
        Assert.Matches("\nengine_daemon_events_total [1-9]", text);
        Assert.Equal(HttpStatusCode.NotFound, (await http.GetAsync($"http://127.0.0.1:{port}/", TestContext.Current.CancellationToken)).StatusCode);
    }

    private static X509Certificate2 Authority(string name)
    {
        var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=" + name, key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, false));
        return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(2));
    }

    private static (string Certificate, string Key) Issue(X509Certificate2 ca, string name, string usage, bool loopback)
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=" + name, key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid(usage)], false));
        if (loopback)
        {
            var names = new SubjectAlternativeNameBuilder();
            names.AddIpAddress(IPAddress.Loopback);
            request.CertificateExtensions.Add(names.Build());
        }
        using var certificate = request.Create(ca, DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow.AddDays(1), Encoding.ASCII.GetBytes(name.PadRight(8)[..8]));
        return (certificate.ExportCertificatePem(), key.ExportPkcs8PrivateKeyPem());
    }
}
