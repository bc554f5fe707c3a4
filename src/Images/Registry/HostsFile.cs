using System.Globalization;
using System.Text;
using Berth.Images.Storage;

namespace Berth.Images.Registry;

/// <summary>
/// hosts.toml of a registry's directory, or of <c>_default</c> for every registry without one: mirrors in the order they are tried, in containerd's form,
/// <code>
///   server = "https://registry.example.com"        # the registry itself; may be left out
///   [host."https://mirror.example.com"]
///     capabilities = ["pull", "resolve"]           # and "push"
///     ca = "ca.pem"                                # or a list; relative to this file
///     client = [["client.cert", "client.key"]]
///     skip_verify = false
///     override_path = false                        # the address is that of the API, nothing is appended
///     [host."https://mirror.example.com".header]
///       x-custom = "value"
/// </code>
/// Read is the part of TOML that such files are written in: tables, bare and quoted keys, strings, booleans, numbers, arrays.
/// </summary>
internal sealed record HostsFile(HostsFile.Entry? Server, IReadOnlyList<HostsFile.Entry> Hosts)
{
    public sealed record Entry(Uri Url)
    {
        public bool CanPull { get; init; } = true;
        public bool CanResolve { get; init; } = true;
        public bool CanPush { get; init; } = true;
        public bool SkipVerify { get; init; }
        /// <summary>Nothing is put behind the path.</summary>
        public bool IsWholePath { get; init; }
        public RegistryCertificates Certificates { get; init; } = RegistryCertificates.None;
        public IReadOnlyList<KeyValuePair<string, string>> Headers { get; init; } = [];
    }

    /// <summary>Largest file read.</summary>
    private const int MaxBytes = 256 * 1024;

    /// <summary>Most mirrors of one registry: each is tried in turn while the user waits.</summary>
    private const int MaxHosts = 32;

    private const string Name = "hosts.toml", DefaultDirectory = "_default";

    /// <summary>Null when there is none for this registry.</summary>
    /// <exception cref="ImageException">The file is wrong; the message names it and the line.</exception>
    public static HostsFile? Find(string domain, RegistrySettings settings)
    {
        foreach (var host in (ReadOnlySpan<string>)[domain, DefaultDirectory])
        {
            if (RegistryCertificates.DirectoryOf(host, settings) is not { } directory) continue;
            var path = Path.Combine(directory, Name);
            if (DiskFile.TryRead(path, MaxBytes) is { } bytes) return Parse(Encoding.UTF8.GetString(bytes), path);
        }
        return null;
    }

    internal static HostsFile Parse(string text, string path)
    {
        var root = Toml.Parse(text, path);
        ImageException Wrong(string what) => ImageException.Invalid($"{path}: {what}");
        var directory = Path.GetDirectoryName(path)!;

        Entry Make(string address, Toml.Table table)
        {
            // As containerd: an address without a scheme is HTTPS.
            if (!Uri.TryCreate(address.Contains("://", StringComparison.Ordinal) ? address : "https://" + address, UriKind.Absolute, out var url) || url.Scheme is not ("http" or "https") || url.Host.Length == 0)
                throw Wrong($"\"{address}\" is not an address of a registry: must use either 'https://' or 'http://'");
            if (url.UserInfo.Length > 0) throw Wrong($"username/password not allowed in \"{url.Scheme}://xxxxx@{url.Authority}\"");
            List<string> Strings(string key) => table.TryGetValue(key, out var value)
                ? [.. (value as IReadOnlyList<object> ?? [value]).Select(v => v as string ?? throw Wrong($"{key} must be a string or a list of strings"))] : [];
            bool Flag(string key) => table.TryGetValue(key, out var value) && (value as bool? ?? throw Wrong($"{key} must be true or false"));

            var capabilities = Strings("capabilities");
            foreach (var capability in capabilities)
                if (capability is not ("pull" or "resolve" or "push")) throw Wrong($"unknown capability \"{capability}\"");
            var clients = new List<(string, string)>();
            if (table.TryGetValue("client", out var client))
                foreach (var one in client as IReadOnlyList<object> ?? [client])
                    clients.Add(one switch
                    {
                        string both => (Path.Combine(directory, both), Path.Combine(directory, both)),
                        IReadOnlyList<object> and [string certificate] => (Path.Combine(directory, certificate), Path.Combine(directory, certificate)),
                        IReadOnlyList<object> and [string certificate, string key] => (Path.Combine(directory, certificate), Path.Combine(directory, key)),
                        _ => throw Wrong("client must be a file, or a list of pairs of certificate and key"),
                    });
            return new Entry(url)
            {
                CanPull = capabilities.Count == 0 || capabilities.Contains("pull"), CanResolve = capabilities.Count == 0 || capabilities.Contains("resolve"),
                CanPush = capabilities.Count == 0 || capabilities.Contains("push"), SkipVerify = Flag("skip_verify"), IsWholePath = Flag("override_path"),
                Certificates = new RegistryCertificates([.. Strings("ca").Select(f => Path.Combine(directory, f))], clients),
                Headers = table.TryGetValue("header", out var header)
                    ? [.. (header as Toml.Table ?? throw Wrong("header must be a table")).SelectMany(h => (h.Value as IReadOnlyList<object> ?? [h.Value]).Select(v => new KeyValuePair<string, string>(h.Key, v as string ?? throw Wrong($"the header {h.Key} must be a string"))))]
                    : [],
            };
        }

        var hosts = new List<Entry>();
        if (root.TryGetValue("host", out var table))
            foreach (var (address, value) in table as Toml.Table ?? throw Wrong("host must be a table"))
                hosts.Add(Make(address, value as Toml.Table ?? throw Wrong($"host.\"{address}\" must be a table")));
        if (hosts.Count > MaxHosts) throw Wrong($"it names more than {MaxHosts} hosts");
        Entry? server = null;
        if (root.TryGetValue("server", out var named)) server = Make(named as string ?? throw Wrong("server must be a string"), root);
        return new HostsFile(server, hosts);
    }
}
