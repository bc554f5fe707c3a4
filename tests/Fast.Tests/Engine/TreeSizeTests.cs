using Berth.Engine;

namespace Berth.Fast.Tests.Engine;

public sealed class TreeSizeTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("berth-size-").FullName;
    private readonly TreeSize _size;

    public TreeSizeTests()
    {
        _size = new TreeSize(_directory);
        Write("a", 1000);
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private void Write(string name, int bytes) => File.WriteAllBytes(Path.Combine(_directory, name), new byte[bytes]);

    private ValueTask<long> GetAsync(bool still) => _size.GetAsync(still, TestContext.Current.CancellationToken, TestContext.Current.CancellationToken);

    [Fact]
    public async Task What_nobody_writes_in_is_walked_once()
    {
        Assert.Equal(1000, await GetAsync(still: true));
        Write("behind our back", 1);
        Assert.Equal(1000, await GetAsync(still: true));
        _size.Changed();
        Assert.Equal(1001, await GetAsync(still: true));
    }

    [Fact]
    public async Task What_is_written_in_is_walked_each_time()
    {
        Assert.Equal(1000, await GetAsync(still: false));
        Write("b", 5);
        Assert.Equal(1005, await GetAsync(still: false));
        Write("c", 5);
        Assert.Equal(1010, await GetAsync(still: true)); // measured while it was not still: not kept
    }

    [Fact]
    public async Task A_change_during_the_walk_is_seen_the_next_time()
    {
        var walk = GetAsync(still: true);
        _size.Changed();
        await walk;
        Write("b", 5);
        Assert.Equal(1005, await GetAsync(still: true));
    }

    [Fact]
    public async Task A_directory_that_is_not_there_takes_nothing() =>
        Assert.Equal(0, await new TreeSize(_directory + "/none").GetAsync(true, TestContext.Current.CancellationToken, TestContext.Current.CancellationToken));
}
