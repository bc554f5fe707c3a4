return Berth.Runtime.Monitor.MonitorProgram.Run(args);
