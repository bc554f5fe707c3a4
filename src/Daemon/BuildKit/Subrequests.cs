using System.Globalization;
using System.Text;
using System.Text.Json;
using Berth.Dockerfile;

namespace Berth.Daemon.BuildKit;

/// <summary>Questions about a Dockerfile that build nothing: <c>--call check|outline|targets</c>. Answers are JSON in the shape that clients print (moby/buildkit frontend/subrequests).</summary>
internal static class Subrequests
{
    public const string Check = "frontend.lint", Outline = "frontend.outline", Targets = "frontend.targets", Describe = "frontend.subrequests.describe";

    /// <param name="failure">What is wrong with the file altogether; null: nothing.</param>
    public static Dictionary<string, byte[]> OfFindings(IReadOnlyList<Finding> findings, DockerfileException? failure, string filename, byte[] dockerfile)
    {
        var json = Json(writer =>
        {
            writer.WriteStartArray("warnings");
            foreach (var finding in findings.OrderBy(f => f.Lines.First))
            {
                writer.WriteStartObject();
                writer.WriteString("ruleName", finding.Rule.Name);
                writer.WriteString("description", finding.Rule.Description);
                writer.WriteString("url", finding.Rule.Url);
                writer.WriteString("detail", finding.Message);
                WriteLocation(writer, finding.Lines);
                writer.WriteEndObject();
            }
            writer.WriteEndArray();
            writer.WriteStartArray("sources");
            writer.WriteStartObject();
            writer.WriteString("filename", filename);
            writer.WriteBase64String("data", dockerfile);
            writer.WriteString("language", "Dockerfile");
            writer.WriteEndObject();
            writer.WriteEndArray();
            if (failure is null) return;
            writer.WriteStartObject("buildError");
            writer.WriteString("message", failure.Message);
            WriteLocation(writer, failure.Lines ?? default);
            writer.WriteEndObject();
        });
        var result = Result(json, "1.0.0");
        result["result.statuscode"] = Encoding.ASCII.GetBytes(findings.Count > 0 || failure is not null ? "1" : "0");
        return result;
    }

    public static Dictionary<string, byte[]> OfTargets(Document document, byte[] dockerfile) => Result(Json(writer =>
    {
        writer.WriteStartArray("targets");
        for (var i = 0; i < document.Stages.Count; i++)
        {
            var stage = document.Stages[i];
            writer.WriteStartObject();
            WriteText(writer, "name", stage.Name);
            if (i == document.Stages.Count - 1) writer.WriteBoolean("default", true);
            WriteText(writer, "description", stage.Description);
            writer.WriteString("base", stage.Base);
            WriteText(writer, "platform", stage.Platform);
            WriteLocation(writer, stage.Lines);
            writer.WriteEndObject();
        }
        writer.WriteEndArray();
        WriteSource(writer, dockerfile);
    }), "1.0.0");

    /// <param name="target">A stage's name or number; empty: the last.</param>
    /// <param name="given">Build arguments.</param>
    /// <exception cref="DockerfileException">There is no such stage.</exception>
    public static Dictionary<string, byte[]> OfOutline(Document document, string target, IReadOnlyDictionary<string, string> given, byte[] dockerfile)
    {
        var last = IndexOf(document, target);
        var stages = new SortedSet<int>();
        Need(document, last, stages);
        var arguments = new List<(BuildArgument Argument, string? Value, LineSpan Lines)>();
        List<(RunMount Mount, LineSpan Lines)> secrets = [], agents = [];
        var known = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var instruction in document.Arguments) Take(instruction, stages.Any(i => Uses(document.Stages[i], instruction)));
        foreach (var index in stages)
        {
            foreach (var instruction in document.Stages[index].Instructions)
            {
                if (instruction is ArgInstruction argument) Take(argument, used: true);
                if (instruction is not RunInstruction run) continue;
                foreach (var flag in run.MountFlags)
                {
                    var mount = RunMount.Parse(flag, text => text);
                    if (mount.Type == RunMountType.Secret) secrets.Add((mount, run.Lines));
                    else if (mount.Type == RunMountType.Ssh) agents.Add((mount, run.Lines));
                }
            }
        }
        return Result(Json(writer =>
        {
            var stage = document.Stages[last];
            WriteText(writer, "name", stage.Name);
            WriteText(writer, "description", stage.Description);
            WriteList(writer, "args", arguments, a =>
            {
                writer.WriteString("name", a.Argument.Name);
                WriteText(writer, "description", a.Argument.Description);
                WriteText(writer, "value", a.Value ?? "");
                WriteLocation(writer, a.Lines);
            });
            WriteMounts(writer, "secrets", secrets, m => m.Id.Length > 0 ? m.Id : m.Target[(m.Target.LastIndexOf('/') + 1)..]);
            WriteMounts(writer, "ssh", agents, m => m.Id.Length > 0 ? m.Id : "default");
            WriteSource(writer, dockerfile);
        }), "1.0.0");

        void Take(ArgInstruction instruction, bool used)
        {
            foreach (var argument in instruction.Arguments)
            {
                var value = given.GetValueOrDefault(argument.Name) ?? (argument.Value is { } text ? new WordExpander(document.Directives.Escape, known.GetValueOrDefault).Expand(text).Text : known.GetValueOrDefault(argument.Name));
                if (value is not null) known[argument.Name] = value;
                if (!used) continue;
                arguments.RemoveAll(a => a.Argument.Name == argument.Name && a.Lines == instruction.Lines);
                arguments.Add((argument, value, instruction.Lines));
            }
        }
    }

    public static Dictionary<string, byte[]> OfDescription()
    {
        (string Name, string Description)[] all = [(Outline, "List all parameters current build target supports"), (Targets, "List all targets current build supports"), (Describe, "List available subrequest types")];
        var bytes = new MemoryStream();
        using (var writer = new Utf8JsonWriter(bytes, new JsonWriterOptions { Indented = true }))
        {
            writer.WriteStartArray();
            foreach (var (name, description) in all)
            {
                writer.WriteStartObject();
                writer.WriteString("name", name);
                writer.WriteString("version", "1.0.0");
                writer.WriteString("type", "rpc");
                writer.WriteString("description", description);
                writer.WriteEndObject();
            }
            writer.WriteEndArray();
        }
        var text = new StringBuilder("NAME                 VERSION DESCRIPTION\n");
        foreach (var (name, description) in all) text.Append(CultureInfo.InvariantCulture, $"{name["frontend.".Length..],-20} 1.0.0   {description}\n");
        var result = Result(bytes.ToArray(), "1.0.0");
        result["result.txt"] = Encoding.UTF8.GetBytes(text.ToString());
        return result;
    }

    private static int IndexOf(Document document, string target)
    {
        if (target.Length == 0) return document.Stages.Count - 1;
        for (var i = document.Stages.Count - 1; i >= 0; i--)
            if (document.Stages[i].Name.Equals(target, StringComparison.OrdinalIgnoreCase)) return i;
        return int.TryParse(target, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number < document.Stages.Count ? number : throw new DockerfileException($"target stage {Berth.Api.Go.GoText.Quote(target)} could not be found");
    }

    private static void Need(Document document, int index, SortedSet<int> needed)
    {
        if (!needed.Add(index)) return;
        var stage = document.Stages[index];
        Find(stage.Base);
        foreach (var instruction in stage.Instructions)
        {
            if (instruction is CopyInstruction { From.Length: > 0 } copy) Find(copy.From);
            if (instruction is not RunInstruction run) continue;
            foreach (var flag in run.MountFlags)
                if (RunMount.Parse(flag, text => text) is { From.Length: > 0 } mount) Find(mount.From);
        }

        void Find(string name)
        {
            for (var i = index - 1; i >= 0; i--)
            {
                if (!document.Stages[i].Name.Equals(name, StringComparison.OrdinalIgnoreCase) && name != i.ToString(CultureInfo.InvariantCulture)) continue;
                Need(document, i, needed);
                return;
            }
        }
    }

    private static bool Uses(Stage stage, ArgInstruction instruction)
    {
        var found = new HashSet<string>(StringComparer.Ordinal);
        foreach (var word in (ReadOnlySpan<string>)[stage.Base, stage.Platform])
        {
            if (word.Length > 0) new WordExpander('\\', name =>
            {
                found.Add(name);
                return "";
            }).Expand(word);
        }
        return instruction.Arguments.Any(a => found.Contains(a.Name));
    }

    private static void WriteMounts(Utf8JsonWriter writer, string name, List<(RunMount Mount, LineSpan Lines)> mounts, Func<RunMount, string> nameOf)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        WriteList(writer, name, mounts.FindAll(m => seen.Add(nameOf(m.Mount))), m =>
        {
            writer.WriteString("name", nameOf(m.Mount));
            if (m.Mount.Required) writer.WriteBoolean("required", true);
            WriteLocation(writer, m.Lines);
        });
    }

    private static void WriteList<T>(Utf8JsonWriter writer, string name, List<T> items, Action<T> write)
    {
        if (items.Count == 0) return;
        writer.WriteStartArray(name);
        foreach (var item in items)
        {
            writer.WriteStartObject();
            write(item);
            writer.WriteEndObject();
        }
        writer.WriteEndArray();
    }

    private static void WriteText(Utf8JsonWriter writer, string name, string value)
    {
        if (value.Length > 0) writer.WriteString(name, value);
    }

    private static void WriteLocation(Utf8JsonWriter writer, LineSpan lines)
    {
        writer.WriteStartObject("location");
        writer.WriteStartArray("ranges");
        if (lines.First > 0) BuildFailure.WriteRange(writer, lines);
        writer.WriteEndArray();
        writer.WriteEndObject();
    }

    private static void WriteSource(Utf8JsonWriter writer, byte[] dockerfile)
    {
        writer.WriteStartArray("sources");
        writer.WriteBase64StringValue(dockerfile);
        writer.WriteEndArray();
    }

    private static byte[] Json(Action<Utf8JsonWriter> write)
    {
        using var bytes = new MemoryStream();
        using (var writer = new Utf8JsonWriter(bytes, new JsonWriterOptions { Indented = true }))
        {
            writer.WriteStartObject();
            write(writer);
            writer.WriteEndObject();
        }
        return bytes.ToArray();
    }

    private static Dictionary<string, byte[]> Result(byte[] json, string version) => new(StringComparer.Ordinal) { ["result.json"] = json, ["version"] = Encoding.ASCII.GetBytes(version) };
}
