using System.Diagnostics;
using System.Text;
using Berth.Testing;

namespace Berth.Bench;

/// <summary>berth compose on Berth against docker compose (BENCH_COMPOSE, or docker-compose on PATH) on Docker.</summary>
internal sealed class ComposeBench(Engine berth, Engine? docker, Options options, Table table)
{
    private const int Services = 10;

    private static string? Stock => Environment.GetEnvironmentVariable("BENCH_COMPOSE")
        ?? (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Select(d => Path.Combine(d, "docker-compose")).FirstOrDefault(File.Exists);

    private static TimeSpan Run(Engine engine, bool ours, string file, params string[] words)
    {
        // Both take the engine from the environment.
        Environment.SetEnvironmentVariable("DOCKER_HOST", engine.Host);
        try
        {
            return ours ? Engine.Time(Repository.Executable("berth"), ["compose", "-f", file, .. words]) : Engine.Time(Stock!, ["-f", file, .. words]);
        }
        finally
        {
            Environment.SetEnvironmentVariable("DOCKER_HOST", null);
        }
    }

    private static double Median(List<double> values)
    {
        values.Sort();
        return (values[(values.Count - 1) / 2] + values[values.Count / 2]) / 2;
    }

    /// <summary>A file of ten services that end at SIGTERM: brought up, brought up again with nothing to do, taken down.</summary>
    internal void UpAndDown()
    {
        var directory = Directory.CreateTempSubdirectory("berth-bench-compose-").FullName;
        try
        {
            var text = new StringBuilder("name: berth-bench\nservices:\n");
            for (var i = 0; i < Services; i++)
                text.Append($"  s{i}:\n    image: {Images.Busybox}\n    labels: [{Engine.Label}]\n    command: [\"sh\", \"-c\", \"trap 'exit 0' TERM; sleep 100000 & wait\"]\n");
            var file = Path.Combine(directory, "compose.yaml");
            File.WriteAllText(file, text.ToString());
            var with = docker is not null && Stock is not null;
            List<double>[] ours = [[], [], []], theirs = [[], [], []];
            for (var sample = 0; sample < Math.Max(3, options.Samples / 4); sample++)
            {
                Once(berth, true, ours);
                if (with) Once(docker!, false, theirs);
            }
            string[] rows = ["compose-up", "compose-noop", "compose-down"];
            string[] what = ["up -d of 10 services", "up -d with nothing to change", "down of 10 services"];
            double[] limits = [1 / 4.0, 1 / 4.0, 1 / 3.0];
            for (var i = 0; i < rows.Length; i++)
            {
                var limit = limits[i];
                table.Add(rows[i], what[i], Median(ours[i]), with ? Median(theirs[i]) : null, "ms", $"1/{1 / limit:0} of Docker", (_, ratio) => ratio is null ? null : ratio <= limit);
            }

            void Once(Engine engine, bool isOurs, List<double>[] times)
            {
                times[0].Add(Run(engine, isOurs, file, "up", "-d").TotalMilliseconds);
                times[1].Add(Run(engine, isOurs, file, "up", "-d").TotalMilliseconds);
                times[2].Add(Run(engine, isOurs, file, "down").TotalMilliseconds);
            }
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    /// <summary>A file of a thousand lines, read and printed.</summary>
    internal void Config()
    {
        var directory = Directory.CreateTempSubdirectory("berth-bench-compose-").FullName;
        try
        {
            var text = new StringBuilder("name: berth-bench\nx-env: &env {A: 1, B: two}\nservices:\n");
            for (var i = 0; i < 66; i++)
                text.Append($"  s{i}:\n    image: \"registry.example/team/s{i}:${{TAG:-1.0}}\"\n    environment:\n      <<: *env\n      NUMBER: {i}\n    ports:\n      - \"{8000 + i}:80\"\n    volumes:\n      - data:/data\n      - ./conf:/conf:ro\n    depends_on:\n      - s{Math.Max(0, i - 1)}\n    restart: always\n".Replace($"    depends_on:\n      - s{i}\n", "", StringComparison.Ordinal));
            text.Append("volumes:\n  data:\n");
            var file = Path.Combine(directory, "compose.yaml");
            File.WriteAllText(file, text.ToString());
            List<double> ours = [], theirs = [];
            var with = docker is not null && Stock is not null;
            for (var sample = 0; sample < options.Samples; sample++)
            {
                ours.Add(Run(berth, true, file, "config").TotalMilliseconds);
                if (with) theirs.Add(Run(docker!, false, file, "config").TotalMilliseconds);
            }
            table.Add("compose-config", $"config of a file of {text.ToString().Count(c => c == '\n')} lines", Median(ours), with ? Median(theirs) : null, "ms", "1/3 of Docker", (_, ratio) => ratio is null ? null : ratio <= 1 / 3.0);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }
}
