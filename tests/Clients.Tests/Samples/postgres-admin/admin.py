import http.server

import psycopg2


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        connection = psycopg2.connect("")  # PGHOST and the others say where
        with connection.cursor() as cursor:
            cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1")
            tables = [name for name, in cursor.fetchall()]
            body = ""
            for name in tables:
                cursor.execute(f"SELECT count(*) FROM {name}")
                body += f"{name}: {cursor.fetchone()[0]}\n"
        connection.close()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())


http.server.ThreadingHTTPServer(("", 8000), Page).serve_forever()
