using Microsoft.Extensions.Logging;

namespace Berth.Networks;

internal static partial class NetworksLog
{
    [LoggerMessage(1, LogLevel.Information, "Network bridge: {Bridge} has {Address}, firewall table ip {Table}")]
    internal static partial void BridgeReady(this ILogger logger, string bridge, InetInterface address, string table);

    [LoggerMessage(2, LogLevel.Debug, "nft transaction:\n{Script}")]
    internal static partial void FirewallTransaction(this ILogger logger, string script);

    [LoggerMessage(3, LogLevel.Warning, "Firewall table ip {Table} was not as expected and is written anew: {Reason}")]
    internal static partial void FirewallRebuilt(this ILogger logger, string table, string reason);

    [LoggerMessage(4, LogLevel.Warning, "The firewall chain {Chain} drops forwarded packets by default; containers reach the outside, and are reached from other machines, only if it lets them. It is left as it is; docker info says what to do")]
    internal static partial void ForeignForwardDrop(this ILogger logger, string chain);

    [LoggerMessage(48, LogLevel.Warning, "The firewall chain {Chain} lets redirected packets pass whatever its other rules say: published ports are open to other machines. docker info says what to do")]
    internal static partial void ForeignForwardRedirected(this ILogger logger, string chain);

    [LoggerMessage(5, LogLevel.Debug, "Foreign firewall chains could not be listed: {Reason}")]
    internal static partial void FirewallNotListed(this ILogger logger, string reason);

    [LoggerMessage(6, LogLevel.Debug, "Container {Container} joined {Network}: {Address} on {Interface} in {Milliseconds:F2} ms")]
    internal static partial void Joined(this ILogger logger, string container, string network, string address, string @interface, double milliseconds);

    [LoggerMessage(7, LogLevel.Warning, "Interface {Interface} could not be removed: {Reason}")]
    internal static partial void InterfaceNotRemoved(this ILogger logger, string @interface, string reason);

    [LoggerMessage(8, LogLevel.Warning, "Container {Container}: host port {Address}:{Port}/{Protocol} could not be reserved again, the container's rule stays: {Reason}")]
    internal static partial void PortNotReserved(this ILogger logger, string container, string address, int port, string protocol, string reason);

    [LoggerMessage(9, LogLevel.Warning, "Container {Container}: network {Network} could not be restored: {Reason}")]
    internal static partial void EndpointNotRestored(this ILogger logger, string container, string network, string reason);

    [LoggerMessage(10, LogLevel.Information, "Interface {Interface} on {Bridge} belongs to no container and is removed")]
    internal static partial void StaleInterface(this ILogger logger, string @interface, string bridge);

    [LoggerMessage(11, LogLevel.Warning, "No network namespace could be made ready: {Reason}")]
    internal static partial void PoolNotFilled(this ILogger logger, string reason);

    [LoggerMessage(12, LogLevel.Debug, "Proxy for {HostAddress}: {Reason}")]
    internal static partial void ProxyConnection(this ILogger logger, string hostAddress, string reason);

    [LoggerMessage(13, LogLevel.Warning, "{What} while leaving network {Network}: {Reason}")]
    internal static partial void LeaveIncomplete(this ILogger logger, string what, string network, string reason);

    [LoggerMessage(14, LogLevel.Debug, "Conntrack entries of udp port {Port} were not dropped: {Reason}")]
    internal static partial void ConntrackNotFlushed(this ILogger logger, int port, string reason);

    [LoggerMessage(15, LogLevel.Warning, "{Path} could not be set: {Reason}")]
    internal static partial void SysctlNotSet(this ILogger logger, string path, string reason);

    [LoggerMessage(40, LogLevel.Error, "The thread that serves names and watches the firewall has ended")]
    internal static partial void LoopEnded(this ILogger logger, Exception exception);

    [LoggerMessage(41, LogLevel.Error, "bug: serving names or watching the firewall")]
    internal static partial void LoopHandlerFailed(this ILogger logger, Exception exception);

    [LoggerMessage(42, LogLevel.Warning, "Container {Container}: names are served on port 53 itself, which a server of its own can then not bind on all addresses: {Reason}")]
    internal static partial void PortNotRewritten(this ILogger logger, string container, string reason);

    [LoggerMessage(43, LogLevel.Warning, "Container {Container}: no name service: {Reason}")]
    internal static partial void NameServiceFailed(this ILogger logger, string container, string reason);

    [LoggerMessage(44, LogLevel.Warning, "More than {Limit} queries wait for name servers outside; further ones are refused")]
    internal static partial void TooManyForwards(this ILogger logger, int limit);

    [LoggerMessage(45, LogLevel.Debug, "Name server {Server}: {Reason}")]
    internal static partial void UpstreamFailed(this ILogger logger, string server, string reason);

    [LoggerMessage(16, LogLevel.Warning, "Network {Network} could not be brought back: {Reason}")]
    internal static partial void NetworkNotRestored(this ILogger logger, string network, string reason);

    [LoggerMessage(46, LogLevel.Error, "Firewall table {Table} could not be restored: {Reason}")]
    internal static partial void FirewallNotRestored(this ILogger logger, string table, string reason);

    [LoggerMessage(47, LogLevel.Warning, "The firewall is not watched; rules that others flush come back with the next change of ours: {Reason}")]
    internal static partial void FirewallNotWatched(this ILogger logger, string reason);
}
