namespace Berth.Kernel.Tests.Runtime;

public sealed class StartTests
{
    [Fact]
    public void A_process_runs_and_its_output_and_exit_code_come_back()
    {
        using var container = new TestContainer();

        var output = container.Run("sh", "-c", "echo out; echo err >&2; exit 7");

        Assert.Equal(new Output("out\n", "err\n", 7), output);
    }
}
