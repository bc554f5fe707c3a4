using System.Text;
using Berth.Builder;
using Berth.Images;
using Berth.Linux.Abi;

namespace Berth.Fast.Tests.Builder;

public class ExportsTests
{
    [Fact]
    public void Annotations_go_where_their_names_say()
    {
        var annotations = ImageAnnotations.Of(new Dictionary<string, string> { ["annotation.a"] = "1", ["annotation-index.b"] = "2", ["annotation-manifest[linux/arm64].c"] = "3", ["name"] = "x", ["annotation-manifest-descriptor.d.e"] = "4" });
        Assert.Equal(["a"], annotations.For("manifest", Platform.Parse("linux/amd64"))!.Keys);
        Assert.Equal(["a", "c"], annotations.For("manifest", Platform.Parse("linux/arm64"))!.Keys);
        Assert.Equal("2", annotations.For("index", null)!["b"]);
        Assert.Equal("4", annotations.For("manifest-descriptor", null)!["d.e"]);
        Assert.Null(annotations.For("index-descriptor", null));
        Assert.True(annotations.AnyForIndex);
        Assert.Equal("unrecognized annotation type place", Assert.Throws<BuildException>(() => ImageAnnotations.Of(new Dictionary<string, string> { ["annotation-place.a"] = "1" })).Message);
    }

    [Fact]
    public void Paths_are_ordered_name_by_name()
    {
        string[] paths = ["a-b", "a/b", "a", "ab", "a/b/c", "b"];
        Array.Sort(paths, FileSet.Compare);
        Assert.Equal(["a", "a/b", "a/b/c", "a-b", "ab", "b"], paths);
    }

    [Fact]
    public void Files_of_several_platforms_are_one_tree_unless_two_are_the_same()
    {
        using var joined = new JoinedFiles(DateTimeOffset.UnixEpoch);
        joined.Add("linux_arm64", new Some("bin/", "bin/x"));
        joined.Add("linux_amd64", new Some("bin/", "bin/x"));
        joined.Add("note.json", "{}"u8.ToArray());
        Assert.Equal(["linux_amd64", "linux_amd64/bin", "linux_amd64/bin/x", "linux_arm64", "linux_arm64/bin", "linux_arm64/bin/x", "note.json"], joined.List(CancellationToken.None).Select(f => f.Path));
        using var content = new StreamReader(joined.Open("linux_arm64/bin/x"));
        Assert.Equal("bin/x", content.ReadToEnd());

        using var mixed = new JoinedFiles(DateTimeOffset.UnixEpoch);
        mixed.Add("", new Some("bin/", "bin/x"));
        mixed.Add("", new Some("bin/", "bin/y"));
        Assert.Equal(["bin", "bin/x", "bin/y"], mixed.List(CancellationToken.None).Select(f => f.Path));
        mixed.Add("", new Some("bin/", "bin/y"));
        Assert.Equal("cannot overwrite bin/y: more than one platform has it", Assert.Throws<ImageException>(() => mixed.List(CancellationToken.None).Count()).Message);
    }

    [Fact]
    public void Manifests_are_the_same_bytes_for_the_same_content()
    {
        var config = ManifestText.Describe(MediaTypes.OciConfig, "{}"u8);
        var layer = new Descriptor { MediaType = "application/vnd.oci.image.layer.v1.tar+zstd", DigestText = "sha256:" + new string('a', 64), SizeBytes = 5 };
        var text = Encoding.UTF8.GetString(ManifestText.Manifest(oci: false, config, [layer], new Dictionary<string, string> { ["b"] = "2", ["a"] = "1" }));
        Assert.Equal("""
            {
              "schemaVersion": 2,
              "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
              "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                "size": 2
              },
              "layers": [
                {
                  "mediaType": "application/vnd.docker.image.rootfs.diff.tar.zstd",
                  "digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                  "size": 5
                }
              ],
              "annotations": {
                "a": "1",
                "b": "2"
              }
            }
            """, text);
        Assert.True(Manifest.Parse(ManifestText.Index(oci: true, [layer], null)).IsIndex);
    }

    // Directories end with a slash; a file holds its own path.
    private sealed class Some(params string[] paths) : FileSet
    {
        public override IEnumerable<FileSetEntry> List(CancellationToken cancellation) =>
            paths.Select(p => new FileSetEntry { Path = p.TrimEnd('/'), Kind = p.EndsWith('/') ? FileKind.Directory : FileKind.Regular, Permissions = 0x1ED, SizeBytes = p.Length });

        public override Stream Open(string path) => paths.Contains(path) ? new MemoryStream(Encoding.UTF8.GetBytes(path)) : throw new IOException("not there");
    }
}
