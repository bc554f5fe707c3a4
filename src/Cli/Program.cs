using System.Text;
using Berth.Cli;

var output = SystemTerminal.Open(1);
var error = SystemTerminal.Open(2);
var utf8 = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
using var context = new CommandContext
{
    Out = new StreamWriter(output, utf8, 4096, leaveOpen: true) { NewLine = "\n" },
    Err = new StreamWriter(error, utf8, 1024, leaveOpen: true) { NewLine = "\n", AutoFlush = true },
    OutStream = output,
    ErrStream = error,
    InStream = SystemTerminal.Open(0),
    Terminal = new SystemTerminal(),
};
return await Application.RunAsync(args, context);
