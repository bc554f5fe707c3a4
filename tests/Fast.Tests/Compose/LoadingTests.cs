using Berth.Compose;
using Berth.Compose.Loading;

namespace Berth.Fast.Tests.Compose;

public sealed class LoadingTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("berth-compose-").FullName;
    private readonly List<string> _warnings = [];

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private string Write(string name, string text)
    {
        var path = Path.Combine(_directory, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
        return path;
    }

    private ProjectLoader Loader(ProjectSource? source = null, params (string Name, string Value)[] environment) =>
        new((source ?? new()) with { Directory = source?.Directory is { Length: > 0 } own ? own : _directory }, environment.Select(e => KeyValuePair.Create(e.Name, e.Value)), _warnings.Add);

    private string ErrorOf(string yaml)
    {
        Write("compose.yaml", yaml);
        return Assert.Throws<ComposeException>(() => Loader().Load()).Message.Replace(_directory + "/", "");
    }

    [Theory]
    [InlineData("services:\n  a:\n    image: x\n    foo: y\n", "validating compose.yaml: services.a additional properties 'foo' not allowed (compose.yaml:4:10)")]
    [InlineData("services:\n  a: []\n", "services.a must be a mapping (compose.yaml:2:6)")]
    [InlineData("services:\n  a: {image: 1}\n", "validating compose.yaml: services.a.image must be a string (compose.yaml:2:14)")]
    [InlineData("services:\n  a: {restart: always}\n", "service \"a\" has neither an image nor a build context specified: invalid compose project (compose.yaml:2:6)")]
    [InlineData("services:\n  a: {image: x, depends_on: [b]}\n", "service \"a\" depends on undefined service \"b\": invalid compose project (compose.yaml:2:30)")]
    [InlineData("services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}\n", "dependency cycle detected: a -> b -> a (compose.yaml:3:30)")]
    [InlineData("services:\n  a: {image: x, volumes: ['vol:/v']}\n", "service \"a\" refers to undefined volume vol: invalid compose project (compose.yaml:2:27)")]
    [InlineData("services:\n  a: {image: x, networks: [n]}\n", "service \"a\" refers to undefined network n: invalid compose project (compose.yaml:2:28)")]
    [InlineData("services:\n  a: {image: '${X:?say what}'}\n", "error while interpolating services.a.image: required variable X is missing a value: say what (compose.yaml:2:14)")]
    [InlineData("services:\n  a: {image: '${X'}\n", "invalid interpolation format for services.a.image.\nYou may need to escape any $ with another $.\n${X (compose.yaml:2:14)")]
    [InlineData("services:\n  a: {image: x, image: y}\n", "failed to parse compose.yaml: line 2: mapping key \"image\" already defined at line 2")]
    [InlineData("services:\n  a: {image: x, ports: ['x:80']}\n", "invalid hostPort: x (compose.yaml:2:25)")]
    [InlineData("services:\n  a: {image: x, extends: b}\n", "cannot extend service \"a\" in compose.yaml: service \"b\" not found (compose.yaml:2:26)")]
    [InlineData("services:\n  a: {image: x, privileged: maybe}\n", "error while interpolating services.a.privileged: failed to cast to expected type: invalid boolean: maybe (compose.yaml:2:29)")]
    [InlineData("name: x\n", "service")]
    [InlineData("", "empty compose file")]
    public void An_error_is_docker_composes_and_says_where(string yaml, string error)
    {
        if (error == "service") Assert.Empty(LoadedServices(yaml));
        else Assert.Equal(error, ErrorOf(yaml));
    }

    private IEnumerable<string> LoadedServices(string yaml)
    {
        Write("compose.yaml", yaml);
        return Loader().Load().ServiceNames;
    }

    [Fact]
    public void Aliases_of_aliases_do_not_fill_the_memory()
    {
        var text = "x-a: &a [1,1,1,1,1,1,1,1,1,1]\n";
        for (var c = 'b'; c < 'j'; c++) text += $"x-{c}: &{c} [*{(char)(c - 1)}{string.Concat(Enumerable.Repeat($",*{(char)(c - 1)}", 9))}]\n";
        Assert.Contains("more than 500000 values, aliases expanded", ErrorOf(text));
    }

    [Fact]
    public void The_process_s_variables_win_over_env_files_and_those_over_defaults()
    {
        Write(".env", "A=file\nB=file\nCOMPOSE_PROJECT_NAME=fromfile\n");
        Write("compose.yaml", "services: {a: {image: '$A-$B-${C:-default}'}}\n");
        var project = Loader(null, ("A", "process")).Load();
        Assert.Equal("fromfile", project.Name);
        Assert.Equal("process-file-default", project.Service("a").TextOf("image"));
        var other = Write("other.env", "B=other\n");
        Assert.Equal("-other-default", Loader(new() { EnvFiles = [other], Name = "x" }).Load().Service("a").TextOf("image"));
        Assert.Equal(["The \"A\" variable is not set. Defaulting to a blank string."], _warnings);
    }

    [Fact]
    public void The_name_is_the_flag_s_the_variable_s_the_file_s_or_the_directory_s()
    {
        Write("My App.d/compose.yaml", "services: {a: {image: x}}\n");
        var directory = Path.Combine(_directory, "My App.d");
        Assert.Equal("myappd", Loader(new() { Directory = directory }).Load().Name);
        Assert.Equal("flag", Loader(new() { Directory = directory, Name = "flag" }, ("COMPOSE_PROJECT_NAME", "variable")).Load().Name);
        Assert.Equal("variable", Loader(new() { Directory = directory }, ("COMPOSE_PROJECT_NAME", "variable")).Load().Name);
        Assert.StartsWith("invalid project name \"No\": must consist only of lowercase", Assert.Throws<ComposeException>(() => Loader(new() { Directory = directory, Name = "No" }).Load()).Message);
        Write("My App.d/compose.override.yaml", "name: File$X\n");
        Assert.Equal("filey", Loader(new() { Directory = directory }, ("X", "Y")).Load().Name);
    }

    [Fact]
    public void Profiles_choose_services_and_naming_one_is_enough()
    {
        Write("compose.yaml", "services: {a: {image: x}, b: {image: x, profiles: [p], depends_on: [c]}, c: {image: x, profiles: [p]}, d: {image: x, profiles: [q]}}\n");
        Assert.Equal(["a"], Loader().Load().ServiceNames);
        Assert.Equal(["a", "b", "c"], Loader(new() { Profiles = ["p"] }).Load().ServiceNames);
        Assert.Equal(["a", "b", "c", "d"], Loader(new() { Profiles = ["*"] }).Load().ServiceNames);
        Assert.Equal(["b", "c"], Loader().Load(services: ["b"]).ServiceNames);
        Assert.Equal("no such service: z", Assert.Throws<ComposeException>(() => Loader().Load(services: ["z"])).Message);
    }

    [Theory]
    [InlineData("$A", "a")]
    [InlineData("${A}b", "ab")]
    [InlineData("$$A $", "$A $")]
    [InlineData("${N:-x}${N-y}", "xy")]
    [InlineData("${E:-x}${E-y}", "x")]
    [InlineData("${A:+x}${E:+y}${E+z}${N+n}", "xz")]
    [InlineData("${N:-${M:-${A}}} ${N:-a}b}", "a ab}")]
    [InlineData("${A?no}${E?no}", "a")]
    public void Variables_are_replaced(string template, string expected)
    {
        var values = new Dictionary<string, string> { ["A"] = "a", ["E"] = "" };
        Assert.Equal(expected, Variables.Substitute(template, values.GetValueOrDefault));
    }

    [Fact]
    public void Env_files_have_quotes_escapes_variables_and_comments()
    {
        var file = Write("x.env", """
            # comment
            PLAIN=a b # not this
            HASH=a#b
            SINGLE='$PLAIN \n'
            DOUBLE="x\ty $PLAIN \$PLAIN"
            MULTI="one
            two"
            export EXPORTED = v
            YAML: style
            OUTER
            ABSENT
            REF=${PLAIN}-${OUTER}

            """);
        var values = DotEnv.Read(new Dictionary<string, string> { ["OUTER"] = "o" }, [file]);
        Assert.Equal("DOUBLE=x\ty a b $PLAIN|EXPORTED=v|HASH=a#b|MULTI=one\ntwo|OUTER=o|PLAIN=a b|REF=a b-o|SINGLE=$PLAIN \\n|YAML=style", string.Join('|', values.OrderBy(v => v.Key, StringComparer.Ordinal).Select(v => $"{v.Key}={v.Value}")));
        var wrong = Write("y.env", "A=1\nB=\"x\n");
        Assert.Contains("unterminated quoted value", Assert.Throws<ComposeException>(() => DotEnv.Read(new Dictionary<string, string>(), [wrong])).Message);
    }

    [Theory]
    [InlineData("a 'b c' \"d e\" f\\ g", "a|b c|d e|f g")]
    [InlineData("sh -c 'echo \"x\"'", "sh|-c|echo \"x\"")]
    [InlineData("  ", "")]
    [InlineData("a ''", "a|")]
    public void Command_lines_are_taken_apart(string line, string words) => Assert.Equal(words, string.Join('|', Specs.Words(line)));
}
