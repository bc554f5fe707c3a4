using Berth.Linux.Abi;
using Berth.Runtime.Spec;

namespace Berth.Runtime.Launching;

/// <summary>The options of an OCI mount, told apart: what belongs to the mount, to the file system, to propagation (config-linux.md, "Linux mount options").</summary>
internal sealed record MountOptions
{
    public MountAttributes Set { get; private init; }
    public MountAttributes Clear { get; private init; }
    /// <summary>The r… options: rro, rnosuid, … for the mount and all below it.</summary>
    public MountAttributes RecursiveSet { get; private init; }
    public MountAttributes RecursiveClear { get; private init; }
    public MountPropagation Propagation { get; private init; }
    public bool PropagationRecursive { get; private init; }
    public bool IsBind { get; private init; }
    public bool BindRecursive { get; private init; }
    public bool CopyUp { get; private init; }
    /// <summary>What the file system itself understands: mode=755, size=64m; a null value for a flag.</summary>
    public IReadOnlyList<KeyValuePair<string, string?>> Data { get; private init; } = [];
    /// <summary>Whether any option changes the mount's attributes; a bind keeps those of its source otherwise.</summary>
    public bool ChangesAttributes => Set != 0 || Clear != 0;

    public static MountOptions Parse(OciMount mount)
    {
        MountAttributes set = 0, clear = 0, rset = 0, rclear = 0;
        var propagation = MountPropagation.Unchanged;
        bool propagationRecursive = false, bind = mount.Type == "bind", recursive = false, copyUp = false;
        var data = new List<KeyValuePair<string, string?>>();
        foreach (var option in mount.Options ?? [])
        {
            switch (option)
            {
                case "bind": bind = true; break;
                case "rbind": (bind, recursive) = (true, true); break;
                case "tmpcopyup": copyUp = true; break;
                case "defaults" or "loud" or "silent" or "nomand" or "noiversion" or "nolazytime" or "async" or "remount" or "acl": break;
                case "sync" or "dirsync" or "lazytime" or "mand": data.Add(new(option, null)); break;
                case "iversion": break; // on by default wherever it exists
                case "private" or "rprivate": (propagation, propagationRecursive) = (MountPropagation.Private, option[0] == 'r'); break;
                case "slave" or "rslave": (propagation, propagationRecursive) = (MountPropagation.Slave, option[0] == 'r'); break;
                case "shared" or "rshared": (propagation, propagationRecursive) = (MountPropagation.Shared, option[0] == 'r'); break;
                case "unbindable" or "runbindable": (propagation, propagationRecursive) = (MountPropagation.Unbindable, option[0] == 'r'); break;
                default:
                    if (TryAttribute(option, ref set, ref clear)) break;
                    if (option.Length > 1 && option[0] == 'r' && TryAttribute(option[1..], ref rset, ref rclear)) break;
                    var equals = option.IndexOf('=');
                    data.Add(equals < 0 ? new(option, null) : new(option[..equals], option[(equals + 1)..]));
                    break;
            }
        }
        return new MountOptions
        {
            Set = set, Clear = clear, RecursiveSet = rset, RecursiveClear = rclear, Propagation = propagation, PropagationRecursive = propagationRecursive,
            IsBind = bind, BindRecursive = recursive, CopyUp = copyUp, Data = data,
        };
    }

    private static bool TryAttribute(string option, ref MountAttributes set, ref MountAttributes clear)
    {
        switch (option)
        {
            case "ro": Put(MountAttributes.ReadOnly, ref set, ref clear); return true;
            case "rw": Put(MountAttributes.ReadOnly, ref clear, ref set); return true;
            case "nosuid": Put(MountAttributes.NoSuid, ref set, ref clear); return true;
            case "suid": Put(MountAttributes.NoSuid, ref clear, ref set); return true;
            case "nodev": Put(MountAttributes.NoDev, ref set, ref clear); return true;
            case "dev": Put(MountAttributes.NoDev, ref clear, ref set); return true;
            case "noexec": Put(MountAttributes.NoExec, ref set, ref clear); return true;
            case "exec": Put(MountAttributes.NoExec, ref clear, ref set); return true;
            case "nodiratime": Put(MountAttributes.NoDirectoryAtime, ref set, ref clear); return true;
            case "diratime": Put(MountAttributes.NoDirectoryAtime, ref clear, ref set); return true;
            case "nosymfollow": Put(MountAttributes.NoSymlinkFollow, ref set, ref clear); return true;
            case "symfollow": Put(MountAttributes.NoSymlinkFollow, ref clear, ref set); return true;
            // The three kinds of atime are one field of the kernel: it is cleared whenever it is set.
            case "noatime": set = (set & ~MountAttributes.AtimeMask) | MountAttributes.NoAtime; clear |= MountAttributes.AtimeMask; return true;
            case "strictatime": set = (set & ~MountAttributes.AtimeMask) | MountAttributes.StrictAtime; clear |= MountAttributes.AtimeMask; return true;
            case "relatime" or "atime" or "nostrictatime": set &= ~MountAttributes.AtimeMask; clear |= MountAttributes.AtimeMask; return true;
            case "norelatime": return true;
            default: return false;
        }
    }

    private static void Put(MountAttributes attribute, ref MountAttributes to, ref MountAttributes from)
    {
        to |= attribute;
        from &= ~attribute;
    }

    /// <summary>Options in fstab's words, for printing.</summary>
    public static string Print(MountAttributes attributes, IReadOnlyList<KeyValuePair<string, string?>> data)
    {
        var words = new List<string>();
        if (attributes.HasFlag(MountAttributes.ReadOnly)) words.Add("ro");
        if (attributes.HasFlag(MountAttributes.NoSuid)) words.Add("nosuid");
        if (attributes.HasFlag(MountAttributes.NoDev)) words.Add("nodev");
        if (attributes.HasFlag(MountAttributes.NoExec)) words.Add("noexec");
        if (attributes.HasFlag(MountAttributes.NoAtime)) words.Add("noatime");
        if (attributes.HasFlag(MountAttributes.StrictAtime)) words.Add("strictatime");
        if (attributes.HasFlag(MountAttributes.NoDirectoryAtime)) words.Add("nodiratime");
        if (attributes.HasFlag(MountAttributes.NoSymlinkFollow)) words.Add("nosymfollow");
        words.AddRange(data.Select(pair => pair.Value is null ? pair.Key : $"{pair.Key}={pair.Value}"));
        return words.Count == 0 ? "rw" : string.Join(',', words);
    }
}
