using System.Text;
using Berth.Cli.Commands;

namespace Berth.Cli.CommandLine;

/// <summary>Manual pages (man(7)) made of the same records as the help: one for the program, one for each group and command.</summary>
internal static class ManualPages
{
    public static readonly Command Command = new()
    {
        Paths = ["man"],
        Usage = "DIRECTORY",
        Summary = "Write the manual pages of all commands to a directory",
        Hidden = true,
        MinArguments = 1,
        MaxArguments = 1,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var directory = invocation.Arguments.Positional[0];
        Directory.CreateDirectory(directory);
        foreach (var (name, text) in All(invocation.Context.ProgramName, Application.GlobalFlags)) await File.WriteAllTextAsync(Path.Combine(directory, name), text, invocation.Cancelled);
        return 0;
    }

    /// <summary>"berth-container-ls.1" with its text, for each path; the others of a command refer to the first.</summary>
    public static IEnumerable<(string Name, string Text)> All(string program, Flag[] globals)
    {
        yield return ($"{program}.1", Root(program, globals));
        foreach (var group in CommandTable.Groups) yield return ($"{program}-{group.Name}.1", Group(program, group));
        foreach (var command in CommandTable.All)
        {
            if (command.Hidden) continue;
            yield return (PageOf(program, command.Name) + ".1", Of(program, command));
            foreach (var path in command.Paths.Skip(1)) yield return (PageOf(program, path) + ".1", $".so man1/{PageOf(program, command.Name)}.1\n");
        }
    }

    private static string PageOf(string program, string path) => program + "-" + path.Replace(' ', '-');

    private static StringBuilder Head(string page, string summary) =>
        new StringBuilder($".TH \"{page.ToUpperInvariant()}\" \"1\" \"\" \"Berth {BuildInfo.Version}\" \"Berth\"\n.SH NAME\n").Append(Text(page)).Append(" \\- ").Append(Text(summary)).Append('\n');

    private static string Root(string program, Flag[] globals)
    {
        var page = Head(program, "run containers; understands docker's commands").Append($".SH SYNOPSIS\n.B {program}\n[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARG\\fR...]\n.SH COMMANDS\n");
        foreach (var command in CommandTable.All.Where(c => !c.Hidden && !c.Name.Contains(' ')).OrderBy(c => c.Name, StringComparer.Ordinal)) Entry(page, $"{program}-{command.Name}(1)", command.Summary);
        foreach (var group in CommandTable.Groups) Entry(page, $"{program}-{group.Name}(1)", group.Summary);
        Options(page, globals);
        return page.Append(".SH ENVIRONMENT\nDOCKER_HOST, DOCKER_CONTEXT, DOCKER_CONFIG, DOCKER_TLS, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH, DOCKER_API_VERSION, DOCKER_DEFAULT_PLATFORM, DOCKER_CUSTOM_HEADERS\n").ToString();
    }

    private static string Group(string program, CommandGroup group)
    {
        var page = Head($"{program}-{group.Name}", group.Summary).Append($".SH SYNOPSIS\n.B {program} {group.Name}\n\\fICOMMAND\\fR\n.SH COMMANDS\n");
        foreach (var command in CommandTable.All)
            if (!command.Hidden && command.Paths.FirstOrDefault(p => p.StartsWith(group.Name + " ", StringComparison.Ordinal)) is { } path) Entry(page, PageOf(program, path) + "(1)", command.Summary);
        return page.ToString();
    }

    private static string Of(string program, Command command)
    {
        var page = Head(PageOf(program, command.Name), command.Summary).Append($".SH SYNOPSIS\n.nf\n.B {program} {command.Name} {Text(command.Usage)}\n.fi\n.SH DESCRIPTION\n");
        page.Append(".nf\n").Append(Text(command.Description ?? command.Summary)).Append("\n.fi\n");
        if (command.Paths.Length > 1) page.Append($"\nAlso: {Text(string.Join(", ", command.Paths.Skip(1).Select(p => $"{program} {p}")))}\n");
        Options(page, [.. command.Flags().Where(f => !f.Hidden).OrderBy(f => f.Name, StringComparer.Ordinal)]);
        return page.Append($".SH SEE ALSO\n.BR {program} (1)\n").ToString();
    }

    private static void Options(StringBuilder page, Flag[] flags)
    {
        var shown = flags.Where(f => !f.Hidden).ToArray();
        if (shown.Length == 0) return;
        page.Append(".SH OPTIONS\n");
        foreach (var flag in shown)
        {
            var value = flag.TypeName.Length > 0 ? $" \\fI{Text(flag.TypeName)}\\fR" : "";
            page.Append(".TP\n").Append(flag.Short == '\0' ? "" : $"\\fB\\-{flag.Short}\\fR, ").Append($"\\fB\\-\\-{Text(flag.Name)}\\fR{value}\n").Append(Text(flag.Help)).Append(flag.Default is { Length: > 0 } given && given is not ("false" or "0") ? $" (default {Text(given)})" : "").Append('\n');
        }
    }

    private static void Entry(StringBuilder page, string term, string text) => page.Append(".TP\n.B ").Append(Text(term)).Append('\n').Append(Text(text)).Append('\n');

    /// <summary>Nothing of it is a request or an escape of troff's.</summary>
    private static string Text(string text)
    {
        text = text.Replace("\\", "\\e").Replace("-", "\\-");
        var lines = text.Split('\n');
        for (var i = 0; i < lines.Length; i++)
            if (lines[i].StartsWith('.') || lines[i].StartsWith('\'')) lines[i] = "\\&" + lines[i];
        return string.Join('\n', lines);
    }
}
