using System.Globalization;
using Berth.Api;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Containers;

/// <summary>What --mount says: type=bind,src=/x,dst=/y,readonly.</summary>
internal static class MountSpec
{
    /// <exception cref="FormatException">Docker's words.</exception>
    public static Mount Parse(string value)
    {
        var mount = new Mount { Type = "volume" };
        foreach (var field in Csv.Fields(value))
        {
            var equals = field.IndexOf('=');
            var key = (equals < 0 ? field : field[..equals]).ToLowerInvariant();
            var text = equals < 0 ? null : field[(equals + 1)..];
            switch (key)
            {
                case "readonly" or "ro": mount.ReadOnly = Bool(key, text); break;
                case "volume-nocopy": Volume(mount).NoCopy = text is null || (GoText.TryParseBool(text, out var noCopy) ? noCopy : throw new FormatException($"invalid value for volume-nocopy: {text}")); break;
                case "bind-nonrecursive": Bind(mount).NonRecursive = Bool(key, text); break;
                case var _ when text is null: throw new FormatException($"invalid field '{field}' must be a key=value pair");
                case "type": mount.Type = text.ToLowerInvariant(); break;
                case "source" or "src": mount.Source = text.StartsWith('.') ? Path.GetFullPath(text) : text; break;
                case "target" or "dst" or "destination": mount.Target = text; break;
                case "consistency": mount.Consistency = text.ToLowerInvariant(); break;
                case "bind-propagation": Bind(mount).Propagation = text.ToLowerInvariant(); break;
                case "bind-recursive":
                    switch (text)
                    {
                        case "enabled": break;
                        case "disabled": Bind(mount).NonRecursive = true; break;
                        case "writable": Bind(mount).ReadOnlyNonRecursive = true; break;
                        case "readonly": Bind(mount).ReadOnlyForceRecursive = true; break;
                        default: throw new FormatException($"invalid value for {key}: {text} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")");
                    }
                    break;
                case "volume-subpath": Volume(mount).Subpath = text; break;
                case "volume-label": Add((Volume(mount).Labels ?? []), text, labels => mount.VolumeOptions!.Labels = labels); break;
                case "volume-driver": Driver(mount).Name = text; break;
                case "volume-opt": Add(Driver(mount).Options ?? [], text, options => mount.VolumeOptions!.DriverConfig!.Options = options); break;
                case "image-subpath": (mount.ImageOptions ??= new()).Subpath = text; break;
                case "tmpfs-size":
                    try
                    {
                        Tmpfs(mount).SizeBytes = Units.ParseRam(text);
                    }
                    catch (FormatException)
                    {
                        throw new FormatException($"invalid value for {key}: {text}");
                    }
                    break;
                case "tmpfs-mode": Tmpfs(mount).Mode = Octal(text) ?? throw new FormatException($"invalid value for {key}: {text}"); break;
                default: throw new FormatException($"unexpected key '{key}' in '{field}'");
            }
        }
        if (mount.Type is null) throw new FormatException("type is required");
        if (mount.Target is null) throw new FormatException("target is required");
        foreach (var (used, type) in new[] { (mount.VolumeOptions is not null, "volume"), (mount.ImageOptions is not null, "image"), (mount.BindOptions is not null, "bind"), (mount.TmpfsOptions is not null, "tmpfs") })
            if (used && mount.Type != type) throw new FormatException($"cannot mix '{type}-*' options with mount type '{mount.Type}'");
        if (mount.BindOptions is { ReadOnlyNonRecursive: true } && !mount.ReadOnly) throw new FormatException("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction");
        if (mount.BindOptions is { ReadOnlyForceRecursive: true } bind)
        {
            if (!mount.ReadOnly) throw new FormatException("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction");
            if (bind.Propagation != "rprivate") throw new FormatException("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction");
        }
        return mount;
    }

    private static BindOptions Bind(Mount mount) => mount.BindOptions ??= new();

    private static VolumeOptions Volume(Mount mount) => mount.VolumeOptions ??= new();

    private static VolumeDriverConfig Driver(Mount mount) => Volume(mount).DriverConfig ??= new();

    private static TmpfsOptions Tmpfs(Mount mount) => mount.TmpfsOptions ??= new();

    private static bool Bool(string key, string? text) =>
        text is null || (GoText.TryParseBool(text, out var value) ? value : throw new FormatException($"invalid value for {key}: {text}"));

    // Assigned again after each addition: the wire's records turn an empty map into none.
    private static void Add(Dictionary<string, string> map, string pair, Action<Dictionary<string, string>> assign)
    {
        var (key, value) = CreateRequestBuilder.Cut(pair);
        if (key.Length > 0) map[key] = value;
        assign(map);
    }

    private static uint? Octal(string text)
    {
        uint value = 0;
        foreach (var c in text)
        {
            if (c is < '0' or > '7' || value > 0x1fffffff) return null;
            value = value * 8 + (uint)(c - '0');
        }
        return text.Length == 0 ? null : value;
    }
}
