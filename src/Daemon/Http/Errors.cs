using Berth.Engine;
using Microsoft.AspNetCore.Http;

namespace Berth.Daemon.Http;

/// <summary>Which status and which words a failure is answered with.</summary>
internal static class Errors
{
    public static int Status(ErrorKind kind) => kind switch
    {
        ErrorKind.InvalidParameter => 400,
        ErrorKind.Unauthorized => 401,
        ErrorKind.Forbidden => 403,
        ErrorKind.NotFound => 404,
        ErrorKind.Conflict => 409,
        ErrorKind.NotModified => 304,
        ErrorKind.NotImplemented => 501,
        ErrorKind.Unavailable => 503,
        _ => 500,
    };

    public static (int Status, string Message) Describe(Exception error) => error switch
    {
        EngineException e => (Status(e.Kind), e.Message),
        BadHttpRequestException { StatusCode: 413 } e => (413, $"request body is too large: {e.Message}"),
        BadHttpRequestException e => (e.StatusCode, e.Message),
        FormatException e => (400, e.Message), // Filters say so what is wrong with them
        _ => (500, error.Message.Length > 0 ? error.Message : error.GetType().Name),
    };

    /// <summary>The reason phrase Go's server would send: clients print it where a body is missing.</summary>
    public static string Reason(int status) => status switch
    {
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    };

    public static EngineException NotImplemented(string what) =>
        new(ErrorKind.NotImplemented, $"{what} is not implemented by this version of Berth");
}
