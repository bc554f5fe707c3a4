using Berth.Api.BuildKit;
using Berth.Api.Grpc;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;

namespace Berth.Cli.Commands.Builds;

/// <summary>--output, --push and --load: what the engine is asked for, and where what it sends is put.</summary>
internal sealed class BuildOutputs
{
    /// <summary>The exporter of the engine's own store, as buildx calls it there.</summary>
    private const string Image = "moby";

    /// <summary>The store that an OCI layout which is no tar is put into.</summary>
    private const string LayoutStore = "export";

    private readonly CommandContext _context;
    private readonly List<string> _destinations = [];
    private readonly List<Wanted> _wanted = [];

    private BuildOutputs(CommandContext context) => _context = context;

    /// <summary>As the builder is told.</summary>
    public IEnumerable<TypeAndAttributes> Exporters
    {
        get
        {
            foreach (var output in _wanted) yield return new TypeAndAttributes(output.Type, output.Attributes);
        }
    }

    /// <summary>A directory that is to hold an OCI layout, whose index is ours to write; null: none.</summary>
    public string? Layout { get; private set; }

    /// <exception cref="CommandException">An output that can't be.</exception>
    public static BuildOutputs Of(CommandContext context, Arguments flags)
    {
        var outputs = new BuildOutputs(context);
        foreach (var text in flags.List("output")) outputs.Add(text);
        if (flags.Bool("push"))
        {
            var images = outputs._wanted.FindAll(o => o.Type == Image);
            foreach (var image in images) image.Attributes["push"] = "true";
            if (images.Count == 0) outputs.Add("type=image,push=true");
        }
        if (flags.Bool("load") && !outputs._wanted.Exists(o => o.Type == Image)) outputs.Add("type=image");
        if (outputs._wanted.Count == 0) outputs.Add("type=image");
        // A word for none at all.
        outputs._wanted.RemoveAll(o => o.Type == "cacheonly");
        foreach (var output in outputs._wanted)
        {
            if (output.Type is not (Image or "oci" or "docker")) continue;
            if (flags.List("tag").Count > 0) output.Attributes["name"] = string.Join(',', flags.List("tag"));
            else if (output.Type == Image && output.Attributes.GetValueOrDefault("name", "").Length == 0 && output.Attributes.GetValueOrDefault("push") is "true" or "1") throw new CommandException("tag is needed when pushing to registry");
            foreach (var annotation in flags.List("annotation"))
            {
                // [manifest,index[platform]:]key=value
                var equals = annotation.IndexOf('=');
                if (equals < 0) throw new CommandException($"invalid annotation \"{annotation}\": expected key=value");
                var key = annotation[..equals];
                var colon = key.IndexOf(':');
                var where = colon > 0 && (key.StartsWith("manifest", StringComparison.Ordinal) || key.StartsWith("index", StringComparison.Ordinal)) ? key[..colon] : "";
                if (where.Length > 0) key = key[(colon + 1)..];
                foreach (var place in where.Split(',')) output.Attributes[(place.Length > 0 ? "annotation-" + place : "annotation") + "." + key] = annotation[(equals + 1)..];
            }
        }
        return outputs;
    }

    private void Add(string text)
    {
        if (text == "-") text = "type=tar,dest=-";
        else if (!text.Contains('=', StringComparison.Ordinal)) text = "type=local,dest=" + text;
        var fields = Fields(text, "output");
        if (!fields.Remove("type", out var type)) throw new CommandException($"type is required for output \"{text}\"");
        fields.Remove("dest", out var destination);
        switch (type)
        {
            case "local" when string.IsNullOrEmpty(destination): throw new CommandException("dest is required for local exporter");
            case "local" when destination == "-": throw new CommandException("dest cannot be stdout for local exporter");
            case "local" when File.Exists(destination): throw new CommandException($"destination directory {destination} is a file");
            case "docker" when string.IsNullOrEmpty(destination): type = Image; break;
            case "oci" or "docker" when fields.GetValueOrDefault("tar") is "false" or "0":
                if (string.IsNullOrEmpty(destination)) throw new CommandException($"dest is required for {type} exporter");
                if (Layout is not null) throw new CommandException($"oci store key \"{LayoutStore}\" already exists");
                Layout = Path.GetFullPath(destination);
                break;
            case "tar" or "oci" or "docker" when string.IsNullOrEmpty(destination) || destination == "-":
                destination = "-";
                if (_destinations.Contains("-")) throw new CommandException("multiple outputs configured to write to stdout");
                if (_context.Terminal.OutputIsTerminal) throw new CommandException($"dest file is required for {type} exporter. refusing to write to console");
                break;
            case "tar" or "oci" or "docker" when Directory.Exists(destination): throw new CommandException($"destination file {destination} is a directory");
            case "registry":
                type = Image;
                fields["push"] = "true";
                break;
            case "image": type = Image; break;
            case "local" or "tar" or "oci" or "docker" or "cacheonly": break;
            default: throw new CommandException($"unknown output type {type}: local, tar, oci, docker, image, registry, cacheonly");
        }
        _wanted.Add(new Wanted(type, fields, destination ?? ""));
        _destinations.Add(destination ?? "");
    }

    /// <summary>"key=value,key=value", values quoted as in CSV; a word alone has no value.</summary>
    /// <exception cref="CommandException">It is not.</exception>
    public static Dictionary<string, string> Fields(string text, string what)
    {
        var fields = new Dictionary<string, string>(StringComparer.Ordinal);
        try
        {
            foreach (var field in Csv.Fields(text))
            {
                var equals = field.IndexOf('=');
                if (equals <= 0 && what != "attest") throw new CommandException($"invalid value {field} for --{what}: expected key=value");
                fields[(equals < 0 ? field : field[..equals]).Trim().ToLowerInvariant() is var key && what is "output" ? Keep(field, equals, key) : key] = equals < 0 ? "" : field[(equals + 1)..];
            }
        }
        catch (FormatException e)
        {
            throw new CommandException($"invalid value {text} for --{what}: {e.Message}");
        }
        return fields;

        // Annotations have names of their users' own.
        static string Keep(string field, int equals, string lower) => lower.StartsWith("annotation", StringComparison.Ordinal) ? field[..equals].Trim() : lower;
    }

    /// <summary>Offers the places where outputs go that are the user's.</summary>
    public void Offer(ClientSession session)
    {
        if (Layout is not null) session.AddStore(LayoutStore, new ContentDirectory(Layout));
        for (var i = 0; i < _wanted.Count; i++)
        {
            var (type, attributes, destination) = _wanted[i];
            if (type == "local") session.AddOutput(i, call => new OutputTree(destination).ReceiveAsync(() => call.ReadAsync<Packet>(call.Gone), call.WriteAsync));
            else if (type is "tar" or "oci" or "docker" && attributes.GetValueOrDefault("tar") is not ("false" or "0")) session.AddOutput(i, call => ReceiveFileAsync(call, destination));
        }
    }

    private async Task ReceiveFileAsync(GrpcCall call, string destination)
    {
        if (destination == "-")
        {
            await CopyAsync(_context.OutStream).ConfigureAwait(false);
            await _context.OutStream.FlushAsync(call.Gone).ConfigureAwait(false);
            return;
        }
        var path = Path.GetFullPath(destination);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        await using var file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0);
        await CopyAsync(file).ConfigureAwait(false);

        async Task CopyAsync(Stream to)
        {
            while (await call.ReadAsync<BytesMessage>(call.Gone).ConfigureAwait(false) is { } piece) await to.WriteAsync(piece.Data, call.Gone).ConfigureAwait(false);
        }
    }

    private sealed record Wanted(string Type, Dictionary<string, string> Attributes, string Destination);
}
