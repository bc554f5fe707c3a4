using System.Text;
using Berth.Api;
using Berth.Cli.Output;
using Berth.Cli.Streams;

namespace Berth.Fast.Tests.Cli;

public class StreamTests
{
    [Theory]
    [InlineData("", "a\u0010b", "a\u0010b", false)]
    [InlineData("", "a\u0010\u0011b", "a", true)]
    [InlineData("", "\u0010\u0010\u0011", "\u0010", true)]
    [InlineData("ctrl-a,x", "\u0001y\u0001x", "\u0001y", true)]
    [InlineData("q", "abq", "ab", true)]
    public void The_keys_that_detach_are_found_and_what_only_began_like_them_is_passed_on(string keys, string typed, string passed, bool detached)
    {
        // However the bytes are cut into reads.
        foreach (var size in new[] { 1, 2, 100 })
        {
            var (watch, output, found) = (new DetachKeys(keys), new List<byte>(), false);
            foreach (var piece in Encoding.Latin1.GetBytes(typed).Chunk(size))
                if (found = watch.Pass(piece, output)) break;
            Assert.Equal(detached, found);
            Assert.Equal(passed, Encoding.Latin1.GetString([.. output]));
        }
    }

    [Theory]
    [InlineData("ctrl-")]
    [InlineData("ctrl-1")]
    [InlineData("foo")]
    [InlineData("a,,b")]
    public void Other_keys_are_refused(string keys) => Assert.Throws<FormatException>(() => new DetachKeys(keys));

    [Fact]
    public void Progress_keeps_a_line_for_each_layer_on_a_terminal()
    {
        var output = new StringWriter();
        var display = new ProgressDisplay(output, isTerminal: true, width: 80);
        display.Show(new() { Status = "Pulling from x", Id = "latest" });
        display.Show(new() { Status = "Downloading", Id = "aaa", ProgressDetail = new() { Current = 500_000, Total = 1_000_000 } });
        display.Show(new() { Status = "Downloading", Id = "bbb", ProgressDetail = new() { Current = 1, Total = 4 } });
        display.Show(new() { Status = "Pull complete", Id = "aaa", ProgressDetail = new() });
        Assert.Equal(
            "latest: Pulling from x\n"
            + "\n\u001b[1A\u001b[2K\raaa: Downloading    500kB/1MB\r\u001b[1B"
            + "\n\u001b[1A\u001b[2K\rbbb: Downloading       1B/4B\r\u001b[1B"
            + "\u001b[2A\u001b[2K\raaa: Pull complete \r\u001b[2B",
            output.ToString());
    }

    [Fact]
    public void Progress_elsewhere_is_a_line_for_each_step_and_no_bars()
    {
        var output = new StringWriter();
        var display = new ProgressDisplay(output, isTerminal: false, width: 0);
        display.Show(new() { Status = "Downloading", Id = "aaa", ProgressDetail = new() { Current = 1, Total = 2 } });
        display.Show(new() { Status = "Pull complete", Id = "aaa", ProgressDetail = new() });
        display.Show(new() { Stream = "Loaded image: x\n" });
        Assert.Equal("aaa: Pull complete\nLoaded image: x\n", output.ToString());
    }

    [Fact]
    public void A_wide_terminal_has_a_bar() =>
        Assert.Equal($"[{new string('=', 25)}>{new string(' ', 25)}]    500kB/1MB", ProgressDisplay.Bar(new JsonProgress { Current = 500_000, Total = 1_000_000 }, 120));

    [Fact]
    public void An_event_is_a_line_with_all_nine_digits_of_its_time() =>
        Assert.Equal(
            "2024-05-06T07:08:09.123456789Z container exec_start: sh abc (image=i, name=n)",
            Berth.Cli.Commands.Engine.EventsCommand.Line(
                new EventMessage { Type = "container", Action = "exec_start: sh", Actor = new() { ID = "abc", Attributes = new() { ["name"] = "n", ["image"] = "i" } }, Time = 1714979289, TimeNano = 1714979289123456789 }, TimeZoneInfo.Utc));

    [Fact]
    public void Columns_are_ten_wide_at_least_and_three_apart()
    {
        var output = new StringWriter();
        TableWriter.Write(output, ["A\tLONG HEADING\tLAST", "é…\tx\ty"]);
        Assert.Equal("A         LONG HEADING   LAST\né…        x              y\n", output.ToString());
    }
}
