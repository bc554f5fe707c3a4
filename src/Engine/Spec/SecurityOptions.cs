using Berth.Api;

namespace Berth.Engine;

/// <summary>--security-opt, parsed.</summary>
internal sealed record SecurityOptions
{
    public bool NoNewPrivileges { get; init; }

    /// <summary>null: the engine's default; "unconfined"; "builtin"; or a profile as JSON (the client sends the file's text).</summary>
    public string? Seccomp { get; init; }

    /// <summary>null: the default of privileged containers or not.</summary>
    public bool? WritableCgroups { get; init; }
    public string AppArmor { get; init; } = "";

    /// <exception cref="EngineException">"invalid --security-opt 2: "x"" (dockerd answers 500).</exception>
    public static SecurityOptions Parse(HostConfig host, bool noNewPrivilegesDefault)
    {
        var result = new SecurityOptions { NoNewPrivileges = noNewPrivilegesDefault };
        foreach (var option in host.SecurityOpt ?? [])
        {
            switch (option)
            {
                case "no-new-privileges":
                    result = result with { NoNewPrivileges = true };
                    continue;
                case "writable-cgroups":
                    result = result with { WritableCgroups = true };
                    continue;
                // Label options are accepted and have no effect on a host without SELinux.
                case "disable":
                    continue;
            }
            var cut = option.IndexOf('=');
            if (cut < 0) cut = option.IndexOf(':');
            if (cut < 0) throw EngineException.System($"invalid --security-opt 1: {GoText.Quote(option)}");
            var value = option[(cut + 1)..];
            bool Bool() => GoText.TryParseBool(value, out var b) ? b : throw EngineException.System($"invalid --security-opt 2: {GoText.Quote(option)}");
            result = option[..cut] switch
            {
                "label" => result,
                "apparmor" => result with { AppArmor = value },
                "seccomp" => result with { Seccomp = value },
                "no-new-privileges" => result with { NoNewPrivileges = Bool() },
                "writable-cgroups" => result with { WritableCgroups = Bool() },
                _ => throw EngineException.System($"invalid --security-opt 2: {GoText.Quote(option)}"),
            };
        }
        return result;
    }
}
