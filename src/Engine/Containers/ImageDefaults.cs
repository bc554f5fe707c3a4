using Berth.Api;

namespace Berth.Engine;

/// <summary>What the image says where the user said nothing. Pure.</summary>
internal static class ImageDefaults
{
    /// <summary>Merges into <paramref name="config"/>; then the command must not be empty.</summary>
    /// <exception cref="EngineException">InvalidParameter "no command specified".</exception>
    public static void Merge(ContainerConfig config, Images.ContainerConfig? image)
    {
        if (image is not null) MergeImage(config, image);
        // [""] is how a client says "none, not the image's either".
        if (config.Entrypoint is [""]) config.Entrypoint = null;
        if (config.Entrypoint is not { Length: > 0 } && config.Cmd is not { Length: > 0 }) throw EngineException.Invalid("no command specified");
    }

    private static void MergeImage(ContainerConfig config, Images.ContainerConfig image)
    {
        if (config.User.Length == 0) config.User = image.User ?? "";
        config.ExposedPorts = Union(config.ExposedPorts, image.ExposedPorts?.Keys);
        var env = new List<string>(config.Env ?? []);
        foreach (var variable in image.Env ?? [])
        {
            if (!env.Exists(v => Key(v).SequenceEqual(Key(variable)))) env.Add(variable);
        }
        config.Env = config.Env is null && env.Count == 0 ? null : [.. env];
        config.Labels ??= [];
        foreach (var (name, value) in image.Labels ?? new Dictionary<string, string>()) config.Labels.TryAdd(name, value);
        if (config.Entrypoint is not { Length: > 0 })
        {
            if (config.Cmd is not { Length: > 0 })
            {
                config.Cmd = image.Cmd is null ? null : [.. image.Cmd];
                config.ArgsEscaped = image.ArgsEscaped ?? false;
            }
            config.Entrypoint ??= image.Entrypoint is null ? null : [.. image.Entrypoint];
        }
        if (image.Healthcheck is { } health)
        {
            config.Healthcheck ??= new HealthConfig();
            var own = config.Healthcheck;
            if (own.Test is not { Length: > 0 } && health.Test is not null) own.Test = [.. health.Test];
            if (own.Interval == 0) own.Interval = health.Interval ?? 0;
            if (own.Timeout == 0) own.Timeout = health.Timeout ?? 0;
            if (own.StartPeriod == 0) own.StartPeriod = health.StartPeriod ?? 0;
            if (own.StartInterval == 0) own.StartInterval = health.StartInterval ?? 0;
            if (own.Retries == 0) own.Retries = health.Retries ?? 0;
        }
        if (config.WorkingDir.Length == 0) config.WorkingDir = image.WorkingDir ?? "";
        config.Volumes = Union(config.Volumes, image.Volumes?.Keys);
        if (string.IsNullOrEmpty(config.StopSignal)) config.StopSignal = image.StopSignal;
    }

    private static SortedSet<string>? Union(SortedSet<string>? own, IEnumerable<string>? image) => image is null ? own : new([.. own ?? [], .. image], StringComparer.Ordinal);

    private static ReadOnlySpan<char> Key(string variable)
    {
        var equals = variable.IndexOf('=');
        return equals < 0 ? variable : variable.AsSpan(0, equals);
    }

    /// <summary>Executable and arguments out of entrypoint and command.</summary>
    public static (string Path, string[] Args) CommandOf(ContainerConfig config)
    {
        string[] all = [.. config.Entrypoint ?? [], .. config.Cmd ?? []];
        return (all[0], all[1..]);
    }
}
