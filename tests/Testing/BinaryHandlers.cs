namespace Berth.Testing;

/// <summary>The kernel's handlers for programs it does not run itself (binfmt_misc), mounted for as long as this is open if they weren't.</summary>
public sealed class BinaryHandlers : IDisposable
{
    private const string Root = "/proc/sys/fs/binfmt_misc";

    private readonly bool _mounted;

    private BinaryHandlers(bool mounted) => _mounted = mounted;

    /// <summary>Null: there are none here.</summary>
    public static BinaryHandlers? Open()
    {
        if (File.Exists(Root + "/register")) return new BinaryHandlers(mounted: false);
        if (!File.ReadAllText("/proc/filesystems").Contains("binfmt_misc", StringComparison.Ordinal)) return null;
        try
        {
            Host.Run("mount", "-t", "binfmt_misc", "binfmt_misc", Root);
        }
        catch (TestException)
        {
            return null;
        }
        return new BinaryHandlers(mounted: true);
    }

    /// <summary>Somebody registered an emulator for arm64.</summary>
    public bool RunsArm64 => Directory.EnumerateFiles(Root).Any(f => Path.GetFileName(f) is not ("register" or "status") && File.ReadAllText(f).Contains("b700", StringComparison.Ordinal));

    /// <summary>A handler with an emulator that is opened now, so that containers need not have it; until it is disposed of.</summary>
    /// <param name="magic">With \xHH for what is no text.</param>
    public IDisposable Register(string name, string magic, string mask, string emulator)
    {
        // One write: it is one command.
        using (var register = new FileStream(Root + "/register", FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0))
            register.Write(System.Text.Encoding.ASCII.GetBytes($":{name}:M::{magic}:{mask}:{emulator}:F"));
        return new Registered(Path.Combine(Root, name));
    }

    public void Dispose()
    {
        if (_mounted) Host.Run("umount", Root);
    }

    private sealed class Registered(string path) : IDisposable
    {
        public void Dispose() => File.WriteAllText(path, "-1");
    }
}
