using System.Text;

namespace Berth.Cli.Commands.Containers;

/// <summary>One record of comma-separated values, quoted where they hold commas: the value of --mount and --network.</summary>
internal static class Csv
{
    /// <exception cref="FormatException">A quote is not closed or in the wrong place.</exception>
    public static List<string> Fields(string record)
    {
        var fields = new List<string>();
        var field = new StringBuilder();
        for (var i = 0; ; i++)
        {
            if (i < record.Length && record[i] == '"' && field.Length == 0)
            {
                for (i++; ; i++)
                {
                    if (i >= record.Length) throw new FormatException("parse error on line 1: extraneous or missing \" in quoted-field");
                    if (record[i] != '"') field.Append(record[i]);
                    else if (i + 1 < record.Length && record[i + 1] == '"') field.Append(record[i++]);
                    else break;
                }
                i++;
                if (i < record.Length && record[i] != ',') throw new FormatException("parse error on line 1: extraneous or missing \" in quoted-field");
            }
            if (i >= record.Length || record[i] == ',')
            {
                fields.Add(field.ToString());
                field.Clear();
                if (i >= record.Length) return fields;
                continue;
            }
            if (record[i] == '"') throw new FormatException("parse error on line 1: bare \" in non-quoted-field");
            field.Append(record[i]);
        }
    }
}
