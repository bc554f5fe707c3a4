namespace Berth.Cli.Streams;

/// <summary>
/// Looks for the keys that leave a container running and its user elsewhere. What might be their beginning is held back
/// until the next key decides.
/// </summary>
internal sealed class DetachKeys
{
    private readonly byte[] _keys;
    private int _matched;

    /// <param name="text">"ctrl-p,ctrl-q", "a,b", ...; empty for the default (ctrl-p,ctrl-q).</param>
    /// <exception cref="FormatException">Neither single characters nor ctrl- with a letter or one of @[\]^_.</exception>
    public DetachKeys(string text) => _keys = text.Length == 0 ? [16, 17] : [.. text.Split(',').Select(Key)];

    /// <summary>Adds to the output what is to be sent on; true when the keys are complete.</summary>
    public bool Pass(ReadOnlySpan<byte> typed, List<byte> output)
    {
        foreach (var key in typed)
        {
            if (key == _keys[_matched])
            {
                if (++_matched == _keys.Length) return true;
                continue;
            }
            output.AddRange(_keys.AsSpan(0, _matched));
            _matched = key == _keys[0] ? 1 : 0;
            if (_matched == 0) output.Add(key);
        }
        return false;
    }

    private static byte Key(string text)
    {
        if (text.Length == 1 && text[0] < 128) return (byte)text[0];
        if (text.Length == 6 && text.StartsWith("ctrl-", StringComparison.Ordinal))
        {
            var key = text[5];
            if (char.IsAsciiLetterLower(key)) return (byte)(key - 'a' + 1);
            var other = "@[\\]^_".IndexOf(key);
            if (other >= 0) return (byte)(other == 0 ? 0 : 26 + other);
        }
        throw new FormatException($"Unknown character: '{text}'");
    }
}
