using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Berth.Linux;
using Berth.Linux.Abi;

namespace Berth.Engine;

/// <summary>
/// What the options type, device and o of the driver "local" ask to be mounted as the volume: decided here, printed by <see cref="ToString"/>, done by <see cref="Mount"/>.
/// The words of o are mount(8)'s: those that the kernel has flags for become flags, the others are the file system's.
/// </summary>
internal sealed record LocalMount(string Device, string Type, MountFlags Flags, MountFlags Propagation, string Data)
{
    private static readonly Dictionary<string, (bool Clear, MountFlags Flag)> Words = new(StringComparer.Ordinal)
    {
        ["defaults"] = (false, 0), ["ro"] = (false, MountFlags.ReadOnly), ["rw"] = (true, MountFlags.ReadOnly), ["suid"] = (true, MountFlags.NoSuid), ["nosuid"] = (false, MountFlags.NoSuid),
        ["dev"] = (true, MountFlags.NoDev), ["nodev"] = (false, MountFlags.NoDev), ["exec"] = (true, MountFlags.NoExec), ["noexec"] = (false, MountFlags.NoExec),
        ["sync"] = (false, MountFlags.Synchronous), ["async"] = (true, MountFlags.Synchronous), ["dirsync"] = (false, MountFlags.DirectorySync), ["remount"] = (false, MountFlags.Remount),
        ["mand"] = (false, MountFlags.Mandatory), ["nomand"] = (true, MountFlags.Mandatory), ["atime"] = (true, MountFlags.NoAtime), ["noatime"] = (false, MountFlags.NoAtime),
        ["diratime"] = (true, MountFlags.NoDirectoryAtime), ["nodiratime"] = (false, MountFlags.NoDirectoryAtime), ["bind"] = (false, MountFlags.Bind),
        ["rbind"] = (false, MountFlags.Bind | MountFlags.Recursive), ["relatime"] = (false, MountFlags.RelativeAtime), ["norelatime"] = (true, MountFlags.RelativeAtime),
        ["strictatime"] = (false, MountFlags.StrictAtime), ["nostrictatime"] = (true, MountFlags.StrictAtime),
        ["unbindable"] = (false, MountFlags.Unbindable), ["runbindable"] = (false, MountFlags.Unbindable | MountFlags.Recursive), ["private"] = (false, MountFlags.Private),
        ["rprivate"] = (false, MountFlags.Private | MountFlags.Recursive), ["shared"] = (false, MountFlags.Shared), ["rshared"] = (false, MountFlags.Shared | MountFlags.Recursive),
        ["slave"] = (false, MountFlags.Slave), ["rslave"] = (false, MountFlags.Slave | MountFlags.Recursive),
    };

    private const MountFlags Kinds = MountFlags.Unbindable | MountFlags.Private | MountFlags.Shared | MountFlags.Slave;

    /// <summary>Null when the options ask for no mount: a plain directory.</summary>
    public static LocalMount? From(IReadOnlyDictionary<string, string>? options)
    {
        var (type, device) = (options?.GetValueOrDefault("type") ?? "", options?.GetValueOrDefault("device") ?? "");
        if (type.Length == 0 && device.Length == 0) return null;
        MountFlags flags = 0, propagation = 0;
        var data = new List<string>();
        foreach (var word in (options!.GetValueOrDefault("o") ?? "").Split(','))
        {
            if (!Words.TryGetValue(word, out var known))
            {
                if (word.Length > 0) data.Add(word);
            }
            else if ((known.Flag & Kinds) != 0) propagation = known.Flag;
            else if (known.Clear) flags &= ~known.Flag;
            else flags |= known.Flag;
        }
        return new LocalMount(device, type, flags, propagation, string.Join(',', data));
    }

    /// <summary>dockerd's checks of a local volume's options.</summary>
    /// <param name="quota">Whether sizes can be enforced where the volumes lie.</param>
    /// <returns>What is wrong; null when nothing is.</returns>
    public static string? Problem(IReadOnlyDictionary<string, string>? options, bool quota)
    {
        if (options is null) return null;
        foreach (var name in options.Keys.Order(StringComparer.Ordinal))
        {
            if (name is not ("type" or "device" or "o" or "size")) return $"invalid option: {GoText.Quote(name)}";
        }
        if (options.GetValueOrDefault("type") == "cifs" && options.GetValueOrDefault("device") is { Length: > 0 } url && HasPort(url)) return "port not allowed in CIFS device URL, include 'port' in 'o='";
        if (options.TryGetValue("size", out var size))
        {
            if (!GoText.TryParseRamSize(size, out var bytes)) return $"invalid size: '{size}'";
            if (bytes > 0 && !quota) return "quota size requested but no quota support";
        }
        foreach (var (name, needed) in (ReadOnlySpan<(string, string)>)[("device", "type"), ("type", "device"), ("o", "device"), ("o", "type")])
        {
            if (options.ContainsKey(name) && !options.ContainsKey(needed)) return $"missing required option: {GoText.Quote(needed)}";
        }
        return null;
    }

    private static bool HasPort(string url)
    {
        var host = HostOf(url);
        var colon = host.LastIndexOf(':');
        return colon >= 0 && colon > host.LastIndexOf(']') && colon + 1 < host.Length;
    }

    // //host/share, smb://host/share
    private static string HostOf(string url)
    {
        var start = url.IndexOf("//", StringComparison.Ordinal);
        if (start < 0) return "";
        var host = url[(start + 2)..];
        var end = host.IndexOf('/');
        if (end >= 0) host = host[..end];
        return host[(host.LastIndexOf('@') + 1)..];
    }

    /// <summary>Blocking, for as long as a server of nfs or cifs takes.</summary>
    /// <exception cref="EngineException">System: "failed to mount local volume: …".</exception>
    public void Mount(string target)
    {
        var resolved = Type is "nfs" or "cifs" ? Resolved() : this;
        if ((Flags & MountFlags.Remount) == 0 || Data.Length > 0) Check(resolved, HostMount.TryMount(resolved.Device, target, Type, Flags, resolved.Data), target);
        try
        {
            if (Propagation != 0) Check(this with { Device = "", Flags = Propagation, Data = "" }, HostMount.TryMount("", target, "", Propagation, null), target);
            // A bind takes its source's flags; read-only comes by a second call.
            const MountFlags ReadOnlyBind = MountFlags.Bind | MountFlags.ReadOnly;
            if ((Flags & ReadOnlyBind) == ReadOnlyBind) Check(this with { Device = "", Flags = Flags | MountFlags.Remount, Data = "" }, HostMount.TryMount("", target, "", Flags | MountFlags.Remount, null), target);
        }
        catch
        {
            HostMount.UnmountAll(target);
            throw;
        }
    }

    private static void Check(LocalMount call, Errno errno, string target)
    {
        if (errno != Errno.Success) throw EngineException.System($"failed to mount local volume: mount {call.Print(target)}: {errno.DescribeAsGo()}");
    }

    /// <summary>As dockerd's error names the call; passwords are not shown.</summary>
    public string Print(string target)
    {
        var text = Device.Length > 0 ? $"{Device}:{target}" : target;
        if (Flags != 0) text += string.Create(CultureInfo.InvariantCulture, $", flags: 0x{(ulong)Flags:x}");
        if (Data.Length > 0) text += ", data: " + string.Join(',', Data.Split(',').Select(w => w.StartsWith("password=", StringComparison.Ordinal) ? "password=********" : w));
        return text;
    }

    public override string ToString() => Print("(volume)");

    // The kernel takes addresses only; mount.nfs and mount.cifs would look names up.
    private LocalMount Resolved()
    {
        var words = Data.Split(',');
        for (var i = 0; i < words.Length; i++)
        {
            if (!words[i].StartsWith("addr=", StringComparison.Ordinal) || words[i].Length == "addr=".Length) continue;
            var name = words[i]["addr=".Length..];
            if (IPAddress.TryParse(name, out var known) && known.AddressFamily == AddressFamily.InterNetwork) return this;
            words[i] = "addr=" + LookUp(name);
            return this with { Data = string.Join(',', words) };
        }
        if (Type != "cifs" || HostOf(Device) is not { Length: > 0 } host || IPAddress.TryParse(host, out _)) return this;
        var at = Device.IndexOf(host, StringComparison.Ordinal);
        return this with { Device = Device[..at] + LookUp(host) + Device[(at + host.Length)..] };
    }

    private static string LookUp(string name)
    {
        try
        {
            var addresses = Dns.GetHostAddresses(name);
            return (addresses.FirstOrDefault(a => a.AddressFamily == AddressFamily.InterNetwork) ?? addresses[0]).ToString();
        }
        catch (Exception e) when (e is SocketException or ArgumentException or IndexOutOfRangeException)
        {
            throw EngineException.System($"error resolving passed in network volume address: lookup {name}: no such host", e);
        }
    }
}
