using System.Globalization;
using Berth.Api;
using Berth.Cli.Output;

namespace Berth.Cli.Commands.Containers;

/// <summary>What --network says: a name or mode, or name=NET,alias=X,ip=ADDRESS,...</summary>
internal sealed record NetworkSpec(string Target, EndpointSettings Endpoint)
{
    /// <exception cref="FormatException">Docker's words.</exception>
    public static NetworkSpec Parse(string value)
    {
        var endpoint = new EndpointSettings();
        if (!IsLongForm(value)) return new(value, endpoint);
        var target = "";
        var aliases = new List<string>();
        var linkLocal = new List<string>();
        foreach (var field in Csv.Fields(value))
        {
            var equals = field.IndexOf('=');
            if (equals <= 0) throw new FormatException($"invalid field {field}");
            var key = field[..equals].ToLowerInvariant().Trim();
            var text = field[(equals + 1)..].ToLowerInvariant().Trim();
            switch (key)
            {
                case "name": target = text; break;
                case "alias": aliases.Add(text); break;
                case "ip": (endpoint.IPAMConfig ??= new()).IPv4Address = text; break;
                case "ip6": (endpoint.IPAMConfig ??= new()).IPv6Address = text; break;
                case "mac-address": endpoint.MacAddress = text; break;
                case "link-local-ip": linkLocal.Add(text); break;
                case "driver-opt":
                    var (name, option) = CreateRequestBuilder.Cut(text);
                    if (name.Length == 0 || !text.Contains('=')) throw new FormatException("invalid key value pair format in driver options");
                    (endpoint.DriverOpts ??= [])[name.Trim()] = option.Trim();
                    break;
                case "gw-priority":
                    endpoint.GwPriority = int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var priority) ? priority : throw new FormatException($"invalid gw-priority ({text}): invalid syntax");
                    break;
                default: throw new FormatException("invalid field key " + key);
            }
        }
        if (target.Length == 0) throw new FormatException("network name/id is not specified");
        if (aliases.Count > 0) endpoint.Aliases = [.. aliases];
        if (linkLocal.Count > 0) (endpoint.IPAMConfig ??= new()).LinkLocalIPs = [.. linkLocal];
        return new(target, endpoint);
    }

    public static bool IsUserDefined(string mode) => mode is not ("default" or "bridge" or "host" or "none" or "") && !mode.StartsWith("container:", StringComparison.Ordinal);

    private static bool IsLongForm(string value)
    {
        var equals = value.IndexOf('=');
        return equals > 0 && equals + 1 < value.Length && (char.IsAsciiLetterOrDigit(value[equals - 1]) || value[equals - 1] == '_') && (char.IsAsciiLetterOrDigit(value[equals + 1]) || value[equals + 1] == '_');
    }
}
