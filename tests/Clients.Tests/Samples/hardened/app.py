import http.server
import os
import resource
import socket


def status(name):
    with open("/proc/self/status") as file:
        return next(line.split(":")[1].strip() for line in file if line.startswith(name + ":"))


def text(path):
    with open(path) as file:
        return file.read().strip()


def writable(path):
    try:
        with open(path, "w"):
            return "yes"
    except OSError as error:
        return error.strerror


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        lines = [
            f"user {os.getuid()}:{os.getgid()} {os.getgroups()}",
            f"host {socket.gethostname()} {socket.getfqdn()}",
            f"capabilities {status('CapBnd')} {status('CapEff')} no new {status('NoNewPrivs')}",
            f"writable / {writable('/file')}, /tmp {writable('/tmp/file')}",
            f"upstream {socket.gethostbyname('upstream')}",
            f"bell {socket.gethostbyname('doorbell')}",
            f"search {[line.split()[1:] for line in text('/etc/resolv.conf').splitlines() if line.startswith('search')][0]}",
            f"somaxconn {text('/proc/sys/net/core/somaxconn')} mtu {text('/sys/class/net/eth0/mtu')}",
            f"files {resource.getrlimit(resource.RLIMIT_NOFILE)} core {resource.getrlimit(resource.RLIMIT_CORE)}",
            f"oom {text('/proc/self/oom_score_adj')}",
            f"first {text('/proc/1/comm')}",
        ]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(("\n".join(lines) + "\n").encode())


http.server.ThreadingHTTPServer(("", 8000), Page).serve_forever()
