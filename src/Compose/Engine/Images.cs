using Berth.Api;
using Berth.Compose.Model;

namespace Berth.Compose.Engine;

/// <summary>Which images are to be fetched or built before containers can be made.</summary>
/// <param name="Pull">Services.</param>
/// <param name="Build">Services.</param>
public sealed record ImagePlan(IReadOnlyList<string> Pull, IReadOnlyList<string> Build)
{
    /// <param name="project">Whose services.</param>
    /// <param name="observed">What is there.</param>
    /// <param name="pull">--pull: always, missing, never, build; "" leaves it to the services.</param>
    /// <param name="build">--build.</param>
    /// <param name="noBuild">--no-build.</param>
    /// <param name="now">Unix seconds, for images that are to be fetched every so often.</param>
    public static ImagePlan For(Project project, Observed observed, string pull, bool build, bool noBuild, long now)
    {
        var pulls = new List<string>();
        var builds = new List<string>();
        foreach (var name in project.InDependencyOrder())
        {
            var service = project.Services[name];
            if (service.Get("provider") is not null) continue;
            var image = project.ImageOf(name);
            var there = observed.Images.GetValueOrDefault(ImageDigests.FullName(image)) ?? observed.Images.GetValueOrDefault(image);
            var policy = pull.Length > 0 ? pull : service.TextOf("pull_policy");
            var buildable = service.Get("build") is not null;
            if (buildable && (build || policy == "build" || (there is null && !noBuild)))
            {
                if (noBuild) throw new ComposeException("--build and --no-build are incompatible");
                builds.Add(name);
                continue;
            }
            if (buildable && there is null) throw new ComposeException($"service {GoText.Quote(name)} is to be built, and --no-build was given");
            switch (policy)
            {
                case "always" when !buildable: pulls.Add(name); break;
                case "never":
                    if (there is null) throw new ComposeException($"No such image: {image}");
                    break;
                case "daily" or "weekly" or "refresh":
                    if (there is null || now - there.Created > (policy == "weekly" ? 7 : 1) * 86_400L) pulls.Add(name);
                    break;
                default:
                    if (policy.StartsWith("every_", StringComparison.Ordinal) && there is not null && now - there.Created > Loading.Specs.Nanoseconds(policy["every_".Length..]) / 1_000_000_000) pulls.Add(name);
                    else if (there is null) pulls.Add(name);
                    break;
            }
        }
        return new ImagePlan(pulls, builds);
    }
}
