using System.Runtime.CompilerServices;
using Berth.Compose;
using Berth.Compose.Model;

namespace Berth.Fast.Tests.Compose;

/// <summary>What `docker compose config` (2.40.3) printed of these files, with the directory they lie in called /project. To make one anew, run that.</summary>
public class ConfigTests
{
    private static string TestData([CallerFilePath] string here = "") => Path.Combine(Path.GetDirectoryName(here)!, "testdata");

    internal static ProjectLoader LoaderOf(params string[] files) =>
        new(new ProjectSource { Files = [.. files.Select(f => Path.Combine(TestData(), f))] }, [new("HOME", "/home/u"), new("SET", "1")], static _ => { });

    private static string[] FilesOf(string name) => name == "merged" ? ["base.yaml", "over.yaml"] : [name + ".yaml"];

    private static string Expected(string file) => File.ReadAllText(Path.Combine(TestData(), file)).Replace("/project", TestData());

    // ~ is of the process, not of the loader's environment.
    private static string AtHome(string text) => text.Replace(Environment.GetEnvironmentVariable("HOME") + "/x", "/home/u/x");

    public static TheoryData<string> Names => ["short", "long", "strings", "anchors", "parts", "merged"];

    [Theory]
    [MemberData(nameof(Names))]
    public void The_model_is_printed_as_YAML_byte_for_byte(string name) =>
        Assert.Equal(Expected(name + ".config"), AtHome(LoaderOf(FilesOf(name)).Load(new() { DiscardEnvFiles = true }).ToYaml().Replace("$", "$$")));

    [Theory]
    [MemberData(nameof(Names))]
    public void The_model_is_printed_as_JSON_byte_for_byte(string name) =>
        Assert.Equal(Expected(name + ".json"), AtHome(LoaderOf(FilesOf(name)).Load(new() { DiscardEnvFiles = true }).ToJson().Replace("$", "$$")));

    // Hashes cover paths: those of files in this directory would differ from machine to machine.
    [Theory]
    [InlineData("strings")]
    [InlineData("anchors")]
    public void A_service_has_the_hash_that_docker_compose_gives_it(string name)
    {
        var project = LoaderOf(FilesOf(name)).Load(new() { ResolveEnvironment = false });
        Assert.Equal(Expected(name + ".hash"), string.Concat(project.ServiceNames.Select(s => $"{s} {ModelText.Hash(project.Service(s))}\n")));
    }
}
