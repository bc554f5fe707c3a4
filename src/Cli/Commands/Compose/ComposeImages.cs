using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands.Images;
using Berth.Cli.Output;
using Berth.Cli.Registries;
using Berth.Compose;
using Berth.Compose.Engine;
using Berth.Compose.Model;

namespace Berth.Cli.Commands.Compose;

/// <summary>pull and push: images of services, several at a time.</summary>
internal static class ComposeImages
{
    /// <summary>Columns that a bar of a layer has where there is no terminal: docker compose's.</summary>
    private const int BarWidth = 200;

    public static readonly Command[] Commands =
    [
        new()
        {
            Paths = ["pull"],
            Usage = "[OPTIONS] [SERVICE...]",
            Summary = "Fetch services' images",
            Flags = static () =>
            [
                new("ignore-buildable", FlagKind.Bool, "Not images that can be built"),
                new("ignore-pull-failures", FlagKind.Bool, "Go on when an image cannot be fetched"),
                new("include-deps", FlagKind.Bool, "Of services that these depend on, too"),
                new("no-parallel", FlagKind.Bool, "Accepted for docker compose's sake") { Default = "true", Hidden = true },
                new("parallel", FlagKind.Bool, "Accepted for docker compose's sake") { Default = "true", Hidden = true },
                new("policy", FlagKind.String, "always or missing"),
                new("quiet", 'q', FlagKind.Bool, "Without showing progress"),
            ],
            Run = i => PullAsync((ComposeInvocation)i),
        },
        new()
        {
            Paths = ["push"],
            Usage = "[OPTIONS] [SERVICE...]",
            Summary = "Upload images that services are built as",
            Flags = static () => [new("ignore-push-failures", FlagKind.Bool, "Go on when an image cannot be uploaded"), new("include-deps", FlagKind.Bool, "Of services that these depend on, too"), new("quiet", 'q', FlagKind.Bool, "Without showing progress")],
            Run = i => PushAsync((ComposeInvocation)i),
        },
    ];

    private static async Task<int> PullAsync(ComposeInvocation invocation)
    {
        var (flags, display) = (invocation.Arguments, invocation.Display);
        var project = invocation.Load(flags.Positional, flags.Bool("include-deps"));
        var observed = await Observed.ReadAsync(invocation.Asking, project.Name, images: true, invocation.Cancelled);
        var pulling = new Dictionary<string, string>(StringComparer.Ordinal);
        var wanted = new List<(string Name, string Image)>();
        var failures = new List<(string Name, Exception Cause)>();
        using (display.Begin("Pulling"))
        {
            foreach (var name in project.InDependencyOrder())
            {
                var service = project.Services[name];
                var image = service.TextOf("image");
                var policy = flags.String("policy") is { Length: > 0 } given ? given : service.TextOf("pull_policy");
                var skipped = image.Length == 0 ? "Skipped - No image to be pulled"
                    : policy is "never" or "build" ? "Skipped"
                    : policy is "missing" or "if_not_present" && IsPresent(observed, image) ? "Skipped - Image is already present locally"
                    : flags.Bool("ignore-buildable") && service.Get("build") is not null ? "Skipped - Image can be built"
                    : pulling.TryGetValue(image, out var other) ? $"Skipped - Image is already being pulled by {other}"
                    : null;
                if (skipped is not null)
                {
                    display.Tell(new WorkNews(name, skipped, "", WorkState.Done));
                    continue;
                }
                pulling[image] = name;
                wanted.Add((name, image));
            }
            using var enough = CancellationTokenSource.CreateLinkedTokenSource(invocation.Cancelled);
            using var slots = invocation.Slots();
            await Task.WhenAll(wanted.Select(async w =>
            {
                var service = project.Services[w.Name];
                try
                {
                    await slots.WaitAsync(enough.Token);
                    using var _ = new SlotLease(slots);
                    await PullOneAsync(invocation, w.Name, w.Image, PlatformOf(invocation, service), service.Get("build") is not null, flags.Bool("quiet"), enough.Token);
                }
                catch (Exception e) when (e is EngineApiException or CommandException or OperationCanceledException)
                {
                    lock (failures) failures.Add((w.Name, e));
                    if (e is not OperationCanceledException && !flags.Bool("ignore-pull-failures") && service.Get("build") is null) await enough.CancelAsync();
                }
            }));
            invocation.Cancelled.ThrowIfCancellationRequested();
            var mustBuild = failures.Where(f => f.Cause is not OperationCanceledException && project.Services[f.Name].Get("build") is not null).Select(f => f.Name).ToList();
            if (mustBuild.Count > 0) display.TellAtEnd($"WARNING: Some service image(s) must be built from source by running:\n    docker compose build {string.Join(' ', mustBuild)}");
        }
        if (flags.Bool("ignore-pull-failures")) return 0;
        var cause = failures.Find(f => f.Cause is not OperationCanceledException && project.Services[f.Name].Get("build") is null).Cause ?? failures.Find(static f => f.Cause is not OperationCanceledException).Cause;
        if (cause is not null) System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(cause);
        return 0;
    }

    // "latest" is never there: it may have become another image.
    private static bool IsPresent(Observed observed, string image)
    {
        var full = ImageDigests.FullName(image);
        return !full.EndsWith(":latest", StringComparison.Ordinal) && (observed.Images.ContainsKey(full) || observed.Images.ContainsKey(image));
    }

    private static string PlatformOf(ComposeInvocation invocation, Berth.Compose.Yaml.Node service) =>
        service.TextOf("platform") is { Length: > 0 } own ? own : invocation.Loader.Environment.GetValueOrDefault("DOCKER_DEFAULT_PLATFORM", "");

    /// <summary>Images that services cannot do without are fetched; the first that cannot be had ends it.</summary>
    public static async Task PullMissingAsync(ComposeInvocation invocation, Project project, IReadOnlyList<string> services, bool quiet)
    {
        if (services.Count == 0) return;
        using var section = invocation.Display.Begin("Running");
        using var slots = invocation.Slots();
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(invocation.Cancelled);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        Exception? failure = null;
        await Task.WhenAll(services.Where(name => seen.Add(project.ImageOf(name))).Select(async name =>
        {
            try
            {
                await slots.WaitAsync(enough.Token);
                using var _ = new SlotLease(slots);
                await PullOneAsync(invocation, name, project.ImageOf(name), PlatformOf(invocation, project.Services[name]), buildable: false, quiet, enough.Token);
            }
            catch (Exception e) when (e is EngineApiException or CommandException)
            {
                Interlocked.CompareExchange(ref failure, e, null);
                await enough.CancelAsync();
            }
            catch (OperationCanceledException) when (!invocation.Cancelled.IsCancellationRequested)
            {
            }
        }));
        if (failure is not null) System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
    }

    private static async Task PullOneAsync(ComposeInvocation invocation, string name, string image, string platform, bool buildable, bool quiet, CancellationToken cancellationToken)
    {
        var display = invocation.Display;
        display.Tell(new WorkNews(name, "Pulling", "", WorkState.Working));
        if (!invocation.DryRun)
        {
            try
            {
                var parsed = ImageName.Parse(image);
                var tag = parsed.Digest.Length > 0 ? parsed.Digest : parsed.Tag.Length > 0 ? parsed.Tag : "latest";
                using var response = await invocation.Client.PullImageAsync(parsed.Repository, tag, platform, await Credentials.ForImageAsync(invocation.Context, image), cancellationToken);
                await foreach (var message in EngineClient.ReadMessagesAsync(response.Body, cancellationToken))
                {
                    ThrowIfFailed(message);
                    if (quiet || message is not { Id: { Length: > 0 } id, ProgressDetail: { } progress }) continue;
                    var counts = message.Status is "Downloading" or "Extracting" or "Verifying Checksum";
                    var done = message.Status is "Download complete" or "Already exists" or "Pull complete";
                    display.Tell(new WorkNews(id, message.Status ?? "", ProgressDisplay.Bar(progress, BarWidth), done ? WorkState.Done : WorkState.Working)
                    {
                        Parent = name, Current = counts ? progress.Current : 0, Total = counts ? progress.Total : 0,
                        Percent = done ? 100 : counts && progress.Total > 0 ? (int)(progress.Current * 100 / progress.Total) : 0,
                    });
                }
            }
            catch (EngineApiException e)
            {
                display.Tell(new WorkNews(name, buildable ? "Warning" : "Error", e.DaemonMessage, buildable ? WorkState.Warning : WorkState.Error));
                throw;
            }
            catch (OperationCanceledException)
            {
                display.Tell(new WorkNews(name, "", "Interrupted", WorkState.Warning));
                throw;
            }
        }
        display.Tell(new WorkNews(name, "Pulled", "", WorkState.Done));
    }

    private static async Task<int> PushAsync(ComposeInvocation invocation)
    {
        var flags = invocation.Arguments;
        var project = invocation.Load(flags.Positional, flags.Bool("include-deps"));
        await PushAsync(invocation, project, flags.Bool("quiet"), flags.Bool("ignore-push-failures"), imageMandatory: false);
        return 0;
    }

    /// <summary>What services are built as goes to its registries.</summary>
    /// <param name="invocation">Of which command.</param>
    /// <param name="project">Whose services.</param>
    /// <param name="quiet">Nothing is told.</param>
    /// <param name="ignoreFailures">The others go on when one fails.</param>
    /// <param name="imageMandatory">A service whose image has no name is an error.</param>
    public static async Task PushAsync(ComposeInvocation invocation, Project project, bool quiet, bool ignoreFailures, bool imageMandatory)
    {
        var display = invocation.Display;
        using var section = quiet ? null : display.Begin("Pushing");
        using var slots = invocation.Slots();
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(invocation.Cancelled);
        var pushes = new List<(string Service, string Image)>();
        foreach (var name in project.InDependencyOrder())
        {
            var service = project.Services[name];
            var image = service.TextOf("image");
            if (service.Get("build") is not { } build || image.Length == 0)
            {
                if (imageMandatory && image.Length == 0 && service.Get("provider") is null) throw new CommandException($"\"service.image\" attribute is mandatory to push an image for service {GoText.Quote(name)}");
                if (!quiet) display.Tell(new WorkNews(name, "Skipped", "", WorkState.Done));
                continue;
            }
            pushes.Add((name, image));
            foreach (var tag in build.StringsOf("tags")) pushes.Add((name, tag));
        }
        Exception? failure = null;
        await Task.WhenAll(pushes.Select(async push =>
        {
            try
            {
                await slots.WaitAsync(enough.Token);
                using var _ = new SlotLease(slots);
                await PushOneAsync(invocation, push.Image, quiet, enough.Token);
            }
            catch (Exception e) when (e is EngineApiException or CommandException)
            {
                if (ignoreFailures)
                {
                    display.TellAtEnd($"Pushing {push.Service}: {e.Message}");
                    return;
                }
                Interlocked.CompareExchange(ref failure, e, null);
                await enough.CancelAsync();
            }
            catch (OperationCanceledException) when (!invocation.Cancelled.IsCancellationRequested)
            {
            }
        }));
        if (failure is not null) System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
    }

    private static async Task PushOneAsync(ComposeInvocation invocation, string image, bool quiet, CancellationToken cancellationToken)
    {
        if (invocation.DryRun)
        {
            if (!quiet) invocation.Display.Tell(new WorkNews($"Pushing {image}: ", "Pushed", "", WorkState.Done));
            return;
        }
        var name = ImageName.Parse(image);
        using var response = await invocation.Client.PushImageAsync(name.Repository, name.Tag.Length > 0 ? name.Tag : "latest", null, await Credentials.ForImageAsync(invocation.Context, image), cancellationToken);
        await foreach (var message in EngineClient.ReadMessagesAsync(response.Body, cancellationToken))
        {
            ThrowIfFailed(message);
            if (quiet || message.Id is not { Length: > 0 } id) continue;
            var done = message.Status is "Pushed" or "Layer already exists";
            var progress = message.ProgressDetail ?? new JsonProgress();
            invocation.Display.Tell(new WorkNews($"Pushing {image}: {id}", message.Status ?? "", ProgressDisplay.Bar(progress, BarWidth), done ? WorkState.Done : WorkState.Working)
            {
                Current = progress.Total > 0 ? progress.Current : 0, Total = progress.Total, Percent = progress.Total > 0 ? (int)(progress.Current * 100 / progress.Total) : done ? 100 : 0,
            });
        }
    }

    private static void ThrowIfFailed(JsonMessage message)
    {
        if (message.ErrorDetail?.Message is { } detail) throw new CommandException(detail);
        if (message.Error is { } error) throw new CommandException(error);
    }

    private readonly struct SlotLease(SemaphoreSlim slots) : IDisposable
    {
        public void Dispose() => slots.Release();
    }
}
