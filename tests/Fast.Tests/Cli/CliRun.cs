using System.Text;
using Berth.Cli;
using Berth.Fast.Tests.Api;

namespace Berth.Fast.Tests.Cli;

/// <summary>What a run of the command line left.</summary>
internal sealed record CliResult(int ExitCode, string Output, string Error, IReadOnlyList<string> Requests);

/// <summary>Runs the command line in this process, against an engine whose answers the test gives.</summary>
internal sealed class CliRun
{
    private readonly Dictionary<string, (string Status, string Body)> _answers = new(StringComparer.Ordinal);
    private readonly List<string> _requests = [];

    public DateTimeOffset Now { get; init; } = new(2024, 5, 6, 12, 0, 0, TimeSpan.Zero);

    /// <summary>What is typed, or comes through a pipe.</summary>
    public string Input { get; init; } = "";

    /// <summary>The environment.</summary>
    public IReadOnlyDictionary<string, string> Variables { get; init; } = new Dictionary<string, string>();

    /// <param name="request">"GET /containers/json", without version and query.</param>
    /// <param name="body">JSON.</param>
    /// <param name="status">With its reason.</param>
    public CliRun Answer(string request, string body, string status = "200 OK")
    {
        _answers[request] = (status, body);
        return this;
    }

    public async Task<CliResult> RunAsync(params string[] words)
    {
        using var server = new ScriptedServer(ServeAsync);
        var (output, error) = (new MemoryStream(), new MemoryStream());
        using var context = new CommandContext
        {
            Out = new StreamWriter(output, new UTF8Encoding(false)) { NewLine = "\n" },
            Err = new StreamWriter(error, new UTF8Encoding(false)) { NewLine = "\n", AutoFlush = true },
            OutStream = output,
            ErrStream = error,
            InStream = new MemoryStream(Encoding.UTF8.GetBytes(Input)),
            Terminal = new NoTerminal(),
            PluginDirectories = [],
            Time = new Clock(Now),
            Variable = name => name == "DOCKER_HOST" ? server.Host : Variables.GetValueOrDefault(name),
        };
        var exitCode = await Task.Run(() => Application.RunAsync(words, context)).WaitAsync(TimeSpan.FromSeconds(30));
        lock (_requests) return new CliResult(exitCode, Encoding.UTF8.GetString(output.ToArray()), Encoding.UTF8.GetString(error.ToArray()), [.. _requests]);
    }

    private async Task ServeAsync(ScriptedServer.Connection connection)
    {
        while (await connection.ReadHeadAsync() is { } head)
        {
            var words = head.Split(' ');
            if (head.Contains("Content-Length: ", StringComparison.Ordinal)) await connection.ReadBodyAsync(head);
            var target = words[1].StartsWith("/v1.", StringComparison.Ordinal) ? words[1][words[1].IndexOf('/', 1)..] : words[1];
            lock (_requests) _requests.Add($"{words[0]} {target}");
            var (status, body) = _answers.GetValueOrDefault($"{words[0]} {target.Split('?')[0]}", ("404 Not Found", """{"message":"page not found"}"""));
            await connection.AnswerAsync(body, status);
        }
    }

    private sealed class NoTerminal : ITerminal
    {
        public bool InputIsTerminal => false;

        public bool OutputIsTerminal => false;

        public bool ErrorIsTerminal => false;

        public (int Height, int Width) Size => (0, 0);

        public IDisposable MakeRaw() => throw new InvalidOperationException("there is no terminal");

        public IDisposable HideInput() => throw new InvalidOperationException("there is no terminal");
    }

    private sealed class Clock(DateTimeOffset now) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => now;

        public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;
    }
}
