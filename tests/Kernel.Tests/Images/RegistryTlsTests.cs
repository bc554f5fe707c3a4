using System.Net;
using System.Net.NetworkInformation;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Berth.Images;
using Berth.Images.Registry;
using Berth.Testing;

namespace Berth.Kernel.Tests.Images;

/// <summary>Registries with certificates of one's own, and registries behind a proxy.</summary>
public sealed class RegistryTlsTests : IDisposable
{
    private readonly TestDirectory directory = new();
    private readonly TestImage image = new TestImage().Layer(t => t.File("file", "content"));
    private readonly X509Certificate2 authority = Certificate("CN=authority", null, isAuthority: true);

    public RegistryTlsTests() => Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs root");

    public void Dispose() => directory.Dispose();

    private static X509Certificate2 Certificate(string name, X509Certificate2? issuer, bool isAuthority = false, IPAddress? address = null)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest(name, key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(isAuthority, false, 0, true));
        if (address is not null)
        {
            var names = new SubjectAlternativeNameBuilder();
            names.AddIpAddress(address);
            request.CertificateExtensions.Add(names.Build());
        }
        var (from, to) = issuer is null ? (DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow.AddHours(1)) : (new DateTimeOffset(issuer.NotBefore), new DateTimeOffset(issuer.NotAfter));
        if (issuer is null) return request.CreateSelfSigned(from, to);
        using var signed = request.Create(issuer, from, to, Guid.NewGuid().ToByteArray());
        return signed.CopyWithPrivateKey(key);
    }

    // Loopback would be trusted as it is.
    private static IPAddress Address() => NetworkInterface.GetAllNetworkInterfaces().Where(i => i.OperationalStatus == OperationalStatus.Up)
        .SelectMany(i => i.GetIPProperties().UnicastAddresses).Select(a => a.Address).FirstOrDefault(a => a.AddressFamily == AddressFamily.InterNetwork && !IPAddress.IsLoopback(a)) ?? IPAddress.None;

    private FakeRegistry Registry(bool askWho = false)
    {
        var address = Address();
        Assert.SkipWhen(address.Equals(IPAddress.None), "the machine has no address besides loopback");
        using var made = Certificate("CN=registry", authority, address: address);
        var registry = new FakeRegistry(address, new SslServerAuthenticationOptions
        {
            ServerCertificate = X509CertificateLoader.LoadPkcs12(made.Export(X509ContentType.Pkcs12), null), ClientCertificateRequired = askWho,
            RemoteCertificateValidationCallback = (_, certificate, _, _) => !askWho || certificate?.Subject == "CN=client",
        });
        registry.Serve("app", "1", image);
        return registry;
    }

    private async Task PullAsync(FakeRegistry registry, params string[] insecure)
    {
        using var store = ImageStore.Open(directory["data"], new ImageStoreOptions { RetryUnit = TimeSpan.Zero, Registries = new RegistrySettings { Insecure = insecure, HostDirectories = [directory["certs.d"]] } });
        await store.PullAsync(ImageReference.Parse($"{registry.Host}/app:1"), null, null, _ => { }, TestContext.Current.CancellationToken);
        Assert.Equal(image.Id, Assert.Single(store.All).Id.ToString());
        store.Remove($"{registry.Host}/app:1", true, true, () => []);
    }

    private string Write(FakeRegistry registry, string name, string content)
    {
        Directory.CreateDirectory(directory[$"certs.d/{registry.Host}"]);
        var path = directory[$"certs.d/{registry.Host}/{name}"];
        File.WriteAllText(path, content);
        return path;
    }

    [Fact]
    public async Task An_authority_in_the_registry_s_directory_is_trusted_at_once()
    {
        using var registry = Registry();
        var error = await Assert.ThrowsAsync<ImageException>(() => PullAsync(registry));
        Assert.Equal($"Get \"https://{registry.Host}/v2/\": tls: failed to verify certificate: x509: certificate signed by unknown authority", error.Message);
        Write(registry, "ca.crt", authority.ExportCertificatePem());
        await PullAsync(registry);
        using var other = Certificate("CN=authority", null, isAuthority: true);
        Write(registry, "ca.crt", other.ExportCertificatePem());
        await Assert.ThrowsAsync<ImageException>(() => PullAsync(registry));
        Write(registry, "ca.crt", "nonsense");
        Write(registry, "second.crt", authority.ExportCertificatePem());
        await PullAsync(registry);
    }

    [Fact]
    public async Task An_insecure_registry_needs_no_authority()
    {
        using var registry = Registry();
        await PullAsync(registry, registry.Host);
        await PullAsync(registry, $"{registry.Host[..registry.Host.IndexOf(':')]}/32");
    }

    [Fact]
    public async Task A_registry_that_asks_who_is_there_is_shown_the_client_s_certificate()
    {
        using var registry = Registry(askWho: true);
        Write(registry, "ca.crt", authority.ExportCertificatePem());
        await Assert.ThrowsAsync<ImageException>(() => PullAsync(registry));
        using var client = Certificate("CN=client", authority);
        Write(registry, "client.key", client.GetECDsaPrivateKey()!.ExportPkcs8PrivateKeyPem());
        Write(registry, "client.cert", client.ExportCertificatePem());
        await PullAsync(registry);
    }

    [Fact]
    public async Task A_mirror_may_have_an_authority_of_its_own()
    {
        using var registry = new FakeRegistry();
        using var mirror = Registry();
        File.WriteAllText(Write(registry, "hosts.toml", $"[host.\"https://{mirror.Host}\"]\nca = \"mirror.pem\"\n")[..^"hosts.toml".Length] + "mirror.pem", authority.ExportCertificatePem());
        await PullAsync(registry);
        Assert.Empty(registry.Requests);
    }

    [Fact]
    public async Task Requests_go_through_the_proxy()
    {
        using var proxy = new FakeRegistry();
        const string Host = "198.51.100.7:5000";
        foreach (var (path, answer) in Served()) proxy.Answers[$"http://{Host}{path}"] = answer;
        using var store = ImageStore.Open(directory["data"], new ImageStoreOptions
        {
            RetryUnit = TimeSpan.Zero, Registries = new RegistrySettings { Insecure = [Host], Proxy = new ProxySettings($"http://user:secret@{proxy.Host}", $"http://{proxy.Host}", "") },
        });
        await store.PullAsync(ImageReference.Parse($"{Host}/app:1"), null, null, _ => { }, TestContext.Current.CancellationToken);
        Assert.Equal(image.Id, Assert.Single(store.All).Id.ToString());
        Assert.Contains(proxy.Requests, r => r.Method == "CONNECT" && r.Path == Host);

        Dictionary<string, Func<FakeRegistry.Request, FakeRegistry.Answer>> Served()
        {
            using var registry = new FakeRegistry();
            registry.Serve("app", "1", image);
            return registry.Answers;
        }
    }
}
