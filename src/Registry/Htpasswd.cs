using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using Berth.Linux;

namespace Berth.Registry;

/// <summary>
/// Users and their passwords' hashes in Apache's form (<c>htpasswd -B</c>): bcrypt and the other slow hashes that libcrypt knows. Read again when the file has changed. What
/// was right once is remembered by a keyed hash, since a client shows its password with each request and bcrypt is slow on purpose; who guesses is slowed down.
/// </summary>
public sealed class Htpasswd
{
    /// <summary>The file; a million users have other means.</summary>
    private const int MaxFileBytes = 16 << 20;

    /// <summary>Right passwords remembered; above it all are forgotten.</summary>
    private const int MaxRemembered = 10_000;

    /// <summary>Passwords checked at a time: each takes a processor for a twentieth of a second.</summary>
    private const int ChecksAtOnce = 2;

    /// <summary>Wrong passwords that one address may send in a row, and how long it then waits for each further one.</summary>
    private const int FailuresAtMost = 10;
    private static readonly TimeSpan FailureForgottenAfter = TimeSpan.FromSeconds(6);

    /// <summary>Addresses whose failures are counted; above it the oldest half is forgotten.</summary>
    private const int MaxAddresses = 10_000;

    private readonly string path;
    private readonly TimeProvider time;
    private readonly byte[] key = RandomNumberGenerator.GetBytes(32);
    private readonly SemaphoreSlim checks = new(ChecksAtOnce);
    private readonly ConcurrentDictionary<string, DateTimeOffset> failures = new(); // when the last failure of an address is forgotten
    private volatile Loaded loaded;

    private sealed record Loaded(DateTime Written, long Length, IReadOnlyDictionary<string, string> Hashes)
    {
        public ConcurrentDictionary<string, byte> Right { get; } = new();
    }

    /// <exception cref="FormatException">A line that cannot be used, and why.</exception>
    public Htpasswd(string path, TimeProvider time)
    {
        (this.path, this.time) = (path, time);
        loaded = Load();
    }

    /// <summary>Whether the user is who it says.</summary>
    /// <exception cref="TooManyFailuresException">The address has been wrong too often.</exception>
    public async Task<bool> CheckAsync(string user, string password, IPAddress? from, CancellationToken cancellation)
    {
        var file = Current();
        var token = Convert.ToBase64String(HMACSHA256.HashData(key, Encoding.UTF8.GetBytes($"{user.Length}:{user}{password}")));
        if (file.Right.ContainsKey(token)) return true;
        var address = from?.ToString() ?? "";
        if (Wait(address) is { } wait) throw new TooManyFailuresException(wait);
        await checks.WaitAsync(cancellation).ConfigureAwait(false);
        bool right;
        try
        {
            // An unknown user takes as long as a known one, so that names cannot be tried out.
            var known = file.Hashes.TryGetValue(user, out var hash);
            right = await Task.Run(() => PasswordHash.Verify(password, hash ?? NobodysHash), cancellation).ConfigureAwait(false) && known;
        }
        finally
        {
            checks.Release();
        }
        if (right)
        {
            if (file.Right.Count >= MaxRemembered) file.Right.Clear();
            file.Right[token] = 0;
            failures.TryRemove(address, out _);
        }
        else
        {
            Count(address);
        }
        return right;
    }

    // A bucket that leaks: each failure fills it by a unit of time.
    private TimeSpan? Wait(string address)
    {
        if (!failures.TryGetValue(address, out var until)) return null;
        var over = until - time.GetUtcNow() - FailureForgottenAfter * (FailuresAtMost - 1);
        return over > TimeSpan.Zero ? over : null;
    }

    private void Count(string address)
    {
        var now = time.GetUtcNow();
        failures.AddOrUpdate(address, now + FailureForgottenAfter, (_, until) => (until > now ? until : now) + FailureForgottenAfter);
        if (failures.Count <= MaxAddresses) return;
        foreach (var (old, _) in failures.OrderBy(f => f.Value).Take(MaxAddresses / 2))
            failures.TryRemove(old, out _);
    }

    private Loaded Current()
    {
        var was = loaded;
        var now = new FileInfo(path);
        if (!now.Exists || (now.LastWriteTimeUtc == was.Written && now.Length == was.Length)) return was;
        try
        {
            return loaded = Load();
        }
        catch (Exception e) when (e is FormatException or IOException or UnauthorizedAccessException)
        {
            return was; // half written: what is known holds until it can be read
        }
    }

    private Loaded Load()
    {
        var file = new FileInfo(path);
        if (file.Length > MaxFileBytes) throw new FormatException($"{path} is larger than {MaxFileBytes} bytes");
        var hashes = new Dictionary<string, string>(StringComparer.Ordinal);
        var number = 0;
        foreach (var text in File.ReadLines(path))
        {
            number++;
            var line = text.Trim();
            if (line.Length == 0 || line[0] == '#') continue;
            var colon = line.IndexOf(':');
            if (colon <= 0) throw new FormatException($"{path}, line {number}: not user:hash");
            var hash = line[(colon + 1)..];
            if (!IsSlow(hash)) throw new FormatException($"{path}, line {number}: the hash of {line[..colon]} is not one of bcrypt, yescrypt or sha-crypt; make it with htpasswd -B");
            hashes[line[..colon]] = hash;
        }
        return new Loaded(file.LastWriteTimeUtc, file.Length, hashes);
    }

    private static bool IsSlow(string hash) => (string[])["$2a$", "$2b$", "$2y$", "$5$", "$6$", "$y$"] is var kinds && kinds.Any(k => hash.StartsWith(k, StringComparison.Ordinal));

    // bcrypt at htpasswd's usual cost, of what nobody knows.
    private const string NobodysHash = "$2y$10$abcdefghijklmnopqrstuuDmvBSgAoRk7w8r2r1g9J1cW0mXxq8mS";
}

/// <summary>Wrong passwords came too often from one address.</summary>
public sealed class TooManyFailuresException(TimeSpan retryAfter) : Exception("too many wrong passwords")
{
    public TimeSpan RetryAfter => retryAfter;
}
