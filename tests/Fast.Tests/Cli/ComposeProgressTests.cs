using System.Text;
using Berth.Cli;
using Berth.Cli.Commands.Compose;
using Berth.Compose.Engine;

namespace Berth.Fast.Tests.Cli;

public sealed class ComposeProgressTests
{
    private sealed class StoppedClock : TimeProvider
    {
        public long Now { get; set; }

        public override long TimestampFrequency => 1000;

        public override long GetTimestamp() => Now;
    }

    private static WorkNews News(string id, string status, WorkState state, string text = "") => new(id, text, status, state);

    [Fact]
    public void Work_is_painted_over_what_was_painted_before()
    {
        var clock = new StoppedClock();
        var board = new WorkBoard("Running", clock) { Coloured = false };
        board.Tell(News("Network n", "Created", WorkState.Done));
        board.Tell(News("Container long-1", "Starting", WorkState.Working));
        clock.Now = 1300;
        Assert.Equal("""
            <[0G><[?25l>[+] Running 1/2
             ✔ Network n         Created           0.0s 
             ⠸ Container long-1  Starting          1.3s 
            <[?25h>
            """, Shown(board.Paint(24, 44)));
        board.Tell(News("Container long-1", "Error response from daemon: it is no use at all\nsecond line", WorkState.Error));
        Assert.Equal("""
            <[1A><[1A><[1A><[0G><[?25l>[+] Running 2/2
             ✔ Network n         Created           0.0s 
             ✘ Container long-1  Error response... 1.3s 
            <[?25h>
            """, Shown(board.Paint(24, 44)));
    }

    [Fact]
    public void Layers_stand_below_their_image_and_are_summed_up_on_its_line()
    {
        var board = new WorkBoard("Pulling", new StoppedClock()) { Coloured = false };
        board.Tell(News("web", "", WorkState.Working, "Pulling"));
        board.Tell(News("abc", "[=>  ] 1MB/4MB", WorkState.Working, "Downloading") with { Parent = "web", Current = 1_000_000, Total = 4_000_000, Percent = 25 });
        board.Tell(News("def", "", WorkState.Done, "Already exists") with { Parent = "web", Percent = 100 });
        var painted = Shown(board.Paint(24, 80));
        Assert.Contains(" ⠋ web [⣀⣿]     1MB / 4MB     Pulling ", painted);
        Assert.Contains("\n   ⠋ abc Downloading ", painted);
        // On a low terminal there is room for the images alone.
        Assert.DoesNotContain("abc", Shown(board.Paint(4, 80)));
    }

    private static string Shown(string text)
    {
        var shown = new StringBuilder();
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] != '\u001b')
            {
                shown.Append(text[i]);
                continue;
            }
            shown.Append('<');
            while (!char.IsAsciiLetter(text[++i])) shown.Append(text[i]);
            shown.Append(text[i]).Append('>');
        }
        return shown.ToString();
    }

    private const string Container = """[{"Id":"1111111111111111111111111111111111111111111111111111111111111111","Names":["/p-web-1"],"State":"running","Status":"Up 2 seconds","Labels":{"com.docker.compose.project":"p","com.docker.compose.service":"web","com.docker.compose.container-number":"1","com.docker.compose.oneoff":"False"},"Ports":[{"IP":"127.0.0.1","PrivatePort":81,"PublicPort":8081,"Type":"tcp"},{"PrivatePort":80,"Type":"tcp"}]}]""";

    [Fact]
    public async Task Progress_is_told_as_lines_as_JSON_or_not_at_all()
    {
        var engine = new CliRun { Variables = new Dictionary<string, string> { ["NO_COLOR"] = "1" } }.Answer("GET /containers/json", Container).Answer("POST /containers/1111111111111111111111111111111111111111111111111111111111111111/pause", "", "204 No Content");
        Assert.Equal(" Container p-web-1  Paused\n", (await engine.RunAsync("compose", "-p", "p", "pause")).Error);
        Assert.Equal("{\"id\":\"Container p-web-1\",\"status\":\"Paused\"}\n", (await engine.RunAsync("compose", "--progress", "json", "-p", "p", "pause")).Error);
        Assert.Equal("", (await engine.RunAsync("compose", "--progress", "quiet", "-p", "p", "pause")).Error);
        Assert.Equal(" DRY-RUN MODE -  Container p-web-1  Paused\n", (await engine.RunAsync("compose", "--dry-run", "-p", "p", "pause")).Error);
        Assert.Contains("[+] Pausing 1/1\n", (await engine.RunAsync("compose", "--progress", "tty", "-p", "p", "pause")).Error);
        Assert.Equal("unsupported --progress value \"loud\"\n", (await engine.RunAsync("compose", "--progress", "loud", "-p", "p", "pause")).Error);
        Assert.Equal("can't use --progress tty while ANSI support is disabled\n", (await engine.RunAsync("compose", "--ansi", "never", "--progress", "tty", "-p", "p", "pause")).Error);
        Assert.Equal("{\"error\":true,\"message\":\"service \\\"db\\\" is not running\"}\n", (await engine.RunAsync("compose", "--progress", "json", "-p", "p", "port", "db", "80")).Error);
    }

    [Fact]
    public async Task Where_ports_are_published_is_told_as_docker_compose_tells_it()
    {
        var engine = new CliRun().Answer("GET /containers/json", Container);
        Assert.Contains("\"Publishers\":[{\"URL\":\"\",\"TargetPort\":80,\"PublishedPort\":0,\"Protocol\":\"tcp\"},{\"URL\":\"127.0.0.1\",\"TargetPort\":81,\"PublishedPort\":8081,\"Protocol\":\"tcp\"}]", (await engine.RunAsync("compose", "-p", "p", "ps", "--format", "json")).Output);
        Assert.Equal("127.0.0.1:8081\n", (await engine.RunAsync("compose", "-p", "p", "port", "web", "81")).Output);
        Assert.Equal("no port 82/tcp for container p-web-1: 8081/tcp, 0/tcp\n", (await engine.RunAsync("compose", "-p", "p", "port", "web", "82")).Error);
        Assert.Equal("unknown filter colour\n", (await engine.RunAsync("compose", "-p", "p", "ps", "--filter", "colour=red")).Error);
        Assert.Equal("invalid filter 'colour'\n", (await engine.RunAsync("compose", "ls", "--filter", "colour=red")).Error);
        Assert.Equal("p\n", (await engine.RunAsync("compose", "ls", "-q", "--filter", "name=^p$")).Output);
    }

    [Fact]
    public async Task Services_and_what_they_depend_on_are_drawn()
    {
        using var directory = new Directories("services: {web: {image: x, depends_on: [db], ports: [\"127.0.0.1:8081:81\"]}, db: {image: y} }\nname: p\n");
        Assert.Equal("""
            digraph "p" {
             layout=dot;
             "db" [style="filled" label=<<font point-size="15">db</font><font point-size="10"><br/><br/><b>Networks:</b><br/>default</font>>];
             "web" [style="filled" label=<<font point-size="15">web</font><font point-size="10"><br/><br/><b>Networks:</b><br/>default</font><font point-size="10"><br/><br/><b>Ports:</b><br/>127.0.0.1:8081:81 (tcp, ingress)</font>>];

             "web" -> "db";
            }


            """, (await new CliRun().RunAsync("compose", "-f", directory.File, "alpha", "viz", "--spaces", "--networks", "--ports")).Output);
    }

    [Fact]
    public async Task Files_of_a_git_repository_are_included()
    {
        using var there = new Directories("services: {theirs: {image: x} }\n");
        using var here = new Directories($"name: p\ninclude: [\"file://{there.Path}/.git#HEAD\"]\nservices: {{ours: {{image: y}} }}\n");
        foreach (var words in (string[][])[["init", "-q", there.Path], ["-C", there.Path, "add", "."], ["-C", there.Path, "-c", "user.email=a@b.c", "-c", "user.name=a", "commit", "-qm", "one"]])
        {
            try
            {
                using var git = System.Diagnostics.Process.Start("git", words);
                await git.WaitForExitAsync(TestContext.Current.CancellationToken);
                Assert.Equal(0, git.ExitCode);
            }
            catch (System.ComponentModel.Win32Exception)
            {
                Assert.Skip("git is not installed");
            }
        }
        var run = new CliRun { Variables = new Dictionary<string, string> { ["XDG_CACHE_HOME"] = here.Path } };
        Assert.Equal("ours\ntheirs\n", (await run.RunAsync("compose", "-f", here.File, "config", "--services")).Output);
        Assert.Equal($"git subdirectory path traversal detected: ../x\n", (await run.RunAsync("compose", "-f", $"file://{there.Path}/.git#HEAD:../x", "config")).Error);
        Assert.StartsWith("repository does not contain ref ", (await run.RunAsync("compose", "-f", $"file://{there.Path}/.git#nothing", "config")).Error);
    }

    private sealed class Directories : IDisposable
    {
        public Directories(string compose)
        {
            Path = Directory.CreateTempSubdirectory("berth-compose-").FullName;
            System.IO.File.WriteAllText(File, compose);
        }

        public string Path { get; }

        public string File => System.IO.Path.Combine(Path, "compose.yaml");

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
