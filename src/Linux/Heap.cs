namespace Berth.Linux;

/// <summary>The C library's heap, which libnftables and libzstd allocate from.</summary>
public static class Heap
{
    /// <summary>malloc_trim(3): gives the free pages of all arenas back to the kernel. Does nothing where the C library has no such call (musl).</summary>
    public static void Trim()
    {
        try
        {
            _ = LibC.malloc_trim(0);
        }
        catch (EntryPointNotFoundException)
        {
        }
    }
}
