using System.Text.RegularExpressions;
using static Berth.Compose.Loading.Rule;

namespace Berth.Compose.Loading;

/// <summary>What may stand where in a compose file, as the Compose Specification says.</summary>
internal static partial class Grammar
{
    private static readonly Rule
        Text = new(Kinds.String),
        Switch = new(Kinds.Boolean),
        Flag = new(Kinds.Boolean | Kinds.String),
        Whole = new(Kinds.Integer | Kinds.String),
        Amount = new(Kinds.Number | Kinds.String),
        Nothing = new(Kinds.Null);

    private static readonly Rule
        Texts = ListOf(Text),
        TextSet = SetOf(Text),
        TextOrTexts = Any(Text, Texts),
        TextOrSet = Any(Text, TextSet),
        Command = Any(Nothing, Text, Texts),
        Mapping = Any(MapOf(IsAny, new Rule(Kinds.String | Kinds.Number | Kinds.Boolean | Kinds.Null), isClosed: true), TextSet),
        Hosts = Any(MapOf(IsAny, TextOrTexts, isClosed: true), TextSet),
        DriverOptions = MapOf(IsAny, Amount, isClosed: false),
        // "external: {name: …}" is how it was once written.
        External = Map((Text, "name")) with { Kinds = Kinds.Boolean | Kinds.String | Kinds.Map },
        ExternalFile = External with { IsClosed = false },
        Limits = MapOf(IsLowerCase, Any(Whole, Map((Whole, "hard soft")).Needs("soft", "hard")), isClosed: false);

    private static readonly Rule
        Hook = Map((Command, "command"), (Text, "user working_dir"), (Flag, "privileged"), (Mapping, "environment")).Needs("command"),
        FileUses = ListOf(Any(Text, Map((Text, "source target uid gid"), (Amount, "mode")))),
        Healthcheck = Map((Flag, "disable"), (Text, "interval timeout start_period start_interval"), (Amount, "retries"), (TextOrTexts, "test")),
        Device = Map((TextSet, "capabilities device_ids"), (Whole, "count"), (Text, "driver"), (Mapping, "options")),
        Gpus = Any(OneOf("all"), ListOf(Device with { IsClosed = false })),
        Reservations = Map(
            (Amount, "cpus"),
            (Text, "memory"),
            (ListOf(Map((Map((Text, "kind"), (Amount, "value")), "discrete_resource_spec"))), "generic_resources"),
            (ListOf(Device.Needs("capabilities")), "devices")),
        Rollout = Map((Whole, "parallelism"), (Text, "delay failure_action monitor"), (Amount, "max_failure_ratio"), (OneOf("start-first", "stop-first"), "order")),
        Deploy = Map(
            (Text, "mode endpoint_mode"),
            (Whole, "replicas"),
            (Mapping, "labels"),
            (Rollout, "rollback_config update_config"),
            (Map((Map((Amount, "cpus"), (Text, "memory"), (Whole, "pids")), "limits"), (Reservations, "reservations")), "resources"),
            (Map((Text, "condition delay window"), (Whole, "max_attempts")), "restart_policy"),
            (Map((Texts, "constraints"), (ListOf(Map((Text, "spread"))), "preferences"), (Whole, "max_replicas_per_node")), "placement")) with { Kinds = Kinds.Map | Kinds.Null },
        Watch = Map(
            (TextOrSet, "ignore include"),
            (Text, "path target"),
            (OneOf("rebuild", "sync", "restart", "sync+restart", "sync+exec"), "action"),
            (Hook, "exec"),
            (Switch, "initial_sync")).Needs("path", "action"),
        Develop = Map((ListOf(Watch), "watch")) with { Kinds = Kinds.Map | Kinds.Null },
        Build = Map(
            (Text, "context dockerfile dockerfile_inline network target isolation"),
            (Texts, "entitlements cache_from cache_to tags platforms"),
            (Mapping, "args ssh labels additional_contexts"),
            (Flag, "no_cache provenance sbom pull privileged"),
            (Whole, "shm_size"),
            (Hosts, "extra_hosts"),
            (FileUses, "secrets"),
            (Limits, "ulimits"));

    private static readonly Rule
        BlockRates = ListOf(Closed((Text, "path"), (Whole, "rate"))),
        BlockWeights = ListOf(Closed((Text, "path"), (Whole, "weight"))),
        BlockIo = Closed((BlockRates, "device_read_bps device_read_iops device_write_bps device_write_iops"), (Whole, "weight"), (BlockWeights, "weight_device")),
        Dependency = Map((Flag, "restart"), (Switch, "required"), (OneOf("service_started", "service_healthy", "service_completed_successfully"), "condition")).Needs("condition"),
        Port = Map((Text, "name mode host_ip protocol app_protocol"), (Whole, "target published")),
        Attachment = Map((TextSet, "aliases link_local_ips"), (Text, "interface_name ipv4_address ipv6_address mac_address"), (DriverOptions, "driver_opts"), (new Rule(Kinds.Number), "priority gw_priority")),
        BindOptions = Map((Text, "propagation"), (Flag, "create_host_path"), (OneOf("enabled", "disabled", "writable", "readonly"), "recursive"), (OneOf("z", "Z"), "selinux")),
        VolumeOptions = Map((Mapping, "labels"), (Flag, "nocopy"), (Text, "subpath")),
        TmpfsOptions = Map((Any(new Rule(Kinds.Integer) { Minimum = 0 }, Text), "size"), (Amount, "mode")),
        Mount = Map(
            (OneOf("bind", "volume", "tmpfs", "cluster", "npipe", "image"), "type"),
            (Text, "source target consistency"),
            (Flag, "read_only"),
            (BindOptions, "bind"),
            (VolumeOptions, "volume"),
            (TmpfsOptions, "tmpfs"),
            (Map((Text, "subpath")), "image")).Needs("type"),
        ProviderOption = new(Kinds.String | Kinds.Number | Kinds.Boolean),
        Provider = Map((Text, "type"), (MapOf(IsAny, Any(ProviderOption, ListOf(ProviderOption)), isClosed: false), "options")).Needs("type");

    private static readonly Rule Service = Map(
        (Text, "cgroup_parent cpuset domainname hostname image ipc isolation mac_address network_mode platform pull_refresh_after restart runtime stop_grace_period stop_signal user uts userns_mode working_dir"),
        (Flag, "attach init oom_kill_disable privileged read_only stdin_open tty"),
        (Switch, "use_api_socket"),
        (Whole, "mem_reservation mem_swappiness scale"),
        (Amount, "cpu_shares cpu_quota cpu_period cpu_rt_period cpu_rt_runtime cpus mem_limit memswap_limit pids_limit shm_size"),
        (TextSet, "cap_add cap_drop device_cgroup_rules dns_opt external_links links profiles security_opt volumes_from"),
        (TextOrSet, "dns dns_search tmpfs"),
        (TextOrTexts, "label_file"),
        (Mapping, "annotations environment labels sysctls"),
        (Command, "command entrypoint"),
        (FileUses, "configs secrets"),
        (SetOf(Amount), "expose group_add"),
        (ListOf(Hook), "post_start pre_stop"),
        (OneOf("host", "private"), "cgroup"),
        (new Rule(Kinds.String) { Pattern = ContainerName() }, "container_name"),
        (new Rule(Kinds.String) { Pattern = PullPolicy() }, "pull_policy"),
        (Any(Text, new Rule(Kinds.Integer) { Minimum = 0 }), "cpu_count"),
        (Any(Text, new Rule(Kinds.Integer) { Minimum = 0, Maximum = 100 }), "cpu_percent"),
        (Any(Text, new Rule(Kinds.Integer) { Minimum = -1000, Maximum = 1000 }), "oom_score_adj"),
        (new Rule(Kinds.String | Kinds.Null), "pid"),
        (new Rule(Kinds.Map), "storage_opt"),
        (Any(Text, Build), "build"),
        (Develop, "develop"),
        (Deploy, "deploy"),
        (BlockIo, "blkio_config"),
        (Map((Text, "config file registry")), "credential_spec"),
        (Any(TextSet, MapOf(IsName, Dependency, isClosed: true)), "depends_on"),
        (ListOf(Any(Text, Map((Text, "source target permissions")).Needs("source"))), "devices"),
        (Any(Text, ListOf(Any(Text, Closed((Text, "path format"), (Flag, "required")).Needs("path")))), "env_file"),
        (Any(Text, Closed((Text, "service file")).Needs("service")), "extends"),
        (Provider, "provider"),
        (Hosts, "extra_hosts"),
        (Gpus, "gpus"),
        (Healthcheck, "healthcheck"),
        (Map((Text, "driver"), (MapOf(IsAny, new Rule(Kinds.String | Kinds.Number | Kinds.Null), isClosed: false), "options")), "logging"),
        (Any(TextSet, MapOf(IsName, Any(Map((Text, "endpoint_var model_var")), Nothing), isClosed: false)), "models"),
        (Any(TextSet, MapOf(IsName, Any(Attachment, Nothing), isClosed: true)), "networks"),
        (SetOf(Any(new Rule(Kinds.Number), Text, Port)), "ports"),
        (Limits, "ulimits"),
        (SetOf(Any(Text, Mount)), "volumes"));

    private static readonly Rule
        Subnet = Map((Text, "subnet ip_range gateway"), (MapOf(IsAny, Text, isClosed: true), "aux_addresses")),
        Network = Map(
            (Text, "name driver"),
            (DriverOptions, "driver_opts"),
            (Map((Text, "driver"), (ListOf(Subnet), "config"), (MapOf(IsAny, Text, isClosed: true), "options")), "ipam"),
            (External, "external"),
            (Flag, "internal enable_ipv4 enable_ipv6 attachable"),
            (Mapping, "labels")) with { Kinds = Kinds.Map | Kinds.Null },
        Volume = Map((Text, "name driver"), (DriverOptions, "driver_opts"), (External, "external"), (Mapping, "labels")) with { Kinds = Kinds.Map | Kinds.Null },
        Secret = Map((Text, "name environment file driver template_driver"), (ExternalFile, "external"), (Mapping, "labels"), (DriverOptions, "driver_opts")),
        Config = Map((Text, "name content environment file template_driver"), (ExternalFile, "external"), (Mapping, "labels")),
        Model = Map((Text, "name model"), (new Rule(Kinds.Integer), "context_size"), (Texts, "runtime_flags")).Needs("model"),
        Include = Any(Text, Closed((TextOrSet, "path env_file"), (Text, "project_directory")));

    /// <summary>A whole file.</summary>
    public static readonly Rule File = Map(
        (Text, "version name"),
        (ListOf(Include), "include"),
        (MapOf(IsName, Service, isClosed: true), "services"),
        (MapOf(IsName, Model, isClosed: false), "models"),
        (MapOf(IsName, Network, isClosed: false), "networks"),
        (MapOf(IsName, Volume, isClosed: true), "volumes"),
        (MapOf(IsName, Secret, isClosed: true), "secrets"),
        (MapOf(IsName, Config, isClosed: true), "configs"));

    private static bool IsName(string key) => key.Length > 0 && key.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-');

    private static bool IsLowerCase(string key) => key.Length > 0 && key.All(char.IsAsciiLetterLower);

    private static bool IsAny(string key) => key.Length > 0;

    [GeneratedRegex("[a-zA-Z0-9][a-zA-Z0-9_.-]+")]
    private static partial Regex ContainerName();

    [GeneratedRegex("always|never|build|if_not_present|missing|refresh|daily|weekly|every_([0-9]+[wdhms])+")]
    private static partial Regex PullPolicy();
}
