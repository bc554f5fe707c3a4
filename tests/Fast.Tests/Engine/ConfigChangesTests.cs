using System.Text.Json;
using Berth.Engine;
using Berth.Images;

namespace Berth.Fast.Tests.Engine;

public class ConfigChangesTests
{
    private static string Apply(params string[] changes) =>
        JsonSerializer.Serialize(ConfigChanges.Apply(new ContainerConfig(), changes), new JsonSerializerOptions { DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping });

    // Each was given to Docker 28.5's import, whose answer stands on the right.
    [Theory]
    [InlineData("""CMD ["a", "b"]""", """{"Cmd":["a","b"]}""")]
    [InlineData("cmd ls -l", """{"Cmd":["/bin/sh","-c","ls -l"]}""")]
    [InlineData("CMD", """{"Cmd":["/bin/sh","-c"]}""")]
    [InlineData("""CMD ["a", "b" """, """{"Cmd":["/bin/sh","-c","[\"a\", \"b\""]}""")]
    [InlineData("ENTRYPOINT a b", """{"Entrypoint":["/bin/sh","-c","a b"]}""")]
    [InlineData("EXPOSE 80-82/udp 99", """{"ExposedPorts":{"80/udp":{},"81/udp":{},"82/udp":{},"99/tcp":{}}}""")]
    [InlineData("EXPOSE 1:2", """{"ExposedPorts":{"2/tcp":{}}}""")]
    [InlineData("USER a b", """{"User":"a b"}""")]
    [InlineData("""VOLUME ["/a","b c"]""", """{"Volumes":{"/a":{},"b c":{}}}""")]
    [InlineData("LABEL a b c", """{"Labels":{"a":"b c"}}""")]
    [InlineData("LABEL a=\"b c\" d='e f'", """{"Labels":{"a":"b c","d":"e f"}}""")]
    [InlineData("ENV A=1 B=$A C=\"x y\"\nENV D=${B:-z}-${A}", """{"Env":["A=1","B=","C=x y","D=z-1"]}""")]
    [InlineData("ENV A=1\nENV B=2\nENV A=3", """{"Env":["A=3","B=2"]}""")]
    [InlineData("ENV A $HOME is x", """{"Env":["A= is x"]}""")]
    [InlineData("ENV A='$B' C=\\$D", """{"Env":["A=$B","C=$D"]}""")]
    [InlineData("WORKDIR a\nWORKDIR b/../c", """{"WorkingDir":"/a/c"}""")]
    [InlineData("WORKDIR /x\nWORKDIR /y/", """{"WorkingDir":"/y"}""")]
    [InlineData("STOPSIGNAL SIGTERM", """{"StopSignal":"SIGTERM"}""")]
    [InlineData("STOPSIGNAL 9", """{"StopSignal":"9"}""")]
    [InlineData("ONBUILD RUN x", """{"OnBuild":["RUN x"]}""")]
    [InlineData("HEALTHCHECK --interval=1m30s --retries=3 CMD curl x", """{"Healthcheck":{"Test":["CMD-SHELL","curl x"],"Interval":90000000000,"Retries":3}}""")]
    [InlineData("HEALTHCHECK --interval=1ms CMD x", """{"Healthcheck":{"Test":["CMD-SHELL","x"],"Interval":1000000}}""")]
    [InlineData("""HEALTHCHECK CMD ["a"]""", """{"Healthcheck":{"Test":["CMD","a"]}}""")]
    [InlineData("HEALTHCHECK NONE", """{"Healthcheck":{"Test":["NONE"]}}""")]
    [InlineData("# a comment\nENV A=1 \\\n  B=2\n\nUSER u", """{"User":"u","Env":["A=1","B=2"]}""")]
    public void Changes_do_what_docker_s_do(string change, string config) => Assert.Equal(config, Apply(change));

    [Theory]
    [InlineData("FOO bar", "FOO is not a valid change command")]
    [InlineData("RUN x", "RUN is not a valid change command")]
    [InlineData("", "file with no instructions")]
    [InlineData("ENV", "ENV requires at least one argument")]
    [InlineData("ENV a", "ENV must have two arguments")]
    [InlineData("ENV a=b c", "Syntax error - can't find = in \"c\". Must be of the form: name=value")]
    [InlineData("EXPOSE abc", "Invalid containerPort: abc")]
    [InlineData("EXPOSE 90-80", "Invalid containerPort: 90-80")]
    [InlineData("EXPOSE 70000", "Invalid containerPort: 70000")]
    [InlineData("STOPSIGNAL FOO", "invalid signal: FOO")]
    [InlineData("USER", "USER requires exactly one argument")]
    [InlineData("WORKDIR", "WORKDIR requires exactly one argument")]
    [InlineData("VOLUME", "VOLUME requires at least one argument")]
    [InlineData("CMD [1]", "when using JSON array syntax, arrays must be comprised of strings only")]
    [InlineData("ONBUILD", "ONBUILD requires at least one argument")]
    [InlineData("ONBUILD ONBUILD x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    [InlineData("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger")]
    [InlineData("HEALTHCHECK", "HEALTHCHECK requires at least one argument")]
    [InlineData("HEALTHCHECK FOO", "Unknown type \"FOO\" in HEALTHCHECK (try CMD)")]
    [InlineData("HEALTHCHECK --interval=1s CMD", "Missing command after HEALTHCHECK CMD")]
    [InlineData("HEALTHCHECK --foo=1 CMD x", "unknown flag: --foo")]
    [InlineData("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)")]
    [InlineData("LABEL a", "LABEL must have two arguments")]
    public void A_bad_change_is_refused_in_docker_s_words(string change, string message)
    {
        var error = Assert.Throws<EngineException>(() => Apply(change));
        Assert.Equal((ErrorKind.InvalidParameter, message), (error.Kind, error.Message));
    }
}
