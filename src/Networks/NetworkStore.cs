using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Berth.Networks;

internal sealed record StoredNetworks(IReadOnlyList<NetworkSpec> Networks);

[JsonSourceGenerationOptions(WriteIndented = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(StoredNetworks))]
internal sealed partial class NetworkJson : JsonSerializerContext;

/// <summary>networks.json in the data directory, written to a temporary name and renamed. One file for all: they are few and small.</summary>
internal sealed class NetworkStore(string directory)
{
    /// <summary>A network takes half a kilobyte, and a host has room for some thousands; more than this is not a file of ours.</summary>
    private const long MaxBytes = 64 * 1024 * 1024;

    private string File => Path.Combine(directory, "networks.json");

    /// <summary>Empty when there is no file. One that can't be read is kept beside, for people: its networks are not known any more.</summary>
    internal IReadOnlyList<NetworkSpec> Load()
    {
        try
        {
            if (!System.IO.File.Exists(File) || new FileInfo(File).Length > MaxBytes) return [];
            return JsonSerializer.Deserialize(System.IO.File.ReadAllBytes(File), NetworkJson.Default.StoredNetworks)?.Networks is { } networks ? [.. networks.Select(Complete)] : [];
        }
        catch (JsonException)
        {
            System.IO.File.Move(File, File + ".unreadable", overwrite: true);
            return [];
        }
    }

    // The predefined networks of a file of before there were others say nothing of IPv4.
    private static NetworkSpec Complete(NetworkSpec spec) => spec is { EnableIPv4: false, EnableIPv6: false, ConfigOnly: false } && spec.Name is "bridge" or "host" or "none" ? spec with { EnableIPv4 = true } : spec;

    internal void Save(IEnumerable<NetworkSpec> networks)
    {
        Directory.CreateDirectory(directory);
        var temporary = File + ".tmp";
        System.IO.File.WriteAllBytes(temporary, JsonSerializer.SerializeToUtf8Bytes(new StoredNetworks([.. networks]), NetworkJson.Default.StoredNetworks));
        System.IO.File.Move(temporary, File, overwrite: true);
    }

    internal static string NewId() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));
}
