using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Images;

namespace Berth.Cli.Commands;

/// <summary>What may have been meant by a name that the engine does not know.</summary>
internal static class NearestName
{
    /// <summary>"\nDid you mean 'web'?", or nothing.</summary>
    /// <param name="message">The engine's: it says of what kind the thing is that is not there.</param>
    public static async ValueTask<string> HintAsync(CommandContext context, string message)
    {
        var names = new List<string>();
        try
        {
            if ((Between(message, "No such container: ", "") ?? Between(message, "No such object: ", "")) is { } container)
            {
                foreach (var known in await context.Client.ListContainersAsync(all: true, cancellationToken: context.Cancelled))
                    foreach (var name in known.Names ?? []) names.Add(name.TrimStart('/'));
                return Text(container, names);
            }
            if (Between(message, "No such image: ", "") is { } image)
            {
                // The engine adds a tag where none was given.
                var wanted = ImageName.Parse(image);
                var tagged = wanted is not { Tag: "latest" or "" };
                foreach (var known in await context.Client.ListImagesAsync(cancellationToken: context.Cancelled))
                    foreach (var name in known.RepoTags) names.Add(tagged ? name : ImageName.Parse(name).Repository);
                return Text(tagged ? image : wanted.Repository, names);
            }
            if (Between(message, "network ", " not found") is { } network)
            {
                foreach (var known in await context.Client.ListNetworksAsync(cancellationToken: context.Cancelled)) if (known.Name is not ("none" or "host")) names.Add(known.Name);
                return Text(network, names);
            }
            if (Between(message, "get ", ": no such volume") is { } volume)
            {
                foreach (var known in (await context.Client.ListVolumesAsync(cancellationToken: context.Cancelled)).Volumes) names.Add(known.Name);
                return Text(volume, names);
            }
        }
        catch (Exception e) when (e is EngineApiException or EngineConnectionException or IOException)
        {
            // The error itself is what counts.
        }
        return "";
    }

    /// <summary>Of one or two letters everything is near.</summary>
    public static string Text(string wanted, IEnumerable<string> names) => wanted.Length > 2 && Suggest.Nearest(wanted, names) is { } near && near != wanted ? $"\nDid you mean '{near}'?" : "";

    private static string? Between(string message, string begin, string end)
    {
        var at = message.IndexOf(begin, StringComparison.Ordinal);
        if (at < 0) return null;
        var rest = message[(at + begin.Length)..];
        var stop = end.Length == 0 ? rest.Length : rest.IndexOf(end, StringComparison.Ordinal);
        return stop > 0 && !rest.AsSpan(0, stop).Contains(' ') ? rest[..stop] : null;
    }
}
