using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>
/// Every route with bodies and query parameters that no client would send: wrong types, huge numbers, deep nesting, broken UTF-8, missing members, nulls, long strings. The daemon
/// may refuse them in any words, but never by an exception it did not foresee, and never leaving half of an object. The seed is printed; BERTH_SEED repeats it,
/// BERTH_FUZZ_REQUESTS makes it longer.
/// </summary>
public sealed class FuzzTests(ITestOutputHelper output)
{
    private const int Requests = 1_200;
    private const int Clients = 4;
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(300); // streams never end

    private static int Number(string variable, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out var given) ? given : otherwise;

    private const string Create = """
        {"Image":"busybox:test","Cmd":["sleep","100"],"Entrypoint":["sh"],"Env":["A=1","B"],"Hostname":"h","Domainname":"d","User":"0:0","WorkingDir":"/tmp","Tty":false,"OpenStdin":true,"StdinOnce":true,
         "AttachStdout":true,"Labels":{"a":"b"},"ExposedPorts":{"80/tcp":{},"53/udp":{}},"Volumes":{"/v":{}},"StopSignal":"SIGTERM","StopTimeout":10,"Shell":["/bin/sh","-c"],"MacAddress":"02:42:ac:11:00:02",
         "NetworkDisabled":false,"Healthcheck":{"Test":["CMD","true"],"Interval":1000000000,"Timeout":1000000000,"Retries":3,"StartPeriod":1000000000,"StartInterval":1000000000},
         "HostConfig":{"Binds":["/usr:/t:ro"],"Memory":67108864,"MemorySwap":-1,"MemoryReservation":33554432,"MemorySwappiness":10,"NanoCpus":500000000,"CpuShares":512,"CpusetCpus":"0","CpusetMems":"0","PidsLimit":100,
           "BlkioWeight":100,"BlkioDeviceReadBps":[{"Path":"/dev/null","Rate":1}],"OomScoreAdj":10,"OomKillDisable":false,"Ulimits":[{"Name":"nofile","Soft":10,"Hard":20}],"ShmSize":65536,"CapAdd":["NET_ADMIN"],
           "CapDrop":["ALL"],"Dns":["192.0.2.1"],"DnsSearch":["x"],"DnsOptions":["ndots:1"],"ExtraHosts":["a:192.0.2.1"],"GroupAdd":["1"],"IpcMode":"private","PidMode":"","UTSMode":"","CgroupnsMode":"host",
           "NetworkMode":"bridge","Privileged":false,"ReadonlyRootfs":true,"SecurityOpt":["no-new-privileges"],"Tmpfs":{"/x":"size=64k"},"Sysctls":{"net.ipv4.ip_forward":"1"},"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":2},
           "AutoRemove":false,"PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"0"}]},"PublishAllPorts":false,"LogConfig":{"Type":"json-file","Config":{"max-size":"1m"}},"Init":true,"ConsoleSize":[24,80],
           "Devices":[{"PathOnHost":"/dev/null","PathInContainer":"/dev/n","CgroupPermissions":"rwm"}],"DeviceCgroupRules":["c 1:3 r"],"DeviceRequests":null,"VolumesFrom":["target"],"Links":null,"StorageOpt":null,
           "Annotations":{"a":"b"},"CgroupParent":"","MaskedPaths":["/proc/kcore"],"ReadonlyPaths":["/proc/sys"],"Runtime":"",
           "Mounts":[{"Type":"volume","Source":"vol","Target":"/m","ReadOnly":true,"VolumeOptions":{"NoCopy":true,"Labels":{"a":"b"},"Subpath":"s","DriverConfig":{"Name":"local","Options":{"type":"tmpfs","device":"x","o":"size=1k"}}}},
                     {"Type":"tmpfs","Target":"/m2","TmpfsOptions":{"SizeBytes":1024,"Mode":448,"Options":[["exec"]]}},{"Type":"bind","Source":"/usr","Target":"/m3","BindOptions":{"Propagation":"rprivate","NonRecursive":true}},
                     {"Type":"image","Source":"busybox:test","Target":"/m4","ImageOptions":{"Subpath":"bin"}}]},
         "NetworkingConfig":{"EndpointsConfig":{"bridge":{"IPAMConfig":{"IPv4Address":"","IPv6Address":"","LinkLocalIPs":[]},"Aliases":[],"Links":[],"MacAddress":"02:42:ac:11:00:02","DriverOpts":{"a":"b"},"GwPriority":1}}}}
        """;

    private const string Limits = """{"Memory":67108864,"MemorySwap":-1,"CpuShares":512,"CpusetCpus":"0","PidsLimit":50,"NanoCpus":100000000,"BlkioWeight":300,"RestartPolicy":{"Name":"always","MaximumRetryCount":0},"Ulimits":null}""";
    private const string ExecCreate = """{"Cmd":["true"],"AttachStdout":true,"AttachStdin":true,"Tty":false,"Env":["A=1"],"User":"0","WorkingDir":"/","Privileged":false,"DetachKeys":"ctrl-p,ctrl-q","ConsoleSize":[1,2]}""";
    private const string VolumeCreate = """{"Name":"fuzzed","Driver":"local","DriverOpts":{"type":"tmpfs","device":"x","o":"size=1k"},"Labels":{"a":"b"},"ClusterVolumeSpec":null}""";

    private static readonly (string Method, string Path, string[] Query, string? Body)[] Routes =
    [
        ("GET", "/_ping", [], null), ("HEAD", "/_ping", [], null), ("GET", "/version", [], null), ("GET", "/info", [], null), ("GET", "/system/df", ["type", "verbose"], null),
        ("GET", "/events", ["since", "until", "filters"], null), ("POST", "/auth", [], """{"username":"a","password":"b","serveraddress":"localhost:1"}"""),
        ("GET", "/containers/json", ["all", "limit", "size", "filters"], null), ("GET", "/containers/{c}/json", ["size"], null), ("GET", "/containers/{c}/top", ["ps_args"], null),
        ("GET", "/containers/{c}/logs", ["follow", "stdout", "stderr", "since", "until", "timestamps", "tail", "details"], null), ("GET", "/containers/{c}/changes", [], null),
        ("GET", "/containers/{c}/export", [], null), ("GET", "/containers/{c}/stats", ["stream", "one-shot"], null), ("GET", "/containers/{c}/archive", ["path"], null),
        ("HEAD", "/containers/{c}/archive", ["path"], null), ("PUT", "/containers/{c}/archive", ["path", "noOverwriteDirNonDir", "copyUIDGID"], "not a tar"), ("GET", "/containers/{c}/attach/ws", ["logs", "stream", "detachKeys"], null),
        ("POST", "/containers/create", ["name", "platform"], Create), ("POST", "/containers/create", ["name", "platform"], Create), ("POST", "/containers/create", ["name", "platform"], Create),
        ("POST", "/containers/prune", ["filters"], null), ("POST", "/containers/{c}/kill", ["signal"], null),
        ("POST", "/containers/{c}/pause", [], null), ("POST", "/containers/{c}/unpause", [], null), ("POST", "/containers/{c}/restart", ["t", "signal"], null), ("POST", "/containers/{c}/start", ["detachKeys", "checkpoint"], null),
        ("POST", "/containers/{c}/stop", ["t", "signal"], null), ("POST", "/containers/{c}/wait", ["condition"], null), ("POST", "/containers/{c}/resize", ["h", "w"], null),
        ("POST", "/containers/{c}/attach", ["stdin", "stdout", "stderr", "logs", "stream", "detachKeys"], null), ("POST", "/containers/{c}/rename", ["name"], null), ("POST", "/containers/{c}/update", [], Limits),
        ("POST", "/containers/{c}/exec", [], ExecCreate), ("POST", "/exec/{e}/start", [], """{"Detach":true,"Tty":false,"ConsoleSize":null}"""), ("POST", "/exec/{e}/resize", ["h", "w"], null), ("GET", "/exec/{e}/json", [], null),
        ("POST", "/commit", ["container", "repo", "tag", "comment", "author", "pause", "changes"], Create), ("DELETE", "/containers/{c}", ["force", "v", "link"], null),
        ("GET", "/images/json", ["all", "filters", "shared-size", "digests", "manifests"], null), ("GET", "/images/{i}/json", ["platform", "manifests"], null), ("GET", "/images/{i}/history", ["platform"], null),
        ("POST", "/images/{i}/tag", ["repo", "tag"], null), ("DELETE", "/images/{i}", ["force", "noprune", "platforms"], null), ("POST", "/images/create", ["fromSrc", "repo", "tag", "message", "changes", "platform"], "not a tar"),
        ("POST", "/images/load", ["quiet", "platform"], "not a tar"), ("POST", "/images/prune", ["filters"], null), ("GET", "/images/get", ["names", "platform"], null), ("GET", "/images/{i}/get", ["platform"], null),
        ("POST", "/images/create", ["fromImage", "tag", "platform"], null), ("POST", "/images/{i}/push", ["tag", "platform"], null), ("GET", "/images/search", ["term", "limit", "filters"], null),
        ("GET", "/volumes", ["filters"], null), ("POST", "/volumes/create", [], VolumeCreate), ("GET", "/volumes/{v}", [], null), ("PUT", "/volumes/{v}", ["version"], """{"Spec":{}}"""), ("DELETE", "/volumes/{v}", ["force"], null),
        ("POST", "/volumes/prune", ["filters"], null), ("GET", "/networks", ["filters"], null), ("GET", "/networks/{n}", ["scope", "verbose"], null), ("DELETE", "/networks/{n}", [], null), ("POST", "/networks/prune", ["filters"], null),
        ("POST", "/networks/create", [], """{"Name":"fuzznet","Driver":"bridge","IPAM":{"Driver":"default","Config":[{"Subnet":"198.19.250.0/24","Gateway":"198.19.250.1"}]},"Options":{"a":"b"},"Labels":{},"Internal":false}"""),
        ("POST", "/networks/{n}/connect", [], """{"Container":"target","EndpointConfig":{}}"""), ("POST", "/networks/{n}/disconnect", [], """{"Container":"target","Force":true}"""),
        ("GET", "/plugins", ["filters"], null), ("GET", "/swarm", [], null), ("GET", "/nodes", ["filters"], null), ("POST", "/build/prune", ["filters", "all"], null), ("GET", "/distribution/{i}/json", [], null),
    ];

    [Fact]
    public async Task Whatever_a_client_sends_the_daemon_answers_and_leaves_no_half_made_object()
    {
        var seed = Number("BERTH_SEED", Random.Shared.Next());
        output.WriteLine($"BERTH_SEED={seed}");
        // To registries no way leads: what is asked of them here is nobody's business outside.
        await using var daemon = await TestDaemon.StartAsync("--http-proxy", "http://127.0.0.1:9", "--https-proxy", "http://127.0.0.1:9");
        await daemon.LoadBusyboxAsync();
        await daemon.Docker("run", "-d", "--name", "runner", Images.Busybox, "sleep", "1000");
        await daemon.Docker("create", "--name", "target", Images.Busybox, "sleep", "1000");
        await daemon.Docker("volume", "create", "vol");
        var exec = (await daemon.AskAsync("POST", "/containers/runner/exec", """{"Cmd":["true"]}""")).Body.Split('"')[3];

        // What is mutated is accepted as it stands: else nothing would get beyond the first check.
        var whole = await daemon.AskAsync("POST", "/containers/create", Create);
        Assert.True(whole.Status == 201, whole.Body);

        var problems = new List<string>();
        await Task.WhenAll(Enumerable.Range(0, Clients).Select(async client =>
        {
            var fuzz = new Fuzz(new Random(seed + client), exec);
            for (var n = 0; n < Number("BERTH_FUZZ_REQUESTS", Requests) / Clients; n++)
            {
                var request = fuzz.Next();
                if (await SendAsync(daemon, request) is { } problem)
                {
                    lock (problems)
                        problems.Add(problem + "\n    " + request);
                }
                if (!daemon.IsRunning)
                    return;
            }
        }));

        Assert.True(daemon.IsRunning, daemon.LogTail());
        // What was not foreseen is logged with its stack.
        problems.AddRange(File.ReadLines(daemon.LogPath).Where(l => l.Contains("level=error", StringComparison.Ordinal) && l.Contains(" error=\"", StringComparison.Ordinal)).Distinct());
        Assert.True(problems.Count == 0, string.Join("\n", problems.Take(12)) + $"\n({problems.Count} in all)");
        Assert.Equal((200, "OK"), await daemon.AskAsync("GET", "/_ping"));

        // What is listed is whole and can be removed, and nothing is there that is not listed.
        var listed = (await daemon.Docker("ps", "-aq", "--no-trunc")).Lines;
        Assert.Equal(listed.Order(), Directory.EnumerateDirectories(Path.Combine(daemon.DataRoot, "containers")).Select(d => Path.GetFileName(d)).Order());
        if (listed.Length > 0)
        {
            await daemon.Docker(["inspect", .. listed]);
            await daemon.Docker(["rm", "-fv", .. listed]).WithTimeout(TimeSpan.FromSeconds(60));
        }
        var volumes = (await daemon.Docker("volume", "ls", "-q")).Lines;
        Assert.Equal(volumes.Order(), Directory.EnumerateDirectories(Path.Combine(daemon.DataRoot, "volumes")).Select(d => Path.GetFileName(d)).Order());
        if (volumes.Length > 0)
            await daemon.Docker(["volume", "rm", "-f", .. volumes]);
    }

    private static async Task<string?> SendAsync(TestDaemon daemon, Request request)
    {
        using var limit = new CancellationTokenSource(Patience);
        try
        {
            using var message = new HttpRequestMessage(new HttpMethod(request.Method), new Uri("http://berth" + request.Path, new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true }));
            if (request.Body is not null)
            {
                message.Content = new ByteArrayContent(request.Body);
                message.Content.Headers.TryAddWithoutValidation("Content-Type", request.ContentType);
            }
            if (request.Login is not null) message.Headers.TryAddWithoutValidation("X-Registry-Auth", request.Login);
            using var response = await daemon.Http.SendAsync(message, HttpCompletionOption.ResponseHeadersRead, limit.Token);
            var body = (int)response.StatusCode >= 400 ? await response.Content.ReadAsStringAsync(limit.Token) : "";
            if (body.Contains("   at ", StringComparison.Ordinal) || body.Contains("Exception", StringComparison.Ordinal))
                return $"{(int)response.StatusCode} with {body.Trim()}";
            return response.StatusCode == HttpStatusCode.InternalServerError && !body.Contains("\"message\"", StringComparison.Ordinal) && request.Method != "HEAD" && !request.Path.Contains("/attach", StringComparison.Ordinal)
                ? $"500 without a message: {body}"
                : null;
        }
        catch (OperationCanceledException)
        {
            return null; // a stream, or a wait
        }
        catch (HttpRequestException)
        {
            return null; // the connection was ended: whether by a fault, the log tells
        }
    }

    private sealed record Request(string Method, string Path, string ContentType, byte[]? Body, string? Login)
    {
        public override string ToString() => $"{Method} {(Path.Length > 600 ? Path[..600] + "…" : Path)} {(Body is null ? "" : Encoding.Latin1.GetString(Body, 0, Math.Min(Body.Length, 3000)))}";
    }

    private sealed class Fuzz(Random random, string exec)
    {
        private T Pick<T>(IReadOnlyList<T> list) => list[random.Next(list.Count)];

        public Request Next()
        {
            var (method, path, query, body) = Pick(Routes);
            path = path.Replace("{c}", random.Next(8) == 0 ? Name() : Pick((string[])["runner", "target", "target"]), StringComparison.Ordinal)
                .Replace("{e}", random.Next(3) == 0 ? Name() : exec, StringComparison.Ordinal).Replace("{i}", random.Next(3) == 0 ? Name() : "busybox:test", StringComparison.Ordinal)
                .Replace("{v}", random.Next(2) == 0 ? Name() : "vol", StringComparison.Ordinal).Replace("{n}", random.Next(2) == 0 ? Name() : "bridge", StringComparison.Ordinal);
            if (random.Next(4) == 0)
                path = Pick((string[])["/v1.51", "/v1.41", "/v1.24", "/v1.30", "/v9.99", "/v0.1", "/v1.x"]) + path;
            var parameters = query.Where(_ => random.Next(3) > 0).Select(q => q + "=" + Uri.EscapeDataString(Value(q)).Replace("%C3%BF", "%FF", StringComparison.Ordinal)).ToList();
            if (random.Next(20) == 0)
                parameters.Add("%");
            if (parameters.Count > 0)
                path += "?" + string.Join('&', parameters);
            return new Request(method, path, random.Next(15) == 0 ? Pick((string[])["", "text/plain", "application/json; charset=x", "application/x-tar", "a/b/c"]) : "application/json", body is null ? null : Bytes(body), random.Next(10) == 0 ? Convert.ToBase64String(Bytes("""{"username":"a","password":"b","serveraddress":"localhost:1","identitytoken":"","registrytoken":""}""")) : null);
        }

        private static readonly string[] Texts =
        [
            "", " ", "0", "-1", "1", "true", "false", "null", "{}", "[]", "\0", "\n", "ÿ", "é", "\u202e", "a/b", "..", "../../etc/passwd", "/", "//", "a:b:c:d", "=", ",", ":", "-", "é=\0", "99999999999999999999", "-9223372036854775809",
            "1e400", "NaN", "0x10", "1.5", "$(id)", "%s%n", "{\"a\":", "[[[[", "sha256:zz", "\"", "\\", "SIGKILL", "KILL", "9", "65", "2020-01-01T00:00:00Z", "1d", "10m", "ctrl-@,ctrl-?", "container:runner", "host", "none",
        ];

        private string Name() => Uri.EscapeDataString(Text()).Replace("%2F", "/", StringComparison.Ordinal) is { Length: > 0 } name ? name : "x";

        private string Text() => random.Next(12) switch
        {
            0 => new string('a', random.Next(1, 40_000)),
            1 => new string('é', random.Next(1, 3_000)),
            2 => string.Concat(Enumerable.Range(0, random.Next(1, 40)).Select(_ => (char)random.Next(1, 0x2FF))),
            _ => Pick(Texts),
        };

        private string Value(string parameter) => parameter == "filters" && random.Next(4) > 0 ? Filters() : Text();

        private string Filters()
        {
            var names = (string[])["status", "label", "label!", "name", "id", "until", "since", "before", "dangling", "driver", "health", "exited", "ancestor", "publish", "expose", "network", "volume", "reference", "type", "event", "all", "nosuch"];
            var name = "{\"" + Pick(names) + "\":";
            return random.Next(4) switch
            {
                0 => name + Pick((string[])["null", "1", "\"x\"", "[1]", "{\"a\":1}", "{\"a\":null}", "[null]", "[[]]", "{}", "[]"]) + "}",
                1 => name + "[\"" + Pick((string[])["(", "[", "*", "\\\\", "a=b", "=", "^(a+)+$", "true", "-1", "é", "runner", "x"]) + "\"]}",
                _ => name + "{\"" + Pick((string[])["(", "a=b", "true", "0", "running", "99999999999999", "80/tcp", "80-90", "1h", "runner"]) + "\":true}}",
            };
        }

        private byte[] Bytes(string template)
        {
            if (template[0] != '{' || random.Next(25) == 0)
                return Encoding.UTF8.GetBytes(Text());
            var root = JsonNode.Parse(template)!;
            for (var n = random.Next(1, 4); n > 0; n--)
                Mutate(root);
            var bytes = Encoding.UTF8.GetBytes(root.ToJsonString());
            switch (random.Next(12))
            {
                case 0: // broken UTF-8, or broken JSON
                    bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
                    break;
                case 1:
                    bytes = bytes[..random.Next(bytes.Length)];
                    break;
                case 2: // deep
                    var depth = random.Next(10, 5_000);
                    bytes = Encoding.UTF8.GetBytes("{\"Image\":" + string.Concat(Enumerable.Repeat("[", depth)) + string.Concat(Enumerable.Repeat("]", depth)) + "}");
                    break;
            }
            return bytes;
        }

        // One member somewhere gets a value it should not have, or goes.
        private void Mutate(JsonNode root)
        {
            var places = new List<JsonNode>();
            Collect(root, places);
            switch (Pick(places))
            {
                case JsonObject o when o.Count > 0:
                    var key = Pick(o.Select(m => m.Key).ToList());
                    if (random.Next(6) == 0)
                        o.Remove(key);
                    else if (random.Next(8) == 0)
                        o[Text()] = Wrong();
                    else
                        o[key] = Wrong();
                    break;
                case JsonArray a:
                    if (a.Count == 0 || random.Next(4) == 0)
                        a.Add(Wrong());
                    else
                        a[random.Next(a.Count)] = Wrong();
                    break;
            }
        }

        private static void Collect(JsonNode? node, List<JsonNode> into)
        {
            if (node is JsonObject o)
            {
                into.Add(o);
                foreach (var (_, child) in o)
                    Collect(child, into);
            }
            else if (node is JsonArray a)
            {
                into.Add(a);
                foreach (var child in a)
                    Collect(child, into);
            }
        }

        private JsonNode? Wrong() => random.Next(9) switch
        {
            0 => null,
            1 => JsonNode.Parse(Pick((string[])["0", "-1", "1", "9223372036854775807", "-9223372036854775808", "18446744073709551615", "99999999999999999999", "1e400", "1.5", "-0.0", "2147483648", "65536"])),
            2 => random.Next(2) == 0,
            3 => new JsonArray(),
            4 => new JsonObject(),
            5 => new JsonArray(null, Text(), 1, new JsonObject()),
            6 => new JsonObject { [Pick((string[])["a", "", "Name", "/x", "80/tcp"])] = null },
            _ => Text(),
        };
    }
}
