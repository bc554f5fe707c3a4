using System.Security.Cryptography;

namespace Berth.Engine;

/// <summary>Ids, names, and what a name may look like.</summary>
public static class Names
{
    internal const string AllowedCharacters = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

    /// <summary>64 lower-case hex digits. The short form never reads as a number, so that it can be a hostname.</summary>
    public static string NewId()
    {
        while (true)
        {
            var id = RandomNumberGenerator.GetHexString(64, lowercase: true);
            if (id.AsSpan(0, 12).IndexOfAnyInRange('a', 'f') >= 0) return id;
        }
    }

    public static string Short(string id) => id.Length > 12 ? id[..12] : id;

    /// <summary>At least two characters, the first alphanumeric.</summary>
    public static bool IsValid(ReadOnlySpan<char> name)
    {
        if (name.Length < 2 || !char.IsAsciiLetterOrDigit(name[0])) return false;
        foreach (var c in name[1..])
        {
            if (!char.IsAsciiLetterOrDigit(c) && c is not ('_' or '.' or '-')) return false;
        }
        return true;
    }

    /// <summary>"adjective_surname", with a digit from the second attempt on.</summary>
    public static string Random(int attempt)
    {
        var name = Adjectives[RandomNumberGenerator.GetInt32(Adjectives.Length)] + "_" + Surnames[RandomNumberGenerator.GetInt32(Surnames.Length)];
        return attempt > 0 ? name + RandomNumberGenerator.GetInt32(10) : name;
    }

    // People of ships, seas, sky and machines.
    private static readonly string[] Surnames =
    [
        "aldrin", "amundsen", "anning", "banks", "barentsz", "beaufort", "bering", "bowditch", "brunel", "cabot", "cartier", "carson", "chichester", "cook",
        "cousteau", "dampier", "davis", "drake", "earhart", "earle", "ellison", "ericson", "fitzroy", "flinders", "franklin", "frobisher", "gagarin", "gama",
        "goddard", "goodall", "hadley", "halley", "harrison", "herschel", "heyerdahl", "hillary", "hopper", "hubble", "hudson", "humboldt", "johnson", "joyon",
        "kepler", "kingsley", "knox", "laplace", "leakey", "lovell", "macarthur", "magellan", "maury", "mercator", "messner", "mitchell", "moitessier", "nansen",
        "nobile", "norgay", "park", "peary", "piccard", "ptolemy", "quiros", "reber", "ride", "ross", "sagan", "scott", "shackleton", "slocum", "somerville",
        "stark", "sturt", "sullivan", "tabarly", "tasman", "tereshkova", "tharp", "tsiolkovsky", "urquiola", "vespucci", "wallis", "watkins", "wegener", "weddell",
        "whitson", "worsley", "xu", "young", "zheng",
    ];

    private static readonly string[] Adjectives =
    [
        "able", "airy", "amber", "ample", "apt", "ardent", "azure", "balmy", "blithe", "bold", "brave", "breezy", "bright", "brisk", "buoyant", "calm", "candid",
        "careful", "cheery", "civil", "clear", "clever", "coastal", "copper", "cosy", "crisp", "daring", "deft", "dutiful", "eager", "early", "earnest", "easy",
        "even", "fair", "faithful", "fearless", "festive", "fine", "firm", "fleet", "fluent", "fond", "frank", "fresh", "gallant", "genial", "gentle", "glad",
        "golden", "grand", "handy", "hardy", "hearty", "honest", "humble", "jaunty", "jolly", "jovial", "keen", "kind", "lively", "loyal", "lucid", "lucky",
        "merry", "mellow", "mighty", "mild", "mindful", "modest", "neat", "nimble", "noble", "patient", "placid", "plucky", "polite", "prompt", "proud", "quick",
        "quiet", "ready", "robust", "rosy", "salty", "sane", "serene", "sharp", "silver", "sincere", "smart", "snug", "sober", "spry", "staunch", "steady",
        "stout", "sturdy", "sunny", "sure", "swift", "tender", "thrifty", "tidal", "tidy", "trim", "trusty", "upbeat", "valiant", "vivid", "warm", "wary",
        "willing", "windy", "wise", "witty", "worthy", "zesty",
    ];
}
