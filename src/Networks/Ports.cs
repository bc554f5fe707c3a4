using System.Globalization;

namespace Berth.Networks;

/// <summary>Transport protocols that a port can be published for.</summary>
public enum PortProtocol : byte { Tcp, Udp, Sctp }

/// <summary>One or more consecutive port numbers.</summary>
public readonly record struct PortRange(ushort First, ushort Last)
{
    public static readonly PortRange Any = new(0, 0);
    /// <summary>No port was named: the engine chooses.</summary>
    public bool IsAny => First == 0;
    public int Count => Last - First + 1;

    /// <summary>"80", "8000-8010" or the empty text, which means any.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out PortRange range)
    {
        range = Any;
        if (text.IsEmpty) return true;
        var dash = text.IndexOf('-');
        if (!TryPort(dash < 0 ? text : text[..dash], out var first)) return false;
        var last = first;
        if (dash >= 0 && !TryPort(text[(dash + 1)..], out last)) return false;
        if (last < first || (first == 0 && last != 0)) return false;
        range = new PortRange(first, last);
        return true;

        static bool TryPort(ReadOnlySpan<char> t, out ushort port) => ushort.TryParse(t, NumberStyles.None, CultureInfo.InvariantCulture, out port);
    }

    public override string ToString() => First == Last ? $"{First}" : $"{First}-{Last}";
}

/// <summary>A port inside the container as the API writes it: "80/tcp". The protocol is optional and tcp by default.</summary>
public readonly record struct ContainerPort(ushort Port, PortProtocol Protocol) : IComparable<ContainerPort>
{
    public static bool TryParse(ReadOnlySpan<char> text, out ContainerPort port)
    {
        port = default;
        var slash = text.IndexOf('/');
        var protocol = PortProtocol.Tcp;
        if (slash >= 0 && !PortProtocols.TryParse(text[(slash + 1)..], out protocol)) return false;
        var number = slash < 0 ? text : text[..slash];
        if (!ushort.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var n) || n == 0) return false;
        port = new ContainerPort(n, protocol);
        return true;
    }

    public int CompareTo(ContainerPort other) => (Port, Protocol).CompareTo((other.Port, other.Protocol));

    public override string ToString() => $"{Port}/{Protocol.Name()}";
}

public static class PortProtocols
{
    /// <summary>tcp, udp or sctp, as Docker and nftables write it.</summary>
    public static string Name(this PortProtocol protocol) => protocol switch
    {
        PortProtocol.Tcp => "tcp",
        PortProtocol.Udp => "udp",
        PortProtocol.Sctp => "sctp",
        _ => throw new ArgumentOutOfRangeException(nameof(protocol)),
    };

    public static bool TryParse(ReadOnlySpan<char> text, out PortProtocol protocol)
    {
        protocol = PortProtocol.Tcp;
        if (text.IsEmpty || text.Equals("tcp", StringComparison.OrdinalIgnoreCase)) return true;
        if (text.Equals("udp", StringComparison.OrdinalIgnoreCase)) { protocol = PortProtocol.Udp; return true; }
        if (text.Equals("sctp", StringComparison.OrdinalIgnoreCase)) { protocol = PortProtocol.Sctp; return true; }
        return false;
    }
}

/// <summary>A wish to publish a container's port.</summary>
/// <param name="HostAddress">Null: the engine's default, all addresses unless <c>--ip</c> says otherwise.</param>
/// <param name="HostPorts">Any: a free one of the machine's ephemeral range. More than one: the first free one of them.</param>
public sealed record PortRequest(ContainerPort Port, InetAddress? HostAddress, PortRange HostPorts)
{
    /// <summary>Parses what HostConfig.PortBindings holds: a key such as "80/tcp", HostIp and HostPort, each possibly empty. Throws
    /// <see cref="NetworkException"/> (InvalidArgument) in Docker's words.</summary>
    public static PortRequest Parse(string containerPort, string? hostIp, string? hostPort)
    {
        if (!ContainerPort.TryParse(containerPort, out var port))
        {
            // Docker names the number alone when that is what is wrong.
            var number = containerPort.Split('/', 2);
            var named = number.Length == 2 && PortProtocols.TryParse(number[1], out _) ? number[0] : containerPort;
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"invalid port specification: \"{named}\"");
        }
        if (!PortRange.TryParse(hostPort ?? "", out var range))
            throw new NetworkException(NetworkErrorKind.InvalidArgument, $"invalid port specification: \"{hostPort}\"");
        if (string.IsNullOrEmpty(hostIp)) return new PortRequest(port, null, range);
        return InetAddress.TryParse(hostIp, out var address) ? new PortRequest(port, address, range)
            : throw new NetworkException(NetworkErrorKind.InvalidArgument, $"invalid IP address: {hostIp}");
    }
}

/// <summary>A port that is published now. Kept with the container, so that a restarted daemon can take it over.</summary>
/// <param name="Protocol">tcp, udp or sctp.</param>
/// <param name="HostIp">As Docker prints it: 0.0.0.0, ::, or the address asked for.</param>
public sealed record PublishedPort(ushort ContainerPort, string Protocol, string HostIp, ushort HostPort);
