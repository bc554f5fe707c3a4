using System.Text.Json;
using System.Text.Json.Serialization;
using Berth.Images.Archives;
using Berth.Images.Registry;
using Berth.Images.Storage;
using Berth.Images.Trust;

namespace Berth.Images;

// Names are matched as Go matches them, without regard to case: other writers of these files rely on it.
[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, PropertyNameCaseInsensitive = true, Converters = [typeof(StringListConverter), typeof(StringMapConverter)])]
[JsonSerializable(typeof(ImageConfig))]
[JsonSerializable(typeof(StoreState))]
[JsonSerializable(typeof(LayerRecord))]
[JsonSerializable(typeof(LowerRecord))]
[JsonSerializable(typeof(Manifest))]
[JsonSerializable(typeof(List<ArchiveManifestItem>))]
[JsonSerializable(typeof(LegacyImage))]
[JsonSerializable(typeof(Dictionary<string, Dictionary<string, string>>))]
[JsonSerializable(typeof(List<string>))]
[JsonSerializable(typeof(RegistryErrors))]
[JsonSerializable(typeof(RegistryToken))]
[JsonSerializable(typeof(RegistryTags))]
[JsonSerializable(typeof(List<KnownBlob>))]
[JsonSerializable(typeof(SearchAnswer))]
[JsonSerializable(typeof(SimpleSigning))]
[JsonSerializable(typeof(JwsEnvelope))]
[JsonSerializable(typeof(JwsProtected))]
[JsonSerializable(typeof(NotaryPayload))]
[JsonSerializable(typeof(DescriptorPlatform))]
internal sealed partial class ImagesJson : JsonSerializerContext;
