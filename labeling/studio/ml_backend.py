"""The part of Label Studio's machine-learning protocol that an assistant needs, over HTTP on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

from ..core.errors import LabelstillError
from .assistant import Assistant

_MOST_BYTES = 64 << 20
_MOST_TASKS = 64


class MlBackend(ThreadingHTTPServer):
    """Serves one assistant at ``http://127.0.0.1:PORT`` until it is shut down; one question at a time.

    ``/health``, ``/setup``, ``/predict`` and ``/webhook`` answer as Label Studio expects; training is not offered.
    """

    daemon_threads = True

    def __init__(self, assistant: Assistant, port: int = 0, host: str = "127.0.0.1") -> None:
        """Bind. Raises OSError where the port is taken; port 0 takes any that is free."""
        super().__init__((host, port), _Handler)
        self.assistant = assistant
        self.lock = Lock()

    @property
    def url(self) -> str:
        """Address to name in Label Studio."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def predict(self, asked: Any) -> dict[str, Any]:
        """Return one prediction per task. Raises LabelstillError where a photo cannot be read."""
        tasks = asked.get("tasks") if isinstance(asked, Mapping) else None
        if not isinstance(tasks, list) or not all(isinstance(_at(task, "data"), Mapping) for task in tasks):
            raise _BadRequest("expected 'tasks' as a list of tasks with 'data'")
        if len(tasks) > _MOST_TASKS:
            raise _BadRequest(f"expected at most {_MOST_TASKS} tasks at a time, got {len(tasks)}")
        drawn = _at(_at(_at(asked, "params"), "context"), "result") or ()
        with self.lock:
            return {"results": [self.assistant.answer(task["data"], drawn) for task in tasks]}


class _BadRequest(LabelstillError):
    """The question itself is wrong."""


class _Handler(BaseHTTPRequestHandler):
    server: MlBackend
    timeout = 60
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self._path() in ("", "/health"):
            self._send(200, {"status": "UP", "model_class": "labelstill"})
        elif self._path() == "/versions":
            self._send(200, {"versions": [self.server.assistant.model_version]})
        else:
            self._send(404, {"error": "not found"})

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if not 0 <= length <= _MOST_BYTES:
            self.close_connection = True
            return self._send(413, {"error": f"expected a body of at most {_MOST_BYTES} bytes"})
        body = self.rfile.read(length)
        if self._path() == "/setup":
            return self._send(200, {"model_version": self.server.assistant.model_version})
        if self._path() in ("/webhook", "/train"):
            return self._send(200, {"status": "this backend does not train"})
        if self._path() != "/predict":
            return self._send(404, {"error": "not found"})
        try:
            self._send(200, self.server.predict(json.loads(body)))
        except (_BadRequest, ValueError) as error:
            self._send(400, {"error": f"bad request: {error}"})
        except LabelstillError as error:
            self._send(500, {"error": str(error)})

    def _path(self) -> str:
        return self.path.partition("?")[0].rstrip("/")

    def _send(self, status: int, answer: Mapping[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the verb tells what is served, and addresses of pictures belong in no log."""


def _at(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None
