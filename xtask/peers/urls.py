"""How Python reads the target of a request: `PATH_INFO` as WSGI servers make it, and urllib's parsers.

Usage: urls.py PORT. Answers every request with one line for each reading: the path and the query, in hexadecimal.
"""

import posixpath
import sys
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote_to_bytes, urlparse, urlsplit
from wsgiref.simple_server import WSGIRequestHandler


def pairs(query: str) -> bytes:
    return "&".join(f"{name}={value}" for name, value in parse_qsl(query, keep_blank_values=True)).encode(
        "utf-8", "surrogateescape"
    )


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.close_connection = True
        self.handle_one_request()
        while not self.close_connection:
            self.handle_one_request()

    def do_GET(self) -> None:
        environ = self.get_environ()
        wsgi = environ["PATH_INFO"].encode("latin-1")
        query = environ["QUERY_STRING"]
        split = urlsplit("http://h" + self.path)
        parsed = urlparse("http://h" + self.path)
        paths = [
            wsgi,
            split.path.encode("utf-8", "surrogateescape"),
            unquote_to_bytes(split.path),
            unquote_to_bytes(parsed.path),
            # A framework that decodes again what the server decoded, and one that normalizes the path.
            unquote_to_bytes(wsgi),
            posixpath.normpath(b"/" + wsgi.lstrip(b"/")) + (b"/" if wsgi.endswith(b"/") and wsgi.strip(b"/") else b""),
        ]
        queries = [query.encode("latin-1"), pairs(query), unquote_to_bytes(query)]
        again = urlsplit("http://h" + wsgi.decode("latin-1"))
        lines = [path.hex() + " " + queries[at % len(queries)].hex() for at, path in enumerate(paths)]
        # A path that is decoded and read as a URL again may have another query.
        path, query = (part.encode("latin-1") for part in (again.path, again.query or query))
        lines.append(unquote_to_bytes(path).hex() + " " + query.hex())
        body = "\n".join(lines).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    base_environ: dict = {}

    def server_bind(self) -> None:
        super().server_bind()
        self.base_environ = {
            "SERVER_NAME": "h", "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_PORT": "80", "REMOTE_HOST": "", "CONTENT_LENGTH": "",
            "SCRIPT_NAME": "",
        }


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
