using System.Text.RegularExpressions;
using Berth.Cli.Commands;
using Berth.Testing;

namespace Berth.Fast.Tests.Cli;

public class CommandTests
{
    private const string Containers =
        """
        [{"Id":"7134a918abfc4deaa585718682c68f66d0832e11c5f629c49836b78e35cd769e","Names":["/web","/other/link"],"Image":"nginx:1.27@sha256:aaaa","ImageID":"sha256:e2812a8537522eaf","Command":"sh -c 'echo hi; sleep 100000'",
          "Created":1714996620,"Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}],"Labels":{"b":"2","a":"1"},"State":"running","Status":"Up 3 minutes (healthy)","HostConfig":{"NetworkMode":"bridge"},
          "NetworkSettings":{"Networks":{"bridge":{}}},"Mounts":[{"Type":"volume","Name":"a-very-long-volume-name","Source":"/x","Destination":"/v","Driver":"local","Mode":"z","RW":true,"Propagation":""}]},
         {"Id":"06df91b1e592fbb7df4f1238c67a9644ef2b184266644bfd7357c35b48cf7f49","Names":["/gone"],"Image":"sha256:c405e57650b6ad187a2ecc6674951e43b8debcda6b2539490ec28366a0ae4b8a","ImageID":"sha256:c405e57650b6ad187a2ecc6674951e43b8debcda6b2539490ec28366a0ae4b8a","Command":"sleep 1000",
          "Created":1714953600,"Ports":[],"Labels":{},"State":"exited","Status":"Exited (0) About a minute ago","HostConfig":{"NetworkMode":"none"},"NetworkSettings":{"Networks":{"none":{}}},"Mounts":[]}]
        """;

    private const string Images =
        """
        [{"Containers":-1,"Created":1714996620,"Id":"sha256:e2812a8537522eaf2c10ad33c2c2139cae6786722c5917e5395f0c0b710d487e","Labels":null,"ParentId":"","RepoDigests":["web@sha256:1111"],"RepoTags":["web:1","web:latest","localhost:5000/web:1"],"SharedSize":-1,"Size":4446000},
         {"Containers":-1,"Created":1609459200,"Id":"sha256:c405e57650b6ad187a2ecc6674951e43b8debcda6b2539490ec28366a0ae4b8a","Labels":null,"ParentId":"","RepoDigests":[],"RepoTags":[],"SharedSize":-1,"Size":7798000}]
        """;

    private const string Stats =
        """
        {"name":"/web","id":"7134a918abfc4deaa585718682c68f66d0832e11c5f629c49836b78e35cd769e","read":"2024-05-06T11:59:59Z","preread":"2024-05-06T11:59:58Z","pids_stats":{"current":3},
         "blkio_stats":{"io_service_bytes_recursive":[{"major":8,"minor":0,"op":"Read","value":1500000},{"major":8,"minor":0,"op":"write","value":4096},{"major":8,"minor":0,"op":"Total","value":9}]},
         "cpu_stats":{"cpu_usage":{"total_usage":200000000},"system_cpu_usage":2000000000,"online_cpus":4},"precpu_stats":{"cpu_usage":{"total_usage":100000000},"system_cpu_usage":1000000000,"online_cpus":4},
         "memory_stats":{"usage":10485760,"stats":{"inactive_file":1048576},"limit":33554432},"networks":{"eth0":{"rx_bytes":1000,"tx_bytes":20},"eth1":{"rx_bytes":234,"tx_bytes":1}}}
        """;

    private static CliRun Engine() => new CliRun()
        .Answer("GET /containers/json", Containers)
        .Answer("GET /images/json", Images)
        .Answer("GET /containers/web/stats", Stats)
        .Answer("GET /containers/7134a918abfc4deaa585718682c68f66d0832e11c5f629c49836b78e35cd769e/stats", Stats)
        .Answer("GET /events", "")
        .Answer("GET /containers/web/json", """{"Id":"7134","Name":"/web","State":{"Running":true},"NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}],"9/udp":null}},"Config":{"Labels":{"a":"<1>"}}}""")
        .Answer("GET /version", """{"Platform":{"Name":""},"Version":"0.1.0","ApiVersion":"1.51","MinAPIVersion":"1.24","Os":"linux","Arch":"amd64","BuildTime":"2024-05-06T07:08:09.000000000+00:00","GitCommit":"abc","GoVersion":""}""")
        .Answer("GET /images/web/history", """[{"Comment":"","Created":1714996620,"CreatedBy":"/bin/sh -c #(nop) ADD file:0123456789012345678901234567890123456789 in /","Id":"sha256:e2812a853752","Size":4446000,"Tags":["web:1"]},{"Comment":"Imported from -","Created":0,"CreatedBy":"","Id":"<missing>","Size":0,"Tags":null}]""");

    public static TheoryData<string, string> Goldens => new()
    {
        { "ps.txt", "ps" },
        { "ps-no-trunc.txt", "ps -a --no-trunc" },
        { "ps-quiet.txt", "ps -q" },
        { "ps-json.txt", "ps --format json" },
        { "ps-template.txt", "ps --format table|{{.Names}}\\t{{.Networks}}\\t{{.Label \"a\"}}" },
        { "images.txt", "images" },
        { "images-digests.txt", "images --digests" },
        { "images-quiet.txt", "images -q --no-trunc" },
        { "history.txt", "history web" },
        { "version.txt", "version" },
        { "inspect.txt", "inspect web" },
        { "port.txt", "port web" },
        { "stats.txt", "stats --no-stream web" },
        { "stats-all.txt", "stats -a --no-stream --no-trunc" }, // the second one has none
        { "stats-json.txt", "stats --no-stream --format json web" },
        { "help.txt", "--help" },
        { "help-container.txt", "container --help" },
        { "help-ps.txt", "ps --help" },
        { "help-run.txt", "run --help" },
    };

    [Theory]
    [MemberData(nameof(Goldens))]
    public async Task Output_is_as_in_the_golden_file(string file, string line)
    {
        var result = await Engine().RunAsync([.. line.Split(' ', line.Contains('{') ? 3 : 9).Select(w => w.Replace('|', ' '))]);
        Assert.Equal("", result.Error);
        Assert.Equal(0, result.ExitCode);
        var (expected, actual) = Golden.Read(file, Regex.Replace(result.Output, @"\d+\.\d+\.\d+(?=\n API)|(?<= linux/)arm64", m => m.Value == "arm64" ? "amd64" : "VERSION"));
        Assert.Equal(expected, actual);
    }

    [Theory]
    [InlineData("run", 1, "berth: 'berth run' requires at least 1 argument\n\nUsage:  berth run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nSee 'berth run --help' for more information\n")]
    [InlineData("ps x", 1, "berth: 'berth ps' accepts no arguments\n\nUsage:  berth ps [OPTIONS]\n\nRun 'berth ps --help' for more information\n")]
    [InlineData("rename x", 1, "berth: 'berth rename' requires 2 arguments\n\nUsage:  berth rename CONTAINER NEW_NAME\n\nRun 'berth rename --help' for more information\n")]
    [InlineData("run --foo", 125, "unknown flag: --foo\n\nUsage:  berth run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'berth run --help' for more information\n")]
    [InlineData("ps -f foo", 125, "invalid argument \"foo\" for \"-f, --filter\" flag: bad format of filter (expected name=value)\n\nUsage:  berth ps [OPTIONS]\n\nRun 'berth ps --help' for more information\n")]
    [InlineData("imagse", 1, "berth: unknown command: berth imagse\n\nDid you mean 'berth images'?\n\nRun 'berth --help' for more information\n")]
    [InlineData("container sl", 1, "berth: unknown command: berth container sl\n\nDid you mean 'berth container ls'?\n\nUsage:  berth container\n\nRun 'berth container --help' for more information\n")]
    [InlineData("run --pull x i", 125, "berth: invalid pull option: 'x': must be one of \"always\", \"missing\" or \"never\"\n\nRun 'berth run --help' for more information\n")]
    [InlineData("run -v a:b:c:d i", 125, "berth: invalid spec: a:b:c:d: too many colons\n\nRun 'berth run --help' for more information\n")]
    [InlineData("run -d -a stdin i", 1, "conflicting options: cannot specify both --attach and --detach\n")]
    [InlineData("run -it i", 1, "the input device is not a TTY\n")]
    [InlineData("ps --format {{.Foo}}", 1, "failed to execute template: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext\n")]
    [InlineData("stats --no-stream --format {{.Foo}} web", 1, "template parsing error: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *container.statsContext\n")]
    [InlineData("stats nope web nope2", 1, "Error response from daemon: page not found\nError response from daemon: page not found\n")]
    [InlineData("inspect nope", 1, "Error: No such object: nope\n")]
    [InlineData("port web 99", 1, "Error: No public port '99' published for web\n")]
    [InlineData("load -i /nowhere", 1, "open /nowhere: no such file or directory\n")]
    [InlineData("load --platform foo -i /dev/null", 1, "invalid platform: \"foo\": unknown operating system or architecture: invalid argument\n")]
    [InlineData("save --platform a/b/c/d i", 1, "invalid platform: \"a/b/c/d\": cannot parse platform specifier: invalid argument\n")]
    [InlineData("save -o /nowhere/x i", 1, "failed to save image: invalid output path: stat /nowhere: no such file or directory\n")]
    [InlineData("save -o /dev/null i", 1, "failed to save image: cannot write to a character device file\n")]
    [InlineData("save -o /tmp i", 1, "failed to save image: cannot write to a directory\n")]
    [InlineData("export -o /dev/stdin web", 1, "failed to export container: cannot write to a symbolic link directly\n")]
    [InlineData("save nope", 1, "Error response from daemon: page not found\n")]
    [InlineData("--foo", 125, "unknown flag: --foo\n\nUsage:  berth [OPTIONS] COMMAND [ARG...]\n\nRun 'berth --help' for more information\n")]
    [InlineData("-H a://b ps", 1, "Failed to initialize: unable to resolve docker endpoint: invalid bind address format: a://b\n")]
    public async Task Errors_and_exit_codes_are_dockers(string line, int exitCode, string error)
    {
        var result = await Engine().RunAsync(line.Split(' '));
        Assert.Equal(error, result.Error);
        Assert.Equal(exitCode, result.ExitCode);
    }

    [Theory]
    [InlineData("executable file not found in $PATH", 127)]
    [InlineData("exec: \\\"/x\\\": stat /x: no such file or directory", 127)]
    [InlineData("exec: \\\"/etc\\\": is a directory: permission denied", 126)]
    [InlineData("something else", 125)]
    public async Task A_start_that_failed_has_docker_runs_exit_code(string message, int exitCode)
    {
        var result = await new CliRun()
            .Answer("POST /containers/create", """{"Id":"abc","Warnings":["careful"]}""", "201 Created")
            .Answer("POST /containers/abc/start", $$"""{"message":"{{message}}"}""", "400 Bad Request")
            .RunAsync("run", "-d", "i");
        Assert.Equal(exitCode, result.ExitCode);
        Assert.StartsWith("WARNING: careful\nberth: Error response from daemon: ", result.Error);
        Assert.EndsWith("\n\nRun 'berth run --help' for more information\n", result.Error);
        Assert.Equal("abc\n", result.Output);
    }

    [Fact]
    public async Task An_archive_replaces_the_file_only_when_it_is_whole_and_is_its_owners_alone()
    {
        var path = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        try
        {
            await File.WriteAllTextAsync(path, "before", TestContext.Current.CancellationToken);
            var failed = await new CliRun().Answer("GET /images/get", """{"message":"No such image: b:latest"}""", "404 Not Found").RunAsync("save", "-o", path, "b");
            Assert.Equal("Error response from daemon: No such image: b:latest\n", failed.Error);
            Assert.Equal("before", await File.ReadAllTextAsync(path, TestContext.Current.CancellationToken));

            var saved = await new CliRun().Answer("GET /images/get", "the archive").RunAsync("save", "--platform", "linux/amd64", "-o", path, "a", "b:c");
            Assert.Equal((0, ""), (saved.ExitCode, saved.Error));
            Assert.Equal(["GET /images/get?names=a&names=b%3Ac&platform=%7B%22architecture%22%3A%22amd64%22%2C%22os%22%3A%22linux%22%7D"], saved.Requests);
            Assert.Equal("the archive", await File.ReadAllTextAsync(path, TestContext.Current.CancellationToken));
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
            Assert.Empty(Directory.EnumerateFiles(Path.GetTempPath(), Path.GetFileName(path) + ".tmp-*"));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public async Task A_missing_image_is_pulled_and_tried_again()
    {
        var result = await new CliRun()
            .Answer("POST /containers/create", """{"message":"No such image: web:latest"}""", "404 Not Found")
            .Answer("POST /images/create", """{"status":"Pulling from library/web","id":"latest"}""" + "\r\n" + """{"errorDetail":{"message":"no route"},"error":"no route"}""")
            .RunAsync("create", "web");
        Assert.Equal(["POST /containers/create", "POST /images/create?fromImage=web&tag=latest"], result.Requests);
        Assert.Equal("Unable to find image 'web:latest' locally\nlatest: Pulling from library/web\nno route\n", result.Error);
        Assert.Equal(1, result.ExitCode);
    }

    [Fact]
    public async Task A_detached_run_needs_two_requests()
    {
        var result = await new CliRun()
            .Answer("POST /containers/create", """{"Id":"abc","Warnings":[]}""", "201 Created")
            .Answer("POST /containers/abc/start", "", "204 No Content")
            .RunAsync("run", "-d", "--name", "x", "i");
        Assert.Equal(["POST /containers/create?name=x", "POST /containers/abc/start"], result.Requests);
        Assert.Equal(("abc\n", "", 0), (result.Output, result.Error, result.ExitCode));
    }

    [Fact]
    public async Task The_id_file_does_not_outlive_a_create_that_failed()
    {
        var path = Path.Combine(Path.GetTempPath(), Guid.NewGuid().ToString("N"));
        var failed = await new CliRun().Answer("POST /containers/create", """{"message":"no"}""", "500 Internal Server Error").RunAsync("create", "--cidfile", path, "i");
        Assert.Equal(1, failed.ExitCode);
        Assert.False(File.Exists(path));
        await new CliRun().Answer("POST /containers/create", """{"Id":"abc","Warnings":null}""", "201 Created").RunAsync("create", "--cidfile", path, "i");
        Assert.Equal("abc", File.ReadAllText(path));
        var again = await new CliRun().RunAsync("create", "--cidfile", path, "i");
        Assert.Equal($"container ID file found, make sure the other container isn't running or delete {path}\n", again.Error);
        File.Delete(path);
    }

    [Fact]
    public async Task Statistics_are_painted_over_those_before_until_the_engine_ends_the_events()
    {
        var result = await Engine().RunAsync("stats");
        Assert.Equal(("", 0), (result.Error, result.ExitCode));
        // The figures are there or gone already: the stream of samples ends as well.
        Assert.All(result.Output.Split("\u001b[J")[..^1], frame => Assert.Matches("^\u001b\\[HCONTAINER ID   NAME  .* PIDS\u001b\\[K\n7134a918abfc   web  .*\u001b\\[K\n  .*--\u001b\\[K\n$", frame));
        Assert.EndsWith("\u001b[K\n\u001b[J", result.Output);
        Assert.Equal("GET /events?filters=%7B%22type%22%3A%7B%22container%22%3Atrue%7D%7D", result.Requests[0]);
        Assert.Contains("GET /containers/7134a918abfc4deaa585718682c68f66d0832e11c5f629c49836b78e35cd769e/stats?stream=true", result.Requests);
    }

    [Fact]
    public async Task Names_that_fail_do_not_keep_the_others_from_being_done()
    {
        var result = await new CliRun()
            .Answer("POST /containers/a/stop", "", "204 No Content")
            .Answer("POST /containers/c/stop", "", "304 Not Modified")
            .Answer("POST /containers/b/stop", """{"message":"No such container: b"}""", "404 Not Found")
            .RunAsync("stop", "a", "b", "c");
        Assert.Equal(("a\nc\n", "Error response from daemon: No such container: b\n", 1), (result.Output, result.Error, result.ExitCode));
    }

    [Fact]
    public void Every_command_is_found_under_all_its_names_and_no_name_is_taken_twice()
    {
        Assert.Equal(CommandTable.Paths.Count(), CommandTable.Paths.Distinct().Count());
        foreach (var path in CommandTable.Paths)
        {
            Assert.NotNull(CommandTable.Find(path));
            if (path.Contains(' ')) Assert.NotNull(CommandTable.Group(path.Split(' ')[0]));
        }
        foreach (var command in CommandTable.All)
        {
            var flags = command.Flags();
            Assert.Equal(flags.Length, flags.Select(f => f.Name).Distinct().Count());
            Assert.Equal(flags.Count(f => f.Short != '\0'), flags.Where(f => f.Short != '\0').Select(f => f.Short).Distinct().Count());
            Assert.All(flags.Where(f => f.SpellingOf is not null), f => Assert.Contains(flags, g => g.Name == f.SpellingOf));
        }
    }
}
