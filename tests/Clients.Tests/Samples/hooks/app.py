import http.server
import os


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("/state/log") as file:
            body = file.read()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def do_POST(self):
        os._exit(3)  # it crashes, and its restart policy brings it back


server = http.server.ThreadingHTTPServer(("", 8000), Page)
open("/ready", "w").close()
server.serve_forever()
