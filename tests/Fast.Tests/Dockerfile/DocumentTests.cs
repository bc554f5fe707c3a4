using System.Text;
using Berth.Dockerfile;

namespace Berth.Fast.Tests.Dockerfile;

public class DocumentTests
{
    private static Document Parse(string text) => Document.Parse(Encoding.UTF8.GetBytes(text));

    private static T Only<T>(string instruction) where T : Instruction => Assert.IsType<T>(Assert.Single(Parse("FROM x\n" + instruction).Stages[0].Instructions));

    [Fact]
    public void Stages_begin_with_from()
    {
        var document = Parse("ARG V=1\n# base what all stand on\nFROM --platform=$BUILDPLATFORM alpine:$V AS Base\nRUN a\n\nFROM base\nRUN b\nCMD [\"c\"]\n");
        Assert.Equal("1", Assert.Single(document.Arguments).Arguments[0].Value);
        Assert.Equal([("alpine:$V", "base", "$BUILDPLATFORM", "what all stand on", 1), ("base", "", "", "", 2)],
            document.Stages.Select(s => (s.Base, s.Name, s.Platform, s.Description, s.Instructions.Count)));
        Assert.Equal(new LineSpan(6, 6), document.Stages[1].Lines);
    }

    [Fact]
    public void Lines_go_on_past_comments_and_empty_lines()
    {
        var document = Parse("FROM x\nRUN a && \\\n  # why\n  b \\\n\n  c\nRUN d");
        Assert.Equal(["RUN a &&   b   c", "RUN d"], document.Stages[0].Instructions.Select(i => i.Text));
        Assert.Equal(new LineSpan(2, 6), document.Stages[0].Instructions[0].Lines);
    }

    [Fact]
    public void The_escape_directive_frees_the_backslash()
    {
        var document = Parse("# escape=`\nFROM x\nRUN dir C:\\ `\n  /b\n");
        Assert.Equal(("RUN dir C:\\   /b", '`'), (document.Stages[0].Instructions[0].Text, document.Directives.Escape));
    }

    [Fact]
    public void Directives_are_only_at_the_top()
    {
        var top = Parse("# syntax = docker/dockerfile:1 # x\n# check=skip=JSONArgsRecommended;error=true\n# comment\n# escape=`\nFROM x").Directives;
        Assert.Equal(("docker/dockerfile:1", "skip=JSONArgsRecommended;error=true", '\\'), (top.Syntax, top.Check, top.Escape));
        Assert.Null(Parse("FROM x\n# syntax=y\nRUN z").Directives.Syntax);
    }

    [Fact]
    public void Here_documents_end_at_their_names()
    {
        var run = Only<RunInstruction>("RUN <<-EOF cat - <<'B' > /x\n\techo $A\n\tEOF\n$B\nB\n");
        Assert.Equal([("EOF", true, "echo $A\n"), ("B", false, "$B\n")], run.Heredocs.Select(h => (h.Name, h.Expand, h.Text)));
        Assert.True(run.Command.IsShell);
    }

    [Fact]
    public void A_file_may_stand_in_the_dockerfile()
    {
        var copy = Only<CopyInstruction>("COPY --chmod=755 <<EOF <<\"raw\" a.txt /dir/\nhi $A\nEOF\n$B\nraw\n");
        Assert.Equal(("a.txt", "/dir/", "755"), (Assert.Single(copy.Sources), copy.Destination, copy.Chmod));
        Assert.Equal([("EOF", "hi $A\n", true), ("raw", "$B\n", false)], copy.Files.Select(f => (f.Name, f.Content, f.Expand)));
        var expanded = (CopyInstruction)copy.Expand(w => w.ToUpperInvariant(), c => c.Replace("$A", "\"you\"", StringComparison.Ordinal), w => [w]);
        Assert.Equal(("A.TXT", "hi \"you\"\n", "$B\n"), (expanded.Sources[0], expanded.Files[0].Content, expanded.Files[1].Content));
    }

    [Fact]
    public void A_shell_s_own_here_strings_are_not_ours() => Assert.Empty(Only<RunInstruction>("RUN cat <<< x && echo $((1<<2))").Heredocs);

    [Fact]
    public void Flags_stand_before_arguments()
    {
        var copy = Only<CopyInstruction>("COPY --from=a --link --parents=false --exclude=*.md --exclude=\"b c\" --chown=1:2 x y /z");
        Assert.Equal(("a", true, false, "1:2"), (copy.From, copy.Link, copy.Parents, copy.Chown));
        Assert.Equal(["*.md", "b c"], copy.Exclude);
        var add = Only<AddInstruction>("""ADD --checksum=sha256:1 --unpack=false ["a b", "/c d"]""");
        Assert.Equal(("sha256:1", false, null, "a b", "/c d"), (add.Checksum, add.Unpack, add.KeepGitDirectory, add.Sources[0], add.Destination));
        Assert.Equal((RunNetwork.None, true), (Only<RunInstruction>("RUN --network=none --security=insecure x").Network, Only<RunInstruction>("RUN --security=insecure x").Insecure));
        Assert.Equal(["--x y"], Only<RunInstruction>("RUN -- --x y").Command.Arguments);
    }

    [Fact]
    public void Mounts_are_read_once_variables_are_in()
    {
        RunMount Mount(string flag) => Assert.Single(((RunInstruction)Only<RunInstruction>($"RUN --mount={flag} x").Expand(w => w.Replace("$A", "/a", StringComparison.Ordinal), c => c, w => [w])).Mounts);
        Assert.Equal(new RunMount { Type = RunMountType.Cache, Target = "/a", Sharing = CacheSharing.Locked, Mode = 493, UserId = 5 }, Mount("type=cache,target=$A,sharing=locked,mode=755,uid=5"));
        Assert.Equal(new RunMount { ReadOnly = true, From = "s", Source = "b", Target = "c" }, Mount("from=s,src=b,dst=c"));
        Assert.Equal(new RunMount { Type = RunMountType.Tmpfs, Target = "/t", SizeBytes = 1 << 20 }, Mount("type=tmpfs,target=/t,size=1m"));
        Assert.Equal(new RunMount { Type = RunMountType.Secret, Id = "k", Environment = "K", Required = true, ReadOnly = true }, Mount("type=secret,id=k,env=K,required"));
        Assert.Equal(new RunMount { Type = RunMountType.Ssh, ReadOnly = true }, Mount("type=ssh"));
        Assert.Equal("a,b", RunMount.Parse("type=bind,target=/x,\"source=a,b\"", w => w).Source);
    }

    [Fact]
    public void Pairs_and_ports_and_paths_are_cut_by_their_own_rules()
    {
        Assert.Equal([new NamedValue("A", "\"b c\""), new NamedValue("D", "e\\ f")], Only<EnvInstruction>("ENV A=\"b c\" D=e\\ f").Variables);
        Assert.Equal([new NamedValue("A", "b  c=d", Legacy: true)], Only<EnvInstruction>("ENV A b  c=d").Variables);
        Assert.Equal(["443", "80/tcp"], Only<ExposeInstruction>("EXPOSE  80/tcp\t443").Ports);
        Assert.Equal(["/a", "/b c"], Only<VolumeInstruction>("""VOLUME ["/a", "/b c"]""").Paths);
        Assert.Equal([new BuildArgument("A", null), new BuildArgument("B", "c d")], ((ArgInstruction)Only<ArgInstruction>("ARG A B='c d'").Expand(w => w.Trim('\''), c => c, w => [w])).Arguments);
        Assert.Equal("RUN x <<E\ny\nE", Only<OnBuildInstruction>("ONBUILD RUN x <<E\ny\nE").Trigger);
        Assert.Equal("echo [", Assert.Single(Only<CmdInstruction>("CMD echo [").Command.Arguments));
    }

    // The words of Docker's builder (buildx 0.29 beside it).
    [Theory]
    [InlineData("", "the Dockerfile cannot be empty")]
    [InlineData("# only\n", "file with no instructions")]
    [InlineData("ARG X\n", "dockerfile contains no stages to build")]
    [InlineData("RUN x\n", "no build stage in current context")]
    [InlineData("FROM x\nRUNN y", "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)")]
    [InlineData("FROM x\ncopi y z", "dockerfile parse error on line 2: unknown instruction: copi (did you mean copy?)")]
    [InlineData("FROM", "dockerfile parse error on line 1: FROM requires either one or three arguments")]
    [InlineData("FROM x AS 1a", "dockerfile parse error on line 1: invalid name for build stage: \"1a\", name can't start with a number or contain symbols")]
    [InlineData("FROM x\nENV A", "ENV must have two arguments")]
    [InlineData("FROM x\nENV A=b c", "Syntax error - can't find = in \"c\". Must be of the form: name=value")]
    [InlineData("FROM x\nCOPY a", "dockerfile parse error on line 2: COPY requires at least two arguments, but only one was provided. Destination could not be determined")]
    [InlineData("FROM x\nCOPY --form=y a b", "dockerfile parse error on line 2: unknown flag: --form (did you mean from?)")]
    [InlineData("FROM x\nCOPY --link=maybe a b", "dockerfile parse error on line 2: expecting boolean value for flag --link, not: maybe")]
    [InlineData("FROM x\nCOPY --from=a --from=b a b", "dockerfile parse error on line 2: duplicate flag specified: --from")]
    [InlineData("FROM x\nCOPY --from a b", "dockerfile parse error on line 2: missing a value on flag: --from")]
    [InlineData("FROM x\nCOPY a <<EOF\nEOF\n", "dockerfile parse error on line 2: COPY cannot accept a heredoc as a destination")]
    [InlineData("FROM x\nRUN <<EOF\nx\n", "unterminated heredoc")]
    [InlineData("FROM x\nRUN --mount=from=$A x", "dockerfile parse error on line 2: 'from' doesn't support variable expansion, define alias stage instead")]
    [InlineData("FROM x\nRUN --network=some x", "dockerfile parse error on line 2: invalid network mode \"some\"")]
    [InlineData("FROM x\nSHELL a b", "dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form")]
    [InlineData("FROM x\nCMD [1]", "when using JSON array syntax, arrays must be comprised of strings only")]
    [InlineData("FROM x\nONBUILD FROM y", "dockerfile parse error on line 2: FROM isn't allowed as an ONBUILD trigger")]
    [InlineData("FROM x\nUSER --x y", "dockerfile parse error on line 2: unknown flag: --x")]
    [InlineData("# escape=x\nFROM y", "invalid escape token 'x' does not match ` or \\")]
    [InlineData("# syntax=a\n# syntax=b\nFROM y", "only one syntax parser directive can be used")]
    public void A_mistake_is_told_in_docker_s_words(string text, string message) => Assert.Equal(message, Assert.Throws<DockerfileException>(() => Parse(text)).Message);

    [Theory]
    [InlineData("type=disk", "unsupported mount type \"disk\"")]
    [InlineData("type=cahce", "unsupported mount type \"cahce\" (did you mean cache?)")]
    [InlineData("target=/x,uid=1", "uid not allowed for \"bind\" type mounts")]
    [InlineData("type=secret", "invalid secret mount. one of source, target required")]
    [InlineData("type=secret,id=a,source=b", "both source and id can't be set")]
    [InlineData("type=cache,required", "unexpected key 'required' for mount type 'cache'")]
    [InlineData("type=cache,mode=9", "invalid value 9 for mode")]
    [InlineData("type=cache,sharing=some", "unsupported sharing value \"some\"")]
    [InlineData("type=bind,tarjet=/x", "unexpected key 'tarjet' in 'tarjet=/x' (did you mean target?)")]
    [InlineData("type=bind,foo", "invalid field 'foo' must be a key=value pair")]
    [InlineData("type=tmpfs,size=x", "invalid value for size: x")]
    public void A_wrong_mount_is_told_in_docker_s_words(string flag, string message) => Assert.Equal(message, Assert.Throws<DockerfileException>(() => RunMount.Parse(flag, w => w)).Message);

    [Fact]
    public void An_error_says_where()
    {
        var error = Assert.Throws<DockerfileException>(() => Parse("FROM x\n\nRUN a \\\n  b\nFOO \\\n bar\n"));
        Assert.Equal(new LineSpan(5, 6), error.Lines);
    }

    // Whatever the bytes are: an answer or a DockerfileException.
    [Fact]
    public void No_bytes_break_the_parser()
    {
        var seed = Environment.TickCount;
        var random = new Random(seed);
        string[] parts =
        [
            "FROM x\n", "RUN ", "<<EOF", "\nEOF\n", "\\\n", "\\", "$A", "${A:-", "}", "'", "\"", "[", "]", "{\"a\"", ",", "--mount=type=cache,", "--", "=", "COPY a b\n", "ENV ", "ARG ", "#", "# escape=`\n", "\u0000", "\uD800", "\t", " ",
            "ONBUILD ", "HEALTHCHECK --interval=", "1s ", "CMD ", "EXPOSE 80", "LABEL a=", "é", "\r\n",
        ];
        for (var i = 0; i < 3000; i++)
        {
            var text = string.Concat(Enumerable.Range(0, random.Next(1, 40)).Select(_ => parts[random.Next(parts.Length)]));
            try
            {
                foreach (var stage in Parse(text).Stages)
                    foreach (var instruction in stage.Instructions) instruction.Expand(w => new WordExpander('\\', _ => "v").Expand(w).Text, c => c, w => [w]);
            }
            catch (DockerfileException) { }
            catch (Exception e)
            {
                Assert.Fail($"seed {seed}, {text.ReplaceLineEndings("⏎")}: {e}");
            }
        }
    }
}
