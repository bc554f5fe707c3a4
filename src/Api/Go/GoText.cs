using System.Globalization;
using System.Text;

namespace Berth.Api.Go;

/// <summary>Texts as Go's fmt and strconv, and Docker's go-units, read and write them: they are part of what clients match on.</summary>
public static class GoText
{
    /// <summary>strconv.ParseBool.</summary>
    public static bool TryParseBool(string text, out bool value)
    {
        value = text is "1" or "t" or "T" or "TRUE" or "true" or "True";
        return value || text is "0" or "f" or "F" or "FALSE" or "false" or "False";
    }

    /// <exception cref="FormatException">Go's words.</exception>
    public static long ParseInt(string text)
    {
        var digits = text.AsSpan();
        var negative = digits.StartsWith("-");
        if (negative || digits.StartsWith("+")) digits = digits[1..];
        if (!TryParseUnsigned(digits, out var value, out var tooBig)) throw new FormatException($"strconv.ParseInt: parsing {Quote(text)}: invalid syntax");
        if (tooBig || (negative ? value > 1UL << 63 : value > long.MaxValue)) throw new FormatException($"strconv.ParseInt: parsing {Quote(text)}: value out of range");
        return negative ? -(long)value : (long)value;
    }

    /// <exception cref="FormatException">Go's words.</exception>
    public static ulong ParseUInt(string text, int bits)
    {
        if (!TryParseUnsigned(text, out var value, out var tooBig)) throw new FormatException($"strconv.ParseUint: parsing {Quote(text)}: invalid syntax");
        if (tooBig || (bits < 64 && value >> bits != 0)) throw new FormatException($"strconv.ParseUint: parsing {Quote(text)}: value out of range");
        return value;
    }

    // Base 0: 0x, 0o, 0b and a leading zero choose the base.
    private static bool TryParseUnsigned(ReadOnlySpan<char> digits, out ulong value, out bool tooBig)
    {
        (value, tooBig) = (0, false);
        var radix = 10u;
        if (digits.Length > 1 && digits[0] == '0')
        {
            (radix, var skip) = char.ToLowerInvariant(digits[1]) switch { 'x' => (16u, 2), 'o' => (8u, 2), 'b' => (2u, 2), _ => (8u, 1) };
            digits = digits[skip..];
        }
        if (digits.IsEmpty) return false;
        foreach (var c in digits)
        {
            var digit = char.IsAsciiDigit(c) ? (uint)(c - '0') : char.IsAsciiLetter(c) ? (uint)(char.ToLowerInvariant(c) - 'a' + 10) : 99;
            if (digit >= radix) return false;
            if (value > (ulong.MaxValue - digit) / radix) tooBig = true;
            value = unchecked(value * radix + digit);
        }
        return true;
    }

    /// <summary>strconv.QuoteRune.</summary>
    public static string QuoteRune(int rune) => Rune.IsValid(rune)
        ? rune switch { '\'' => "'\\''", '"' => "'\"'", _ => $"'{Quote(new Rune(rune).ToString())[1..^1]}'" }
        : "'\uFFFD'";

    /// <summary>In double quotes, with what does not print escaped (strconv.Quote).</summary>
    public static string Quote(string text)
    {
        var quoted = new StringBuilder(text.Length + 2).Append('"');
        foreach (var rune in text.EnumerateRunes())
        {
            switch (rune.Value)
            {
                case '"': quoted.Append("\\\""); break;
                case '\\': quoted.Append("\\\\"); break;
                case '\a': quoted.Append("\\a"); break;
                case '\b': quoted.Append("\\b"); break;
                case '\f': quoted.Append("\\f"); break;
                case '\n': quoted.Append("\\n"); break;
                case '\r': quoted.Append("\\r"); break;
                case '\t': quoted.Append("\\t"); break;
                case '\v': quoted.Append("\\v"); break;
                case < ' ' or 0x7f: quoted.Append("\\x").Append(rune.Value.ToString("x2", CultureInfo.InvariantCulture)); break;
                default:
                    if (rune.Value > 0x7f && Rune.GetUnicodeCategory(rune) is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.OtherNotAssigned or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator)
                        quoted.Append(rune.Value > 0xffff ? "\\U" : "\\u").Append(rune.Value.ToString(rune.Value > 0xffff ? "x8" : "x4", CultureInfo.InvariantCulture));
                    else quoted.Append(rune.ToString());
                    break;
            }
        }
        return quoted.Append('"').ToString();
    }

    /// <summary>%.<paramref name="digits"/>g: significant digits, no trailing zeros, an exponent when it is large.</summary>
    public static string General(double value, int digits)
    {
        if (value == 0) return "0";
        var text = value.ToString("E" + (digits - 1).ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture); // d.dddE+ddd
        var exponent = int.Parse(text[(text.IndexOf('E') + 1)..], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        if (exponent < -4 || exponent >= digits)
        {
            var mantissa = text[..text.IndexOf('E')];
            if (mantissa.Contains('.')) mantissa = mantissa.TrimEnd('0').TrimEnd('.');
            return $"{mantissa}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}";
        }
        var plain = value.ToString("F" + Math.Max(0, digits - 1 - exponent).ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
        return plain.Contains('.') ? plain.TrimEnd('0').TrimEnd('.') : plain;
    }

    /// <summary>units.FromHumanSize: decimal multiples ("10m" is 10,000,000), an optional b or ib.</summary>
    public static bool TryParseSize(string text, out long bytes) => TryParseSize(text, 1000, out bytes);

    /// <summary>units.RAMInBytes: binary multiples.</summary>
    public static bool TryParseRamSize(string text, out long bytes) => TryParseSize(text, 1024, out bytes);

    private static bool TryParseSize(string text, int unit, out long bytes)
    {
        bytes = 0;
        var digits = 0;
        while (digits < text.Length && (char.IsAsciiDigit(text[digits]) || text[digits] == '.')) digits++;
        if (digits == 0 || !decimal.TryParse(text.AsSpan(0, digits), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number)) return false;
        var suffix = text.AsSpan(digits);
        if (suffix.Length > 0 && suffix[0] == ' ') suffix = suffix[1..];
        decimal factor = 1;
        if (suffix.Length > 0)
        {
            if (suffix.Length > 3) return false;
            if (suffix is "b" or "B")
            {
                bytes = (long)number;
                return true;
            }
            var power = "kmgtp".IndexOf(char.ToLowerInvariant(suffix[0])) + 1;
            if (power == 0 || !(suffix.Length == 1 || suffix[1..].Equals("b", StringComparison.OrdinalIgnoreCase) || suffix[1..].Equals("ib", StringComparison.OrdinalIgnoreCase)))
                return false;
            for (var i = 0; i < power; i++) factor *= unit;
        }
        var result = number * factor;
        if (result > long.MaxValue) return false;
        bytes = (long)result;
        return true;
    }
}
