using Berth.Api;
using Berth.Compose;
using Berth.Compose.Engine;
using Berth.Compose.Model;

namespace Berth.Fast.Tests.Compose;

/// <summary>Plans as texts: what would be done, why, and after what.</summary>
public sealed class ReconcileTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("berth-compose-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private Project Load(string services, string more = "")
    {
        File.WriteAllText(Path.Combine(_directory, "compose.yaml"), $"name: p\nservices:\n{services}\n{more}");
        return new ProjectLoader(new ProjectSource { Directory = _directory }, [], static _ => { }).Load();
    }

    private static readonly ImageSummary Image = new() { Id = "sha256:1", RepoTags = ["x:latest"] };

    // What there is after `up` of this project.
    private static Observed After(Project project, params (string Service, int Number, string State)[] containers)
    {
        var networks = new Dictionary<string, NetworkInspect>();
        foreach (var (key, network) in project.Networks)
            networks[network.TextOf("name")] = new NetworkInspect { Name = network.TextOf("name"), Id = "n-" + key, Labels = new() { [Labels.Project] = "p", [Labels.Network] = key } };
        var list = new List<ServiceContainer>();
        foreach (var (service, number, state) in containers)
        {
            var labels = new Dictionary<string, string> { [Labels.Project] = "p", [Labels.Service] = service, [Labels.Number] = $"{number}", [Labels.OneOff] = "False", [Labels.Image] = Image.Id };
            if (project.Services.TryGetValue(service, out var config))
            {
                labels[Labels.ConfigHash] = ModelText.Hash(config);
                labels[Labels.DependsOn] = string.Join(',', config.MapOf("depends_on").Select(d => d.Key + ":service_started:false"));
            }
            list.Add(new ServiceContainer(new ContainerSummary
            {
                Id = $"{service}{number}".PadRight(64, '0'), Names = [$"/p-{service}-{number}"], State = state, Labels = labels,
                NetworkSettings = new() { Networks = networks.ToDictionary(n => n.Key, n => new EndpointSettings { NetworkID = n.Value.Id }) },
            }));
        }
        return new Observed(list, networks, new Dictionary<string, Volume>(), new Dictionary<string, ImageSummary> { ["docker.io/library/x:latest"] = Image });
    }

    private static Observed Nothing => new([], new Dictionary<string, NetworkInspect>(), new Dictionary<string, Volume>(), new Dictionary<string, ImageSummary>());

    [Fact]
    public void Those_that_want_it_are_restarted_with_what_they_depend_on_and_after_it()
    {
        var project = Load("  db: {image: x, healthcheck: {test: x} }\n  web: {image: x, depends_on: {db: {condition: service_healthy, restart: true} } }\n  log: {image: x, depends_on: [db]}\n");
        var observed = After(project, ("db", 1, "running"), ("web", 1, "running"), ("log", 1, "running"));
        Assert.Equal("#1 Restart p-db-1\n[1] -> #2 Wait db, healthy\n[2] -> #3 Restart p-web-1\n", Reconcile.Restart(project, observed, ["db"], alone: false).ToString());
        Assert.Equal("#1 Restart p-db-1\n", Reconcile.Restart(project, observed, ["db"], alone: true).ToString());
        Assert.Equal("#1 Restart p-db-1\n#2 Restart p-log-1\n[1] -> #3 Wait db, healthy\n[3] -> #4 Restart p-web-1\n", Reconcile.Restart(project, observed, [], alone: false).ToString());
    }

    [Fact]
    public void Images_that_were_made_of_the_project_go_with_it_when_that_is_asked_for()
    {
        var project = Load(Two);
        var made = new ImageSummary { Id = "sha256:2", RepoTags = ["made:1"], Labels = new() { [Labels.Project] = "p", [Labels.Service] = "web" } };
        var observed = After(project) with { Images = new Dictionary<string, ImageSummary> { ["docker.io/library/x:latest"] = Image, ["docker.io/library/made:1"] = made, ["sha256:2"] = made } };
        Assert.Equal("#1 RemoveNetwork p_default\n#2 RemoveImage made:1\n", Reconcile.Down("p", project, observed, new() { Images = "local" }).ToString());
        Assert.Equal("#1 RemoveNetwork p_default\n#2 RemoveImage x\n#3 RemoveImage made:1\n", Reconcile.Down("p", project, observed, new() { Images = "all" }).ToString());
    }

    private const string Two = "  db: {image: x}\n  web: {image: x, depends_on: [db]}\n";

    [Fact]
    public void Everything_is_made_at_once_and_started_in_order() => Assert.Equal("""
        #1 CreateNetwork p_default, not found
        [1] -> #2 Create p-db-1, not found
        [1] -> #3 Create p-web-1, not found
        [2,3] -> #4 Start p-db-1
        [2,3,4] -> #5 Start p-web-1

        """, Reconcile.Up(Load(Two), Nothing, new()).ToString());

    [Fact]
    public void A_condition_is_waited_for() => Assert.Equal("""
        #1 CreateNetwork p_default, not found
        [1] -> #2 Create p-init-1, not found
        [1] -> #3 Create p-web-1, not found
        [1] -> #4 Create p-web-2, not found
        [2,3,4] -> #5 Start p-init-1
        [2,3,4,5] -> #6 Wait init, completed
        [2,3,4,6] -> #7 Start p-web-1
        [2,3,4,6] -> #8 Start p-web-2

        """, Reconcile.Up(Load("  init: {image: x}\n  web: {image: x, scale: 2, depends_on: {init: {condition: service_completed_successfully}}}\n"), Nothing, new()).ToString());

    [Fact]
    public void What_is_as_it_should_be_is_left_alone()
    {
        var project = Load(Two);
        var plan = Reconcile.Up(project, After(project, ("db", 1, "running"), ("web", 1, "running")), new());
        Assert.Empty(plan.Steps);
        Assert.Equal(["p-db-1", "p-web-1"], plan.Kept.Select(k => k.Name));
    }

    [Fact]
    public void What_changed_is_made_anew_and_what_stopped_is_started()
    {
        var project = Load(Two);
        var observed = After(project, ("db", 1, "exited"), ("web", 1, "running"));
        var changed = Load("  db: {image: x}\n  web: {image: x, depends_on: [db], hostname: h}\n");
        Assert.Equal("""
            #1 Recreate p-web-1, configuration changed
            [1] -> #2 Start p-db-1
            [1,2] -> #3 Start p-web-1

            """, Reconcile.Up(changed, observed, new()).ToString());
        Assert.Equal("#1 Start p-db-1\n", Reconcile.Up(changed, observed, new() { Recreate = Recreation.Never }).ToString());
    }

    [Fact]
    public void Scaling_down_takes_the_highest_numbers_and_up_goes_on_counting()
    {
        var project = Load("  web: {image: x}\n");
        var observed = After(project, ("web", 1, "running"), ("web", 2, "running"), ("web", 3, "exited"));
        Assert.Equal("#1 Stop p-web-2, scaled down\n[1] -> #2 Remove p-web-2, scaled down\n#3 Remove p-web-3, scaled down\n", Reconcile.Up(project, observed, new()).ToString());
        Project.SetScale(project.Service("web"), 4);
        Assert.Contains("Create p-web-4", Reconcile.Up(project, observed, new()).ToString());
    }

    [Fact]
    public void A_dependent_that_asks_for_it_is_restarted()
    {
        var before = Load("  db: {image: x}\n  web: {image: x, depends_on: {db: {condition: service_started, restart: true}}}\n");
        var observed = After(before, ("db", 1, "running"), ("web", 1, "running"));
        var project = Load("  db: {image: x, hostname: h}\n  web: {image: x, depends_on: {db: {condition: service_started, restart: true}}}\n");
        Assert.Equal("""
            #1 Stop p-web-1, db is recreated
            [1] -> #2 Recreate p-db-1, configuration changed
            [2] -> #3 Start p-db-1
            [1,2,3] -> #4 Start p-web-1

            """, Reconcile.Up(project, observed, new()).ToString());
    }

    [Fact]
    public void Orphans_are_spoken_of_and_removed_when_asked()
    {
        var project = Load("  web: {image: x}\n");
        var observed = After(project, ("web", 1, "running"), ("old", 1, "running"));
        Assert.StartsWith("Found orphan containers ([p-old-1]) for this project.", Assert.Single(Reconcile.Up(project, observed, new()).Warnings));
        Assert.Equal("#1 Stop p-old-1, orphan\n[1] -> #2 Remove p-old-1, orphan\n", Reconcile.Up(project, observed, new() { RemoveOrphans = true }).ToString());
    }

    [Fact]
    public void Down_takes_dependents_first_and_networks_last_with_files_and_without()
    {
        var project = Load(Two);
        var observed = After(project, ("db", 1, "running"), ("web", 1, "running"));
        const string plan = """
            #1 Stop p-web-1
            [1] -> #2 Remove p-web-1
            [2] -> #3 Stop p-db-1
            [3] -> #4 Remove p-db-1
            [2,4] -> #5 RemoveNetwork p_default

            """;
        Assert.Equal(plan, Reconcile.Down("p", project, observed, new()).ToString());
        Assert.Equal(plan, Reconcile.Down("p", null, observed, new()).ToString());
        Assert.Equal("#1 Stop p-web-1\n[1] -> #2 Stop p-db-1\n", Reconcile.Stop(observed, project).ToString());
    }
}
