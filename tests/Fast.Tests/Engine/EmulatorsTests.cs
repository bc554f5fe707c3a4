using Berth.Engine;
using Berth.Images;

namespace Berth.Fast.Tests.Engine;

/// <summary>What binfmt_misc's handlers say, as the kernel writes it.</summary>
public sealed class EmulatorsTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("berth-handlers-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private void Write(string name, string machine, string flags = "F", string enabled = "enabled", string type = "0201") => File.WriteAllText(Path.Combine(_directory, name),
        $"{enabled}\ninterpreter /usr/bin/qemu\nflags: {flags}\noffset 0\nmagic 7f454c46{type}010000000000000000000200{machine}\nmask ffffffffffffff00fffffffffffffffffeffffff\n");

    private IEnumerable<string> Found => Emulators.Platforms(_directory).Select(p => p.ToString());

    [Fact]
    public void Platforms_are_those_whose_programs_a_handler_takes()
    {
        Write("qemu-riscv64", "f300");
        Write("qemu-s390x", "0016", type: "0202");
        File.WriteAllText(Path.Combine(_directory, "status"), "enabled\n");
        File.WriteAllText(Path.Combine(_directory, "python3"), "enabled\ninterpreter /usr/bin/python3\nflags: \noffset 0\nmagic cb0d0d0a\n");
        File.WriteAllText(Path.Combine(_directory, "odd"), "enabled\nflags: F\noffset 99999999999\nmagic zz\n");
        Assert.Equal(["linux/riscv64"], Found.Where(p => p != "linux/s390x"));
    }

    [Fact]
    public void Those_that_are_off_or_whose_emulator_containers_do_not_see_do_not_count()
    {
        Write("off", "f300", enabled: "disabled");
        Write("outside", "0201", flags: "OC");
        Assert.Empty(Found);
        Assert.Empty(Emulators.Platforms(Path.Combine(_directory, "missing")));
    }

    [Fact]
    public void Advice_is_given_where_nothing_of_the_platform_can_run()
    {
        var riscv = new Platform("linux", "riscv64");
        Assert.Contains("qemu-user-static", Emulators.Advice(riscv, _directory), StringComparison.Ordinal);
        Assert.Null(Emulators.Advice(Platform.Host, _directory));
        Write("qemu-riscv64", "f300");
        Assert.Null(Emulators.Advice(riscv, _directory));
    }
}
