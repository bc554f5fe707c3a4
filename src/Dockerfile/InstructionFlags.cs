namespace Berth.Dockerfile;

/// <summary>The flags in front of an instruction's arguments. Asked for by name; what nobody asked for is an error at the end.</summary>
internal sealed class InstructionFlags
{
    private readonly Dictionary<string, List<string?>> _given = new(StringComparer.Ordinal);

    /// <param name="known">The names this instruction has; those it may have more than once end with "*", those without a value with "?".</param>
    /// <exception cref="DockerfileException"/>
    public InstructionFlags(IReadOnlyList<string> flags, params string[] known)
    {
        foreach (var flag in flags)
        {
            var equals = flag.IndexOf('=');
            var written = equals < 0 ? flag : flag[..equals];
            var (name, value) = (written[2..], equals < 0 ? null : flag[(equals + 1)..]);
            var kind = known.FirstOrDefault(k => k.TrimEnd('*', '?') == name) ?? throw new DockerfileException($"unknown flag: {written}{Suggestion.For(name, known.Select(k => k.TrimEnd('*', '?')))}");
            var again = !_given.TryAdd(name, [value]);
            if (again && !kind.EndsWith('*')) throw new DockerfileException($"duplicate flag specified: {written}");
            if (again) _given[name].Add(value);
            if (!kind.EndsWith('?'))
            {
                if (value is null) throw new DockerfileException($"missing a value on flag: {written}");
            }
            else if (value is not null)
            {
                if (value.Length == 0) throw new DockerfileException($"missing a value on flag: {written}");
                if (value.ToLowerInvariant() is not ("true" or "false")) throw new DockerfileException($"expecting boolean value for flag {written}, not: {value}");
            }
        }
    }

    public string Text(string name) => _given.TryGetValue(name, out var values) ? values[0]! : "";

    public IReadOnlyList<string> Texts(string name) => _given.TryGetValue(name, out var values) ? [.. values.Select(v => v!)] : [];

    /// <summary>Null where it is not given.</summary>
    public bool? Bool(string name) => _given.TryGetValue(name, out var values) ? !string.Equals(values[0], "false", StringComparison.OrdinalIgnoreCase) : null;
}
