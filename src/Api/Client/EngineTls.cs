using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Berth.Api;

/// <summary>How a connection to an engine is secured: whose certificates are believed, and who we are. All in PEM.</summary>
public sealed record EngineTls
{
    /// <summary>The only authorities that are believed; null: the system's.</summary>
    public string? Authorities { get; init; }

    /// <summary>Our certificate, with <see cref="Key"/>; null: none.</summary>
    public string? Certificate { get; init; }

    public string? Key { get; init; }

    /// <summary>The engine's certificate is not looked at.</summary>
    public bool SkipVerification { get; init; }

    /// <exception cref="EngineConnectionException">A certificate or key makes no sense.</exception>
    internal SslClientAuthenticationOptions Options(string host)
    {
        try
        {
            var options = new SslClientAuthenticationOptions { TargetHost = host, EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13 };
            if (Certificate is not null && Key is not null)
                // A key that exists in memory only is of no use to Windows' TLS: it is taken through a PKCS#12 there.
                options.ClientCertificateContext = SslStreamCertificateContext.Create(ForSystem(X509Certificate2.CreateFromPem(Certificate, Key)), additionalCertificates: null, offline: true);
            if (SkipVerification) options.RemoteCertificateValidationCallback = static (_, _, _, _) => true;
            else if (Authorities is not null)
            {
                var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
                policy.CustomTrustStore.ImportFromPem(Authorities);
                options.CertificateChainPolicy = policy;
            }
            return options;
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            throw new EngineConnectionException($"certificate or key for {host}: {e.Message}", e);
        }
    }

    private static X509Certificate2 ForSystem(X509Certificate2 certificate)
    {
        if (!OperatingSystem.IsWindows()) return certificate;
        using (certificate) return X509CertificateLoader.LoadPkcs12(certificate.Export(X509ContentType.Pkcs12), password: null);
    }
}
