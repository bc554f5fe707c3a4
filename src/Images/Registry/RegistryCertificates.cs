using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Berth.Images.Storage;

namespace Berth.Images.Registry;

/// <summary>
/// What is trusted and shown besides the system's certificates when speaking to one host: files, by name. In the host's directory
/// (<c>certs.d/&lt;host[:port]&gt;/</c>) as Docker reads it: <c>*.crt</c> are authorities, <c>*.cert</c> with <c>*.key</c> what the client shows.
/// </summary>
internal sealed record RegistryCertificates(IReadOnlyList<string> Authorities, IReadOnlyList<(string Certificate, string Key)> Clients)
{
    /// <summary>Largest file read; a bundle of all authorities of the world has some hundred kB.</summary>
    private const int MaxFileBytes = 4 * 1024 * 1024;

    /// <summary>Most files in one directory.</summary>
    private const int MaxFiles = 100;

    public static RegistryCertificates None { get; } = new([], []);

    public bool IsEmpty => Authorities.Count == 0 && Clients.Count == 0;

    /// <exception cref="ImageException">InvalidParameter, in Docker's words: a certificate without its key or the other way about.</exception>
    public static RegistryCertificates Of(string hostAndPort, RegistrySettings settings) =>
        DirectoryOf(hostAndPort, settings) is { } directory ? In(directory) : None;

    /// <summary>The directory of a host; null when there is none. A name of a registry has no slash and is not "..": it stays within.</summary>
    public static string? DirectoryOf(string hostAndPort, RegistrySettings settings) =>
        settings.HostDirectories.Select(d => Path.Combine(d, hostAndPort)).FirstOrDefault(Directory.Exists);

    public static RegistryCertificates In(string directory)
    {
        var files = Directory.GetFiles(directory).Order(StringComparer.Ordinal).Take(MaxFiles).ToList();
        var clients = new List<(string, string)>();
        foreach (var file in files)
        {
            var other = Path.ChangeExtension(file, Path.GetExtension(file) == ".cert" ? ".key" : ".cert");
            switch (Path.GetExtension(file))
            {
                case ".cert" when !files.Contains(other):
                    throw ImageException.Invalid($"missing key {Path.GetFileName(other)} for client certificate {Path.GetFileName(file)}. CA certificates must use the extension .crt");
                case ".key" when !files.Contains(other):
                    throw ImageException.Invalid($"missing client certificate {Path.GetFileName(other)} for key {Path.GetFileName(file)}");
                case ".cert":
                    clients.Add((file, other));
                    break;
            }
        }
        return new RegistryCertificates([.. files.Where(f => Path.GetExtension(f) == ".crt")], clients);
    }

    /// <summary>Names the files and their state: while it is the same, connections made with them can be used again.</summary>
    public string Key => IsEmpty ? "" : string.Join('\n', Authorities.Concat(Clients.SelectMany(c => new[] { c.Certificate, c.Key })).Select(f => $"{f} {new FileInfo(f) switch { { Exists: true } i => $"{i.LastWriteTimeUtc.Ticks} {i.Length}", _ => "" }}"));

    public X509Certificate2Collection LoadAuthorities()
    {
        var all = new X509Certificate2Collection();
        foreach (var file in Authorities) Load(file, () => all.ImportFromPem(Text(file)));
        return all;
    }

    public X509Certificate2Collection LoadClients()
    {
        var all = new X509Certificate2Collection();
        foreach (var (certificate, key) in Clients) Load(certificate, () => all.Add(X509Certificate2.CreateFromPem(Text(certificate), Text(key))));
        return all;
    }

    private static string Text(string file) =>
        System.Text.Encoding.UTF8.GetString(DiskFile.TryRead(file, MaxFileBytes) ?? throw ImageException.Invalid($"open {file}: no such file or directory"));

    private static void Load(string file, Action load)
    {
        try
        {
            load();
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException or IOException or UnauthorizedAccessException)
        {
            throw new ImageException(ImageErrorKind.InvalidParameter, $"{file}: {e.Message}", e);
        }
    }
}
