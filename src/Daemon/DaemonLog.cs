namespace Berth.Daemon;

/// <summary>Everything the daemon itself logs.</summary>
internal static partial class DaemonLog
{
    [LoggerMessage(LogLevel.Information, "Starting up: Berth {Version}, data root {DataRoot}, exec root {ExecRoot}")]
    public static partial void Starting(this ILogger log, string version, string dataRoot, string execRoot);

    [LoggerMessage(LogLevel.Information, "API listen on {Address}")]
    public static partial void Listening(this ILogger log, string address);

    [LoggerMessage(LogLevel.Information, "Daemon has completed initialization in {Milliseconds} ms")]
    public static partial void Ready(this ILogger log, long milliseconds);

    [LoggerMessage(LogLevel.Warning, "Binding to {Address} without --tlsverify is insecure and gives root access on this machine to everyone who has access to your network. " +
        "Binding to an IP address, even on localhost, can also give access to scripts run in a browser")]
    public static partial void ListeningWithoutVerification(this ILogger log, string address);

    [LoggerMessage(LogLevel.Information, "TLS handshake with {Client} failed: {Reason}")]
    public static partial void HandshakeFailed(this ILogger log, string client, string reason);

    [LoggerMessage(LogLevel.Information, "metrics API listening on {Address}")]
    public static partial void MetricsListening(this ILogger log, string address);

    [LoggerMessage(LogLevel.Error, "error serving metrics API: {Reason}")]
    public static partial void MetricsFailed(this ILogger log, string reason);

    [LoggerMessage(LogLevel.Warning, "could not change group {Path} to {Group}: group {Group} not found")]
    public static partial void GroupNotFound(this ILogger log, string path, string group);

    [LoggerMessage(LogLevel.Information, "Processing signal '{Signal}'; containers keep running")]
    public static partial void Stopping(this ILogger log, string signal);

    [LoggerMessage(LogLevel.Information, "Got signal to reload configuration, reloading from: {File}")]
    public static partial void Reloading(this ILogger log, string file);

    [LoggerMessage(LogLevel.Information, "Reloaded configuration: debug {Debug}, log level {Level}, labels [{Labels}], insecure registries [{Registries}], log driver {Driver}")]
    public static partial void Reloaded(this ILogger log, bool debug, LogLevel level, string labels, string registries, string driver);

    [LoggerMessage(LogLevel.Error, "Error reconfiguring the daemon: {Reason}")]
    public static partial void NotReloaded(this ILogger log, string reason);

    [LoggerMessage(LogLevel.Information, "Daemon shutdown complete")]
    public static partial void Stopped(this ILogger log);

    [LoggerMessage(LogLevel.Critical, "failed to start daemon")]
    public static partial void Failed(this ILogger log, Exception error);

    [LoggerMessage(LogLevel.Warning, "Requests were still running {Seconds} s after the signal; their connections were cut")]
    public static partial void RequestsCut(this ILogger log, double seconds);

    [LoggerMessage(LogLevel.Information, "The machine goes down: stopping the containers")]
    public static partial void MachineStops(this ILogger log);

    [LoggerMessage(LogLevel.Debug, "Calling {Method} {Path}{Query}")]
    public static partial void Request(this ILogger log, string method, string path, string query);

    [LoggerMessage(LogLevel.Debug, "Calling {Method}")]
    public static partial void Call(this ILogger log, string method);

    [LoggerMessage(LogLevel.Error, "{Method} failed unexpectedly")]
    public static partial void CallFault(this ILogger log, Exception error, string method);

    [LoggerMessage(LogLevel.Debug, "{Method} {Path}: request cancelled by client")]
    public static partial void RequestCancelled(this ILogger log, string method, string path);

    [LoggerMessage(LogLevel.Error, "Handler for {Method} {Route} returned error: {Message} (status {Status})")]
    public static partial void RequestError(this ILogger log, string method, string route, string message, int status);

    [LoggerMessage(LogLevel.Error, "Handler for {Method} {Route} failed")]
    public static partial void RequestFault(this ILogger log, Exception error, string method, string route);

    [LoggerMessage(LogLevel.Information, "Registry listens on {Address}, keeps its content in {Root}{Mode}")]
    public static partial void RegistryListening(this ILogger log, string address, string root, string mode);

    [LoggerMessage(LogLevel.Warning, "Passwords come in the clear to {Address}: give --tls-cert and --tls-key, or let a proxy end TLS")]
    public static partial void PasswordsInTheClear(this ILogger log, string address);

    [LoggerMessage(LogLevel.Warning, "Everybody who reaches {Address} can push to and delete from this registry: give --htpasswd or --read-only")]
    public static partial void RegistryOpenToAll(this ILogger log, string address);

    [LoggerMessage(LogLevel.Information, "{Client} {User} {Method} {Target} {Status} {Bytes} {Milliseconds:0.0} ms {Agent}")]
    public static partial void Access(this ILogger log, string client, string user, string method, string target, int status, long bytes, double milliseconds, string agent);

    [LoggerMessage(LogLevel.Debug, "{Method} {Path}: the client has gone")]
    public static partial void ClientGone(this ILogger log, string method, string path);

    [LoggerMessage(LogLevel.Error, "{Method} {Path} failed")]
    public static partial void RegistryFault(this ILogger log, Exception error, string method, string path);

    [LoggerMessage(LogLevel.Error, "Collecting garbage failed")]
    public static partial void CollectionFailed(this ILogger log, Exception error);

    [LoggerMessage(LogLevel.Information, "Registry shutdown: {Signal}")]
    public static partial void RegistryStopping(this ILogger log, string signal);
}
