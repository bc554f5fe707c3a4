using Berth.Api;

namespace Berth.Cli.Connections;

/// <summary>What the global flags say of the engine to talk to.</summary>
internal sealed record ConnectionFlags
{
    public string? Host { get; init; }
    public string? Context { get; init; }
    public bool? Tls { get; init; }
    public bool? TlsVerify { get; init; }
    public string? TlsCa { get; init; }
    public string? TlsCert { get; init; }
    public string? TlsKey { get; init; }
}

/// <summary>
/// Which engine is talked to, and how: -H, --context, DOCKER_HOST, DOCKER_CONTEXT, the context in use, the default socket,
/// in this order.
/// </summary>
internal sealed class Connection(CommandContext context)
{
    public ContextStore Store => field ??= new ContextStore(context.ConfigDirectory);

    /// <summary>The name of the context in use; "default": flags and environment say where the engine is.</summary>
    /// <exception cref="CommandException">-H and --context contradict each other.</exception>
    public string ContextName
    {
        get
        {
            var flags = context.ConnectionFlags;
            if (flags is { Context: not null, Host: not null }) throw new CommandException("conflicting options: cannot specify both --host and --context");
            if (flags.Context is { Length: > 0 } named) return named;
            if (flags.Host is not null || Variable("DOCKER_HOST") is not null) return DockerContext.Default;
            return Variable("DOCKER_CONTEXT") ?? context.Config.Text("currentContext") ?? DockerContext.Default;
        }
    }

    /// <summary>The context in use, as it is kept, or made of flags and environment.</summary>
    public DockerContext Current => Find(ContextName);

    /// <exception cref="CommandException">There is none of this name.</exception>
    public DockerContext Find(string name) => name == DockerContext.Default ? Default() : Store.Read(name);

    /// <summary>Where the engine is, as it is shown.</summary>
    public string HostText
    {
        get
        {
            try
            {
                return Current.Host;
            }
            catch (CommandException)
            {
                return "";
            }
        }
    }

    /// <exception cref="CommandException">It cannot be said where the engine is.</exception>
    public EngineHost Resolve()
    {
        DockerContext current;
        try
        {
            current = Current;
        }
        catch (CommandException e) when (e.Message.StartsWith("context ", StringComparison.Ordinal))
        {
            throw new CommandException($"Failed to initialize: unable to resolve docker endpoint: {e.Message}");
        }
        if (current.Name != DockerContext.Default && current.Host.Length == 0) current = current with { Host = CommandContext.DefaultHost };
        try
        {
            return EngineHost.Parse(current.Host, current.Tls);
        }
        catch (FormatException e)
        {
            var where = e.Message.StartsWith("invalid bind", StringComparison.Ordinal) || e.Message.StartsWith("parse ", StringComparison.Ordinal) ? "unable to resolve docker endpoint: " : ""; // docker finds the others out later
            throw new CommandException($"Failed to initialize: {where}{e.Message}");
        }
    }

    private DockerContext Default()
    {
        var flags = context.ConnectionFlags;
        var (tls, files) = TlsOf(flags);
        var host = flags.Host ?? Variable("DOCKER_HOST") ?? CommandContext.DefaultHost;
        return new DockerContext { Name = DockerContext.Default, Description = DockerContext.DefaultDescription, Host = Spell(host.Trim()), SkipTlsVerify = tls == false, TlsFiles = files };
    }

    /// <summary>As docker reads it: an address alone is tcp, nothing after a scheme is its default.</summary>
    internal static string Spell(string host)
    {
        if (host.Length == 0 || host == "unix://") return CommandContext.DefaultHost;
        if (!host.Contains("://", StringComparison.Ordinal)) host = "tcp://" + host;
        return host is "tcp://" || host.StartsWith("tcp://:", StringComparison.Ordinal) ? "tcp://localhost" + host["tcp://".Length..] : host;
    }

    /// <summary>null: no TLS; otherwise whether the engine's certificate is verified, with the files. They count only when TLS is asked for.</summary>
    private (bool? Verify, IReadOnlyDictionary<string, byte[]> Files) TlsOf(ConnectionFlags flags)
    {
        var files = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
        var verify = flags.TlsVerify ?? Variable("DOCKER_TLS_VERIFY") is not null;
        var on = verify || flags.TlsVerify is not null || (flags.Tls ?? Variable("DOCKER_TLS") is not null);
        if (!on) return (null, files);
        var directory = Variable("DOCKER_CERT_PATH") ?? context.ConfigDirectory;
        Add("ca.pem", flags.TlsCa, verify);
        Add("cert.pem", flags.TlsCert, needed: false);
        Add("key.pem", flags.TlsKey, needed: false);
        if (files.ContainsKey("cert.pem") != files.ContainsKey("key.pem")) throw new CommandException($"a certificate and its key are needed together: only {Path.Combine(directory, files.ContainsKey("key.pem") ? "key.pem" : "cert.pem")} is there");
        return (verify, files);

        void Add(string name, string? given, bool needed)
        {
            var path = given ?? Path.Combine(directory, name);
            if (given is null && !needed && !File.Exists(path)) return;
            if (name == "ca.pem" && !verify) return; // nobody is verified
            try
            {
                files[name] = File.ReadAllBytes(path);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new CommandException($"Failed to initialize: unable to resolve docker endpoint: open {path}: {Commands.Files.Reason(e)}");
            }
        }
    }

    private string? Variable(string name) => context.Variable(name) is { Length: > 0 } value ? value : null;
}
