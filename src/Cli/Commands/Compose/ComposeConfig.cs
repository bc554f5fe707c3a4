using Berth.Cli.CommandLine;
using Berth.Cli.Output;
using Berth.Compose;
using Berth.Compose.Loading;

namespace Berth.Cli.Commands.Compose;

internal static class ComposeConfig
{
    public static readonly Command Command = new()
    {
        Paths = ["config", "convert"],
        Usage = "[OPTIONS] [SERVICE...]",
        Summary = "Read compose files and print the model they make",
        Flags = static () =>
        [
            new("environment", FlagKind.Bool, "The variables that files are filled with"),
            new("format", FlagKind.String, "yaml or json"),
            new("hash", FlagKind.String, "Configuration hashes of these services, * for all"),
            new("images", FlagKind.Bool, "Image names, one a line"),
            new("lock-image-digests", FlagKind.Bool, "An override file with images' digests"),
            new("models", FlagKind.Bool, "Model names, one a line"),
            new("networks", FlagKind.Bool, "Network names, one a line"),
            new("no-consistency", FlagKind.Bool, "Do not check whether the parts fit together"),
            new("no-env-resolution", FlagKind.Bool, "Do not read services' env files"),
            new("no-interpolate", FlagKind.Bool, "Leave variables as they are"),
            new("no-normalize", FlagKind.Bool, "Leave out what is implied"),
            new("no-path-resolution", FlagKind.Bool, "Leave paths relative"),
            new("output", 'o', FlagKind.String, "Write to this file"),
            new("profiles", FlagKind.Bool, "Profile names, one a line"),
            new("quiet", 'q', FlagKind.Bool, "Only check the files"),
            new("resolve-image-digests", FlagKind.Bool, "Tags as digests"),
            new("services", FlagKind.Bool, "Service names, one a line"),
            new("variables", FlagKind.Bool, "The variables of the files, and their defaults"),
            new("volumes", FlagKind.Bool, "Volume names, one a line"),
        ],
        Run = i => RunAsync((ComposeInvocation)i),
    };

    private static async Task<int> RunAsync(ComposeInvocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var options = new LoadOptions
        {
            Interpolate = !flags.Bool("no-interpolate") && !flags.Bool("variables"), Normalize = !flags.Bool("no-normalize") && !invocation.Source.Compatibility, ResolvePaths = !flags.Bool("no-path-resolution"),
            CheckConsistency = !flags.Bool("no-consistency"), DiscardEnvFiles = true,
        };
        var services = flags.Positional;
        var unresolved = options with { ResolveEnvironment = false };
        if (flags.Bool("services")) return Print(context, options.Interpolate ? invocation.Loader.Load(unresolved).InDependencyOrder() : invocation.Loader.LoadModel(unresolved).MapOf("services").Keys.Order(StringComparer.Ordinal));
        if (flags.Bool("volumes")) return Print(context, invocation.Loader.Load(unresolved).Volumes.Keys.Order(StringComparer.Ordinal));
        if (flags.Bool("networks")) return Print(context, invocation.Loader.Load(unresolved).Networks.Keys.Order(StringComparer.Ordinal));
        if (flags.Bool("models")) return Print(context, invocation.Loader.Load(unresolved).Models.Values.Select(m => m.TextOf("model")).Where(m => m.Length > 0).Order(StringComparer.Ordinal));
        if (flags.String("hash") is { Length: > 0 } wanted) return Print(context, Hashes(invocation.Loader.Load(unresolved), wanted));
        if (flags.Bool("profiles"))
        {
            var project = invocation.Loader.Load(unresolved, services);
            return Print(context, project.Services.Values.Concat(project.Disabled.Values).SelectMany(s => s.StringsOf("profiles")).Distinct().Order(StringComparer.Ordinal));
        }
        if (flags.Bool("images"))
        {
            var project = invocation.Loader.Load(unresolved, services);
            return Print(context, project.ServiceNames.Select(project.ImageOf));
        }
        if (flags.Bool("variables"))
        {
            var rows = ProjectLoader.VariablesOf(invocation.Loader.LoadModel(unresolved)).Values.ToList();
            new Formatter<Variables.Use>("template.Variable",
            [
                new("Name", "NAME", v => v.Name), new("Required", "REQUIRED", v => v.Required ? "true" : "false"), new("DefaultValue", "DEFAULT VALUE", v => v.Default), new("PresenceValue", "ALTERNATE VALUE", v => v.Presence),
            ]).Write(context.Out, flags.String("format"), "{{.Name}}\t{{.Required}}\t{{.DefaultValue}}\t{{.PresenceValue}}", rows);
            return 0;
        }
        if (flags.Bool("environment")) return Print(context, invocation.Loader.Load(options, services).Environment.Select(e => $"{e.Key}={e.Value}").Order(StringComparer.Ordinal));

        var format = flags.String("format") is { Length: > 0 } given ? given : "yaml";
        if (format is not ("yaml" or "json")) throw new CommandException($"unsupported format {GoText.Quote(format)}");
        var locked = flags.Bool("lock-image-digests");
        string text;
        if (!options.Interpolate)
        {
            var model = invocation.Loader.LoadModel(options);
            text = format == "json" ? ModelText.Json(model) : ModelText.Yaml(model);
        }
        else
        {
            var project = invocation.Loader.Load(options with { ResolveEnvironment = !flags.Bool("no-env-resolution") }, services);
            if (options.CheckConsistency) ModelText.CheckContainerNames(project);
            if (locked || flags.Bool("resolve-image-digests")) await ImageDigests.ResolveAsync(context.Client, project, invocation.Cancelled);
            if (locked) project = ModelText.ImagesOnly(project);
            text = (format == "json" ? project.ToJson() : project.ToYaml()).Replace("$", "$$", StringComparison.Ordinal);
        }
        if (flags.Bool("quiet")) return 0;
        if (flags.String("output") is { Length: > 0 } file) await File.WriteAllTextAsync(file, text, invocation.Cancelled);
        else context.Out.Write(text);
        return 0;
    }

    private static IEnumerable<string> Hashes(Berth.Compose.Model.Project project, string wanted) =>
        (wanted == "*" ? project.ServiceNames : wanted.Split(',').Order(StringComparer.Ordinal)).Select(name => $"{name} {ModelText.Hash(project.Service(name))}").ToList();

    private static int Print(CommandContext context, IEnumerable<string> lines)
    {
        foreach (var line in lines) context.Out.Write(line + "\n");
        return 0;
    }
}
