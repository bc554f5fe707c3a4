using System.Runtime.CompilerServices;
using Berth.Linux.Abi;

namespace Berth.Fast.Tests.Linux;

public class QuotaTests
{
    [Fact]
    public void Structures_are_as_large_as_the_kernels()
    {
        Assert.Equal(112, Unsafe.SizeOf<DiskQuota>());
        Assert.Equal(80, Unsafe.SizeOf<QuotaStatus>());
        Assert.Equal(28, Unsafe.SizeOf<FileSystemAttributes>());
    }
}
