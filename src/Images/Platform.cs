using System.Runtime.InteropServices;
using X86 = System.Runtime.Intrinsics.X86;

namespace Berth.Images;

/// <summary>
/// What an image was built for, in Go's names: <c>linux/amd64</c>, <c>linux/arm/v7</c>. Values are normalised
/// (x86_64 → amd64, aarch64 → arm64, arm's variant defaults to v7, arm64's v8 is left out).
/// </summary>
public readonly record struct Platform(string Os, string Architecture, string Variant = "", string OsVersion = "")
{
    /// <summary>This machine's platform.</summary>
    public static Platform Host { get; } = new("linux", RuntimeInformation.OSArchitecture switch
    {
        System.Runtime.InteropServices.Architecture.X64 => "amd64",
        System.Runtime.InteropServices.Architecture.Arm64 => "arm64",
        System.Runtime.InteropServices.Architecture.X86 => "386",
        System.Runtime.InteropServices.Architecture.Arm => "arm",
        var other => other.ToString().ToLowerInvariant(),
    }, RuntimeInformation.OSArchitecture == System.Runtime.InteropServices.Architecture.Arm ? "v7" : "");

    /// <summary>
    /// This machine's platform with all that its processor can do: of an index's images for several levels of amd64 the highest that runs here is taken, as by Docker.
    /// </summary>
    public static Platform Best { get; } = Host.Architecture != "amd64" ? Host : Host with { Variant = Amd64Level() };

    // The levels of the x86-64 psABI.
    private static string Amd64Level() =>
        !(X86.Sse42.IsSupported && X86.Popcnt.IsSupported) ? "" :
        !(X86.Avx2.IsSupported && X86.Bmi1.IsSupported && X86.Bmi2.IsSupported && X86.Fma.IsSupported && X86.Lzcnt.IsSupported) ? "v2" :
        !(X86.Avx512F.VL.IsSupported && X86.Avx512BW.VL.IsSupported && X86.Avx512CD.VL.IsSupported && X86.Avx512DQ.VL.IsSupported) ? "v3" : "v4";

    /// <summary><c>os/arch[/variant]</c>.</summary>
    public override string ToString() => Variant.Length == 0 ? $"{Os}/{Architecture}" : $"{Os}/{Architecture}/{Variant}";

    /// <summary>Reads <c>os[/arch[/variant]]</c> or an architecture alone, as <c>--platform</c> does.</summary>
    /// <exception cref="ImageException">InvalidParameter.</exception>
    public static Platform Parse(string text)
    {
        var parts = text.Split('/');
        foreach (var part in parts)
            if (part.Length == 0 || !part.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.' or '(' or ')' or '+'))
                throw ImageException.Invalid($"\"{part}\" is an invalid component of \"{text}\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument");
        switch (parts.Length)
        {
            case 1:
                var os = NormalizeOs(parts[0]);
                if (KnownOs.Contains(os)) return Host with { Os = os };
                var alone = Normalize(new Platform("linux", parts[0]));
                if (KnownArchitectures.Contains(alone.Architecture)) return alone;
                throw ImageException.Invalid($"\"{text}\": unknown operating system or architecture: invalid argument");
            case 2: return Normalize(new Platform(parts[0], parts[1]));
            case 3: return Normalize(new Platform(parts[0], parts[1], parts[2]));
            default: throw ImageException.Invalid($"\"{text}\": cannot parse platform specifier: invalid argument");
        }
    }

    public Platform Normalized() => Normalize(this);

    /// <summary>
    /// Whether something built for <paramref name="other"/> runs where this platform was asked for; an arm
    /// machine also runs older variants. A missing variant matches any.
    /// </summary>
    public bool Accepts(Platform other) => Rank(other) >= 0;

    /// <summary>How good a match is: 0 exact, larger is worse, -1 none.</summary>
    internal int Rank(Platform other)
    {
        var wanted = Normalize(this);
        var bare = other.Variant.Length == 0;
        other = Normalize(other);
        if (wanted.Os != other.Os) return -1;
        if (wanted.Architecture == other.Architecture)
        {
            if (wanted.Variant == other.Variant) return 0;
            if (bare) return 1;
            var want = VariantNumber(wanted);
            var have = VariantNumber(other);
            return have <= want ? want - have : -1;
        }
        // A 64-bit arm machine runs 32-bit images, an amd64 one 386 images, as a last resort.
        if (wanted.Architecture == "arm64" && other.Architecture == "arm") return 100 + 8 - VariantNumber(other);
        return wanted.Architecture == "amd64" && other.Architecture == "386" ? 200 : -1;
    }

    private static int VariantNumber(Platform p)
    {
        var digits = p.Variant.AsSpan().TrimStart('v');
        var dot = digits.IndexOf('.');
        if (dot >= 0) digits = digits[..dot];
        if (int.TryParse(digits, out var number)) return number;
        return p.Architecture switch { "arm64" => 8, "arm" => 7, "amd64" => 1, _ => 0 };
    }

    private static readonly HashSet<string> KnownOs =
        ["aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "netbsd", "openbsd", "plan9", "solaris", "windows", "zos"];

    private static readonly HashSet<string> KnownArchitectures =
        ["386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x", "wasm"];

    private static string NormalizeOs(string os) => os.ToLowerInvariant() is var lower && lower == "macos" ? "darwin" : lower;

    private static Platform Normalize(Platform p)
    {
        var (architecture, variant) = ((p.Architecture ?? "").ToLowerInvariant(), (p.Variant ?? "").ToLowerInvariant());
        (architecture, variant) = (architecture, variant) switch
        {
            ("i386", _) => ("386", ""),
            ("x86_64" or "x86-64" or "amd64", "v1") => ("amd64", ""),
            ("x86_64" or "x86-64", _) => ("amd64", variant),
            ("aarch64" or "arm64", "8" or "v8") => ("arm64", ""),
            ("aarch64", _) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" or "7") => ("arm", "v7"),
            ("arm", "5" or "6" or "8") => ("arm", "v" + variant),
            var same => same,
        };
        return p with { Os = NormalizeOs(p.Os ?? ""), Architecture = architecture, Variant = variant, OsVersion = p.OsVersion ?? "" };
    }
}
