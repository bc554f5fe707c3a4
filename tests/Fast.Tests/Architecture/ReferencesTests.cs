using System.Reflection;

namespace Berth.Fast.Tests.Architecture;

public class ReferencesTests
{
    // The arrows of ARCHITECTURE.md; nothing else may refer to anything of ours.
    private static readonly Dictionary<string, string[]> Allowed = new()
    {
        ["Berth.Linux"] = [],
        ["Berth.Api"] = [],
        ["Berth.Dockerfile"] = ["Berth.Api"],
        ["Berth.Runtime"] = ["Berth.Linux"],
        ["Berth.Images"] = ["Berth.Linux"],
        ["Berth.Networks"] = ["Berth.Linux"],
        ["Berth.Engine"] = ["Berth.Api", "Berth.Dockerfile", "Berth.Runtime", "Berth.Images", "Berth.Networks", "Berth.Linux"],
        ["Berth.Registry"] = ["Berth.Images", "Berth.Linux"],
        ["Berth.Builder"] = ["Berth.Engine", "Berth.Api", "Berth.Dockerfile", "Berth.Images", "Berth.Linux"],
        ["berthd"] = ["Berth.Builder", "Berth.Dockerfile", "Berth.Engine", "Berth.Registry", "Berth.Api", "Berth.Runtime", "Berth.Images", "Berth.Networks", "Berth.Linux"],
        ["berth-monitor"] = ["Berth.Runtime", "Berth.Linux"],
        ["Berth.Compose"] = ["Berth.Api"],
        ["berth"] = ["Berth.Compose", "Berth.Api", "Berth.Dockerfile", "Berth.Linux"],
    };

    public static TheoryData<string> Assemblies => [.. Allowed.Keys];

    [Theory]
    [MemberData(nameof(Assemblies))]
    public void An_assembly_refers_only_to_those_below_it(string name)
    {
        var path = Path.Combine(AppContext.BaseDirectory, name + ".dll");
        Assert.SkipUnless(File.Exists(path), $"{name}.dll is not beside the tests");
        var ours = Assembly.LoadFrom(path).GetReferencedAssemblies()
            .Select(a => a.Name!)
            .Where(a => a.StartsWith("Berth.", StringComparison.Ordinal) || a.StartsWith("berth", StringComparison.Ordinal));
        Assert.Empty(ours.Except(Allowed[name]));
    }
}
