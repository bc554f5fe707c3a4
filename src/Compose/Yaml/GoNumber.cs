using System.Globalization;

namespace Berth.Compose.Yaml;

/// <summary>Numbers as Go prints them: the shortest digits that read back as the same number.</summary>
internal static class GoNumber
{
    /// <summary>%v of a float64: an exponent from 1e21 on and below 1e-4.</summary>
    public static string General(double value) => Format(value, value.ToString("R", CultureInfo.InvariantCulture), 1e-4, 1e21, padExponent: true);

    /// <summary>The same of a float32.</summary>
    public static string General32(float value) => Format(value, value.ToString("R", CultureInfo.InvariantCulture), 1e-4, 1e21, padExponent: true);

    /// <summary>encoding/json: an exponent from 1e21 on and below 1e-6.</summary>
    public static string Json(double value, bool single) =>
        Format(value, single ? ((float)value).ToString("R", CultureInfo.InvariantCulture) : value.ToString("R", CultureInfo.InvariantCulture), 1e-6, 1e21, padExponent: false);

    private static string Format(double value, string shortest, double low, double high, bool padExponent)
    {
        if (double.IsNaN(value)) return "NaN";
        if (double.IsInfinity(value)) return value > 0 ? "+Inf" : "-Inf";
        if (value == 0) return "0";
        // Taken apart into digits and exponent, then put together again Go's way.
        var negative = shortest.StartsWith('-');
        var text = negative ? shortest[1..] : shortest;
        var exponent = 0;
        var e = text.IndexOf('E');
        if (e >= 0)
        {
            exponent = int.Parse(text.AsSpan(e + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
            text = text[..e];
        }
        var point = text.IndexOf('.');
        var digits = point < 0 ? text : text.Remove(point, 1);
        var scale = (point < 0 ? text.Length : point) + exponent; // value = 0.digits * 10^scale
        var leading = digits.Length - digits.TrimStart('0').Length;
        digits = digits[leading..].TrimEnd('0');
        scale -= leading;
        var magnitude = Math.Abs(value);
        string result;
        if (magnitude < low || magnitude >= high)
        {
            var power = scale - 1;
            result = digits[..1] + (digits.Length > 1 ? "." + digits[1..] : "") + "e" + (power < 0 ? "-" : "+") + Math.Abs(power).ToString(padExponent ? "00" : "0", CultureInfo.InvariantCulture);
        }
        else if (scale <= 0) result = "0." + new string('0', -scale) + digits;
        else if (scale >= digits.Length) result = digits + new string('0', scale - digits.Length);
        else result = digits[..scale] + "." + digits[scale..];
        return negative ? "-" + result : result;
    }
}
