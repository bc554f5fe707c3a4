using System.Text;

namespace Berth.Cli.Output;

/// <summary>Aligns tab-separated cells: columns at least ten wide and three spaces between unless said otherwise, the last one not padded.</summary>
internal static class TableWriter
{
    private const int MinWidth = 10, Padding = 3;

    public static void Write(TextWriter target, IReadOnlyList<string> lines, int minWidth = MinWidth, int padding = Padding)
    {
        var rows = lines.Select(l => l.Split('\t')).ToArray();
        var line = new StringBuilder();
        for (var row = 0; row < rows.Length; row++)
        {
            line.Clear();
            for (var column = 0; column < rows[row].Length; column++)
            {
                line.Append(rows[row][column]);
                if (column < rows[row].Length - 1) line.Append(' ', Width(rows, row, column, minWidth, padding) - Columns(rows[row][column]));
            }
            target.Write(line.Append('\n'));
        }
    }

    // As text/tabwriter has it: a column is a run of neighbouring lines that all have a cell, ended by a tab, in it.
    private static int Width(string[][] rows, int row, int column, int minWidth, int padding)
    {
        int from = row, to = row;
        while (from > 0 && rows[from - 1].Length - 1 > column) from--;
        while (to < rows.Length - 1 && rows[to + 1].Length - 1 > column) to++;
        var width = minWidth;
        for (var i = from; i <= to; i++) width = Math.Max(width, Columns(rows[i][column]) + padding);
        return width;
    }

    private static int Columns(string text)
    {
        var count = 0;
        foreach (var _ in text.EnumerateRunes()) count++;
        return count;
    }
}
