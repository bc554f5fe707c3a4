import http.server
import os
import socket


def cached(words):
    with socket.create_connection(("127.0.0.1", 11211)) as cache:
        cache.sendall(words)
        return cache.recv(1000).decode().strip()


def read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except FileNotFoundError:
        return "nothing"


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        lines = [
            "cache: " + cached(b"set word 0 0 5\r\nhello\r\n"),
            "note: " + read("/files/note"),
            "memory: " + read("/dev/shm/word"),
            "neighbour: " + " ".join(sorted({read(f"/proc/{p}/comm") for p in os.listdir("/proc") if p.isdigit()} & {"sleep"})),
        ]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(("\n".join(lines) + "\n").encode())


http.server.ThreadingHTTPServer(("", 8000), Page).serve_forever()
