using System.Diagnostics;

namespace Berth.Testing;

/// <summary>A directory that goes with the test.</summary>
public sealed class TestDirectory : IDisposable
{
    public TestDirectory()
    {
        Path = System.IO.Path.Combine(System.IO.Path.GetTempPath(), "berth-test-" + System.IO.Path.GetRandomFileName());
        Directory.CreateDirectory(Path);
    }

    public string Path { get; }

    public string this[string name] => System.IO.Path.Combine(Path, name);

    public void Dispose()
    {
        // Tests make files that .NET can't name; rm can.
        using var rm = Process.Start(new ProcessStartInfo("rm", ["-rf", Path]))!;
        rm.WaitForExit();
    }
}
