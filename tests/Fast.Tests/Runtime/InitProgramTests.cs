using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Berth.Runtime.Init;

namespace Berth.Fast.Tests.Runtime;

public sealed class InitProgramTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("berth-init-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData("x64", "")]
    [InlineData("arm64", "aarch64-linux-gnu-")]
    public void The_bytes_are_those_of_the_listing(string architecture, string tool)
    {
        if (RuntimeInformation.ProcessArchitecture.ToString().Equals(architecture, StringComparison.OrdinalIgnoreCase)) tool = "";
        Assert.SkipUnless(Environment.GetEnvironmentVariable("PATH")!.Split(':').Any(directory => File.Exists($"{directory}/{tool}as")), $"{tool}as is not installed");
        var listing = Path.Combine(Path.GetDirectoryName(Here())!, $"../../../src/Runtime/Init/Init.{architecture}.s");
        Run($"{tool}as", "-o", $"{_directory}/init.o", listing);
        Run($"{tool}objcopy", "-O", "binary", "-j", ".text", $"{_directory}/init.o", $"{_directory}/init.bin");
        var assembled = File.ReadAllBytes($"{_directory}/init.bin");

        // When the listing was changed on purpose: this is what belongs into InitProgram.cs.
        Assert.Equal(Print(assembled), Print(architecture == "x64" ? InitProgram.X64 : InitProgram.Arm64));
    }

    [Fact]
    public void The_file_is_written_once_and_again_when_it_differs()
    {
        var path = InitProgram.WriteTo(_directory);
        Assert.Equal(UnixFileMode.UserExecute, File.GetUnixFileMode(path) & UnixFileMode.UserExecute);
        Assert.Equal(InitProgram.Image.ToArray(), File.ReadAllBytes(path));
        var before = File.GetLastWriteTimeUtc(path);
        File.SetLastWriteTimeUtc(path, before = new DateTime(2020, 1, 1, 0, 0, 0, DateTimeKind.Utc));
        InitProgram.WriteTo(_directory);
        Assert.Equal(before, File.GetLastWriteTimeUtc(path));
        File.WriteAllText(path, "of an older engine");
        InitProgram.WriteTo(_directory);
        Assert.Equal(InitProgram.Image.ToArray(), File.ReadAllBytes(path));
        Assert.Equal([path], Directory.GetFiles(_directory));
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
