namespace Berth.Engine;

/// <summary>The key sequence that detaches from a terminal (ctrl-p,ctrl-q by default), as text, bytes and a scanner over what the user types.</summary>
public sealed class DetachKeys
{
    internal const int MaxKeys = 32;

    public static readonly DetachKeys Default = new([16, 17]);

    private readonly byte[] _keys;

    private DetachKeys(byte[] keys) => _keys = keys;

    /// <summary>"ctrl-a", "x" or several joined by commas; empty gives the default.</summary>
    public static bool TryParse(string? text, out DetachKeys keys)
    {
        keys = Default;
        if (string.IsNullOrEmpty(text)) return true;
        var parts = text.Split(',');
        if (parts.Length > MaxKeys) return false;
        var bytes = new byte[parts.Length];
        for (var i = 0; i < parts.Length; i++)
        {
            if (!TryKey(parts[i], out bytes[i])) return false;
        }
        keys = new DetachKeys(bytes);
        return true;
    }

    private static bool TryKey(string part, out byte key)
    {
        key = 0;
        if (part.Length == 1)
        {
            key = (byte)part[0];
            return part[0] < 128;
        }
        if (!part.StartsWith("ctrl-", StringComparison.Ordinal) || part.Length != 6) return false;
        var c = part[5];
        var value = c switch
        {
            >= 'a' and <= 'z' => c - 'a' + 1,
            '@' => 0,
            '[' => 27,
            '\\' => 28,
            ']' => 29,
            '^' => 30,
            '_' => 31,
            _ => -1,
        };
        key = (byte)value;
        return value >= 0;
    }

    public Scanner NewScanner() => new(_keys);

    /// <summary>As exec inspect shows them.</summary>
    public string ToBase64() => Convert.ToBase64String(_keys);

    /// <summary>Looks for the sequence across reads. Keys that turn out not to be the sequence are passed on in order; those of a sequence are not.</summary>
    public sealed class Scanner(byte[] keys)
    {
        private int _matched;

        /// <summary>
        /// Copies what should reach the container to <paramref name="output"/> (at most input.Length + <see cref="MaxKeys"/> bytes) and says whether the
        /// sequence was completed; input behind it is dropped.
        /// </summary>
        public bool Scan(ReadOnlySpan<byte> input, Span<byte> output, out int written)
        {
            written = 0;
            foreach (var b in input)
            {
                if (b == keys[_matched])
                {
                    if (++_matched == keys.Length) return true;
                    continue;
                }
                if (_matched > 0)
                {
                    keys.AsSpan(0, _matched).CopyTo(output[written..]);
                    written += _matched;
                    _matched = 0;
                    if (b == keys[0])
                    {
                        _matched = 1;
                        if (keys.Length == 1) return true;
                        continue;
                    }
                }
                output[written++] = b;
            }
            return false;
        }
    }
}
