using System.Globalization;

namespace Berth.Engine;

/// <summary>
/// Programs of other processors that this machine runs all the same: the kernel hands them to an emulator, as its binfmt_misc handlers say (Documentation/admin-guide/binfmt-misc.rst).
/// Inside containers only a handler with the flag F will do, whose emulator was opened when it was registered: containers have no such file.
/// </summary>
public static class Emulators
{
    public const string Handlers = "/proc/sys/fs/binfmt_misc";

    /// <summary>Handlers looked at, and bytes of one: a dozen of a few hundred bytes are usual.</summary>
    private const int MaxHandlers = 1000, MaxHandlerBytes = 4096;

    // e_ident's class and byte order, and e_machine (elf.h).
    private static readonly (Images.Platform Platform, byte Class, bool LittleEndian, ushort Machine)[] Known =
    [
        (new("linux", "amd64"), 2, true, 62), (new("linux", "arm64"), 2, true, 183), (new("linux", "riscv64"), 2, true, 243), (new("linux", "ppc64le"), 2, true, 21), (new("linux", "s390x"), 2, false, 22),
        (new("linux", "386"), 1, true, 3), (new("linux", "mips64le"), 2, true, 8), (new("linux", "mips64"), 2, false, 8), (new("linux", "loong64"), 2, true, 258),
        (new("linux", "arm", "v7"), 1, true, 40), (new("linux", "arm", "v6"), 1, true, 40),
    ];

    /// <summary>What there are emulators for, beside what the processor runs itself.</summary>
    public static IReadOnlyList<Images.Platform> Platforms(string directory = Handlers)
    {
        var handlers = Read(directory);
        var found = new List<Images.Platform>();
        foreach (var known in Known)
        {
            if (Images.Platform.Best.Accepts(known.Platform)) continue;
            var header = Header(known.Class, known.LittleEndian, known.Machine);
            if (handlers.Exists(h => h.Takes(header))) found.Add(known.Platform);
        }
        return found;
    }

    /// <summary>Why nothing of a platform can run in containers here, and what to do; null when it can.</summary>
    public static string? Advice(Images.Platform platform, string directory = Handlers)
    {
        if (Images.Platform.Best.Accepts(platform)) return null;
        foreach (var emulated in Platforms(directory))
            if (emulated.Accepts(platform)) return null;
        return $"programs for {platform} need an emulator on this machine ({Images.Platform.Host}), and none is registered for containers: install qemu-user-static, whose handlers appear in {Handlers} with the flag F";
    }

    private static List<Handler> Read(string directory)
    {
        var handlers = new List<Handler>();
        try
        {
            foreach (var path in Directory.EnumerateFiles(directory))
            {
                if (Path.GetFileName(path) is "register" or "status" || handlers.Count == MaxHandlers) continue;
                using var file = new StreamReader(path);
                var text = new char[MaxHandlerBytes];
                if (Handler.TryParse(text.AsSpan(0, file.ReadBlock(text))) is { } handler) handlers.Add(handler);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Not mounted, or not ours to read: none that we know of.
        }
        return handlers;
    }

    // An executable's first bytes.
    private static byte[] Header(byte type, bool littleEndian, ushort machine)
    {
        byte[] header = [0x7F, (byte)'E', (byte)'L', (byte)'F', type, (byte)(littleEndian ? 1 : 2), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Put(16, 2);
        Put(18, machine);
        return header;

        void Put(int at, ushort value) => (header[at], header[at + 1]) = littleEndian ? ((byte)value, (byte)(value >> 8)) : ((byte)(value >> 8), (byte)value);
    }

    /// <summary>One that is enabled and works inside containers.</summary>
    private sealed record Handler(int Offset, byte[] Magic, byte[] Mask)
    {
        public static Handler? TryParse(ReadOnlySpan<char> text)
        {
            var (enabled, resident, offset) = (false, false, 0);
            byte[]? magic = null, mask = null;
            foreach (var line in text.EnumerateLines())
            {
                var space = line.IndexOf(' ');
                var value = line[(space + 1)..];
                switch (space < 0 ? line : line[..space])
                {
                    case "enabled": enabled = true; break;
                    case "flags:": resident = value.Contains('F'); break;
                    case "offset": offset = int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : -1; break;
                    case "magic": magic = Hex(value); break;
                    case "mask": mask = Hex(value); break;
                }
            }
            return enabled && resident && offset >= 0 && magic is not null ? new Handler(offset, magic, mask ?? [.. Enumerable.Repeat((byte)0xFF, magic.Length)]) : null;
        }

        public bool Takes(byte[] header)
        {
            if (Mask.Length != Magic.Length || Offset + Magic.Length > header.Length) return false;
            for (var i = 0; i < Magic.Length; i++)
                if (((header[Offset + i] ^ Magic[i]) & Mask[i]) != 0) return false;
            return true;
        }

        private static byte[]? Hex(ReadOnlySpan<char> text)
        {
            try
            {
                return Convert.FromHexString(text);
            }
            catch (FormatException)
            {
                return null;
            }
        }
    }
}
