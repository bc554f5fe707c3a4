using Berth.Api;
using Berth.Compose.Loading;
using Berth.Compose.Model;
using Berth.Compose.Yaml;

namespace Berth.Compose;

/// <summary>Models as texts, as `compose config` prints them.</summary>
public static class ModelText
{
    public static string Yaml(Node model)
    {
        var writer = new YamlText();
        writer.Any(model, 0);
        return writer.ToString();
    }

    public static string Json(Node model) => ModelJson.Of(model);

    /// <summary>com.docker.compose.config-hash.</summary>
    public static string Hash(Node service) => ModelJson.ServiceHash(service);

    /// <summary>As `config` prints it, with the contents of secrets and configs.</summary>
    public static string WithContents(Project project) => ModelYaml.Of(project, contents: true);

    /// <summary>Whether a file includes others, and whether services of it extend those of others.</summary>
    public static (bool Includes, bool Extends) RefersTo(string text, string file)
    {
        var (includes, extends) = (false, false);
        foreach (var document in YamlReader.Read(text, file))
        {
            includes |= document.Root["include"] is not null;
            if (document.Root["services"] is not { IsMap: true } services) continue;
            foreach (var service in services.Entries.Values) extends |= service.IsMap && service["extends"]?.Get("file") is not null;
        }
        return (includes, extends);
    }

    /// <summary>A service's networks, the one that is its own first.</summary>
    public static IReadOnlyList<string> NetworksOf(Node service) => Engine.ContainerSpec.ByPriority(service);

    /// <summary>"host:address" of extra_hosts.</summary>
    public static IEnumerable<string> Hosts(Node node)
    {
        foreach (var (host, addresses) in node.MapOf("extra_hosts"))
            foreach (var address in addresses.Items) yield return $"{host}:{address.Text}";
    }

    public static void CheckContainerNames(Project project) => Consistency.ContainerNames(project);

    /// <summary>Nothing but services' images: what lies on top of the files pins them.</summary>
    public static Project ImagesOnly(Project project)
    {
        var bare = new Project("", project.WorkingDirectory, project.Files, project.Environment);
        foreach (var (name, service) in project.Services)
        {
            var image = Node.Map();
            image["image"] = service.Get("image");
            bare.Services[name] = image;
        }
        return bare;
    }
}

/// <summary>What a tag stands for in its registry now.</summary>
public static class ImageDigests
{
    public static async Task ResolveAsync(EngineClient client, Project project, CancellationToken cancellationToken)
    {
        foreach (var service in project.Services.Values)
        {
            if (service.TextOf("image") is not { Length: > 0 } image || image.Contains('@')) continue;
            var digest = await client.DistributionDigestAsync(image, cancellationToken).ConfigureAwait(false);
            service["image"] = Node.Of($"{FullName(image)}@{digest}");
        }
    }

    /// <summary>docker.io/library/nginx:latest.</summary>
    public static string FullName(string image)
    {
        var slash = image.IndexOf('/');
        var first = slash < 0 ? "" : image[..slash];
        if (first is not "localhost" && !first.Contains('.') && !first.Contains(':')) image = "docker.io/" + (slash < 0 ? "library/" : "") + image;
        return image.IndexOf(':', image.LastIndexOf('/')) < 0 ? image + ":latest" : image;
    }
}
