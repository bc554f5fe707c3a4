namespace Berth.Images.Registry;

/// <summary>A WWW-Authenticate challenge (RFC 9110, 11.6.1): scheme in lower case, parameters by lower-case name.</summary>
internal sealed record AuthChallenge(string Scheme, IReadOnlyDictionary<string, string> Parameters)
{
    /// <summary>Longest header read; they are some hundred bytes.</summary>
    private const int MaxHeaderLength = 8 * 1024;

    public static IEnumerable<AuthChallenge> Of(HttpResponseMessage response)
    {
        if (!response.Headers.NonValidated.TryGetValues("WWW-Authenticate", out var values)) yield break;
        foreach (var value in values)
            if (value.Length <= MaxHeaderLength && Parse(value) is { } challenge) yield return challenge;
    }

    /// <summary>Null when it is not one. Only one challenge per header is read; nobody sends more to registry clients.</summary>
    public static AuthChallenge? Parse(string header)
    {
        var text = header.AsSpan().Trim();
        var space = text.IndexOf(' ');
        var scheme = (space < 0 ? text : text[..space]).ToString().ToLowerInvariant();
        if (scheme.Length == 0) return null;
        var parameters = new Dictionary<string, string>();
        text = space < 0 ? default : text[space..].TrimStart();
        while (!text.IsEmpty)
        {
            var equals = text.IndexOf('=');
            if (equals <= 0) break;
            var name = text[..equals].Trim().ToString().ToLowerInvariant();
            text = text[(equals + 1)..].TrimStart();
            string value;
            if (text is ['"', ..])
            {
                var quoted = new System.Text.StringBuilder();
                var i = 1;
                for (; i < text.Length && text[i] != '"'; i++)
                {
                    if (text[i] == '\\' && i + 1 < text.Length) i++;
                    quoted.Append(text[i]);
                }
                if (i >= text.Length) return null; // the quote never ends
                value = quoted.ToString();
                text = text[(i + 1)..];
            }
            else
            {
                var end = text.IndexOf(',');
                value = (end < 0 ? text : text[..end]).Trim().ToString();
                text = end < 0 ? default : text[end..];
            }
            parameters[name] = value;
            text = text.TrimStart().TrimStart(',').TrimStart();
        }
        return new AuthChallenge(scheme, parameters);
    }
}
