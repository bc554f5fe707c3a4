using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;

namespace Berth.Testing;

/// <summary>Small images made in memory: layers, configuration, and the archives around them.</summary>
public sealed class TestImage
{
    private readonly List<byte[]> layers = [];

    /// <summary>Further members of the configuration, as JSON: <c>"os":"linux",…</c>.</summary>
    public string ConfigMembers { get; set; } = """ "architecture":"amd64","os":"linux","config":{"Cmd":["sh"]} """;

    /// <summary>The uncompressed layers, lowest first.</summary>
    public IReadOnlyList<byte[]> Layers => layers;

    public TestImage Layer(byte[] tar)
    {
        layers.Add(tar);
        return this;
    }

    public TestImage Layer(Action<TarBuilder> fill)
    {
        var tar = new TarBuilder();
        fill(tar);
        return Layer(tar.Build());
    }

    public byte[] Config => Encoding.UTF8.GetBytes(
        "{" + ConfigMembers + ",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[" + string.Join(',', layers.Select(l => $"\"{Digest(l)}\"")) + "]}}");

    public string Id => Digest(Config);

    public static string Digest(byte[] content) => "sha256:" + Convert.ToHexStringLower(SHA256.HashData(content));

    public static byte[] Gzip(byte[] content)
    {
        var compressed = new MemoryStream();
        using (var gzip = new GZipStream(compressed, CompressionLevel.Fastest, leaveOpen: true)) gzip.Write(content);
        return compressed.ToArray();
    }

    /// <summary>As docker save wrote it before OCI layouts.</summary>
    public byte[] DockerArchive(params string[] tags)
    {
        var tar = new TarBuilder();
        var names = new List<string>();
        foreach (var layer in layers)
        {
            var name = Digest(layer)[7..] + "/layer.tar";
            if (!names.Contains(name)) tar.File(name, layer);
            names.Add(name);
        }
        var config = Id[7..] + ".json";
        tar.File(config, Config);
        tar.File("manifest.json", $$"""
            [{"Config":"{{config}}","RepoTags":[{{string.Join(',', tags.Select(t => $"\"{t}\""))}}],"Layers":[{{string.Join(',', names.Select(n => $"\"{n}\""))}}]}]
            """);
        return tar.Build();
    }

    /// <summary>The manifest with its compressed layers, as a registry has them.</summary>
    public (byte[] Manifest, IReadOnlyList<byte[]> Blobs) Manifest(bool oci = true, Func<byte[], byte[]>? compress = null)
    {
        compress ??= Gzip;
        var blobs = layers.Select(compress).ToList();
        var config = Config;
        var (manifestType, configType, layerType) = oci
            ? ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip")
            : ("application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip");
        string Descriptor(string type, byte[] blob) => $$"""{"mediaType":"{{type}}","digest":"{{Digest(blob)}}","size":{{blob.Length}}}""";
        var manifest = "{\"schemaVersion\":2,\"mediaType\":\"" + manifestType + "\",\"config\":" + Descriptor(configType, config)
            + ",\"layers\":[" + string.Join(',', blobs.Select(b => Descriptor(layerType, b))) + "]}";
        return (Encoding.UTF8.GetBytes(manifest), [config, .. blobs]);
    }

    /// <summary>An OCI layout; the annotations are JSON members.</summary>
    public byte[] OciArchive(string annotations = "", Func<byte[], byte[]>? compress = null)
    {
        var (manifest, blobs) = Manifest(compress: compress);
        var tar = new TarBuilder();
        foreach (var blob in blobs.Append(manifest)) tar.File("blobs/sha256/" + Digest(blob)[7..], blob);
        tar.File("oci-layout", """{"imageLayoutVersion":"1.0.0"}""");
        tar.File("index.json", "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"" + Digest(manifest)
            + "\",\"size\":" + manifest.Length + ",\"annotations\":{" + annotations + "}}]}");
        return tar.Build();
    }

    /// <summary>An OCI layout of one name that stands for images for several platforms ("linux/amd64").</summary>
    public static byte[] OciArchive(string name, params (string Platform, TestImage Image)[] images)
    {
        var tar = new TarBuilder();
        var written = new HashSet<string>();
        var entries = new List<string>();
        foreach (var (platform, image) in images)
        {
            var (manifest, blobs) = image.Manifest();
            foreach (var blob in blobs.Append(manifest)) Blob(blob);
            var parts = platform.Split('/');
            entries.Add($$"""{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{{Digest(manifest)}}","size":{{manifest.Length}},"platform":{"architecture":"{{parts[1]}}","os":"{{parts[0]}}"} }""");
        }
        var index = Encoding.UTF8.GetBytes("""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[""" + string.Join(',', entries) + "]}");
        Blob(index);
        tar.File("oci-layout", """{"imageLayoutVersion":"1.0.0"}""");
        return tar.File("index.json", $$$"""
            {"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{{{Digest(index)}}}","size":{{{index.Length}}},"annotations":{"io.containerd.image.name":"{{{name}}}"} }]}
            """).Build();

        void Blob(byte[] blob)
        {
            if (written.Add(Digest(blob))) tar.File("blobs/sha256/" + Digest(blob)[7..], blob);
        }
    }
}
