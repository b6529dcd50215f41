"""One HTTP request to a server on this machine: checked, read as JSON, answered as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

MOST_BYTES = 64 << 20
_HOSTS = ("127.0.0.1", "localhost")
_LONGEST = 300


class Problem(Exception):
    """Ends a request with a status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        line = " ".join("".join(letter if letter.isprintable() else " " for letter in sentence).split())
        self.sentence = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
        super().__init__(self.sentence)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """Answers GET of ``/health`` by itself, and POST through ``respond(path, asked)`` of its server.

    Web pages of other places, open in a browser of this machine, get nothing: they can neither name this host, nor
    post JSON without asking first.
    """

    server: Any
    timeout = 60
    protocol_version = "HTTP/1.1"
    server_version = "labelstill"
    sys_version = ""

    def do_GET(self) -> None:
        """Say that the server is up."""
        self._answer(self._status)

    def do_POST(self) -> None:
        """Ask the server."""
        self._answer(lambda: self.server.respond(self._path(), self._json()))

    def _answer(self, made: Callable[[], dict[str, Any]]) -> None:
        try:
            if self.headers.get("Host", "").rpartition(":")[0] not in _HOSTS:
                raise Problem(403, f"expected a request to {_HOSTS[0]}")
            self._send(200, made())
        except Problem as problem:
            self.close_connection = True
            self._send(problem.status, {"error": problem.sentence}, problem.sentence)

    def _status(self) -> dict[str, Any]:
        if self._path() not in ("", "/health"):
            raise Problem(404, "not found")
        return {"status": "UP", "model_class": "labelstill"}

    def _json(self) -> Any:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            raise Problem(411, "expected a body with its Content-Length")
        if len(length) > 12 or int(length) > MOST_BYTES:
            raise Problem(413, f"expected a body of at most {MOST_BYTES} bytes")
        if self.headers.get_content_type() != "application/json":
            raise Problem(415, "expected a body of the type application/json")
        try:
            return json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise Problem(400, "expected a body in JSON") from None

    def _path(self) -> str:
        return self.path.partition("?")[0].rstrip("/")

    def _send(self, status: int, answer: Mapping[str, Any], reason: str | None = None) -> None:
        body = json.dumps(answer).encode()
        # Label Studio notes the reason of a refusal and not its body.
        self.send_response(status, reason and reason.encode("ascii", "replace").decode())
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no request of HTTP, or of another method."""
        problem = Problem(code, message or "this is no request")
        self.close_connection = True
        self._send(code, {"error": problem.sentence}, problem.sentence)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the verb tells what is served, and addresses of pictures belong in no log."""

    def handle(self) -> None:
        """Serve one connection; one that breaks is no news."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True
