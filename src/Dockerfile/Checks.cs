using Berth.Api.Go;

namespace Berth.Dockerfile;

/// <summary>A rule that a Dockerfile may break and still build. The names and words are those of Docker's build checks.</summary>
public sealed record CheckRule(string Name, string Description, bool Experimental = false)
{
    /// <summary>Where it is explained.</summary>
    public string Url { get; } = "https://docs.docker.com/go/dockerfile/rule/" + string.Concat(Name.Replace("JSON", "Json", StringComparison.Ordinal).Select((c, i) => char.IsUpper(c) && i > 0 ? "-" + char.ToLowerInvariant(c) : char.ToLowerInvariant(c).ToString())) + "/";

    public static readonly CheckRule StageNameCasing = new("StageNameCasing", "Stage names should be lowercase");
    public static readonly CheckRule FromAsCasing = new("FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword");
    public static readonly CheckRule NoEmptyContinuation = new("NoEmptyContinuation", "Empty continuation lines will become errors in a future release");
    public static readonly CheckRule ConsistentInstructionCasing = new("ConsistentInstructionCasing", "All commands within the Dockerfile should use the same casing (either upper or lower)");
    public static readonly CheckRule DuplicateStageName = new("DuplicateStageName", "Stage names should be unique");
    public static readonly CheckRule ReservedStageName = new("ReservedStageName", "Reserved words should not be used as stage names");
    public static readonly CheckRule JsonArgsRecommended = new("JSONArgsRecommended", "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals");
    public static readonly CheckRule MaintainerDeprecated = new("MaintainerDeprecated", "The MAINTAINER instruction is deprecated, use a label instead to define an image author");
    public static readonly CheckRule UndefinedArgInFrom = new("UndefinedArgInFrom", "FROM command must use declared ARGs");
    public static readonly CheckRule WorkdirRelativePath = new("WorkdirRelativePath", "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes");
    public static readonly CheckRule UndefinedVar = new("UndefinedVar", "Variables should be defined before their use");
    public static readonly CheckRule MultipleInstructionsDisallowed = new("MultipleInstructionsDisallowed", "Multiple instructions of the same type should not be used in the same stage");
    public static readonly CheckRule LegacyKeyValueFormat = new("LegacyKeyValueFormat", "Legacy key/value format with whitespace separator should not be used");
    public static readonly CheckRule InvalidBaseImagePlatform = new("InvalidBaseImagePlatform", "Base image platform does not match expected target platform");
    public static readonly CheckRule RedundantTargetPlatform = new("RedundantTargetPlatform", "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior");
    public static readonly CheckRule SecretsUsedInArgOrEnv = new("SecretsUsedInArgOrEnv", "Sensitive data should not be used in the ARG or ENV commands");
    public static readonly CheckRule InvalidDefaultArgInFrom = new("InvalidDefaultArgInFrom", "Default value for global ARG results in an empty or invalid base image name");
    public static readonly CheckRule FromPlatformFlagConstDisallowed = new("FromPlatformFlagConstDisallowed", "FROM --platform flag should not use a constant value");
    public static readonly CheckRule CopyIgnoredFile = new("CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore");
    public static readonly CheckRule InvalidDefinitionDescription = new("InvalidDefinitionDescription",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
        Experimental: true);
    public static readonly CheckRule ExposeProtoCasing = new("ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase");
    public static readonly CheckRule ExposeInvalidFormat = new("ExposeInvalidFormat",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release");
}

/// <summary>Which checks are made: <c># check=skip=RuleA,RuleB;error=true;experimental=all</c>, at the top of the file or above one instruction.</summary>
public sealed record CheckOptions
{
    public bool SkipAll { get; init; }
    public IReadOnlyList<string> Skip { get; init; } = [];
    public bool AllExperimental { get; init; }
    public IReadOnlyList<string> Experimental { get; init; } = [];

    /// <summary>A broken rule fails the build.</summary>
    public bool Fail { get; init; }

    /// <exception cref="DockerfileException"/>
    public static CheckOptions Parse(string text)
    {
        var options = new CheckOptions();
        if (string.IsNullOrWhiteSpace(text)) return options;
        foreach (var part in text.Trim().Split(';', 3))
        {
            var equals = part.IndexOf('=');
            if (equals < 0) throw new DockerfileException($"invalid check option {GoText.Quote(part)}");
            var (key, value) = (part[..equals].Trim(), part[(equals + 1)..].Trim());
            string[] rules = value == "all" ? [] : [.. value.Split(',').Select(r => r.Trim())];
            options = key switch
            {
                "skip" => options with { SkipAll = value == "all", Skip = rules },
                "experimental" => options with { AllExperimental = value == "all", Experimental = rules },
                "error" => GoText.TryParseBool(value, out var fail) ? options with { Fail = fail }
                    : throw new DockerfileException($"failed to parse check option {GoText.Quote(part)}: strconv.ParseBool: parsing {GoText.Quote(value)}: invalid syntax"),
                _ => throw new DockerfileException($"invalid check option {GoText.Quote(key)}"),
            };
        }
        return options;
    }

    internal bool Includes(CheckRule rule) => rule.Experimental ? AllExperimental || Experimental.Contains(rule.Name) : !SkipAll && !Skip.Contains(rule.Name);

    /// <summary>With what a comment above an instruction adds.</summary>
    internal CheckOptions With(IReadOnlyList<string> comments)
    {
        foreach (var comment in comments)
        {
            if (!ParserDirectives.TryParse(comment, "", out var name, out var value) || name != "check") continue;
            try
            {
                var added = Parse(value.Split(' ', 2)[0]);
                return this with
                {
                    SkipAll = SkipAll || added.SkipAll, Skip = [.. Skip, .. added.Skip], AllExperimental = AllExperimental || added.AllExperimental, Experimental = [.. Experimental, .. added.Experimental],
                };
            }
            catch (DockerfileException)
            {
                return this; // a comment, after all
            }
        }
        return this;
    }
}

/// <summary>A rule that was broken, and where.</summary>
public sealed record Finding(CheckRule Rule, string Message, LineSpan Lines);

/// <summary>Collects what the checks find.</summary>
public sealed class Checks(CheckOptions options)
{
    private readonly List<Finding> _findings = [];

    public IReadOnlyList<Finding> Findings => _findings;

    /// <exception cref="DockerfileException">The option error=true, and there are findings.</exception>
    public void ThrowIfFatal()
    {
        if (options.Fail && _findings.Count > 0) throw new DockerfileException("lint violation found for rules: " + string.Join(", ", _findings.Select(f => f.Rule.Name).Distinct()));
    }

    /// <param name="comments">Those above the instruction: they may skip the rule.</param>
    public void Report(CheckRule rule, string message, LineSpan lines, IReadOnlyList<string> comments)
    {
        if (options.With(comments).Includes(rule)) _findings.Add(new Finding(rule, message, lines));
    }

    public void Report(CheckRule rule, string message, Instruction at) => Report(rule, message, at.Lines, at.Comments);

    /// <summary>What can be told from the text alone, whatever is built of it.</summary>
    public void CheckText(Document document)
    {
        foreach (var lines in document.EmptyContinuations) Report(CheckRule.NoEmptyContinuation, "Empty continuation line", lines, []);
        foreach (var raw in document.Raw)
        {
            switch (raw.Keyword)
            {
                case "maintainer":
                    Report(CheckRule.MaintainerDeprecated, "Maintainer instruction is deprecated in favor of using label", raw.Lines, raw.Comments);
                    break;
                case "from" when raw.Arguments.Count == 3:
                    CheckFrom(raw, raw.Arguments[1], raw.Arguments[2]);
                    break;
                case "arg":
                    CheckDescription(raw, "ARG", [.. raw.Arguments.Select(a => a.Split('=', 2)[0])]);
                    break;
            }
        }
        CheckStageNames(document);
        CheckCasing(document);
    }

    private void CheckFrom(RawInstruction raw, string keyword, string name)
    {
        if (name != name.ToLowerInvariant()) Report(CheckRule.StageNameCasing, $"Stage name '{name}' should be lowercase", raw.Lines, raw.Comments);
        // A mixed "From" is another rule's.
        var (lower, upper) = (raw.Name == raw.Keyword, raw.Name == raw.Name.ToUpperInvariant());
        if ((lower && keyword != keyword.ToLowerInvariant()) || (!lower && upper && keyword != keyword.ToUpperInvariant()))
            Report(CheckRule.FromAsCasing, $"'{keyword}' and '{raw.Name}' keywords' casing do not match", raw.Lines, raw.Comments);
        CheckDescription(raw, "FROM", [name.ToLowerInvariant()]);
    }

    private void CheckDescription(RawInstruction raw, string instruction, string[] names)
    {
        if (raw.Comments.Count == 0 || names.Length == 0 || names.Contains(raw.Comments[^1].Split(' ', 2)[0])) return;
        Report(CheckRule.InvalidDefinitionDescription, $"Comment for {instruction} should follow the format: `# {(names.Length > 1 ? "<arg_key>" : names[0])} <description>`", raw.Lines, raw.Comments);
    }

    private void CheckStageNames(Document document)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var stage in document.Stages.Where(s => s.Name.Length > 0))
        {
            if (stage.Name is "context" or "scratch") Report(CheckRule.ReservedStageName, $"Stage name should not use the same name as reserved stage \"{stage.Name}\"", stage.Lines, []);
            if (!seen.Add(stage.Name)) Report(CheckRule.DuplicateStageName, $"Duplicate stage name \"{stage.Name}\", stage names should be unique", stage.Lines, []);
        }
    }

    // By majority: whoever writes small letters throughout is as consistent as who writes capitals.
    private void CheckCasing(Document document)
    {
        var written = document.Stages.SelectMany(s => s.Instructions.Select(i => (i.Name, i.Lines)).Prepend((Name: s.Keyword, s.Lines))).ToList();
        var lower = written.Count(w => w.Name == w.Name.ToLowerInvariant()) > written.Count(w => w.Name == w.Name.ToUpperInvariant());
        foreach (var (name, lines) in written)
        {
            if (name != (lower ? name.ToLowerInvariant() : name.ToUpperInvariant()))
                Report(CheckRule.ConsistentInstructionCasing, $"Command '{name}' should match the case of the command majority ({(lower ? "lowercase" : "uppercase")})", lines, []);
        }
    }
}
