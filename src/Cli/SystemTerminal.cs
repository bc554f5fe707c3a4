namespace Berth.Cli;

/// <summary>The process's own terminal. Only Linux's is known so far; elsewhere there seems to be none.</summary>
internal sealed class SystemTerminal : ITerminal
{
    public bool InputIsTerminal { get; } = OperatingSystem.IsLinux() ? Linux.StandardTerminal.IsTerminal(0) : !Console.IsInputRedirected;

    public bool OutputIsTerminal { get; } = OperatingSystem.IsLinux() ? Linux.StandardTerminal.IsTerminal(1) : !Console.IsOutputRedirected;

    public bool ErrorIsTerminal => OperatingSystem.IsLinux() ? Linux.StandardTerminal.IsTerminal(2) : !Console.IsErrorRedirected;

    public (int Height, int Width) Size => OperatingSystem.IsLinux() && (Linux.StandardTerminal.TryGetSize(1, out var rows, out var columns) || Linux.StandardTerminal.TryGetSize(2, out rows, out columns)) ? (rows, columns) : (0, 0);

    public IDisposable MakeRaw()
    {
        if (!InputIsTerminal || !OperatingSystem.IsLinux()) return Nothing.Instance;
        var restore = Linux.StandardTerminal.MakeRaw(0);
        // However this process ends, it leaves the terminal as it was.
        AppDomain.CurrentDomain.ProcessExit += (_, _) => restore.Dispose();
        return restore;
    }

    public IDisposable HideInput()
    {
        if (!InputIsTerminal || !OperatingSystem.IsLinux()) return Nothing.Instance;
        var restore = Linux.StandardTerminal.HideInput(0);
        AppDomain.CurrentDomain.ProcessExit += (_, _) => restore.Dispose();
        return restore;
    }

    public static Stream Open(int descriptor)
    {
        if (OperatingSystem.IsLinux()) return new Linux.StandardStream(descriptor);
        return descriptor switch { 0 => Console.OpenStandardInput(), 1 => Console.OpenStandardOutput(), _ => Console.OpenStandardError() };
    }

    private sealed class Nothing : IDisposable
    {
        public static readonly Nothing Instance = new();

        public void Dispose() { }
    }
}
