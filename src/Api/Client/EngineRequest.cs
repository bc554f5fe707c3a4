using System.Text;

namespace Berth.Api;

/// <summary>Builds "/path?name=value&amp;..." ; values are escaped, empty ones can be left out.</summary>
public struct EnginePath(string path)
{
    private readonly StringBuilder _text = new(path);
    private bool _hasQuery;

    /// <summary>One segment of a path (an id, a name): everything but the slashes of image names is escaped.</summary>
    public static string Segment(string value) => Uri.EscapeDataString(value).Replace("%2F", "/", StringComparison.Ordinal).Replace("%3A", ":", StringComparison.Ordinal);

    public EnginePath Add(string name, string value)
    {
        _text.Append(_hasQuery ? '&' : '?').Append(name).Append('=').Append(Uri.EscapeDataString(value));
        _hasQuery = true;
        return this;
    }

    /// <summary>Adds nothing for null or "".</summary>
    public EnginePath AddIf(string name, string? value) => string.IsNullOrEmpty(value) ? this : Add(name, value);

    /// <summary>name=1, or nothing.</summary>
    public EnginePath AddIf(string name, bool value) => value ? Add(name, "1") : this;

    public override readonly string ToString() => _text.ToString();

    public static implicit operator EnginePath(string path) => new(path);
}

/// <summary>An answer with a status below 400.</summary>
public sealed class EngineResponse : IDisposable
{
    internal EngineResponse(int status, Dictionary<string, string> headers, Stream body) => (Status, Headers, Body) = (status, headers, body);

    public int Status { get; }

    public IReadOnlyDictionary<string, string> Headers { get; }

    public Stream Body { get; }

    public string? Header(string name) => Headers.GetValueOrDefault(name);

    /// <summary>The body is a multiplexed stream (<see cref="StdFrame"/>); false when it is raw or the server did not say.</summary>
    public bool IsMultiplexed => Header("Content-Type") == EngineClient.MultiplexedStream;

    public void Dispose() => Body.Dispose();
}
