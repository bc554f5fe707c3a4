namespace Berth.Images.Trust;

/// <summary>What an image from a part of a registry must be signed with before it is pulled.</summary>
public sealed record TrustPolicy
{
    /// <summary>A registry (<c>registry.example.com</c>), repositories beneath a path of it (<c>registry.example.com/team</c>), or <c>*</c>: everything. The longest that fits counts.</summary>
    public required string Scope { get; init; }

    public required SignatureKind Kind { get; init; }

    /// <summary>PEM files, read for every pull: public keys for cosign, certificates of authorities or signers for notation. One that fits is enough.</summary>
    public IReadOnlyList<string> Files { get; init; } = [];

    /// <summary>The policy for a repository; null when there is none.</summary>
    public static TrustPolicy? For(ImageReference name, IReadOnlyList<TrustPolicy> policies)
    {
        TrustPolicy? best = null;
        foreach (var policy in policies)
        {
            var fits = policy.Scope == "*" || policy.Scope == name.Domain || policy.Scope == name.Name || name.Name.StartsWith(policy.Scope + "/", StringComparison.Ordinal);
            if (fits && (best is null || best.Scope == "*" || (policy.Scope != "*" && policy.Scope.Length > best.Scope.Length))) best = policy;
        }
        return best is { Kind: SignatureKind.None } ? null : best;
    }
}

public enum SignatureKind
{
    /// <summary>Nothing is asked for: an exception from a wider scope.</summary>
    None,
    /// <summary>cosign's simple signing, by key.</summary>
    Cosign,
    /// <summary>Notary Project's JWS, by X.509.</summary>
    Notation,
}
