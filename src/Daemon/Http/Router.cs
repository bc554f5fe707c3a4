using System.Diagnostics.CodeAnalysis;

namespace Berth.Daemon.Http;

/// <summary>Answers one request; an exception becomes an error response, see <see cref="Errors"/>.</summary>
internal delegate Task Handler(ApiRequest request);

/// <param name="Template">As it is written in Docker's reference: "/images/{name}/json". The name may hold slashes.</param>
internal sealed record Route(string Method, string Template, Handler Handler)
{
    public string Prefix { get; } = Template.Split('{')[0];
    public string? Suffix { get; } = Template.Contains('{') ? Template.Split('}')[1] : null;

    public bool Matches(string path, out string name)
    {
        name = "";
        if (Suffix is null)
            return path == Prefix;
        if (path.Length < Prefix.Length + Suffix.Length || !path.StartsWith(Prefix, StringComparison.Ordinal) || !path.EndsWith(Suffix, StringComparison.Ordinal))
            return false;
        name = path[Prefix.Length..^Suffix.Length];
        return name.Length > 0;
    }
}

/// <summary>
/// Finds the route of a request. ASP.NET's routing has no name with slashes in the middle of a path ("/images/a/b:c/json"),
/// and the table is short: the routes of one method are tried in the order they were added.
/// </summary>
internal sealed class Router
{
    private readonly Dictionary<string, List<Route>> _byMethod = [];

    public void Get(string template, Handler handler) => Add("GET", template, handler);
    public void Head(string template, Handler handler) => Add("HEAD", template, handler);
    public void Post(string template, Handler handler) => Add("POST", template, handler);
    public void Put(string template, Handler handler) => Add("PUT", template, handler);
    public void Delete(string template, Handler handler) => Add("DELETE", template, handler);

    private void Add(string method, string template, Handler handler)
    {
        if (!_byMethod.TryGetValue(method, out var routes))
            _byMethod[method] = routes = [];
        routes.Add(new Route(method, template, handler));
    }

    public IEnumerable<Route> Routes => _byMethod.Values.SelectMany(r => r);

    /// <param name="path">Without the version.</param>
    public bool TryFind(string method, string path, [NotNullWhen(true)] out Route? route, out string name)
    {
        if (_byMethod.TryGetValue(method, out var routes))
        {
            foreach (var candidate in routes)
            {
                if (candidate.Matches(path, out name))
                {
                    route = candidate;
                    return true;
                }
            }
        }
        route = null;
        name = "";
        return false;
    }
}
