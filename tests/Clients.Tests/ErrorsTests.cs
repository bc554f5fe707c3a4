using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>
/// What the stock client prints and returns when something is wrong. Texts and codes are those of Docker Engine 28.5, where clients match on
/// them; fragments where the rest would name its internals. After each the store is as before (the fixture's leak check).
/// </summary>
public sealed class ErrorsTests(SharedDaemon shared) : IClassFixture<SharedDaemon>, IAsyncLifetime
{
    private readonly TestDaemon _daemon = shared.Daemon;

    /// <summary>A running container for commands that need one in their way.</summary>
    public async ValueTask InitializeAsync() => await _daemon.Docker("run", "-d", "--network", "none", "--name", "taken", shared.Image, "sleep", "600").MayFail();

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    [Theory]
    // the process
    [InlineData(127, "exec: \"nosuch\": executable file not found in $PATH", "IMAGE nosuch")]
    [InlineData(127, "exec: \"/nosuch\": stat /nosuch: no such file or directory", "IMAGE /nosuch")]
    [InlineData(126, "exec: \"/etc\": is a directory", "IMAGE /etc")]
    [InlineData(126, "exec: \"/etc/not-executable\": permission denied", "IMAGE /etc/not-executable")]
    [InlineData(3, "", "IMAGE sh -c exit\u00a03")]
    [InlineData(125, "the working directory 'relative' is invalid, it needs to be an absolute path", "-w relative IMAGE true")]
    [InlineData(125, "docker: Error response from daemon: Cannot mkdir: /etc/passwd is not a directory\n", "-w /etc/passwd IMAGE true")]
    [InlineData(125, "unable to find user nosuchuser: no matching entries in passwd file", "-u nosuchuser IMAGE true")]
    [InlineData(125, "unable to find group nosuchgroup: no matching entries in group file", "--group-add nosuchgroup IMAGE true")]
    [InlineData(125, "invalid CapAdd: unknown capability: \"CAP_NOSUCH\"", "--cap-add NOSUCH IMAGE true")]
    [InlineData(125, "invalid signal: NOSUCH", "--stop-signal NOSUCH IMAGE true")]
    [InlineData(125, "unknown or invalid runtime name: nosuch", "--runtime nosuch IMAGE true")]
    // names
    [InlineData(125, "Invalid container name (a\u00a0b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", "--name a\u00a0b IMAGE true")]
    [InlineData(125, "Conflict. The container name \"/taken\" is already in use by container \"", "--name taken IMAGE true")]
    // file systems
    [InlineData(125, "create relative/path: \"relative/path\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", "-v relative/path:/x IMAGE true")]
    [InlineData(125, "invalid volume specification: '/tmp:relative': invalid mount config for type \"bind\": invalid mount path: 'relative' mount path must be absolute", "-v /tmp:relative IMAGE true")]
    [InlineData(127, "error gathering device information while adding custom device \"/dev/nosuch\": no such file or directory", "--device /dev/nosuch IMAGE true")]
    // namespaces
    [InlineData(125, "No such container: nosuch", "--pid container:nosuch IMAGE true")]
    [InlineData(125, "No such container: nosuch", "--ipc container:nosuch IMAGE true")]
    [InlineData(125, "No such container: nosuch", "--network container:nosuch IMAGE true")]
    [InlineData(125, "invalid IPC mode: nosuch", "--ipc nosuch IMAGE true")]
    [InlineData(125, "network nosuch not found", "--network nosuch IMAGE true")]
    [InlineData(125, "conflicting options: port publishing and the container type network mode", "--network container:taken -p 80:80 IMAGE true")]
    // limits
    [InlineData(125, "Minimum memory limit allowed is 6MB", "-m 1m IMAGE true")]
    [InlineData(125, "Requested CPUs are not available - requested 999, available: ", "--cpuset-cpus 999 IMAGE true")]
    [InlineData(125, "range of CPUs is from 0.01 to ", "--cpus 999 IMAGE true")]
    // logs
    [InlineData(125, "error looking up logging plugin nosuch: plugin \"nosuch\" not found", "--log-driver nosuch IMAGE true")]
    [InlineData(125, "unknown log opt 'nosuch' for json-file log driver", "--log-opt nosuch=1 IMAGE true")]
    public async Task A_container_that_cannot_run_says_why(int exitCode, string error, string arguments)
    {
        var result = await _daemon.Docker(["run", "--rm", .. Words(arguments)]).MayFail();
        Assert.Equal(exitCode, result.ExitCode);
        Assert.Contains(error.Replace('\u00a0', ' '), result.Error);
        if (exitCode >= 125)
            Assert.Equal("taken", (await _daemon.Docker("ps", "-a", "--format", "{{.Names}}")).Line);
    }

    [Theory]
    [InlineData("Error response from daemon: No such container: nosuch\nError: failed to start containers: nosuch\n", "start nosuch")]
    [InlineData("Error response from daemon: No such container: nosuch\n", "stop nosuch")]
    [InlineData("Error response from daemon: cannot kill container: nosuch: No such container: nosuch\n", "kill nosuch")]
    [InlineData("Error response from daemon: cannot kill container: taken: invalid signal: NOSUCH\n", "kill -s NOSUCH taken")]
    [InlineData("Error response from daemon: No such container: nosuch\n", "rm nosuch")]
    [InlineData("Error response from daemon: cannot remove container \"taken\": container is running: stop the container before removing or force remove\n", "rm taken")]
    [InlineData("Error response from daemon: Renaming a container with the same name as its current name\nError: failed to rename container named taken\n", "rename taken taken")]
    [InlineData("Error response from daemon: Error when allocating new name: Invalid container name (/a\u00a0b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed\nError: failed to rename container named taken\n", "rename taken a\u00a0b")]
    [InlineData("Error response from daemon: No such container: nosuch\n", "pause nosuch")]
    [InlineData("Error response from daemon: Container ID is not paused\n", "unpause taken")]
    [InlineData("Error response from daemon: unable to find user nosuch: no matching entries in passwd file\n", "exec -u nosuch taken true")]
    [InlineData("Error response from daemon: No such container: nosuch\n", "exec nosuch true")]
    [InlineData("Error response from daemon: No such container: nosuch\n", "attach nosuch")]
    [InlineData("Error response from daemon: No such container: nosuch\n", "logs nosuch")]
    [InlineData("Error: No such object: nosuch\n", "inspect nosuch")]
    [InlineData("Error response from daemon: No such container: nosuch\n", "port nosuch")]
    [InlineData("Error: No public port '80' published for taken\n", "port taken 80")]
    [InlineData("Error response from daemon: No such container: nosuch\n", "top nosuch")]
    [InlineData("Error response from daemon: No such container: nosuch\n", "wait nosuch")]
    [InlineData("Error response from daemon: No such image: nosuch:latest\n", "rmi nosuch")]
    [InlineData("Error response from daemon: No such image: nosuch:latest\n", "tag nosuch x")]
    [InlineData("Error response from daemon: No such image: nosuch:latest\n", "image inspect nosuch")]
    [InlineData("Error response from daemon: No such image: nosuch:latest\n", "history nosuch")]
    [InlineData("Error response from daemon: invalid filter 'nosuch'\n", "ps --filter nosuch=1")]
    [InlineData("Error response from daemon: invalid filter 'nosuch'\n", "images --filter nosuch=1")]
    [InlineData("Error response from daemon: get nosuch: no such volume\n", "volume inspect nosuch")]
    [InlineData("Error response from daemon: get nosuch: no such volume\n", "volume rm nosuch")]
    [InlineData("Error response from daemon: network nosuch not found\n", "network inspect nosuch")]
    public async Task A_command_that_cannot_do_it_says_why(string error, string arguments)
    {
        var result = await _daemon.Docker([.. Words(arguments)]).MayFail();
        Assert.Equal(1, result.ExitCode);
        var id = (await _daemon.Docker("inspect", "--format", "{{.Id}}", "taken")).Line;
        Assert.Equal(error.Replace('\u00a0', ' '), result.Error.Replace(id, "ID", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(127, "exec: \"nosuch\": executable file not found in $PATH", "exec taken nosuch")]
    [InlineData(126, "exec: \"/etc\": is a directory", "exec taken /etc")]
    [InlineData(127, "chdir to cwd (\"/nosuch\") set in config.json failed: no such file or directory", "exec -w /nosuch taken true")]
    [InlineData(5, "", "exec taken sh -c exit\u00a05")]
    [InlineData(143, "", "exec taken sh -c kill\u00a0-TERM\u00a0$$")]
    public async Task An_exec_that_fails_has_its_exit_code(int exitCode, string output, string arguments)
    {
        var result = await _daemon.Docker([.. Words(arguments)]).MayFail();
        Assert.Equal(exitCode, result.ExitCode);
        Assert.Contains(output, result.Output);
    }

    // Method, path, body ("-": none), status, a piece of the answer: in the manner of podman's test/apiv2.
    [Theory]
    [InlineData("GET", "/containers/nosuch/json", "-", 404, "{\"message\":\"No such container: nosuch\"}\n")]
    [InlineData("POST", "/containers/create", "{}", 400, "{\"message\":\"config cannot be empty in order to create a container\"}\n")]
    [InlineData("POST", "/containers/create", "{\"Image\":\"nosuch\"}", 404, "{\"message\":\"No such image: nosuch:latest\"}\n")]
    [InlineData("POST", "/containers/create", "{\"Image\":\"BAD NAME\"}", 400, "invalid reference format")]
    [InlineData("POST", "/containers/create", "not json", 400, "invalid JSON: ")]
    [InlineData("POST", "/containers/create?name=taken", "{\"Image\":\"busybox:test\"}", 409, "Conflict. The container name \\\"/taken\\\" is already in use by container")]
    [InlineData("POST", "/containers/create", "{\"Image\":\"busybox:test\",\"HostConfig\":{\"PortBindings\":{\"80/tcp\":[{\"HostPort\":\"99999\"}]}}}", 400, "99999")]
    [InlineData("POST", "/containers/create", "{\"Image\":\"busybox:test\",\"HostConfig\":{\"RestartPolicy\":{\"Name\":\"nosuch\"}}}", 400, "nosuch")]
    [InlineData("POST", "/containers/create", "{\"Image\":\"busybox:test\",\"HostConfig\":{\"Memory\":-1}}", 400, "emory")]
    [InlineData("POST", "/containers/taken/start", "-", 304, "")]
    [InlineData("POST", "/containers/nosuch/start", "-", 404, "No such container: nosuch")]
    [InlineData("POST", "/containers/taken/wait?condition=nosuch", "-", 400, "{\"message\":\"invalid condition: \\\"nosuch\\\"\"}\n")]
    [InlineData("POST", "/containers/taken/kill?signal=NOSUCH", "-", 400, "invalid signal: NOSUCH")]
    [InlineData("POST", "/containers/taken/stop?t=x", "-", 500, "{\"message\":\"strconv.Atoi: parsing \\\"x\\\": invalid syntax\"}\n")]
    [InlineData("POST", "/containers/taken/resize?h=x&w=1", "-", 400, "invalid resize height \\\"x\\\": invalid syntax")]
    [InlineData("POST", "/containers/taken/exec", "{}", 400, "{\"message\":\"No exec command specified\"}\n")]
    [InlineData("POST", "/containers/taken/rename", "-", 400, "name")]
    [InlineData("POST", "/exec/nosuch/start", "{}", 404, "{\"message\":\"No such exec instance: nosuch\"}\n")]
    [InlineData("GET", "/exec/nosuch/json", "-", 404, "{\"message\":\"No such exec instance: nosuch\"}\n")]
    [InlineData("GET", "/containers/taken/logs", "-", 400, "{\"message\":\"Bad parameters: you must choose at least one stream\"}\n")]
    [InlineData("GET", "/containers/json?filters=x", "-", 400, "{\"message\":\"invalid filter\"}\n")]
    [InlineData("GET", "/containers/json?limit=x", "-", 500, "{\"message\":\"strconv.Atoi: parsing \\\"x\\\": invalid syntax\"}\n")]
    [InlineData("DELETE", "/containers/taken", "-", 409, "container is running: stop the container before removing or force remove")]
    [InlineData("DELETE", "/images/busybox:test", "-", 409, "conflict: unable to remove repository reference \\\"busybox:test\\\" (must force) - container ")]
    [InlineData("POST", "/images/create?fromImage=BAD", "-", 400, "invalid reference format")]
    [InlineData("GET", "/images/nosuch/json", "-", 404, "{\"message\":\"No such image: nosuch:latest\"}\n")]
    [InlineData("POST", "/commit", "{}", 400, "invalid name or ID supplied: \\\"\\\"")]
    [InlineData("GET", "/nosuch", "-", 404, "{\"message\":\"page not found\"}\n")]
    [InlineData("GET", "/v1.52/info", "-", 400, "client version 1.52 is too new. Maximum supported API version is 1.51")]
    public async Task A_request_has_Dockers_status_and_message(string method, string path, string body, int status, string message)
    {
        var answer = await _daemon.AskAsync(method, path, body == "-" ? null : body);
        Assert.Equal(status, answer.Status);
        if (message.EndsWith('\n'))
            Assert.Equal(message, answer.Body);
        else
            Assert.Contains(message, answer.Body);
    }

    private IEnumerable<string> Words(string arguments) => arguments.Split(' ').Select(word => word == "IMAGE" ? shared.Image : word.Replace('\u00a0', ' '));
}
