using Berth.Api;

namespace Berth.Engine;

/// <summary>The networks as the API shows them: bridge, host and none.</summary>
public sealed class NetworkService
{
    internal NetworkService() { }

    public List<NetworkInspect> List(Filters filters) => throw new NotImplementedException();
    public NetworkInspect Inspect(string nameOrId) => throw new NotImplementedException();
}
