using System.Text;
using System.Text.Json;
using Berth.Api;
using Berth.Builder;
using Berth.Images;

namespace Berth.Daemon.Routes;

/// <summary>
/// What the classic builder says: instruction after instruction, each with its output. Steps run side by side all the same: what belongs to a later instruction waits for its turn.
/// </summary>
internal sealed class ClassicOutput(Action<JsonMessage> send, bool quiet) : IBuildProgress
{
    private const string Red = "\e[91m", Plain = "\e[0m";

    private readonly Lock _lock = new();
    private readonly Dictionary<BuildStep, Said> _said = new(ReferenceEqualityComparer.Instance);
    private IReadOnlyList<(string Text, BuildStep? Step)> _instructions = [];
    private int _current;

    public void Begin(BuildPlan plan)
    {
        lock (_lock)
        {
            _instructions = plan.Instructions;
            foreach (var finding in plan.Checks.Findings) Send($"[Warning] {finding.Rule.Name}: {finding.Message} (line {finding.Lines.First})\n");
            if (_instructions.Count > 0) Announce();
            Advance();
        }
    }

    public void Started(BuildStep step) { }

    public void Cached(BuildStep step) => Say(step, new JsonMessage { Stream = " ---> Using cache\n" });

    public void Missed(BuildStep step, string why) => Say(step, new JsonMessage { Stream = $" ---> Not cached: {why}\n" });

    public void Output(BuildStep step, ReadOnlyMemory<byte> bytes, bool stderr)
    {
        lock (_lock)
        {
            // A character may be cut by the end of a piece.
            var said = Find(step);
            var decoder = stderr ? said.Stderr : said.Stdout;
            var text = new char[Encoding.UTF8.GetMaxCharCount(bytes.Length)];
            var count = decoder.GetChars(bytes.Span, text, flush: false);
            if (count > 0) SayLocked(step, new JsonMessage { Stream = stderr ? Red + new string(text, 0, count) + Plain : new string(text, 0, count) });
        }
    }

    public void Pulling(BuildStep step, JsonMessage progress)
    {
        if (step is ExportStep) return;
        lock (_lock)
            if (!quiet) send(progress);
    }

    public void Ended(BuildStep step, Exception? failure)
    {
        lock (_lock)
        {
            Find(step).Ended = true;
            if (failure is null) Advance();
        }
    }

    public void Finish(BuildResult result, IReadOnlyList<ImageReference> names)
    {
        lock (_lock)
        {
            Flush();
            using var id = JsonDocument.Parse($$"""{"ID":"{{result.Image}}"}""");
            send(new JsonMessage { Aux = id.RootElement.Clone() });
            if (quiet)
            {
                send(new JsonMessage { Stream = result.Image + "\n" });
                return;
            }
            Send($"Successfully built {result.Image.Hex[..12]}\n");
            foreach (var name in names) Send($"Successfully tagged {name.FamiliarString}\n");
        }
    }

    /// <summary>What was said by steps whose turn has not come.</summary>
    public void Flush()
    {
        lock (_lock)
        {
            foreach (var said in _said.Values)
            {
                foreach (var message in said.Waiting) SendAny(message);
                said.Waiting.Clear();
            }
        }
    }

    // Onwards over all that has ended, or does nothing.
    private void Advance()
    {
        while (_current < _instructions.Count)
        {
            var (_, step) = _instructions[_current];
            if (step is not null)
            {
                var said = Find(step);
                foreach (var message in said.Waiting) SendAny(message);
                said.Waiting.Clear();
                if (!said.Ended) return;
            }
            _current++;
            if (_current < _instructions.Count) Announce();
        }
    }

    private void Announce() => Send($"Step {_current + 1}/{_instructions.Count} : {_instructions[_current].Text}\n");

    private void Say(BuildStep step, JsonMessage message)
    {
        lock (_lock) SayLocked(step, message);
    }

    private void SayLocked(BuildStep step, JsonMessage message)
    {
        if (_current < _instructions.Count && _instructions[_current].Step == step) SendAny(message);
        else Find(step).Waiting.Add(message);
    }

    private Said Find(BuildStep step) => _said.TryGetValue(step, out var said) ? said : _said[step] = new Said();

    private void Send(string text) => SendAny(new JsonMessage { Stream = text });

    private void SendAny(JsonMessage message)
    {
        if (!quiet) send(message);
    }

    private sealed class Said
    {
        public List<JsonMessage> Waiting { get; } = [];
        public bool Ended { get; set; }
        public Decoder Stdout { get; } = Encoding.UTF8.GetDecoder();
        public Decoder Stderr { get; } = Encoding.UTF8.GetDecoder();
    }
}
