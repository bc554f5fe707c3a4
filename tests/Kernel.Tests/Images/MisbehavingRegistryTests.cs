using System.IO.Compression;
using System.Text;
using Berth.Images;
using Berth.Images.Registry;
using Berth.Images.Storage;
using Berth.Testing;

namespace Berth.Kernel.Tests.Images;

/// <summary>Registries that break off, lie, stall, flood and refuse; and the pulls that go on regardless, or say what is wrong.</summary>
public sealed class MisbehavingRegistryTests : IDisposable
{
    private readonly TestDirectory directory = new();
    private readonly FakeRegistry registry = new();
    private ImageStore store;

    private readonly ImageStoreOptions options = new()
    {
        RetryUnit = TimeSpan.FromMilliseconds(1), UnsuspectedLayerBytes = 1 << 20,
    };

    public MisbehavingRegistryTests()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        store = ImageStore.Open(directory.Path, options);
    }

    public void Dispose()
    {
        store.Dispose();
        registry.Dispose();
        directory.Dispose();
    }

    private static readonly byte[] Noise = Random(5_200_000, 1);

    private static byte[] Random(int count, int seed)
    {
        var bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    private static TestImage Small => new TestImage().Layer(t => t.File("base", "base")).Layer(t => t.File("marker", "one"));

    /// <summary>Of one layer, larger than what is worth a file of its own.</summary>
    private static TestImage Large { get; } = new TestImage().Layer(t => t.File("big", Noise));

    private static string PathOf(byte[] blob) => $"/v2/app/blobs/{TestImage.Digest(blob)}";

    private string Name => $"{registry.Host}/app:1";

    private async Task<List<string>> Pull(string? name = null, RegistryCredentials? credentials = null)
    {
        var lines = new List<string>();
        await store.PullAsync(ImageReference.Parse(name ?? Name), null, credentials, p => lines.Add(p.Id is null ? p.Status! : $"{p.Id}: {p.Status}"), TestContext.Current.CancellationToken);
        return lines;
    }

    private async Task<string> PullError(string? name = null, RegistryCredentials? credentials = null)
    {
        var error = await Assert.ThrowsAsync<ImageException>(() => Pull(name, credentials));
        await store.Discarding;
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["images/tmp"]));
        return error.Message;
    }

    private void Reopen(ImageStoreOptions? with = null)
    {
        store.Dispose();
        store = ImageStore.Open(directory.Path, with ?? options);
    }

    private void AssertWhole() => Assert.Equal(Noise, File.ReadAllBytes(Path.Combine(store.Get(Name).LayerDirectories[0], "big")));

    private string[] Partial => [.. Directory.EnumerateFiles(directory["images/partial"]).Select(p => Path.GetFileName(p)!).Order(StringComparer.Ordinal)];

    // ---- connections

    [Fact]
    public async Task Connections_cut_at_random_places_cost_no_byte_twice()
    {
        Reopen(options with { MaxDownloadAttempts = 1000, RetryUnit = TimeSpan.Zero });
        var seed = Environment.TickCount;
        var random = new Random(seed);
        registry.Serve("app", "1", Large);
        var blob = Large.Manifest().Blobs[1];
        registry.ServeRanges(PathOf(blob), blob, () => random.Next(0, 1_000_000));
        await Pull();
        AssertWhole();
        Assert.True(registry.Requests.Count(r => r.Path == PathOf(blob)) > 3, $"seed {seed}");
        // What was on its way when the connection broke may be lost to a receiver that had not read it yet.
        Assert.True(registry.Sent[PathOf(blob)] <= blob.Length * 2L, $"seed {seed}: {registry.Sent[PathOf(blob)]} of {blob.Length}");
    }

    [Theory]
    [InlineData("416")]
    [InlineData("elsewhere")]
    [InlineData("another length")]
    public async Task A_range_that_is_refused_or_answered_wrongly_is_fetched_from_the_start(string wrong)
    {
        registry.Serve("app", "1", Large);
        var blob = Large.Manifest().Blobs[1];
        var tries = 0;
        registry.Answers[PathOf(blob)] = request =>
        {
            if (tries++ == 0) return new FakeRegistry.Answer(200, blob, 5_000_000);
            if (!request.Headers.ContainsKey("Range")) return new FakeRegistry.Answer(200, blob);
            return wrong switch
            {
                "416" => FakeRegistry.Answer.Error(416, "RANGE_INVALID", "no"),
                "elsewhere" => new FakeRegistry.Answer(206, blob[^100..], null, ("Content-Range", $"bytes {blob.Length - 100}-{blob.Length - 1}/{blob.Length}")),
                _ => new FakeRegistry.Answer(206, blob[1..], null, ("Content-Range", $"bytes 1-{blob.Length - 1}/{blob.Length + 1}")),
            };
        };
        await Pull();
        AssertWhole();
        Assert.Equal(3, tries);
    }

    [Fact]
    public async Task A_blob_that_changes_between_two_connections_is_fetched_in_one_piece()
    {
        registry.Serve("app", "1", Large);
        var blob = Large.Manifest().Blobs[1];
        var tries = 0;
        registry.Answers[PathOf(blob)] = request => tries++ == 0 ? new FakeRegistry.Answer(200, Random(blob.Length, 2), 5_000_000)
            : request.Headers.TryGetValue("Range", out var range) && int.Parse(range["bytes=".Length..^1]) is var from
                ? new FakeRegistry.Answer(206, blob[from..], null, ("Content-Range", $"bytes {from}-{blob.Length - 1}/{blob.Length}")) : new FakeRegistry.Answer(200, blob);
        await Pull();
        AssertWhole();
        Assert.Equal(3, tries);
        Assert.Empty(Partial);
    }

    [Fact]
    public async Task A_server_that_sends_a_byte_now_and_then_is_given_up()
    {
        Reopen(options with { StallTimeout = TimeSpan.FromMilliseconds(300) });
        registry.Answers["/v2/app/manifests/1"] = _ => new FakeRegistry.Answer(200, []) { ClaimedLength = 1000, Writer = s => Drip(s, new byte[1000]) };
        Assert.Equal("manifest 1: unexpected EOF", await PullError());

        registry.Serve("app", "1", Small);
        var blob = Small.Manifest().Blobs[1];
        var tries = 0;
        registry.Answers[PathOf(blob)] = _ => new FakeRegistry.Answer(200, blob) { Writer = tries++ == 0 ? s => Drip(s, blob) : null };
        await Pull();
        Assert.InRange(tries, 2, 5); // a busy machine may be as slow as the drip

        // Until the client has had enough.
        static void Drip(Stream stream, byte[] content)
        {
            foreach (var one in content)
            {
                stream.WriteByte(one);
                Thread.Sleep(20);
            }
        }
    }

    // ---- lies

    [Theory]
    [InlineData(-1)]
    [InlineData(1)]
    public async Task A_blob_of_another_length_than_the_manifest_says_is_refused_at_once(int difference)
    {
        registry.Serve("app", "1", Small);
        var blob = Small.Manifest().Blobs[1];
        var tries = 0;
        registry.Answers[PathOf(blob)] = _ =>
        {
            tries++;
            return new FakeRegistry.Answer(200, difference > 0 ? [.. blob, 0] : blob[..^1]);
        };
        Assert.Equal($"filesystem layer verification failed for digest {TestImage.Digest(blob)}", await PullError());
        Assert.Equal(1, tries);
    }

    [Fact]
    public async Task A_bomb_is_not_unpacked()
    {
        var image = new TestImage().Layer(t => t.File("zeros", new byte[16 << 20]));
        var (manifest, blobs) = image.Manifest(compress: tar =>
        {
            using var compressed = new MemoryStream();
            using (var gzip = new GZipStream(compressed, CompressionLevel.SmallestSize, leaveOpen: true)) gzip.Write(tar);
            return compressed.ToArray();
        });
        registry.Serve("/v2/app/manifests/1", manifest);
        foreach (var blob in blobs) registry.Serve(PathOf(blob), blob);
        Assert.Equal($"failed to register layer: the layer unpacks to more than 200 times its size and more than {1 << 20} bytes", await PullError());
    }

    [Fact]
    public async Task A_manifest_without_end_is_not_read_to_its_end()
    {
        registry.Answers["/v2/app/manifests/1"] = _ => new FakeRegistry.Answer(200, [])
        {
            ClaimedLength = -1,
            Writer = stream =>
            {
                var spaces = new byte[65536];
                spaces.AsSpan().Fill((byte)' ');
                while (true) stream.Write(spaces);
            },
        };
        Assert.Equal($"manifest 1 is larger than {Manifest.MaxBytes} bytes", await PullError());
    }

    [Fact]
    public async Task What_a_manifest_is_is_judged_by_itself_and_not_by_its_content_type()
    {
        registry.Serve("app", "1", Small);
        registry.Answers["/v2/app/manifests/1"] = _ => new FakeRegistry.Answer(200, Small.Manifest().Manifest, null, ("Content-Type", "text/html"));
        await Pull();
        registry.Answers["/v2/app/manifests/2"] = _ => new FakeRegistry.Answer(200, "<html>Please log in to the network</html>"u8.ToArray(), null, ("Content-Type", MediaTypes.OciManifest));
        Assert.StartsWith("the manifest is not valid JSON: ", await PullError($"{registry.Host}/app:2"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Schema_1_and_foreign_layers_are_told_apart_from_what_is_missing()
    {
        registry.Serve("/v2/app/manifests/old", """{"schemaVersion":1,"name":"app","fsLayers":[]}"""u8.ToArray());
        Assert.Equal($"Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the author of {registry.Host}/app:old to upgrade the image to the OCI Format or " +
            "Docker Image manifest v2, schema 2. More information at https://docs.docker.com/go/deprecated-image-specs/", await PullError($"{registry.Host}/app:old"));

        registry.Serve("app", "1", Small);
        var (manifest, blobs) = Small.Manifest();
        registry.Serve("/v2/app/manifests/1", Encoding.UTF8.GetBytes(Encoding.UTF8.GetString(manifest).Replace($"\"digest\":\"{TestImage.Digest(blobs[1])}\"", $"\"urls\":[\"https://elsewhere.example/layer\"],\"digest\":\"{TestImage.Digest(blobs[1])}\"")));
        registry.Answers.Remove(PathOf(blobs[1]));
        Assert.Equal($"layer {TestImage.Digest(blobs[1])} is a foreign layer that {registry.Host} does not have; the image says that it is at \"https://elsewhere.example/layer\", from where this engine does not fetch", await PullError());
    }

    // ---- patience

    [Theory]
    [InlineData(429, "1")]
    [InlineData(503, "0")]
    [InlineData(500, null)]
    [InlineData(502, "Wed, 21 Oct 2015 07:28:00 GMT")]
    public async Task A_busy_registry_is_asked_again_after_the_time_it_names(int status, string? retryAfter)
    {
        registry.Serve("app", "1", Small);
        foreach (var (path, answer) in registry.Answers.ToList())
        {
            var tries = 0;
            if (path != "/v2/") registry.Answers[path] = request => Interlocked.Increment(ref tries) < 3 ? new FakeRegistry.Answer(status, [], null, retryAfter is null ? [] : [("Retry-After", retryAfter)]) : answer(request);
        }
        await Pull();
        Assert.Single(store.All);
    }

    [Fact]
    public async Task A_registry_that_is_always_busy_or_wants_to_be_left_alone_is_not_asked_for_ever()
    {
        registry.Answers["/v2/app/manifests/1"] = _ => FakeRegistry.Answer.Error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.");
        Assert.Equal("toomanyrequests: You have reached your pull rate limit.", await PullError());
        Assert.Equal(RegistryClient.MaxBusyAttempts, registry.Requests.Count(r => r.Path == "/v2/app/manifests/1"));

        registry.Answers["/v2/app/manifests/2"] = _ => FakeRegistry.Answer.Error(429, "TOOMANYREQUESTS", "Tomorrow.") with { Headers = [("Retry-After", "86400")] };
        Assert.Equal("toomanyrequests: Tomorrow.", await PullError($"{registry.Host}/app:2"));
        Assert.Single(registry.Requests, r => r.Path == "/v2/app/manifests/2");
    }

    // ---- who is there

    private void AskForTokens(Func<FakeRegistry.Request, FakeRegistry.Answer> tokens, Func<string, bool> isGood, string error = "")
    {
        foreach (var (path, answer) in registry.Answers.ToList())
            registry.Answers[path] = request => request.Headers.GetValueOrDefault("Authorization") is { } sent && sent.StartsWith("Bearer ", StringComparison.Ordinal) && isGood(sent["Bearer ".Length..]) ? answer(request)
                : new FakeRegistry.Answer(401, "{}"u8.ToArray(), null, ("WWW-Authenticate", $"Bearer realm=\"http://{registry.Host}/token\",service=\"here\",scope=\"repository:other:pull\"{error}"));
        registry.Answers["/token"] = tokens;
    }

    [Fact]
    public async Task A_token_that_expires_during_the_pull_is_replaced()
    {
        registry.Serve("app", "1", Small);
        var (given, used) = (0, 0);
        // Good for two requests.
        AskForTokens(_ => FakeRegistry.Answer.Ok(Encoding.UTF8.GetBytes($"{{\"token\":\"t{++given}\"}}")), token =>
        {
            if (token != $"t{given}" || used++ < 2) return token == $"t{given}";
            used = 0;
            given++; // no token has this name: the next one asked for has
            return false;
        }, ",error=\"invalid_token\"");
        await Pull();
        Assert.Single(store.All);
        Assert.True(given > 1);
    }

    [Fact]
    public async Task An_identity_token_is_exchanged_by_oauth2_and_a_registry_token_is_sent_as_it_is()
    {
        registry.Serve("app", "1", Small);
        AskForTokens(request => request.Method == "POST" ? FakeRegistry.Answer.Ok("{\"access_token\":\"good\"}"u8.ToArray()) : FakeRegistry.Answer.Error(400, "BAD", "bad"), token => token == "good");
        await Pull(credentials: new RegistryCredentials("", "", "identity", null));
        Assert.Equal("POST", registry.Requests.Single(r => r.Path == "/token").Method);

        store.Remove(Name, true, true, () => []);
        await Pull(credentials: new RegistryCredentials("", "", null, "good"));
        Assert.Single(registry.Requests, r => r.Path == "/token");
        await PullError(credentials: new RegistryCredentials("", "", null, "bad"));
    }

    // ---- mirrors

    private ImageStoreOptions WithMirror(FakeRegistry mirror, string capabilities = "\"pull\", \"resolve\"")
    {
        Directory.CreateDirectory(directory[$"certs.d/{registry.Host}"]);
        File.WriteAllText(directory[$"certs.d/{registry.Host}/hosts.toml"], $"[host.\"http://{mirror.Host}\"]\ncapabilities = [{capabilities}]\n[host.\"http://{mirror.Host}\".header]\nx-from = \"us\"\n");
        return options with { Registries = new RegistrySettings { HostDirectories = [directory["certs.d"]] } };
    }

    [Fact]
    public async Task What_a_mirror_has_the_registry_is_not_asked_for()
    {
        using var mirror = new FakeRegistry();
        mirror.Serve("app", "1", Small);
        Reopen(WithMirror(mirror));
        await Pull(credentials: new RegistryCredentials("user", "pass", null, null));
        Assert.Single(store.All);
        Assert.Empty(registry.Requests);
        Assert.All(mirror.Requests.Where(r => r.Path != "/v2/"), r => Assert.EndsWith($"?ns={Uri.EscapeDataString(registry.Host)}", r.Path, StringComparison.Ordinal));
        Assert.All(mirror.Requests, r => Assert.Equal((false, "us"), (r.Headers.ContainsKey("Authorization"), r.Headers["x-from"])));
        Assert.Equal([Name], store.All[0].RepoTags);
    }

    [Theory]
    [InlineData("gone")]
    [InlineData("empty")]
    [InlineData("busy")]
    [InlineData("wants a password")]
    [InlineData("has another content")]
    [InlineData("breaks off")]
    public async Task Whatever_a_mirror_does_the_registry_is_asked_next(string how)
    {
        using var mirror = new FakeRegistry();
        registry.Serve("app", "1", Small);
        var blob = Small.Manifest().Blobs[2];
        if (how is "has another content" or "breaks off")
        {
            mirror.Serve("app", "1", Small);
            mirror.Answers[PathOf(blob)] = _ => how == "breaks off" ? new FakeRegistry.Answer(200, blob, 10) : new FakeRegistry.Answer(200, [.. blob[..^1], (byte)(blob[^1] ^ 1)]);
        }
        else if (how == "busy") mirror.Answers["/v2/app/manifests/1"] = _ => new FakeRegistry.Answer(503, []);
        else if (how == "wants a password") mirror.Answers["/v2/app/manifests/1"] = _ => new FakeRegistry.Answer(401, [], null, ("WWW-Authenticate", "Basic realm=\"x\""));
        Reopen(WithMirror(mirror));
        if (how == "gone") mirror.Dispose();
        await Pull(credentials: new RegistryCredentials("user", "pass", null, null));
        Assert.Single(store.All);
        Assert.Contains(registry.Requests, r => r.Path == PathOf(blob));
        Assert.InRange(mirror.Requests.Count(r => r.Path.StartsWith("/v2/app/manifests/", StringComparison.Ordinal)), 0, 1);
    }

    [Fact]
    public async Task A_mirror_that_may_only_be_pulled_from_is_not_asked_what_a_tag_means()
    {
        using var mirror = new FakeRegistry();
        mirror.Serve("app", TestImage.Digest(Small.Manifest().Manifest), Small);
        mirror.Serve("app", "1", Large);
        registry.Serve("app", "1", Small);
        Reopen(WithMirror(mirror, "\"pull\""));
        await Pull();
        Assert.Equal(Small.Id, Assert.Single(store.All).Id.ToString());
        Assert.Equal([Name], store.All[0].RepoTags);
        Assert.DoesNotContain(registry.Requests, r => r.Path.Contains("/blobs/", StringComparison.Ordinal));
    }

    // ---- pulls that did not end

    [Fact]
    public async Task Layers_that_were_whole_are_not_fetched_again_after_a_restart()
    {
        registry.Serve("app", "1", Small);
        var blobs = Small.Manifest().Blobs;
        var first = new TaskCompletionSource();
        registry.Answers[PathOf(blobs[2])] = _ =>
        {
            first.Task.Wait(TestContext.Current.CancellationToken);
            return FakeRegistry.Answer.Error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        var pull = store.PullAsync(ImageReference.Parse(Name), null, null, p =>
        {
            if (p.Status == "Pull complete") first.TrySetResult();
        }, TestContext.Current.CancellationToken);
        await Assert.ThrowsAsync<ImageException>(() => pull);
        Assert.Empty(store.All);

        Reopen();
        await store.Discarding;
        registry.Serve("app", "1", Small);
        Assert.Contains($"{TestImage.Digest(blobs[1])[7..19]}: Already exists", await Pull());
        Assert.Single(registry.Requests, r => r.Path == PathOf(blobs[1]));
        Assert.Empty(Partial);

        // From now on the layer is the image's, and goes with it.
        store.Remove(Name, true, true, () => []);
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["images/layers"]));
    }

    [Fact]
    public async Task A_large_layer_goes_on_at_the_byte_where_it_stopped_after_a_restart()
    {
        Reopen(options with { MaxDownloadAttempts = 1 });
        registry.Serve("app", "1", Large);
        var blob = Large.Manifest().Blobs[1];
        registry.ServeRanges(PathOf(blob), blob, () => 5_000_000);
        await PullError();
        Assert.Equal([$"sha256-{TestImage.Digest(blob)[7..]}"], Partial);
        var had = new FileInfo(Path.Combine(directory["images/partial"], Partial[0])).Length;
        Assert.InRange(had, 4_000_000, 5_000_000);

        Reopen();
        registry.ServeRanges(PathOf(blob), blob);
        await Pull();
        AssertWhole();
        Assert.Equal($"bytes={had}-", registry.Requests[^1].Headers["Range"]);
        Assert.Empty(Partial);
    }

    [Fact]
    public async Task What_was_put_aside_is_not_believed()
    {
        registry.Serve("app", "1", Large);
        var blob = Large.Manifest().Blobs[1];
        registry.ServeRanges(PathOf(blob), blob);
        foreach (var content in (byte[][])[Random(5_000_000, 3), new byte[blob.Length], new byte[blob.Length + 1]])
        {
            File.WriteAllBytes(directory[$"images/partial/sha256-{TestImage.Digest(blob)[7..]}"], content);
            await Pull();
            AssertWhole();
            Assert.Empty(Partial);
            store.Remove(Name, true, true, () => []);
        }
    }

    [Fact]
    public async Task A_disk_with_room_for_the_layer_alone_is_large_enough_and_a_full_one_is_not_kept_full()
    {
        var small = directory["small-disk"];
        Directory.CreateDirectory(small);
        await new Command("mount", ["-t", "tmpfs", "-o", "size=8m", "none", small]);
        try
        {
            using var tight = ImageStore.Open(small, options);
            registry.Serve("app", "1", Large);
            await tight.PullAsync(ImageReference.Parse(Name), null, null, _ => { }, TestContext.Current.CancellationToken);
            Assert.Single(tight.All);
            tight.Remove(Name, true, true, () => []);
            await tight.Discarding;

            registry.Serve("app", "1", new TestImage().Layer(t => t.File("small", "small")).Layer(t => t.File("big", Noise).File("more", Noise)));
            var error = await Assert.ThrowsAsync<ImageException>(() => tight.PullAsync(ImageReference.Parse(Name), null, null, _ => { }, TestContext.Current.CancellationToken));
            Assert.Contains("no space left on device", error.Message, StringComparison.Ordinal);
            await tight.Discarding;
            Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(small, "images/partial")));
            Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(small, "images/layers")));
        }
        finally
        {
            await new Command("umount", ["-l", small]);
        }
    }

    [Fact]
    public async Task What_unfinished_pulls_have_left_goes_by_prune_by_age_and_with_the_boot()
    {
        async Task Leave()
        {
            var image = new TestImage().Layer(t => t.File("small", "small")).Layer(t => t.File("big", Noise));
            registry.Serve("app", "1", image);
            var blobs = image.Manifest().Blobs;
            var first = new TaskCompletionSource();
            registry.Answers[PathOf(blobs[2])] = _ =>
            {
                first.Task.Wait(TestContext.Current.CancellationToken);
                return new FakeRegistry.Answer(200, blobs[2], 5_000_000);
            };
            await Assert.ThrowsAsync<ImageException>(() => store.PullAsync(ImageReference.Parse(Name), null, null, p =>
            {
                if (p.Status == "Pull complete") first.TrySetResult();
            }, TestContext.Current.CancellationToken));
            Assert.Equal(2, Partial.Length);
            Assert.Single(Directory.EnumerateDirectories(directory["images/layers"]));
        }
        async Task AssertNothing()
        {
            await store.Discarding;
            Assert.Empty(Partial);
            Assert.Empty(Directory.EnumerateFileSystemEntries(directory["images/layers"]));
        }
        Reopen(options with { MaxDownloadAttempts = 1 });
        await Leave();
        Assert.InRange(store.RemoveUnfinished(), 4_000_000, 5_000_005);
        await AssertNothing();

        await Leave();
        foreach (var file in Directory.EnumerateFiles(directory["images/partial"])) File.SetLastWriteTimeUtc(file, DateTime.UtcNow - UnfinishedPulls.MaxAge - TimeSpan.FromMinutes(1));
        Reopen(options with { MaxDownloadAttempts = 1 });
        await AssertNothing();

        // Of another boot: the layer's files may never have reached the disk. The blob is checked anyway.
        await Leave();
        File.WriteAllText(Path.Combine(directory["images/partial"], Partial.Single(p => p.StartsWith("layer-", StringComparison.Ordinal))), "another boot");
        Reopen();
        await store.Discarding;
        Assert.StartsWith("sha256-", Assert.Single(Partial), StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(directory["images/layers"]));
    }
}
