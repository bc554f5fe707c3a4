using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Berth.Api;
using Berth.Images;

namespace Berth.Engine;

/// <summary>What happened, to whoever listens: the last <see cref="KeptEvents"/> are remembered for `since`.</summary>
public sealed class EventService
{
    internal const int KeptEvents = 256;

    // A listener that lags this far behind loses the oldest: an event never waits for anybody.
    internal const int QueuedEvents = 4096;

    private readonly Lock _lock = new();
    private readonly Queue<EventMessage> _kept = new(KeptEvents);
    private readonly TimeProvider _time;
    private Subscription[] _subscriptions = [];
    private long _lastNanoseconds;

    internal EventService(TimeProvider time) => _time = time;

    /// <summary>How many there were since the start.</summary>
    public long Total => Interlocked.Read(ref _total);
    private long _total;

    /// <summary>How many listen.</summary>
    public int Listeners => _subscriptions.Length;

    internal void Emit(string type, string action, string actorId, Dictionary<string, string> attributes)
    {
        lock (_lock)
        {
            // Strictly rising, so that "since the last one I saw" neither repeats nor misses one.
            var now = Math.Max(Timestamps.UnixNanoseconds(_time.GetUtcNow()), _lastNanoseconds + 1);
            _lastNanoseconds = now;
            _total++;
            var message = new EventMessage
            {
                Type = type, Action = action, Actor = new EventActor { ID = actorId, Attributes = attributes }, Scope = "local",
                Time = now / 1_000_000_000, TimeNano = now,
                Id = type is "container" or "image" ? actorId : null,
                Status = type is "container" or "image" ? action : null,
                From = type == "container" ? attributes.GetValueOrDefault("image") : null,
            };
            if (_kept.Count == KeptEvents) _kept.Dequeue();
            _kept.Enqueue(message);
            foreach (var subscription in _subscriptions)
            {
                if (Matches(subscription.Filters, message)) subscription.Channel.Writer.TryWrite(message);
            }
        }
    }

    /// <summary>
    /// Past events between since and until (none without either), then those to come until <paramref name="until"/> or for ever. The subscription exists when
    /// the method returns; the sequence ends with the token without throwing.
    /// </summary>
    /// <param name="since">Unix seconds with an optional fraction, or RFC 3339; null or empty: only what comes.</param>
    /// <exception cref="EngineException">InvalidParameter: the wrong way round; System: no time, as Docker has it.</exception>
    public IAsyncEnumerable<EventMessage> Subscribe(string? since, string? until, Filters filters, CancellationToken cancellationToken)
    {
        var (from, to) = (Timestamps.ParseParameter(since), Timestamps.ParseParameter(until));
        if (to < from) throw EngineException.Invalid($"`since` time ({since}) cannot be after `until` time ({until})");
        var past = new List<EventMessage>();
        Subscription? subscription = null;
        lock (_lock)
        {
            if (from is not null || to is not null)
            {
                var (first, last) = (from is { } f ? Timestamps.UnixNanoseconds(f) : 0, to is { } t ? Timestamps.UnixNanoseconds(t) : long.MaxValue);
                foreach (var message in _kept)
                {
                    if (message.TimeNano >= first && message.TimeNano <= last && Matches(filters, message)) past.Add(message);
                }
            }
            if (to is null || to >= _time.GetUtcNow())
            {
                subscription = new Subscription(filters);
                _subscriptions = [.. _subscriptions, subscription];
            }
        }
        // Whoever subscribes and never reads (its client went away in between) leaves too.
        if (subscription is not null) subscription.Left = cancellationToken.UnsafeRegister(_ => Unsubscribe(subscription), null);
        return Read(past, subscription, to, cancellationToken);
    }

    private async IAsyncEnumerable<EventMessage> Read(List<EventMessage> past, Subscription? subscription, DateTimeOffset? until, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        try
        {
            foreach (var message in past) yield return message;
            if (subscription is null) yield break;
            using var end = until is null ? null : new CancellationTokenSource(Clamp(until.Value - _time.GetUtcNow()), _time);
            using var both = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, end?.Token ?? CancellationToken.None);
            while (true)
            {
                try
                {
                    if (!await subscription.Channel.Reader.WaitToReadAsync(both.Token).ConfigureAwait(false)) yield break;
                }
                catch (OperationCanceledException)
                {
                    yield break;
                }
                while (subscription.Channel.Reader.TryRead(out var message)) yield return message;
            }
        }
        finally
        {
            if (subscription is not null)
            {
                await subscription.Left.DisposeAsync().ConfigureAwait(false);
                Unsubscribe(subscription);
            }
        }
    }

    private void Unsubscribe(Subscription subscription)
    {
        lock (_lock) _subscriptions = Array.FindAll(_subscriptions, s => s != subscription);
    }

    // Timers take at most 49 days.
    private static TimeSpan Clamp(TimeSpan span) => span <= TimeSpan.Zero ? TimeSpan.Zero : span > TimeSpan.FromDays(40) ? TimeSpan.FromDays(40) : span;

    internal static bool Matches(Filters filters, EventMessage message)
    {
        if (filters.IsEmpty) return true;
        if (!ActionMatches(filters["event"], message.Action)) return false;
        if (!filters.ExactMatch("type", message.Type) || !filters.ExactMatch("scope", message.Scope ?? "local")) return false;
        var (id, attributes) = (message.Actor.ID, message.Actor.Attributes ?? []);
        var name = attributes.GetValueOrDefault("name", "");
        foreach (var type in (ReadOnlySpan<string>)["daemon", "container", "plugin", "volume", "network", "node", "service", "secret", "config"])
        {
            if (!PrefixMatch(filters, type, id) && !PrefixMatch(filters, type, name)) return false;
        }
        if (filters.Contains("image"))
        {
            var image = message.Type == "image" ? name : attributes.GetValueOrDefault("image", "");
            if (!filters.ExactMatch("image", id) && !filters.ExactMatch("image", image) && !filters.ExactMatch("image", StripTag(id)) && !filters.ExactMatch("image", StripTag(image)))
                return false;
        }
        return filters.MatchLabels("label", attributes);
    }

    private static bool ActionMatches(IReadOnlyCollection<string> wanted, string action)
    {
        if (wanted.Count == 0 || wanted.Contains(action)) return true;
        // "exec_create: sh -c …" is meant by "exec_create".
        return wanted.Any(w => w is "health_status" or "exec_create" or "exec_start") && wanted.Any(w => action.StartsWith(w, StringComparison.Ordinal));
    }

    private static bool PrefixMatch(Filters filters, string name, string value)
    {
        var values = filters[name];
        return values.Count == 0 || values.Any(v => value.StartsWith(v, StringComparison.Ordinal));
    }

    private static string StripTag(string image) => ImageReference.TryParse(image, out var reference) ? reference.FamiliarName : image;

    private sealed class Subscription(Filters filters)
    {
        public Filters Filters { get; } = filters;
        public CancellationTokenRegistration Left { get; set; }
        public Channel<EventMessage> Channel { get; } = System.Threading.Channels.Channel.CreateBounded<EventMessage>(
            new BoundedChannelOptions(QueuedEvents) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true });
    }
}
