using System.Runtime.InteropServices;
using System.Text;

namespace Berth.Linux;

/// <summary>execve(2) of the process that calls: it becomes another program, with its descriptors, environment and process id.</summary>
public static unsafe class Execution
{
    /// <param name="arguments">The first is the program's own name.</param>
    /// <param name="changes">Variables of its environment that are not as ours.</param>
    /// <exception cref="LinuxException">It could not be executed; on success there is no return.</exception>
    public static void Become(string path, IReadOnlyList<string> arguments, IReadOnlyDictionary<string, string>? changes = null)
    {
        var environment = File.ReadAllText("/proc/self/environ", Encoding.Latin1).Split('\0', StringSplitOptions.RemoveEmptyEntries).ToList();
        foreach (var (name, value) in changes ?? new Dictionary<string, string>())
        {
            environment.RemoveAll(e => e.StartsWith(name + "=", StringComparison.Ordinal));
            environment.Add(Encoding.Latin1.GetString(Encoding.UTF8.GetBytes($"{name}={value}")));
        }
        var argv = Allocate(arguments, Encoding.UTF8);
        var envp = Allocate(environment, Encoding.Latin1);
        LibC.execve(path, argv, envp);
        var errno = LibC.LastErrno;
        throw new LinuxException("execve", $"\"{path}\"", errno);
    }

    // Not freed: either the program is gone or it ends with the error.
    private static byte** Allocate(IReadOnlyList<string> texts, Encoding encoding)
    {
        var list = (byte**)NativeMemory.Alloc((nuint)(texts.Count + 1), (nuint)sizeof(byte*));
        for (var i = 0; i < texts.Count; i++)
        {
            var bytes = encoding.GetBytes(texts[i] + "\0");
            list[i] = (byte*)NativeMemory.Alloc((nuint)bytes.Length);
            bytes.CopyTo(new Span<byte>(list[i], bytes.Length));
        }
        list[texts.Count] = null;
        return list;
    }
}
