using Berth.Cli.CommandLine;

namespace Berth.Cli.Commands.Engine;

/// <summary>berth system dial-stdio: the far end of an ssh:// connection. What comes in goes to the engine, what it answers comes out.</summary>
internal static class DialStdioCommand
{
    public static readonly Command Command = new()
    {
        Paths = ["system dial-stdio"],
        Summary = "Pass standard input and output on to the engine",
        Description = "Pass standard input and output on to the engine. Other programs call it; there is no need to.",
        Hidden = true,
        MaxArguments = 0,
        Run = RunAsync,
    };

    private static async Task<int> RunAsync(Invocation invocation)
    {
        var context = invocation.Context;
        using var client = context.NewClient(blocking: true);
        await using var connection = await client.OpenAsync(invocation.Cancelled);
        // A read of standard input cannot be called back: its thread ends with the process.
        new Thread(() =>
        {
            try
            {
                context.InStream.CopyTo(connection);
                connection.CloseWrite();
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                // The engine has gone; reading from it tells.
            }
        })
        { IsBackground = true, Name = "stdin" }.Start();
        var buffer = new byte[32 * 1024];
        int read;
        while ((read = await connection.ReadAsync(buffer, invocation.Cancelled)) > 0)
        {
            context.OutStream.Write(buffer, 0, read);
            context.OutStream.Flush();
        }
        return 0;
    }
}
