using System.Globalization;
using System.Net;

namespace Berth.Images.Registry;

/// <summary>
/// Which proxy a request goes through, by the rules of Go's net/http, because the settings are written for those: loopback never goes through
/// one; NO_PROXY lists hosts (<c>example.com</c> and all below it; <c>.example.com</c> or <c>*.example.com</c> only those below), addresses, CIDRs, each perhaps with
/// a port, or <c>*</c>.
/// </summary>
public sealed class ProxySettings : IWebProxy
{
    /// <summary>Longest list read.</summary>
    private const int MaxExceptions = 1000;

    private readonly Uri? http, https;
    private readonly string[] exceptions;

    public ProxySettings(string httpProxy, string httpsProxy, string noProxy)
    {
        (HttpProxy, HttpsProxy, NoProxy) = (httpProxy, httpsProxy, noProxy);
        (http, https) = (Parse(httpProxy), Parse(httpsProxy));
        exceptions = [.. noProxy.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Take(MaxExceptions).Select(e => e.ToLowerInvariant())];
        Credentials = new Passwords(this);
    }

    public static ProxySettings None { get; } = new("", "", "");

    /// <summary>What is not given comes from the environment: HTTP_PROXY, http_proxy and so on.</summary>
    public static ProxySettings OrEnvironment(string httpProxy, string httpsProxy, string noProxy)
    {
        static string Either(string given, string name) => given.Length > 0 ? given : Environment.GetEnvironmentVariable(name) is { Length: > 0 } upper ? upper : Environment.GetEnvironmentVariable(name.ToLowerInvariant()) ?? "";
        return new ProxySettings(Either(httpProxy, "HTTP_PROXY"), Either(httpsProxy, "HTTPS_PROXY"), Either(noProxy, "NO_PROXY"));
    }

    public string HttpProxy { get; }
    public string HttpsProxy { get; }
    public string NoProxy { get; }

    /// <summary>The same for the same settings.</summary>
    internal string Key => $"{HttpProxy}\n{HttpsProxy}\n{NoProxy}";

    public ICredentials? Credentials { get; set; }

    public Uri? GetProxy(Uri destination) => IsBypassed(destination) ? null : destination.Scheme == "https" ? https : http;

    public bool IsBypassed(Uri host)
    {
        if ((host.Scheme == "https" ? https : http) is null) return true;
        var name = host.DnsSafeHost.ToLowerInvariant().TrimEnd('.');
        if (name == "localhost") return true;
        var isAddress = IPAddress.TryParse(name, out var address);
        if (isAddress && IPAddress.IsLoopback(address!)) return true;
        foreach (var exception in exceptions)
        {
            if (exception == "*") return true;
            if (IPNetwork.TryParse(exception, out var network))
            {
                if (isAddress && network.Contains(address!)) return true;
                continue;
            }
            var (pattern, port) = SplitPort(exception);
            if (port is not null && port != host.Port) continue;
            if (IPAddress.TryParse(pattern, out var literal))
            {
                if (isAddress && literal.Equals(address)) return true;
                continue;
            }
            if (pattern.StartsWith("*.", StringComparison.Ordinal)) pattern = pattern[1..];
            if (pattern.StartsWith('.') ? name.EndsWith(pattern, StringComparison.Ordinal) : name == pattern || name.EndsWith("." + pattern, StringComparison.Ordinal)) return true;
        }
        return false;
    }

    private static (string Host, int? Port) SplitPort(string text)
    {
        var colon = text.LastIndexOf(':');
        if (colon < 0 || (text.IndexOf(':') != colon && !text.StartsWith('['))) return (text, null); // an IPv6 address without a port
        return int.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port) ? (text[..colon].Trim('[', ']'), port) : (text, null);
    }

    // As Go: "proxy:3128" means http://proxy:3128.
    private static Uri? Parse(string text)
    {
        if (text.Length == 0) return null;
        if (Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https" or "socks5") return uri;
        return Uri.TryCreate("http://" + text, UriKind.Absolute, out uri) ? uri : null;
    }

    // A password in the proxy's address is for the proxy alone.
    private sealed class Passwords(ProxySettings settings) : ICredentials
    {
        public NetworkCredential? GetCredential(Uri uri, string authType)
        {
            foreach (var proxy in (ReadOnlySpan<Uri?>)[settings.http, settings.https])
            {
                if (proxy is not { UserInfo.Length: > 0 } || proxy.Authority != uri.Authority) continue;
                var colon = proxy.UserInfo.IndexOf(':');
                return colon < 0 ? new NetworkCredential(Uri.UnescapeDataString(proxy.UserInfo), "")
                    : new NetworkCredential(Uri.UnescapeDataString(proxy.UserInfo[..colon]), Uri.UnescapeDataString(proxy.UserInfo[(colon + 1)..]));
            }
            return null;
        }
    }
}
