using System.Globalization;
using Berth.Dockerfile;

namespace Berth.Builder;

/// <summary>COPY --chmod: octal digits, or a list as chmod(1) takes it ("u=rwX,go=rX").</summary>
internal static class FileMode
{
    /// <summary>From the permissions there are, and whether it is a directory, to those that are wanted; null for the empty text.</summary>
    /// <exception cref="DockerfileException"/>
    public static Func<uint, bool, uint>? Parse(string text)
    {
        if (text.Length == 0) return null;
        var wrong = new DockerfileException($"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777");
        if (text.All(char.IsAsciiDigit)) return Octal(text) is { } mode ? (_, _) => mode : throw wrong;
        var changes = text.Split(',').Select(Clause).ToList();
        return (permissions, directory) => changes.Aggregate(permissions, (mode, change) => change(mode, directory));

        Func<uint, bool, uint> Clause(string clause)
        {
            var at = 0;
            uint who = 0;
            for (; at < clause.Length && "ugoa".Contains(clause[at]); at++) who |= clause[at] switch { 'u' => 0x9C0u, 'g' => 0x438u, 'o' => 0x207u, _ => 0xFFFu };
            if (who == 0) who = 0xFFF;
            var steps = new List<(char Operation, string Letters)>();
            while (at < clause.Length)
            {
                var operation = clause[at++];
                if (operation is not ('+' or '-' or '=')) throw wrong;
                var start = at;
                while (at < clause.Length && "rwxXstugo".Contains(clause[at])) at++;
                steps.Add((operation, clause[start..at]));
            }
            if (steps.Count == 0) throw wrong;
            return (mode, directory) => steps.Aggregate(mode, (current, step) => Apply(current, directory, who, step.Operation, step.Letters));
        }
    }

    /// <summary>Null for anything but octal digits up to 7777.</summary>
    public static uint? Octal(string text) => text.Length is > 0 and <= 8 && text.All(c => c is >= '0' and <= '7') && Convert.ToUInt32(text, 8) is var mode and <= 0xFFF ? mode : null;

    private static uint Apply(uint mode, bool directory, uint who, char operation, string letters)
    {
        uint bits = 0;
        foreach (var letter in letters)
        {
            bits |= letter switch
            {
                'r' => 0x124u,
                'w' => 0x92u,
                'x' => 0x49u,
                'X' => directory || (mode & 0x49) != 0 ? 0x49u : 0,
                's' => 0xC00u,
                't' => 0x200u,
                'u' => Spread(mode >> 6),
                'g' => Spread(mode >> 3),
                _ => Spread(mode),
            };
        }
        bits &= who;
        return operation switch { '+' => mode | bits, '-' => mode & ~bits, _ => (mode & ~(who & (directory ? 0x3FFu : 0xFFFu))) | bits };

        static uint Spread(uint one) => (one & 7) * 0x49;
    }
}
