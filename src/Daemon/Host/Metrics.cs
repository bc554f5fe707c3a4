using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Berth.Daemon.Http;
using Berth.Engine;

namespace Berth.Daemon.Host;

/// <summary>
/// GET /metrics in Prometheus' text format, on an address of its own (--metrics-addr), by dockerd's names. What is counted is counted here and read from the
/// engine at the moment of asking: nothing runs for it in between.
/// </summary>
internal sealed class Metrics : IDisposable
{
    private const int RequestBytesAtMost = 16 * 1024;
    private static readonly TimeSpan RequestTime = TimeSpan.FromSeconds(10);

    private readonly Socket _listener;
    private readonly BerthEngine _engine;
    private readonly ActionTimes _times;
    private readonly string _version;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _stop = new();

    private Metrics(Socket listener, BerthEngine engine, ActionTimes times, string version, ILogger log) => (_listener, _engine, _times, _version, _log) = (listener, engine, times, version, log);

    /// <exception cref="FlagsException">The address can't be listened on.</exception>
    public static Metrics? Start(string address, BerthEngine engine, ActionTimes times, string version, ILogger log)
    {
        if (address.Length == 0)
            return null;
        var colon = address.LastIndexOf(':');
        if (colon < 0 || !ushort.TryParse(address.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port))
            throw new FlagsException($"failed to start metrics server: listen tcp: address {address}: missing port in address");
        var host = address[..colon].Trim('[', ']');
        var ip = host switch { "" => IPAddress.Any, "localhost" => IPAddress.Loopback, _ => IPAddress.TryParse(host, out var parsed) ? parsed : null }
            ?? throw new FlagsException($"failed to start metrics server: listen tcp: lookup {host}: no such host");
        var socket = new Socket(ip.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Bind(new IPEndPoint(ip, port));
            socket.Listen();
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new FlagsException($"failed to start metrics server: listen tcp {address}: bind: {e.Message}");
        }
        var metrics = new Metrics(socket, engine, times, version, log);
        log.MetricsListening(socket.LocalEndPoint!.ToString()!);
        _ = metrics.RunAsync();
        return metrics;
    }

    private async Task RunAsync()
    {
        try
        {
            while (true)
            {
                var client = await _listener.AcceptAsync(_stop.Token);
                _ = ServeAsync(client);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException or SocketException)
        {
            if (!_stop.IsCancellationRequested)
                _log.MetricsFailed(e.Message);
        }
    }

    // One request, one answer, no keeping alive: a scrape every fifteen seconds.
    private async Task ServeAsync(Socket client)
    {
        using (client)
        {
            try
            {
                using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
                limit.CancelAfter(RequestTime);
                var head = new StringBuilder();
                var buffer = new byte[4096];
                while (!head.ToString().Contains("\r\n\r\n", StringComparison.Ordinal) && head.Length < RequestBytesAtMost)
                {
                    var read = await client.ReceiveAsync(buffer.AsMemory(), SocketFlags.None, limit.Token);
                    if (read == 0)
                        return;
                    head.Append(Encoding.Latin1.GetString(buffer, 0, read));
                }
                var words = head.ToString().Split('\r')[0].Split(' ');
                var found = words is ["GET", var path, ..] && path.Split('?')[0] == "/metrics";
                var body = Encoding.UTF8.GetBytes(found ? Text() : "404 page not found\n");
                var answer = $"HTTP/1.1 {(found ? "200 OK" : "404 Not Found")}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {body.Length}\r\nConnection: close\r\n\r\n";
                byte[] all = [.. Encoding.ASCII.GetBytes(answer), .. body];
                for (var sent = 0; sent < all.Length;)
                    sent += await client.SendAsync(all.AsMemory(sent), SocketFlags.None, limit.Token);
                client.Shutdown(SocketShutdown.Send);
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
            {
                // The scraper went away or took too long.
            }
        }
    }

    internal string Text()
    {
        var text = new StringBuilder();
        var info = _engine.System.Info();
        void Head(string name, string help, string type) => text.Append("# HELP ").Append(name).Append(' ').Append(help).Append("\n# TYPE ").Append(name).Append(' ').Append(type).Append('\n');
        void Gauge(string name, string help, double value)
        {
            Head(name, help, "gauge");
            text.Append(CultureInfo.InvariantCulture, $"{name} {value}\n");
        }

        Head("engine_daemon_container_actions_seconds", "The number of seconds it takes to process each container action", "histogram");
        _times.Write(text, "engine_daemon_container_actions_seconds");
        Head("engine_daemon_container_states_containers", "The count of containers in various states", "gauge");
        text.Append(CultureInfo.InvariantCulture, $"engine_daemon_container_states_containers{{state=\"paused\"}} {info.ContainersPaused}\n");
        text.Append(CultureInfo.InvariantCulture, $"engine_daemon_container_states_containers{{state=\"running\"}} {info.ContainersRunning}\n");
        text.Append(CultureInfo.InvariantCulture, $"engine_daemon_container_states_containers{{state=\"stopped\"}} {info.ContainersStopped}\n");
        Gauge("engine_daemon_engine_cpus_cpus", "The number of cpus that the host system of the engine has", info.NCPU);
        Head("engine_daemon_engine_info", "The information related to the engine and the OS it is running on", "gauge");
        text.Append(CultureInfo.InvariantCulture,
            $"engine_daemon_engine_info{{architecture=\"{info.Architecture}\",commit=\"{Escape(BuildInfo.GitCommit)}\",daemon_id=\"{info.ID}\",graphdriver=\"{info.Driver}\",kernel=\"{Escape(info.KernelVersion)}\",os=\"{Escape(info.OperatingSystem)}\",os_type=\"linux\",os_version=\"{Escape(info.OSVersion)}\",version=\"{Escape(_version)}\"}} 1\n");
        Gauge("engine_daemon_engine_memory_bytes", "The number of bytes of memory that the host system of the engine has available", info.MemTotal);
        Head("engine_daemon_events_total", "The number of events logged", "counter");
        text.Append(CultureInfo.InvariantCulture, $"engine_daemon_events_total {_engine.Events.Total}\n");
        Gauge("engine_daemon_events_subscribers_total", "The number of current subscribers to events", info.NEventsListener);
        Gauge("process_open_fds", "Number of open file descriptors.", info.NFd);
        Gauge("process_resident_memory_bytes", "Resident memory size in bytes.", Environment.WorkingSet);
        return text.ToString();
    }

    private static string Escape(string value) => value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);

    public void Dispose()
    {
        _stop.Cancel();
        _listener.Dispose();
    }
}
