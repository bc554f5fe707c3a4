using System.Text;
using System.Text.Json;

namespace Berth.Cli.Commands.Builds;

/// <summary>--call: what a frontend answers about a Dockerfile instead of building it, printed as buildx prints it.</summary>
internal static class BuildAnswers
{
    /// <summary>The question of a value of --call, and how the answer is wanted; null: build.</summary>
    /// <exception cref="CommandException">There is none like it.</exception>
    public static (string Question, bool Json)? Parse(string text)
    {
        var parts = text.Split(',');
        var json = false;
        foreach (var part in parts.AsSpan(1))
            json |= part == "format=json" ? true : part is "format=text" or "format=" or "ignorestatus" ? false : throw new CommandException($"invalid call option {part}");
        return parts[0] switch
        {
            "" or "build" => null,
            "check" or "lint" => ("frontend.lint", json),
            "outline" => ("frontend.outline", json),
            "targets" => ("frontend.targets", json),
            "subrequests.describe" => ("frontend.subrequests.describe", json),
            var other => throw new CommandException($"--call={other} is not known: build, check, outline, targets, subrequests.describe"),
        };
    }

    /// <returns>The exit code.</returns>
    public static int Print(CommandContext context, string question, bool asJson, IReadOnlyDictionary<string, byte[]> answer, string dockerfileName)
    {
        var json = answer.GetValueOrDefault("result.json") ?? [];
        if (asJson) context.Out.Write(Encoding.UTF8.GetString(json) + "\n");
        else if (question is "frontend.subrequests.describe" || json.Length == 0) context.Out.Write(Encoding.UTF8.GetString(answer.GetValueOrDefault("result.txt") ?? []));
        else
        {
            using var document = JsonDocument.Parse(json);
            switch (question)
            {
                case "frontend.lint": Lint(context, document.RootElement, dockerfileName); break;
                case "frontend.outline": Outline(context, document.RootElement); break;
                default:
                    var rows = new List<string[]> { new[] { "TARGET", "DESCRIPTION" } };
                    foreach (var target in List(document.RootElement, "targets"))
                    {
                        var (name, isDefault) = (Text(target, "name"), target.TryGetProperty("default", out var flag) && flag.ValueKind == JsonValueKind.True);
                        rows.Add([isDefault ? name.Length > 0 ? name + " (default)" : "(default)" : name, Text(target, "description")]);
                    }
                    Table(context, rows, padding: 1);
                    break;
            }
        }
        return answer.GetValueOrDefault("result.statuscode") is { } code && int.TryParse(Encoding.ASCII.GetString(code), out var status) ? status : 0;
    }

    private static void Lint(CommandContext context, JsonElement result, string dockerfileName)
    {
        var warnings = List(result, "warnings");
        var sources = List(result, "sources");
        if (warnings.Count > 0) context.Out.Write($"Check complete, {(warnings.Count == 1 ? "1 warning has" : $"{warnings.Count} warnings have")} been found!\n");
        foreach (var warning in warnings)
        {
            context.Out.Write($"\nWARNING: {Text(warning, "ruleName")}");
            if (Text(warning, "url") is { Length: > 0 } url) context.Out.Write($" - {url}");
            context.Out.Write($"\n{Text(warning, "detail")}\n");
            if (warning.TryGetProperty("location", out var location)) context.Out.Write(Source(location, sources, dockerfileName));
        }
        if (result.TryGetProperty("buildError", out var error))
            throw new CommandException($"{Text(error, "message")}\n{(error.TryGetProperty("location", out var place) ? Source(place, sources, dockerfileName) : "")}".TrimEnd('\n'));
        if (warnings.Count == 0) context.Out.Write("Check complete, no warnings found.\n");
    }

    private static string Source(JsonElement location, List<JsonElement> sources, string dockerfileName)
    {
        var index = location.TryGetProperty("sourceIndex", out var number) ? number.GetInt32() : 0;
        if (index < 0 || index >= sources.Count || List(location, "ranges") is not [var range, ..]) return "";
        return BuildView.Source(dockerfileName, sources[index].GetProperty("data").GetBytesFromBase64(), Line(range, "start"), Line(range, "end"));

        static int Line(JsonElement range, string end) => range.TryGetProperty(end, out var position) && position.TryGetProperty("line", out var line) ? line.GetInt32() : 0;
    }

    private static void Outline(CommandContext context, JsonElement outline)
    {
        var (name, description) = (Text(outline, "name"), Text(outline, "description"));
        if (name.Length + description.Length > 0)
        {
            var rows = new List<string[]> { new[] { "TARGET:", name.Length > 0 ? name : "(default)" } };
            if (description.Length > 0) rows.Add(["DESCRIPTION:", description]);
            Table(context, rows, padding: 1);
            context.Out.Write("\n");
        }
        Section("args", ["BUILD ARG", "VALUE", "DESCRIPTION"], a => [Text(a, "name"), Text(a, "value"), Text(a, "description")]);
        Section("secrets", ["SECRET", "REQUIRED"], Needed);
        Section("ssh", ["SSH", "REQUIRED"], Needed);

        static string[] Needed(JsonElement mount) => [Text(mount, "name"), mount.TryGetProperty("required", out var flag) && flag.ValueKind == JsonValueKind.True ? "true" : ""];

        void Section(string list, string[] head, Func<JsonElement, string[]> row)
        {
            if (List(outline, list) is not { Count: > 0 } items) return;
            var rows = new List<string[]> { head };
            foreach (var item in items) rows.Add(row(item));
            Table(context, rows, padding: 3);
            context.Out.Write("\n");
        }
    }

    // As text/tabwriter without a least width: the last column is not padded.
    private static void Table(CommandContext context, List<string[]> rows, int padding)
    {
        foreach (var row in rows)
        {
            for (var column = 0; column < row.Length; column++)
            {
                var width = 0;
                foreach (var other in rows) width = Math.Max(width, other[column].Length);
                context.Out.Write(column == row.Length - 1 ? row[column] : row[column].PadRight(width + padding));
            }
            context.Out.Write("\n");
        }
    }

    private static string Text(JsonElement element, string name) => element.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";

    private static List<JsonElement> List(JsonElement element, string name) => element.TryGetProperty(name, out var list) && list.ValueKind == JsonValueKind.Array ? [.. list.EnumerateArray()] : [];
}
