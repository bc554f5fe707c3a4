using System.Collections.Concurrent;
using System.Formats.Tar;
using System.Globalization;
using System.Text;
using Berth.Api;
using Berth.Compose.Model;
using Berth.Compose.Yaml;

namespace Berth.Compose.Engine;

public enum WorkState
{
    Working,
    Done,
    Warning,
    Error,
}

/// <summary>What is done, told while it is done: "Container web-1", "Started".</summary>
public delegate void Progress(string resource, string status, WorkState state);

/// <summary>
/// Carries a plan out: every step begins when those before it are done, so what does not depend on one another happens at the same time.
/// Decides nothing.
/// </summary>
public sealed class Executor(EngineClient client, Project? project, Observed observed, Progress progress, Action<string> warn)
{
    private readonly ConcurrentDictionary<string, string> _ids = new(StringComparer.Ordinal);

    public string Separator { get; init; } = "-";

    public int? TimeoutSeconds { get; init; }

    /// <summary>Anonymous volumes of a container that is made anew are not taken over.</summary>
    public bool RenewVolumes { get; init; }

    /// <summary>How much is done at once; 0: no limit.</summary>
    public int Parallel { get; init; }

    /// <summary>Where the output of hooks goes.</summary>
    public Action<string, string>? HookOutput { get; init; }

    /// <summary>Called with service, name and id before a container is started: who attaches then sees all that it prints.</summary>
    public Func<string, string, string, Task>? Starting { get; init; }

    public async Task RunAsync(Plan plan, CancellationToken cancellationToken)
    {
        foreach (var container in observed.Containers)
            if (!container.OneOff) _ids[container.Service + "/" + container.Number.ToString(CultureInfo.InvariantCulture)] = container.Id;
        foreach (var kept in plan.Kept) progress("Container " + kept.Name, "Running", WorkState.Done);
        using var failed = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var slots = new SemaphoreSlim(Parallel > 0 ? Parallel : int.MaxValue);
        var tasks = new Dictionary<int, Task>();
        foreach (var step in plan.Steps) tasks[step.Id] = StepAsync(step, step.After.Select(s => tasks[s.Id]).ToArray(), slots, failed);
        try
        {
            await Task.WhenAll(tasks.Values).ConfigureAwait(false);
        }
        catch (Exception)
        {
            cancellationToken.ThrowIfCancellationRequested();
            // The first cause, not those that were cancelled because of it.
            foreach (var task in tasks.Values)
                if (task.Exception?.InnerException is { } cause and not OperationCanceledException) System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(cause);
            throw;
        }
    }

    private async Task StepAsync(Step step, Task[] before, SemaphoreSlim slots, CancellationTokenSource failed)
    {
        await Task.Yield();
        try
        {
            await Task.WhenAll(before).ConfigureAwait(false);
        }
        catch (Exception)
        {
            throw new OperationCanceledException();
        }
        await slots.WaitAsync(failed.Token).ConfigureAwait(false);
        try
        {
            await DoAsync(step, failed.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            if (FailureOf(step, e) is { } told) progress(Title(step), told, WorkState.Error);
            await failed.CancelAsync().ConfigureAwait(false);
            throw;
        }
        finally
        {
            slots.Release();
        }
    }

    private static string Title(Step step) => step.Kind switch
    {
        StepKind.CreateNetwork or StepKind.RemoveNetwork => "Network " + step.Subject,
        StepKind.CreateVolume or StepKind.RemoveVolume => "Volume " + step.Subject,
        StepKind.RemoveImage => "Image " + step.Subject,
        _ => "Container " + step.Subject,
    };

    /// <summary>In docker compose's words; null: it says nothing but its last line.</summary>
    private static string? FailureOf(Step step, Exception e) => step.Kind switch
    {
        StepKind.Create or StepKind.Recreate => e.Message,
        StepKind.Stop => "Error while Stopping",
        StepKind.Remove => "Error while Removing",
        StepKind.Start or StepKind.Restart or StepKind.RemoveImage or StepKind.RemoveVolume or StepKind.Wait => null,
        _ => "Error",
    };

    private async Task DoAsync(Step step, CancellationToken cancellationToken)
    {
        var title = Title(step);
        switch (step.Kind)
        {
            case StepKind.CreateNetwork:
                progress(title, "Creating", WorkState.Working);
                await CreateNetworkAsync(step.Key, cancellationToken).ConfigureAwait(false);
                progress(title, "Created", WorkState.Done);
                break;
            case StepKind.CreateVolume:
                progress(title, "Creating", WorkState.Working);
                await CreateVolumeAsync(step.Key, cancellationToken).ConfigureAwait(false);
                progress(title, "Created", WorkState.Done);
                break;
            case StepKind.Create:
                progress(title, "Creating", WorkState.Working);
                await CreateAsync(step, step.Subject, null, cancellationToken).ConfigureAwait(false);
                progress(title, "Created", WorkState.Done);
                break;
            case StepKind.Recreate:
                progress(title, "Recreate", WorkState.Working);
                await RecreateAsync(step, cancellationToken).ConfigureAwait(false);
                progress(title, "Recreated", WorkState.Done);
                break;
            case StepKind.Start:
                progress(title, "Starting", WorkState.Working);
                await StartAsync(step, cancellationToken).ConfigureAwait(false);
                progress(title, "Started", WorkState.Done);
                break;
            case StepKind.Stop:
                progress(title, "Stopping", WorkState.Working);
                await StopAsync(step, cancellationToken).ConfigureAwait(false);
                progress(title, "Stopped", WorkState.Done);
                break;
            case StepKind.Restart:
                progress(title, "Restarting", WorkState.Working);
                await RestartAsync(step, cancellationToken).ConfigureAwait(false);
                progress(title, "Started", WorkState.Done);
                break;
            case StepKind.Remove:
                progress(title, "Removing", WorkState.Working);
                await TolerateAsync(404, client.RemoveContainerAsync(step.Container!.Id, force: true, volumes: step.Volumes, cancellationToken: cancellationToken)).ConfigureAwait(false);
                progress(title, "Removed", WorkState.Done);
                break;
            case StepKind.Wait:
                await WaitAsync(step, cancellationToken).ConfigureAwait(false);
                break;
            case StepKind.RemoveNetwork:
                await RemoveNetworkAsync(title, step.Subject, cancellationToken).ConfigureAwait(false);
                break;
            case StepKind.RemoveVolume:
                await RemoveAsync(title, client.RemoveVolumeAsync(step.Subject, force: true, cancellationToken: cancellationToken)).ConfigureAwait(false);
                break;
            case StepKind.RemoveImage:
                await RemoveAsync(title, client.RemoveImageAsync(step.Subject, cancellationToken: cancellationToken)).ConfigureAwait(false);
                break;
        }
    }

    private static async Task TolerateAsync(int status, Task task)
    {
        try
        {
            await task.ConfigureAwait(false);
        }
        catch (EngineApiException e) when (e.Status == status)
        {
        }
    }

    private async Task RemoveAsync(string title, Task task)
    {
        progress(title, "Removing", WorkState.Working);
        try
        {
            await task.ConfigureAwait(false);
            progress(title, "Removed", WorkState.Done);
        }
        catch (EngineApiException e) when (e.Status == 409)
        {
            progress(title, "Resource is still in use", WorkState.Warning);
        }
        catch (EngineApiException e) when (e.Status == 404)
        {
            progress(title, "Warning: No resource found to remove", WorkState.Done);
        }
    }

    private async Task RemoveNetworkAsync(string title, string name, CancellationToken cancellationToken)
    {
        progress(title, "Removing", WorkState.Working);
        try
        {
            await client.RemoveNetworkAsync(observed.Networks.TryGetValue(name, out var there) ? there.Id : name, cancellationToken).ConfigureAwait(false);
            progress(title, "Removed", WorkState.Done);
        }
        catch (EngineApiException e) when (e.Status is 403 or 409)
        {
            progress(title, "Resource is still in use", WorkState.Warning);
        }
        catch (EngineApiException e) when (e.Status == 404)
        {
            progress(title, "No resource found to remove", WorkState.Warning);
        }
    }

    // ---- networks and volumes

    private async Task CreateNetworkAsync(string key, CancellationToken cancellationToken)
    {
        var network = project!.Networks[key];
        var labels = network.TextsOf("labels");
        labels[Labels.Network] = key;
        labels[Labels.Project] = project.Name;
        labels[Labels.Version] = Labels.CompatibleVersion;
        labels[Labels.ConfigHash] = ModelJson.NetworkHash(network);
        IPAM? ipam = null;
        if (network.Get("ipam") is { } wanted && (wanted.TextOf("driver").Length > 0 || wanted.ListOf("config").Count > 0))
        {
            ipam = new IPAM { Driver = wanted.TextOf("driver") };
            var pools = new List<IPAMConfig>();
            foreach (var pool in wanted.ListOf("config"))
                pools.Add(new IPAMConfig { Subnet = pool.TextOf("subnet"), IPRange = pool.TextOf("ip_range"), Gateway = pool.TextOf("gateway"), AuxiliaryAddresses = pool.TextsOf("aux_addresses") });
            ipam.Config = [.. pools];
        }
        try
        {
            await client.CreateNetworkAsync(new NetworkCreateRequest
            {
                Name = network.TextOf("name"), Driver = network.TextOf("driver"), Options = network.TextsOf("driver_opts"), Internal = network.BoolOf("internal"), Attachable = network.BoolOf("attachable"), IPAM = ipam, Labels = labels,
                EnableIPv4 = network.Get("enable_ipv4") is { } v4 ? v4.Bool : null, EnableIPv6 = network.Get("enable_ipv6") is { } v6 ? v6.Bool : null,
            }, cancellationToken).ConfigureAwait(false);
        }
        catch (EngineApiException e) when (e.Status != 409) // another `up` of the same project was quicker
        {
            throw new ComposeException($"failed to create network {network.TextOf("name")}: {e.Message}");
        }
    }

    private async Task CreateVolumeAsync(string key, CancellationToken cancellationToken)
    {
        var volume = project!.Volumes[key];
        var labels = volume.TextsOf("labels");
        labels[Labels.Volume] = key;
        labels[Labels.Project] = project.Name;
        labels[Labels.Version] = Labels.CompatibleVersion;
        labels[Labels.ConfigHash] = ModelJson.VolumeHash(volume);
        await client.CreateVolumeAsync(new VolumeCreateRequest { Name = volume.TextOf("name"), Driver = volume.TextOf("driver"), DriverOpts = volume.TextsOf("driver_opts"), Labels = labels }, cancellationToken).ConfigureAwait(false);
    }

    // ---- containers

    private string IdOf(string service) => _ids.Where(e => e.Key.StartsWith(service + "/", StringComparison.Ordinal)).OrderBy(e => int.Parse(e.Key.AsSpan(service.Length + 1), NumberStyles.None, CultureInfo.InvariantCulture)).Select(e => e.Value).FirstOrDefault()
        ?? throw new ComposeException($"cannot share namespaces or volumes with service {service}: container missing");

    private async Task<string> CreateAsync(Step step, string name, ServiceContainer? inherit, CancellationToken cancellationToken)
    {
        var config = Reconcile.Resolved(project!.Services[step.Key], IdOf);
        var spec = new ContainerSpec(project, step.Key, config, step.Number, Separator) { Warn = warn, Inherit = RenewVolumes ? null : inherit?.Summary };
        if ((observed.Images.GetValueOrDefault(ImageDigests.FullName(spec.Image)) ?? observed.Images.GetValueOrDefault(spec.Image)) is not { } image) throw new ComposeException($"No such image: {spec.Image}");
        IReadOnlyCollection<string> volumes = [];
        if (spec.Inherit?.Mounts.Length > 0) volumes = (await client.InspectImageAsync(image.Id, cancellationToken).ConfigureAwait(false)).Config?.Volumes ?? [];
        spec = spec with { ImageId = image.Id, ImageVolumes = volumes, Links = Links(config, step.Number) };
        if (inherit is not null) spec.MoreLabels[Labels.Replace] = config.TextOf("container_name") is { Length: > 0 } own ? own : $"{step.Key}{Separator}{step.Number}";
        var created = await client.CreateContainerAsync(spec.Request(), name, config.TextOf("platform") is { Length: > 0 } platform ? platform : null, cancellationToken).ConfigureAwait(false);
        foreach (var warning in created.Warnings) warn($"{step.Key}: {warning}");
        return _ids[step.Key + "/" + step.Number.ToString(CultureInfo.InvariantCulture)] = created.Id;
    }

    /// <summary>A container of `run`: of a service, but not one of its containers.</summary>
    public async Task<string> CreateOneOffAsync(string service, OneOff wishes, CancellationToken cancellationToken)
    {
        foreach (var container in observed.Containers)
            if (!container.OneOff) _ids[container.Service + "/" + container.Number.ToString(CultureInfo.InvariantCulture)] = container.Id;
        foreach (var key in project!.Networks.Keys)
            if (!observed.Networks.ContainsKey(project.Networks[key].TextOf("name")) && !project.Networks[key].BoolOf("external")) await CreateNetworkAsync(key, cancellationToken).ConfigureAwait(false);
        foreach (var key in project.Volumes.Keys)
            if (!observed.Volumes.ContainsKey(project.Volumes[key].TextOf("name")) && !project.Volumes[key].BoolOf("external")) await CreateVolumeAsync(key, cancellationToken).ConfigureAwait(false);
        var config = wishes.Apply(Reconcile.Resolved(project.Services[service], IdOf).Clone());
        var slug = Convert.ToHexStringLower(System.Security.Cryptography.RandomNumberGenerator.GetBytes(32));
        var spec = new ContainerSpec(project, service, config, 0, Separator) { Warn = warn, Aliases = wishes.Aliases, Links = Links(config, 1) };
        var name = wishes.Name.Length > 0 ? wishes.Name : string.Join(Separator, project.Name, service, "run", slug[..12]);
        config["container_name"] = Node.Of(name);
        spec.MoreLabels[Labels.OneOff] = "True";
        spec.MoreLabels[Labels.Slug] = slug;
        foreach (var label in wishes.Labels)
        {
            var equals = label.IndexOf('=');
            spec.MoreLabels[equals < 0 ? label : label[..equals]] = equals < 0 ? "" : label[(equals + 1)..];
        }
        var image = observed.Images.GetValueOrDefault(ImageDigests.FullName(spec.Image)) ?? observed.Images.GetValueOrDefault(spec.Image) ?? throw new ComposeException($"No such image: {spec.Image}");
        var request = (spec with { ImageId = image.Id }).Request();
        request.Tty = wishes.Tty;
        request.OpenStdin = request.AttachStdin = request.StdinOnce = wishes.Interactive;
        request.HostConfig!.AutoRemove = wishes.AutoRemove;
        request.HostConfig.RestartPolicy = new RestartPolicy();
        var created = await client.CreateContainerAsync(request, name, config.TextOf("platform") is { Length: > 0 } platform ? platform : null, cancellationToken).ConfigureAwait(false);
        foreach (var warning in created.Warnings) warn($"{service}: {warning}");
        await InjectAsync(created.Id, config, "secrets", project.Secrets, "/run/secrets/", cancellationToken).ConfigureAwait(false);
        await InjectAsync(created.Id, config, "configs", project.Configs, "/", cancellationToken).ConfigureAwait(false);
        return created.Id;
    }

    private List<string> Links(Node config, int number)
    {
        var links = new List<string>();
        foreach (var link in config.StringsOf("links"))
        {
            var (service, alias) = Cut(link);
            foreach (var key in _ids.Keys.Where(k => k.StartsWith(service + "/", StringComparison.Ordinal)).Order(StringComparer.Ordinal))
            {
                var container = project!.Services.TryGetValue(service, out var other) ? ContainerSpec.NameOf(project, service, other, int.Parse(key.AsSpan(service.Length + 1), CultureInfo.InvariantCulture), Separator) : service;
                links.Add($"{container}:{alias}");
                links.Add($"{container}:{service}{Separator}{number}");
                links.Add($"{container}:{project!.Name}{Separator}{service}{Separator}{number}");
            }
        }
        foreach (var link in config.StringsOf("external_links"))
        {
            var (container, alias) = Cut(link);
            links.Add($"{container}:{alias}");
        }
        return links;

        static (string, string) Cut(string link) => link.Split(':') is [var name, var alias] ? (name, alias) : (link.Split(':')[0], link.Split(':')[0]);
    }

    private async Task RecreateAsync(Step step, CancellationToken cancellationToken)
    {
        var old = step.Container!;
        var name = ContainerSpec.NameOf(project!, step.Key, project!.Services[step.Key], step.Number, Separator);
        var temporary = $"{old.Id[..12]}_{name}";
        var id = await CreateAsync(step, temporary, old, cancellationToken).ConfigureAwait(false);
        await RunHooksAsync(step.Key, "pre_stop", old, cancellationToken).ConfigureAwait(false);
        await client.StopContainerAsync(old.Id, null, TimeoutSeconds, cancellationToken).ConfigureAwait(false);
        await TolerateAsync(404, client.RemoveContainerAsync(old.Id, cancellationToken: cancellationToken)).ConfigureAwait(false);
        await client.RenameContainerAsync(id, name, cancellationToken).ConfigureAwait(false);
    }

    private async Task StartAsync(Step step, CancellationToken cancellationToken)
    {
        var id = _ids[step.Key + "/" + step.Number.ToString(CultureInfo.InvariantCulture)];
        if (step.Container?.State == "paused") await client.UnpauseContainerAsync(id, cancellationToken).ConfigureAwait(false);
        var service = project!.Services[step.Key];
        await InjectAsync(id, service, "secrets", project.Secrets, "/run/secrets/", cancellationToken).ConfigureAwait(false);
        await InjectAsync(id, service, "configs", project.Configs, "/", cancellationToken).ConfigureAwait(false);
        if (Starting is not null && step.Container?.State != "paused") await Starting(step.Key, step.Subject, id).ConfigureAwait(false);
        await client.StartContainerAsync(id, cancellationToken: cancellationToken).ConfigureAwait(false);
        foreach (var hook in service.ListOf("post_start")) await HookAsync(id, step.Subject, hook, cancellationToken).ConfigureAwait(false);
    }

    private async Task StopAsync(Step step, CancellationToken cancellationToken)
    {
        await RunHooksAsync(step.Key, "pre_stop", step.Container!, cancellationToken).ConfigureAwait(false);
        await TolerateAsync(404, client.StopContainerAsync(step.Container!.Id, null, TimeoutSeconds, cancellationToken)).ConfigureAwait(false);
    }

    private async Task RestartAsync(Step step, CancellationToken cancellationToken)
    {
        var container = step.Container!;
        await RunHooksAsync(step.Key, "pre_stop", container, cancellationToken).ConfigureAwait(false);
        await client.RestartContainerAsync(container.Id, null, TimeoutSeconds, cancellationToken).ConfigureAwait(false);
        if (project?.Services.TryGetValue(step.Key, out var service) != true) return;
        foreach (var hook in service!.ListOf("post_start")) await HookAsync(container.Id, container.Name, hook, cancellationToken).ConfigureAwait(false);
    }

    private async Task RunHooksAsync(string service, string kind, ServiceContainer container, CancellationToken cancellationToken)
    {
        if (project is null || !project.Services.TryGetValue(service, out var config) || container.State != "running") return;
        foreach (var hook in config.ListOf(kind)) await HookAsync(container.Id, container.Name, hook, cancellationToken).ConfigureAwait(false);
    }

    private async Task HookAsync(string id, string name, Node hook, CancellationToken cancellationToken)
    {
        List<string> env = [];
        foreach (var (key, value) in hook.MapOf("environment")) env.Add(value.IsNull ? key : $"{key}={value.Text}");
        var exec = await client.CreateExecAsync(id, new ExecCreateRequest
        {
            User = hook.TextOf("user"), Privileged = hook.BoolOf("privileged"), Env = [.. env], WorkingDir = hook.TextOf("working_dir"), Cmd = hook.StringsOf("command"), AttachStdout = true, AttachStderr = true,
        }, cancellationToken).ConfigureAwait(false);
        using (var stream = await client.StartExecAsync(exec, new ExecStartRequest(), cancellationToken).ConfigureAwait(false))
        {
            using var output = new MemoryStream();
            await StdFrame.DemultiplexAsync(stream, output, output, cancellationToken).ConfigureAwait(false);
            if (output.Length > 0) HookOutput?.Invoke(name + " ->", Encoding.UTF8.GetString(output.ToArray()));
        }
        var result = await client.InspectExecAsync(exec, cancellationToken).ConfigureAwait(false);
        if (result.ExitCode is > 0 and var code) throw new ComposeException($"{name} hook exited with status {code}", code);
    }

    /// <summary>Secrets and configs whose content is no file of this machine are written into the container.</summary>
    private async Task InjectAsync(string id, Node service, string kind, Dictionary<string, Node> defined, string directory, CancellationToken cancellationToken)
    {
        foreach (var reference in service.ListOf(kind))
        {
            var definition = defined[reference.TextOf("source")];
            var content = definition.TextOf("content");
            if (content.Length == 0 && definition.TextOf("environment") is { Length: > 0 } variable)
                content = project!.Environment.GetValueOrDefault(variable) ?? throw new ComposeException($"environment variable {GoText.Quote(variable)} required by {kind[..^1]} {GoText.Quote(definition.TextOf("name"))} is not set");
            if (content.Length == 0) continue;
            if (service.BoolOf("read_only")) throw new ComposeException($"cannot create {kind[..^1]} {GoText.Quote(definition.TextOf("name"))} in read-only service: `file` is the sole supported option");
            using var tar = new MemoryStream();
            await using (var writer = new TarWriter(tar, TarEntryFormat.Pax, leaveOpen: true))
            {
                var entry = new PaxTarEntry(TarEntryType.RegularFile, ContainerSpec.Target(reference, directory).TrimStart('/'))
                {
                    DataStream = new MemoryStream(Encoding.UTF8.GetBytes(content)), Mode = (UnixFileMode)(reference.Get("mode") is { } mode ? mode.Int : 0b100_100_100),
                    Uid = int.TryParse(reference.TextOf("uid"), out var uid) ? uid : 0, Gid = int.TryParse(reference.TextOf("gid"), out var gid) ? gid : 0,
                };
                await writer.WriteEntryAsync(entry, cancellationToken).ConfigureAwait(false);
            }
            tar.Position = 0;
            await client.ExtractArchiveAsync(id, "/", tar, copyOwner: reference.TextOf("uid").Length > 0 || reference.TextOf("gid").Length > 0, cancellationToken).ConfigureAwait(false);
        }
    }

    // ---- waiting

    private async Task WaitAsync(Step step, CancellationToken cancellationToken)
    {
        var ids = _ids.Where(e => e.Key.StartsWith(step.Key + "/", StringComparison.Ordinal)).Select(e => e.Value).ToList();
        try
        {
            await Task.WhenAll(ids.Select(id => WaitForAsync(id, step.Condition, cancellationToken))).ConfigureAwait(false);
        }
        catch (ComposeException e) when (step.Optional)
        {
            warn($"optional dependency {GoText.Quote(step.Key)} failed to start: {e.Message}");
        }
    }

    private async Task WaitForAsync(string id, string condition, CancellationToken cancellationToken)
    {
        // What happens after this line is an event, what happened before is in the container's state: nothing falls between.
        using var events = await client.BeginEventsAsync(new Filters().Add("container", id).Add("event", "health_status").Add("event", "die").Add("event", "start").Add("event", "destroy"), cancellationToken).ConfigureAwait(false);
        var inspect = await client.InspectContainerAsync(id, cancellationToken).ConfigureAwait(false);
        var title = "Container " + inspect.Name.TrimStart('/');
        progress(title, "Waiting", WorkState.Working);
        if (Met(inspect, condition, title)) return;
        await foreach (var _ in EngineClient.ReadEventsAsync(events, cancellationToken).ConfigureAwait(false))
            if (Met(await client.InspectContainerAsync(id, cancellationToken).ConfigureAwait(false), condition, title)) return;
        throw new ComposeException($"the engine ended its events while {title} was waited for");
    }

    private bool Met(ContainerInspect container, string condition, string title)
    {
        try
        {
            return IsMet(container, condition, title);
        }
        catch (ComposeException e)
        {
            if (condition != "running_or_healthy") progress(title, condition == "completed" ? e.Message : "Error", WorkState.Error);
            throw;
        }
    }

    private bool IsMet(ContainerInspect container, string condition, string title)
    {
        var name = container.Name.TrimStart('/');
        var state = container.State;
        if (condition == "completed")
        {
            if (state.Status != "exited") return false;
            if (state.ExitCode != 0) throw new ComposeException($"service {GoText.Quote(container.Config.Labels?.GetValueOrDefault(Labels.Service) ?? name)} didn't complete successfully: exit {state.ExitCode}");
            progress(title, "Exited", WorkState.Done);
            return true;
        }
        var prefix = condition == "healthy" ? "dependency failed to start: " : "";
        if (state.Status == "exited") throw new ComposeException($"{prefix}container {name} exited ({state.ExitCode})");
        if (state.Health is not { Status: not "none" } health)
        {
            if (condition == "healthy") throw new ComposeException($"{prefix}container {name} has no healthcheck configured");
            if (state.Status != "running") return false;
            progress(title, "Healthy", WorkState.Done);
            return true;
        }
        if (health.Status == "unhealthy") throw new ComposeException($"{prefix}container {name} is unhealthy");
        if (health.Status != "healthy") return false;
        progress(title, "Healthy", WorkState.Done);
        return true;
    }
}
