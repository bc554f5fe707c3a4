using System.Text;
using System.Text.Json;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;
using Berth.Cli.Connections;
using Berth.Cli.Output;
using Berth.Cli.Templates;

namespace Berth.Cli.Commands.Contexts;

/// <summary>berth context …: names for engines, in the files that Docker's clients share.</summary>
internal static class ContextCommands
{
    private const string Description =
        """


        What an endpoint is made of (--docker name=value,...):

        NAME                DESCRIPTION
        from                The context whose endpoint is copied
        host                Where the engine listens (unix://, tcp://, ssh://)
        ca                  File with the authorities that are believed
        cert                File with our certificate
        key                 File with its key
        skip-tls-verify     true: the engine's certificate is not looked at
        """;

    private static readonly Flag Endpoint = new("docker", FlagKind.List, "The engine's endpoint") { ValueName = "stringToString" };

    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["context create"], Usage = "[OPTIONS] CONTEXT", Summary = "Make a context", Description = "Make a context" + Description, MinArguments = 1, MaxArguments = 1,
            Flags = static () => [new("description", FlagKind.String, "What it is for"), Endpoint, new("from", FlagKind.String, "The context to make it from")],
            Run = Create,
        },
        new()
        {
            Paths = ["context update"], Usage = "[OPTIONS] CONTEXT", Summary = "Change a context", Description = "Change a context" + Description, MinArguments = 1, MaxArguments = 1,
            Flags = static () => [new("description", FlagKind.String, "What it is for"), Endpoint],
            Run = Update,
        },
        new()
        {
            Paths = ["context ls", "context list"], Usage = "[OPTIONS]", Summary = "List contexts", MaxArguments = 0,
            Flags = static () => [new("format", FlagKind.String, PsCommand.FormatHelp), new("quiet", 'q', FlagKind.Bool, "Names only")],
            Run = List,
        },
        new() { Paths = ["context use"], Usage = "CONTEXT", Summary = "Choose the context for the commands to come", MinArguments = 1, MaxArguments = 1, Run = Use },
        new() { Paths = ["context show"], Summary = "Print the name of the context in use", MaxArguments = 0, Run = Show },
        new()
        {
            Paths = ["context inspect"], Usage = "[OPTIONS] [CONTEXT] [CONTEXT...]", Summary = "Show everything that is known of contexts",
            Flags = static () => [new("format", 'f', FlagKind.String, "'json' for one line, or a Go template")],
            Run = Inspect,
        },
        new()
        {
            Paths = ["context rm", "context remove"], Usage = "CONTEXT [CONTEXT...]", Summary = "Remove contexts", MinArguments = 1,
            Flags = static () => [new("force", 'f', FlagKind.Bool, "The one in use as well")],
            Run = Remove,
        },
        new() { Paths = ["context export"], Usage = "[OPTIONS] CONTEXT [FILE|-]", Summary = "Write a context to a tar archive", MinArguments = 1, MaxArguments = 2, Run = Export },
        new() { Paths = ["context import"], Usage = "CONTEXT FILE|-", Summary = "Make a context from a tar or zip archive", MinArguments = 2, MaxArguments = 2, Run = Import },
    ];

    private static Task<int> Done(Invocation invocation, string name, string sentence)
    {
        invocation.Context.Out.Write(name + "\n");
        invocation.Context.Flush();
        invocation.Context.Err.Write(sentence + "\n");
        return Task.FromResult(0);
    }

    private static void CheckNew(ContextStore store, string name)
    {
        ContextStore.CheckName(name);
        if (store.Exists(name)) throw new CommandException($"context {GoText.Quote(name)} already exists");
    }

    private static Task<int> Create(Invocation invocation)
    {
        var (flags, connection) = (invocation.Arguments, invocation.Context.Connection);
        var name = flags.Positional[0];
        CheckNew(connection.Store, name);
        if (flags.Changed("from") && flags.Changed("docker")) throw new CommandException("cannot use --docker flag when --from is set");
        var made = flags.Changed("docker") ? EndpointOf(connection, flags.List("docker")) : connection.Find(flags.Changed("from") ? flags.String("from") : connection.ContextName);
        connection.Store.Write(made with { Name = name, Description = flags.String("description") is { Length: > 0 } text ? text : flags.Changed("docker") ? "" : made.Description });
        return Done(invocation, name, $"Successfully created context {GoText.Quote(name)}");
    }

    private static Task<int> Update(Invocation invocation)
    {
        var (flags, connection) = (invocation.Arguments, invocation.Context.Connection);
        var name = flags.Positional[0];
        ContextStore.CheckName(name);
        var old = connection.Store.Read(name);
        var endpoint = flags.Changed("docker") ? EndpointOf(connection, flags.List("docker")) : old;
        connection.Store.Write(endpoint with { Name = name, Description = flags.String("description") is { Length: > 0 } text ? text : old.Description });
        return Done(invocation, name, $"Successfully updated context {GoText.Quote(name)}");
    }

    private static DockerContext EndpointOf(Connection connection, IReadOnlyList<string> values)
    {
        const string unable = "unable to create docker endpoint config: ";
        var settings = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var part in values.SelectMany(v => v.Split(',')))
        {
            var (key, value) = CreateRequestBuilder.Cut(part);
            if (!part.Contains('=')) throw new CommandException($"invalid argument {GoText.Quote(string.Join(',', values))} for \"--docker\" flag: {part} must be formatted as key=value");
            if (key is not ("from" or "host" or "ca" or "cert" or "key" or "skip-tls-verify")) throw new CommandException($"{unable}unrecognized config key: {key}");
            settings[key] = value;
        }
        if (settings.TryGetValue("from", out var from)) return connection.Find(from);
        var files = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (var (key, file) in (ReadOnlySpan<(string, string)>)[("ca", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem")])
        {
            if (settings.GetValueOrDefault(key) is not { Length: > 0 } path) continue;
            try
            {
                files[file] = File.ReadAllBytes(path);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new CommandException($"{unable}open {path}: {Files.Reason(e)}");
            }
        }
        var skip = false;
        if (settings.TryGetValue("skip-tls-verify", out var text) && !GoText.TryParseBool(text, out skip)) throw new CommandException($"{unable}skip-tls-verify: parsing {GoText.Quote(text)}: invalid syntax");
        var host = settings.GetValueOrDefault("host", "");
        try
        {
            if (host.Length > 0) EngineHost.Parse(host);
        }
        catch (FormatException e)
        {
            throw new CommandException($"{unable}invalid docker endpoint options: {e.Message}");
        }
        return new DockerContext { Host = host, SkipTlsVerify = skip, TlsFiles = files };
    }

    private sealed record Row(DockerContext Context, bool Current, string Error = "");

    private static Task<int> List(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var current = context.Connection.ContextName;
        var rows = context.Connection.Store.List().Append(context.Connection.Find(DockerContext.Default)).Select(c => new Row(c, c.Name == current)).ToList();
        if (!rows.Exists(r => r.Current))
        {
            try
            {
                context.Connection.Find(current);
            }
            catch (CommandException e)
            {
                rows.Add(new(new DockerContext { Name = current }, Current: true, e.Message));
            }
        }
        rows.Sort(static (a, b) => NaturalOrder.Compare(a.Context.Name, b.Context.Name));
        var format = flags.String("format");
        if (flags.Bool("quiet") && format is "" or "table") format = "{{.Name}}";
        var table = format is "" || format.StartsWith("table", StringComparison.Ordinal);
        new Formatter<Row>("formatter.clientContextContext",
        [
            new("Current", "CURRENT", r => r.Current) { IsFlag = true },
            new("Description", "DESCRIPTION", r => r.Context.Description),
            new("DockerEndpoint", "DOCKER ENDPOINT", r => r.Context.Host),
            new("Error", "ERROR", r => table ? Shorten.Ellipsis(r.Error, 45) : r.Error),
            new("Name", "NAME", r => r.Context.Name),
        ]).Write(context.Out, format, "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}", rows);
        context.Flush();
        if (context.Variable("DOCKER_HOST") is { Length: > 0 })
            context.Err.Write("Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the global --context flag, or unset DOCKER_HOST environment variable.\n");
        return Task.FromResult(0);
    }

    private static Task<int> Use(Invocation invocation)
    {
        var (context, name) = (invocation.Context, invocation.Arguments.Positional[0]);
        var isDefault = name == DockerContext.Default;
        if (!isDefault)
        {
            ContextStore.CheckName(name);
            context.Connection.Store.Read(name);
        }
        if ((context.Config.Text("currentContext") ?? "") != (isDefault ? "" : name)) context.Config.SetText("currentContext", isDefault ? "" : name);
        Done(invocation, name, $"Current context is now {GoText.Quote(name)}");
        if (!isDefault && context.Variable("DOCKER_HOST") is { Length: > 0 })
            context.Err.Write($"Warning: DOCKER_HOST environment variable overrides the active context. To use {GoText.Quote(name)}, either set the global --context flag, or unset DOCKER_HOST environment variable.\n");
        return Task.FromResult(0);
    }

    private static Task<int> Show(Invocation invocation)
    {
        var name = invocation.Context.Connection.ContextName;
        invocation.Context.Connection.Find(name);
        invocation.Context.Out.Write(name + "\n");
        return Task.FromResult(0);
    }

    private static Task<int> Inspect(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var names = flags.Positional.Count > 0 ? flags.Positional : [context.Connection.ContextName];
        return InspectCommand.ShowAsync(context, names, flags.String("format"), name => Task.FromResult((Document(context.Connection, name), (Type?)null)));
    }

    private static JsonElement Document(Connection connection, string name)
    {
        var found = connection.Find(name);
        var isDefault = name == DockerContext.Default;
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            writer.WriteStartObject();
            writer.WriteString("Name", found.Name);
            writer.WriteStartObject("Metadata");
            if (!isDefault && found.Description.Length > 0) writer.WriteString("Description", found.Description);
            writer.WriteEndObject();
            writer.WriteStartObject("Endpoints");
            writer.WriteStartObject(ContextStore.Endpoint);
            writer.WriteString("Host", found.Host);
            writer.WriteBoolean("SkipTLSVerify", found.SkipTlsVerify);
            writer.WriteEndObject();
            writer.WriteEndObject();
            writer.WriteStartObject("TLSMaterial");
            if (found.TlsFiles.Count > 0)
            {
                writer.WriteStartArray(ContextStore.Endpoint);
                foreach (var file in found.TlsFiles.Keys) writer.WriteStringValue(file);
                writer.WriteEndArray();
            }
            writer.WriteEndObject();
            writer.WriteStartObject("Storage");
            writer.WriteString("MetadataPath", isDefault ? "<IN MEMORY>" : connection.Store.MetadataPath(name));
            writer.WriteString("TLSPath", isDefault ? "<IN MEMORY>" : connection.Store.TlsPath(name));
            writer.WriteEndObject();
            writer.WriteEndObject();
        }
        using var document = JsonDocument.Parse(stream.ToArray());
        return document.RootElement.Clone();
    }

    private static Task<int> Remove(Invocation invocation)
    {
        var (context, force) = (invocation.Context, invocation.Arguments.Bool("force"));
        var errors = new List<string>();
        var current = context.Connection.ContextName;
        foreach (var name in invocation.Arguments.Positional)
        {
            if (name == DockerContext.Default) errors.Add("context \"default\" cannot be removed");
            else if (name == current && !force) errors.Add($"context {GoText.Quote(name)} is in use, set -f flag to force remove");
            else if (!force && !context.Connection.Store.Exists(name)) errors.Add($"context {GoText.Quote(name)} does not exist");
            else
            {
                if (name == current) context.Config.SetText("currentContext", "");
                context.Connection.Store.Remove(name);
                context.Out.Write(name + "\n");
            }
        }
        return errors.Count == 0 ? Task.FromResult(0) : throw new CommandException(string.Join('\n', errors));
    }

    private static async Task<int> Export(Invocation invocation)
    {
        var (context, words) = (invocation.Context, invocation.Arguments.Positional);
        if (words[0] != DockerContext.Default) ContextStore.CheckName(words[0]);
        var archive = ContextArchive.Write(context.Connection.Find(words[0]));
        var path = words.Count > 1 ? words[1] : words[0] + ".dockercontext";
        if (path == "-")
        {
            if (context.Terminal.OutputIsTerminal) throw new CommandException("cowardly refusing to export to a terminal, specify a file path");
            context.Flush();
            await context.OutStream.WriteAsync(archive, invocation.Cancelled);
            return 0;
        }
        try
        {
            var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
            if (!OperatingSystem.IsWindows()) options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            await using var file = new FileStream(path, options);
            await file.WriteAsync(archive, invocation.Cancelled);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CommandException($"open {path}: {(File.Exists(path) ? "file exists" : Files.Reason(e))}");
        }
        context.Err.Write($"Written file {GoText.Quote(path)}\n");
        return 0;
    }

    private static async Task<int> Import(Invocation invocation)
    {
        var (context, words) = (invocation.Context, invocation.Arguments.Positional);
        CheckNew(context.Connection.Store, words[0]);
        using var bytes = new MemoryStream();
        await using (var source = words[1] == "-" ? context.InStream : Files.OpenRead(words[1]))
        {
            var buffer = new byte[64 * 1024];
            int read;
            while ((read = await source.ReadAsync(buffer, invocation.Cancelled)) > 0)
            {
                if (bytes.Length + read > ContextStore.MaxFileBytes) throw new CommandException("read exceeds the defined limit");
                bytes.Write(buffer, 0, read);
            }
        }
        context.Connection.Store.Write(ContextArchive.Read(bytes.ToArray()) with { Name = words[0] });
        return await Done(invocation, words[0], $"Successfully imported context {GoText.Quote(words[0])}");
    }
}
