using System.Runtime.CompilerServices;

namespace Berth.Testing;

/// <summary>Texts that a test compares with a file beside it, <c>testdata/NAME</c>; UPDATE_GOLDEN=1 rewrites the files.</summary>
public static class Golden
{
    /// <summary>The file's text and the actual one, to be compared by the test's own Assert; after an update both are the actual one.</summary>
    public static (string Expected, string Actual) Read(string name, string actual, [CallerFilePath] string test = "")
    {
        var file = Path.Combine(Path.GetDirectoryName(test)!, "testdata", name);
        if (Environment.GetEnvironmentVariable("UPDATE_GOLDEN") == "1")
        {
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            File.WriteAllText(file, actual);
        }
        return (File.Exists(file) ? File.ReadAllText(file) : $"there is no {file}; run with UPDATE_GOLDEN=1", actual);
    }
}
