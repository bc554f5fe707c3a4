namespace Berth.Cli.Templates;

/// <summary>A template cannot be parsed or carried out; the message reads as Go's.</summary>
internal sealed class TemplateException(string message) : Exception(message);
