using Berth.Compose.Yaml;

namespace Berth.Compose.Loading;

/// <summary>Paths in a file are relative to the project's directory; here they are joined with it.</summary>
internal static class RelativePaths
{
    private static readonly PathRules<Func<Node, string, Node>> Rules = new(
        ("services.*.build.context", Context), ("services.*.build.additional_contexts.*", Context), ("services.*.build.ssh.*", File),
        ("services.*.env_file.*.path", File), ("services.*.label_file.*", File), ("services.*.extends.file", File), ("services.*.develop.watch.*.path", Link), ("services.*.volumes.*", Mount),
        ("configs.*.file", File), ("secrets.*.file", File), ("include.path", File), ("include.project_directory", File), ("include.env_file", File), ("volumes.*", Device));

    public static void Resolve(Node model, string directory) => Resolve(model, TreePath.Root, directory);

    private static Node Resolve(Node value, TreePath path, string directory)
    {
        if (Rules.Find(path) is { } rule) return rule(value, directory);
        if (value.IsMap)
        {
            foreach (var key in new List<string>(value.Entries.Keys)) value.Entries[key] = Resolve(value.Entries[key], path.Next(key), directory);
        }
        else if (value.IsList)
        {
            for (var i = 0; i < value.Items.Count; i++) value.Items[i] = Resolve(value.Items[i], path.Item, directory);
        }
        return value;
    }

    public static string Join(string directory, string path)
    {
        if (path.StartsWith('~')) path = Specs.CleanPath((Environment.GetEnvironmentVariable("HOME") ?? "~") + "/" + path[1..]);
        if (path.Length == 0 || path[0] == '/' || IsWindowsAbsolute(path)) return path;
        return Specs.CleanPath(directory.Length == 0 ? path : directory + "/" + path);
    }

    private static bool IsWindowsAbsolute(string path) => path.StartsWith("\\\\", StringComparison.Ordinal) || (path.Length > 2 && char.IsAsciiLetter(path[0]) && path[1] == ':' && path[2] is '\\' or '/');

    private static Node File(Node value, string directory)
    {
        if (value.IsString) return Node.Of(Join(directory, value.Text), value.At);
        if (!value.IsList) return value;
        for (var i = 0; i < value.Items.Count; i++) value.Items[i] = File(value.Items[i], directory);
        return value;
    }

    private static Node Context(Node value, string directory)
    {
        if (!value.IsString || IsRemote(value.Text) || value.Text.StartsWith("service:", StringComparison.Ordinal)) return value;
        return File(value, directory);
    }

    /// <summary>A build context that is no directory here.</summary>
    public static bool IsRemote(string context)
    {
        if (context.Contains("://", StringComparison.Ordinal)) return true;
        return context.StartsWith("github.com/", StringComparison.Ordinal) || context.StartsWith("git@", StringComparison.Ordinal);
    }

    // The file system's own name for it: events of watched files come under that.
    private static Node Link(Node value, string directory)
    {
        if (!value.IsString) return value;
        var path = Join(directory, value.Text);
        var target = System.IO.File.Exists(path) || Directory.Exists(path) ? new FileInfo(path).ResolveLinkTarget(returnFinalTarget: true)?.FullName : null;
        return Node.Of(target ?? path, value.At);
    }

    private static Node Mount(Node value, string directory)
    {
        if (!value.IsMap || value.TextOf("type") != "bind") return value;
        if (value.Get("source") is not { } source) throw new ComposeException($"invalid mount config for type \"bind\": field Source must not be empty ({value.At})");
        value["source"] = File(source, directory);
        return value;
    }

    private static Node Device(Node value, string directory)
    {
        if (value.TextOf("driver") == "local" && value.Get("driver_opts") is { IsMap: true } options && options.TextOf("o") == "bind" && options.Get("device") is { IsString: true } device)
            options["device"] = Node.Of(device.Text.Length == 0 ? directory : Join(directory, device.Text), device.At);
        return value;
    }
}
