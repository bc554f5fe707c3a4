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

    /// <summary>Of addresses that mean what the client sends: a context that comes from its standard input.</summary>
    public const string SessionHost = "buildkit-session";

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

    /// <summary>Brings what a build begins with.</summary>
    /// <param name="newDirectory">An empty directory of the host.</param>
    /// <param name="client">Whose logins count, and who may have what the address means; null: nobody.</param>
    /// <param name="told">What git says.</param>
    /// <exception cref="BuildException"/>
    public async Task<FetchedSource> FetchAsync(RemoteSource source, Func<string> newDirectory, IBuildSources? client, Action<string>? told, CancellationToken cancellation)
    {
        var directory = newDirectory();
        if (source.Git is { } git) return new FetchedSource(await CloneAsync(git, directory, git.KeepGitDirectory ?? false, client, told, cancellation).ConfigureAwait(false), false);
        await DownloadAsync(source.Url, directory, source.FileName, source.Checksum, client, cancellation).ConfigureAwait(false);
        if (!source.Unpack) return new FetchedSource(directory, false);
        var unpacked = newDirectory();
        try
        {
            return await FetchedSource.TryUnpackAsync(Path.Combine(directory, source.FileName), unpacked, cancellation).ConfigureAwait(false) ? new FetchedSource(unpacked, true) : new FetchedSource(directory, false);
        }
        catch (Images.ImageException e)
        {
            throw new BuildException(e.Message, inner: e);
        }
    }

    /// <summary>Opens what an address leads to.</summary>
    /// <param name="client">Whose logins count: secrets called HTTP_AUTH_HEADER_ and HTTP_AUTH_TOKEN_ with the host; null: nobody's.</param>
    /// <exception cref="BuildException">It leads nowhere, in Go's words.</exception>
    public async Task<HttpResponseMessage> GetAsync(string url, IBuildSources? client, CancellationToken cancellation)
    {
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, url);
            if (client is not null && request.RequestUri is { } address)
            {
                // The last one counts, as in BuildKit.
                if (await SecretAsync(client, "HTTP_AUTH_HEADER_" + address.Host, cancellation).ConfigureAwait(false) is { } header) request.Headers.TryAddWithoutValidation("Authorization", header);
                if (await SecretAsync(client, "HTTP_AUTH_TOKEN_" + address.Host, cancellation).ConfigureAwait(false) is { } token)
                {
                    request.Headers.Remove("Authorization");
                    request.Headers.TryAddWithoutValidation("Authorization", "Bearer " + token);
                }
            }
            return await _http.SendAsync(request, cancellation).ConfigureAwait(false);
        }
        catch (Exception e) when (e is HttpRequestException or IOException or UriFormatException)
        {
            throw new BuildException($"failed to load cache key: Get {Api.Go.GoText.Quote(url)}: {Reason(e)}", inner: e);
        }
    }

    // One line: nothing that would be read as another header.
    private static async Task<string?> SecretAsync(IBuildSources client, string id, CancellationToken cancellation) =>
        await client.GetSecretAsync(id, cancellation).ConfigureAwait(false) is { } secret && Encoding.UTF8.GetString(secret) is var text && text.AsSpan().IndexOfAny('\r', '\n', '\0') < 0 ? text : null;

    private static string Reason(Exception e) => e.InnerException is System.Net.Sockets.SocketException { SocketErrorCode: var code } inner
        ? "dial tcp: " + code switch { System.Net.Sockets.SocketError.ConnectionRefused => "connect: connection refused", System.Net.Sockets.SocketError.HostNotFound or System.Net.Sockets.SocketError.NoData => "lookup: no such host", _ => inner.Message }
        : e.Message;

    /// <summary>Downloads a file into a directory.</summary>
    /// <param name="checksum">"sha256:…", which it has to have; empty: any.</param>
    /// <exception cref="BuildException"/>
    public async Task DownloadAsync(string url, string directory, string name, string checksum, IBuildSources? client, CancellationToken cancellation)
    {
        var path = Path.Combine(directory, name);
        if (client is not null && Uri.TryCreate(url, UriKind.Absolute, out var address) && address.Host == SessionHost)
        {
            await using var sent = await client.OpenUploadAsync(address, cancellation).ConfigureAwait(false) ?? throw new BuildException($"no http response from session for {NameOf(url)}");
            await SaveAsync(sent, path, cancellation).ConfigureAwait(false);
            File.SetLastWriteTimeUtc(path, DateTime.UnixEpoch);
            return;
        }
        using var response = await GetAsync(url, client, cancellation).ConfigureAwait(false);
        if (!response.IsSuccessStatusCode) throw new BuildException($"failed to load cache key: invalid response status {(int)response.StatusCode}");
        await using var body = await response.Content.ReadAsStreamAsync(cancellation).ConfigureAwait(false);
        var digest = "sha256:" + await SaveAsync(body, path, cancellation).ConfigureAwait(false);
        if (checksum.Length > 0 && digest != checksum) throw new BuildException($"digest mismatch {digest}: {checksum}");
        FileAt.ChangeMode(null, path, 0x180);
        File.SetLastWriteTimeUtc(path, response.Content.Headers.LastModified?.UtcDateTime ?? DateTime.UnixEpoch);
    }

    /// <returns>The SHA-256 of it, in hexadecimal.</returns>
    public static async Task<string> SaveAsync(Stream body, string path, CancellationToken cancellation)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
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
    /// <param name="client">Whose logins count: secrets called GIT_AUTH_TOKEN and GIT_AUTH_HEADER, with ".host" behind them for one host, and the SSH agent; null: nobody's.</param>
    /// <param name="told">What git says.</param>
    /// <returns>The directory that was asked for: it, or one in it.</returns>
    /// <exception cref="BuildException">In git's words.</exception>
    public async Task<string> CloneAsync(GitSource source, string directory, bool keepGitDirectory, IBuildSources? client, Action<string>? told, CancellationToken cancellation)
    {
        var environment = await LoginAsync(source, client, cancellation).ConfigureAwait(false);
        await GitAsync(["init", "--quiet", "--template=", "--initial-branch=main"]).ConfigureAwait(false);
        var socket = Path.Combine(directory, ".git", "agent");
        using var agent = client is not null && source.IsSsh ? await client.ForwardAgentAsync("default", socket, cancellation).ConfigureAwait(false) : null;
        if (agent is not null) environment.Add(("SSH_AUTH_SOCK", socket));
        await GitAsync(["remote", "add", "origin", source.Remote]).ConfigureAwait(false);
        var wanted = source.Ref.Length > 0 ? source.Ref : "HEAD";
        var commit = "FETCH_HEAD";
        if (!await TryGitAsync(["fetch", "--quiet", "--depth=1", "--no-tags", "origin", wanted]).ConfigureAwait(false))
        {
            // A server that knows no shallow copies, or gives no commit by its name: all of it, then.
            try
            {
                await GitAsync(["fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"]).ConfigureAwait(false);
            }
            catch (BuildException e)
            {
                throw new BuildException($"{(source.Ref.Length == 0 ? "error fetching default branch for repository" : "failed to fetch remote")} {source.Redacted}: {e.Message}", inner: e);
            }
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
        if (source.Directory.Length == 0) return directory;
        using var all = FileAt.Open(null, directory, Linux.Abi.OpenFlags.ReadOnly | Linux.Abi.OpenFlags.Directory);
        var inside = Images.RootedPath.TryResolve(all, "/" + source.Directory, mustExist: true, out _);
        return inside is not null && Directory.Exists(directory + inside) ? directory + inside : throw new BuildException($"failed to open subdir {source.Directory}: no such file or directory");

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
            return await RunAsync(directory, arguments, environment, cancellation).ConfigureAwait(false);
        }
    }

    // Configuration by variables: who lists processes sees no token.
    private static async Task<List<(string Name, string? Value)>> LoginAsync(GitSource source, IBuildSources? client, CancellationToken cancellation)
    {
        var environment = new List<(string, string?)>();
        if (client is null || !RemoteFiles.IsHttp(source.Remote) || !Uri.TryCreate(source.Remote, UriKind.Absolute, out var address)) return environment;
        foreach (var name in (string[])["GIT_AUTH_HEADER." + address.Authority, "GIT_AUTH_HEADER", "GIT_AUTH_TOKEN." + address.Authority, "GIT_AUTH_TOKEN"])
        {
            if (await SecretAsync(client, name, cancellation).ConfigureAwait(false) is not { } secret) continue;
            if (name.StartsWith("GIT_AUTH_TOKEN", StringComparison.Ordinal)) secret = "basic " + Convert.ToBase64String(Encoding.UTF8.GetBytes("x-access-token:" + secret));
            environment.AddRange([("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", $"http.{address.GetLeftPart(UriPartial.Authority)}/.extraheader"), ("GIT_CONFIG_VALUE_0", "Authorization: " + secret)]);
            break;
        }
        return environment;
    }

    // With nobody's configuration, and over the network alone: what a repository says of submodules is a stranger's word. A host that is not known is believed for this once.
    private async Task<string> RunAsync(string directory, string[] arguments, List<(string Name, string? Value)> environment, CancellationToken cancellation)
    {
        var start = new ProcessStartInfo("git") { WorkingDirectory = directory, RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        foreach (var argument in (string[])["-c", "protocol.allow=never", "-c", "core.logAllRefUpdates=false", "-c", "protocol.http.allow=always", "-c", "protocol.https.allow=always", "-c", "protocol.git.allow=always", "-c", "protocol.ssh.allow=always", .. arguments]) start.ArgumentList.Add(argument);
        var path = Environment.GetEnvironmentVariable("PATH");
        start.Environment.Clear();
        foreach (var (name, value) in (ReadOnlySpan<(string, string?)>)
                 [("PATH", path), ("HOME", directory), ("LC_ALL", "C"), ("GIT_TERMINAL_PROMPT", "0"), ("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_SSH_COMMAND", "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o 'UserKnownHostsFile=.git/known_hosts ~/.ssh/known_hosts'"),
                     ("http_proxy", proxy.HttpProxy), ("https_proxy", proxy.HttpsProxy), ("no_proxy", proxy.NoProxy), .. environment])
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
