"""Servers on the loopback for the tests: one that echoes requests, one that answers like a model."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, Iterator, List, Tuple, Type


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: object) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def reply(self, status: int, body: bytes, headers: Tuple[Tuple[str, str], ...] = ()) -> None:
        self.send_response(status)
        for name, value in (("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Echo(Handler):
    """Responds with the request that it received; some paths behave differently."""

    def answer(self) -> None:
        self.server.asked.append((self.command, self.path))
        body = self.body()
        if self.path == "/long":
            self.reply(200, b"x" * 100_000)
        elif self.path == "/slow":
            time.sleep(2)
            self.reply(200, b"at last")
        elif self.path == "/missing":
            self.reply(404, b"nothing here")
        elif self.path.startswith("/to?"):
            self.reply(302, b"", (("Location", self.path[4:]),))
        else:
            seen = {"method": self.command, "path": self.path, "body": body.decode(), "x": self.headers.get_all("X-Test")}
            self.reply(200, json.dumps(seen).encode(), (("X-Answer", "one"), ("X-Answer", "two")))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer


class Model(Handler):
    """Speaks the OpenAI chat-completions format. Its answer has as many words as ``max_tokens`` allows, 5 at most;
    the name of the model selects its behaviour."""

    def do_POST(self) -> None:
        request = json.loads(self.body())
        self.server.asked.append((dict(self.headers), self.path, request))
        model = request["model"]
        words = ["one ", "two ", "three ", "four ", "five "][: request.get("max_tokens", 5)]
        usage = {"prompt_tokens": 7, "completion_tokens": len(words), "total_tokens": 7 + len(words)}
        if model == "broken":
            self.reply(500, b'{"error": {"message": "out of order"}}')
        elif model == "nonsense":
            self.reply(200, b"<html>")
        elif request.get("stream"):
            self.stream(model, words, usage if "silent" not in model else None)
        else:
            message = {"role": "assistant", "content": "".join(words)}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            answer = {"id": "1", "object": "chat.completion", "model": model, "choices": choices, "usage": usage}
            self.reply(200, json.dumps(answer).encode(), (("Content-Type", "application/json"),))

    def stream(self, model: str, words: List[str], usage: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        events: List[Dict[str, Any]] = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in words]
        if usage:
            events.append({"choices": [], "usage": usage})
        try:
            for event in events * (1000 if "endless" in model else 1):
                self.wfile.write(b"data: " + json.dumps({"object": "chat.completion.chunk", **event}).encode() + b"\n\n")
                self.wfile.flush()
                self.server.sent += 1
                if "endless" in model:
                    time.sleep(0.005)
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.server.cut = True
        self.close_connection = True


class Server(ThreadingHTTPServer):
    # Some tests open many connections at once.
    request_queue_size = 256


@contextmanager
def serve(handler: Type[Handler]) -> Iterator[Any]:
    """A server with this handler; ``asked`` lists the requests that it received."""
    server: Any = Server(("127.0.0.1", 0), handler)
    server.asked, server.sent, server.cut = [], 0, False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
