using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Berth.Testing;

namespace Berth.Clients.Tests;

/// <summary>A web server for a directory.</summary>
internal sealed class FileServer : IDisposable
{
    private readonly HttpListener _listener = new();

    public FileServer(string directory)
    {
        using (var probe = new TcpListener(IPAddress.Loopback, 0))
        {
            probe.Start();
            Address = $"http://127.0.0.1:{((IPEndPoint)probe.LocalEndpoint).Port}";
        }
        _listener.Prefixes.Add(Address + "/");
        _listener.Start();
        _ = Task.Run(async () =>
        {
            while (_listener.IsListening)
            {
                try
                {
                    var context = await _listener.GetContextAsync();
                    var file = Path.Combine(directory, context.Request.Url!.AbsolutePath.TrimStart('/'));
                    if (Authorization is not null && context.Request.Headers["Authorization"] != Authorization) context.Response.StatusCode = 401;
                    else if (File.Exists(file)) await context.Response.OutputStream.WriteAsync(await File.ReadAllBytesAsync(file));
                    else context.Response.StatusCode = 404;
                    context.Response.Close();
                }
                catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
                {
                    return;
                }
            }
        });
    }

    public string Address { get; }

    /// <summary>What who asks has to say; null: nothing.</summary>
    public string? Authorization { get; set; }

    public void Dispose() => _listener.Close();

    /// <summary>Makes a repository, repo.git, with two commits, the first of them tagged; served as files, as any web server can.</summary>
    /// <returns>The first commit.</returns>
    public static async Task<string> RepositoryAsync(string directory)
    {
        try
        {
            using var git = Process.Start(new ProcessStartInfo("git", "--version") { RedirectStandardOutput = true })!;
            await git.WaitForExitAsync(TestContext.Current.CancellationToken);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip("git is not installed");
        }
        var work = Directory.CreateDirectory(Path.Combine(directory, "work")).FullName;
        Task<CommandResult> Git(params string[] arguments) => new Command("git", ["-C", work, "-c", "user.name=a", "-c", "user.email=a@b.invalid", .. arguments]).RunAsync();
        await Git("init", "-q", "-b", "main");
        Directory.CreateDirectory(Path.Combine(work, "sub"));
        await File.WriteAllTextAsync(Path.Combine(work, "sub", "one"), "one\n");
        await File.WriteAllTextAsync(Path.Combine(work, "Dockerfile"), "FROM busybox:test\nCOPY . /context\n");
        await Git("add", ".");
        await Git("commit", "-qm", "first");
        await Git("tag", "v1");
        var first = (await Git("rev-parse", "HEAD")).Line;
        await File.WriteAllTextAsync(Path.Combine(work, "sub", "two"), "two\n");
        await Git("add", ".");
        await Git("commit", "-qm", "second");
        await new Command("git", ["clone", "-q", "--bare", work, Path.Combine(directory, "repo.git")]);
        await new Command("git", ["-C", Path.Combine(directory, "repo.git"), "update-server-info"]);
        return first;
    }
}
