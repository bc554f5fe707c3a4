using System.Diagnostics;
using System.Globalization;
using Berth.Bench;
using Berth.Testing;

// The figures that Berth promises, one method per row; each runs on both engines in turn, a sample here, a sample there, so that a busy
// moment of the machine hits both.
var options = Options.Parse(args);
if (options is null) return args is ["--list"] ? 0 : 2;
CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;

await using var daemon = await TestDaemon.StartAsync("--debug=false", "--log-opt", "max-size=-1" /* as Docker: nothing is rotated away that is to be read back */);
using var berth = Engine.Berth(daemon);
using var docker = options.Docker is null ? null : Engine.Docker(options.Docker);
Engine[] engines = docker is null ? [berth] : [berth, docker];

var bench = new Benchmarks(berth, docker, options);
try
{
    foreach (var engine in engines)
    {
        Directory.CreateDirectory(Path.Combine(Repository.Root, "artifacts", "bench", "docker-config"));
        engine.Client("load", "-i", Images.BusyboxArchive);
        await engine.RemoveContainersAsync();
        engine.Client("run", "--rm", Images.Busybox, "true"); // the first of each is not counted
    }
    // After an image and a container have come and gone, so that all of the engine has been in use.
    if (options.Wants("idle")) await bench.IdleAsync();
    if (options.Wants("run-none")) bench.Run("run-none", "docker run --rm --network none … true", "none", "1/5", 0.2);
    if (options.Wants("run")) bench.Run("run", "docker run --rm … true, default bridge", "bridge", "1/5", 0.2);
    if (options.Wants("api-none")) await bench.ApiAsync("api-none", "API: create, start, wait, remove; none", "none", 15);
    if (options.Wants("api")) await bench.ApiAsync("api", "API: create, start, wait, remove; bridge", null, 20);
    if (options.Wants("berth-run")) bench.BerthRun();
    if (options.Wants("version")) bench.BerthVersion();
    if (options.Wants("exec")) await bench.ExecAsync();
    if (options.Wants("parallel")) await bench.ParallelAsync();
    if (options.Wants("density")) await bench.DensityAsync();
    if (options.Wants("logs")) await bench.LogsAsync();
    if (options.Wants("stats")) await bench.StatsAsync();
    if (options.Wants("dns")) await bench.NamesAsync();
    if (options.Wants("ps-500")) await bench.ListAsync();
    if (options.Wants("restart")) await bench.RestartAsync(daemon);
    if (options.Wants("cp")) await bench.CopyAsync();
    if (options.Wants("load") || options.Wants("save")) await bench.LoadAndSaveAsync(options.Wants("load"), options.Wants("save"));
    if (options.Wants("pull-1g")) await bench.PullAsync("pull-1g", "10 layers of 100 MB", PullImage.Large);
    if (options.Wants("pull-40")) await bench.PullAsync("pull-40", "40 small layers", PullImage.ManyLayers);
    if (options.Wants("registry")) await bench.RegistryAsync();
    if (options.Wants("net-create")) await bench.NetworkCreateAsync();
    if (options.Wants("net-connect")) await bench.NetworkConnectAsync();
    if (options.Wants("iperf")) await bench.ThroughputAsync();
    if (options.Wants("net-300")) await bench.NetworkScaleAsync();
    if (options.Wants("compose-up")) new ComposeBench(berth, docker, options, bench.Table).UpAndDown();
    if (options.Wants("compose-config")) new ComposeBench(berth, docker, options, bench.Table).Config();
    if (options.Wants("push-1g")) await bench.PushAsync("push-1g", "10 layers of 100 MB", PullImage.Large);
    if (options.Wants("build-12") || options.Wants("build-again") || options.Wants("build-20000") || options.Wants("build-1g"))
    {
        using var builds = new Builds(berth, docker, options, bench.Table);
        await builds.RunAsync();
    }
    if (options.Wants("push-40")) await bench.PushAsync("push-40", "40 small layers", PullImage.ManyLayers);
}
finally
{
    foreach (var engine in engines) await engine.RemoveContainersAsync();
    docker?.Client("rmi", "--force", Images.Busybox); // which is content when a failure above came before the image
}
bench.Table.Print(Console.Out);
return 0;

namespace Berth.Bench
{
    internal sealed record Options(string? Docker, int Samples, IReadOnlyList<string>? Rows, int Density, int LogMegabytes, int Stopped, int Running)
    {
        private static readonly string[] Known = ["idle", "run-none", "run", "api-none", "api", "berth-run", "version", "exec", "parallel", "density", "logs", "stats", "dns", "ps-500", "restart", "cp", "load", "save", "pull-1g", "pull-40", "push-1g", "push-40", "registry", "net-create", "net-connect", "iperf", "net-300", "compose-up", "compose-config", "build-12", "build-again", "build-20000", "build-1g"];

        internal bool Wants(string row) => Rows is null || Rows.Contains(row);

        internal static Options? Parse(string[] args)
        {
            if (args is ["--list"])
            {
                foreach (var row in Known) Console.WriteLine(row);
                return null;
            }
            var options = new Options(Environment.GetEnvironmentVariable("BENCH_DOCKER"), 20, null, 200, 1000, 500, 100);
            for (var i = 0; i + 1 < args.Length; i += 2)
            {
                switch (args[i])
                {
                    case "--docker": options = options with { Docker = args[i + 1] }; break;
                    case "--samples" when int.TryParse(args[i + 1], out var n) && n is > 0 and <= 1000: options = options with { Samples = n }; break;
                    case "--density" when int.TryParse(args[i + 1], out var n) && n is > 0 and <= 240: options = options with { Density = n }; break;
                    case "--log-mb" when int.TryParse(args[i + 1], out var n) && n is > 0 and <= 10_000: options = options with { LogMegabytes = n }; break;
                    case "--stopped" when int.TryParse(args[i + 1], out var n) && n is > 0 and <= 10_000: options = options with { Stopped = n }; break;
                    case "--running" when int.TryParse(args[i + 1], out var n) && n is > 0 and <= 240: options = options with { Running = n }; break;
                    case "--rows" when args[i + 1].Split(',') is var rows && rows.All(Known.Contains): options = options with { Rows = rows }; break;
                    default: return Usage();
                }
            }
            return args.Length % 2 == 0 ? options : Usage();
        }

        private static Options? Usage()
        {
            Console.Error.WriteLine($"bench/run [--list] [--docker unix:///path] [--samples N] [--rows {string.Join(',', Known)}] [--density containers, at most 240] [--log-mb megabytes] [--stopped containers] [--running containers, at most 240]");
            return null;
        }
    }

    /// <summary>Collected rows; printed as Markdown at the end, each also as it comes.</summary>
    internal sealed class Table
    {
        private readonly List<string[]> _rows = [["row", "what", "Berth", "Docker", "ratio", "at most", ""]];

        /// <param name="limit">In <paramref name="unit"/> for our figure, or a ratio to Docker's when <paramref name="unit"/>'s limit is one.</param>
        internal void Add(string row, string what, double ours, double? theirs, string unit, string limit, Func<double, double?, bool?> isMet)
        {
            var ratio = theirs is > 0 ? ours / theirs : null;
            string[] cells = [row, what, Show(ours, unit), theirs is { } t ? Show(t, unit) : "", ratio is { } r ? $"1/{1 / r:0.0}" : "", limit, isMet(ours, ratio) switch { true => "ok", false => "MISSED", null => "" }];
            _rows.Add(cells);
            Console.Error.WriteLine(string.Join("  ", cells.Where(c => c.Length > 0)));
        }

        private static string Show(double value, string unit) => value >= 100 ? $"{value:0} {unit}" : value >= 10 ? $"{value:0.0} {unit}" : $"{value:0.00} {unit}";

        internal void Print(TextWriter to)
        {
            var widths = Enumerable.Range(0, _rows[0].Length).Select(i => _rows.Max(r => r[i].Length)).ToArray();
            for (var i = 0; i < _rows.Count; i++)
            {
                to.WriteLine("| " + string.Join(" | ", _rows[i].Select((cell, column) => cell.PadRight(widths[column]))) + " |");
                if (i == 0) to.WriteLine("|" + string.Join("|", widths.Select(w => new string('-', w + 2))) + "|");
            }
        }
    }
}
