using System.Globalization;

namespace Berth.Daemon.Http;

/// <summary>A version of the Engine API, as in /v1.44/: what the client asked for decides shapes and defaults.</summary>
internal readonly record struct ApiVersion(int Major, int Minor) : IComparable<ApiVersion>
{
    public static readonly ApiVersion Min = new(1, 24);
    public static readonly ApiVersion Max = new(1, 51);

    /// <summary>Digits and dots, as Docker's router takes them: "1" is 1.0, and what follows a second dot does not count here.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out ApiVersion version)
    {
        version = default;
        if (text.IsEmpty || text.ContainsAnyExcept("0123456789."))
            return false;
        var parts = text.ToString().Split('.');
        version = new(Number(parts[0]), parts.Length > 1 ? Number(parts[1]) : 0);
        return true;

        static int Number(string digits) => int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value : digits.Length == 0 ? 0 : int.MaxValue;
    }

    public int CompareTo(ApiVersion other) => Major != other.Major ? Major.CompareTo(other.Major) : Minor.CompareTo(other.Minor);

    public static bool operator <(ApiVersion a, ApiVersion b) => a.CompareTo(b) < 0;
    public static bool operator >(ApiVersion a, ApiVersion b) => a.CompareTo(b) > 0;
    public static bool operator <=(ApiVersion a, ApiVersion b) => a.CompareTo(b) <= 0;
    public static bool operator >=(ApiVersion a, ApiVersion b) => a.CompareTo(b) >= 0;

    /// <summary>Whether this is before 1.<paramref name="minor"/>.</summary>
    public bool Before(int minor) => this < new ApiVersion(1, minor);

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Major}.{Minor}");
}
