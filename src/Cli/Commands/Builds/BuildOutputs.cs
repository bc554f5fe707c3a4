using System.Globalization;
using System.Text;
using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Containers;

namespace Berth.Cli.Commands.Builds;

/// <summary>--output, --push and --load: what the engine is asked for, and where what it sends is put.</summary>
internal sealed class BuildOutputs
{
    private readonly CommandContext _context;
    private readonly List<string> _destinations = [];
    private readonly Dictionary<int, Stream> _files = [];
    private readonly Dictionary<int, BuildUnpacker> _trees = [];

    private BuildOutputs(CommandContext context) => _context = context;

    public List<BuildOutputOption> Wanted { get; } = [];

    /// <summary>Some output says the image's names itself.</summary>
    public bool NamesImage => Wanted.Count > 0;

    /// <exception cref="CommandException">An output that can't be.</exception>
    public static BuildOutputs Of(CommandContext context, Arguments flags)
    {
        var outputs = new BuildOutputs(context);
        foreach (var text in flags.List("output")) outputs.Add(text);
        if (flags.Bool("push"))
        {
            var images = outputs.Wanted.FindAll(o => o.Type is "image");
            foreach (var image in images) image.Attrs!["push"] = "true";
            if (images.Count == 0) outputs.Add("type=image,push=true");
        }
        if (flags.Bool("load") && !outputs.Wanted.Exists(o => o.Type is "image")) outputs.Add("type=image");
        var annotations = flags.List("annotation");
        if (annotations.Count > 0 && outputs.Wanted.Count == 0) outputs.Add("type=image");
        foreach (var output in outputs.Wanted)
        {
            if (output.Type is not ("image" or "oci" or "docker" or "registry")) continue;
            if (!output.Attrs!.ContainsKey("name") && flags.List("tag").Count > 0) output.Attrs["name"] = string.Join(',', flags.List("tag"));
            foreach (var annotation in annotations)
            {
                // [manifest,index[platform]:]key=value
                var equals = annotation.IndexOf('=');
                if (equals < 0) throw new CommandException($"invalid annotation \"{annotation}\": expected key=value");
                var key = annotation[..equals];
                var colon = key.IndexOf(':');
                var where = colon > 0 && (key.StartsWith("manifest", StringComparison.Ordinal) || key.StartsWith("index", StringComparison.Ordinal)) ? key[..colon] : "";
                if (where.Length > 0) key = key[(colon + 1)..];
                foreach (var place in where.Split(',')) output.Attrs[(place.Length > 0 ? "annotation-" + place : "annotation") + "." + key] = annotation[(equals + 1)..];
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
            case "docker" when string.IsNullOrEmpty(destination): type = "image"; break;
            case "tar" or "oci" or "docker" when string.IsNullOrEmpty(destination) || destination == "-":
                destination = "-";
                if (_context.Terminal.OutputIsTerminal) throw new CommandException($"dest file is required for {type} exporter. refusing to write to console");
                break;
            case "tar" or "oci" or "docker" when Directory.Exists(destination): throw new CommandException($"destination directory for {type} exporter is not supported: {destination} is a directory");
            case "registry":
                type = "image";
                fields.TryAdd("push", "true");
                break;
            case "local" or "tar" or "oci" or "docker" or "image" or "cacheonly": break;
            default: throw new CommandException($"unknown output type {type}: local, tar, oci, docker, image, registry, cacheonly");
        }
        Wanted.Add(new BuildOutputOption { Type = type, Attrs = fields });
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

    /// <summary>A piece of an output; an empty one is its end.</summary>
    public void Take(int output, byte[] piece)
    {
        if (output < 0 || output >= Wanted.Count) throw new CommandException($"the engine sent an output that nobody asked for: {output}");
        var destination = _destinations[output];
        try
        {
            if (Wanted[output].Type == "local")
            {
                if (!_trees.TryGetValue(output, out var tree)) _trees[output] = tree = new BuildUnpacker(destination);
                tree.Take(piece);
                return;
            }
            if (!_files.TryGetValue(output, out var file)) _files[output] = file = destination == "-" ? _context.OutStream : new FileStream(destination, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0);
            if (piece.Length > 0) file.Write(piece);
            else if (destination != "-") file.Dispose();
            else file.Flush();
        }
        catch (UnauthorizedAccessException)
        {
            throw new CommandException($"open {destination}: permission denied");
        }
    }
}

/// <summary>
/// Files of a build into a directory, from a tar that comes piece by piece. What the tar says is not trusted: no name leads out of the directory, and nothing is written through a
/// symbolic link, whether it lay there before or came with the tar. Owners are the user's own; devices are left out.
/// </summary>
internal sealed class BuildUnpacker
{
    private const int MaxPaxBytes = 1024 * 1024;

    private readonly string _root;
    private readonly HashSet<string> _known = new(StringComparer.Ordinal);
    private readonly byte[] _block = new byte[512];
    private readonly List<(string Path, DateTime Time, uint Mode)> _directories = [];
    private int _filled;
    private long _content, _padding;
    private FileStream? _file;
    private MemoryStream? _pax;
    private string? _paxPath, _paxLink;
    private long? _paxSize;
    private (string Path, DateTime Time, uint Mode) _current;
    private bool _ended;

    public BuildUnpacker(string directory)
    {
        _root = Path.GetFullPath(directory);
        Directory.CreateDirectory(_root);
    }

    public void Take(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length == 0) Finish();
        while (bytes.Length > 0)
        {
            if (_content > 0)
            {
                var part = bytes[..(int)Math.Min(bytes.Length, _content)];
                _file?.Write(part);
                _pax?.Write(part);
                _content -= part.Length;
                bytes = bytes[part.Length..];
                if (_content == 0) EndContent();
                continue;
            }
            if (_padding > 0)
            {
                var count = (int)Math.Min(bytes.Length, _padding);
                _padding -= count;
                bytes = bytes[count..];
                continue;
            }
            var piece = bytes[..Math.Min(bytes.Length, _block.Length - _filled)];
            piece.CopyTo(_block.AsSpan(_filled));
            _filled += piece.Length;
            bytes = bytes[piece.Length..];
            if (_filled < _block.Length) continue;
            _filled = 0;
            if (!_ended) Begin();
        }
    }

    private void Begin()
    {
        if (_block.AsSpan().IndexOfAnyExcept((byte)0) < 0)
        {
            _ended = true;
            return;
        }
        var size = _paxSize ?? Octal(124, 12);
        _padding = -size & 511;
        _content = size;
        var type = (char)_block[156];
        if (type == 'x')
        {
            if (size > MaxPaxBytes) throw new CommandException($"the engine's archive has a header of {size} bytes");
            _pax = new MemoryStream();
            return;
        }
        var name = _paxPath ?? Text(0, 100);
        var link = _paxLink ?? Text(157, 100);
        (_paxPath, _paxLink, _paxSize) = (null, null, null);
        var path = Resolve(name);
        _current = (path, DateTimeOffset.FromUnixTimeSeconds(Octal(136, 12)).UtcDateTime, (uint)Octal(100, 8) & 0xFFF);
        switch (type)
        {
            case '5':
                if (!Directory.Exists(path) || new DirectoryInfo(path).LinkTarget is not null)
                {
                    Clear(path);
                    Directory.CreateDirectory(path);
                }
                _known.Add(path);
                _directories.Add(_current);
                break;
            case '0' or '\0':
                Clear(path);
                _file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0);
                if (size == 0) EndContent();
                break;
            case '2':
                Clear(path);
                File.CreateSymbolicLink(path, link);
                break;
            case '1':
                var target = Resolve(link);
                if (new FileInfo(target).LinkTarget is not null) break;
                Clear(path);
                File.Copy(target, path);
                break;
        }
    }

    private void EndContent()
    {
        if (_pax is { } pax)
        {
            _pax = null;
            ReadPax(pax.ToArray());
            return;
        }
        if (_file is not { } file) return;
        _file = null;
        file.Dispose();
        if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(_current.Path, (UnixFileMode)_current.Mode);
        File.SetLastWriteTimeUtc(_current.Path, _current.Time);
    }

    // Last: a directory may be read-only, and its time changes with what is put into it.
    private void Finish()
    {
        for (var i = _directories.Count - 1; i >= 0; i--)
        {
            var (path, time, mode) = _directories[i];
            if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(path, (UnixFileMode)mode);
            Directory.SetLastWriteTimeUtc(path, time);
        }
        _directories.Clear();
    }

    // Only plain names, below directories that are no links.
    private string Resolve(string name)
    {
        var parts = name.TrimEnd('/').Split('/');
        var path = _root;
        for (var i = 0; i < parts.Length; i++)
        {
            if (parts[i] is "" or "." or ".." || parts[i].Contains('\0')) throw new CommandException($"the engine's archive has a member that leads out of it: {name}");
            path = Path.Combine(path, parts[i]);
            if (i == parts.Length - 1 || _known.Contains(path)) continue;
            if (new DirectoryInfo(path).LinkTarget is not null) throw new CommandException($"refusing to write through the link {path}");
            Directory.CreateDirectory(path);
            _known.Add(path);
        }
        return path;
    }

    private void Clear(string path)
    {
        _known.Remove(path);
        var there = new FileInfo(path);
        if (there.LinkTarget is not null || there.Exists) File.Delete(path);
        else if (Directory.Exists(path)) throw new CommandException($"cannot replace to directory {path} with file");
    }

    private void ReadPax(byte[] text)
    {
        for (var at = 0; at < text.Length;)
        {
            var space = Array.IndexOf(text, (byte)' ', at);
            if (space < 0 || !int.TryParse(Encoding.ASCII.GetString(text, at, space - at), NumberStyles.None, CultureInfo.InvariantCulture, out var length) || length <= space - at || at + length > text.Length) return;
            var record = Encoding.UTF8.GetString(text, space + 1, at + length - space - 2);
            var equals = record.IndexOf('=');
            if (equals > 0)
            {
                var value = record[(equals + 1)..];
                switch (record[..equals])
                {
                    case "path": _paxPath = value; break;
                    case "linkpath": _paxLink = value; break;
                    case "size": _paxSize = long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var size) ? size : null; break;
                }
            }
            at += length;
        }
    }

    private string Text(int offset, int length)
    {
        var field = _block.AsSpan(offset, length);
        var end = field.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? field : field[..end]);
    }

    private long Octal(int offset, int length)
    {
        long value = 0;
        foreach (var b in _block.AsSpan(offset, length)) if (b is >= (byte)'0' and <= (byte)'7') value = value * 8 + (b - '0');
        return value;
    }
}
