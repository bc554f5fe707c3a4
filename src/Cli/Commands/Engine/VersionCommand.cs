using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using Berth.Api;
using Berth.Api.Json;
using Berth.Cli.CommandLine;
using Berth.Cli.Templates;

namespace Berth.Cli.Commands.Engine;

internal static class VersionCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["version"],
        Usage = "[OPTIONS]",
        Summary = "Show the versions of this program and of the engine",
        CommonRank = 6,
        Flags = static () => [new("format", 'f', FlagKind.String, "'json' for one line, or a Go template")],
        MaxArguments = 0,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var context = invocation.Context;
        var format = invocation.Arguments.String("format");
        Template? template = null;
        try
        {
            if (format.Length > 0) template = Template.Parse(format == "json" ? "{{json .}}" : format, "version");
        }
        catch (TemplateException e)
        {
            throw new CommandException($"template parsing error: {e.Message}", 64);
        }

        byte[]? server = null;
        Exception? failure = null;
        try
        {
            server = await context.Client.GetBytesAsync("/version", invocation.Cancelled);
        }
        catch (Exception e) when (e is EngineConnectionException or EngineApiException or IOException)
        {
            failure = e; // what is known of ourselves is shown all the same
        }

        if (template is not null)
        {
            try
            {
                context.Out.Write(template.Execute(Record(context, server)) + "\n");
            }
            catch (TemplateException e) when (failure is null)
            {
                context.Out.Write("\n");
                throw new CommandException(e.Message);
            }
            catch (TemplateException)
            {
            }
        }
        else Print(context, server is null ? null : JsonSerializer.Deserialize(server, ApiJson.Wire.SystemVersion));
        context.Out.Flush();
        if (failure is not null) throw failure;
        return 0;
    }

    private static string ClientApiVersion(CommandContext context) => context.Client.ApiVersion;

    private static TemplateRecord Record(CommandContext context, byte[]? server) => new TemplateRecord("system.versionInfo")
        .Add("Client", new TemplateRecord("system.clientVersion")
            .Add("Version", BuildInfo.Version)
            .Add("ApiVersion", ClientApiVersion(context))
            .Add("DefaultAPIVersion", EngineClient.LatestApiVersion)
            .Add("GitCommit", "")
            .Add("GoVersion", "")
            .Add("Os", Os)
            .Add("Arch", Arch)
            .Add("BuildTime", "")
            .Add("Context", context.Connection.ContextName))
        .Add("Server", server is null ? null : JsonValue.Wrap(JsonDocument.Parse(server).RootElement, typeof(SystemVersion)));

    private static void Print(CommandContext context, SystemVersion? server)
    {
        var output = context.Out;
        void Row(string name, string value, string indent = " ") => output.Write($"{indent}{name}".PadRight(20) + value + "\n");
        var api = ClientApiVersion(context);
        output.Write("Client: Berth\n");
        Row("Version:", BuildInfo.Version);
        Row("API version:", api == EngineClient.LatestApiVersion ? api : $"{api} (downgraded from {EngineClient.LatestApiVersion})");
        Row("OS/Arch:", $"{Os}/{Arch}");
        if (server is null) return;
        output.Write($"\nServer:{(server.Platform.Name.Length > 0 ? " " + server.Platform.Name : "")}\n");
        var engine = new ComponentVersion
        {
            Name = "Engine",
            Version = server.Version,
            Details = new()
            {
                ["ApiVersion"] = server.ApiVersion, ["MinAPIVersion"] = server.MinAPIVersion ?? "", ["GoVersion"] = server.GoVersion, ["GitCommit"] = server.GitCommit,
                ["BuildTime"] = server.BuildTime ?? "", ["Os"] = server.Os, ["Arch"] = server.Arch, ["Experimental"] = server.Experimental ? "true" : "false",
            },
        };
        foreach (var component in server.Components?.Any(c => c.Name == "Engine") == true ? server.Components : [.. server.Components ?? [], engine])
        {
            output.Write($" {component.Name}:\n");
            var details = component.Details ?? [];
            string Detail(string name) => details.GetValueOrDefault(name, "");
            Row("Version:", component.Version, "  ");
            if (component.Name != "Engine")
            {
                foreach (var (name, value) in details.OrderBy(d => d.Key, StringComparer.Ordinal)) Row(name + ":", value, "  ");
                continue;
            }
            Row("API version:", $"{Detail("ApiVersion")} (minimum version {Detail("MinAPIVersion")})", "  ");
            if (Detail("GoVersion").Length > 0) Row("Go version:", Detail("GoVersion"), "  ");
            if (Detail("GitCommit").Length > 0) Row("Git commit:", Detail("GitCommit"), "  ");
            if (Detail("BuildTime").Length > 0) Row("Built:", Date(Detail("BuildTime")), "  ");
            Row("OS/Arch:", $"{Detail("Os")}/{Detail("Arch")}", "  ");
            Row("Experimental:", Detail("Experimental"), "  ");
        }
    }

    // Go's ANSIC: "Mon Jan _2 15:04:05 2006".
    private static string Date(string text) => GoTime.TryParse(text, out var time)
        ? time.ToString("ddd MMM ", CultureInfo.InvariantCulture) + time.Day.ToString(CultureInfo.InvariantCulture).PadLeft(2) + time.ToString(" HH:mm:ss yyyy", CultureInfo.InvariantCulture)
        : text;

    internal static string Os => OperatingSystem.IsLinux() ? "linux" : OperatingSystem.IsMacOS() ? "darwin" : "windows";

    internal static string Arch => RuntimeInformation.OSArchitecture switch { Architecture.X64 => "amd64", Architecture.Arm64 => "arm64", var other => other.ToString().ToLowerInvariant() };
}
