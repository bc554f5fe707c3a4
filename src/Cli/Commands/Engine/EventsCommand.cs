using System.Text.Json;
using Berth.Api;
using Berth.Api.Json;
using Berth.Cli.CommandLine;
using Berth.Cli.Output;
using Berth.Cli.Templates;

namespace Berth.Cli.Commands.Engine;

internal static class EventsCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["events", "system events"],
        Usage = "[OPTIONS]",
        Summary = "Show what happens in the engine as it happens",
        Flags = static () =>
        [
            new("filter", 'f', FlagKind.List, "Only those that match (type=..., event=..., container=...)") { ValueName = "filter", Normalize = FilterFlag.Check },
            new("format", FlagKind.String, "'json' for one line each, or a Go template"),
            new("since", FlagKind.String, "From this time on (2013-01-02T13:23:37Z) or so long ago (42m)"),
            new("until", FlagKind.String, "Up to this time (2013-01-02T13:23:37Z) or so long ago (42m)"),
        ],
        MaxArguments = 0,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var (context, flags) = (invocation.Context, invocation.Arguments);
        var format = flags.String("format");
        Template? template = null;
        try
        {
            if (format is not ("" or "json")) template = Template.Parse(format.Replace("\\t", "\t").Replace("\\n", "\n"));
        }
        catch (TemplateException e)
        {
            throw new CommandException($"Error parsing format: {e.Message}", 64);
        }
        try
        {
            // What no message has is said before the first one comes.
            template?.Execute(JsonSerializer.SerializeToElement(new EventMessage(), ApiJson.Wire.EventMessage), typeof(EventMessage));
        }
        catch (TemplateException e)
        {
            const string unknown = "map has no entry for key \"";
            var at = e.Message.IndexOf(unknown, StringComparison.Ordinal);
            throw new CommandException("Error parsing format: " + (at < 0 ? e.Message : $"{e.Message[..at]}can't evaluate field {e.Message[(at + unknown.Length)..^1]} in type *events.Message"), 64);
        }
        await foreach (var message in context.Client.EventsAsync(Times.ToUnix(flags.String("since"), context.Time), Times.ToUnix(flags.String("until"), context.Time), FilterFlag.Of(flags), invocation.Cancelled))
        {
            if (format.Length == 0) context.Out.Write(Line(message, context.Time.LocalTimeZone) + "\n");
            else
            {
                var json = JsonSerializer.SerializeToElement(message, ApiJson.Wire.EventMessage);
                try
                {
                    context.Out.Write((template is null ? json.GetRawText() : template.Execute(json, typeof(EventMessage))) + "\n");
                }
                catch (TemplateException e)
                {
                    throw new CommandException(e.Message);
                }
            }
            context.Out.Flush();
        }
        return 0;
    }

    internal static string Line(EventMessage message, TimeZoneInfo zone)
    {
        var time = message.TimeNano != 0 ? DateTimeOffset.UnixEpoch.AddTicks(message.TimeNano / 100) : DateTimeOffset.FromUnixTimeSeconds(message.Time);
        var stamp = GoTime.FormatFixed(TimeZoneInfo.ConvertTime(time, zone));
        // What is past our clock's 100 ns is put back in its place.
        if (message.TimeNano % 100 is > 0 and var rest) stamp = string.Concat(stamp.AsSpan(0, 27), $"{rest:00}", stamp.AsSpan(29));
        var attributes = (message.Actor.Attributes ?? []).OrderBy(a => a.Key, StringComparer.Ordinal).Select(a => $"{a.Key}={a.Value}").ToArray();
        return $"{stamp} {message.Type} {message.Action} {message.Actor.ID}" + (attributes.Length > 0 ? $" ({string.Join(", ", attributes)})" : "");
    }
}
