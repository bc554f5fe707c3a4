using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;

namespace Berth.Testing;

/// <summary>The registry of Debian's docker-registry package on a free loopback port.</summary>
public sealed class DockerRegistry : IDisposable
{
    private readonly TestDirectory directory;
    private readonly Process process;
    private readonly HttpClient http;

    private DockerRegistry(Process process, int port, TestDirectory directory)
    {
        (this.process, this.directory, Port) = (process, directory, port);
        http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
    }

    public int Port { get; }

    /// <summary>Host and port, as in an image's name.</summary>
    public string Host => $"127.0.0.1:{Port}";

    /// <summary>Null when the registry is not installed and can't be.</summary>
    /// <param name="storage">Where it keeps its content; null: in a directory of its own, which goes with it.</param>
    /// <param name="loopbackOf">The process whose network namespace it is to listen in; null: this one's.</param>
    /// <param name="htpasswd">A file of users who alone may do anything.</param>
    public static DockerRegistry? Start(string? storage = null, int? loopbackOf = null, string? htpasswd = null)
    {
        if (!File.Exists("/usr/bin/docker-registry"))
        {
            using var apt = Process.Start(new ProcessStartInfo("apt-get", ["install", "-y", "-q", "--no-install-recommends", "docker-registry"])
            {
                RedirectStandardOutput = true, RedirectStandardError = true, Environment = { ["DEBIAN_FRONTEND"] = "noninteractive" },
            })!;
            apt.StandardError.ReadToEndAsync();
            apt.StandardOutput.ReadToEnd();
            apt.WaitForExit();
            if (!File.Exists("/usr/bin/docker-registry")) return null;
        }
        var directory = new TestDirectory();
        var port = Testing.Host.FreePort();
        File.WriteAllText(directory["config.yml"], $"""
            version: 0.1
            storage:
              filesystem:
                rootdirectory: {storage ?? directory["storage"]}
            http:
              addr: 127.0.0.1:{port}
            {(htpasswd is null ? "" : $"auth: {{htpasswd: {{realm: Registry, path: {htpasswd}}}}}")}
            """);
        string[] command = ["/usr/bin/docker-registry", "serve", directory["config.yml"]];
        if (loopbackOf is { } pid) command = ["nsenter", "-t", pid.ToString(System.Globalization.CultureInfo.InvariantCulture), "-n", .. command];
        var process = Process.Start(new ProcessStartInfo(command[0], command[1..]) { RedirectStandardError = true, RedirectStandardOutput = true })!;
        // It says when it listens; from then on its log only has to be kept flowing.
        while (process.StandardError.ReadLine() is { } line)
            if (line.Contains("listening on", StringComparison.Ordinal))
            {
                _ = process.StandardError.BaseStream.CopyToAsync(Stream.Null);
                _ = process.StandardOutput.BaseStream.CopyToAsync(Stream.Null);
                return new DockerRegistry(process, port, directory);
            }
        throw new InvalidOperationException("docker-registry ended before it listened");
    }

    /// <summary>Uploads an image and returns its manifest's digest.</summary>
    public async Task<string> PushAsync(string repository, string tag, TestImage image, bool oci = true)
    {
        var (manifest, blobs) = image.Manifest(oci);
        foreach (var blob in blobs) await PutBlobAsync(repository, blob);
        return await PutManifestAsync(repository, tag, manifest, oci ? "application/vnd.oci.image.manifest.v1+json" : "application/vnd.docker.distribution.manifest.v2+json");
    }

    public async Task<string> PutManifestAsync(string repository, string tagOrDigest, byte[] manifest, string type)
    {
        var content = new ByteArrayContent(manifest);
        content.Headers.ContentType = new MediaTypeHeaderValue(type);
        using var response = await http.PutAsync($"/v2/{repository}/manifests/{tagOrDigest}", content);
        if (!response.IsSuccessStatusCode) throw new InvalidOperationException(await response.Content.ReadAsStringAsync());
        return TestImage.Digest(manifest);
    }

    /// <summary>Uploads images for several platforms under one tag; returns the index's digest.</summary>
    public async Task<string> PushIndexAsync(string repository, string tag, params (string Platform, TestImage Image)[] images)
    {
        var entries = new List<string>();
        foreach (var (platform, image) in images)
        {
            var digest = TestImage.Digest(image.Manifest().Manifest);
            await PushAsync(repository, digest, image);
            var parts = platform.Split('/');
            var variant = parts.Length > 2 ? $",\"variant\":\"{parts[2]}\"" : "";
            entries.Add($"{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{digest}\",\"size\":{image.Manifest().Manifest.Length},\"platform\":{{\"os\":\"{parts[0]}\",\"architecture\":\"{parts[1]}\"{variant}}}}}");
        }
        return await PutManifestAsync(repository, tag, Encoding.UTF8.GetBytes($"{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[{string.Join(',', entries)}]}}"),
            "application/vnd.oci.image.index.v1+json");
    }

    public async Task PutBlobAsync(string repository, byte[] blob)
    {
        using var started = await http.PostAsync($"/v2/{repository}/blobs/uploads/", null);
        started.EnsureSuccessStatusCode();
        var location = started.Headers.Location!;
        var url = new UriBuilder(location.IsAbsoluteUri ? location : new Uri(http.BaseAddress!, location));
        url.Query = $"{url.Query.TrimStart('?')}&digest={Uri.EscapeDataString(TestImage.Digest(blob))}";
        using var done = await http.PutAsync(url.Uri, new ByteArrayContent(blob));
        done.EnsureSuccessStatusCode();
    }

    public void Dispose()
    {
        http.Dispose();
        process.Kill();
        process.WaitForExit();
        process.Dispose();
        directory.Dispose();
    }
}
