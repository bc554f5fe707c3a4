namespace Berth.Cli.Commands.Compose;

/// <summary>Lines of several containers on one output: "web-1  | text", a colour for each container on a terminal.</summary>
internal sealed class ComposeLog(CommandContext context, bool prefix, bool colour, int width)
{
    private static readonly int[] Colours = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

    private readonly Dictionary<string, int> _colours = new(StringComparer.Ordinal);
    private int _width = width;

    public static bool Coloured(CommandContext context, bool noColour) => !noColour && context.Terminal.OutputIsTerminal && string.IsNullOrEmpty(context.Variable("NO_COLOR"));

    /// <summary>A line of no container.</summary>
    public void Say(string text)
    {
        lock (_colours)
        {
            context.Out.Write(text + "\n");
            context.Out.Flush();
        }
    }

    public void Line(string container, string text)
    {
        lock (_colours)
        {
            if (!prefix)
            {
                context.Out.Write(text + "\n");
                context.Out.Flush();
                return;
            }
            _width = Math.Max(_width, container.Length);
            var head = container.PadRight(_width + 1) + " | ";
            if (colour)
            {
                if (!_colours.TryGetValue(container, out var number)) _colours[container] = number = _colours.Count;
                head = $"\u001b[{Colours[number % Colours.Length]}m{head}\u001b[0m";
            }
            context.Out.Write(head + text + "\n");
            context.Out.Flush();
        }
    }

    /// <summary>Without the project in front.</summary>
    public static string Short(string project, string container) => container.StartsWith(project + "-", StringComparison.Ordinal) || container.StartsWith(project + "_", StringComparison.Ordinal) ? container[(project.Length + 1)..] : container;
}
