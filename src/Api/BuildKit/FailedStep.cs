namespace Berth.Api.BuildKit;

/// <summary>
/// Beyond BuildKit's protocol: a client that asks for it is told, in the details of a command's failure, which image has the command's files as it left them. The image has no name, and is
/// the client's to remove.
/// </summary>
public static class FailedStep
{
    /// <summary>An attribute of the frontend: anything but "".</summary>
    public const string Wanted = "berth.keep-failed";

    /// <summary>The type of the detail; its value is the image's id.</summary>
    public const string Detail = "berth/failed-step";
}
