using Berth.Images;
using Berth.Networks;

namespace Berth.Engine;

/// <summary>The errors of the layers below, as the engine's.</summary>
internal static class LayerErrors
{
    public static EngineException From(ImageException e) => new(e.Kind switch
    {
        ImageErrorKind.InvalidParameter => ErrorKind.InvalidParameter,
        ImageErrorKind.Unauthorized => ErrorKind.Unauthorized,
        ImageErrorKind.Forbidden => ErrorKind.Forbidden,
        ImageErrorKind.NotFound => ErrorKind.NotFound,
        ImageErrorKind.Conflict => ErrorKind.Conflict,
        _ => ErrorKind.System,
    }, e.Message, e);

    public static EngineException From(NetworkException e) => new(e.Kind switch
    {
        NetworkErrorKind.InvalidArgument => ErrorKind.InvalidParameter,
        NetworkErrorKind.NotFound => ErrorKind.NotFound,
        NetworkErrorKind.Conflict => ErrorKind.Conflict,
        NetworkErrorKind.Forbidden => ErrorKind.Forbidden,
        _ => ErrorKind.System,
    }, e.Message, e);

    private static EngineException From(Exception e) => e is ImageException image ? From(image) : From((NetworkException)e);

    public static T Translate<T>(Func<T> call)
    {
        try
        {
            return call();
        }
        catch (Exception e) when (e is ImageException or NetworkException)
        {
            throw From(e);
        }
    }

    public static async Task TranslateAsync(Func<Task> call)
    {
        try
        {
            await call().ConfigureAwait(false);
        }
        catch (Exception e) when (e is ImageException or NetworkException)
        {
            throw From(e);
        }
    }

    /// <summary>Null: there is none, or the id's prefix fits several.</summary>
    public static NetworkRecord? TryFind(this NetworkManager networks, string nameOrId)
    {
        try
        {
            return networks.Find(nameOrId);
        }
        catch (NetworkException)
        {
            return null;
        }
    }

    public static async Task<T> TranslateAsync<T>(Func<Task<T>> call)
    {
        try
        {
            return await call().ConfigureAwait(false);
        }
        catch (Exception e) when (e is ImageException or NetworkException)
        {
            throw From(e);
        }
    }
}
