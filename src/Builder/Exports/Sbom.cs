using System.Globalization;
using System.Text;
using System.Text.Json;
using Berth.Images;

namespace Berth.Builder;

/// <summary>
/// Which packages a result holds, as an SPDX document: read from the databases of dpkg and apk that lie in its files. Docker runs a scanner image for this; no image is run here, so
/// what package managers of languages brought is not seen.
/// </summary>
internal static class Sbom
{
    /// <summary>Largest database that is read.</summary>
    private const int MaxDatabaseBytes = 64 * 1024 * 1024;

    private sealed record Package(string Kind, string Name, string Version, string Architecture, string License);

    public static Attestation Of(BuildOutcome result, string attributes, DateTimeOffset created)
    {
        var options = AttestationOptions.Parse(attributes);
        if (options["generator"].Length > 0) throw new BuildException($"the SBOM generator {options["generator"]} is not supported: no scanner image is run, the package databases of dpkg and apk are read");
        var packages = new List<Package>();
        var distribution = "";
        using (var files = result.Session.OpenTree(result.Layers, null))
        {
            foreach (var line in (Read(files, "etc/os-release") ?? Read(files, "usr/lib/os-release") ?? "").Split('\n'))
                if (line.StartsWith("ID=", StringComparison.Ordinal)) distribution = line[3..].Trim('"', '\'', '\r');
            var dpkg = Read(files, "var/lib/dpkg/status");
            if (dpkg is not null) AddDebian(packages, dpkg);
            // Images without a shell keep a file for each package.
            foreach (var file in dpkg is null ? files.List(CancellationToken.None) : [])
                if (file.Path.StartsWith("var/lib/dpkg/status.d/", StringComparison.Ordinal) && !file.Path.EndsWith(".md5sums", StringComparison.Ordinal) && Read(files, file.Path) is { } one) AddDebian(packages, one);
            if ((Read(files, "lib/apk/db/installed") ?? Read(files, "usr/lib/apk/db/installed")) is { } apk) AddAlpine(packages, apk);
        }
        packages.Sort(static (a, b) => string.CompareOrdinal(a.Name + " " + a.Version, b.Name + " " + b.Version));
        return new Attestation("https://spdx.dev/Document", Document(packages, distribution, created), "sbom.spdx.json", options.Flag("inline-only"));
    }

    private static string? Read(FileSet files, string path)
    {
        try
        {
            using var stream = files.Open(path);
            if (stream.Length > MaxDatabaseBytes) return null;
            using var reader = new StreamReader(stream, Encoding.UTF8);
            return reader.ReadToEnd();
        }
        catch (IOException)
        {
            return null; // not there, or no file
        }
    }

    private static void AddDebian(List<Package> packages, string text)
    {
        foreach (var paragraph in text.Split("\n\n"))
        {
            string name = "", version = "", architecture = "", status = "";
            foreach (var line in paragraph.Split('\n'))
            {
                if (line.StartsWith("Package: ", StringComparison.Ordinal)) name = line[9..].Trim();
                else if (line.StartsWith("Version: ", StringComparison.Ordinal)) version = line[9..].Trim();
                else if (line.StartsWith("Architecture: ", StringComparison.Ordinal)) architecture = line[14..].Trim();
                else if (line.StartsWith("Status: ", StringComparison.Ordinal)) status = line;
            }
            if (name.Length > 0 && version.Length > 0 && (status.Length == 0 || status.EndsWith(" installed", StringComparison.Ordinal))) packages.Add(new Package("deb", name, version, architecture, ""));
        }
    }

    private static void AddAlpine(List<Package> packages, string text)
    {
        foreach (var paragraph in text.Split("\n\n"))
        {
            string name = "", version = "", architecture = "", license = "";
            foreach (var line in paragraph.Split('\n'))
            {
                if (line.Length < 2 || line[1] != ':') continue;
                switch (line[0])
                {
                    case 'P': name = line[2..]; break;
                    case 'V': version = line[2..]; break;
                    case 'A': architecture = line[2..]; break;
                    case 'L': license = line[2..]; break;
                }
            }
            if (name.Length > 0) packages.Add(new Package("apk", name, version, architecture, license));
        }
    }

    private static byte[] Document(List<Package> packages, string distribution, DateTimeOffset created) => ManifestText.Json(json =>
    {
        json.WriteStartObject();
        json.WriteString("spdxVersion", "SPDX-2.3");
        json.WriteString("dataLicense", "CC0-1.0");
        json.WriteString("SPDXID", "SPDXRef-DOCUMENT");
        json.WriteString("name", "sbom");
        json.WriteString("documentNamespace", "https://spdx.org/spdxdocs/berth-" + Fields.Hash(string.Join('\n', packages.Select(p => $"{p.Kind} {p.Name} {p.Version}")))[..32]);
        json.WriteStartObject("creationInfo");
        json.WriteString("created", created.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture));
        json.WriteStartArray("creators");
        json.WriteStringValue("Tool: berth");
        json.WriteEndArray();
        json.WriteEndObject();
        json.WriteStartArray("packages");
        foreach (var package in packages)
        {
            json.WriteStartObject();
            json.WriteString("name", package.Name);
            json.WriteString("SPDXID", Id(package));
            json.WriteString("versionInfo", package.Version);
            json.WriteString("downloadLocation", "NOASSERTION");
            json.WriteBoolean("filesAnalyzed", false);
            json.WriteString("licenseDeclared", "NOASSERTION");
            if (package.License.Length > 0) json.WriteString("licenseComments", package.License);
            json.WriteStartArray("externalRefs");
            json.WriteStartObject();
            json.WriteString("referenceCategory", "PACKAGE-MANAGER");
            json.WriteString("referenceType", "purl");
            json.WriteString("referenceLocator", $"pkg:{package.Kind}/{(distribution.Length > 0 ? distribution + "/" : "")}{Uri.EscapeDataString(package.Name)}@{Uri.EscapeDataString(package.Version)}{(package.Architecture.Length > 0 ? "?arch=" + package.Architecture : "")}");
            json.WriteEndObject();
            json.WriteEndArray();
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteStartArray("relationships");
        foreach (var package in packages)
        {
            json.WriteStartObject();
            json.WriteString("spdxElementId", "SPDXRef-DOCUMENT");
            json.WriteString("relationshipType", "DESCRIBES");
            json.WriteString("relatedSpdxElement", Id(package));
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    });

    private static string Id(Package package) => "SPDXRef-Package-" + package.Kind + "-" + string.Concat($"{package.Name}-{package.Version}-{package.Architecture}".Select(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' ? c : '-'));
}
