using System.Text.Json;
using Berth.Api;
using Berth.Api.Go;
using Berth.Api.Json;
using Berth.Engine;

namespace Berth.Builder;

/// <summary>What clients and configuration files say of the build cache: filters of <c>builder prune</c>, and <c>builder.gc</c> of daemon.json.</summary>
public static class CacheFilters
{
    private static readonly string[] Fields = ["id", "type", "description", "inuse", "shared", "private", "parent"];

    /// <summary>Filters as Docker's API has them: until or unused-for, id, type, description, inuse, shared, private.</summary>
    /// <exception cref="EngineException">InvalidParameter, in Docker's words.</exception>
    public static PruneRule Rule(Filters filters, DateTimeOffset now)
    {
        if (filters.Contains("until") && filters.Contains("unused-for")) throw EngineException.Invalid("conflicting filters: \"until\" and \"unused-for\"");
        var key = filters.Contains("unused-for") ? "unused-for" : "until";
        if (filters[key].Count > 1) throw EngineException.Invalid("filters expect only one value");
        var keep = TimeSpan.Zero;
        foreach (var value in filters[key]) keep = Age(value, key, now);
        foreach (var field in Fields)
            if (filters[field].Count > 1) throw EngineException.Invalid("filters expect only one value");
        return new PruneRule { KeepDuration = keep, Matches = entry => Fields.All(f => !filters.Contains(f) || Matches(entry, f, filters[f].FirstOrDefault() ?? "")) };
    }

    private static bool Matches(KeptEntry entry, string field, string value) => field switch
    {
        "id" => entry.Id.Contains(value, StringComparison.Ordinal),
        "type" => entry.Type == value,
        "description" => entry.Description == value,
        "inuse" => entry.InUse != Says(value, false),
        "shared" => entry.Shared != Says(value, false),
        "private" => !entry.Shared != Says(value, false),
        _ => false, // nobody's parent is told
    };

    private static bool Says(string value, bool what) => GoText.TryParseBool(value, out var said) && said == what;

    private static TimeSpan Age(string value, string key, DateTimeOffset now)
    {
        if (GoDuration.TryParse(value, out var age)) return age;
        if (GoTime.TryParse(value, out var time)) return now - time;
        throw EngineException.Invalid($"{GoText.Quote(key)} filter expects a duration (e.g., '24h') or a timestamp: failed to parse value as time or duration: {GoText.Quote(value)}");
    }

    /// <summary>The object <c>gc</c> of daemon.json: enabled, defaultKeepStorage (defaultReservedSpace, defaultMaxUsedSpace, defaultMinFreeSpace), policy.</summary>
    /// <param name="path">On the disk with the cache.</param>
    /// <exception cref="FormatException">dockerd's words.</exception>
    public static IReadOnlyList<PruneRule> ParseConfiguration(string json, string path)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(json);
        }
        catch (JsonException)
        {
            throw new FormatException("builder.gc is no JSON object");
        }
        using (document)
        {
            var gc = document.RootElement;
            if (gc.ValueKind != JsonValueKind.Object) throw new FormatException("builder.gc is no JSON object");
            if (gc.TryGetProperty("enabled", out var enabled) && enabled.ValueKind == JsonValueKind.False) return [];
            if (!gc.TryGetProperty("policy", out var policy) || policy.ValueKind != JsonValueKind.Array)
                return PruneRule.Defaults(path, Either(gc, "defaultReservedSpace", "defaultKeepStorage"), Size(gc, "defaultMaxUsedSpace"), Size(gc, "defaultMinFreeSpace"));
            var rules = new List<PruneRule>();
            foreach (var rule in policy.EnumerateArray())
            {
                try
                {
                    rules.Add(Rule(FiltersOf(rule), DateTimeOffset.UtcNow) with
                    {
                        All = rule.TryGetProperty("all", out var all) && all.ValueKind == JsonValueKind.True, ReservedSpace = Either(rule, "reservedSpace", "keepStorage"), MaxUsedSpace = Size(rule, "maxUsedSpace"),
                        MinFreeSpace = Size(rule, "minFreeSpace"),
                    });
                }
                catch (EngineException e)
                {
                    throw new FormatException(e.Message);
                }
            }
            return rules;
        }
    }

    // A list of name=value, or an object of them.
    private static Filters FiltersOf(JsonElement rule)
    {
        var filters = new Filters();
        if (!rule.TryGetProperty("filter", out var filter)) return filters;
        if (filter.ValueKind == JsonValueKind.Object) return Filters.Parse(filter.GetRawText());
        if (filter.ValueKind != JsonValueKind.Array) return filters;
        foreach (var one in filter.EnumerateArray())
        {
            var text = one.ValueKind == JsonValueKind.String ? one.GetString()! : "";
            var equals = text.IndexOf('=');
            if (equals < 0) throw new FormatException("invalid filter");
            filters.Add(text[..equals].Trim().ToLowerInvariant(), text[(equals + 1)..].TrimStart('=').Trim());
        }
        return filters;
    }

    private static long Either(JsonElement from, string name, string older) => Size(from, name) is > 0 and var size ? size : Size(from, older);

    private static long Size(JsonElement from, string name)
    {
        if (!from.TryGetProperty(name, out var value)) return 0;
        var text = value.ValueKind == JsonValueKind.String ? value.GetString()! : value.GetRawText();
        if (text.Length == 0) return 0;
        return GoText.TryParseRamSize(text, out var bytes) ? bytes : throw new FormatException($"failed to parse {name}: invalid size: '{text}'");
    }
}
