using System.Text;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Routes;

/// <summary>
/// What Docker has and Berth has not yet: each answers 501 naming itself, so that a user learns what is missing instead of meeting
/// "page not found". Swarm answers as a Docker outside a swarm does.
/// </summary>
internal static class LaterRoutes
{
    public static void Map(Router router)
    {
        foreach (var (method, template, what) in (ReadOnlySpan<(string, string, string)>)
        [
            ("POST", "/build/cancel", "building with BuildKit"),
            ("POST", "/plugins/pull", "docker plugin install"),
        ])
        {
            Add(router, method, template, _ => throw Errors.NotImplemented(what));
        }

        router.Get("/plugins", async r =>
        {
            r.Http.Response.ContentType = "application/json";
            await r.Http.Response.Body.WriteAsync(Encoding.ASCII.GetBytes("[]\n"));
        });

        foreach (var noun in (ReadOnlySpan<string>)["nodes", "services", "tasks", "secrets", "configs", "swarm"])
        {
            Handler notInSwarm = _ => throw new EngineException(ErrorKind.Unavailable,
                "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.");
            router.Get($"/{noun}", notInSwarm);
            router.Get($"/{noun}/{{name}}", notInSwarm);
        }
        foreach (var verb in (ReadOnlySpan<string>)["init", "join", "leave", "update"])
            router.Post($"/swarm/{verb}", _ => throw Errors.NotImplemented("docker swarm " + verb));
    }

    private static void Add(Router router, string method, string template, Handler handler)
    {
        switch (method)
        {
            case "GET": router.Get(template, handler); break;
            case "HEAD": router.Head(template, handler); break;
            case "PUT": router.Put(template, handler); break;
            case "DELETE": router.Delete(template, handler); break;
            default: router.Post(template, handler); break;
        }
    }
}
