namespace Berth.Runtime.Launching;

/// <summary>What Docker puts before runc's errors. Docker's clients look for words in the whole, so it is kept to the letter.</summary>
internal static class ErrorTexts
{
    public const string CreatePrefix = "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: ";
    public const string InitPrefix = CreatePrefix + "error during container init: ";
    public const string ExecPrefix = "OCI runtime exec failed: exec failed: unable to start container process: ";

    public static string Create(string text) => InitPrefix + text;

    public static string Exec(string text) => ExecPrefix + text;
}
