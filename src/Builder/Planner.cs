using System.Globalization;
using System.Text;
using Berth.Api.Go;
using Berth.Dockerfile;
using Berth.Engine;
using Berth.Images;

namespace Berth.Builder;

/// <summary>
/// From a Dockerfile to a plan: follows the target backwards through the stages it needs, and nothing else. Knows images by their configurations only and touches no
/// file, so that a plan is a function of its input.
/// </summary>
/// <param name="resolve">An image that is no stage: its configuration. Called once for each.</param>
/// <param name="shared">What the same build does for other platforms; null: nothing.</param>
public sealed class Planner(Document document, BuildRequest request, Func<string, Platform, LineSpan, Task<Image>> resolve, StepTable? shared = null)
{
    private const string DefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    private static readonly string[] ProxyNames = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

    private readonly Checks _checks = new(CheckOptions.Parse(document.Directives.Check ?? ""));
    private readonly Dictionary<string, string> _global = new(StringComparer.Ordinal);
    private readonly Dictionary<int, StageState> _stages = [];
    private readonly Dictionary<(string, Platform), Task<Image>> _images = [];
    private readonly List<(string Text, BuildStep? Step)> _instructions = [];
    private readonly ContextStep _context = One(shared, new ContextStep { Title = "[internal] load build context" });
    private readonly Dictionary<string, BuildStep> _contexts = new(StringComparer.Ordinal);

    private static T One<T>(StepTable? table, T step) where T : BuildStep => table is null ? step : table.One(step);

    private T One<T>(T step) where T : BuildStep => One(shared, step);

    /// <summary>What the checks have found so far.</summary>
    public IReadOnlyList<Finding> Findings => _checks.Findings;

    /// <exception cref="DockerfileException">With the lines it is about.</exception>
    public async Task<BuildPlan> PlanAsync()
    {
        _checks.CheckText(document);
        DefineGlobals();
        CheckDefaults();
        foreach (var stage in document.Stages) CheckFrom(stage);
        Foresee(TargetIndex(), request.Platform, []);
        var target = await BuildAsync(TargetIndex(), request.Platform).ConfigureAwait(false);
        _checks.ThrowIfFatal();
        var labels = new Dictionary<string, string>(target.Config.Labels ?? new Dictionary<string, string>());
        foreach (var (name, value) in request.Labels) labels[name] = value;
        return new BuildPlan
        {
            Root = target.Root, Base = target.Base, Config = target.Config with { Labels = labels.Count > 0 ? labels : target.Config.Labels }, Author = target.Author, History = target.History,
            Platform = target.Platform, Checks = _checks, Instructions = _instructions,
        };
    }

    private int TargetIndex()
    {
        var stages = document.Stages;
        if (request.Target.Length == 0) return stages.Count - 1;
        for (var i = stages.Count - 1; i >= 0; i--)
            if (stages[i].Name.Equals(request.Target, StringComparison.OrdinalIgnoreCase)) return i;
        if (int.TryParse(request.Target, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            return number < stages.Count ? number : throw new DockerfileException($"invalid stage index {number}");
        throw new DockerfileException($"target stage {GoText.Quote(request.Target)} could not be found{Suggestion.For(request.Target, stages.Where(s => s.Name.Length > 0).Select(s => s.Name), ignoreCase: true)}");
    }

    // What FROM may use: the platforms, and the ARGs before the first FROM.
    private void DefineGlobals()
    {
        Define("BUILD", Platform.Host);
        Define("TARGET", request.Platform);
        _global["TARGETSTAGE"] = request.Target.Length > 0 ? request.Target : document.Stages[^1].Name.Length > 0 ? document.Stages[^1].Name : "default";
        foreach (var argument in document.Arguments.SelectMany(a => a.Arguments.Select(b => (a.Lines, Argument: b))))
        {
            var value = request.Arguments.TryGetValue(argument.Argument.Name, out var given) ? given
                : argument.Argument.Value is { } text ? Within(argument.Lines, () => Expander(document.Directives.Escape, Global).Expand(text).Text) : null;
            if (value is not null) _global[argument.Argument.Name] = value;
        }

        void Define(string prefix, Platform platform)
        {
            _global[prefix + "PLATFORM"] = platform.ToString();
            _global[prefix + "OS"] = platform.Os;
            _global[prefix + "OSVERSION"] = platform.OsVersion;
            _global[prefix + "ARCH"] = platform.Architecture;
            _global[prefix + "VARIANT"] = platform.Variant;
        }
    }

    private string? Global(string name) => _global.GetValueOrDefault(name);

    private static WordExpander Expander(char escape, Func<string, string?> lookup) => new(escape, lookup);

    // Asks for the images of all stages that will be needed at once; planning comes to one after the other. What is wrong with a stage is said when it is planned.
    private void Foresee(int index, Platform platform, HashSet<int> seen)
    {
        if (!seen.Add(index)) return;
        var stage = document.Stages[index];
        try
        {
            var name = Expander(document.Directives.Escape, Global).Expand(stage.Base).Text;
            if (stage.Platform.Length > 0) platform = Platform.Parse(Expander(document.Directives.Escape, Global).Expand(stage.Platform).Text);
            if (stage.Name.Length > 0 && FindContext(stage.Name, platform) is not null) return;
            if (FindStage(name, index) is { } from) Foresee(from, platform, seen);
            else if (name is not ("" or "scratch") && FindContext(name, platform) is null) _ = ResolveAsync(name, platform, stage.Lines);
        }
        catch (Exception e) when (e is DockerfileException or ImageException)
        {
            return;
        }
        foreach (var instruction in stage.Instructions)
        {
            if (instruction is not CopyInstruction { From: { Length: > 0 } source }) continue;
            if (FindStage(source, index) is { } named) Foresee(named, request.Platform, seen);
            else if (int.TryParse(source, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number < index) Foresee(number, request.Platform, seen);
        }
    }

    private async Task<StageState> BuildAsync(int index, Platform platform)
    {
        if (_stages.TryGetValue(index, out var built)) return built;
        var stage = document.Stages[index];
        var expansion = Within(stage.Lines, () => Expander(document.Directives.Escape, Global).Expand(stage.Base));
        if (expansion.Text.Length == 0) throw new DockerfileException($"base name ({stage.Base}) should not be blank", stage.Lines);
        var wanted = platform;
        if (stage.Platform.Length > 0)
        {
            var text = Within(stage.Lines, () => Expander(document.Directives.Escape, Global).Expand(stage.Platform));
            if (text.Text.Length == 0) throw new DockerfileException($"empty platform value from expression {stage.Platform}", stage.Lines);
            wanted = Within(stage.Lines, () => Platform.Parse(text.Text));
        }
        var state = new StageState(stage, document.Stages.Count > 1 && stage.Name.Length == 0 ? $"stage-{index}" : stage.Name) { Platform = wanted, ShowsPlatform = request.IsMultiPlatform };
        state.NoCache = request.NoCache || request.NoCacheStages.Contains(stage.Name, StringComparer.OrdinalIgnoreCase);
        if (stage.Name.Length > 0 && FindContext(stage.Name, wanted) is { } instead)
        {
            // The stage as a whole is something else: what it says does not happen.
            state.StepCount = 1;
            await UseContextAsync(state, stage.Name, instead, wanted).ConfigureAwait(false);
            if (state.IsOnImage) state.Root = One(new ImageStep(state.Base!) { Title = $"[context {stage.Name}] {instead.ImageName}", Text = stage.Text, Lines = stage.Lines });
            foreach (var variable in state.Config.Env ?? []) state.Set(variable.Split('=', 2)[0], variable.Split('=', 2) is [_, var value] ? value : "");
            return _stages[index] = state;
        }
        if (FindStage(expansion.Text, index) is { } from) state.Inherit(await BuildAsync(from, request.Platform).ConfigureAwait(false));
        else if (expansion.Text != "scratch" && FindContext(expansion.Text, wanted) is { } context) await UseContextAsync(state, expansion.Text, context, wanted).ConfigureAwait(false);
        else if (expansion.Text == "scratch") (state.Root, state.Config) = (One(new ScratchStep()), new ContainerConfig { WorkingDir = "/" });
        else await UseImageAsync(state, expansion.Text, wanted).ConfigureAwait(false);

        if (ConfigChanges.Variable(state.Config.Env ?? [], "PATH") is null) state.Config = state.Config with { Env = [.. state.Config.Env ?? [], DefaultPath] };
        foreach (var variable in state.Config.Env!) state.Set(variable.Split('=', 2)[0], variable.Split('=', 2) is [_, var value] ? value : "");
        var instructions = new List<Instruction>(Triggers(state, stage));
        instructions.AddRange(stage.Instructions);
        state.StepCount = (state.IsOnImage ? 1 : 0) + instructions.Count(i => i is RunInstruction or TransferInstruction or WorkdirInstruction);
        if (state.IsOnImage) state.Root = One(new ImageStep(state.Base!) { Title = state.NextTitle("FROM " + (ImageReference.TryParse(expansion.Text, out var reference) ? reference.WithDefaultTag().ToString() : expansion.Text)), Text = stage.Text, Lines = stage.Lines });
        _instructions.Add((stage.Text, state.IsOnImage ? state.Root : null));
        foreach (var instruction in instructions)
        {
            try
            {
                var before = state.Root;
                await ApplyAsync(state, instruction, index).ConfigureAwait(false);
                _instructions.Add((instruction.Text, state.Root == before ? null : state.Root));
            }
            catch (DockerfileException e) when (e.Lines is null)
            {
                throw new DockerfileException(e.Message, instruction.Lines);
            }
        }
        return _stages[index] = state;
    }

    // What the base image says is to happen in whatever is built on it.
    private static List<Instruction> Triggers(StageState state, Stage stage)
    {
        var triggers = new List<Instruction>();
        if (state.IsOnImage)
        {
            foreach (var trigger in state.Config.OnBuild ?? [])
                triggers.AddRange(Within(stage.Lines, () => Document.ParseInstructions(trigger)).Select(i => i with { Lines = stage.Lines }));
        }
        state.Config = state.Config with { OnBuild = null };
        return triggers;
    }

    private async Task UseImageAsync(StageState state, string name, Platform platform)
    {
        var image = await ResolveAsync(name, platform, state.Stage.Lines).ConfigureAwait(false);
        state.Use(image);
        if (!platform.Accepts(image.Platform) && (request.PlatformGiven || state.Stage.Platform.Length > 0))
            _checks.Report(CheckRule.InvalidBaseImagePlatform, $"Base image {name} was pulled with platform {GoText.Quote(image.Platform.ToString())}, expected {GoText.Quote(platform.ToString())} for current build", state.Stage.Lines, state.Stage.Comments);
    }

    private NamedContext? FindContext(string name, Platform platform)
    {
        if (request.Contexts.Count == 0) return null;
        if (ImageReference.TryParse(name, out var reference)) name = reference.FamiliarString is var familiar && familiar.EndsWith(":latest", StringComparison.Ordinal) ? familiar[..^":latest".Length] : familiar;
        return request.Contexts.TryGetValue($"{name}::{platform}", out var found) || request.Contexts.TryGetValue(name, out found) ? found : null;
    }

    private BuildStep ContextOf(string name, NamedContext context)
    {
        var key = context.Remote?.Name ?? context.Directory;
        if (_contexts.TryGetValue(key, out var step)) return step;
        return _contexts[key] = context.Remote switch
        {
            null => One(new ContextStep(context.Directory) { Title = $"[context {name}] load from client" }),
            { Git: { } git } => One(new GitStep(git, git.KeepGitDirectory ?? false) { Title = "[internal] load git source " + context.Remote.Name }),
            var file => One(new DownloadStep(file.Url, file.FileName, file.Checksum) { Title = $"[context {name}] {file.Url}" }),
        };
    }

    private async Task UseContextAsync(StageState state, string name, NamedContext context, Platform platform)
    {
        if (context.Result is { } result) state.Use(result);
        else if (context.ImageName == "scratch") (state.Root, state.Config) = (One(new ScratchStep()), new ContainerConfig { WorkingDir = "/" });
        else if (context.ImageName.Length > 0) state.Use(await ResolveAsync(context.ImageName, platform, state.Stage.Lines).ConfigureAwait(false));
        else
        {
            state.Config = new ContainerConfig { WorkingDir = "/" };
            state.Root = One(new CopyStep(One(new ScratchStep()), ContextOf(name, context)) { Sources = ["/"], Destination = "/", Title = $"[context {name}] FROM {name}", Text = state.Stage.Text, Lines = state.Stage.Lines, NoCache = state.NoCache });
        }
    }

    private Task<Image> ResolveAsync(string name, Platform platform, LineSpan lines)
    {
        if (!_images.TryGetValue((name, platform), out var resolving)) _images[(name, platform)] = resolving = resolve(name, platform, lines);
        return resolving;
    }

    private int? FindStage(string name, int before)
    {
        for (var i = before - 1; i >= 0; i--)
            if (document.Stages[i].Name.Length > 0 && document.Stages[i].Name.Equals(name, StringComparison.OrdinalIgnoreCase)) return i;
        return null;
    }

    private async Task ApplyAsync(StageState state, Instruction written, int index)
    {
        if (written is ArgInstruction argument)
        {
            ApplyArgument(state, argument);
            return;
        }
        var words = new WordExpander(document.Directives.Escape, state.Get);
        var contents = new WordExpander('\\', state.Get) { QuotesAreText = true };
        var instruction = written.Expand(Word, content => Note(contents.Expand(content)), words.Split);
        CheckInstruction(state, instruction);
        switch (instruction)
        {
            case RunInstruction run:
                await ApplyRunAsync(state, run, index).ConfigureAwait(false);
                return;
            case TransferInstruction transfer:
                await ApplyTransferAsync(state, transfer, index).ConfigureAwait(false);
                return;
            case WorkdirInstruction workdir:
                ApplyWorkdir(state, workdir);
                return;
            case MaintainerInstruction maintainer:
                state.Author = maintainer.Maintainer;
                state.Note($"MAINTAINER {maintainer.Maintainer}");
                return;
        }
        state.Config = ConfigChanges.Apply(state.Config, instruction);
        switch (instruction)
        {
            case EnvInstruction env:
                foreach (var (name, value, _) in env.Variables) state.Set(name, value);
                state.Note("ENV " + string.Join(' ', env.Variables.Select(v => $"{v.Name}={v.Value}")));
                break;
            case LabelInstruction label: state.Note("LABEL " + string.Join(' ', label.Labels.Select(v => $"{v.Name}={v.Value}"))); break;
            case CmdInstruction:
                state.CommandSet = true;
                state.Config = state.Config with { ArgsEscaped = true };
                state.Note("CMD " + Quoted(state.Config.Cmd));
                break;
            case EntrypointInstruction:
                if (!state.CommandSet) state.Config = state.Config with { Cmd = null };
                state.Note("ENTRYPOINT " + Quoted(state.Config.Entrypoint));
                break;
            case ExposeInstruction expose:
                CheckPorts(expose);
                state.Note($"EXPOSE [{string.Join(' ', ConfigChanges.ExposedPorts(expose.Ports))}]");
                break;
            case VolumeInstruction volume: state.Note($"VOLUME [{string.Join(' ', volume.Paths)}]"); break;
            case UserInstruction user: state.Note("USER " + user.User); break;
            case StopSignalInstruction stop: state.Note("STOPSIGNAL " + stop.Signal); break;
            case ShellInstruction shell: state.Note($"SHELL [{string.Join(' ', shell.Shell)}]"); break;
            case HealthcheckInstruction check: state.Note("HEALTHCHECK " + Shown(check)); break;
        }

        string Word(string word) => Note(words.Expand(word));

        string Note(Expansion expansion)
        {
            foreach (var missing in expansion.Missing.Where(m => !state.Arguments.Any(a => a.Name == m)))
                _checks.Report(CheckRule.UndefinedVar, $"Usage of undefined variable '${missing}'{(Suggestion.Find(missing, state.Names) is { } near ? $" (did you mean ${near}?)" : "")}", written);
            return expansion.Text;
        }
    }

    private void ApplyArgument(StageState state, ArgInstruction instruction)
    {
        var shown = new List<string>();
        foreach (var argument in instruction.Arguments)
        {
            CheckSecret("ARG", argument.Name, instruction);
            var value = argument.Value is null ? Global(argument.Name) : null;
            if (request.Arguments.TryGetValue(argument.Name, out var given)) value = given;
            else if (argument.Value is { } text) value = new WordExpander(document.Directives.Escape, state.Get).Expand(text).Text;
            if (value is not null) state.Set(argument.Name, value);
            // Declared again it stays where it was: the history counts them in that order.
            var known = state.Arguments.FindIndex(a => a.Name == argument.Name);
            if (known >= 0) state.Arguments[known] = (argument.Name, value);
            else state.Arguments.Add((argument.Name, value));
            shown.Add(value is null ? argument.Name : $"{argument.Name}={value}");
        }
        state.Note("ARG " + string.Join(' ', shown));
    }

    private void ApplyWorkdir(StageState state, WorkdirInstruction workdir)
    {
        if (!state.WorkdirSet && !workdir.Path.StartsWith('/'))
            _checks.Report(CheckRule.WorkdirRelativePath, $"Relative workdir {GoText.Quote(workdir.Path)} can have unexpected results if the base image changes", workdir);
        state.WorkdirSet = true;
        state.Config = ConfigChanges.Apply(state.Config, workdir);
        var path = state.Config.WorkingDir!;
        BuildStep? step = null;
        if (path == "/") state.NextTitle("");
        else step = state.Root = One(new DirectoryStep(state.Root, PathPatterns.Clean(path), state.Config.User ?? "") { Title = state.NextTitle("WORKDIR " + workdir.Path), Text = workdir.Text, Lines = workdir.Lines, NoCache = state.NoCache });
        state.Note("WORKDIR " + path, step);
    }

    private async Task ApplyRunAsync(StageState state, RunInstruction run, int index)
    {
        var (arguments, script) = CommandOf(state, run);
        var mounts = new List<StepMountSource>();
        foreach (var mount in run.Mounts)
        {
            BuildStep? from = null;
            if (mount.From.Length > 0) from = await SourceAsync(state, mount.From, index, run.Lines).ConfigureAwait(false);
            else if (mount.Type == RunMountType.Bind) from = _context;
            mounts.Add(new StepMountSource(mount.Target.Length > 0 && !mount.Target.StartsWith('/') ? mount with { Target = PathPatterns.Clean($"{state.Config.WorkingDir}/{mount.Target}") } : mount, from));
        }
        if (run.Insecure && !request.AllowInsecure) throw new DockerfileException("security.insecure is not allowed");
        var step = One(new RunStep(state.Root)
        {
            Arguments = arguments, Script = script, Environment = state.Environment, WorkingDirectory = state.Config.WorkingDir is { Length: > 0 } directory ? directory : "/", User = state.Config.User ?? "",
            Proxies = [.. request.Arguments.Where(a => ProxyNames.Contains(a.Key.ToLowerInvariant()) && state.Get(a.Key) is null).Select(a => $"{a.Key}={a.Value}")],
            Network = run.Network switch { RunNetwork.None => "none", RunNetwork.Host => "host", _ => request.Network }, Insecure = run.Insecure, Mounts = mounts,
            Title = state.NextTitle(Shown(state, run.Text) + (run.Heredocs.Count > 0 ? $" ({Summary(run.Heredocs[0].Content)})" : "")), Text = run.Text, Lines = run.Lines, NoCache = state.NoCache, Platform = state.Platform,
        });
        state.Root = step;
        var used = state.Arguments.Select(a => $"{a.Name}={state.Get(a.Name) ?? a.Value}").ToList();
        state.Note($"RUN {(used.Count > 0 ? $"|{used.Count} {string.Join(' ', used)} " : "")}{string.Join(' ', arguments)} # buildkit", step);
    }

    // A here-document alone is the command itself: for the shell, or a program of its own when it names its interpreter.
    private static (IReadOnlyList<string> Arguments, InlineFile? Script) CommandOf(StageState state, RunInstruction run)
    {
        var command = run.Command;
        if (run.Heredocs.Count > 0)
        {
            if (command is not { IsShell: true, Arguments: [var line] }) throw new DockerfileException($"parsing produced an invalid run command: [{string.Join(' ', command.Arguments)}]");
            if (line.AsSpan().TrimStart("0123456789").StartsWith("<<") && !line.Contains(' ') && run.Heredocs.Count == 1)
            {
                var text = run.Heredocs[0].Text;
                if (text.StartsWith("#!", StringComparison.Ordinal)) return (ConfigChanges.Line(state.Config, new CommandLine(["/dev/pipes/" + run.Heredocs[0].Name], IsShell: true)), new InlineFile(run.Heredocs[0].Name, text, false));
                command = new CommandLine([text], IsShell: true);
            }
            else command = new CommandLine([string.Concat([line, .. run.Heredocs.Select(h => $"\n{h.Content}{h.Name}")])], IsShell: true);
        }
        return (ConfigChanges.Line(state.Config, command), null);
    }

    private async Task<BuildStep> SourceAsync(StageState state, string name, int index, LineSpan lines)
    {
        if (FindStage(name, index) is { } stage) return (await BuildAsync(stage, request.Platform).ConfigureAwait(false)).Root;
        if (int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
        {
            if (number >= document.Stages.Count) throw new DockerfileException($"invalid stage index {number}");
            if (number >= index) throw new DockerfileException($"cannot copy from stage {GoText.Quote(name)}, it needs to be defined before current stage {GoText.Quote(state.Name)}");
            return (await BuildAsync(number, request.Platform).ConfigureAwait(false)).Root;
        }
        if (document.Stages.Any(s => s.Name.Length > 0 && s.Name.Equals(name, StringComparison.OrdinalIgnoreCase)))
            throw new DockerfileException($"cannot copy from stage {GoText.Quote(name)}, it needs to be defined before current stage {GoText.Quote(state.Name)}");
        if (name == "scratch") return One(new ScratchStep());
        if (FindContext(name, request.Platform) is { } context)
        {
            if (context.Directory.Length > 0 || context.Remote is not null) return ContextOf(name, context);
            if (context.Result is { } result) return One(new ImageStep(result) { Title = $"[context {name}] FROM {name}", Text = "FROM " + name, Lines = lines });
            if (context.ImageName == "scratch") return One(new ScratchStep());
            name = context.ImageName;
        }
        var image = await ResolveAsync(name, request.Platform, lines).ConfigureAwait(false);
        return One(new ImageStep(image) { Title = "FROM " + (ImageReference.TryParse(name, out var reference) ? reference.WithDefaultTag().ToString() : name), Text = "FROM " + name, Lines = lines });
    }

    private async Task ApplyTransferAsync(StageState state, TransferInstruction transfer, int index)
    {
        var copy = transfer as CopyInstruction;
        if (copy is not null && copy.From.Contains('$')) throw new DockerfileException("variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround");
        var add = transfer as AddInstruction;
        var (local, remotes) = (new List<string>(), new List<RemotePart>());
        foreach (var source in transfer.Sources)
        {
            var git = copy is { From.Length: > 0 } ? null : GitSource.TryParse(source);
            if (git is null && !(copy is not { From.Length: > 0 } && RemoteFiles.IsHttp(source))) local.Add(source);
            else if (add is null) throw new DockerfileException($"source can't be a {(git is null ? "URL" : "git ref")} for COPY");
            else remotes.Add(Remote(add, source, git));
        }
        if (add is { Checksum.Length: > 0 })
        {
            if (transfer.Sources.Count + transfer.Files.Count != 1) throw new DockerfileException("checksum can't be specified for multiple sources");
            if (remotes.Count == 0) throw new DockerfileException("checksum requires HTTP(S) or Git sources");
        }
        FileMode.Parse(transfer.Chmod); // told now when it is none
        BuildStep from = copy is { From.Length: > 0 } ? await SourceAsync(state, copy.From, index, transfer.Lines).ConfigureAwait(false) : local.Count > 0 ? _context : One(new ScratchStep());
        if (from == _context) CheckIgnored(transfer, local);
        var destination = transfer.Destination;
        var absolute = PathPatterns.Clean(destination.StartsWith('/') ? destination : $"/{state.Config.WorkingDir}/{destination}");
        if (absolute != "/" && (destination.EndsWith('/') || destination is "." or "" || destination.EndsWith("/.", StringComparison.Ordinal))) absolute += "/";
        if (transfer.Sources.Count + transfer.Files.Count > 1 && !absolute.EndsWith('/'))
            throw new DockerfileException($"When using {(add is null ? "COPY" : "ADD")} with more than one source file, the destination must be a directory and end with a /");
        var step = One(new CopyStep(state.Root, from)
        {
            Sources = local, Remotes = remotes, Files = transfer.Files, Destination = absolute, Owner = transfer.Chown, Mode = transfer.Chmod, Exclude = transfer.Exclude, Parents = copy?.Parents ?? false,
            Unpack = add is not null && (add.Unpack ?? true), IsAdd = add is not null, Title = state.NextTitle(Shown(state, transfer.Text)), Text = transfer.Text, Lines = transfer.Lines, NoCache = state.NoCache,
        });
        state.Root = step;
        var flags = (copy is { Parents: true } ? " --parents" : "") + (transfer.Chown.Length > 0 ? " --chown=" + transfer.Chown : "") + (transfer.Chmod.Length > 0 ? " --chmod=" + transfer.Chmod : "");
        var sources = transfer.Sources.Concat(transfer.Files.Select(f => "<<" + f.Name));
        state.Note($"{(add is null ? "COPY" : "ADD")}{flags} {string.Join(' ', sources)} {transfer.Destination} # buildkit", step);
    }

    private RemotePart Remote(AddInstruction add, string source, GitSource? git)
    {
        if (git is null)
        {
            if (add.Checksum.Length > 0 && !Digest.TryParse(add.Checksum, out _)) throw new DockerfileException("invalid checksum digest format");
            var name = RemoteFiles.NameOf(source);
            return new RemotePart(One(new DownloadStep(source, name, add.Checksum) { Title = source, Text = add.Text, Lines = add.Lines }), name, add.Unpack ?? false);
        }
        if (git.Commit.Length > 0 && add.Checksum.Length > 0 && git.Commit != add.Checksum) throw new DockerfileException($"checksum mismatch {GoText.Quote(add.Checksum)} != {GoText.Quote(git.Commit)}");
        if (add.Checksum.Length > 0) git = git with { Commit = add.Checksum };
        return new RemotePart(One(new GitStep(git, add.KeepGitDirectory ?? git.KeepGitDirectory ?? false) { Title = source, Text = add.Text, Lines = add.Lines }), "/", Unpack: false);
    }

    // With exceptions it is too hard to tell: a directory that is out may have files that are not.
    private void CheckIgnored(TransferInstruction transfer, List<string> sources)
    {
        if (request.Ignored is not { HasExceptions: false } ignored) return;
        foreach (var source in sources)
        {
            var clean = PathPatterns.Clean("/" + source)[1..];
            if (clean.Length == 0 ? !ignored.Matches("x") || !ignored.Matches(".x") : !ignored.Matches(clean)) continue;
            _checks.Report(CheckRule.CopyIgnoredFile, $"Attempting to {(transfer is AddInstruction ? "Add" : "Copy")} file {GoText.Quote(clean.Length == 0 ? "." : clean)} that is excluded by .dockerignore", transfer);
        }
    }

    // Of every stage, needed or not.
    private void CheckFrom(Stage stage)
    {
        try
        {
            CheckUndefined(stage, Expander(document.Directives.Escape, Global).Expand(stage.Base));
            if (stage.Platform.Length == 0) return;
            var platform = Expander(document.Directives.Escape, Global).Expand(stage.Platform);
            CheckUndefined(stage, platform);
            CheckPlatformFlag(stage, platform);
        }
        catch (DockerfileException)
        {
            // Told when the stage is built.
        }
    }

    // What a name would be if nobody gave a build argument.
    private void CheckDefaults()
    {
        var given = new Dictionary<string, string>(_global, StringComparer.Ordinal);
        foreach (var argument in document.Arguments)
        {
            foreach (var one in argument.Arguments)
            {
                given.Remove(one.Name);
                if (one.Value is { } text && TryExpand(text) is { } value) given[one.Name] = value;
            }
        }
        foreach (var stage in document.Stages)
        {
            if (TryExpand(stage.Base) is not { } name) return;
            if (!ImageReference.TryParse(name, out _)) _checks.Report(CheckRule.InvalidDefaultArgInFrom, $"Default value for ARG {stage.Base} results in empty or invalid base image name", stage.Lines, stage.Comments);
        }

        string? TryExpand(string text)
        {
            try
            {
                return Expander(document.Directives.Escape, given.GetValueOrDefault).Expand(text).Text;
            }
            catch (DockerfileException)
            {
                return null; // told when it is built
            }
        }
    }

    private void CheckPorts(ExposeInstruction expose)
    {
        foreach (var port in expose.Ports)
        {
            var protocol = port.Split('/', 2) is [_, var text] ? text : "";
            if (protocol != protocol.ToLowerInvariant()) _checks.Report(CheckRule.ExposeProtoCasing, $"Defined protocol '{port}' in EXPOSE instruction should be lowercase", expose);
            if (port.Contains(':')) _checks.Report(CheckRule.ExposeInvalidFormat, $"EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'", expose);
        }
    }

    private void CheckUndefined(Stage stage, Expansion expansion)
    {
        foreach (var missing in expansion.Missing)
            _checks.Report(CheckRule.UndefinedArgInFrom, $"FROM argument '{missing}' is not declared{Suggestion.For(missing, _global.Keys)}", stage.Lines, stage.Comments);
    }

    private void CheckPlatformFlag(Stage stage, Expansion platform)
    {
        if (platform.Found.SetEquals(["TARGETPLATFORM"]) && platform.Missing.Count == 0 && platform.Text == Global("TARGETPLATFORM"))
            _checks.Report(CheckRule.RedundantTargetPlatform, $"Setting platform to predefined {stage.Platform} in FROM is redundant as this is the default behavior", stage.Lines, stage.Comments);
        if (platform.Found.Count > 0 || platform.Missing.Count > 0 || platform.Text.Split('/') is not [var os, var architecture, ..] || stage.Name.Contains(os, StringComparison.Ordinal) || stage.Name.Contains(architecture, StringComparison.Ordinal)) return;
        _checks.Report(CheckRule.FromPlatformFlagConstDisallowed, $"FROM --platform flag should not use constant value {GoText.Quote(platform.Text)}", stage.Lines, stage.Comments);
    }

    private void CheckInstruction(StageState state, Instruction instruction)
    {
        var pairs = instruction switch { EnvInstruction env => env.Variables, LabelInstruction label => label.Labels, _ => [] };
        foreach (var (name, _, legacy) in pairs)
        {
            var keyword = instruction.Name;
            if (legacy) _checks.Report(CheckRule.LegacyKeyValueFormat, $"\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format", instruction);
            if (instruction is EnvInstruction) CheckSecret("ENV", name, instruction);
        }
        if (instruction is CmdInstruction { Command.IsShell: true } or EntrypointInstruction { Command.IsShell: true } && state.Config.Shell is null or { Count: 0 })
            _checks.Report(CheckRule.JsonArgsRecommended, $"JSON arguments recommended for {instruction.Name} to prevent unintended behavior related to OS signals", instruction);
        if (instruction is CmdInstruction or EntrypointInstruction or HealthcheckInstruction)
        {
            if (state.Once.TryGetValue(instruction.GetType(), out var before))
                _checks.Report(CheckRule.MultipleInstructionsDisallowed, $"Multiple {instruction.Name} instructions should not be used in the same stage because only the last one will be used", before.Lines, instruction.Comments);
            state.Once[instruction.GetType()] = instruction;
        }
    }

    private static readonly string[] Secret = ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"], Harmless = ["public", "file", "version"];

    private void CheckSecret(string keyword, string name, Instruction instruction)
    {
        var words = name.ToLowerInvariant().Split('_');
        if (words.Any(Secret.Contains) && !words.Any(Harmless.Contains))
            _checks.Report(CheckRule.SecretsUsedInArgOrEnv, $"Do not use ARG or ENV instructions for sensitive data ({keyword} {GoText.Quote(name)})", instruction);
    }

    private static string Quoted(IReadOnlyList<string>? arguments) => "[" + string.Join(' ', (arguments ?? []).Select(GoText.Quote)) + "]";

    // As Go prints the structure with %q, the number of retries as a character.
    private static string Shown(HealthcheckInstruction check) =>
        $"&{{{Quoted(check.Test)} {Quoted(check.Interval)} {Quoted(check.Timeout)} {Quoted(check.StartPeriod)} {Quoted(check.StartInterval)} {GoText.QuoteRune(check.Retries)}}}";

    private static string Quoted(long nanoseconds) => GoText.Quote(GoDuration.Format(TimeSpan.FromTicks(nanoseconds / 100)));

    // With its variables put in, as far as they are known, and the instruction in capitals.
    private string Shown(StageState state, string text)
    {
        try
        {
            text = new WordExpander(document.Directives.Escape, state.Get) { KeepQuotes = true, KeepMissing = true, KeepEscapes = true }.Expand(text).Text;
        }
        catch (DockerfileException)
        {
            // It is for the shell to understand.
        }
        var space = text.IndexOf(' ');
        return space < 0 ? text.ToUpperInvariant() : text[..space].ToUpperInvariant() + text[space..];
    }

    private static string Summary(string content)
    {
        var first = content.TrimStart().Split('\n', 2)[0].Trim();
        return (first.Length > 40 ? first[..40] : first) + (content.Trim().Length > first.Length ? "..." : "");
    }

    private static T Within<T>(LineSpan lines, Func<T> work)
    {
        try
        {
            return work();
        }
        catch (DockerfileException e) when (e.Lines is null)
        {
            throw new DockerfileException(e.Message, lines);
        }
        catch (ImageException e)
        {
            throw new DockerfileException(e.Message, lines);
        }
    }

    /// <summary>A stage while its instructions are gone through.</summary>
    private sealed class StageState(Stage stage, string name)
    {
        private readonly Dictionary<string, string> _variables = new(StringComparer.Ordinal);
        private readonly List<string> _names = [];
        private int _step;

        public Stage Stage { get; } = stage;
        public string Name { get; } = name;
        public Platform Platform { get; set; }
        public BuildStep Root { get; set; } = new ScratchStep();
        public Image? Base { get; private set; }

        /// <summary>And not on another stage.</summary>
        public bool IsOnImage { get; private set; }
        public ContainerConfig Config { get; set; } = new();
        public string Author { get; set; } = "";
        public List<PlannedHistory> History { get; } = [];
        public List<(string Name, string? Value)> Arguments { get; } = [];
        public Dictionary<Type, Instruction> Once { get; } = [];
        public int StepCount { get; set; }
        public bool WorkdirSet { get; set; }
        public bool NoCache { get; set; }
        public bool CommandSet { get; set; }

        public string? Get(string variable) => _variables.GetValueOrDefault(variable);

        public IReadOnlyList<string> Names => _names;

        /// <summary>What a command gets: in the order in which they came.</summary>
        public IReadOnlyList<string> Environment => [.. _names.Select(n => $"{n}={_variables[n]}")];

        public void Set(string variable, string value)
        {
            if (_variables.TryAdd(variable, value)) _names.Add(variable);
            else _variables[variable] = value;
        }

        public void Use(Image image)
        {
            (Base, IsOnImage) = (image, true);
            Config = image.Config.Config ?? new ContainerConfig();
            Author = image.Config.Author ?? "";
        }

        public void Inherit(StageState other)
        {
            (Base, Root, Config, Author, WorkdirSet, Platform) = (other.Base, other.Root, other.Config, other.Author, other.WorkdirSet, other.Platform);
            History.AddRange(other.History);
            Arguments.AddRange(other.Arguments);
            foreach (var variable in other._names) Set(variable, other._variables[variable]);
        }

        public void Note(string createdBy, BuildStep? step = null) => History.Add(new PlannedHistory(createdBy, step));

        /// <summary>The image is for one of several: steps say for which.</summary>
        public bool ShowsPlatform { get; init; }

        /// <summary>"[name 2/5] text", or "[linux/amd64->arm64 name 2/5] text" where the target's platform is known and another one.</summary>
        public string NextTitle(string text) => $"[{(ShowsPlatform ? Platform + Towards() + " " : "")}{(Name.Length > 0 ? Name + " " : "")}{++_step}/{StepCount}] {text}";

        private string Towards()
        {
            var parts = Get("TARGETPLATFORM")?.Split('/') ?? [];
            var target = new Platform(Get("TARGETOS") ?? (parts.Length > 1 ? parts[0] : Platform.Os), Get("TARGETARCH") ?? (parts.Length > 1 ? parts[1] : Platform.Architecture),
                Get("TARGETVARIANT") ?? (parts.Length > 2 ? parts[2] : "")).Normalized();
            return target.Os != Platform.Os ? "->" + target : target.Architecture == Platform.Architecture ? "" : "->" + target.ToString()[(target.Os.Length + 1)..];
        }
    }
}
