using System.Globalization;
using Berth.Api;

namespace Berth.Engine;

/// <summary>A mount as asked for, checked: -v's text and --mount's object lead to the same record.</summary>
internal sealed record MountRequest
{
    public required MountRecord Record { get; init; }

    /// <summary>A new volume gets what the image has at the destination.</summary>
    public bool Copy { get; init; }
    public IReadOnlyDictionary<string, string>? VolumeLabels { get; init; }
    public IReadOnlyDictionary<string, string>? VolumeOptions { get; init; }
}

/// <summary>The grammar of -v, --mount and --tmpfs, and dockerd's complaints about them.</summary>
internal static class MountParser
{
    private static readonly string[] Propagations = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];
    private const string DefaultPropagation = "rprivate";

    /// <summary>Parses source:destination[:options], or a destination alone.</summary>
    /// <exception cref="EngineException">InvalidParameter.</exception>
    public static MountRequest ParseVolume(string text, string volumeDriver)
    {
        var parts = text.Split(':', 4);
        if (parts[0].Length == 0 || parts.Length > 3 || (parts.Length == 2 && IsMode(parts[1]))) throw Invalid(text);
        var source = parts.Length == 1 ? "" : parts[0];
        var target = parts.Length == 1 ? parts[0] : parts[1];
        var mode = parts.Length == 3 ? parts[2] : "";
        if (!IsMode(mode)) throw EngineException.System($"invalid mode: {mode}");

        var options = mode.Split(',');
        var propagation = options.FirstOrDefault(o => Propagations.Contains(o));
        var bind = source.StartsWith('/');
        var mount = new Mount
        {
            Type = bind ? "bind" : "volume", Source = source, Target = target, ReadOnly = options.Contains("ro"),
            BindOptions = propagation is null ? null : new BindOptions { Propagation = propagation },
        };
        if (!bind && (volumeDriver.Length > 0 || options.Contains("nocopy")))
        {
            mount.VolumeOptions = new VolumeOptions
            {
                NoCopy = options.Contains("nocopy"),
                DriverConfig = volumeDriver.Length > 0 ? new VolumeDriverConfig { Name = volumeDriver } : null,
            };
        }
        else if (bind && options.Contains("nocopy")) mount.VolumeOptions = new VolumeOptions { NoCopy = true };
        MountRequest request;
        try
        {
            request = Parse(mount, sourceMustExist: false);
        }
        catch (EngineException e)
        {
            throw EngineException.System($"invalid volume specification: '{text}': {e.Message}");
        }
        var record = request.Record with { Mode = mode, CreateSource = bind };
        // A volume's mode is never empty: z, as if for a label shared by its users.
        if (!bind && mode.Length == 0) record = record with { Mode = "z" };
        return request with { Record = record };
    }

    // dockerd forgets to say that these are the client's fault, and answers 500.
    private static EngineException Invalid(string text) => EngineException.System($"invalid volume specification: '{text}'");

    /// <summary>Parses an entry of HostConfig.Mounts.</summary>
    /// <exception cref="EngineException">InvalidParameter.</exception>
    public static MountRequest Parse(Mount mount, bool sourceMustExist = true)
    {
        Check(mount, sourceMustExist);
        var record = new MountRecord { Type = mount.Type!, Destination = Validation.CleanPath(mount.Target!), ReadWrite = !mount.ReadOnly };
        switch (mount.Type)
        {
            case "bind":
                var bind = mount.BindOptions;
                record = record with
                {
                    Source = Validation.CleanPath(mount.Source!),
                    Propagation = bind?.Propagation is { Length: > 0 } propagation ? propagation : DefaultPropagation,
                    PropagationGiven = bind?.Propagation is { Length: > 0 },
                    CreateSource = bind?.CreateMountpoint ?? false,
                    NonRecursive = bind?.NonRecursive ?? false,
                    ReadOnlyNonRecursive = bind?.ReadOnlyNonRecursive ?? false,
                    ReadOnlyForceRecursive = bind?.ReadOnlyForceRecursive ?? false,
                };
                return new MountRequest { Record = record };
            case "volume":
                var volume = mount.VolumeOptions;
                record = record with
                {
                    Name = mount.Source ?? "",
                    Driver = volume?.DriverConfig?.Name is { Length: > 0 } driver ? driver : "local",
                    Anonymous = string.IsNullOrEmpty(mount.Source),
                    Mode = "z",
                    Subpath = volume?.Subpath ?? "",
                };
                return new MountRequest { Record = record, Copy = volume?.NoCopy != true, VolumeLabels = volume?.Labels, VolumeOptions = volume?.DriverConfig?.Options };
            case "image":
                return new MountRequest
                {
                    Record = record with { Name = mount.Source!, ReadWrite = false, Subpath = mount.ImageOptions?.Subpath ?? "", Propagation = DefaultPropagation },
                };
            default:
                return new MountRequest { Record = record with { TmpfsOptions = TmpfsText(mount.TmpfsOptions, mount.ReadOnly) } };
        }
    }

    /// <exception cref="EngineException">InvalidParameter: "invalid mount config for type "bind": …".</exception>
    public static void Check(Mount mount, bool sourceMustExist)
    {
        EngineException Bad(string reason) => Validation.Bad($"invalid mount config for type {GoText.Quote(mount.Type ?? "")}: {reason}");

        if (string.IsNullOrEmpty(mount.Target)) throw Bad("field Target must not be empty");
        if (IsRoot(mount.Target)) throw Bad("invalid specification: destination can't be '/'");
        if (mount.Target[0] != '/') throw Bad($"invalid mount path: '{mount.Target}' mount path must be absolute");
        switch (mount.Type)
        {
            case "bind":
                if (string.IsNullOrEmpty(mount.Source)) throw Bad("field Source must not be empty");
                if (mount.BindOptions?.Propagation is { Length: > 0 } p && !Propagations.Contains(p)) throw Bad($"invalid propagation mode: {p}");
                if (mount.VolumeOptions is not null) throw Bad("field VolumeOptions must not be specified");
                if (mount.ImageOptions is not null) throw Bad("field ImageOptions must not be specified");
                if (mount.Source[0] != '/') throw Bad($"invalid mount path: '{mount.Source}' mount path must be absolute");
                if (sourceMustExist && mount.BindOptions?.CreateMountpoint != true && !Path.Exists(mount.Source))
                    throw Bad($"bind source path does not exist: {mount.Source}");
                break;
            case "volume":
                if (mount.BindOptions is not null) throw Bad("field BindOptions must not be specified");
                if (mount.ImageOptions is not null) throw Bad("field ImageOptions must not be specified");
                var anonymous = string.IsNullOrEmpty(mount.Source);
                if (mount.VolumeOptions?.Subpath is { Length: > 0 } subpath)
                {
                    if (anonymous) throw Bad("must not set Subpath when using anonymous volumes");
                    if (!IsLocal(subpath)) throw Bad("subpath must be a relative path within the volume");
                }
                if (mount.ReadOnly && anonymous) throw Bad("must not set ReadOnly mode when using anonymous volumes");
                break;
            case "tmpfs":
                if (mount.BindOptions is not null) throw Bad("field BindOptions must not be specified");
                if (mount.ImageOptions is not null) throw Bad("field ImageOptions must not be specified");
                if (!string.IsNullOrEmpty(mount.Source)) throw Bad("field Source must not be specified");
                try
                {
                    TmpfsText(mount.TmpfsOptions, mount.ReadOnly);
                }
                catch (EngineException e)
                {
                    throw Bad(e.Message);
                }
                break;
            case "image":
                if (mount.BindOptions is not null) throw Bad("field BindOptions must not be specified");
                if (mount.VolumeOptions is not null) throw Bad("field VolumeOptions must not be specified");
                if (string.IsNullOrEmpty(mount.Source)) throw Bad("field Source must not be empty");
                if (mount.ImageOptions?.Subpath is { Length: > 0 } part && !IsLocal(part)) throw Bad("subpath must be a relative path within the volume");
                break;
            default:
                throw Bad("mount type unknown");
        }
    }

    public static void CheckTmpfsDestination(string destination)
    {
        if (IsRoot(destination)) throw Validation.Bad("invalid specification: destination can't be '/'");
        if (!destination.StartsWith('/')) throw Validation.Bad($"invalid mount path: '{destination}' mount path must be absolute");
    }

    private static bool IsRoot(string path) => path.StartsWith('/') && Validation.CleanPath(path) == "/";

    // Go's filepath.IsLocal: relative, not empty, and never above where it starts.
    private static bool IsLocal(string path)
    {
        if (path.Length == 0 || path[0] == '/') return false;
        var depth = 0;
        foreach (var part in path.Split('/'))
        {
            if (part == "..") depth--;
            else if (part is not ("" or ".")) depth++;
            if (depth < 0) return false;
        }
        return true;
    }

    private static bool IsMode(string mode)
    {
        if (mode.Length == 0) return true;
        int access = 0, label = 0, propagation = 0, copy = 0, consistency = 0;
        foreach (var option in mode.Split(','))
        {
            switch (option)
            {
                case "rw" or "ro": access++; break;
                case "z" or "Z": label++; break;
                case "nocopy": copy++; break;
                case "consistent" or "cached" or "delegated": consistency++; break;
                default:
                    if (!Propagations.Contains(option)) return false;
                    propagation++;
                    break;
            }
        }
        return access <= 1 && label <= 1 && propagation <= 1 && copy <= 1 && consistency <= 1;
    }

    private static string TmpfsText(TmpfsOptions? options, bool readOnly)
    {
        var list = new List<string>();
        if (readOnly) list.Add("ro");
        if (options is { Mode: not 0 }) list.Add("mode=" + Convert.ToString(options.Mode, 8));
        if (options is { SizeBytes: not 0 })
        {
            var (size, suffix) = options.SizeBytes switch
            {
                var s when s % (1 << 30) == 0 => (s >> 30, "g"),
                var s when s % (1 << 20) == 0 => (s >> 20, "m"),
                var s when s % (1 << 10) == 0 => (s >> 10, "k"),
                var s => (s, ""),
            };
            list.Add("size=" + size.ToString(CultureInfo.InvariantCulture) + suffix);
        }
        foreach (var option in options?.Options ?? [])
        {
            if (option.Length is < 1 or > 2) throw Validation.Bad("invalid option array length");
            if (option[0] is not ("exec" or "noexec")) throw Validation.Bad("invalid option: " + option[0]);
            list.Add(option.Length == 1 ? option[0] : option[0] + "=" + option[1]);
        }
        return string.Join(',', list);
    }

    // Which flag undoes which: the later of a pair counts.
    private static readonly Dictionary<string, string> TmpfsFlags = new()
    {
        ["exec"] = "exec", ["noexec"] = "exec", ["suid"] = "suid", ["nosuid"] = "suid", ["dev"] = "dev", ["nodev"] = "dev", ["ro"] = "ro", ["rw"] = "ro",
        ["sync"] = "sync", ["async"] = "sync", ["atime"] = "atime", ["noatime"] = "atime", ["diratime"] = "diratime", ["nodiratime"] = "diratime",
        ["relatime"] = "relatime", ["norelatime"] = "relatime", ["strictatime"] = "strictatime", ["nostrictatime"] = "strictatime", ["mand"] = "mand",
        ["nomand"] = "mand", ["dirsync"] = "dirsync", ["remount"] = "remount", ["bind"] = "bind", ["rbind"] = "rbind", ["unbindable"] = "propagation",
        ["runbindable"] = "propagation", ["private"] = "propagation", ["rprivate"] = "propagation", ["shared"] = "propagation", ["rshared"] = "propagation",
        ["slave"] = "propagation", ["rslave"] = "propagation", ["defaults"] = "defaults",
    };

    /// <summary>Docker's defaults for a tmpfs with the user's options over them.</summary>
    /// <exception cref="EngineException">InvalidParameter for an option that a tmpfs does not have.</exception>
    public static List<string> MergeTmpfs(string userOptions)
    {
        List<string> all = ["noexec", "nosuid", "nodev", DefaultPropagation];
        if (userOptions.Length > 0) all.AddRange(userOptions.Split(','));
        var seen = new HashSet<string>();
        var merged = new List<string>();
        for (var i = all.Count - 1; i >= 0; i--)
        {
            var option = all[i];
            if (option == "defaults") continue;
            string key;
            if (TmpfsFlags.TryGetValue(option, out var flag)) key = flag;
            else
            {
                var equals = option.IndexOf('=');
                var name = equals < 0 ? option : option[..equals];
                if (equals < 0 || name is not ("size" or "mode" or "uid" or "gid" or "nr_inodes" or "nr_blocks" or "mpol")) throw EngineException.System($"invalid tmpfs option {GoText.Quote(option)}");
                key = name + "=";
            }
            if (seen.Add(key)) merged.Add(option);
        }
        merged.Reverse();
        return merged;
    }
}
