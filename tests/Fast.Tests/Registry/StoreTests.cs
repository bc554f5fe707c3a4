using System.Text;
using Berth.Images;
using Berth.Registry;
using Berth.Testing;
using Microsoft.Extensions.Logging.Abstractions;

namespace Berth.Fast.Tests.Registry;

/// <summary>What is on the disk: uploads that go on, content that is shared, garbage.</summary>
public sealed class StoreTests : IDisposable
{
    private static readonly TimeSpan Hour = TimeSpan.FromHours(1);
    private readonly TestDirectory _directory = new();
    private readonly MovableClock _clock = new();
    private RegistryStore _store;
    private readonly RepositoryName _a = Name("a"), _b = Name("b/c");

    public StoreTests() => _store = Open();

    public void Dispose()
    {
        _store.Dispose();
        _directory.Dispose();
    }

    private RegistryStore Open(bool deleteUntagged = false) =>
        RegistryStore.Open(_directory["root"], new RegistryStoreOptions { Logger = NullLogger.Instance, Time = _clock, DeleteUntagged = deleteUntagged });

    private void Reopen(bool deleteUntagged = false)
    {
        _store.Dispose();
        _store = Open(deleteUntagged);
    }

    private static RepositoryName Name(string text) => RepositoryName.TryParse(text, out var name) ? name : throw new ArgumentException(text);
    private static ManifestReference Reference(string text) => ManifestReference.TryParse(text, out var reference) ? reference : throw new ArgumentException(text);
    private static Digest DigestOf(string text) => Digest.Sha256(Encoding.UTF8.GetBytes(text));
    private static MemoryStream Bytes(string text) => new(Encoding.UTF8.GetBytes(text));

    private async Task<Digest> PushAsync(RepositoryName repository, string text)
    {
        await _store.Uploads.Start(repository).CompleteAsync(Bytes(text), null, DigestOf(text), CancellationToken.None);
        return DigestOf(text);
    }

    private async Task<Digest> PushManifestAsync(RepositoryName repository, string? tag, string layer, Digest? subject = null)
    {
        var blob = await PushAsync(repository, layer);
        var json = $$"""{"schemaVersion":2,"layers":[{"digest":"{{blob}}","size":{{layer.Length}}}]{{(subject is { } s ? $$""","subject":{"digest":"{{s}}","size":1}""" : "")}}}""";
        var content = Encoding.UTF8.GetBytes(json);
        var digest = Digest.Sha256(content);
        _store.PutManifest(repository, digest, MediaTypes.OciManifest, content, ManifestLinks.Parse(content), tag is null ? [] : [tag], complete: true);
        return digest;
    }

    private string? Read(RepositoryName repository, Digest digest)
    {
        using var blob = _store.OpenBlob(repository, digest);
        if (blob is null) return null;
        var bytes = new byte[blob.Length];
        RandomAccess.Read(blob.File, bytes, 0);
        return Encoding.UTF8.GetString(bytes);
    }

    [Fact]
    public async Task An_upload_goes_on_after_a_restart()
    {
        var session = _store.Uploads.Start(_a);
        await session.AppendAsync(Bytes("hello "), 0, CancellationToken.None);
        Reopen();
        var again = _store.Uploads.Find(_a, session.Id.ToString())!;
        Assert.Equal(6, again.Size);
        await again.CompleteAsync(Bytes("world"), 6, DigestOf("hello world"), CancellationToken.None);
        Assert.Equal("hello world", Read(_a, DigestOf("hello world")));
        Assert.Null(_store.Uploads.Find(_a, session.Id.ToString()));
        Assert.Empty(Directory.GetDirectories(_directory["root/uploads"]));
    }

    [Fact]
    public async Task What_came_before_the_client_went_stays()
    {
        var session = _store.Uploads.Start(_a);
        await Assert.ThrowsAsync<IOException>(() => session.AppendAsync(new BreakingStream("half"), null, CancellationToken.None));
        Assert.Equal(4, session.Size);
        await session.CompleteAsync(Bytes(" and half"), 4, DigestOf("half and half"), CancellationToken.None);
    }

    [Fact]
    public async Task A_newer_request_takes_an_upload_from_one_that_hangs()
    {
        var session = _store.Uploads.Start(_a);
        var hanging = new HangingStream();
        var old = session.AppendAsync(hanging, null, CancellationToken.None);
        await hanging.Reading;
        await session.CompleteAsync(Bytes("new"), null, DigestOf("new"), CancellationToken.None);
        Assert.Equal(DistributionError.BlobUploadInvalid, (await Assert.ThrowsAsync<DistributionException>(() => old)).Error);
    }

    [Fact]
    public async Task An_upload_belongs_to_its_repository()
    {
        var session = _store.Uploads.Start(_a);
        Assert.Null(_store.Uploads.Find(_b, session.Id.ToString()));
        Assert.Null(_store.Uploads.Find(_a, "../" + session.Id));
        Assert.Null(_store.Uploads.Find(_a, Guid.NewGuid().ToString()));
        await session.CancelAsync(CancellationToken.None);
        Assert.Null(_store.Uploads.Find(_a, session.Id.ToString()));
    }

    [Fact]
    public async Task Content_is_once_on_the_disk_and_goes_with_its_last_repository()
    {
        var blob = await PushAsync(_a, "shared");
        Assert.True(_store.Mount(_a, _b, blob));
        await PushAsync(_b, "shared");
        Assert.Single(Directory.GetFiles(_directory["root/blobs/sha256"]));
        Assert.True(_store.DeleteBlob(_a, blob));
        Assert.Null(Read(_a, blob));
        _clock.Advance(Hour / 2);
        _store.Collect(CancellationToken.None);
        Assert.Equal("shared", Read(_b, blob));

        _store.DeleteBlob(_b, blob);
        _clock.Advance(Hour);
        Assert.Equal(1, _store.Collect(CancellationToken.None).Blobs);
        Assert.Empty(Directory.GetFiles(_directory["root/blobs/sha256"]));
        Assert.Empty(Directory.GetFileSystemEntries(_directory["root/repositories"]));
    }

    [Fact]
    public async Task A_blob_is_mounted_without_a_source_when_any_repository_has_it()
    {
        var blob = await PushAsync(_a, "somewhere");
        Assert.True(_store.Mount(null, _b, blob));
        Assert.Equal("somewhere", Read(_b, blob));
        Assert.False(_store.Mount(null, _b, DigestOf("nowhere")));
        Assert.False(_store.Mount(_b, _a, DigestOf("nowhere")));
    }

    [Fact]
    public async Task Garbage_is_what_no_manifest_names_for_an_hour()
    {
        await PushManifestAsync(_a, "latest", "named");
        await PushAsync(_a, "unnamed");
        Assert.Equal(0, _store.Collect(CancellationToken.None).Links);
        _clock.Advance(Hour);
        Assert.Equal((1, 1), _store.Collect(CancellationToken.None) is var c ? (c.Links, c.Blobs) : default);
        Assert.Equal("named", Read(_a, DigestOf("named")));
        Assert.Null(Read(_a, DigestOf("unnamed")));
    }

    [Fact]
    public async Task Who_was_told_that_a_blob_is_there_has_the_time_to_use_it()
    {
        var blob = await PushAsync(_a, "old");
        _clock.Advance(Hour);
        Assert.Equal(3, _store.TouchBlob(_a, blob)); // the client skips the upload now
        _store.Collect(CancellationToken.None);
        Assert.Equal("old", Read(_a, blob));
    }

    [Fact]
    public async Task A_deleted_manifest_takes_its_tags_and_then_its_blobs_along()
    {
        var digest = await PushManifestAsync(_a, "one", "content");
        await PushManifestAsync(_a, "two", "content");
        await PushManifestAsync(_a, "other", "other content");
        Assert.True(_store.DeleteManifest(_a, digest));
        Assert.Equal(["other"], _store.ListTags(_a));
        Assert.Null(_store.GetManifest(_a, Reference(digest.ToString())));
        _clock.Advance(Hour);
        _store.Collect(CancellationToken.None);
        Assert.Null(Read(_a, DigestOf("content")));
        Assert.Equal("other content", Read(_a, DigestOf("other content")));
    }

    [Fact]
    public async Task Untagged_manifests_go_when_that_is_asked_for()
    {
        Reopen(deleteUntagged: true);
        var old = await PushManifestAsync(_a, "latest", "old");
        var image = await PushManifestAsync(_a, "latest", "new");
        var signature = await PushManifestAsync(_a, null, "signature", subject: image);
        await PushManifestAsync(_a, null, "signature of the old", subject: old);
        Assert.Equal(0, _store.Collect(CancellationToken.None).Manifests);
        _clock.Advance(Hour);
        Assert.Equal(2, _store.Collect(CancellationToken.None).Manifests);
        Assert.NotNull(_store.GetManifest(_a, Reference("latest")));
        Assert.Equal([signature.ToString()], _store.ListReferrers(_a, image).Select(r => r.Digest));
        Assert.Empty(_store.ListReferrers(_a, old));
    }

    [Fact]
    public async Task A_manifest_that_cannot_be_read_keeps_all_of_its_repository()
    {
        await PushAsync(_a, "unnamed");
        var digest = await PushManifestAsync(_a, "latest", "named");
        File.WriteAllText(Path.Combine(_directory["root/repositories/a/_manifests"], "sha256", digest.Hex), "damaged");
        _clock.Advance(Hour);
        Assert.Equal(0, _store.Collect(CancellationToken.None).Links);
    }

    [Fact]
    public async Task Uploads_that_nobody_goes_on_with_are_removed_after_a_day()
    {
        var session = _store.Uploads.Start(_a);
        await session.AppendAsync(Bytes("never more"), null, CancellationToken.None);
        Reopen(); // also those from before
        _store.Uploads.Start(_a);
        Assert.Equal(0, _store.Collect(CancellationToken.None).Uploads);
        _clock.Advance(TimeSpan.FromHours(25));
        Assert.Equal(2, _store.Collect(CancellationToken.None).Uploads);
        Assert.Empty(Directory.GetDirectories(_directory["root/uploads"]));
    }

    [Fact]
    public async Task A_collection_beside_pushes_takes_nothing_from_them()
    {
        // Everything is old at once: only what is being done protects it.
        using var store = RegistryStore.Open(_directory["other"], new RegistryStoreOptions { Logger = NullLogger.Instance, UnreferencedFor = TimeSpan.FromSeconds(5) });
        using var ended = new CancellationTokenSource();
        var collector = Task.Run(() => { while (!ended.IsCancellationRequested) store.Collect(CancellationToken.None); });
        await Parallel.ForEachAsync(Enumerable.Range(0, 40), async (i, cancellation) =>
        {
            var repository = Name($"r{i % 4}/x");
            foreach (var text in (string[])["common", $"own {i}"])
                await store.Uploads.Start(repository).CompleteAsync(Bytes(text), null, DigestOf(text), cancellation);
            var json = Encoding.UTF8.GetBytes($$"""{"schemaVersion":2,"layers":[{"digest":"{{DigestOf("common")}}"},{"digest":"{{DigestOf($"own {i}")}}"}]}""");
            store.PutManifest(repository, Digest.Sha256(json), MediaTypes.OciManifest, json, ManifestLinks.Parse(json), [$"t{i}"], complete: true);
            if (i % 3 == 0) store.DeleteManifest(repository, Digest.Sha256(json));
        });
        await ended.CancelAsync();
        await collector;
        foreach (var i in Enumerable.Range(0, 40).Where(i => i % 3 != 0))
        {
            Assert.NotNull(store.GetManifest(Name($"r{i % 4}/x"), Reference($"t{i}")));
            Assert.Equal(6, store.TouchBlob(Name($"r{i % 4}/x"), DigestOf("common")));
            Assert.NotNull(store.TouchBlob(Name($"r{i % 4}/x"), DigestOf($"own {i}")));
        }
    }

    [Fact]
    public void A_second_process_is_told_who_has_the_store()
    {
        var e = Assert.Throws<StoreInUseException>(() => Open());
        Assert.Equal(Environment.ProcessId, e.Pid);
    }

    private sealed class BreakingStream(string text) : MemoryStream(Encoding.UTF8.GetBytes(text))
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            await base.ReadAsync(buffer, cancellationToken) is > 0 and var count ? count : throw new IOException("the client has gone");
    }

    private sealed class HangingStream : MemoryStream
    {
        private readonly TaskCompletionSource _reading = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public Task Reading => _reading.Task;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            _reading.TrySetResult();
            await Task.Delay(Timeout.Infinite, cancellationToken);
            return 0;
        }
    }
}
