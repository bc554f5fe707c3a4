using Berth.Api;
using Berth.Cli.CommandLine;
using Berth.Cli.Commands;
using Berth.Cli.Commands.Compose;

namespace Berth.Cli.Completion;

/// <summary>
/// What may stand where the cursor is: commands, flags, and the names of what the engine has. Spoken to by the scripts of
/// "berth completion", with the words so far, the last one unfinished.
/// </summary>
internal sealed class Completer(CommandContext context)
{
    /// <summary>What shells do with the answer (the numbers, which are added up, are those of the Go library docker's scripts come from).</summary>
    public const int Files = 0, NoSpace = 2, NoFiles = 4;

    public sealed record Answer(IReadOnlyList<(string Word, string Summary)> Candidates, int Directive);

    private enum Kind
    {
        Nothing,
        File,
        Container,
        Running,
        Stopped,
        Paused,
        Service,
        Image,
        Network,
        Volume,
        Context,
        AnyObject,
    }

    private static readonly Answer None = new([], NoFiles);

    public async Task<Answer> AnswerAsync(IReadOnlyList<string> words, Flag[] globals)
    {
        var last = words.Count > 0 ? words[^1] : "";
        var before = words.Take(Math.Max(0, words.Count - 1)).ToList();
        var at = 0;
        if (SkipFlags(before, ref at, globals) is { } open) return await ValueAsync(open, "", last);
        if (at >= before.Count) return last.StartsWith('-') ? FlagsOf(globals, last) : Commands(last);
        Command? command;
        var path = before[at++];
        if (CommandTable.Group(path) is { } group)
        {
            if (at >= before.Count) return Members(group, last);
            path += " " + before[at++];
        }
        command = CommandTable.Find(path);
        if (command == ComposeCommand.Command)
        {
            var begin = at;
            if (SkipFlags(before, ref at, ComposeCommand.Globals) is { } global) return await ValueAsync(global, ComposePrefix, last);
            _composeGlobals = before[begin..at];
            if (at >= before.Count) return last.StartsWith('-') ? FlagsOf(ComposeCommand.Globals, last) : Matching(ComposeCommand.All.Where(c => !c.Hidden).Select(c => (c.Name, c.Summary)), last, NoFiles);
            command = ComposeCommand.Find(before[at++]);
            path = ComposePrefix + command?.Name;
        }
        else path = command?.Name ?? "";
        if (command is null || command.ForAnother) return new([], Files);
        var flags = command.Flags();
        var positional = new List<string>();
        while (at < before.Count)
        {
            if (before[at] == "--" || (positional.Count > 0 && !command.Interspersed))
            {
                positional.AddRange(before.Skip(before[at] == "--" ? at + 1 : at));
                at = before.Count;
                break;
            }
            if (before[at].StartsWith('-') && before[at].Length > 1)
            {
                if (SkipFlags(before, ref at, flags) is { } unfinished) return await ValueAsync(unfinished, path, last);
                continue;
            }
            positional.Add(before[at++]);
        }
        var ended = positional.Count > 0 && !command.Interspersed;
        if (last.StartsWith('-') && !ended)
        {
            var equals = last.IndexOf('=');
            if (equals < 0 || flags.FirstOrDefault(f => "--" + f.Name == last[..equals]) is not { } flag) return FlagsOf(flags, last);
            var values = await ValueAsync(flag, path, last[(equals + 1)..]);
            return values with { Candidates = [.. values.Candidates.Select(c => (last[..(equals + 1)] + c.Word, c.Summary))] };
        }
        return await NamesAsync(KindOf(path, positional.Count), last, positional);
    }

    /// <summary>Before the name of a command of compose.</summary>
    private const string ComposePrefix = "compose ";

    /// <summary>Which project: what stands between compose and its command.</summary>
    private List<string> _composeGlobals = [];

    /// <summary>Passes over flags and their values; the flag whose value is still to come, or null.</summary>
    private static Flag? SkipFlags(List<string> words, ref int at, Flag[] flags)
    {
        while (at < words.Count && words[at].StartsWith('-') && words[at].Length > 1 && words[at] != "--")
        {
            var word = words[at++];
            Flag? flag;
            if (word.StartsWith("--", StringComparison.Ordinal))
            {
                if (word.Contains('=')) continue;
                flag = flags.FirstOrDefault(f => f.Name == word[2..]);
            }
            else
            {
                // -itv: the first that takes a value takes the rest, or the next word.
                flag = null;
                for (var i = 1; i < word.Length; i++)
                {
                    if (flags.FirstOrDefault(f => f.Short == word[i]) is not { Kind: not FlagKind.Bool } takes) continue;
                    flag = i == word.Length - 1 ? takes : null;
                    break;
                }
            }
            if (flag is null || flag.Kind == FlagKind.Bool) continue;
            if (at >= words.Count) return flag;
            at++;
        }
        return null;
    }

    private static Answer Commands(string prefix)
    {
        var list = new List<(string, string)>();
        foreach (var command in CommandTable.All)
            if (!command.Hidden && !command.Name.Contains(' ')) list.Add((command.Name, command.Summary));
        foreach (var group in CommandTable.Groups) list.Add((group.Name, group.Summary));
        return Matching(list, prefix, NoFiles);
    }

    private static Answer Members(CommandGroup group, string prefix)
    {
        var list = new List<(string, string)>();
        foreach (var command in CommandTable.All)
            if (!command.Hidden && command.Paths.FirstOrDefault(p => p.StartsWith(group.Name + " ", StringComparison.Ordinal)) is { } path) list.Add((path[(group.Name.Length + 1)..], command.Summary));
        return Matching(list, prefix, NoFiles);
    }

    private static Answer FlagsOf(Flag[] flags, string prefix) => Matching(flags.Where(f => !f.Hidden).Select(f => ("--" + f.Name, f.Help)), prefix, NoFiles);

    private static Answer Matching(IEnumerable<(string Word, string Summary)> all, string prefix, int directive)
    {
        List<(string Word, string Summary)> matching = [.. all.Where(c => c.Word.StartsWith(prefix, StringComparison.Ordinal)).DistinctBy(c => c.Word).OrderBy(c => c.Word, StringComparer.Ordinal)];
        // container:, key= and the like: the word goes on.
        return new(matching, matching.Count > 0 && matching.All(c => c.Word[^1] is ':' or '=') ? directive | NoSpace : directive);
    }

    private async Task<Answer> ValueAsync(Flag flag, string command, string prefix)
    {
        string[]? words = flag.Name switch
        {
            "pull" => ["always", "missing", "never"],
            "restart" => ["always", "no", "on-failure", "unless-stopped"],
            "log-level" => ["debug", "info", "warn", "error", "fatal"],
            "log-driver" => ["fluentd", "gelf", "journald", "json-file", "local", "none", "syslog"],
            "type" when command == "inspect" => ["container", "image", "network", "volume"],
            "format" when command is "ps" or "images" => ["table", "json", "raw", "{{.ID}}"],
            "format" => ["json"],
            "ipc" => ["private", "shareable", "host", "none", "container:"],
            "pid" => ["host", "container:"],
            "platform" => ["linux/amd64", "linux/arm64", "linux/arm/v7"],
            "cap-add" or "cap-drop" => ["ALL", "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"],
            "signal" or "stop-signal" => ["SIGHUP", "SIGINT", "SIGKILL", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2"],
            "driver" when !command.StartsWith(ComposePrefix, StringComparison.Ordinal) => command.StartsWith("volume", StringComparison.Ordinal) ? ["local"] : ["bridge", "ipvlan", "macvlan"],
            _ => null,
        };
        if (words is not null) return Matching(words.Select(w => (w, "")), prefix, NoFiles);
        return flag.Name switch
        {
            "filter" => FilterOf(command, prefix),
            "exit-code-from" or "attach" or "no-attach" or "index" when command.StartsWith(ComposePrefix, StringComparison.Ordinal) => flag.Name == "index" ? None : await NamesAsync(Kind.Service, prefix, []),
            "scale" when command.StartsWith(ComposePrefix, StringComparison.Ordinal) => await ServiceNumbersAsync(prefix),
            "file" or "project-directory" => new([], Files),
            "network" or "net" => await NamesAsync(Kind.Network, prefix, []),
            "context" or "from" => await NamesAsync(Kind.Context, prefix, []),
            "volumes-from" or "link" => await NamesAsync(Kind.Container, prefix, []),
            "volume" or "mount" or "env-file" or "label-file" or "cidfile" or "output" or "input" or "config" or "tlscacert" or "tlscert" or "tlskey" => new([], Files),
            _ => None,
        };
    }

    /// <summary>The keys, each with its equals sign.</summary>
    private static Answer FilterOf(string command, string prefix)
    {
        string[] keys = command switch
        {
            "ps" => ["ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name", "network", "publish", "since", "status", "volume"],
            "images" => ["before", "dangling", "label", "reference", "since", "until"],
            "network ls" => ["dangling", "driver", "id", "label", "name", "scope", "type"],
            "volume ls" => ["dangling", "driver", "label", "name"],
            "events" => ["container", "daemon", "event", "image", "label", "network", "scope", "type", "volume"],
            "search" => ["is-automated", "is-official", "stars"],
            "volume prune" => ["all", "label", "label!"],
            _ when command.EndsWith("prune", StringComparison.Ordinal) => ["label", "label!", "until"],
            _ => [],
        };
        return Matching(keys.Select(k => (k + "=", "")), prefix, NoFiles);
    }

    private async Task<Answer> ServiceNumbersAsync(string prefix) => Matching((await NamesAsync(Kind.Service, "", [])).Candidates.Select(c => (c.Word + "=", c.Summary)), prefix, NoFiles);

    private static Kind KindOf(string command, int position) => command switch
    {
        "compose exec" or "compose run" => position == 0 ? Kind.Service : Kind.File,
        "compose port" or "compose attach" or "compose export" or "compose commit" => position == 0 ? Kind.Service : Kind.Nothing,
        "compose cp" => Kind.File,
        "compose ls" or "compose version" or "compose down" => command == "compose down" ? Kind.Service : Kind.Nothing,
        _ when command.StartsWith(ComposePrefix, StringComparison.Ordinal) => Kind.Service,
        "start" => Kind.Stopped,
        "unpause" => Kind.Paused,
        "attach" or "kill" or "pause" or "stats" or "stop" or "top" or "port" => command is "attach" or "top" or "port" && position > 0 ? Kind.Nothing : Kind.Running,
        "exec" => position == 0 ? Kind.Running : Kind.File,
        "rm" or "restart" or "wait" or "update" or "container inspect" => Kind.Container,
        "logs" or "diff" or "export" or "rename" or "commit" => position == 0 ? Kind.Container : command == "commit" ? Kind.Image : Kind.Nothing,
        "run" or "create" => position == 0 ? Kind.Image : Kind.File,
        "rmi" or "save" or "image inspect" => Kind.Image,
        "history" or "push" or "tag" or "images" => position == 0 ? Kind.Image : Kind.Nothing,
        "network rm" or "network inspect" => Kind.Network,
        "network connect" or "network disconnect" => position == 0 ? Kind.Network : position == 1 ? Kind.Container : Kind.Nothing,
        "volume rm" or "volume inspect" => Kind.Volume,
        "context rm" or "context inspect" => Kind.Context,
        "context use" or "context update" or "context export" => position == 0 ? Kind.Context : Kind.File,
        "inspect" => Kind.AnyObject,
        "cp" or "import" or "man" or "context import" => Kind.File,
        _ => Kind.Nothing,
    };

    private async Task<Answer> NamesAsync(Kind kind, string prefix, List<string> taken)
    {
        if (kind is Kind.Nothing) return None;
        if (kind is Kind.File) return new([], Files);
        var names = new List<(string, string)>();
        try
        {
            if (kind is Kind.Service)
                names.AddRange(ComposeCommand.ServicesOf(context, _composeGlobals));
            if (kind is Kind.Container or Kind.Running or Kind.Stopped or Kind.Paused or Kind.AnyObject)
                foreach (var container in await context.Client.ListContainersAsync(all: kind is not (Kind.Running or Kind.Paused), cancellationToken: context.Cancelled))
                {
                    if (kind == Kind.Paused && container.State != "paused") continue;
                    if (kind == Kind.Stopped && container.State is ("running" or "paused" or "restarting")) continue;
                    foreach (var name in container.Names ?? []) names.Add((name.TrimStart('/'), $"{container.Image}, {container.Status}"));
                }
            if (kind is Kind.Image or Kind.AnyObject)
                foreach (var image in await context.Client.ListImagesAsync(cancellationToken: context.Cancelled))
                    foreach (var tag in image.RepoTags)
                        if (tag != "<none>:<none>") names.Add((tag, ""));
            if (kind is Kind.Network or Kind.AnyObject)
                foreach (var network in await context.Client.ListNetworksAsync(cancellationToken: context.Cancelled)) names.Add((network.Name, network.Driver));
            if (kind is Kind.Volume or Kind.AnyObject)
                foreach (var volume in (await context.Client.ListVolumesAsync(cancellationToken: context.Cancelled)).Volumes) names.Add((volume.Name, volume.Driver));
            if (kind is Kind.Context)
                foreach (var named in context.Connection.Store.List().Append(context.Connection.Find(Connections.DockerContext.Default))) names.Add((named.Name, named.Description));
        }
        catch (Exception e) when (e is EngineConnectionException or EngineApiException or CommandException or UsageException or Compose.ComposeException or IOException or UnauthorizedAccessException)
        {
            // Nobody wants an error between two keys.
        }
        return Matching(names.Where(n => !taken.Contains(n.Item1)), prefix, NoFiles);
    }
}
