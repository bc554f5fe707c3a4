using System.Globalization;
using System.Text;
using Berth.Images;

namespace Berth.Engine;

/// <summary>Numeric identity of a container's process.</summary>
/// <param name="Home">Home directory of the matched passwd entry, "/" without one.</param>
/// <param name="AdditionalGids">The primary group first, as dockerd passes it on: otherwise a negative ACL entry for the primary group could be dodged by setgroups.</param>
public sealed record ResolvedUser(uint Uid, uint Gid, string Home, IReadOnlyList<uint> AdditionalGids);

/// <summary>
/// Resolves "user", "uid", "user:group", … against the text of an image's /etc/passwd and /etc/group, by the rules of passwd(5) and
/// the error texts of dockerd. Pure: the caller reads the files.
/// </summary>
public static class Users
{
    // passwd files are read whole from the image; a larger one is refused rather than held in memory.
    internal const int MaxFileBytes = 4 << 20;
    private const string NoPasswdEntries = "no matching entries in passwd file";
    private const string NoGroupEntries = "no matching entries in group file";
    private const string OutOfRange = "uids and gids must be in range 0-2147483647";

    /// <param name="spec">As USER or -u; empty is root.</param>
    /// <param name="passwd">Text of /etc/passwd; null when the image has none.</param>
    /// <param name="group">Text of /etc/group; null when the image has none.</param>
    /// <exception cref="EngineException">InvalidParameter with Docker's text.</exception>
    public static ResolvedUser Resolve(string spec, IReadOnlyList<string> groupAdd, string? passwd, string? group)
    {
        var colon = spec.IndexOf(':');
        var userPart = colon < 0 ? spec : spec[..colon];
        var groupPart = colon < 0 ? "" : spec[(colon + 1)..];
        if (groupPart.IndexOf(':') is var second and >= 0) groupPart = groupPart[..second];

        var userIsNumber = int.TryParse(userPart, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var uidWanted);
        var groupIsNumber = int.TryParse(groupPart, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var gidWanted);

        int uid = 0, gid = 0;
        string home = "/", matchedName = "";
        foreach (var entry in Entries(passwd, 7))
        {
            var matches = userPart.Length == 0 ? Number(entry[2]) == 0
                : userIsNumber ? Number(entry[2]) == uidWanted
                : entry[0] == userPart;
            if (!matches) continue;
            (matchedName, uid, gid, home) = (entry[0], Number(entry[2]) ?? 0, Number(entry[3]) ?? 0, entry[5]);
            break;
        }
        if (matchedName.Length == 0 && userPart.Length > 0)
        {
            if (!userIsNumber) throw EngineException.Invalid($"unable to find user {userPart}: {NoPasswdEntries}");
            if (uidWanted < 0) throw EngineException.Invalid(OutOfRange);
            uid = uidWanted;
        }

        var supplementary = new List<int>();
        if (groupPart.Length > 0)
        {
            var found = Entries(group, 4).FirstOrDefault(g => groupIsNumber ? Number(g[2]) == gidWanted : g[0] == groupPart);
            if (found is not null) gid = Number(found[2]) ?? 0;
            else if (!groupIsNumber) throw EngineException.Invalid($"unable to find group {groupPart}: {NoGroupEntries}");
            else if (gidWanted < 0) throw EngineException.Invalid(OutOfRange);
            else gid = gidWanted;
        }
        else if (matchedName.Length > 0)
        {
            foreach (var entry in Entries(group, 4))
            {
                if (entry[3].Split(',').Contains(matchedName) && Number(entry[2]) is { } g) supplementary.Add(g);
            }
        }

        var gids = new List<uint> { (uint)gid };
        foreach (var g in supplementary.Concat(AdditionalGroups(groupAdd, group))) gids.Add((uint)g);
        return new ResolvedUser((uint)uid, (uint)gid, home, gids);
    }

    /// <summary>The same against the files of an image or container.</summary>
    public static ResolvedUser Resolve(string spec, IReadOnlyList<string> groupAdd, LayerFileReader files)
    {
        return Resolve(spec, groupAdd, Read("/etc/passwd"), Read("/etc/group"));

        string? Read(string path) => files.TryReadFile(path, MaxFileBytes, out var content) ? Encoding.UTF8.GetString(content) : null;
    }

    private static List<int> AdditionalGroups(IReadOnlyList<string> wanted, string? group)
    {
        var gids = new List<int>();
        foreach (var name in wanted)
        {
            int gid;
            if (Entries(group, 4).FirstOrDefault(g => g[0] == name || g[2] == name) is { } entry && Number(entry[2]) is { } known) gid = known;
            else if (!long.TryParse(name, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number))
                throw EngineException.Invalid($"unable to find group {name}: {NoGroupEntries}");
            else if (number is < 0 or > int.MaxValue) throw EngineException.Invalid(OutOfRange);
            else gid = (int)number;
            if (!gids.Contains(gid)) gids.Add(gid);
        }
        return gids;
    }

    // Missing fields read as empty, as Docker's parser does.
    private static IEnumerable<string[]> Entries(string? text, int fields)
    {
        if (text is null) yield break;
        foreach (var raw in text.Split('\n'))
        {
            var line = raw.Trim();
            if (line.Length == 0 || line[0] == '#') continue;
            var parts = line.Split(':');
            if (parts.Length < fields)
            {
                var missing = parts.Length;
                Array.Resize(ref parts, fields);
                Array.Fill(parts, "", missing, fields - missing);
            }
            yield return parts;
        }
    }

    private static int? Number(string text) =>
        text.Length == 0 ? 0 : int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var n) ? n : null;
}
