using System.Text;

namespace Berth.Dockerfile;

/// <summary>A stage: FROM and all that follows it.</summary>
public sealed record Stage
{
    /// <summary>FROM as written: "FROM", "from".</summary>
    public string Keyword { get; init; } = "";

    /// <summary>An image, or an earlier stage; variables not put in yet.</summary>
    public required string Base { get; init; }

    /// <summary>In lower case; empty without AS.</summary>
    public string Name { get; init; } = "";
    public string Platform { get; init; } = "";

    /// <summary>The comment "# name text" above it.</summary>
    public string Description { get; init; } = "";
    public string Text { get; init; } = "";
    public LineSpan Lines { get; init; }
    public IReadOnlyList<string> Comments { get; init; } = [];
    public IReadOnlyList<Instruction> Instructions { get; init; } = [];
}

/// <summary>A whole Dockerfile, understood as far as that goes without variables and images.</summary>
public sealed class Document
{
    /// <summary>The largest Dockerfile read.</summary>
    public const int MaxBytes = 16 * 1024 * 1024;

    private readonly List<RawInstruction> _raw;

    private Document(InstructionReader reader, IReadOnlyList<ArgInstruction> arguments, IReadOnlyList<Stage> stages) =>
        (Directives, EmptyContinuations, _raw, Arguments, Stages) = (reader.Directives, reader.EmptyContinuations, reader.Instructions, arguments, stages);

    public ParserDirectives Directives { get; }

    /// <summary>The ARGs before the first FROM.</summary>
    public IReadOnlyList<ArgInstruction> Arguments { get; }

    public IReadOnlyList<Stage> Stages { get; }

    internal IReadOnlyList<LineSpan> EmptyContinuations { get; }

    internal IReadOnlyList<RawInstruction> Raw => _raw;

    /// <exception cref="DockerfileException">With the lines it is about, in the words of Docker's builder.</exception>
    public static Document Parse(ReadOnlySpan<byte> utf8)
    {
        if (utf8.IsEmpty) throw new DockerfileException("the Dockerfile cannot be empty");
        if (utf8.Length > MaxBytes) throw new DockerfileException($"the Dockerfile is larger than {MaxBytes} bytes");
        var reader = new InstructionReader(Encoding.UTF8.GetString(utf8));
        var arguments = new List<ArgInstruction>();
        var (stages, current) = (new List<Stage>(), new List<Instruction>());
        foreach (var raw in reader.Instructions)
        {
            try
            {
                if (raw.Keyword == "from")
                {
                    var stage = InstructionParser.From(raw);
                    EndStage();
                    stages.Add(stage);
                    continue;
                }
                var instruction = InstructionParser.Parse(raw);
                if (stages.Count > 0) current.Add(instruction);
                else if (instruction is ArgInstruction argument) arguments.Add(argument);
                else throw new DockerfileException("no build stage in current context", raw.Lines);
            }
            catch (DockerfileException e) when (e.Lines is null)
            {
                throw new DockerfileException($"dockerfile parse error on line {raw.Lines.First}: {e.Message}", raw.Lines);
            }
        }
        if (stages.Count == 0) throw new DockerfileException("dockerfile contains no stages to build");
        EndStage();
        return new Document(reader, arguments, stages);

        void EndStage()
        {
            if (stages.Count > 0) stages[^1] = stages[^1] with { Instructions = [.. current] };
            current.Clear();
        }
    }

    /// <summary>Only what the instructions of a text are called, as written there.</summary>
    /// <exception cref="DockerfileException"/>
    public static IReadOnlyList<string> InstructionNames(string text) => [.. new InstructionReader(text).Instructions.Select(i => i.Name)];

    /// <summary>Instructions without a stage: the triggers of an image (ONBUILD), or <c>docker commit --change</c>.</summary>
    /// <exception cref="DockerfileException"/>
    public static IReadOnlyList<Instruction> ParseInstructions(string text)
    {
        if (text.Length > MaxBytes) throw new DockerfileException($"the instructions are longer than {MaxBytes} characters");
        return [.. new InstructionReader(text).Instructions.Select(InstructionParser.Parse)];
    }
}
