using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Berth.Registry;
using Berth.Testing;
using Microsoft.Extensions.Logging.Abstractions;

namespace Berth.Fast.Tests.Registry;

/// <summary>The end points of the distribution-spec, one after the other, with what goes wrong at each.</summary>
public sealed class ServerTests
{
    private const string Unknown = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    private static string Sha512(byte[] content) => "sha512:" + Convert.ToHexStringLower(System.Security.Cryptography.SHA512.HashData(content));
    private static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    private static string[] Strings(Answer answer, string member)
    {
        using var json = JsonDocument.Parse(answer.Body);
        return [.. json.RootElement.GetProperty(member).EnumerateArray().Select(e => e.GetString()!)];
    }

    [Fact]
    public async Task The_base_says_that_this_is_a_registry()
    {
        await using var registry = await TestRegistry.StartAsync();
        var answer = await registry.AskAsync("GET", "/v2/");
        Assert.Equal((200, "registry/2.0"), (answer.Status, answer["Docker-Distribution-Api-Version"]));
        Assert.Equal(404, (await registry.AskAsync("GET", "/")).Status);
        Assert.Equal((405, "GET, HEAD"), (await registry.AskAsync("POST", "/v2/")) is var refused ? (refused.Status, refused["Allow"]) : default);
    }

    [Fact]
    public async Task A_blob_is_pushed_by_POST_and_PUT_and_pulled()
    {
        await using var registry = await TestRegistry.StartAsync();
        var content = Bytes("content");
        var digest = TestImage.Digest(content);
        Assert.Equal((404, ""), (await registry.AskAsync("HEAD", $"/v2/a/b/blobs/{digest}")) is var none ? (none.Status, none.Text) : default);

        var started = await registry.AskAsync("POST", "/v2/a/b/blobs/uploads/");
        Assert.Equal((202, "0-0"), (started.Status, started["Range"]));
        Assert.EndsWith(started["Docker-Upload-UUID"], started["Location"], StringComparison.Ordinal);
        var done = await registry.AskAsync("PUT", $"{started["Location"]}?digest={digest}", content);
        Assert.Equal((201, $"/v2/a/b/blobs/{digest}", digest), (done.Status, done["Location"], done["Docker-Content-Digest"]));

        var head = await registry.AskAsync("HEAD", done["Location"]);
        Assert.Equal((200, "7", digest), (head.Status, head["Content-Length"], head["Docker-Content-Digest"]));
        var got = await registry.AskAsync("GET", done["Location"]);
        Assert.Equal((200, "content", "application/octet-stream", $"\"{digest}\"", "bytes"), (got.Status, got.Text, got["Content-Type"], got["ETag"], got["Accept-Ranges"]));
        Assert.Equal(304, (await registry.AskAsync("GET", done["Location"], null, ("If-None-Match", $"\"x\", \"{digest}\""))).Status);
        Assert.Equal(404, (await registry.AskAsync("GET", $"/v2/a/other/blobs/{digest}")).Status); // a repository has what was pushed to it
    }

    [Fact]
    public async Task Parts_of_a_blob_are_given()
    {
        await using var registry = await TestRegistry.StartAsync();
        var blob = $"/v2/a/blobs/{await registry.PushBlobAsync("a", Bytes("0123456789"))}";
        var part = await registry.AskAsync("GET", blob, null, ("Range", "bytes=2-4"));
        Assert.Equal((206, "234", "bytes 2-4/10"), (part.Status, part.Text, part["Content-Range"]));
        Assert.Equal("89", (await registry.AskAsync("GET", blob, null, ("Range", "bytes=-2"))).Text);
        var behind = await registry.AskAsync("GET", blob, null, ("Range", "bytes=10-"));
        Assert.Equal((416, "bytes */10"), (behind.Status, behind["Content-Range"]));
        Assert.Equal(200, (await registry.AskAsync("GET", blob, null, ("Range", "bytes=2-4"), ("If-Range", "\"another\""))).Status);
    }

    [Theory]
    [InlineData(300_000)]
    [InlineData(20_000_000)]
    public async Task A_large_blob_comes_whole_and_its_connection_serves_the_next_request(int length)
    {
        await using var registry = await TestRegistry.StartAsync();
        var content = new byte[length];
        new Random(1).NextBytes(content);
        var digest = await registry.PushBlobAsync("a", content);
        using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        client.Connect(new UnixDomainSocketEndPoint(registry.SocketPath));
        await using var stream = new NetworkStream(client);
        for (var i = 0; i < 3; i++)
        {
            await stream.WriteAsync(Bytes($"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nRange: bytes=1-\r\n\r\n"));
            var (head, body) = await ReadAsync(stream);
            Assert.StartsWith("HTTP/1.1 206 Partial Content\r\n", head, StringComparison.Ordinal);
            Assert.Contains($"Content-Range: bytes 1-{length - 1}/{length}\r\n", head, StringComparison.Ordinal);
            Assert.True(content.AsSpan(1).SequenceEqual(body));
            // What Kestrel answers itself is in between.
            await stream.WriteAsync("GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"u8.ToArray());
            Assert.Equal("{}", Encoding.UTF8.GetString((await ReadAsync(stream)).Body));
        }
        // Requests that come at once: the connection ends behind the first.
        await stream.WriteAsync(Bytes($"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"));
        var last = await ReadAsync(stream);
        Assert.Contains("Connection: close\r\n", last.Head, StringComparison.Ordinal);
        Assert.Equal(digest, TestImage.Digest(last.Body));
        Assert.Equal(0, await stream.ReadAsync(new byte[1]));
    }

    private static async Task<(string Head, byte[] Body)> ReadAsync(NetworkStream stream)
    {
        var head = new StringBuilder();
        var one = new byte[1];
        while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            await stream.ReadExactlyAsync(one);
            head.Append((char)one[0]);
        }
        var length = head.ToString().Split("\r\n").First(l => l.StartsWith("Content-Length: ", StringComparison.OrdinalIgnoreCase))["Content-Length: ".Length..];
        var body = new byte[int.Parse(length, System.Globalization.CultureInfo.InvariantCulture)];
        await stream.ReadExactlyAsync(body);
        return (head.ToString(), body);
    }

    [Fact]
    public async Task A_blob_is_pushed_in_one_request_with_sha512()
    {
        await using var registry = await TestRegistry.StartAsync();
        var content = Bytes("one request");
        var digest = Sha512(content);
        Assert.Equal(201, (await registry.AskAsync("POST", $"/v2/a/blobs/uploads/?digest={digest}", content)).Status);
        Assert.Equal("one request", (await registry.AskAsync("GET", $"/v2/a/blobs/{digest}")).Text);
        var wrong = await registry.AskAsync("POST", $"/v2/a/blobs/uploads/?digest={digest}", Bytes("another"));
        Assert.Equal((400, "DIGEST_INVALID"), (wrong.Status, wrong.Code));
        Assert.Equal(0, registry.Store.Uploads.Count);
        foreach (var bad in (string[])["sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e", "x", "sha256:../../../../etc/passwd"])
            Assert.Equal((400, "DIGEST_INVALID"), (await registry.AskAsync("POST", $"/v2/a/blobs/uploads/?digest={bad}", content)) is var refused ? (refused.Status, refused.Code) : default);
        Assert.Equal(400, (await registry.AskAsync("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5")).Status);
        Assert.Equal(202, (await registry.AskAsync("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512")).Status);
    }

    [Fact]
    public async Task Chunks_come_in_order_or_not_at_all()
    {
        await using var registry = await TestRegistry.StartAsync();
        var upload = (await registry.AskAsync("POST", "/v2/a/blobs/uploads/"))["Location"];
        var first = await registry.AskAsync("PATCH", upload, Bytes("01234"), ("Content-Range", "0-4"));
        Assert.Equal((202, "0-4", upload), (first.Status, first["Range"], first["Location"]));

        var gap = await registry.AskAsync("PATCH", upload, Bytes("78"), ("Content-Range", "7-8"));
        Assert.Equal((416, "0-4", upload, "BLOB_UPLOAD_INVALID"), (gap.Status, gap["Range"], gap["Location"], gap.Code));
        Assert.Equal(416, (await registry.AskAsync("PATCH", upload, Bytes("01234"), ("Content-Range", "0-4"))).Status);
        Assert.Equal((400, "SIZE_INVALID"), (await registry.AskAsync("PATCH", upload, Bytes("567"), ("Content-Range", "5-6"))) is var size ? (size.Status, size.Code) : default);
        Assert.Equal((400, "BLOB_UPLOAD_INVALID"), (await registry.AskAsync("PATCH", upload, Bytes("56"), ("Content-Range", "bytes 5-6/7"))) is var form ? (form.Status, form.Code) : default);

        var status = await registry.AskAsync("GET", upload);
        Assert.Equal((204, "0-4", upload), (status.Status, status["Range"], status["Location"]));
        Assert.Equal((202, "0-6"), (await registry.AskAsync("PATCH", upload, Bytes("56"))) is var streamed ? (streamed.Status, streamed["Range"]) : default);
        var digest = TestImage.Digest(Bytes("0123456789"));
        Assert.Equal(416, (await registry.AskAsync("PUT", $"{upload}?digest={digest}", Bytes("89"), ("Content-Range", "8-9"))).Status);
        Assert.Equal(201, (await registry.AskAsync("PUT", $"{upload}?digest={digest}", Bytes("789"), ("Content-Range", "7-9"))).Status);
        Assert.Equal("0123456789", (await registry.AskAsync("GET", $"/v2/a/blobs/{digest}")).Text);
        Assert.Equal((404, "BLOB_UPLOAD_UNKNOWN"), (await registry.AskAsync("GET", upload)) is var gone ? (gone.Status, gone.Code) : default);
    }

    [Fact]
    public async Task An_upload_can_be_given_up_and_ends_when_its_digest_is_wrong()
    {
        await using var registry = await TestRegistry.StartAsync();
        var upload = (await registry.AskAsync("POST", "/v2/a/blobs/uploads/"))["Location"];
        Assert.Equal(204, (await registry.AskAsync("DELETE", upload)).Status);
        Assert.Equal(404, (await registry.AskAsync("PATCH", upload, Bytes("x"))).Status);

        upload = (await registry.AskAsync("POST", "/v2/a/blobs/uploads/"))["Location"];
        Assert.Equal((400, "DIGEST_INVALID"), (await registry.AskAsync("PUT", upload, Bytes("x"))) is var without ? (without.Status, without.Code) : default);
        Assert.Equal((400, "DIGEST_INVALID"), (await registry.AskAsync("PUT", $"{upload}?digest={Unknown}", Bytes("x"))) is var wrong ? (wrong.Status, wrong.Code) : default);
        Assert.Equal(404, (await registry.AskAsync("GET", upload)).Status);
        Assert.Equal(404, (await registry.AskAsync("GET", $"/v2/a/blobs/{Unknown}")).Status);
    }

    [Fact]
    public async Task A_blob_is_mounted_from_another_repository_or_uploaded()
    {
        await using var registry = await TestRegistry.StartAsync();
        var digest = await registry.PushBlobAsync("from/here", Bytes("mounted"));
        var mounted = await registry.AskAsync("POST", $"/v2/to/there/blobs/uploads/?mount={digest}&from=from/here");
        Assert.Equal((201, $"/v2/to/there/blobs/{digest}", digest), (mounted.Status, mounted["Location"], mounted["Docker-Content-Digest"]));
        Assert.Equal("mounted", (await registry.AskAsync("GET", mounted["Location"])).Text);
        Assert.Equal(201, (await registry.AskAsync("POST", $"/v2/to/anywhere/blobs/uploads/?mount={digest}")).Status);
        Assert.Equal(202, (await registry.AskAsync("POST", $"/v2/to/there/blobs/uploads/?mount={Unknown}&from=from/here")).Status);
        Assert.Equal(202, (await registry.AskAsync("POST", $"/v2/to/else/blobs/uploads/?mount={digest}&from=not/there")).Status);
        Assert.Equal((400, "NAME_INVALID"), (await registry.AskAsync("POST", $"/v2/a/blobs/uploads/?mount={digest}&from=../from/here")) is var bad ? (bad.Status, bad.Code) : default);
    }

    [Fact]
    public async Task A_manifest_is_kept_byte_for_byte_under_its_digest_and_tag()
    {
        await using var registry = await TestRegistry.StartAsync();
        var (json, digest) = await registry.PushImageAsync("a", "v1", "one", ",  \"x\" : 1e3");
        foreach (var reference in (string[])["v1", digest])
        {
            var got = await registry.AskAsync("GET", $"/v2/a/manifests/{reference}");
            Assert.Equal((200, json, digest, "application/vnd.oci.image.manifest.v1+json"), (got.Status, got.Text, got["Docker-Content-Digest"], got["Content-Type"]));
            Assert.Equal((200, $"{json.Length}", ""), (await registry.AskAsync("HEAD", $"/v2/a/manifests/{reference}")) is var head ? (head.Status, head["Content-Length"], head.Text) : default);
            Assert.Equal(304, (await registry.AskAsync("GET", $"/v2/a/manifests/{reference}", null, ("If-None-Match", $"\"{digest}\""))).Status);
        }
        var named = await registry.PutManifestAsync("a", "v2", json, "application/vnd.oci.image.manifest.v1+json; charset=utf-8");
        Assert.Equal((201, "/v2/a/manifests/v2", digest), (named.Status, named["Location"], named["Docker-Content-Digest"]));
        var sha512 = Sha512(Bytes(json));
        Assert.Equal(sha512, (await registry.PutManifestAsync("a", $"{sha512}?tag=x&tag=y", json)) is var by ? by["Docker-Content-Digest"] : "");
        Assert.Equal("x, y", by["OCI-Tag"]);
        Assert.Equal(sha512, (await registry.AskAsync("HEAD", "/v2/a/manifests/y"))["Docker-Content-Digest"]);
    }

    [Fact]
    public async Task A_manifest_that_is_wrong_is_refused_and_leaves_nothing()
    {
        await using var registry = await TestRegistry.StartAsync();
        var config = await registry.PushBlobAsync("a", "{}"u8.ToArray());
        async Task<(int, string)> PutAsync(string json, string reference = "x", string type = "application/vnd.oci.image.manifest.v1+json") =>
            await registry.PutManifestAsync("a", reference, json, type) is var answer ? (answer.Status, answer.Code) : default;
        var good = $$$"""{"schemaVersion":2,"config":{"digest":"{{{config}}}"},"layers":[]}""";
        Assert.Equal((400, "MANIFEST_INVALID"), await PutAsync("no json"));
        Assert.Equal((400, "MANIFEST_INVALID"), await PutAsync("[]"));
        Assert.Equal((400, "MANIFEST_INVALID"), await PutAsync("null"));
        Assert.Equal((400, "MANIFEST_INVALID"), await PutAsync("{\"layers\":[null]}"));
        Assert.Equal((400, "MANIFEST_INVALID"), await PutAsync("""{"layers":[{"digest":"sha256:../../x"}]}"""));
        Assert.Equal((400, "MANIFEST_INVALID"), await PutAsync("""{"schemaVersion":1,"name":"a"}"""));
        Assert.Equal((400, "MANIFEST_INVALID"), await PutAsync("""{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"""));
        Assert.Equal((400, "MANIFEST_INVALID"), await PutAsync(good, type: "no-media-type"));
        Assert.Equal((400, "MANIFEST_INVALID"), await PutAsync(good, ".x"));
        Assert.Equal((400, "MANIFEST_INVALID"), await PutAsync(good, new string('x', 129)));
        Assert.Equal((400, "DIGEST_INVALID"), await PutAsync(good, Unknown));
        Assert.Equal((400, "DIGEST_INVALID"), await PutAsync(good, "sha256:short"));
        Assert.Equal((400, "MANIFEST_BLOB_UNKNOWN"), await PutAsync($$"""{"layers":[{"digest":"{{Unknown}}"}]}"""));
        Assert.Equal((400, "MANIFEST_BLOB_UNKNOWN"), await PutAsync($$"""{"manifests":[{"digest":"{{Unknown}}"}]}""", type: "application/vnd.oci.image.index.v1+json"));
        Assert.Equal((413, "SIZE_INVALID"), await PutAsync(good + new string(' ', 4 << 20)));
        Assert.Empty(Strings(await registry.AskAsync("GET", "/v2/a/tags/list"), "tags"));
        Assert.Equal(201, (await registry.PutManifestAsync("a", "x", good + new string(' ', (4 << 20) - good.Length))).Status);
        // A layer that is not to be distributed need not be here.
        Assert.Equal(201, (await registry.PutManifestAsync("a", "x", $$"""{"layers":[{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"{{Unknown}}"}]}""")).Status);
    }

    [Fact]
    public async Task Tags_are_listed_in_pages()
    {
        await using var registry = await TestRegistry.StartAsync();
        Assert.Equal((404, "NAME_UNKNOWN"), (await registry.AskAsync("GET", "/v2/a/tags/list")) is var none ? (none.Status, none.Code) : default);
        var (json, _) = await registry.PushImageAsync("a", "b", "x");
        foreach (var tag in (string[])["B", "a", "c.1", "c"])
            await registry.PutManifestAsync("a", tag, json);
        Assert.Equal(["B", "a", "b", "c", "c.1"], Strings(await registry.AskAsync("GET", "/v2/a/tags/list"), "tags"));
        var page = await registry.AskAsync("GET", "/v2/a/tags/list?n=2");
        Assert.Equal(["B", "a"], Strings(page, "tags"));
        Assert.Equal("</v2/a/tags/list?n=2&last=a>; rel=\"next\"", page["Link"]);
        page = await registry.AskAsync("GET", "/v2/a/tags/list?n=3&last=a");
        Assert.Equal(["b", "c", "c.1"], Strings(page, "tags"));
        Assert.Equal("", page["Link"]);
        page = await registry.AskAsync("GET", "/v2/a/tags/list?n=0");
        Assert.Empty(Strings(page, "tags"));
        Assert.Equal("", page["Link"]);
        Assert.Equal((400, "PAGINATION_NUMBER_INVALID"), (await registry.AskAsync("GET", "/v2/a/tags/list?n=-1")) is var bad ? (bad.Status, bad.Code) : default);
    }

    [Fact]
    public async Task The_catalog_names_the_repositories_in_pages()
    {
        await using var registry = await TestRegistry.StartAsync();
        foreach (var name in (string[])["a/b", "a-b", "a", "z"])
            await registry.PushImageAsync(name, "x", "x");
        await registry.PushBlobAsync("only/blobs", Bytes("x"));
        Assert.Equal(["a", "a-b", "a/b", "z"], Strings(await registry.AskAsync("GET", "/v2/_catalog"), "repositories"));
        var page = await registry.AskAsync("GET", "/v2/_catalog?n=3");
        Assert.Equal("</v2/_catalog?n=3&last=a%2Fb>; rel=\"next\"", page["Link"]);
        Assert.Equal(["z"], Strings(await registry.AskAsync("GET", page["Link"].Split('<', '>')[1]), "repositories"));
    }

    [Fact]
    public async Task Deleting_a_tag_leaves_the_manifest_and_deleting_the_manifest_takes_its_tags()
    {
        await using var registry = await TestRegistry.StartAsync();
        var (json, digest) = await registry.PushImageAsync("a", "one", "x");
        await registry.PutManifestAsync("a", "two", json);
        Assert.Equal(202, (await registry.AskAsync("DELETE", "/v2/a/manifests/one")).Status);
        Assert.Equal((404, "MANIFEST_UNKNOWN"), (await registry.AskAsync("GET", "/v2/a/manifests/one")) is var tag ? (tag.Status, tag.Code) : default);
        Assert.Equal(200, (await registry.AskAsync("GET", $"/v2/a/manifests/{digest}")).Status);
        Assert.Equal(202, (await registry.AskAsync("DELETE", $"/v2/a/manifests/{digest}")).Status);
        Assert.Equal(404, (await registry.AskAsync("GET", "/v2/a/manifests/two")).Status);
        Assert.Equal(404, (await registry.AskAsync("DELETE", $"/v2/a/manifests/{digest}")).Status);
        Assert.Equal((404, "NAME_UNKNOWN"), (await registry.AskAsync("DELETE", "/v2/none/manifests/x")) is var name ? (name.Status, name.Code) : default);
        var blob = TestImage.Digest("{}"u8.ToArray());
        Assert.Equal(202, (await registry.AskAsync("DELETE", $"/v2/a/blobs/{blob}")).Status);
        Assert.Equal((404, "BLOB_UNKNOWN"), (await registry.AskAsync("DELETE", $"/v2/a/blobs/{blob}")) is var gone ? (gone.Status, gone.Code) : default);
        Assert.Equal(3, registry.Collections);
    }

    [Fact]
    public async Task Referrers_are_listed_by_subject_and_filtered_by_type()
    {
        await using var registry = await TestRegistry.StartAsync();
        var (_, subject) = await registry.PushImageAsync("a", "x", "x");
        var (_, sbom) = await registry.PushImageAsync("a", "", "sbom", $$""","subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{{subject}}","size":1},"artifactType":"application/sbom","annotations":{"k":"v"}""");
        var (_, plain) = await registry.PushImageAsync("a", "", "plain", ",\"subject\":{\"digest\":\"" + subject + "\"}");
        var put = await registry.PutManifestAsync("a", "index", $$$"""{"schemaVersion":2,"manifests":[],"subject":{"digest":"{{{subject}}}"}}""", "application/vnd.oci.image.index.v1+json");
        Assert.Equal(subject, put["OCI-Subject"]);

        var all = await registry.AskAsync("GET", $"/v2/a/referrers/{subject}");
        Assert.Equal((200, "application/vnd.oci.image.index.v1+json"), (all.Status, all["Content-Type"]));
        using var json = JsonDocument.Parse(all.Body);
        var entries = json.RootElement.GetProperty("manifests").EnumerateArray().ToDictionary(e => e.GetProperty("digest").GetString()!);
        Assert.Equal(3, entries.Count);
        Assert.Equal(("application/sbom", "v"), (entries[sbom].GetProperty("artifactType").GetString(), entries[sbom].GetProperty("annotations").GetProperty("k").GetString()));
        Assert.Equal("application/vnd.oci.image.config.v1+json", entries[plain].GetProperty("artifactType").GetString());
        Assert.False(entries[put["Docker-Content-Digest"]].TryGetProperty("artifactType", out _));

        var filtered = await registry.AskAsync("GET", $"/v2/a/referrers/{subject}?artifactType=application/sbom");
        Assert.Equal("artifactType", filtered["OCI-Filters-Applied"]);
        Assert.Contains(sbom, filtered.Text, StringComparison.Ordinal);
        Assert.DoesNotContain(plain, filtered.Text, StringComparison.Ordinal);

        var page = await registry.AskAsync("GET", $"/v2/a/referrers/{subject}?n=2");
        Assert.Contains("rel=\"next\"", page["Link"], StringComparison.Ordinal);
        Assert.Equal((200, """{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"""), (await registry.AskAsync("GET", $"/v2/none/referrers/{Unknown}")) is var none ? (none.Status, none.Text) : default);
        Assert.Equal(400, (await registry.AskAsync("GET", "/v2/a/referrers/sha256:x")).Status);
        await registry.AskAsync("DELETE", $"/v2/a/manifests/{sbom}");
        Assert.DoesNotContain(sbom, (await registry.AskAsync("GET", $"/v2/a/referrers/{subject}")).Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/v2/../../etc/passwd/manifests/x")]
    [InlineData("/v2/a/..%2f..%2fb/manifests/x")]
    [InlineData("/v2/A/manifests/x")]
    [InlineData("/v2/_blobs/manifests/x")]
    [InlineData("/v2/a%00b/manifests/x")]
    [InlineData("/v2/a/%2e%2e/%2e%2e/manifests/x")]
    [InlineData("/v2/a//b/manifests/x")]
    public async Task Path_tricks_lead_nowhere(string path)
    {
        await using var registry = await TestRegistry.StartAsync();
        // Raw: a client's library would tidy the path.
        using var client = new Berth.Fast.Tests.Daemon.RawClient(registry.SocketPath);
        await client.SendAsync($"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        var answer = await client.ReceiveToEndAsync();
        Assert.Matches("^HTTP/1.1 (400|404) ", answer);
        Assert.DoesNotContain("root:", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_registry_that_takes_nothing_says_so()
    {
        await using var registry = await TestRegistry.StartAsync(noPushes: "the registry is read-only");
        foreach (var (method, path) in ((string, string)[])[("POST", "/v2/a/blobs/uploads/"), ("PUT", "/v2/a/manifests/x"), ("DELETE", "/v2/a/manifests/x"), ("DELETE", $"/v2/a/blobs/{Unknown}")])
            Assert.Equal((405, "UNSUPPORTED"), (await registry.AskAsync(method, path)) is var answer ? (answer.Status, answer.Code) : default);
        Assert.Equal(404, (await registry.AskAsync("GET", "/v2/a/manifests/x")).Status);
    }

    // ---- who may

    // "secret", by htpasswd -nbBC 4.
    private const string Users = "# users\nalice:$2y$04$28a7aSQVKM1aId8Zy4.DSO3mU74lcTpFSekk8tVHZNoYvzr8pHcqK\n";
    private static (string, string) Basic(string user, string password) => ("Authorization", "Basic " + Convert.ToBase64String(Bytes($"{user}:{password}")));

    [Fact]
    public async Task With_a_password_file_its_users_may_everything_and_others_nothing()
    {
        await using var registry = await TestRegistry.StartAsync(Users);
        var asked = await registry.AskAsync("GET", "/v2/");
        Assert.Equal((401, "UNAUTHORIZED", "Basic realm=\"Berth registry\""), (asked.Status, asked.Code, asked["WWW-Authenticate"]));
        Assert.Equal(200, (await registry.AskAsync("GET", "/v2/", null, Basic("alice", "secret"))).Status);
        Assert.Equal(202, (await registry.AskAsync("POST", "/v2/a/blobs/uploads/", null, Basic("alice", "secret"))).Status);
        Assert.Equal(401, (await registry.AskAsync("GET", "/v2/", null, Basic("alice", "Secret"))).Status);
        Assert.Equal(401, (await registry.AskAsync("GET", "/v2/", null, Basic("bob", "secret"))).Status);
        Assert.Equal(401, (await registry.AskAsync("GET", "/v2/", null, ("Authorization", "Basic !"))).Status);
    }

    [Fact]
    public async Task Who_guesses_passwords_is_slowed_down()
    {
        var clock = new MovableClock();
        await using var registry = await TestRegistry.StartAsync(Users, clock: clock);
        var statuses = new List<int>();
        for (var i = 0; i < 12; i++)
            statuses.Add((await registry.AskAsync("GET", "/v2/", null, Basic("alice", $"guess {i}"))).Status);
        Assert.Equal([.. Enumerable.Repeat(401, 10), 429, 429], statuses);
        var refused = await registry.AskAsync("GET", "/v2/", null, Basic("alice", "secret"));
        Assert.Equal((429, "TOOMANYREQUESTS"), (refused.Status, refused.Code));
        Assert.InRange(int.Parse(refused["Retry-After"], System.Globalization.CultureInfo.InvariantCulture), 1, 6);
        clock.Advance(TimeSpan.FromSeconds(7));
        Assert.Equal(200, (await registry.AskAsync("GET", "/v2/", null, Basic("alice", "secret"))).Status);
    }

    [Fact]
    public async Task Where_reading_is_free_nobody_gets_a_token_for_it_and_users_one_for_all()
    {
        var clock = new MovableClock();
        await using var registry = await TestRegistry.StartAsync(Users, anonymousRead: true, clock: clock);
        var asked = await registry.AskAsync("GET", "/v2/");
        Assert.Equal((401, "Bearer realm=\"http://registry/token\",service=\"registry\""), (asked.Status, asked["WWW-Authenticate"]));
        async Task<(string, string)> TokenAsync(params (string, string)[] headers)
        {
            var answer = await registry.AskAsync("GET", "/token?scope=repository:a:pull", null, headers);
            Assert.Equal(200, answer.Status);
            using var json = JsonDocument.Parse(answer.Body);
            return ("Authorization", "Bearer " + json.RootElement.GetProperty("token").GetString());
        }
        var nobody = await TokenAsync();
        Assert.Equal(200, (await registry.AskAsync("GET", "/v2/", null, nobody)).Status);
        Assert.Equal(404, (await registry.AskAsync("GET", "/v2/a/manifests/x", null, nobody)).Status);
        Assert.Equal(404, (await registry.AskAsync("GET", "/v2/a/manifests/x")).Status);
        var denied = await registry.AskAsync("POST", "/v2/a/blobs/uploads/", null, nobody);
        Assert.Equal((403, "DENIED"), (denied.Status, denied.Code));
        Assert.Equal(401, (await registry.AskAsync("POST", "/v2/a/blobs/uploads/")).Status);
        var alice = await TokenAsync(Basic("alice", "secret"));
        Assert.Equal(202, (await registry.AskAsync("POST", "/v2/a/blobs/uploads/", null, alice)).Status);
        Assert.Equal(202, (await registry.AskAsync("POST", "/v2/a/blobs/uploads/", null, Basic("alice", "secret"))).Status);
        Assert.Equal(401, (await registry.AskAsync("GET", "/token", null, Basic("alice", "wrong"))).Status);
        Assert.Equal(401, (await registry.AskAsync("GET", "/v2/a/manifests/x", null, ("Authorization", alice.Item2[..^3] + "abc"))).Status);
        clock.Advance(TimeSpan.FromMinutes(6));
        Assert.Equal(401, (await registry.AskAsync("POST", "/v2/a/blobs/uploads/", null, alice)).Status);
    }

    [Fact]
    public void A_password_file_with_weak_hashes_is_refused_by_its_line()
    {
        using var directory = new TestDirectory();
        File.WriteAllText(directory["f"], "a:$2y$04$x\nbob:$apr1$x$y\n");
        Assert.Contains("line 2: the hash of bob", Assert.Throws<FormatException>(() => new Htpasswd(directory["f"], TimeProvider.System)).Message, StringComparison.Ordinal);
    }
}
