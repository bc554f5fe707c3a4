using System.Text.Json;
using Berth.Api;
using Berth.Cli.Templates;

namespace Berth.Fast.Tests.Cli;

public class TemplateTests
{
    private const string Container =
        """
        {"Id":"abc","Name":"/web","Created":"2024-01-02T03:04:05Z","Args":["-c","echo hi"],"State":{"Status":"running","Running":true,"ExitCode":0},
         "HostConfig":{"Memory":67108864,"NanoCpus":1500000000,"Binds":null,"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]}},
         "Config":{"Env":["A=1","B=2"],"Labels":{"b":"2","a":"1"},"Tty":false},
         "NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}],"443/tcp":null},"Networks":{"bridge":{"IPAddress":"172.17.0.2"}}}}
        """;

    private static string Run(string template) => Template.Parse(template).Execute(JsonDocument.Parse(Container).RootElement, typeof(ContainerInspect));

    [Theory]
    [InlineData("{{.Name}}", "/web")]
    [InlineData("{{.ID}}{{.HostConfig.NanoCPUs}}", "abc1500000000")]
    [InlineData("{{.State.Running}} {{.State.ExitCode}}", "true 0")]
    [InlineData("{{.Id}} {{.HostConfig.NanoCpus}} {{.NetworkSettings.Ports}}", "abc 1500000000 map[443/tcp:<nil> 80/tcp:[map[HostIp:0.0.0.0 HostPort:8080]]]")]
    [InlineData("{{.Args}}", "[-c echo hi]")]
    [InlineData("{{.Config.Labels}}", "map[a:1 b:2]")]
    [InlineData("{{.NetworkSettings.Ports}}", "map[443/tcp:[] 80/tcp:[{0.0.0.0 8080}]]")]
    [InlineData("{{json .Config.Labels}}", """{"b":"2","a":"1"}""")]
    [InlineData("{{json .Name}}", "\"/web\"")]
    [InlineData("{{.State.Health}}", "<nil>")]
    [InlineData("{{if .State.Health}}sick{{else}}none{{end}}", "none")]
    [InlineData("{{.State.OOMKilled}} [{{.Config.User}}]", "false []")]
    [InlineData("{{.Config.Labels.missing}}", "<no value>")]
    [InlineData("{{index .Config.Labels \"a\"}}{{index .Config.Labels \"z\"}}", "1")]
    [InlineData("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080")]
    [InlineData("{{with index .NetworkSettings.Ports \"80/tcp\"}}{{(index . 0).HostPort}}{{end}}", "8080")]
    [InlineData("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "172.17.0.2")]
    [InlineData("{{range $name, $net := .NetworkSettings.Networks}}{{$name}}={{$net.IPAddress}}{{end}}", "bridge=172.17.0.2")]
    [InlineData("{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$i}}:{{$e}}{{end}}", "0:A=1,1:B=2")]
    [InlineData("{{range .Config.Env}}{{.}};{{end}}", "A=1;B=2;")]
    [InlineData("{{range .HostConfig.Binds}}x{{else}}none{{end}}", "none")]
    [InlineData("{{range .Config.Env}}{{if eq . \"B=2\"}}{{break}}{{end}}{{.}}{{end}}", "A=1")]
    [InlineData("{{range .Config.Env}}{{if eq . \"A=1\"}}{{continue}}{{end}}{{.}}{{end}}", "B=2")]
    [InlineData("{{if and .State.Running (not .Config.Tty)}}yes{{end}}", "yes")]
    [InlineData("{{if eq .State.Status \"exited\" \"running\"}}yes{{else if .Foo}}{{end}}", "yes")]
    [InlineData("{{if gt .HostConfig.Memory 1024}}big{{end}}", "big")]
    [InlineData("{{join .Config.Env \",\"}} {{upper .State.Status}} {{title .State.Status}} {{len .Config.Env}}", "A=1,B=2 RUNNING Running 2")]
    [InlineData("{{.Name | lower | printf \"%-8s|\"}}", "/web    |")]
    [InlineData("{{printf \"%d %5d %q %v\" .State.ExitCode .HostConfig.Memory .Name .Config.Tty}}", "0 67108864 \"/web\" false")]
    [InlineData("{{split .Name \"/\"}} {{index (split .Name \"/\") 1}} {{slice .Id 0 2}} {{truncate .Id 1}} {{pad .Id 1 2}}|", "[ web] web ab a  abc  |")]
    [InlineData("a {{- .Id -}} b {{/* no */}}c", "aabcb c")]
    [InlineData("{{$x := .Id}}{{$x}}{{$x = \"z\"}}{{$x}}", "abcz")]
    [InlineData("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Id}}", "<abc>")]
    [InlineData("{{`raw \"`}} {{\"q\\t\"}}", "raw \" q\t")]
    [InlineData("{{println .Id}}", "abc\n")]
    [InlineData("{{with .Config}}{{.Tty}} {{$.Id}}{{end}}", "false abc")]
    [InlineData("{{range 3}}{{.}}{{end}}", "012")]
    [InlineData("{{or .Config.User \"root\"}}", "root")]
    [InlineData("{{html \"<a&b>\"}}", "&lt;a&amp;b&gt;")]
    [InlineData("{{.HostConfig.Binds}} {{.HostConfig.Tmpfs}} {{json .HostConfig.Binds}} {{len .HostConfig.Binds}}", "[] map[] null 0")]
    [InlineData("{{.Created}}", "2024-01-02T03:04:05Z")]
    public void A_container_through_a_template(string template, string expected) => Assert.Equal(expected, Run(template));

    [Theory]
    [InlineData("{{.Foo}}", "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"")]
    [InlineData("x\n{{.State.Foo}}", "template: :2:8: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\"")]
    [InlineData("{{index .Args 9}}", "template: :1:2: executing \"\" at <index .Args 9>: error calling index: index out of range: 9")]
    [InlineData("{{.Name.Foo}}", "template: :1:7: executing \"\" at <.Name.Foo>: can't evaluate field Foo in type string")]
    public void What_is_not_there_is_said_where_it_is_asked_for(string template, string message) =>
        Assert.Equal(message, Assert.Throws<TemplateException>(() => Run(template)).Message);

    [Theory]
    [InlineData("{{")]
    [InlineData("{{.Id")]
    [InlineData("{{if .Id}}")]
    [InlineData("{{end}}")]
    [InlineData("{{else}}")]
    [InlineData("{{nofunc .Id}}")]
    [InlineData("{{.Id | 5}}")]
    [InlineData("{{(.Id}}")]
    [InlineData("{{\"x}}")]
    [InlineData("{{/* x}}")]
    [InlineData("{{range .X}}{{else}}{{else}}{{end}}")]
    [InlineData("{{}}")]
    [InlineData("{{.Id }} {{ | }}")]
    [InlineData("{{@}}")]
    [InlineData("{{template \"none\"}}")]
    [InlineData("{{$undefined}}")]
    public void A_malformed_template_is_an_error_and_nothing_else(string template) => Assert.Throws<TemplateException>(() => Run(template));

    [Fact]
    public void Random_templates_never_throw_anything_else()
    {
        var seed = Environment.TickCount;
        var random = new Random(seed);
        string[] pieces = ["{{", "}}", ".Id", ".", "$", "$x", ":=", "|", "(", ")", "\"a\"", "`", "if ", "range ", "with ", "end", "else", "index ", "json ", "len ", "eq ", "printf ", "5", "-1", " ", "- ", " -", "\n", ".State", ",", "slice ", "define ", "template ", "break", "é"];
        for (var i = 0; i < 5_000; i++)
        {
            var text = string.Concat(Enumerable.Range(0, random.Next(1, 14)).Select(_ => pieces[random.Next(pieces.Length)]));
            try
            {
                Run(text);
            }
            catch (TemplateException)
            {
            }
            catch (Exception e)
            {
                Assert.Fail($"seed {seed}, template {text}: {e}");
            }
        }
    }

    [Fact]
    public void A_template_that_calls_itself_ends()
    {
        var error = Assert.Throws<TemplateException>(() => Run("{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}"));
        Assert.Contains("exceeded maximum template depth", error.Message);
    }
}
