using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Berth.Networks;

/// <summary>What a network keeps across restarts. One file for all: they are few and small.</summary>
internal sealed record StoredNetwork(string Name, string Id, DateTimeOffset Created, string Driver, string? Subnet);

internal sealed record StoredNetworks(IReadOnlyList<StoredNetwork> Networks);

[JsonSourceGenerationOptions(WriteIndented = true)]
[JsonSerializable(typeof(StoredNetworks))]
internal sealed partial class NetworkJson : JsonSerializerContext;

/// <summary>networks.json in the data directory, written to a temporary name and renamed.</summary>
internal sealed class NetworkStore(string directory)
{
    /// <summary>The default three take half a kilobyte; more than this is not a file of ours.</summary>
    private const long MaxBytes = 4 * 1024 * 1024;

    private string File => Path.Combine(directory, "networks.json");

    /// <summary>Empty when there is no file, or none that can be read: ids are then made anew.</summary>
    internal IReadOnlyList<StoredNetwork> Load()
    {
        try
        {
            if (!System.IO.File.Exists(File) || new FileInfo(File).Length > MaxBytes) return [];
            return JsonSerializer.Deserialize(System.IO.File.ReadAllBytes(File), NetworkJson.Default.StoredNetworks)?.Networks ?? [];
        }
        catch (JsonException)
        {
            return [];
        }
    }

    internal void Save(IEnumerable<StoredNetwork> networks)
    {
        Directory.CreateDirectory(directory);
        var temporary = File + ".tmp";
        System.IO.File.WriteAllBytes(temporary, JsonSerializer.SerializeToUtf8Bytes(new StoredNetworks([.. networks]), NetworkJson.Default.StoredNetworks));
        System.IO.File.Move(temporary, File, overwrite: true);
    }

    internal static string NewId() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));
}
