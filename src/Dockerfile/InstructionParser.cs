using System.Globalization;
using Berth.Api.Go;

namespace Berth.Dockerfile;

/// <summary>Understands one instruction after the other.</summary>
internal static class InstructionParser
{
    private static readonly string[] Names =
    [
        "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
    ];

    /// <exception cref="DockerfileException">Without lines.</exception>
    public static Instruction Parse(RawInstruction raw)
    {
        Instruction instruction = raw.Keyword switch
        {
            "add" => Add(raw),
            "arg" => new ArgInstruction(Arguments(raw)),
            "cmd" => new CmdInstruction(Command(raw)),
            "copy" => Copy(raw),
            "entrypoint" => new EntrypointInstruction(Command(raw)),
            "env" => new EnvInstruction(Pairs(raw)),
            "expose" => new ExposeInstruction([.. AtLeastOne(raw).Order(StringComparer.Ordinal)]),
            "healthcheck" => Healthcheck(raw),
            "label" => new LabelInstruction(Pairs(raw)),
            "maintainer" => new MaintainerInstruction(ExactlyOne(raw)),
            "onbuild" => new OnBuildInstruction(Trigger(raw)),
            "run" => Run(raw),
            "shell" => new ShellInstruction(Shell(raw)),
            "stopsignal" => new StopSignalInstruction(ExactlyOne(raw)),
            "user" => new UserInstruction(ExactlyOne(raw)),
            "volume" => new VolumeInstruction([.. AtLeastOne(raw).Select(v => v.Trim() is { Length: > 0 } path ? path : throw new DockerfileException("VOLUME specified can not be an empty string"))]),
            "workdir" => new WorkdirInstruction(ExactlyOne(raw)),
            _ => throw new DockerfileException($"unknown instruction: {raw.Name}{Suggestion.For(raw.Name, Names, ignoreCase: true)}"),
        };
        if (instruction is not (AddInstruction or CopyInstruction or RunInstruction or HealthcheckInstruction)) _ = new InstructionFlags(raw.Flags);
        return instruction with { Name = raw.Name, Text = raw.Line.Trim(), Lines = raw.Lines, Comments = raw.Comments };
    }

    /// <summary>FROM, which is no instruction of a stage but its beginning.</summary>
    public static Stage From(RawInstruction raw)
    {
        var arguments = raw.Arguments;
        var name = "";
        if (arguments.Count == 3 && arguments[1].Equals("as", StringComparison.OrdinalIgnoreCase))
        {
            name = arguments[2].ToLowerInvariant();
            if (!char.IsAsciiLetterLower(name[0]) || !name.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '-' or '_' or '.'))
                throw new DockerfileException($"invalid name for build stage: {GoText.Quote(arguments[2])}, name can't start with a number or contain symbols");
        }
        else if (arguments.Count != 1) throw new DockerfileException("FROM requires either one or three arguments");
        return new Stage
        {
            Keyword = raw.Name, Base = arguments[0], Name = name, Platform = new InstructionFlags(raw.Flags, "platform").Text("platform"), Text = raw.Line.Trim(), Lines = raw.Lines, Comments = raw.Comments,
            Description = name.Length == 0 ? "" : Description(raw, name),
        };
    }

    private static IReadOnlyList<string> AtLeastOne(RawInstruction raw) => raw.Arguments.Count > 0 ? raw.Arguments : throw new DockerfileException($"{raw.Keyword.ToUpperInvariant()} requires at least one argument");

    private static string ExactlyOne(RawInstruction raw) => raw.Arguments.Count == 1 ? raw.Arguments[0] : throw new DockerfileException($"{raw.Keyword.ToUpperInvariant()} requires exactly one argument");

    private static IReadOnlyList<NamedValue> Pairs(RawInstruction raw)
    {
        var name = raw.Keyword.ToUpperInvariant();
        if (raw.Pairs.Count == 0) throw new DockerfileException($"{name} requires at least one argument");
        return raw.Pairs.All(p => p.Name.Length > 0) ? raw.Pairs : throw new DockerfileException($"{name} names can not be blank");
    }

    private static BuildArgument[] Arguments(RawInstruction raw) =>
    [
        .. AtLeastOne(raw).Select(word =>
        {
            var equals = word.IndexOf('=');
            if (equals == 0) throw new DockerfileException("ARG names can not be blank");
            var name = equals < 0 ? word : word[..equals];
            return new BuildArgument(name, equals < 0 ? null : word[(equals + 1)..], Description(raw, name));
        }),
    ];

    // "# NAME what it is for"
    private static string Description(RawInstruction raw, string name) => raw.Comments.FirstOrDefault(c => c.StartsWith(name + " ", StringComparison.Ordinal)) is { } comment ? comment[(name.Length + 1)..] : "";

    private static CommandLine Command(RawInstruction raw) => new([.. raw.Arguments], IsShell: !raw.IsJson);

    private static T Transfer<T>(RawInstruction raw, InstructionFlags flags, T transfer) where T : TransferInstruction
    {
        var name = raw.Keyword.ToUpperInvariant();
        var destination = raw.Arguments[^1];
        if (Heredoc.Begin(destination) is not null) throw new DockerfileException($"{name} cannot accept a heredoc as a destination");
        var (sources, files) = (new List<string>(), new List<InlineFile>());
        foreach (var source in raw.Arguments.SkipLast(1))
        {
            if (Heredoc.Begin(source) is not { } begun) sources.Add(source);
            else if (raw.Heredocs.LastOrDefault(h => h.Name == begun.Name) is { } heredoc) files.Add(new InlineFile(heredoc.Name, heredoc.Text, heredoc.Expand));
        }
        return transfer with
        {
            Sources = sources, Files = files, Destination = destination, Chown = flags.Text("chown"), Chmod = flags.Text("chmod"), Link = flags.Bool("link") ?? false, Exclude = flags.Texts("exclude"),
        };
    }

    private static void NeedDestination(RawInstruction raw)
    {
        if (raw.Arguments.Count < 2)
            throw new DockerfileException($"{raw.Keyword.ToUpperInvariant()} requires at least two arguments, but only one was provided. Destination could not be determined");
    }

    private static AddInstruction Add(RawInstruction raw)
    {
        NeedDestination(raw);
        var flags = new InstructionFlags(raw.Flags, "chown", "chmod", "link?", "keep-git-dir?", "checksum", "unpack?", "exclude*");
        return Transfer(raw, flags, new AddInstruction { Checksum = flags.Text("checksum"), Unpack = flags.Bool("unpack"), KeepGitDirectory = flags.Bool("keep-git-dir") });
    }

    private static CopyInstruction Copy(RawInstruction raw)
    {
        NeedDestination(raw);
        var flags = new InstructionFlags(raw.Flags, "chown", "from", "chmod", "link?", "exclude*", "parents?");
        return Transfer(raw, flags, new CopyInstruction { From = flags.Text("from"), Parents = flags.Bool("parents") ?? false });
    }

    private static RunInstruction Run(RawInstruction raw)
    {
        var flags = new InstructionFlags(raw.Flags, "mount*", "network", "security", "device*");
        if (flags.Texts("device").Count > 0) throw new DockerfileException("RUN --device is not supported: this builder has no CDI devices");
        foreach (var mount in flags.Texts("mount")) RunMount.CheckUnexpanded(mount);
        return new RunInstruction(Command(raw))
        {
            Heredocs = raw.Heredocs,
            MountFlags = flags.Texts("mount"),
            Network = flags.Text("network") switch
            {
                "" or "default" => RunNetwork.Default,
                "none" => RunNetwork.None,
                "host" => RunNetwork.Host,
                var other => throw new DockerfileException($"invalid network mode {GoText.Quote(other)}"),
            },
            Insecure = flags.Text("security") switch
            {
                "" or "sandbox" => false,
                "insecure" => true,
                var other => throw new DockerfileException($"security {GoText.Quote(other)} is not valid"),
            },
        };
    }

    private static IReadOnlyList<string> Shell(RawInstruction raw)
    {
        if (raw.Arguments.Count == 0) throw new DockerfileException("SHELL requires at least one argument");
        return raw.IsJson ? raw.Arguments : throw new DockerfileException($"SHELL requires the arguments to be in JSON form");
    }

    private static string Trigger(RawInstruction raw)
    {
        if (raw.Trigger is not { } trigger) throw new DockerfileException("ONBUILD requires at least one argument");
        var name = trigger.Keyword.ToUpperInvariant();
        if (name == "ONBUILD") throw new DockerfileException("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
        if (name is "MAINTAINER" or "FROM") throw new DockerfileException($"{name} isn't allowed as an ONBUILD trigger");
        // Here-documents go along, so that the trigger can be read again.
        return string.Concat([trigger.Line, .. raw.Heredocs.Select(h => $"\n{h.Content}{h.Name}")]);
    }

    private static HealthcheckInstruction Healthcheck(RawInstruction raw)
    {
        var arguments = AtLeastOne(raw);
        var type = arguments[0].ToUpperInvariant();
        if (type == "NONE") return arguments.Count == 1 ? new HealthcheckInstruction(["NONE"]) : throw new DockerfileException("HEALTHCHECK NONE takes no arguments");
        var flags = new InstructionFlags(raw.Flags, "interval", "timeout", "start-period", "start-interval", "retries");
        if (type != "CMD") throw new DockerfileException($"Unknown type {GoText.Quote(type)} in HEALTHCHECK (try CMD)");
        if (arguments.Count == 1) throw new DockerfileException("Missing command after HEALTHCHECK CMD");
        return new HealthcheckInstruction(raw.IsJson ? ["CMD", .. arguments.Skip(1)] : ["CMD-SHELL", .. arguments.Skip(1)])
        {
            Interval = Duration(flags, "interval"), Timeout = Duration(flags, "timeout"), StartPeriod = Duration(flags, "start-period"), StartInterval = Duration(flags, "start-interval"),
            Retries = Retries(flags.Text("retries")),
        };
    }

    private static long Duration(InstructionFlags flags, string name)
    {
        const long least = 1_000_000;
        var text = flags.Text(name);
        if (text.Length == 0) return 0;
        try
        {
            return GoDuration.ParseNanoseconds(text) is var nanoseconds && nanoseconds is 0 or >= least ? nanoseconds : throw new DockerfileException($"Interval {GoText.Quote(name)} cannot be less than 1ms");
        }
        catch (FormatException e)
        {
            throw new DockerfileException(e.Message);
        }
    }

    private static int Retries(string text)
    {
        if (text.Length == 0) return 0;
        if (!int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var retries))
            throw new DockerfileException($"strconv.ParseInt: parsing {GoText.Quote(text)}: {(text.TrimStart('-', '+') is { Length: > 0 } digits && digits.All(char.IsAsciiDigit) ? "value out of range" : "invalid syntax")}");
        return retries >= 0 ? retries : throw new DockerfileException($"--retries cannot be negative ({retries})");
    }
}
