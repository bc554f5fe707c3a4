namespace Berth.Testing;

/// <summary>Where things are in this checkout.</summary>
public static class Repository
{
    public static string Root { get; } = FindRoot();

    /// <summary>What tests leave for people to read: daemon logs, mostly.</summary>
    public static string TestArtifacts => Path.Combine(Root, "artifacts", "test");

    /// <summary>An executable that ./build has made; BERTH_BIN names another directory.</summary>
    public static string Executable(string name)
    {
        var path = Path.Combine(Environment.GetEnvironmentVariable("BERTH_BIN") ?? Path.Combine(Root, "artifacts", "bin"), name);
        return File.Exists(path) ? path : throw new TestException($"{path} is missing: run ./build first");
    }

    private static string FindRoot()
    {
        for (var directory = AppContext.BaseDirectory; directory is not null; directory = Path.GetDirectoryName(directory))
        {
            if (File.Exists(Path.Combine(directory, "Berth.slnx")))
                return directory;
        }
        throw new TestException($"no Berth.slnx above {AppContext.BaseDirectory}");
    }
}

/// <summary>The test cannot go on: a command failed that had to succeed, something never came, something was left behind.</summary>
public sealed class TestException(string message) : Exception(message);
