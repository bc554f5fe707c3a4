using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using Berth.Images.Registry;
using Berth.Linux;

namespace Berth.Builder;

/// <summary>Files of builds that come from elsewhere than the client or a registry: the web, and Git repositories by the <c>git</c> executable.</summary>
public sealed class RemoteFiles(ProxySettings proxy) : IDisposable
{
    /// <summary>Of one file: no download fills the disk for ever.</summary>
    public const long MaxDownloadBytes = 64L << 30;

    private const int MaxErrorBytes = 4096;
    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(30);

    private readonly HttpMessageInvoker _http = new(new SocketsHttpHandler
    {
        AutomaticDecompression = DecompressionMethods.None, UseCookies = false, Proxy = proxy, ConnectTimeout = ConnectTimeout, PooledConnectionIdleTimeout = TimeSpan.FromSeconds(15), MaxAutomaticRedirections = 10,
    });

    public void Dispose() => _http.Dispose();

    public static bool IsHttp(string address) => address.StartsWith("http://", StringComparison.Ordinal) || address.StartsWith("https://", StringComparison.Ordinal);

    /// <summary>The name a file of the web gets: the last part of its path.</summary>
    public static string NameOf(string url) => Uri.TryCreate(url, UriKind.Absolute, out var uri) && Uri.UnescapeDataString(uri.AbsolutePath).TrimEnd('/') is { Length: > 0 } path && path[(path.LastIndexOf('/') + 1)..] is { Length: > 0 } name && name is not ("." or "..") ? name : "f";

    /// <summary>Opens what an address leads to.</summary>
    /// <exception cref="BuildException">It leads nowhere, in Go's words.</exception>
    public async Task<HttpResponseMessage> GetAsync(string url, CancellationToken cancellation)
    {
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, url);
            return await _http.SendAsync(request, cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is HttpRequestException or IOException or UriFormatException)
        {
            throw new BuildException($"failed to load cache key: Get {Api.Go.GoText.Quote(url)}: {Reason(e)}", inner: e);
        }
    }

    private static string Reason(Exception e) => e.InnerException is System.Net.Sockets.SocketException { SocketErrorCode: var code } inner
        ? "dial tcp: " + code switch { System.Net.Sockets.SocketError.ConnectionRefused => "connect: connection refused", System.Net.Sockets.SocketError.HostNotFound or System.Net.Sockets.SocketError.NoData => "lookup: no such host", _ => inner.Message }
        : e.Message;

    /// <summary>Downloads a file into a directory.</summary>
    /// <param name="checksum">"sha256:…", which it has to have; empty: any.</param>
    /// <exception cref="BuildException"/>
    public async Task DownloadAsync(string url, string directory, string name, string checksum, CancellationToken cancellation)
    {
        using var response = await GetAsync(url, cancellation).ConfigureAwait(false);
        if (!response.IsSuccessStatusCode) throw new BuildException($"failed to load cache key: invalid response status {(int)response.StatusCode}");
        var path = Path.Combine(directory, name);
        var digest = "sha256:" + await SaveAsync(response, path, cancellation).ConfigureAwait(false);
        if (checksum.Length > 0 && digest != checksum) throw new BuildException($"digest mismatch {digest}: {checksum}");
        FileAt.ChangeMode(null, path, 0x180);
        File.SetLastWriteTimeUtc(path, response.Content.Headers.LastModified?.UtcDateTime ?? DateTime.UnixEpoch);
    }

    /// <returns>The SHA-256 of it, in hexadecimal.</returns>
    public static async Task<string> SaveAsync(HttpResponseMessage response, string path, CancellationToken cancellation)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        await using var body = await response.Content.ReadAsStreamAsync(cancellation).ConfigureAwait(false);
        await using var file = new FileStream(path, System.IO.FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0);
        var buffer = new byte[256 * 1024];
        long total = 0;
        try
        {
            for (int count; (count = await body.ReadAsync(buffer, cancellation).ConfigureAwait(false)) > 0;)
            {
                if ((total += count) > MaxDownloadBytes) throw new BuildException($"the file is larger than {MaxDownloadBytes} bytes");
                hash.AppendData(buffer, 0, count);
                await file.WriteAsync(buffer.AsMemory(0, count), cancellation).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is HttpRequestException or HttpIOException)
        {
            throw new BuildException(e.Message, inner: e);
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>Puts a repository's files into an empty directory.</summary>
    /// <param name="told">What git says.</param>
    /// <exception cref="BuildException">In git's words.</exception>
    public async Task CloneAsync(GitSource source, string directory, bool keepGitDirectory, Action<string>? told, CancellationToken cancellation)
    {
        await GitAsync(["init", "--quiet", "--template=", "--initial-branch=main"]).ConfigureAwait(false);
        await GitAsync(["remote", "add", "origin", source.Remote]).ConfigureAwait(false);
        var wanted = source.Ref.Length > 0 ? source.Ref : "HEAD";
        var commit = "FETCH_HEAD";
        if (!await TryGitAsync(["fetch", "--quiet", "--depth=1", "--no-tags", "origin", wanted]).ConfigureAwait(false))
        {
            // A server that knows no shallow copies, or gives no commit by its name: all of it, then.
            await GitAsync(["fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"]).ConfigureAwait(false);
            var found = "";
            foreach (var candidate in source.Ref.Length == 0 ? [] : (string[])[wanted, "refs/tags/" + wanted, "refs/remotes/origin/" + wanted, wanted.Replace("refs/heads/", "refs/remotes/origin/", StringComparison.Ordinal)])
                if (found.Length == 0 && await TryGitAsync(["rev-parse", "--quiet", "--verify", candidate + "^{commit}"]).ConfigureAwait(false)) found = candidate;
            if (source.Ref.Length == 0)
            {
                await GitAsync(["fetch", "--quiet", "origin", "HEAD"]).ConfigureAwait(false);
                found = "FETCH_HEAD";
            }
            commit = found.Length > 0 ? found : throw new BuildException($"repository does not contain ref {source.Ref}");
        }
        await GitAsync(["checkout", "--quiet", "--force", "--detach", commit]).ConfigureAwait(false);
        if (source.Commit.Length > 0)
        {
            var have = (await GitAsync(["rev-parse", "HEAD"]).ConfigureAwait(false)).Trim();
            if (!have.StartsWith(source.Commit, StringComparison.OrdinalIgnoreCase)) throw new BuildException($"expected checksum to match {source.Commit}, got {have}");
        }
        if (source.Submodules && File.Exists(Path.Combine(directory, ".gitmodules"))) await GitAsync(["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"]).ConfigureAwait(false);
        if (!keepGitDirectory) FileTree.Remove(Path.Combine(directory, ".git"));

        async Task<bool> TryGitAsync(string[] arguments)
        {
            try
            {
                await GitAsync(arguments).ConfigureAwait(false);
                return true;
            }
            catch (BuildException e) when (e.InnerException is null)
            {
                return false;
            }
        }

        async Task<string> GitAsync(string[] arguments)
        {
            told?.Invoke("git " + string.Join(' ', arguments) + "\n");
            return await RunAsync(directory, arguments, cancellation).ConfigureAwait(false);
        }
    }

    // With nobody's configuration, and over the network alone: what a repository says of submodules is a stranger's word.
    private async Task<string> RunAsync(string directory, string[] arguments, CancellationToken cancellation)
    {
        var start = new ProcessStartInfo("git") { WorkingDirectory = directory, RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        foreach (var argument in (string[])["-c", "protocol.allow=never", "-c", "core.logAllRefUpdates=false", "-c", "protocol.http.allow=always", "-c", "protocol.https.allow=always", "-c", "protocol.git.allow=always", "-c", "protocol.ssh.allow=always", .. arguments]) start.ArgumentList.Add(argument);
        var path = Environment.GetEnvironmentVariable("PATH");
        start.Environment.Clear();
        foreach (var (name, value) in (ReadOnlySpan<(string, string?)>)
                 [("PATH", path), ("HOME", directory), ("LC_ALL", "C"), ("GIT_TERMINAL_PROMPT", "0"), ("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_SSH_COMMAND", "ssh -F /dev/null -o BatchMode=yes"),
                     ("http_proxy", proxy.HttpProxy), ("https_proxy", proxy.HttpsProxy), ("no_proxy", proxy.NoProxy)])
            if (!string.IsNullOrEmpty(value)) start.Environment[name] = value;
        Process process;
        try
        {
            process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new BuildException("Git repositories need the executable git, which is not installed: install the package git", inner: e);
        }
        using (process)
        {
            process.StandardInput.Close();
            await using var killing = cancellation.Register(() => process.Kill(entireProcessTree: true)).ConfigureAwait(false);
            var output = process.StandardOutput.ReadToEndAsync(cancellation);
            var error = new StringBuilder();
            while (await process.StandardError.ReadLineAsync(cancellation).ConfigureAwait(false) is { } line)
                if (error.Length < MaxErrorBytes) error.Append(line).Append('\n');
            await process.WaitForExitAsync(cancellation).ConfigureAwait(false);
            if (process.ExitCode != 0)
                throw new BuildException(string.Create(CultureInfo.InvariantCulture, $"git stderr:\n{error.ToString().TrimEnd()}: exit status {process.ExitCode}"));
            return await output.ConfigureAwait(false);
        }
    }
}
