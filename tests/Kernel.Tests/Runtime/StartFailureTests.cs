using Berth.Linux;
using Berth.Runtime;
using Berth.Runtime.Spec;

namespace Berth.Kernel.Tests.Runtime;

/// <summary>Errors in the words of Docker with runc 1.3, as its clients show them (and look into them for the exit code).</summary>
public sealed class StartFailureTests
{
    private const string Create = "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: ";
    private const string ExecFailed = "OCI runtime exec failed: exec failed: unable to start container process: ";

    [Theory]
    [InlineData("nosuch", LaunchErrorKind.ExecutableNotFound, "exec: \"nosuch\": executable file not found in $PATH")]
    [InlineData("", LaunchErrorKind.ExecutableNotFound, "exec: \"\": executable file not found in $PATH")]
    [InlineData("/nosuch", LaunchErrorKind.ExecutableNotFound, "exec: \"/nosuch\": stat /nosuch: no such file or directory")]
    [InlineData("./true", LaunchErrorKind.ExecutableNotFound, "exec: \"./true\": stat ./true: no such file or directory")]
    [InlineData("/etc/passwd", LaunchErrorKind.PermissionDenied, "exec: \"/etc/passwd\": permission denied")]
    [InlineData("/etc/passwd/x", LaunchErrorKind.ExecutableNotFound, "exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory")]
    [InlineData("/etc", LaunchErrorKind.IsDirectory, "exec: \"/etc\": is a directory")]
    public void An_executable_that_can_not_be_run_is_told(string name, LaunchErrorKind kind, string text)
    {
        using var container = new TestContainer();

        var exception = Assert.Throws<LaunchException>(() => container.Run(name));

        Assert.Equal(Create + text, exception.Message);
        Assert.Equal(kind, exception.Kind);
    }

    [Theory]
    [InlineData("nosuch", "exec: \"nosuch\": executable file not found in $PATH")]
    [InlineData("/nosuch", "exec: \"/nosuch\": stat /nosuch: no such file or directory")]
    [InlineData("/etc", "exec: \"/etc\": is a directory")]
    [InlineData("/etc/passwd", "exec: \"/etc/passwd\": permission denied")]
    public void An_exec_that_can_not_be_run_is_told(string name, string text)
    {
        using var container = new TestContainer();
        container.Start("sleep", "1000");

        var exception = Assert.Throws<LaunchException>(() => container.Exec(name));

        Assert.Equal(ExecFailed + text, exception.Message);
    }

    [Theory]
    [InlineData("/nosuch", "no such file or directory")]
    [InlineData("/etc/passwd", "not a directory")]
    public void An_exec_in_a_directory_that_is_none_is_told(string directory, string text)
    {
        using var container = new TestContainer();
        container.Start("sleep", "1000");

        var exception = Assert.Throws<LaunchException>(() => container.Exec(process => process with { Cwd = directory }, "true"));

        Assert.Equal($"{ExecFailed}chdir to cwd (\"{directory}\") set in config.json failed: {text}", exception.Message);
        Assert.Equal(LaunchErrorKind.WorkingDirectory, exception.Kind);
    }

    [Fact]
    public void Files_in_the_path_that_are_no_executables_are_passed_over()
    {
        using var container = new TestContainer();
        container.AddFile("/usr/local/bin/tool", "not for execution\n");
        Directory.CreateDirectory(Path.Combine(container.Root.UpperDirectory, "usr/local/sbin/tool"));
        container.AddFile("/bin/tool", "#!/bin/sh\necho found\n", executable: true);

        Assert.Equal("found\n", container.Run("tool").Text);
    }

    // Docker has created such a container and started it: the message is in its log and its exit code is 255.
    [Theory]
    [InlineData("garbage", "exec /bin/tool: exec format error\n")]
    [InlineData("#!/no/interpreter\n", "exec /bin/tool: no such file or directory\n")]
    public void What_the_kernel_does_not_take_as_an_executable_ends_with_255(string content, string text)
    {
        using var container = new TestContainer();
        container.AddFile("/bin/tool", content, executable: true);

        Assert.Equal(new Output("", text, 255), container.Run("tool"));
    }

    [Fact]
    public void A_missing_bind_source_is_told()
    {
        using var container = new TestContainer();
        container.WithMount(new OciMount { Destination = "/x", Type = "bind", Source = "/no/such", Options = ["rbind"] });

        var exception = Assert.Throws<LaunchException>(() => container.Run("true"));

        Assert.Equal(Create + "error mounting \"/no/such\" to rootfs at \"/x\": mount src=/no/such, dst=/x, flags=MS_BIND|MS_REC: no such file or directory", exception.Message);
        Assert.Equal(LaunchErrorKind.Mount, exception.Kind);
    }

    [Fact]
    public void A_directory_on_a_file_is_told()
    {
        using var container = new TestContainer();
        container.WithMount(new OciMount { Destination = "/etc/passwd", Type = "bind", Source = container.Scratch, Options = ["rbind"] });

        var exception = Assert.Throws<LaunchException>(() => container.Run("true"));

        Assert.Equal($"{Create}error mounting \"{container.Scratch}\" to rootfs at \"/etc/passwd\": mount src={container.Scratch}, dst=/etc/passwd, flags=MS_BIND|MS_REC: not a directory", exception.Message);
        Assert.Equal($"bind {container.Scratch} on /etc/passwd rbind,rprivate", exception.Step);
    }

    [Fact]
    public void A_file_on_a_directory_is_told()
    {
        using var container = new TestContainer();
        container.WithMount(new OciMount { Destination = "/etc", Type = "bind", Source = "/etc/passwd", Options = ["rbind"] });

        var exception = Assert.Throws<LaunchException>(() => container.Run("true"));

        Assert.EndsWith("mount src=/etc/passwd, dst=/etc, flags=MS_BIND|MS_REC: not a directory", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/proc/foo", "\"/proc/foo\" cannot be mounted because it is inside /proc")]
    [InlineData("/proc", "\"/proc\" cannot be mounted because it is not of type proc")]
    [InlineData("/etc/../proc/sys", "\"/proc/sys\" cannot be mounted because it is inside /proc")]
    public void Nothing_is_mounted_over_proc(string target, string text)
    {
        using var container = new TestContainer();
        container.WithMount(new OciMount { Destination = target, Type = "bind", Source = container.Scratch, Options = ["rbind"] });

        var exception = Assert.Throws<LaunchException>(() => container.Run("true"));

        Assert.EndsWith(text, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_hostname_that_is_too_long_is_told()
    {
        using var container = new TestContainer();
        container.With(spec => spec with { Hostname = new string('a', 70) });

        Assert.Equal(Create + "sethostname: invalid argument", Assert.Throws<LaunchException>(() => container.Run("true")).Message);
    }

    [Fact]
    public void A_sysctl_that_does_not_exist_is_told()
    {
        using var container = new TestContainer();
        container.WithLinux(linux => linux with { Sysctl = new Dictionary<string, string> { ["net.ipv4.nosuch"] = "1" } });

        Assert.Equal(Create + "open sysctl net.ipv4.nosuch file: no such file or directory", Assert.Throws<LaunchException>(() => container.Run("true")).Message);
    }

    [Fact]
    public void A_working_directory_below_a_file_is_told()
    {
        using var container = new TestContainer();
        container.WithProcess(process => process with { Cwd = "/etc/passwd/x" });

        var exception = Assert.Throws<LaunchException>(() => container.Run("true"));

        Assert.Equal(Create + "chdir to cwd (\"/etc/passwd/x\") set in config.json failed: not a directory", exception.Message);
    }

    [Fact]
    public void A_missing_layer_is_told()
    {
        using var container = new TestContainer();
        container.Root = container.Root with { LowerDirectories = ["/no/such/layer"] };

        var exception = Assert.Throws<LaunchException>(() => container.Run("true"));

        Assert.Contains("\"/no/such/layer\") = ENOENT (No such file or directory)", exception.Message, StringComparison.Ordinal);
    }
}
