using System.Text.Json;
using Berth.Api;
using Berth.Api.Json;
using Berth.Cli.CommandLine;
using Berth.Cli.Output;
using Berth.Cli.Templates;

namespace Berth.Cli.Commands.Engine;

internal static class InfoCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["info", "system info"],
        Usage = "[OPTIONS]",
        Summary = "Show what the engine says of itself and its host",
        CommonRank = 7,
        Flags = static () => [new("format", 'f', FlagKind.String, "'json' for one line, or a Go template")],
        MaxArguments = 0,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, format) = (invocation.Context, invocation.Arguments.String("format"));
        if (format.Length > 0)
        {
            Template template;
            try
            {
                template = Template.Parse(format == "json" ? "{{json .}}" : format);
            }
            catch (TemplateException e)
            {
                throw new CommandException($"template parsing error: {e.Message}", 64);
            }
            var node = System.Text.Json.Nodes.JsonNode.Parse(await context.Client.GetBytesAsync("/info", invocation.Cancelled))!.AsObject();
            node["ClientInfo"] = new System.Text.Json.Nodes.JsonObject
            {
                ["Debug"] = context.Debug, ["Version"] = BuildInfo.Version, ["DefaultAPIVersion"] = EngineClient.LatestApiVersion, ["Os"] = VersionCommand.Os, ["Arch"] = VersionCommand.Arch, ["Context"] = context.Connection.ContextName,
                ["Plugins"] = new System.Text.Json.Nodes.JsonArray(), ["Warnings"] = null,
            };
            using var document = JsonDocument.Parse(node.ToJsonString());
            try
            {
                context.Out.Write(template.Execute(document.RootElement, typeof(SystemInfo)) + "\n");
            }
            catch (TemplateException e)
            {
                context.Out.Write("\n");
                // What is no name in JSON either is none of the record's.
                var missing = e.Message.IndexOf("map has no entry for key \"", StringComparison.Ordinal);
                throw new CommandException(missing < 0 ? e.Message : $"{e.Message[..missing]}can't evaluate field {e.Message[(missing + 26)..^1]} in type system.dockerInfo");
            }
            return 0;
        }
        context.Out.Write($"Client: Berth\n Version:    {BuildInfo.Version}\n Debug Mode: {Text(context.Debug)}\n\nServer:\n");
        context.Flush();
        var info = await context.Client.InfoAsync(invocation.Cancelled);
        Print(context.Out, info);
        context.Out.Flush();
        foreach (var warning in info.Warnings ?? []) context.Err.Write(warning + "\n");
        return 0;
    }

    internal static void Print(TextWriter output, SystemInfo info)
    {
        void Line(string name, string value, bool evenIfEmpty = true)
        {
            if (evenIfEmpty || value.Length > 0) output.Write($" {name}: {value}\n");
        }
        Line("Containers", $"{info.Containers}");
        Line(" Running", $"{info.ContainersRunning}");
        Line(" Paused", $"{info.ContainersPaused}");
        Line(" Stopped", $"{info.ContainersStopped}");
        Line("Images", $"{info.Images}");
        Line("Server Version", info.ServerVersion, false);
        Line("Storage Driver", info.Driver, false);
        foreach (var pair in info.DriverStatus) Line(" " + pair.ElementAtOrDefault(0), pair.ElementAtOrDefault(1) ?? "");
        Line("Logging Driver", info.LoggingDriver, false);
        Line("Cgroup Driver", info.CgroupDriver, false);
        Line("Cgroup Version", info.CgroupVersion ?? "", false);
        output.Write(" Plugins:\n");
        Line(" Volume", string.Join(' ', info.Plugins.Volume ?? []));
        Line(" Network", string.Join(' ', info.Plugins.Network ?? []));
        if (info.Plugins.Authorization is { Length: > 0 } authorization) Line(" Authorization", string.Join(' ', authorization));
        Line(" Log", string.Join(' ', info.Plugins.Log ?? []));
        if (info.CDISpecDirs.Length > 0) output.Write(" CDI spec directories:\n" + string.Concat(info.CDISpecDirs.Select(d => $"  {d}\n")));
        Line("Swarm", info.Swarm.LocalNodeState);
        if (info.Runtimes is { Count: > 0 } runtimes)
        {
            Line("Runtimes", string.Join(' ', runtimes.Keys.Order(StringComparer.Ordinal)));
            Line("Default Runtime", info.DefaultRuntime);
        }
        if (info.OSType == "linux")
        {
            Line("Init Binary", info.InitBinary);
            Line("containerd version", info.ContainerdCommit.ID);
            Line("runc version", info.RuncCommit.ID);
            Line("init version", info.InitCommit.ID);
            if (info.SecurityOptions.Length > 0)
            {
                output.Write(" Security Options:\n");
                foreach (var option in info.SecurityOptions)
                    foreach (var part in option.Split(','))
                    {
                        if (part.StartsWith("name=", StringComparison.Ordinal)) output.Write($"  {part["name=".Length..]}\n");
                        else if (part.StartsWith("profile=", StringComparison.Ordinal)) output.Write($"   Profile: {part["profile=".Length..]}\n");
                    }
            }
        }
        Line("Kernel Version", info.KernelVersion, false);
        Line("Operating System", info.OperatingSystem, false);
        Line("OSType", info.OSType, false);
        Line("Architecture", info.Architecture, false);
        Line("CPUs", $"{info.NCPU}");
        Line("Total Memory", Units.BytesSize(info.MemTotal));
        Line("Name", info.Name, false);
        Line("ID", info.ID, false);
        Line("Docker Root Dir", info.DockerRootDir);
        Line("Debug Mode", Text(info.Debug));
        if (info.Debug)
        {
            Line(" File Descriptors", $"{info.NFd}");
            Line(" Goroutines", $"{info.NGoroutines}");
            Line(" System Time", GoTime.Format(info.SystemTime));
            Line(" EventsListeners", $"{info.NEventsListener}");
        }
        Line("HTTP Proxy", info.HttpProxy, false);
        Line("HTTPS Proxy", info.HttpsProxy, false);
        Line("No Proxy", info.NoProxy, false);
        if (info.Labels.Length > 0) output.Write(" Labels:\n" + string.Concat(info.Labels.Select(l => $"  {l}\n")));
        Line("Experimental", Text(info.ExperimentalBuild));
        if (info.RegistryConfig is { } registries)
        {
            var insecure = registries.IndexConfigs.Values.Where(i => !i.Secure).Select(i => i.Name).Concat(registries.InsecureRegistryCIDRs).ToArray();
            if (insecure.Length > 0 || registries.IndexConfigs.Count > 0) output.Write(" Insecure Registries:\n" + string.Concat(insecure.Select(i => $"  {i}\n")));
            if (registries.Mirrors is { Length: > 0 } mirrors) output.Write(" Registry Mirrors:\n" + string.Concat(mirrors.Select(m => $"  {m}\n")));
        }
        Line("Live Restore Enabled", Text(info.LiveRestoreEnabled));
        Line("Product License", info.ProductLicense ?? "", false);
        if (info.DefaultAddressPools is { Length: > 0 } pools) output.Write(" Default Address Pools:\n" + string.Concat(pools.Select(p => $"   Base: {p.Base}, Size: {p.Size}\n")));
        output.Write('\n');
    }

    private static string Text(bool value) => value ? "true" : "false";
}
