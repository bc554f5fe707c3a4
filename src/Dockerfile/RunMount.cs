using System.Globalization;
using System.Text;
using Berth.Api.Go;

namespace Berth.Dockerfile;

public enum RunMountType
{
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

public enum CacheSharing
{
    Shared,
    Private,
    Locked,
}

/// <summary>RUN --mount: what a command sees beside its stage's files. Dockerfile reference, "RUN --mount".</summary>
public sealed record RunMount
{
    private static readonly string[] Types = ["bind", "cache", "tmpfs", "secret", "ssh"], Sharings = ["shared", "private", "locked"];

    private static readonly string[] Keys =
        ["type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode", "uid", "gid", "src", "dst", "destination", "ro", "rw", "readwrite", "env"];

    public RunMountType Type { get; init; }

    /// <summary>Stage, context or image.</summary>
    public string From { get; init; } = "";
    public string Source { get; init; } = "";
    public string Target { get; init; } = "";
    public bool ReadOnly { get; init; }

    /// <summary>Of cache, secret and ssh.</summary>
    public string Id { get; init; } = "";
    public CacheSharing? Sharing { get; init; }

    /// <summary>A secret or agent that is not given fails the build.</summary>
    public bool Required { get; init; }

    /// <summary>Of tmpfs; 0 for no limit.</summary>
    public long SizeBytes { get; init; }

    /// <summary>The variable a secret is given in; empty for its id.</summary>
    public string? Environment { get; init; }

    public uint? Mode { get; init; }
    public uint? UserId { get; init; }
    public uint? GroupId { get; init; }

    /// <param name="expand">Puts variables in.</param>
    /// <exception cref="DockerfileException"/>
    public static RunMount Parse(string flag, Func<string, string> expand)
    {
        var mount = new RunMount();
        bool? readOnly = null;
        foreach (var field in Fields(flag))
        {
            var equals = field.IndexOf('=');
            var key = (equals < 0 ? field : field[..equals]).ToLowerInvariant();
            if (equals < 0)
            {
                switch (key)
                {
                    case "readonly" or "ro": readOnly = true; continue;
                    case "readwrite" or "rw": readOnly = false; continue;
                    case "required": mount = mount with { Required = Only(mount.Type is RunMountType.Secret or RunMountType.Ssh, key, mount.Type) }; continue;
                    default: throw new DockerfileException($"invalid field '{field}' must be a key=value pair");
                }
            }
            var value = expand(field[(equals + 1)..]);
            switch (key)
            {
                case "type": mount = mount with { Type = (RunMountType)Choice(value, Types, "mount type") }; break;
                case "from": mount = mount with { From = value }; break;
                case "source" or "src": mount = mount with { Source = value }; break;
                case "target" or "dst" or "destination": mount = mount with { Target = value }; break;
                case "readonly" or "ro": readOnly = Bool(key, value); break;
                case "readwrite" or "rw": readOnly = !Bool(key, value); break;
                case "required": mount = mount with { Required = Only(mount.Type is RunMountType.Secret or RunMountType.Ssh, key, mount.Type) && Bool(key, value) }; break;
                case "size":
                    Only(mount.Type is RunMountType.Tmpfs, key, mount.Type);
                    mount = GoText.TryParseRamSize(value, out var bytes) ? mount with { SizeBytes = bytes } : throw new DockerfileException($"invalid value for {key}: {value}");
                    break;
                case "id": mount = mount with { Id = value }; break;
                case "sharing": mount = mount with { Sharing = (CacheSharing)Choice(value, Sharings, "sharing value") }; break;
                case "mode": mount = mount with { Mode = Number(key, value, 8) }; break;
                case "uid": mount = mount with { UserId = Number(key, value, 10) }; break;
                case "gid": mount = mount with { GroupId = Number(key, value, 10) }; break;
                case "env": mount = mount with { Environment = value }; break;
                default: throw new DockerfileException($"unexpected key '{key}' in '{field}'{Suggestion.For(key, Keys)}");
            }
        }
        mount = mount with { ReadOnly = readOnly ?? mount.Type is not (RunMountType.Cache or RunMountType.Tmpfs) };
        mount.Check();
        return mount;
    }

    /// <summary>What can be told before variables are in.</summary>
    /// <exception cref="DockerfileException"/>
    internal static void CheckUnexpanded(string flag)
    {
        foreach (var field in Fields(flag))
            if (field.StartsWith("from=", StringComparison.OrdinalIgnoreCase) && field.IndexOf('$') is var dollar && dollar >= 0 && dollar < field.Length - 1)
                throw new DockerfileException("'from' doesn't support variable expansion, define alias stage instead");
    }

    private void Check()
    {
        var name = Types[(int)Type];
        if (Type is RunMountType.Bind or RunMountType.Tmpfs)
        {
            if (Mode is not null) throw new DockerfileException($"mode not allowed for \"{name}\" type mounts");
            if (UserId is not null) throw new DockerfileException($"uid not allowed for \"{name}\" type mounts");
            if (GroupId is not null) throw new DockerfileException($"gid not allowed for \"{name}\" type mounts");
        }
        if (Type == RunMountType.Secret)
        {
            if (From.Length > 0) throw new DockerfileException("secret mount should not have a from");
            if (Sharing is not null) throw new DockerfileException("secret mount should not define sharing");
            if (Source.Length == 0 && Target.Length == 0 && Id.Length == 0) throw new DockerfileException("invalid secret mount. one of source, target required");
            if (Source.Length > 0 && Id.Length > 0) throw new DockerfileException("both source and id can't be set");
        }
        if (Sharing is not null && Type != RunMountType.Cache) throw new DockerfileException($"invalid cache sharing set for {name} mount");
    }

    private static bool Only(bool allowed, string key, RunMountType type) => allowed ? true : throw new DockerfileException($"unexpected key '{key}' for mount type '{Types[(int)type]}'");

    private static int Choice(string value, string[] known, string what)
    {
        var index = Array.IndexOf(known, value.ToLowerInvariant());
        return index >= 0 ? index : throw new DockerfileException($"unsupported {what} {GoText.Quote(value)}{Suggestion.For(value, known)}");
    }

    private static bool Bool(string key, string value) => GoText.TryParseBool(value, out var result) ? result : throw new DockerfileException($"invalid value for {key}: {value}");

    private static uint Number(string key, string value, int radix)
    {
        try
        {
            if (value.Length > 0 && value.All(char.IsAsciiDigit)) return Convert.ToUInt32(value, radix);
        }
        catch (Exception e) when (e is FormatException or OverflowException) { }
        throw new DockerfileException($"invalid value {value} for {key}");
    }

    // One line of CSV (RFC 4180): commas may stand within double quotes.
    private static List<string> Fields(string flag)
    {
        var fields = new List<string>();
        var at = 0;
        while (true)
        {
            var field = new StringBuilder();
            if (at < flag.Length && flag[at] == '"')
            {
                for (at++; ; at++)
                {
                    if (at == flag.Length) throw Wrong();
                    if (flag[at] != '"') field.Append(flag[at]);
                    else if (at + 1 < flag.Length && flag[at + 1] == '"') field.Append(flag[++at]);
                    else break;
                }
                if (++at < flag.Length && flag[at] != ',') throw Wrong();
            }
            else
            {
                for (; at < flag.Length && flag[at] != ','; at++) field.Append(flag[at] != '"' ? flag[at] : throw Wrong());
            }
            fields.Add(field.ToString());
            if (at == flag.Length) return fields;
            at++;
        }

        DockerfileException Wrong() => new(string.Create(CultureInfo.InvariantCulture, $"failed to parse csv mounts: parse error on line 1, column {at + 1}: bare \" in non-quoted-field"));
    }
}
