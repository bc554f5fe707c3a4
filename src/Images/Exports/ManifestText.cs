using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using Berth.Images.Layers;

namespace Berth.Images;

/// <summary>Manifests and indexes as text: the same content gives the same bytes, laid out as BuildKit does.</summary>
public static class ManifestText
{
    public static byte[] Manifest(bool oci, Descriptor config, IReadOnlyList<Descriptor> layers, IReadOnlyDictionary<string, string>? annotations) => Json(json =>
    {
        json.WriteStartObject();
        json.WriteNumber("schemaVersion", 2);
        json.WriteString("mediaType", oci ? MediaTypes.OciManifest : MediaTypes.DockerManifest);
        json.WritePropertyName("config");
        Write(json, config.MediaType is MediaTypes.OciConfig or MediaTypes.DockerConfig ? config with { MediaType = oci ? MediaTypes.OciConfig : MediaTypes.DockerConfig } : config);
        json.WriteStartArray("layers");
        foreach (var layer in layers) Write(json, IsLayer(layer) ? layer with { MediaType = LayerTypes.In(oci, layer.MediaType!) } : layer);
        json.WriteEndArray();
        Write(json, annotations);
        json.WriteEndObject();
    }, indented: true);

    public static byte[] Index(bool oci, IReadOnlyList<Descriptor> manifests, IReadOnlyDictionary<string, string>? annotations, bool indented = true) => Json(json =>
    {
        json.WriteStartObject();
        json.WriteNumber("schemaVersion", 2);
        json.WriteString("mediaType", oci ? MediaTypes.OciIndex : MediaTypes.DockerManifestList);
        json.WriteStartArray("manifests");
        foreach (var manifest in manifests) Write(json, manifest);
        json.WriteEndArray();
        Write(json, annotations);
        json.WriteEndObject();
    }, indented);

    /// <summary>What a descriptor looks like alone.</summary>
    public static byte[] Text(Descriptor descriptor) => Json(json => Write(json, descriptor));

    public static byte[] Json(Action<Utf8JsonWriter> write, bool indented = false)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, Indented = indented })) write(json);
        return buffer.WrittenSpan.ToArray();
    }

    public static Descriptor Describe(string mediaType, ReadOnlySpan<byte> content) => new() { MediaType = mediaType, DigestText = Digest.Sha256(content).ToString(), SizeBytes = content.Length };

    private static bool IsLayer(Descriptor layer) => layer.MediaType?.Contains(".layer.", StringComparison.Ordinal) == true || layer.MediaType?.Contains(".rootfs.", StringComparison.Ordinal) == true;

    private static void Write(Utf8JsonWriter json, Descriptor descriptor)
    {
        json.WriteStartObject();
        json.WriteString("mediaType", descriptor.MediaType);
        json.WriteString("digest", descriptor.DigestText);
        json.WriteNumber("size", descriptor.SizeBytes);
        Write(json, descriptor.Annotations);
        if (descriptor.Platform is { } platform)
        {
            json.WriteStartObject("platform");
            json.WriteString("architecture", platform.Architecture);
            json.WriteString("os", platform.Os);
            if (!string.IsNullOrEmpty(platform.OsVersion)) json.WriteString("os.version", platform.OsVersion);
            if (!string.IsNullOrEmpty(platform.Variant)) json.WriteString("variant", platform.Variant);
            json.WriteEndObject();
        }
        json.WriteEndObject();
    }

    private static void Write(Utf8JsonWriter json, IReadOnlyDictionary<string, string>? annotations)
    {
        if (annotations is not { Count: > 0 }) return;
        json.WriteStartObject("annotations");
        foreach (var key in annotations.Keys.Order(StringComparer.Ordinal)) json.WriteString(key, annotations[key]);
        json.WriteEndObject();
    }
}
