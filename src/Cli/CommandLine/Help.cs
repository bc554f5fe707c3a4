using System.Text;
using Berth.Cli.Commands;

namespace Berth.Cli.CommandLine;

/// <summary>Help texts, laid out as docker's: usage, sentence, aliases, options in two columns.</summary>
internal static class Help
{
    public static string Of(string program, string path, Command command, int width)
    {
        var text = new StringBuilder();
        text.Append($"Usage:  {program} {path}{(command.Usage.Length > 0 ? " " + command.Usage : "")}\n\n{command.Description ?? command.Summary}\n");
        if (command.Paths.Length > 1)
            text.Append($"\nAliases:\n  {string.Join(", ", command.Paths.OrderBy(p => p.Contains(' ') ? 0 : 1).Select(p => $"{program} {p}"))}\n");
        var flags = command.Flags().Where(f => !f.Hidden).OrderBy(f => f.Name, StringComparer.Ordinal).ToArray();
        if (flags.Length > 0) text.Append("\nOptions:\n").Append(Options(flags, width));
        return text.ToString();
    }

    public static string Group(string program, CommandGroup group)
    {
        var text = new StringBuilder($"Usage:  {program} {group.Name} COMMAND\n\n{group.Summary}\n\nCommands:\n");
        var members = CommandTable.All
            .Where(c => !c.Hidden)
            .SelectMany(c => c.Paths, (command, path) => (command, path))
            .Where(x => x.path.StartsWith(group.Name + " ", StringComparison.Ordinal))
            .DistinctBy(x => x.command) // the first path of a command in this group is its name, later ones are aliases
            .Select(x => (Name: x.path[(group.Name.Length + 1)..], x.command.Summary));
        List(text, members.OrderBy(m => m.Name, StringComparer.Ordinal));
        return text.Append($"\nRun '{program} {group.Name} COMMAND --help' for more information on a command.\n").ToString();
    }

    public static string Root(string program, Flag[] globals, IReadOnlyList<(string Name, string Summary)> plugins, int width)
    {
        var text = new StringBuilder($"Usage:  {program} [OPTIONS] COMMAND\n\nRuns containers; understands docker's commands\n");
        var top = CommandTable.All.Where(c => !c.Hidden && !c.Name.Contains(' ')).ToArray();
        text.Append("\nCommon Commands:\n");
        List(text, top.Where(c => c.CommonRank > 0).OrderBy(c => c.CommonRank).Select(c => (c.Name, c.Summary)));
        text.Append("\nManagement Commands:\n");
        List(text, CommandTable.Groups.Select(g => (g.Name, g.Summary)).Concat(plugins.Where(p => CommandTable.Find(p.Name) is null).Select(p => (p.Name + "*", p.Summary))).OrderBy(g => g.Item1, StringComparer.Ordinal));
        text.Append("\nCommands:\n");
        List(text, top.Where(c => c.CommonRank == 0).OrderBy(c => c.Name, StringComparer.Ordinal).Select(c => (c.Name, c.Summary)));
        text.Append("\nGlobal Options:\n").Append(Options([.. globals.Where(f => !f.Hidden)], width));
        return text.Append($"\nRun '{program} COMMAND --help' for more information on a command.\n").ToString();
    }

    private static void List(StringBuilder text, IEnumerable<(string Name, string Summary)> entries)
    {
        foreach (var (name, summary) in entries) text.Append("  ").Append(name.PadRight(11)).Append(' ').Append(summary).Append('\n');
    }

    internal static string Options(IReadOnlyList<Flag> flags, int width)
    {
        var heads = flags.Select(f => (f.Short == '\0' ? "      --" : $"  -{f.Short}, --") + f.Name + (f.TypeName.Length > 0 ? " " + f.TypeName : "")).ToArray();
        var indent = heads.Max(h => h.Length) + 3;
        var text = new StringBuilder();
        for (var i = 0; i < flags.Count; i++)
        {
            var help = flags[i].Help + (flags[i].Default is { Length: > 0 } value && value is not ("false" or "0") ? $" (default {(flags[i].Kind == FlagKind.String ? GoText.Quote(value) : value)})" : "");
            text.Append(heads[i].PadRight(indent)).Append(Wrap(help, Math.Max(24, width - 1 - indent), indent)).Append('\n');
        }
        return text.ToString();
    }

    private static string Wrap(string help, int width, int indent)
    {
        var text = new StringBuilder();
        foreach (var (number, paragraph) in help.Split('\n').Index())
        {
            if (number > 0) text.Append('\n').Append(' ', indent);
            var column = 0;
            foreach (var word in paragraph.Split(' '))
            {
                if (column > 0 && column + 1 + word.Length > width)
                {
                    text.Append('\n').Append(' ', indent);
                    column = 0;
                }
                else if (column > 0)
                {
                    text.Append(' ');
                    column++;
                }
                text.Append(word);
                column += word.Length;
            }
        }
        return text.ToString();
    }
}
