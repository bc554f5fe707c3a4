using System.Text;
using Berth.Cli.CommandLine;
using Berth.Compose.Model;
using Berth.Compose.Yaml;

namespace Berth.Cli.Commands.Compose;

/// <summary>alpha viz: services and what they depend on, as graphviz reads it.</summary>
internal static class ComposeViz
{
    public static readonly Command Command = new()
    {
        Paths = ["alpha viz", "viz"],
        Usage = "[OPTIONS]",
        Summary = "EXPERIMENTAL - Services and what they depend on, for graphviz",
        MaxArguments = 0,
        Flags = static () =>
        [
            new("image", FlagKind.Bool, "Images, too"),
            new("indentation-size", FlagKind.Int, "How many tabs or spaces lines are indented by") { Default = "1" },
            new("networks", FlagKind.Bool, "Networks, too"),
            new("ports", FlagKind.Bool, "Ports, too"),
            new("spaces", FlagKind.Bool, "Spaces instead of tabs"),
        ],
        Run = static i =>
        {
            var (invocation, flags) = ((ComposeInvocation)i, i.Arguments);
            if (flags.Int("indentation-size") < 0) throw new CommandException($"invalid indentation size: {flags.Int("indentation-size")}");
            i.Context.Err.Write("viz command is EXPERIMENTAL\n");
            var indent = new string(flags.Bool("spaces") ? ' ' : '\t', flags.Int("indentation-size"));
            i.Context.Out.Write(Graph(invocation.Load(), indent, flags.Bool("networks"), flags.Bool("ports"), flags.Bool("image")) + "\n");
            return Task.FromResult(0);
        },
    };

    private static string Graph(Project project, string indent, bool networks, bool ports, bool image)
    {
        var text = new StringBuilder($"digraph \"{project.Name}\" {{\n{indent}layout=dot;\n");
        foreach (var name in project.ServiceNames)
        {
            var service = project.Services[name];
            text.Append($"{indent}\"{name}\" [style=\"filled\" label=<<font point-size=\"15\">{name}</font>");
            if (networks && Berth.Compose.ModelText.NetworksOf(service) is { Count: > 0 } keys)
                text.Append("<font point-size=\"10\"><br/><br/><b>Networks:</b>").Append(string.Concat(keys.Select(k => "<br/>" + k))).Append("</font>");
            if (ports && service.ListOf("ports").Count > 0)
                text.Append("<font point-size=\"10\"><br/><br/><b>Ports:</b>").Append(string.Concat(service.ListOf("ports").Select(Port))).Append("</font>");
            if (image) text.Append($"<font point-size=\"10\"><br/><br/><b>Image:</b><br/>{project.ImageOf(name)}</font>");
            text.Append(">];\n");
        }
        text.Append('\n');
        foreach (var name in project.ServiceNames)
            foreach (var dependency in project.Services[name].MapOf("depends_on").Keys.Order(StringComparer.Ordinal)) text.Append($"{indent}\"{name}\" -> \"{dependency}\";\n");
        return text.Append("}\n").ToString();
    }

    private static string Port(Node port) =>
        $"<br/>{(port.TextOf("host_ip") is { Length: > 0 } ip ? ip + ":" : "")}{port.TextOf("published")}:{port.TextOf("target")} ({port.TextOf("protocol")}, {port.TextOf("mode")})";
}
