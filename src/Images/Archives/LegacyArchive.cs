using System.Text.Json;
using System.Text.Json.Nodes;

namespace Berth.Images.Archives;

/// <summary>
/// Archives of docker save before 1.10: <c>repositories</c> and, per layer, a directory with <c>json</c> and
/// <c>layer.tar</c>. They have no configuration with a digest, so one is made from the chain of those.
/// </summary>
internal static class LegacyArchive
{
    public static IEnumerable<ArchivedImage> Images(Archive archive)
    {
        var repositories = ArchiveIndex.Parse(archive.Content("repositories"), "repositories", ImagesJson.Default.DictionaryStringDictionaryStringString) ?? [];
        var names = new Dictionary<string, List<ImageReference>>();
        foreach (var (repository, tags) in repositories)
            foreach (var (tag, id) in tags ?? [])
            {
                if (id is null || !archive.Contains($"{id}/json")) throw ImageException.Failed($"invalid target ID: {id}");
                if (!names.TryGetValue(id, out var list)) names[id] = list = [];
                list.Add(ImageReference.Parse(repository).WithTag(tag));
            }
        foreach (var (id, references) in names) yield return AssembleOrRefuse(archive, id, references);
    }

    private static ArchivedImage AssembleOrRefuse(Archive archive, string top, IReadOnlyList<ImageReference> references)
    {
        try
        {
            return Assemble(archive, top, references);
        }
        catch (ArgumentException e)
        {
            throw ImageException.Failed($"{top}/json: {e.Message}", e); // a member that is there twice, found when it is looked at
        }
    }

    private static ArchivedImage Assemble(Archive archive, string top, IReadOnlyList<ImageReference> references)
    {
        var chain = new List<(string Id, JsonObject Json)>();
        for (var id = top; !string.IsNullOrEmpty(id);)
        {
            if (chain.Count >= ImageStore.MaxLayers) throw ImageException.Failed($"image {top} has more than {ImageStore.MaxLayers} layers");
            var json = ParseObject(archive.Content($"{id}/json"), $"{id}/json");
            chain.Add((id, json));
            id = Text(json, "parent");
        }
        chain.Reverse();

        var diffIds = new JsonArray();
        var history = new JsonArray();
        foreach (var (id, json) in chain)
        {
            diffIds.Add((JsonNode)archive.Layer($"{id}/layer.tar").DiffId.ToString());
            var step = new JsonObject();
            if (Text(json, "created") is { } created) step["created"] = created;
            if (Text(json, "author") is { Length: > 0 } author) step["author"] = author;
            if (json["container_config"] is JsonObject container && container["Cmd"] is JsonArray command) step["created_by"] = string.Join(' ', command.Select(c => c?.ToString()));
            if (Text(json, "comment") is { Length: > 0 } comment) step["comment"] = comment;
            history.Add((JsonNode)step);
        }
        var config = chain[^1].Json;
        foreach (var key in new[] { "id", "parent", "Size", "parent_id", "layer_id", "throwaway" }) config.Remove(key);
        config["rootfs"] = new JsonObject { ["type"] = "layers", ["diff_ids"] = diffIds };
        config["history"] = history;
        return new ArchivedImage(System.Text.Encoding.UTF8.GetBytes(config.ToJsonString()), [.. chain.Select(c => $"{c.Id}/layer.tar")], references);
    }

    private static JsonObject ParseObject(byte[] json, string what)
    {
        try
        {
            return JsonNode.Parse(json) as JsonObject ?? throw ImageException.Failed($"{what} is not a JSON object");
        }
        catch (JsonException e)
        {
            throw ImageException.Failed($"{what}: {e.Message}", e);
        }
    }

    private static string? Text(JsonObject json, string key) => json[key] is JsonValue value && value.TryGetValue<string>(out var text) ? text : null;
}
