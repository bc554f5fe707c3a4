namespace Berth.Cli.Commands;

/// <summary>Questions to the user.</summary>
internal static class Prompt
{
    /// <summary>Asks; only y or Y is yes.</summary>
    public static bool Confirm(CommandContext context, string question)
    {
        context.Out.Write(question + " [y/N] ");
        context.Flush();
        using var input = new StreamReader(context.InStream, leaveOpen: true);
        return string.Equals(input.ReadLine()?.Trim(), "y", StringComparison.OrdinalIgnoreCase);
    }
}
