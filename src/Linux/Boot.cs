namespace Berth.Linux;

/// <summary>Since when the kernel runs.</summary>
public static class Boot
{
    /// <summary>
    /// A name for the time since the machine was started, random(4). What was written in another boot and not synced may be there in part only: lengths and times without the contents.
    /// Empty where there is none.
    /// </summary>
    public static string Id { get; } = File.Exists("/proc/sys/kernel/random/boot_id") ? File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim() : "";
}
