import http.client
import http.server
import json
import socket
import urllib.parse


class Engine(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/run/docker.sock")


def containers():
    engine = Engine("engine")
    engine.request("GET", "/containers/json?" + urllib.parse.urlencode({"filters": json.dumps({"label": ["page.title"]})}))
    return json.load(engine.getresponse())


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = "".join(sorted(f"{c['Labels']['page.title']}: {c['State']} on {len(c['NetworkSettings']['Networks'])} network\n" for c in containers()))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())


http.server.ThreadingHTTPServer(("", 8000), Page).serve_forever()
