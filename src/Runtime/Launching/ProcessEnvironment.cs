using System.Globalization;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Runtime.Spec;
using Microsoft.Win32.SafeHandles;

namespace Berth.Runtime.Launching;

/// <summary>The environment as runc completes it: of a variable given twice the last counts, and HOME is the user's from the container's /etc/passwd unless it is given.</summary>
internal static class ProcessEnvironment
{
    /// <summary>Larger files are not searched.</summary>
    private const int MaxPasswdBytes = 1024 * 1024;

    /// <param name="root">The container's root.</param>
    public static IReadOnlyList<string> Complete(OciProcess process, SafeFileHandle root)
    {
        var given = process.Env ?? [];
        var last = new Dictionary<string, int>(given.Count, StringComparer.Ordinal);
        for (var i = 0; i < given.Count; i++) last[NameOf(given[i])] = i;
        var list = last.Count == given.Count ? given.ToList() : given.Where((variable, i) => last[NameOf(variable)] == i).ToList();
        if (last.TryGetValue("HOME", out var home) && given[home].Length > "HOME=".Length) return list;
        list.RemoveAll(variable => NameOf(variable) == "HOME");
        list.Add("HOME=" + HomeOf(process.User.Uid, root));
        return list;
    }

    private static string NameOf(string variable)
    {
        var equals = variable.IndexOf('=');
        return equals < 0 ? variable : variable[..equals];
    }

    private static string HomeOf(uint uid, SafeFileHandle root)
    {
        try
        {
            // NonBlocking: a fifo of that name must not hold us up.
            using var file = FileAt.TryOpen(root, "etc/passwd", OpenFlags.ReadOnly | OpenFlags.NonBlocking, ResolveFlags.InRoot | ResolveFlags.NoMagicLinks, out _);
            if (file is null || FileAt.Status(file) is not { Kind: FileKind.Regular, SizeBytes: <= MaxPasswdBytes }) return "/";
            using var reader = new StreamReader(new FileStream(file, FileAccess.Read, 0));
            while (reader.ReadLine() is { } line)
            {
                var fields = line.Split(':');
                if (fields.Length >= 6 && uint.TryParse(fields[2], NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number == uid)
                    return fields[5].Length == 0 ? "/" : fields[5];
            }
        }
        catch (IOException)
        {
            // As without the file.
        }
        return "/";
    }
}
