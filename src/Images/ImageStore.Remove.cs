namespace Berth.Images;

public sealed partial class ImageStore
{
    [Flags]
    private enum Conflicts
    {
        DependentChild = 1,
        RunningContainer = 2,
        ActiveReference = 4,
        StoppedContainer = 8,
        Hard = DependentChild | RunningContainer,
        Soft = ActiveReference | StoppedContainer,
    }

    private sealed record Conflict(string Message, bool InUse);

    /// <summary>
    /// Takes a name off an image and, when it was the last and nothing uses the image, removes the image. The rules are Docker's:
    /// a name goes alone while others remain; an id takes its only name with it; running containers and images built on it
    /// can't be overruled, stopped containers and further names can, by force.
    /// </summary>
    /// <param name="users">Containers at this moment; called while the store is locked, and must not call back into it.</param>
    /// <exception cref="ImageException">NotFound; Conflict with Docker's reasons.</exception>
    public IReadOnlyList<RemovedItem> Remove(string nameOrId, bool force, bool prune, Func<IReadOnlyCollection<ImageUser>> users, Platform? platform = null)
    {
        var items = new List<RemovedItem>();
        var events = new List<(string Action, Digest Image)>();
        List<string> doomed = [];
        lock (gate)
        {
            var id = FindFor(nameOrId, platform);
            // An index's own digest: what it stands for, not a name of it.
            if (TryParseId(nameOrId, out var given) && given != id && platform is null) nameOrId = id.ToString();
            var inUse = users();
            var before = Indexes();
            HashSet<Digest> companions = [.. names.Values.Where(n => n.Image == id).SelectMany(n => n.Index?.Images ?? [])];
            try
            {
                if (platform is not null && IndexOf(nameOrId) is { Images.Count: > 1 } index) RemovePlatform(id, nameOrId, index, force, prune, inUse, items, events, doomed);
                else
                {
                    RemoveLocked(id, nameOrId, force, prune, inUse, items, events, doomed);
                    // What was here only as part of that name goes with it, unless a container uses it.
                    foreach (var companion in companions.Where(c => images.ContainsKey(c) && IsDangling(c) && !IsCompanion(c))) Delete(companion, force: false, prune, quiet: true, inUse, items, events, doomed);
                }
            }
            finally
            {
                if (events.Count > 0) WriteState();
                RemoveUnused(before);
            }
        }
        Discard(doomed);
        foreach (var (action, image) in events) Tell(action, image);
        lock (gate)
            foreach (var (action, image) in events)
                if (action == "delete" && !images.ContainsKey(image)) configs.TryRemove(image, out _);
        return items;
    }

    // One platform's image of a name that stands for several; the name stays.
    private void RemovePlatform(Digest id, string name, NamedIndex index, bool force, bool prune, IReadOnlyCollection<ImageUser> users,
        List<RemovedItem> items, List<(string, Digest)> events, List<string> doomed)
    {
        if (FindConflict(id, Conflicts.Hard | (force ? 0 : Conflicts.StoppedContainer), users) is { } conflict) throw ImageException.Conflict(conflict.Message);
        var key = TryParseId(name, out _) ? names.First(n => n.Value.Index?.Digest == index.Digest).Key : Key(ImageReference.Parse(name)).ToString();
        var rest = index with { Images = [.. index.Images.Where(i => i != id)] };
        var next = rest.Images.OrderBy(i => Platform.Host.Rank(Config(i).Platform) is var rank and >= 0 ? rank : int.MaxValue).First();
        names[key] = names[key] with { Image = names[key].Image == id ? next : names[key].Image, Index = rest };
        // The name of the index's digest means the same images.
        var byDigest = names[key].Reference.NameOnly().WithDigest(index.Digest).ToString();
        if (names.TryGetValue(byDigest, out var same)) names[byDigest] = same with { Image = same.Image == id ? next : same.Image, Index = rest };
        WriteState();
        if (IsDangling(id) && !IsCompanion(id)) Delete(id, force, prune, quiet: false, users, items, events, doomed);
    }

    private void RemoveLocked(Digest id, string nameOrId, bool force, bool prune, IReadOnlyCollection<ImageUser> users,
        List<RemovedItem> items, List<(string, Digest)> events, List<string> doomed)
    {
        var references = References(id);
        var untagged = false;
        if (!IsIdPrefix(id, nameOrId))
        {
            if (!force && IsSingle(references) && users.FirstOrDefault(u => u.ImageId == id) is { } user)
                throw ImageException.Conflict($"conflict: unable to remove repository reference \"{nameOrId}\" (must force) - container {Short(user.ContainerId)} is using its referenced image {id.ShortId}");
            var removed = Key(ImageReference.Parse(nameOrId));
            Untag(removed, id, items, events);
            references = References(id);
            // With a repository's last tag its digests go as well.
            if (!removed.HasDigest && !references.Any(r => !r.HasDigest && r.Name == removed.Name))
            {
                foreach (var digest in references.Where(r => r.Name == removed.Name))
                {
                    names.Remove(digest.ToString());
                    items.Add(new RemovedItem(digest.FamiliarString, null));
                }
                references = References(id);
            }
            if (references.Count > 0) return;
            untagged = true;
        }
        else if (IsSingle(references))
        {
            var checks = Conflicts.Hard | (force ? 0 : Conflicts.StoppedContainer);
            if (FindConflict(id, checks, users) is { } conflict) throw ImageException.Conflict(conflict.Message);
            foreach (var reference in references) Untag(reference, id, items, events);
        }
        Delete(id, force, prune, quiet: untagged, users, items, events, doomed);
    }

    private void Delete(Digest id, bool force, bool prune, bool quiet, IReadOnlyCollection<ImageUser> users,
        List<RemovedItem> items, List<(string, Digest)> events, List<string> doomed)
    {
        if (FindConflict(id, Conflicts.Hard | (force ? 0 : Conflicts.Soft), users) is { } conflict)
        {
            // After its name was taken away, an image that is in use silently stays.
            if (quiet && (!IsDangling(id) || conflict.InUse)) return;
            throw ImageException.Conflict(conflict.Message);
        }
        foreach (var reference in References(id)) Untag(reference, id, items, events);
        images.Remove(id, out var image);
        foreach (var (key, name) in names.Where(n => n.Value.Index?.Images.Contains(id) == true).ToList())
            names[key] = name with { Index = name.Index! with { Images = [.. name.Index.Images.Where(i => i != id)] } };
        // First the state on disk, then the files it spoke of.
        WriteState();
        blobs.Remove(id);
        if (!image!.Manifest.IsEmpty) RemoveDocument(image.Manifest);
        events.Add(("delete", id));
        items.Add(new RemovedItem(null, id.ToString()));

        // Docker answers with chain ids, from the top down to the first that something else stands on.
        var chains = ChainIds(image!.Layers).ToList();
        for (var depth = chains.Count; depth > 0; depth--)
        {
            var stack = image.Layers.Take(depth);
            if (images.Values.Any(i => i.Layers.Take(depth).SequenceEqual(stack)) || containers.Values.Any(c => c.Layers.Take(depth).SequenceEqual(stack))) break;
            items.Add(new RemovedItem(null, chains[depth - 1].ToString()));
        }
        doomed.AddRange(DetachUnused(image.Layers));
        if (prune && !image.Parent.IsEmpty && images.ContainsKey(image.Parent))
            Delete(image.Parent, force: false, prune: true, quiet: true, users, items, events, doomed);
    }

    private Conflict? FindConflict(Digest id, Conflicts checks, IReadOnlyCollection<ImageUser> users)
    {
        Conflict Hard(string why, bool inUse) => new($"conflict: unable to delete {id.ShortId} (cannot be forced) - {why}", inUse);
        Conflict Soft(string why, bool inUse) => new($"conflict: unable to delete {id.ShortId} (must be forced) - {why}", inUse);

        if ((checks & Conflicts.DependentChild) != 0 && images.Values.Any(i => i.Parent == id))
            return Hard("image has dependent child images", inUse: false);
        if ((checks & Conflicts.RunningContainer) != 0 && users.FirstOrDefault(u => u.ImageId == id && u.Running) is { } running)
            return Hard($"image is being used by running container {Short(running.ContainerId)}", inUse: true);
        if ((checks & Conflicts.ActiveReference) != 0 && References(id).Count > 0)
            return Soft("image is referenced in multiple repositories", inUse: false);
        if ((checks & Conflicts.StoppedContainer) != 0 && users.FirstOrDefault(u => u.ImageId == id && !u.Running) is { } stopped)
            return Soft($"image is being used by stopped container {Short(stopped.ContainerId)}", inUse: true);
        return null;
    }

    private bool IsDangling(Digest id) => References(id).Count == 0 && !images.Values.Any(i => i.Parent == id);

    private List<ImageReference> References(Digest id) => [.. names.Values.Where(n => n.Image == id).Select(n => n.Reference)];

    private void Untag(ImageReference reference, Digest id, List<RemovedItem> items, List<(string, Digest)> events)
    {
        names.Remove(reference.ToString());
        items.Add(new RemovedItem(reference.FamiliarString, null));
        events.Add(("untag", id));
    }

    // At most one tag, and all digests of one repository, the tag's.
    private static bool IsSingle(List<ImageReference> references)
    {
        if (references.Count <= 1) return references.Count == 1;
        var tags = references.Where(r => !r.HasDigest).ToList();
        if (tags.Count > 1) return false;
        var repositories = references.Where(r => r.HasDigest).Select(r => r.Name).Distinct().ToList();
        return repositories.Count == 1 && repositories[0] == (tags.FirstOrDefault() ?? references[0]).Name;
    }

    private static bool IsIdPrefix(Digest id, string text) =>
        id.ToString().StartsWith(text, StringComparison.Ordinal) || id.Hex.StartsWith(text, StringComparison.Ordinal);

    private static string Short(string containerId) => containerId.Length > 12 ? containerId[..12] : containerId;
}
