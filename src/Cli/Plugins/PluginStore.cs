using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;
using Berth.Cli.CommandLine;
using Berth.Cli.Connections;

namespace Berth.Cli.Plugins;

/// <summary>
/// Docker's command line plugins: programs named docker-NAME in certain directories, which say what they are when asked
/// with one argument and are otherwise given the whole command line. An installed buildx is "berth buildx".
/// </summary>
internal sealed partial class PluginStore(CommandContext context)
{
    private const string Prefix = "docker-", MetadataArgument = "docker-cli-plugin-metadata";

    /// <summary>A plugin that calls docker calls us by it.</summary>
    private const string OriginalCommand = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";

    private const int MaxMetadataBytes = 1 << 20;

    /// <summary>One that does not say what it is by then is none.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    [GeneratedRegex("^[a-z][a-z0-9]*$")]
    private static partial Regex GoodName();

    private IEnumerable<string> Directories()
    {
        foreach (var extra in context.Config.List("cliPluginsExtraDirs")) yield return extra;
        yield return Path.Combine(context.ConfigDirectory, "cli-plugins");
        foreach (var directory in context.PluginDirectories) yield return directory;
    }

    /// <summary>The program of a plugin; null: there is none of this name.</summary>
    public string? Find(string name)
    {
        if (!GoodName().IsMatch(name)) return null;
        foreach (var directory in Directories())
        {
            var path = Path.Combine(directory, Prefix + name + (OperatingSystem.IsWindows() ? ".exe" : ""));
            if (File.Exists(path)) return path;
        }
        return null;
    }

    /// <summary>All that say what they are, by name; asked for a list of commands only, since each is run.</summary>
    public IReadOnlyList<(string Name, string Summary)> List()
    {
        var found = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var directory in Directories())
        {
            if (!Directory.Exists(directory)) continue;
            foreach (var path in Directory.EnumerateFiles(directory, Prefix + "*"))
            {
                var name = Path.GetFileNameWithoutExtension(path)[Prefix.Length..];
                if (!found.ContainsKey(name) && GoodName().IsMatch(name) && Metadata(path) is { } metadata) found[name] = metadata.ShortDescription ?? "";
            }
        }
        return [.. found.Select(f => (f.Key, f.Value))];
    }

    private static PluginMetadata? Metadata(string path)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(path, [MetadataArgument]) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true });
            if (process is null) return null;
            using var limit = new Timer(_ => Kill(process), null, Patience, Timeout.InfiniteTimeSpan);
            process.StandardInput.Close();
            var buffer = new char[MaxMetadataBytes];
            var length = process.StandardOutput.ReadBlock(buffer);
            process.WaitForExit();
            var metadata = process.ExitCode == 0 ? JsonSerializer.Deserialize(buffer.AsSpan(0, length), PluginJson.Default.PluginMetadata) : null;
            return metadata is { SchemaVersion: "0.1.0", Vendor.Length: > 0 } ? metadata : null;
        }
        catch (Exception e) when (e is System.ComponentModel.Win32Exception or JsonException or IOException or InvalidOperationException)
        {
            return null;
        }
    }

    private static void Kill(Process process)
    {
        try
        {
            process.Kill();
        }
        catch (InvalidOperationException)
        {
        }
    }

    /// <summary>Runs it with the words as they were typed, global flags included: on Linux this process becomes it.</summary>
    public async Task<int> RunAsync(string path, string[] words)
    {
        var changes = new Dictionary<string, string>(StringComparer.Ordinal) { [OriginalCommand] = Environment.ProcessPath ?? context.ProgramName };
        // It would look for an engine where docker's is by default; ours is elsewhere.
        if (context.Connection.ContextName == DockerContext.Default && context.ConnectionFlags.Host is null && string.IsNullOrEmpty(context.Variable("DOCKER_HOST"))) changes["DOCKER_HOST"] = CommandContext.DefaultHost;
        context.Flush();
        if (OperatingSystem.IsLinux()) Linux.Execution.Become(path, [path, .. words], changes);
        var start = new ProcessStartInfo(path, words) { UseShellExecute = false };
        foreach (var (name, value) in changes) start.Environment[name] = value;
        using var process = Process.Start(start) ?? throw new CommandException($"{path} cannot be run");
        await process.WaitForExitAsync(context.Cancelled);
        return process.ExitCode;
    }
}

internal sealed record PluginMetadata
{
    public string? SchemaVersion { get; init; }
    public string? Vendor { get; init; }
    public string? Version { get; init; }
    public string? ShortDescription { get; init; }
}

[JsonSerializable(typeof(PluginMetadata))]
internal sealed partial class PluginJson : JsonSerializerContext;
