namespace Berth.Compose.Engine;

/// <summary>docker compose's own labels: what one tool started, the other finds, and finds up to date.</summary>
public static class Labels
{
    public const string Project = "com.docker.compose.project";
    public const string Service = "com.docker.compose.service";
    public const string ConfigHash = "com.docker.compose.config-hash";
    public const string Number = "com.docker.compose.container-number";
    public const string Volume = "com.docker.compose.volume";
    public const string Network = "com.docker.compose.network";
    public const string WorkingDirectory = "com.docker.compose.project.working_dir";
    public const string ConfigFiles = "com.docker.compose.project.config_files";
    public const string EnvironmentFile = "com.docker.compose.project.environment_file";
    public const string OneOff = "com.docker.compose.oneoff";
    public const string Slug = "com.docker.compose.slug";
    public const string Image = "com.docker.compose.image";
    public const string DependsOn = "com.docker.compose.depends_on";
    public const string Version = "com.docker.compose.version";
    public const string Replace = "com.docker.compose.replace";

    /// <summary>The docker compose whose labels, hashes and printed model these are.</summary>
    public const string CompatibleVersion = "2.40.3";
}
