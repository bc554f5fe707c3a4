using Berth.Images;
using Berth.Images.Registry;
using Berth.Testing;

namespace Berth.Fast.Tests.Images;

public sealed class RegistryWaysTests : IDisposable
{
    private readonly TestDirectory directory = new();

    public void Dispose() => directory.Dispose();

    private string Ways(string domain, RegistrySettings settings, bool push = false) =>
        string.Join(' ', RegistryEndpoint.For(domain, settings with { HostDirectories = [directory["first"], directory["second"]] }, push).Select(e => e.Api));

    private void Hosts(string host, string text, string where = "first")
    {
        Directory.CreateDirectory(directory[$"{where}/{host}"]);
        File.WriteAllText(directory[$"{where}/{host}/hosts.toml"], text);
    }

    [Theory]
    [InlineData("127.0.0.1:5000", "https://127.0.0.1:5000/v2/ http://127.0.0.1:5000/v2/")]
    [InlineData("127.9.9.9", "https://127.9.9.9/v2/ http://127.9.9.9/v2/")]
    [InlineData("localhost:5000", "https://localhost:5000/v2/ http://localhost:5000/v2/")]
    [InlineData("[::1]:5000", "https://[::1]:5000/v2/ http://[::1]:5000/v2/")]
    [InlineData("192.0.2.1:5000", "https://192.0.2.1:5000/v2/")]
    [InlineData("198.51.100.7:5000", "https://198.51.100.7:5000/v2/ http://198.51.100.7:5000/v2/")]
    [InlineData("203.0.113.1:5000", "https://203.0.113.1:5000/v2/ http://203.0.113.1:5000/v2/")]
    [InlineData("203.0.113.1:5001", "https://203.0.113.1:5001/v2/")]
    [InlineData("docker.io", "https://registry-1.docker.io/v2/")]
    public void Plain_http_is_for_loopback_and_what_the_user_allows(string domain, string ways) =>
        Assert.Equal(ways, Ways(domain, new RegistrySettings { Insecure = ["198.51.100.0/24", "203.0.113.1:5000"] }));

    [Fact]
    public void The_daemon_s_mirrors_come_before_docker_hub_and_before_no_other_registry()
    {
        var settings = new RegistrySettings { Mirrors = ["https://192.0.2.1/", "http://192.0.2.2:5000/hub/"] };
        Assert.Equal("https://192.0.2.1/v2/ http://192.0.2.2:5000/hub/v2/ https://registry-1.docker.io/v2/", Ways("docker.io", settings));
        Assert.Equal("https://registry-1.docker.io/v2/", Ways("docker.io", settings, push: true));
        Assert.Equal("https://192.0.2.3/v2/", Ways("192.0.2.3", settings));
    }

    [Fact]
    public void A_password_goes_to_a_mirror_of_the_daemon_s_only_in_tls()
    {
        var ways = RegistryEndpoint.For("docker.io", new RegistrySettings { Mirrors = ["https://192.0.2.1/", "http://192.0.2.2/"] });
        Assert.Equal([true, false, true], ways.Select(w => w.TakesCredentials));
    }

    [Fact]
    public void Hosts_toml_gives_mirrors_to_any_registry_in_the_order_they_are_written()
    {
        Hosts("192.0.2.9:5000", """
            # ours
            server = "https://192.0.2.9:5000"

            [host."https://192.0.2.2"]
              capabilities = ["pull"]
            [host."http://192.0.2.1:80/prefix"]
              capabilities = [
                "pull", "resolve", # both
              ]
              [host."http://192.0.2.1:80/prefix".header]
                x-team = ["a", "b"]
            [host."https://192.0.2.3/whole/v2"]
              override_path = true
              skip_verify = true
              capabilities = ["push"]
            """);
        Assert.Equal("https://192.0.2.2/v2/ http://192.0.2.1/prefix/v2/ https://192.0.2.9:5000/v2/", Ways("192.0.2.9:5000", new RegistrySettings()));
        Assert.Equal("https://192.0.2.3/whole/v2/ https://192.0.2.9:5000/v2/", Ways("192.0.2.9:5000", new RegistrySettings(), push: true));
        var ways = RegistryEndpoint.For("192.0.2.9:5000", new RegistrySettings { HostDirectories = [directory["first"]] });
        Assert.Equal([false, true, true], ways.Select(w => w.CanResolve));
        Assert.Equal([true, true, false], ways.Select(w => w.IsMirror));
        Assert.Equal([false, false, true], ways.Select(w => w.TakesCredentials));
        Assert.Equal(["192.0.2.9:5000", "192.0.2.9:5000", null], ways.Select(w => w.Namespace));
        Assert.Equal("x-team=a x-team=b", string.Join(' ', ways[1].Headers.Select(h => $"{h.Key}={h.Value}")));
    }

    [Fact]
    public void A_registry_without_a_directory_of_its_own_has_the_mirrors_of_the_default_one()
    {
        Hosts("_default", "[host.\"https://192.0.2.1\"]\n", "second");
        Assert.Equal("https://192.0.2.1/v2/ https://192.0.2.9/v2/", Ways("192.0.2.9", new RegistrySettings()));
        Assert.Equal("https://192.0.2.1/v2/ https://registry-1.docker.io/v2/", Ways("docker.io", new RegistrySettings()));
        Hosts("192.0.2.9", "");
        Assert.Equal("https://192.0.2.9/v2/", Ways("192.0.2.9", new RegistrySettings()));
    }

    [Theory]
    [InlineData("server = https", "line 1: \"https\" is no value")]
    [InlineData("\nserver = \"https://a\" x", "line 2: something is left at the end of the line")]
    [InlineData("[host.\"ftp://a\"]", "\"ftp://a\" is not an address of a registry: must use either 'https://' or 'http://'")]
    [InlineData("[host.\"https://u:p@a\"]", "username/password not allowed in \"https://xxxxx@a\"")]
    [InlineData("[host.\"https://a\"]\ncapabilities = [\"fly\"]", "unknown capability \"fly\"")]
    [InlineData("[host.\"https://a\"]\nskip_verify = \"yes\"", "skip_verify must be true or false")]
    [InlineData("[host.\"https://a]", "line 1: a string does not end")]
    [InlineData("a = 1\na = 2", "line 2: a is there twice")]
    [InlineData("a = [1", "line 1: a list does not end")]
    [InlineData("[[host]]", "line 1: lists of tables are not read here")]
    public void A_wrong_hosts_toml_is_said_with_its_line(string text, string error)
    {
        Hosts("192.0.2.9", text);
        var thrown = Assert.Throws<ImageException>(() => Ways("192.0.2.9", new RegistrySettings()));
        Assert.Equal($"{directory["first/192.0.2.9/hosts.toml"]}: {error}", thrown.Message);
    }

    [Fact]
    public void Certificates_and_keys_belong_together_as_in_docker()
    {
        Directory.CreateDirectory(directory["first/192.0.2.9"]);
        File.WriteAllText(directory["first/192.0.2.9/client.cert"], "");
        Assert.Equal("missing key client.key for client certificate client.cert. CA certificates must use the extension .crt", Assert.Throws<ImageException>(() => Ways("192.0.2.9", new RegistrySettings())).Message);
        File.Move(directory["first/192.0.2.9/client.cert"], directory["first/192.0.2.9/client.key"]);
        Assert.Equal("missing client certificate client.cert for key client.key", Assert.Throws<ImageException>(() => Ways("192.0.2.9", new RegistrySettings())).Message);
    }

    [Theory]
    [InlineData("https://example.com/", "http://secure:3128/")]
    [InlineData("http://example.com/", "http://plain:3128/")]
    [InlineData("http://localhost:5000/", null)]
    [InlineData("http://127.0.0.1:5000/", null)]
    [InlineData("http://[::1]:5000/", null)]
    [InlineData("https://a.internal/", null)]
    [InlineData("https://deep.a.internal/", null)]
    [InlineData("https://notinternal/", "http://secure:3128/")]
    [InlineData("https://only-below.org/", "http://secure:3128/")]
    [InlineData("https://x.only-below.org/", null)]
    [InlineData("https://x.star.org/", null)]
    [InlineData("https://port.org:8443/", null)]
    [InlineData("https://port.org/", "http://secure:3128/")]
    [InlineData("https://10.1.2.3/", null)]
    [InlineData("https://11.1.2.3/", "http://secure:3128/")]
    [InlineData("https://192.0.2.1/", null)]
    public void Proxies_are_chosen_by_go_s_rules(string url, string? proxy) => Assert.Equal(proxy,
        new ProxySettings("plain:3128", "http://user:pass@secure:3128", "internal,.only-below.org, *.star.org,port.org:8443,10.0.0.0/8,192.0.2.1").GetProxy(new Uri(url)) is { } found ? $"http://{found.Authority}/" : null);
}
