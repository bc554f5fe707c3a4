using Berth.Api;
using Berth.Cli.CommandLine;

namespace Berth.Cli.Commands;

/// <summary>--filter name=value.</summary>
internal static class FilterFlag
{
    public static string Check(string value) => value.Length == 0 || value.Contains('=') ? value : throw new FormatException("bad format of filter (expected name=value)");

    public static Filters Of(Arguments flags)
    {
        var filters = new Filters();
        foreach (var value in flags.List("filter"))
        {
            var equals = value.IndexOf('=');
            if (equals > 0) filters.Add(value[..equals].Trim().ToLowerInvariant(), value[(equals + 1)..].Trim());
        }
        return filters;
    }
}
