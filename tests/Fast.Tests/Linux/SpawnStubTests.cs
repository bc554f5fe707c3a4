using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Berth.Linux.Abi;
using Berth.Linux.Spawn;
using Cpu = System.Runtime.InteropServices.Architecture;

namespace Berth.Fast.Tests.Linux;

public sealed class SpawnStubTests
{
    [Theory]
    [InlineData("x64", "")]
    [InlineData("arm64", "aarch64-linux-gnu-")]
    public void The_bytes_are_those_of_the_listing(string architecture, string toolPrefix)
    {
        var tool = toolPrefix;
        if (RuntimeInformation.ProcessArchitecture.ToString().Equals(architecture, StringComparison.OrdinalIgnoreCase)) tool = "";
        Assert.SkipUnless(Environment.GetEnvironmentVariable("PATH")!.Split(':').Any(directory => File.Exists($"{directory}/{tool}as")), $"{tool}as is not installed");
        var listing = Path.Combine(Path.GetDirectoryName(Here())!, $"../../../src/Linux/Spawn/SpawnStub.{architecture}.s");
        var directory = Directory.CreateTempSubdirectory("berth-stub-").FullName;
        try
        {
            Run($"{tool}as", "-o", $"{directory}/stub.o", listing);
            Run($"{tool}objcopy", "-O", "binary", "-j", ".text", $"{directory}/stub.o", $"{directory}/stub.bin");

            var assembled = File.ReadAllBytes($"{directory}/stub.bin");

            // When the listing was changed on purpose: this is what belongs into SpawnStub.cs.
            Assert.Equal(Print(assembled), Print(architecture == "x64" ? SpawnStub.X64 : SpawnStub.Arm64));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void The_structures_have_the_sizes_and_offsets_the_stub_counts_on()
    {
        Assert.Equal(96, Marshal.SizeOf<SpawnStep>());
        Assert.Equal(56, (int)Marshal.OffsetOf<SpawnStep>(nameof(SpawnStep.Result)));
        Assert.Equal(88, (int)Marshal.OffsetOf<SpawnStep>(nameof(SpawnStep.OnFailure)));
        Assert.Equal(48, Marshal.SizeOf<SpawnReport>());
        Assert.Equal(88, Marshal.SizeOf<CloneArguments>());
        Assert.Equal(32, Marshal.SizeOf<MountAttr>());
        Assert.Equal(SpawnMemory.OpenHowBytes, Marshal.SizeOf<OpenHow>());
        Assert.Equal(256, Marshal.SizeOf<Statx>());
    }

    [Fact]
    public void Open_flags_that_differ_on_arm64_are_translated()
    {
        Assert.Equal(0x90000, OpenFlagsExtensions.ToKernel(OpenFlags.Directory | OpenFlags.CloseOnExec, Cpu.X64));
        Assert.Equal(0x84000, OpenFlagsExtensions.ToKernel(OpenFlags.Directory | OpenFlags.CloseOnExec, Cpu.Arm64));
        Assert.Equal(0x208000, OpenFlagsExtensions.ToKernel(OpenFlags.NoFollow | OpenFlags.Path, Cpu.Arm64));
    }

    private static string Print(ReadOnlySpan<byte> bytes) => string.Join('\n', bytes.ToArray().Chunk(24).Select(line => string.Concat(line.Select(b => $"0x{b:x2}, "))));

    private static void Run(string file, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(file, arguments) { RedirectStandardError = true })!;
        var errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{file}: {errors}");
    }

    private static string Here([CallerFilePath] string path = "") => path;
}
