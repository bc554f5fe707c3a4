using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>The Dockerfile that beginners are shown, to the letter, on a Debian of that name.</summary>
public sealed class BeginnerTests
{
    private const string Dockerfile = """
        FROM debian:bullseye-20240211
        WORKDIR /usr/src
        RUN apt-get update && \
            apt-get install -y python3 python3-pip
        RUN useradd --create-home appuser
        USER appuser
        COPY app.py .
        ENV API_KEY=hi_mom
        EXPOSE 8000
        CMD ["python3", "-m", "http.server", "8000"]
        LABEL maintainer="someone" version=1.0
        HEALTHCHECK --interval=30s --timeout=10s CMD python3 -c "import urllib.request as u; u.urlopen('http://localhost:8000')" || exit 1
        VOLUME /db/data

        """;

    [Fact]
    public async Task The_first_dockerfile_builds_and_runs_as_written()
    {
        var archive = await DebianImage.ArchiveAsync("bullseye");
        Assert.SkipWhen(archive is null, DebianImage.Missing);
        await using var daemon = await TestDaemon.StartAsync();
        await daemon.Docker("import", "-c", "CMD [\"bash\"]", archive, "debian:bullseye-20240211").WithTimeout(TimeSpan.FromMinutes(1));
        var context = Directory.CreateDirectory(Path.Combine(daemon.WorkDirectory, "first")).FullName;
        await File.WriteAllTextAsync(Path.Combine(context, "Dockerfile"), Dockerfile);
        await File.WriteAllTextAsync(Path.Combine(context, "app.py"), "print('hello')\n");
        await daemon.Docker("build", "--network", DebianImage.BuildNetwork, "-t", "first", context).WithEnvironment("DOCKER_BUILDKIT", "0").WithTimeout(TimeSpan.FromMinutes(8));

        await daemon.Docker("run", "-d", "--name", "first", "-p", "127.0.0.1::8000", "first");
        using var http = new HttpClient();
        var address = new Uri($"http://{(await daemon.Docker("port", "first", "8000")).Line}/app.py");
        await Eventually.HoldsAsync("it serves its own source", async () =>
        {
            try
            {
                return await http.GetStringAsync(address) == "print('hello')\n";
            }
            catch (HttpRequestException)
            {
                return false; // it does not listen yet
            }
        });
        Assert.Equal("appuser\n/usr/src\nhi_mom\n", (await daemon.Docker("exec", "first", "sh", "-c", "id -un; pwd; echo $API_KEY")).Output);
        Assert.Equal("starting someone 1.0 /db/data", (await daemon.Docker("inspect", "-f", "{{.State.Health.Status}} {{.Config.Labels.maintainer}} {{.Config.Labels.version}} {{range .Mounts}}{{.Destination}}{{end}}", "first")).Line);
        // Its health, without waiting for the first half a minute.
        await daemon.Docker("exec", "first", "sh", "-c", (await daemon.Docker("inspect", "-f", "{{index .Config.Healthcheck.Test 1}}", "first")).Line);
    }
}
