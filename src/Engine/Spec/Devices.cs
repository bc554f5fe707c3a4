using System.Globalization;
using System.Text.RegularExpressions;
using Berth.Api;
using Berth.Linux;
using Berth.Linux.Abi;
using Berth.Runtime.Spec;

namespace Berth.Engine;

/// <summary>Looks up device nodes on the host and parses device rules: the impure half of what the compiler is told about devices.</summary>
internal static partial class Devices
{
    // A directory given to --device, or all of /dev: more nodes than this are no device directory.
    private const int MaxNodes = 4096;

    public static (List<OciDevice> Devices, List<OciDeviceCgroup> Rules) Resolve(HostConfig host)
    {
        var devices = new List<OciDevice>();
        var rules = new List<OciDeviceCgroup>();
        if (host.Privileged)
        {
            AddTree("/dev", "/dev", devices, null, "rwm");
            foreach (var mapping in host.Devices ?? [])
            {
                if (mapping.PathOnHost != mapping.PathInContainer) AddMapping(mapping, devices, rules, "rwm");
            }
            return (devices, []);
        }
        foreach (var mapping in host.Devices ?? []) AddMapping(mapping, devices, rules, mapping.CgroupPermissions.Length == 0 ? "rwm" : mapping.CgroupPermissions);
        foreach (var rule in host.DeviceCgroupRules ?? []) rules.Add(ParseRule(rule));
        return (devices, rules);
    }

    private static void AddMapping(DeviceMapping mapping, List<OciDevice> devices, List<OciDeviceCgroup> rules, string access)
    {
        var inside = mapping.PathInContainer.Length == 0 ? mapping.PathOnHost : mapping.PathInContainer;
        // Links are followed first: /dev/disk/by-id/x stands for the disk.
        var status = FileAt.TryStatus(null, mapping.PathOnHost, followLinks: true, out var errno);
        if (status is null) throw Fail(mapping.PathOnHost, Text(errno));
        if (status.Value.Kind == FileKind.Directory)
        {
            var before = devices.Count;
            AddTree(mapping.PathOnHost, inside, devices, rules, access);
            if (devices.Count > before) return;
            throw Fail(mapping.PathOnHost, "not a device node");
        }
        if (!TryDevice(status.Value, inside, out var device)) throw Fail(mapping.PathOnHost, "not a device node");
        devices.Add(device);
        rules.Add(new OciDeviceCgroup(true, device.Type, device.Major, device.Minor, access));

        static EngineException Fail(string path, string reason) =>
            EngineException.System($"error gathering device information while adding custom device {GoText.Quote(path)}: {reason}");
    }

    private static void AddTree(string directory, string inside, List<OciDevice> devices, List<OciDeviceCgroup>? rules, string access)
    {
        foreach (var path in Directory.EnumerateFileSystemEntries(directory))
        {
            var name = Path.GetFileName(path);
            var status = FileAt.TryStatus(null, path, followLinks: false, out _);
            if (status is null) continue;
            if (status.Value.Kind == FileKind.Directory)
            {
                if (name is not ("pts" or "shm" or "fd" or "mqueue" or ".lxc" or ".lxd-mounts" or ".udev")) AddTree(path, inside + "/" + name, devices, rules, access);
                continue;
            }
            if (name == "console" || !TryDevice(status.Value, inside + "/" + name, out var device)) continue;
            if (devices.Count >= MaxNodes) throw EngineException.System($"more than {MaxNodes} device nodes in {directory}");
            devices.Add(device);
            rules?.Add(new OciDeviceCgroup(true, device.Type, device.Major, device.Minor, access));
        }
    }

    private static bool TryDevice(FileStatus status, string path, out OciDevice device)
    {
        device = new OciDevice(path, "", 0, 0);
        var type = status.Kind switch { FileKind.BlockDevice => "b", FileKind.CharacterDevice => "c", _ => "" };
        if (type.Length == 0) return false;
        device = new OciDevice(path, type, status.NodeDevice.Major, status.NodeDevice.Minor, status.Permissions, status.Uid, status.Gid);
        return true;
    }

    /// <summary>Device numbers of the paths that block io limits name.</summary>
    public static Dictionary<string, (long, long)> BlockDevices(HostConfig host)
    {
        var map = new Dictionary<string, (long, long)>();
        void Add(string path)
        {
            if (map.ContainsKey(path)) return;
            var status = FileAt.TryStatus(null, path, followLinks: true, out var errno) ?? throw EngineException.System($"stat {path}: {Text(errno)}");
            map[path] = (status.NodeDevice.Major, status.NodeDevice.Minor);
        }
        foreach (var device in host.BlkioWeightDevice ?? []) Add(device.Path);
        foreach (var device in (host.BlkioDeviceReadBps ?? []).Concat(host.BlkioDeviceWriteBps ?? []).Concat(host.BlkioDeviceReadIOps ?? []).Concat(host.BlkioDeviceWriteIOps ?? [])) Add(device.Path);
        return map;
    }

    public static OciDeviceCgroup ParseRule(string rule)
    {
        var match = Rule().Match(rule);
        if (!match.Success) throw EngineException.System($"invalid device cgroup rule format: '{rule}'");
        return new OciDeviceCgroup(true, match.Groups[1].Value, Number(2, "major"), Number(3, "minor"), match.Groups[4].Value);

        long Number(int group, string what) => match.Groups[group].Value is "*" ? -1
            : long.TryParse(match.Groups[group].Value, NumberStyles.None, CultureInfo.InvariantCulture, out var n) ? n
            : throw EngineException.System($"invalid {what} value in device cgroup rule format: '{rule}'");
    }

    private static string Text(Errno errno)
    {
        var text = errno.Describe();
        return char.ToLowerInvariant(text[0]) + text[1..];
    }

    [GeneratedRegex(@"^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$", RegexOptions.CultureInvariant)]
    private static partial Regex Rule();
}
