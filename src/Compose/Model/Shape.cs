namespace Berth.Compose.Model;

/// <summary>What an attribute is, once bound: how it is read from the model and how it is printed.</summary>
internal enum FieldType
{
    String,
    Int,
    Float32,
    Float64,
    Bool,
    /// <summary>64m; printed as a number in quotes.</summary>
    Bytes,
    /// <summary>1m30s, nanoseconds inside.</summary>
    Duration,
    Strings,
    /// <summary>A text is taken apart as a shell does; empty is not the same as absent.</summary>
    Command,
    /// <summary>name=value list or map; texts.</summary>
    Mapping,
    /// <summary>The same; a name without a value keeps none.</summary>
    EnvMapping,
    Labels,
    /// <summary>Name to a list of values.</summary>
    MultiOptions,
    Hosts,
    HealthTest,
    Struct,
    StructList,
    StructMap,
    Ulimits,
    EnvFiles,
    Ssh,
    DeviceCount,
    FileMode,
    /// <summary>Options of a port range and such: any scalar as text.</summary>
    Any,
}

/// <param name="Name">As in the file.</param>
/// <param name="Type">What it is.</param>
/// <param name="Shape">Of its parts, when it has some.</param>
internal sealed record Field(string Name, FieldType Type, Shape? Shape = null)
{
    /// <summary>Zero and empty values are there too; only absence is absence.</summary>
    public bool Pointer { get; init; }

    /// <summary>Printed in JSON even when it is absent (null) or, a structure, empty ({}).</summary>
    public bool AlwaysInJson { get; init; }

    /// <summary>Printed in YAML even when it is zero.</summary>
    public bool AlwaysInYaml { get; init; }

    /// <summary>When JSON calls it differently.</summary>
    public string? JsonName { get; init; }
}

/// <summary>
/// The attributes of the model in the order in which compose v2 prints them: the order, what is left out and the form of each value are
/// part of what `compose config` prints and of the hash that says whether a container is up to date.
/// </summary>
internal sealed class Shape(params Field[] fields)
{
    private readonly Dictionary<string, Field> _byName = fields.ToDictionary(f => f.Name, StringComparer.Ordinal);

    public Field[] Fields { get; } = fields;

    public Field? Find(string name) => _byName.GetValueOrDefault(name);

    private static Field S(string name) => new(name, FieldType.String);

    private static Field I(string name) => new(name, FieldType.Int);

    private static Field B(string name) => new(name, FieldType.Bool);

    private static Field L(string name) => new(name, FieldType.Strings);

    private static Field Of(string name, FieldType type) => new(name, type);

    private static Field P(Field field) => field with { Pointer = true };

    private static Field One(string name, Shape shape) => new(name, FieldType.Struct, shape) { Pointer = true };

    private static Field Value(string name, Shape shape) => new(name, FieldType.Struct, shape) { AlwaysInJson = true };

    private static Field Many(string name, Shape shape) => new(name, FieldType.StructList, shape);

    private static Field Named(string name, Shape shape) => new(name, FieldType.StructMap, shape);

    public static readonly Shape Hook = new(Of("command", FieldType.Command) with { AlwaysInJson = true }, S("user"), B("privileged"), S("working_dir"), Of("environment", FieldType.EnvMapping));

    public static readonly Shape FileReference = new(S("source"), S("target"), S("uid"), S("gid"), P(Of("mode", FieldType.FileMode)));

    public static readonly Shape Build = new(
        S("context"), S("dockerfile"), S("dockerfile_inline"), L("entitlements"), Of("args", FieldType.EnvMapping), S("provenance"), S("sbom"), Of("ssh", FieldType.Ssh), Of("labels", FieldType.Labels),
        L("cache_from"), L("cache_to"), B("no_cache"), Of("additional_contexts", FieldType.Mapping), B("pull"), Of("extra_hosts", FieldType.Hosts), S("isolation"), S("network"), S("target"),
        Many("secrets", FileReference), Of("shm_size", FieldType.Bytes), L("tags"), Of("ulimits", FieldType.Ulimits), L("platforms"), B("privileged"));

    public static readonly Shape Develop = new(Many("watch", new Shape(
        S("path") with { AlwaysInJson = true, AlwaysInYaml = true }, S("action") with { AlwaysInJson = true, AlwaysInYaml = true }, S("target"), Value("exec", Hook), L("include"), L("ignore"), B("initial_sync"))));

    private static readonly Shape Throttle = new(
        S("path") with { AlwaysInJson = true, AlwaysInYaml = true, JsonName = "Path" }, Of("rate", FieldType.Bytes) with { AlwaysInJson = true, AlwaysInYaml = true, JsonName = "Rate" });

    public static readonly Shape Blkio = new(
        I("weight"),
        Many("weight_device", new Shape(S("path") with { AlwaysInJson = true, AlwaysInYaml = true, JsonName = "Path" }, I("weight") with { AlwaysInJson = true, AlwaysInYaml = true, JsonName = "Weight" })),
        Many("device_read_bps", Throttle), Many("device_read_iops", Throttle), Many("device_write_bps", Throttle), Many("device_write_iops", Throttle));

    private static readonly Shape DeviceRequest = new(L("capabilities"), S("driver"), Of("count", FieldType.DeviceCount), L("device_ids"), Of("options", FieldType.Mapping));

    private static readonly Shape Resource = new(
        Of("cpus", FieldType.Float32), Of("memory", FieldType.Bytes), I("pids"), Many("devices", DeviceRequest),
        Many("generic_resources", new Shape(One("discrete_resource_spec", new Shape(S("kind") with { AlwaysInJson = true, AlwaysInYaml = true }, I("value") with { AlwaysInJson = true, AlwaysInYaml = true })))));

    private static readonly Shape Update = new(P(I("parallelism")), Of("delay", FieldType.Duration), S("failure_action"), Of("monitor", FieldType.Duration), Of("max_failure_ratio", FieldType.Float32), S("order"));

    public static readonly Shape Deploy = new(
        S("mode"), P(I("replicas")), Of("labels", FieldType.Labels), One("update_config", Update), One("rollback_config", Update),
        Value("resources", new Shape(One("limits", Resource), One("reservations", Resource))),
        One("restart_policy", new Shape(S("condition"), P(Of("delay", FieldType.Duration)), P(I("max_attempts")), P(Of("window", FieldType.Duration)))),
        Value("placement", new Shape(L("constraints"), Many("preferences", new Shape(S("spread"))), I("max_replicas_per_node"))),
        S("endpoint_mode"));

    public static readonly Shape HealthCheck = new(
        Of("test", FieldType.HealthTest), P(Of("timeout", FieldType.Duration)), P(Of("interval", FieldType.Duration)), P(I("retries")), P(Of("start_period", FieldType.Duration)),
        P(Of("start_interval", FieldType.Duration)), B("disable"));

    public static readonly Shape ServiceNetwork = new(
        L("aliases"), Of("driver_opts", FieldType.Mapping), I("gw_priority"), S("interface_name"), S("ipv4_address"), S("ipv6_address"), L("link_local_ips"), S("mac_address"), I("priority"));

    public static readonly Shape Port = new(S("name"), S("mode"), S("host_ip"), I("target"), S("published"), S("protocol"), S("app_protocol"));

    public static readonly Shape Volume = new(
        S("type"), S("source"), S("target"), B("read_only"), S("consistency"),
        One("bind", new Shape(S("selinux"), S("propagation"), B("create_host_path"), S("recursive"))),
        One("volume", new Shape(Of("labels", FieldType.Mapping), B("nocopy"), S("subpath"))),
        One("tmpfs", new Shape(Of("size", FieldType.Bytes), I("mode"))),
        One("image", new Shape(S("subpath"))));

    public static readonly Shape Service = new(
        L("profiles"), Of("annotations", FieldType.Mapping), P(B("attach")), One("build", Build), One("develop", Develop), One("blkio_config", Blkio), L("cap_add"), L("cap_drop"), S("cgroup_parent"), S("cgroup"),
        I("cpu_count"), Of("cpu_percent", FieldType.Float32), I("cpu_period"), I("cpu_quota"), I("cpu_rt_period"), I("cpu_rt_runtime"), Of("cpus", FieldType.Float32), S("cpuset"), I("cpu_shares"),
        Of("command", FieldType.Command) with { AlwaysInJson = true },
        Many("configs", FileReference), S("container_name"), One("credential_spec", new Shape(S("config"), S("file"), S("registry"))),
        Named("depends_on", new Shape(S("condition"), B("restart"), B("required") with { AlwaysInJson = true, AlwaysInYaml = true })),
        One("deploy", Deploy), L("device_cgroup_rules"), Many("devices", new Shape(S("source"), S("target"), S("permissions"))), L("dns"), L("dns_opt"), L("dns_search"), S("dockerfile"), S("domainname"),
        Of("entrypoint", FieldType.Command) with { AlwaysInJson = true },
        One("provider", new Shape(S("type"), Of("options", FieldType.MultiOptions))),
        Of("environment", FieldType.EnvMapping), Of("env_file", FieldType.EnvFiles), L("expose"), One("extends", new Shape(S("file"), S("service"))), L("external_links"), Of("extra_hosts", FieldType.Hosts),
        L("group_add"), Many("gpus", DeviceRequest), S("hostname"), One("healthcheck", HealthCheck), S("image"), P(B("init")), S("ipc"), S("isolation"), Of("labels", FieldType.Labels), L("label_file"), L("links"),
        One("logging", new Shape(S("driver"), Of("options", FieldType.Mapping))), S("log_driver"), Of("log_opt", FieldType.Mapping),
        Of("mem_limit", FieldType.Bytes), Of("mem_reservation", FieldType.Bytes), Of("memswap_limit", FieldType.Bytes), Of("mem_swappiness", FieldType.Bytes), S("mac_address"),
        Named("models", new Shape(S("endpoint_var"), S("model_var"))), S("net"), S("network_mode"), Named("networks", ServiceNetwork), B("oom_kill_disable"), I("oom_score_adj"), S("pid"), I("pids_limit"), S("platform"),
        Many("ports", Port), B("privileged"), S("pull_policy"), B("read_only"), S("restart"), S("runtime"), P(I("scale")), Many("secrets", FileReference), L("security_opt"), Of("shm_size", FieldType.Bytes), B("stdin_open"),
        P(Of("stop_grace_period", FieldType.Duration)), S("stop_signal"), Of("storage_opt", FieldType.Mapping), Of("sysctls", FieldType.Mapping), L("tmpfs"), B("tty"), Of("ulimits", FieldType.Ulimits), B("use_api_socket"),
        S("user"), S("userns_mode"), S("uts"), S("volume_driver"), Many("volumes", Volume), L("volumes_from"), S("working_dir"), Many("post_start", Hook), Many("pre_stop", Hook));

    public static readonly Shape Network = new(
        S("name"), S("driver"), Of("driver_opts", FieldType.Mapping),
        Value("ipam", new Shape(S("driver"), Many("config", new Shape(S("subnet"), S("gateway"), S("ip_range"), Of("aux_addresses", FieldType.Mapping))))),
        B("external"), B("internal"), B("attachable"), Of("labels", FieldType.Labels), P(B("enable_ipv4")), P(B("enable_ipv6")));

    public static readonly Shape NamedVolume = new(S("name"), S("driver"), Of("driver_opts", FieldType.Mapping), B("external"), Of("labels", FieldType.Labels));

    public static readonly Shape FileObject = new(
        S("name"), S("file"), S("environment"), S("content"), B("external"), Of("labels", FieldType.Labels), S("driver"), Of("driver_opts", FieldType.Mapping), S("template_driver"));

    public static readonly Shape ModelConfig = new(S("name"), S("model"), I("context_size"), L("runtime_flags"));

    /// <summary>The parts of a project besides its name, in the order in which they are printed.</summary>
    public static readonly (string Name, Shape Shape)[] Parts =
    [
        ("services", Service), ("networks", Network), ("volumes", NamedVolume), ("secrets", FileObject), ("configs", FileObject), ("models", ModelConfig),
    ];
}
