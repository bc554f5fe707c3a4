using System.IO.Compression;
using System.Text;
using Berth.Testing;

namespace Berth.Bench;

/// <summary>
/// An image to pull, made once and kept in a registry's storage beneath artifacts/. Its files are of many sizes and kinds, as in images people use: text,
/// something like machine code, and what is compressed already; all of it is the same on every machine. It is there in several variants, so that each sample pulls
/// another one and nothing has to be removed meanwhile: ext4 does not use the inodes of deleted files again for a minute, and searches past each of
/// them for every new file, which would be most of what is measured.
/// </summary>
internal sealed record PullImage(string Path, int Variants, int Layers, int LayerBytes)
{
    /// <summary>Counted up when the content changes.</summary>
    private const int Version = 1;

    internal static readonly PullImage Large = new("bench/large", 5, 10, 100_000_000);

    internal static readonly PullImage ManyLayers = new("bench/layers", 7, 40, 500_000);

    internal string Name(int variant) => $"{Path}:{TagOf(variant)}";

    private static string TagOf(int variant) => $"v{Version}-{variant}";

    /// <summary>The directory a registry serves it from.</summary>
    internal async Task<string> StorageAsync()
    {
        var storage = System.IO.Path.Combine(Repository.Root, "artifacts", "bench", "registry");
        if (Directory.Exists(System.IO.Path.Combine(storage, "docker/registry/v2/repositories", Path, "_manifests/tags", TagOf(Variants - 1)))) return storage;
        using var registry = DockerRegistry.Start(storage) ?? throw new InvalidOperationException("the package docker-registry is needed");
        var random = new Random(7);
        var words = Words(random);
        var diffIds = new List<string>[Variants];
        var descriptors = new List<string>[Variants];
        for (var v = 0; v < Variants; v++) (diffIds[v], descriptors[v]) = ([], []);
        for (var i = 0; i < Layers; i++)
        {
            var tar = Layer(random, words, i);
            var compressed = Gzip(tar);
            for (var v = 0; v < Variants; v++)
            {
                // What makes it another layer comes first; gzip may be joined, and so may tars.
                var mark = new TarBuilder().File($"usr/variant{i}", $"{v}").Unfinished();
                byte[] blob = [.. Gzip(mark), .. compressed];
                await registry.PutBlobAsync(Path, blob);
                diffIds[v].Add($"\"{TestImage.Digest([.. mark, .. tar])}\"");
                descriptors[v].Add($$"""{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{{TestImage.Digest(blob)}}","size":{{blob.Length}}}""");
            }
        }
        for (var v = 0; v < Variants; v++)
        {
            var config = Encoding.UTF8.GetBytes($$$"""{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":[{{{string.Join(',', diffIds[v])}}}]}}""");
            await registry.PutBlobAsync(Path, config);
            await registry.PutManifestAsync(Path, TagOf(v), Encoding.UTF8.GetBytes($$"""
                {"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{{TestImage.Digest(config)}}","size":{{config.Length}}},"layers":[{{string.Join(',', descriptors[v])}}]}
                """), "application/vnd.oci.image.manifest.v1+json");
        }
        return storage;
    }

    /// <summary>A docker-archive of it, as from docker save before 25: made once and kept beneath artifacts/.</summary>
    internal async Task<string> ArchiveAsync(int variant)
    {
        var path = System.IO.Path.Combine(Repository.Root, "artifacts", "bench", $"{Path.Replace('/', '-')}-{TagOf(variant)}.tar");
        if (File.Exists(path)) return path;
        var random = new Random(7);
        var words = Words(random);
        var (diffIds, names) = (new List<string>(), new List<string>());
        await using (var archive = File.Create(path + ".tmp"))
        {
            for (var i = 0; i < Layers; i++)
            {
                byte[] layer = [.. new TarBuilder().File($"usr/variant{i}", $"{variant}").Unfinished(), .. Layer(random, words, i)];
                var digest = TestImage.Digest(layer);
                diffIds.Add($"\"{digest}\"");
                names.Add($"\"{digest[7..]}/layer.tar\"");
                await archive.WriteAsync(new TarBuilder().File($"{digest[7..]}/layer.tar", layer).Unfinished());
            }
            var config = $$$"""{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":[{{{string.Join(',', diffIds)}}}]}}""";
            await archive.WriteAsync(new TarBuilder().File("config.json", config)
                .File("manifest.json", $$"""[{"Config":"config.json","RepoTags":["{{Name(variant)}}"],"Layers":[{{string.Join(',', names)}}]}]""").Build());
        }
        File.Move(path + ".tmp", path);
        return path;
    }

    private static byte[] Gzip(byte[] content)
    {
        using var compressed = new MemoryStream();
        using (var gzip = new GZipStream(compressed, CompressionLevel.Optimal, leaveOpen: true)) gzip.Write(content);
        return compressed.ToArray();
    }

    private static string[] Words(Random random)
    {
        var words = new string[4000];
        for (var i = 0; i < words.Length; i++) words[i] = new string([.. Enumerable.Range(0, random.Next(2, 11)).Select(_ => "etaoinshrdlucmfwypvbgkjqxz_"[(int)(27 * Math.Pow(random.NextDouble(), 2))])]);
        return words;
    }

    private byte[] Layer(Random random, string[] words, int number)
    {
        var tar = new TarBuilder();
        var left = LayerBytes;
        for (var file = 0; left > 0; file++)
        {
            if (file % 40 == 0) tar.Directory($"usr/layer{number}/{file / 40}");
            // Most files are small, most bytes are in large ones: sizes from some hundred bytes to a twentieth of the layer.
            var size = Math.Min(left, (int)(300 * Math.Pow(LayerBytes / 6000.0, Math.Pow(random.NextDouble(), 2.2))));
            left -= size;
            tar.File($"usr/layer{number}/{file / 40}/file{file}", Content(random, words, size), mode: file % 7 == 0 ? 0x1EDu : 0x1A4u);
        }
        return tar.Build();
    }

    private static byte[] Content(Random random, string[] words, int size)
    {
        var content = new byte[size];
        switch (random.Next(10))
        {
            case < 4:
                for (var at = 0; at < size;)
                {
                    var word = words[(int)(words.Length * Math.Pow(random.NextDouble(), 3))];
                    for (var i = 0; i <= word.Length && at < size; i++) content[at++] = i < word.Length ? (byte)word[i] : random.Next(12) == 0 ? (byte)'\n' : (byte)' ';
                }
                break;
            case < 8:
                // Instructions: few opcodes, small operands, now and then an address; runs of padding.
                for (var at = 0; at < size; at++)
                    content[at] = (at & 7) switch { 0 => (byte)(0x40 + random.Next(16)), 1 or 2 => (byte)(random.Next(32) * random.Next(8)), 3 => (byte)random.Next(256), 7 => 0, _ => (byte)random.Next(4) };
                break;
            default:
                random.NextBytes(content);
                break;
        }
        return content;
    }
}
