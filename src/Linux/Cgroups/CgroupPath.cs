namespace Berth.Linux.Cgroups;

/// <summary>Where a container's cgroup is: parent and id, with Docker's rules for <c>--cgroup-parent</c> under the cgroupfs driver.</summary>
public static class CgroupPath
{
    /// <summary>Longest path accepted; the kernel's PATH_MAX less room for the mount point and file names.</summary>
    public const int MaxLength = 3500;

    /// <summary>
    /// <c>/parent/id</c>. A parent without a leading slash is taken below the root; <c>..</c> cannot leave it; <c>foo.slice</c> is an ordinary name,
    /// as dockerd takes it with the cgroupfs driver.
    /// </summary>
    public static string Of(string parent, string id) => throw new NotImplementedException();
}
