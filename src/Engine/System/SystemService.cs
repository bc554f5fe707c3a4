using Berth.Api;

namespace Berth.Engine;

/// <summary>What the engine and its machine are.</summary>
public sealed class SystemService
{
    internal SystemService() { }

    /// <param name="apiVersion">Newest version the daemon speaks, and the oldest.</param>
    public SystemVersion Version(string apiVersion, string minApiVersion) => throw new NotImplementedException();
    public SystemInfo Info() => throw new NotImplementedException();
}
