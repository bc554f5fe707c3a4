using Berth.Testing;

namespace Berth.Fast.Tests.Cli;

/// <summary>berth login, logout and the file that Docker's clients share.</summary>
public sealed class LoginTests : IDisposable
{
    private const string Server = "registry.test:5000";

    private readonly TestDirectory directory = new();

    public void Dispose() => directory.Dispose();

    private string Config
    {
        get => File.ReadAllText(directory["docker/config.json"]);
        set
        {
            Directory.CreateDirectory(directory["docker"]);
            File.WriteAllText(directory["docker/config.json"], value);
        }
    }

    private Task<CliResult> Run(string input, string token, params string[] words) => Answered(input, $$"""{"IdentityToken":"{{token}}","Status":"Login Succeeded"}""", "200 OK", words);

    private Task<CliResult> Answered(string input, string answer, string status, params string[] words) => new CliRun
    {
        Input = input,
        Variables = new Dictionary<string, string> { ["DOCKER_CONFIG"] = directory["docker"], ["PATH"] = directory["bin"] },
    }.Answer("POST /auth", answer, status).RunAsync(words);

    [Fact]
    public async Task A_login_is_kept_for_the_user_alone_and_said_to_be_unencrypted()
    {
        var result = await Run("secret\n", "", "login", "-u", "alice", "--password-stdin", Server);
        Assert.Equal((0, "Login Succeeded\n"), (result.ExitCode, result.Output));
        Assert.Equal($"\nWARNING! Your credentials are stored unencrypted in '{directory["docker/config.json"]}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n\n", result.Error);
        Assert.Equal("{\n\t\"auths\": {\n\t\t\"registry.test:5000\": {\n\t\t\t\"auth\": \"YWxpY2U6c2VjcmV0\"\n\t\t}\n\t}\n}", Config);
        Assert.Equal((UnixFileMode)0b110_000_000, File.GetUnixFileMode(directory["docker/config.json"]));
        Assert.Equal((UnixFileMode)0b111_000_000, File.GetUnixFileMode(directory["docker"]));

        // A second one with what is there; nothing new is written or warned of.
        var again = await Run("", "", "login", Server);
        Assert.Equal((0, "Login Succeeded\n"), (again.ExitCode, again.Output));
        Assert.StartsWith("Authenticating with existing credentials... [Username: alice]\n", again.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("WARNING", again.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_token_is_kept_instead_of_the_password()
    {
        Assert.Equal("", (await Run("secret", "idtoken", "login", "-u", "alice", "--password-stdin", "https://registry.test:5000/v2/")).Error);
        Assert.Contains("\"registry.test:5000\": {\n\t\t\t\"auth\": \"YWxpY2U6\",\n\t\t\t\"identitytoken\": \"idtoken\"", Config, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_else_the_file_holds_stays_as_it_was()
    {
        Config = """{"psFormat":"table","auths":{"other":{"auth":"YTpi","email":"x"},"https://registry.test:5000/v1/":{"auth":"YTpi"}},"unknown":{"list":[1,2.50,"ü"]}}""";
        File.SetUnixFileMode(directory["docker/config.json"], (UnixFileMode)0b110_100_000);
        await Run("secret\r\n", "", "login", "-u", "alice", "--password-stdin", Server);
        Assert.Equal("{\n\t\"psFormat\": \"table\",\n\t\"auths\": {\n\t\t\"other\": {\n\t\t\t\"auth\": \"YTpi\",\n\t\t\t\"email\": \"x\"\n\t\t},\n\t\t\"https://registry.test:5000/v1/\": {\n\t\t\t\"auth\": \"YTpi\"\n\t\t},\n"
            + "\t\t\"registry.test:5000\": {\n\t\t\t\"auth\": \"YWxpY2U6c2VjcmV0\"\n\t\t}\n\t},\n\t\"unknown\": {\n\t\t\"list\": [\n\t\t\t1,\n\t\t\t2.50,\n\t\t\t\"ü\"\n\t\t]\n\t}\n}", Config);
        Assert.Equal((UnixFileMode)0b110_100_000, File.GetUnixFileMode(directory["docker/config.json"]));
        var result = await Run("", "", "logout", Server);
        Assert.Equal((0, $"Removing login credentials for {Server}\n", ""), (result.ExitCode, result.Output, result.Error));
        Assert.DoesNotContain("YWxpY2U6c2VjcmV0", Config, StringComparison.Ordinal);
        Assert.Contains("2.50", Config, StringComparison.Ordinal);
        Assert.Equal([directory["docker/config.json"]], Directory.GetFiles(directory["docker"]));
    }

    [Fact]
    public async Task A_link_stays_a_link_and_a_damaged_file_is_not_overwritten()
    {
        Directory.CreateDirectory(directory["docker"]);
        File.WriteAllText(directory["real.json"], "{}");
        File.CreateSymbolicLink(directory["docker/config.json"], directory["real.json"]);
        await Run("secret", "", "login", "-u", "alice", "--password-stdin", Server);
        Assert.Equal(directory["real.json"], new FileInfo(directory["docker/config.json"]).LinkTarget);
        Assert.Contains(Server, File.ReadAllText(directory["real.json"]), StringComparison.Ordinal);

        File.WriteAllText(directory["real.json"], "{damaged");
        var result = await Run("secret", "", "login", "-u", "alice", "--password-stdin", Server);
        Assert.Equal(1, result.ExitCode);
        Assert.StartsWith($"WARNING: Error parsing config file ({directory["docker/config.json"]}): ", result.Error, StringComparison.Ordinal);
        Assert.Contains("Error saving credentials", result.Error, StringComparison.Ordinal);
        Assert.Equal("{damaged", File.ReadAllText(directory["real.json"]));
    }

    [Theory]
    [InlineData("conflicting options: cannot specify both --password and --password-stdin", "-u", "a", "-p", "b", "--password-stdin")]
    [InlineData("the --password-stdin option requires --username to be set", "--password-stdin")]
    [InlineData("username is empty", "-u", "", "-p", "x")]
    [InlineData("password is empty", "-u", "x", "-p", "")]
    [InlineData("Error: Cannot perform an interactive login from a non TTY device", "-u", "alice")]
    public async Task What_cannot_be_a_login_is_refused_in_docker_s_words(string error, params string[] flags)
    {
        var result = await Run("", "", ["login", .. flags, Server]);
        Assert.Equal((1, error + "\n"), (result.ExitCode, result.Error));
        Assert.Empty(result.Requests);
    }

    [Fact]
    public async Task A_registry_s_refusal_keeps_nothing()
    {
        var result = await Answered("", """{"message":"Get \"https://registry.test:5000/v2/\": unauthorized: wrong"}""", "401 Unauthorized", "login", "-u", "alice", "-p", "wrong", Server);
        Assert.Equal((1, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\nError response from daemon: Get \"https://registry.test:5000/v2/\": unauthorized: wrong\n"), (result.ExitCode, result.Error));
        Assert.False(File.Exists(directory["docker/config.json"]));
    }

    [Theory]
    [InlineData("""{"credsStore":"test"}""")]
    [InlineData("""{"credHelpers":{"registry.test:5000":"test"},"credsStore":"other"}""")]
    public async Task A_helper_keeps_credentials_and_gives_them_back(string config)
    {
        Config = config;
        Directory.CreateDirectory(directory["bin"]);
        var helper = directory["bin/docker-credential-test"];
        File.WriteAllText(helper, $"""
            #!/bin/sh
            case $1 in
              store) /bin/cat > {directory["stored"]} ;;
              get) read server; if [ -f {directory["stored"]} ]; then /bin/cat {directory["stored"]}; else echo credentials not found in native keychain; exit 1; fi ;;
              erase) read server; echo "$server" >> {directory["erased"]} ;;
            esac
            """);
        File.SetUnixFileMode(helper, (UnixFileMode)0b111_101_101);
        // The process's own PATH is where programs are looked for.
        var before = Environment.GetEnvironmentVariable("PATH");
        Environment.SetEnvironmentVariable("PATH", directory["bin"] + ":" + before);
        try
        {
            var result = await Run("secret", "", "login", "-u", "alice", "--password-stdin", Server);
            Assert.Equal((0, ""), (result.ExitCode, result.Error));
            Assert.Equal("""{"ServerURL":"registry.test:5000","Username":"alice","Secret":"secret"}""", File.ReadAllText(directory["stored"]));
            Assert.DoesNotContain("auth\"", Config, StringComparison.Ordinal);
            Assert.StartsWith("Authenticating with existing credentials... [Username: alice]", (await Run("", "", "login", Server)).Error, StringComparison.Ordinal);
            await Run("", "", "logout", Server);
            Assert.Contains(Server, File.ReadAllText(directory["erased"]), StringComparison.Ordinal);
        }
        finally
        {
            Environment.SetEnvironmentVariable("PATH", before);
        }
    }

    [Fact]
    public async Task A_helper_that_is_not_there_fails_a_login_by_its_name()
    {
        Config = """{"credsStore":"missing"}""";
        var result = await Run("secret", "", "login", "-u", "alice", "--password-stdin", Server);
        Assert.Equal((1, "Error saving credentials: error storing credentials - err: exec: \"docker-credential-missing\": executable file not found in $PATH, out: ``\n"), (result.ExitCode, result.Error));
    }
}
