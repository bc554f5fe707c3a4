using Berth.Images;

namespace Berth.Builder;

/// <summary>One thing that is to come out of a build: <c>--output type=…,key=value</c>.</summary>
/// <param name="Type">image (moby, registry), local, tar, oci, docker, cacheonly.</param>
/// <param name="Attributes">As BuildKit names them.</param>
public sealed record BuildOutput(string Type, IReadOnlyDictionary<string, string> Attributes)
{
    /// <summary>How the client tells this output's files from another's; its place in the list unless the client says.</summary>
    public string Id { get; init; } = "";

    public static BuildOutput Image(IReadOnlyList<ImageReference> names) => new("image", new Dictionary<string, string> { ["name"] = string.Join(',', names) });

    public string this[string name] => Attributes.GetValueOrDefault(name, "");

    /// <exception cref="BuildException">Neither true nor false, in Go's words.</exception>
    public bool Flag(string name, bool otherwise = false) => this[name] switch
    {
        "" => Attributes.ContainsKey(name) || otherwise,
        "1" or "t" or "T" or "TRUE" or "true" or "True" => true,
        "0" or "f" or "F" or "FALSE" or "false" or "False" => false,
        var text => throw new BuildException($"non-bool value specified for {name}: strconv.ParseBool: parsing {Berth.Api.Go.GoText.Quote(text)}: invalid syntax"),
    };

    /// <summary>What the image is to be called.</summary>
    internal IReadOnlyList<ImageReference> Names()
    {
        var text = this["name"];
        if (text.Length == 0) return [];
        var names = new List<ImageReference>();
        foreach (var part in text.Split(','))
        {
            try
            {
                names.Add(ImageReference.Parse(part).WithDefaultTag());
            }
            catch (ImageException e)
            {
                throw new BuildException($"failed to parse {part}: {e.Message}");
            }
        }
        return names;
    }
}

/// <summary>Where outputs go that are the client's: for the door that the build came through to connect.</summary>
public interface IOutputSink
{
    /// <summary>One file: a tar. What is written has been taken when the stream is disposed of.</summary>
    /// <param name="metadata">What is known of it: containerimage.digest and so on.</param>
    /// <returns>Null: the client has it already and wants none of it.</returns>
    Task<Stream?> OpenFileAsync(BuildOutput output, IReadOnlyDictionary<string, string> metadata, CancellationToken cancellation);

    /// <summary>A directory's files.</summary>
    Task SendFilesAsync(BuildOutput output, FileSet files, CancellationToken cancellation);
}

/// <summary>Where results are kept for other builds, or are looked for: <c>--cache-to</c>, <c>--cache-from</c>.</summary>
/// <param name="Type">registry, inline, local.</param>
public sealed record CacheLocation(string Type, IReadOnlyDictionary<string, string> Attributes)
{
    public string this[string name] => Attributes.GetValueOrDefault(name, "");
}
