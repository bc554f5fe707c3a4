using System.Text.RegularExpressions;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands;
using Berth.Testing;
using Command = Berth.Cli.CommandLine.Command;

namespace Berth.Fast.Tests.Cli;

/// <summary>"alias docker=berth": every command of the stock client is ours as well, with its usage, its other names, and its flags' short forms, types and defaults.</summary>
public partial class DockerCommandsTests
{
    // platform: several may be built for; the others are the builder's own kinds of lists.
    private static readonly string[] OtherType = ["build --platform", "build --cache-from", "build --ulimit", "build --security-opt"];

    [GeneratedRegex(@"^\s+(?:-(?<short>\w), )?--(?<name>[\w-]+)(?: (?<type>[\w-]+))?(?: = (?<default>.*))?$")]
    private static partial Regex FlagLine();

    [Fact]
    public void Commands_and_flags_are_dockers()
    {
        var wrong = new List<string>();
        Command? command = null;
        var (commands, flags) = (0, 0);
        foreach (var line in File.ReadLines(Path.Combine(Repository.Root, "tests/Fast.Tests/Cli/testdata/docker-commands.txt")))
        {
            if (line.StartsWith('#')) continue;
            if (line[0] != ' ')
            {
                var fields = line.Split('\t');
                command = CommandTable.Find(fields[0]);
                commands++;
                if (command is null) wrong.Add($"{fields[0]} is missing");
                if (command is null or { ForAnother: true }) continue;
                if (!command.Usage.StartsWith(fields[1], StringComparison.Ordinal)) /* cp has two */ wrong.Add($"{fields[0]}: usage is {command.Usage}, not {fields[1]}");
                foreach (var other in fields.Length > 2 ? fields[2].Split(',') : [])
                    if (CommandTable.Find(other) != command) wrong.Add($"{other} is not {fields[0]}");
                continue;
            }
            if (command is null or { ForAnother: true }) continue;
            flags++;
            var match = FlagLine().Match(line);
            Assert.True(match.Success, line);
            string Of(string group) => match.Groups[group].Value;
            var name = $"{command.Name} --{Of("name")}";
            if (command.Flags().FirstOrDefault(f => f.Name == Of("name")) is not { } flag)
            {
                wrong.Add(name + " is missing");
                continue;
            }
            if (flag.Short != (Of("short") is [var letter] ? letter : '\0')) wrong.Add($"{name}: short form is {flag.Short}");
            if (flag.Hidden) continue; // known, and of no use here
            if (flag.TypeName != Of("type") && !OtherType.Contains(name)) wrong.Add($"{name}: type is {flag.TypeName}, not {Of("type")}");
            var standard = flag.Kind == FlagKind.String && flag.Default is { Length: > 0 } text ? $"\"{text}\"" : flag.Default is "0" or "false" ? "" : flag.Default ?? "";
            if (standard != Of("default")) wrong.Add($"{name}: default is {standard}, not {Of("default")}");
        }
        Assert.True(commands > 100 && flags > 500, $"{commands} commands with {flags} flags were read");
        Assert.Equal("", string.Join('\n', wrong));
    }
}
