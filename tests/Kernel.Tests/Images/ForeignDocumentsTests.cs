using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Berth.Images;
using Berth.Testing;

namespace Berth.Kernel.Tests.Images;

/// <summary>
/// Configurations, manifests and indexes that no honest program would write, each with a right digest, in archives and from a registry: they are refused as what they are, or become
/// images that can be shown, saved and removed. The seed is printed; BERTH_SEED repeats it, BERTH_FUZZ_REQUESTS makes it longer.
/// </summary>
public sealed class ForeignDocumentsTests(ITestOutputHelper output) : IDisposable
{
    private const int Rounds = 25; // each that becomes an image waits for the disk

    private readonly TestDirectory directory = new();

    public void Dispose() => directory.Dispose();

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    private static int Number(string variable, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out var given) ? given : otherwise;

    private (int Seed, Random Random) Begin()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");
        var seed = Number("BERTH_SEED", Random.Shared.Next());
        output.WriteLine($"BERTH_SEED={seed}");
        return (seed, new Random(seed));
    }

    [Fact]
    public async Task In_an_archive()
    {
        var (seed, random) = Begin();
        using var store = ImageStore.Open(directory["store"], new ImageStoreOptions { OnEvent = _ => { } });
        var fuzz = new Documents(random);
        for (var round = 0; round < Number("BERTH_FUZZ_REQUESTS", Rounds); round++)
        {
            var archive = random.Next(5) switch { 0 => fuzz.LegacyArchive(), 1 or 2 => fuzz.DockerArchive(), _ => fuzz.OciArchive() };
            if (random.Next(10) == 0) archive = archive[..random.Next(archive.Length)];
            if (random.Next(10) == 0) archive[random.Next(archive.Length)] ^= (byte)(1 << random.Next(8));
            var platform = random.Next(4) == 0 ? new Platform("linux", "arm64") : (Platform?)null;
            await OnlyRefusedAsync(seed, round, () => store.LoadAsync(new MemoryStream(archive), platform, quiet: random.Next(2) == 0, _ => { }, Cancelled));
            await UseAsync(store, seed, round);
        }
        await NothingLeftAsync(store);
    }

    [Fact]
    public async Task From_a_registry()
    {
        var (seed, random) = Begin();
        using var store = ImageStore.Open(directory["store"], new ImageStoreOptions { RetryUnit = TimeSpan.FromMilliseconds(1), MaxDownloadAttempts = 2 });
        using var registry = new FakeRegistry();
        for (var round = 0; round < Number("BERTH_FUZZ_REQUESTS", Rounds); round++)
        {
            var (top, type, blobs) = new Documents(random).Manifests();
            foreach (var old in registry.Answers.Keys.Where(k => k.StartsWith("/v2/app", StringComparison.Ordinal)).ToList()) registry.Answers.Remove(old);
            registry.Answers["/v2/app/manifests/1"] = _ => new(200, top, Headers: ("Content-Type", type));
            foreach (var blob in blobs)
            {
                var digest = TestImage.Digest(blob);
                registry.Serve($"/v2/app/blobs/{digest}", blob);
                registry.Serve($"/v2/app/manifests/{digest}", blob);
            }
            var name = ImageReference.Parse($"{registry.Host}/app:1");
            await OnlyRefusedAsync(seed, round, () => store.InspectRemoteAsync(name, null, Cancelled));
            await OnlyRefusedAsync(seed, round, () => store.PullAsync(name, random.Next(4) == 0 ? new Platform("linux", "arm64") : (Platform?)null, null, _ => { }, Cancelled));
            await UseAsync(store, seed, round);
        }
        store.RemoveUnfinished();
        await NothingLeftAsync(store);
    }

    private static async Task OnlyRefusedAsync(int seed, int round, Func<Task> action)
    {
        try
        {
            await action();
        }
        catch (ImageException)
        {
        }
        catch (Exception e)
        {
            throw new TestException($"BERTH_SEED={seed}, round {round}: {e}");
        }
    }

    // What came of it is an image like any other.
    private static async Task UseAsync(ImageStore store, int seed, int round)
    {
        await OnlyRefusedAsync(seed, round, () =>
        {
            store.List(new ImageFilters { SharedSize = true, Label = ["a"] });
            return Task.CompletedTask;
        });
        foreach (var image in store.All)
        {
            var id = image.Id.ToString();
            await OnlyRefusedAsync(seed, round, () => Task.FromResult(store.History(id)));
            await OnlyRefusedAsync(seed, round, () => Task.FromResult(store.Manifests(image.Id, null, out _)));
            await OnlyRefusedAsync(seed, round, () => Task.FromResult(store.Get(id, new Platform("linux", "arm64"))));
            await OnlyRefusedAsync(seed, round, async () =>
            {
                using var archive = store.OpenArchive([image.RepoTags.Count > 0 ? image.RepoTags[0] : id], null);
                await archive.CopyToAsync(Stream.Null, Cancelled);
            });
        }
        foreach (var image in store.All)
            if (store.TryGet(image.Id, out _)) store.Remove(image.Id.ToString(), force: true, prune: true, () => []);
    }

    private async Task NothingLeftAsync(ImageStore store)
    {
        await store.Discarding;
        Assert.Empty(store.All);
        foreach (var place in (string[])["tmp", "layers", "blobs/sha256"]) Assert.Empty(Directory.EnumerateFileSystemEntries(directory["store/images/" + place]));
    }

    /// <summary>An image's documents with something wrong in some of them, and digests that are right even so.</summary>
    private sealed class Documents(Random random)
    {
        private static readonly byte[] Layer = new TarBuilder().Directory("etc").File("etc/file", "content").Build();

        private static readonly string[] Texts =
        [
            "", " ", "0", "..", "../../etc/passwd", "/", "a/b", "latest", "UPPER", "sha256:zz", "sha256:" + new string('0', 64), "sha512:" + new string('1', 128), "md5:" + new string('0', 32), "\0", "é", new string('a', 5000),
            "linux", "windows", "amd64", "arm64", "2020-01-01T00:00:00Z", "9999-99-99", "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.oci.image.index.v1+json", "https://example.invalid/x",
        ];

        public byte[] DockerArchive()
        {
            var config = Spoil(Config());
            var manifest = Spoil(Encoding.UTF8.GetBytes("""[{"Config":"config.json","RepoTags":["fuzz:1","fuzz:2"],"Layers":["one/layer.tar"],"Parent":""}]"""));
            return new TarBuilder().File("config.json", config).File("one/layer.tar", Layer).File("manifest.json", manifest).File("repositories", Spoil("""{"fuzz":{"1":"one"}}"""u8.ToArray())).Build();
        }

        public byte[] LegacyArchive() => new TarBuilder().File("repositories", Spoil("""{"fuzz":{"1":"two"}}"""u8.ToArray()))
            .File("one/json", Spoil("""{"id":"one","created":"2020-01-01T00:00:00Z","container_config":{"Cmd":["a","b"]},"comment":"c","author":"a","os":"linux","architecture":"amd64"}"""u8.ToArray())).File("one/layer.tar", Layer)
            .File("two/json", Spoil("""{"id":"two","parent":"one","created":"2020-01-01T00:00:00Z","container_config":{"Cmd":["a","b"]},"config":{"Cmd":["sh"]},"os":"linux","architecture":"amd64"}"""u8.ToArray())).File("two/layer.tar", Layer).Build();

        public byte[] OciArchive()
        {
            var (top, type, blobs) = Manifests();
            var tar = new TarBuilder();
            foreach (var blob in blobs.Append(top)) tar.File("blobs/sha256/" + TestImage.Digest(blob)[7..], blob);
            var index = Encoding.UTF8.GetBytes("{\"schemaVersion\":2,\"manifests\":[" + Descriptor(type, top, ",\"annotations\":{\"io.containerd.image.name\":\"docker.io/library/fuzz:1\",\"org.opencontainers.image.ref.name\":\"1\"}") + "]}");
            return tar.File("index.json", Spoil(index)).File("oci-layout", Spoil("""{"imageLayoutVersion":"1.0.0"}"""u8.ToArray())).Build();
        }

        public (byte[] Top, string Type, List<byte[]> Blobs) Manifests()
        {
            var config = Spoil(Config());
            var layer = random.Next(2) == 0 ? Layer : TestImage.Gzip(Layer);
            var manifest = Spoil(Encoding.UTF8.GetBytes("{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":" + Descriptor("application/vnd.oci.image.config.v1+json", config)
                + ",\"layers\":[" + Descriptor(layer == Layer ? "application/vnd.oci.image.layer.v1.tar" : "application/vnd.oci.image.layer.v1.tar+gzip", layer) + "]}"));
            List<byte[]> blobs = [config, layer];
            if (random.Next(2) == 0) return (manifest, "application/vnd.oci.image.manifest.v1+json", blobs);
            blobs.Add(manifest);
            var index = Encoding.UTF8.GetBytes("{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":["
                + Descriptor("application/vnd.oci.image.manifest.v1+json", manifest, ",\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"}") + "," + Descriptor("application/vnd.oci.image.manifest.v1+json", manifest,
                ",\"platform\":{\"architecture\":\"arm64\",\"os\":\"linux\",\"variant\":\"v8\"},\"annotations\":{\"vnd.docker.reference.type\":\"attestation-manifest\",\"vnd.docker.reference.digest\":\"sha256:0\"}") + "]}");
            return (Spoil(index), "application/vnd.oci.image.index.v1+json", blobs);
        }

        private static byte[] Config() => Encoding.UTF8.GetBytes($$"""
            {"architecture":"amd64","os":"linux","variant":"v1","created":"2020-01-01T00:00:00Z","author":"a","config":{"Cmd":["sh"],"Env":["A=1"],"Labels":{"a":"b"},"ExposedPorts":{"80/tcp":{} },"Volumes":{"/v":{} },"Healthcheck":{"Test":["NONE"],"Interval":1} },
             "history":[{"created":"2020-01-01T00:00:00Z","created_by":"x","empty_layer":true},{"created_by":"y"}],"rootfs":{"type":"layers","diff_ids":["{{TestImage.Digest(Layer)}}"]} }
            """);

        private static string Descriptor(string type, byte[] blob, string more = "") => $"{{\"mediaType\":\"{type}\",\"digest\":\"{TestImage.Digest(blob)}\",\"size\":{blob.Length}{more}}}";

        private byte[] Spoil(byte[] document)
        {
            if (random.Next(3) > 0) return document;
            if (random.Next(12) == 0) return [.. document.AsSpan(0, random.Next(document.Length))];
            var root = JsonNode.Parse(document)!;
            for (var n = random.Next(1, 3); n > 0; n--)
            {
                var nodes = new List<JsonNode>();
                Collect(root, nodes);
                switch (nodes[random.Next(nodes.Count)])
                {
                    case JsonObject { Count: > 0 } members:
                        var name = members.ElementAt(random.Next(members.Count)).Key;
                        if (random.Next(4) == 0) members.Remove(name);
                        else members[name] = Value();
                        break;
                    case JsonArray { Count: > 0 } items:
                        var at = random.Next(items.Count);
                        switch (random.Next(4))
                        {
                            case 0: items.RemoveAt(at); break;
                            case 1: items.Add(items[at]?.DeepClone()); break;
                            default: items[at] = Value(); break;
                        }
                        break;
                }
            }
            return Encoding.UTF8.GetBytes(root.ToJsonString());
        }

        private static void Collect(JsonNode node, List<JsonNode> into)
        {
            if (node is JsonObject or JsonArray) into.Add(node);
            if (node is JsonObject members)
            {
                foreach (var (_, value) in members)
                    if (value is not null) Collect(value, into);
            }
            else if (node is JsonArray items)
            {
                foreach (var item in items)
                    if (item is not null) Collect(item, into);
            }
        }

        private JsonNode? Value() => random.Next(9) switch
        {
            0 => null,
            1 => JsonValue.Create(random.Next(-2, 5)),
            2 => JsonValue.Create(long.MaxValue),
            3 => JsonValue.Create(1.5),
            4 => new JsonObject(),
            5 => new JsonArray(),
            6 => JsonValue.Create(true),
            _ => JsonValue.Create(Texts[random.Next(Texts.Length)]),
        };
    }
}
