import socketserver
import threading


class Line(socketserver.StreamRequestHandler):
    def handle(self):
        port = self.server.server_address[1]
        self.wfile.write(b"%d: %s" % (port, self.rfile.readline()))


class Packet(socketserver.DatagramRequestHandler):
    def handle(self):
        self.wfile.write(b"udp: " + self.rfile.read())


socketserver.ThreadingTCPServer.allow_reuse_address = True
servers = [socketserver.ThreadingTCPServer(("", port), Line) for port in range(8000, 8004)] + [socketserver.ThreadingUDPServer(("", 8000), Packet)]
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
