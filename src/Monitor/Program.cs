using Berth.Linux;
using Berth.Linux.Spawn;

try
{
    // Containers are started from here, and each shares this executable for a moment.
    ProcessSecurity.RunFromReadOnlyImage("berth-monitor");
}
catch (LinuxException exception)
{
    Console.Error.WriteLine($"berth-monitor: runs from a file that containers might write to: {exception.Message}");
}
return Berth.Runtime.Monitor.MonitorProgram.Run(args);
