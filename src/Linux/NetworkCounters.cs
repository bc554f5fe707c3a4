using System.Buffers.Text;
using System.Text;
using Berth.Linux.Abi;
using Berth.Linux.Cgroups;
using Microsoft.Win32.SafeHandles;

namespace Berth.Linux;

/// <summary>What an interface has received and sent since it was made.</summary>
public readonly record struct InterfaceCounters(
    string Name, ulong RxBytes, ulong RxPackets, ulong RxErrors, ulong RxDropped, ulong TxBytes, ulong TxPackets, ulong TxErrors, ulong TxDropped);

/// <summary>
/// The counters of the interfaces in a process's network namespace, from one descriptor of /proc/PID/net/dev that is read again and again. It keeps the
/// namespace: dispose it when the process ends.
/// </summary>
public sealed class NetworkCounters : IDisposable
{
    // 120 bytes a line: some five hundred interfaces.
    private const int MaxBytes = 64 * 1024;

    // Besides lo, what the kernel puts into every new namespace when the module is loaded; no network of a container's.
    private static readonly HashSet<string> Fallbacks =
        new(StringComparer.Ordinal) { "lo", "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0" };

    private readonly SafeFileHandle _file;
    private byte[] _buffer = new byte[1024];

    private NetworkCounters(SafeFileHandle file) => _file = file;

    /// <summary>Null: no such process.</summary>
    public static NetworkCounters? TryOpen(int pid)
    {
        var file = LibC.openat(At.FDCWD, $"/proc/{pid}/net/dev", (OpenFlags.ReadOnly | OpenFlags.CloseOnExec).ToKernel(), 0);
        if (!file.IsInvalid) return new NetworkCounters(file);
        file.Dispose();
        return null;
    }

    /// <summary>All interfaces but loopback and those the kernel makes on its own.</summary>
    public IReadOnlyList<InterfaceCounters> Read()
    {
        while (true)
        {
            var length = CgroupFile.ReadOnce(_file, _buffer, out _);
            if (length <= 0) return [];
            // A line more would not have fitted, perhaps.
            if (length < _buffer.Length - 256 || _buffer.Length >= MaxBytes) return Parse(_buffer.AsSpan(0, length));
            _buffer = new byte[_buffer.Length * 4];
        }
    }

    /// <summary>"  eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop ...", below two lines of heading.</summary>
    internal static IReadOnlyList<InterfaceCounters> Parse(ReadOnlySpan<byte> text)
    {
        List<InterfaceCounters>? found = null;
        Span<ulong> n = stackalloc ulong[12];
        while (text.Length > 0)
        {
            var end = text.IndexOf((byte)'\n');
            var line = end < 0 ? text : text[..end];
            text = end < 0 ? default : text[(end + 1)..];
            var colon = line.IndexOf((byte)':');
            if (colon < 0) continue;
            var name = Encoding.UTF8.GetString(line[..colon].Trim((byte)' '));
            if (Fallbacks.Contains(name)) continue;
            line = line[(colon + 1)..];
            var count = 0;
            while (count < n.Length && Utf8Parser.TryParse(line = line.TrimStart((byte)' '), out ulong value, out var used))
            {
                n[count++] = value;
                line = line[used..];
            }
            if (count == n.Length) (found ??= []).Add(new InterfaceCounters(name, n[0], n[1], n[2], n[3], n[8], n[9], n[10], n[11]));
        }
        return found ?? (IReadOnlyList<InterfaceCounters>)[];
    }

    public void Dispose() => _file.Dispose();
}
