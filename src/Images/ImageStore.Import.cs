using System.Globalization;
using System.Text.Json;
using Berth.Images.Layers;

namespace Berth.Images;

public sealed partial class ImageStore
{
    /// <summary>Makes an image of one layer out of a tar (plain, gzip or zstd).</summary>
    /// <exception cref="ImageException">InvalidParameter for a platform that is not Linux; System for a bad tar.</exception>
    public async Task<Digest> ImportAsync(Stream tar, ImportOptions import, CancellationToken cancellation)
    {
        var platform = import.Platform ?? Platform.Host;
        if (platform.Os != "linux") throw ImageException.Invalid($"operating system is not supported");
        using var pipe = new BlockPipe();
        var filler = pipe.FillAsync(tar, null, cancellation);
        Digest id;
        try
        {
            using var hold = new Hold(this);
            using var layer = await Task.Factory.StartNew(() => layers.Unpack(pipe.Reader, cancellation), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
            hold.Publish(layer);
            var created = options.Time.GetUtcNow().UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fffffff'Z'", CultureInfo.InvariantCulture);
            var image = new ImageConfig
            {
                Architecture = platform.Architecture,
                Variant = platform.Variant.Length == 0 ? null : platform.Variant,
                Os = platform.Os,
                Created = created,
                Comment = import.Message.Length == 0 ? null : import.Message,
                Config = import.Config,
                RootFs = new RootFs { Type = "layers", DiffIds = [layer.DiffId.ToString()] },
                History = [new HistoryRecord { Created = created, Comment = import.Message.Length == 0 ? null : import.Message }],
            };
            await hold.MakeDurableAsync().ConfigureAwait(false);
            id = Commit(hold, JsonSerializer.SerializeToUtf8Bytes(image, ImagesJson.Default.ImageConfig), []);
        }
        finally
        {
            pipe.Dispose();
            await filler.ConfigureAwait(false);
        }
        if (import.Name is { } name) Tag(id, name);
        Tell("import", id);
        return id;
    }
}
