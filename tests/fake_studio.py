"""A Label Studio for tests: a real server on 127.0.0.1 that answers as the real one does, and fails when told to.

    with FakeStudio([faults.lost_answer("POST", "/import")]) as studio:
        StudioClient(studio.url, studio.token)
        studio.annotate(task_id, result, user=studio.add_user("ann@localhost"))

`tests/test_studio_contract.py` holds it to the real one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from tests.fake_studio_faults import Fault
from tests.fake_studio_records import Call, Records, Refusal, Reply, Row, refuse
from tests.fake_studio_routes import answer

LABEL_CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<RectangleLabels name="box" toName="image"><Label value="cat"/></RectangleLabels></View>'
)
_OPEN_TO_ALL = re.compile(r"/(health|api/version|api/token/refresh)/?")


@dataclass(frozen=True, slots=True)
class Request:
    """One request that came, and the status it got; 0 where the connection was cut."""

    method: str
    path: str
    status: int
    authorization: str


class FakeStudio:
    """The server and its records. Every method may be called while clients use it.

    Args:
        faults: what goes wrong, see `tests/fake_studio_faults.py`.
        tokens: which kind it gives out; "legacy-off" gives a legacy one that it does not accept.
        access_lives_s: so long lives an access token by ``clock``.
        access_lives_requests: so many requests it is good for, where that is less.
        files_root: document root of local files; None where they are off.
        prefix: a sub-path that it is served below, such as "/studio".
        clock: seconds.
    """

    def __init__(
        self,
        faults: Iterable[Fault] = (),
        *,
        tokens: Literal["personal", "legacy", "legacy-off"] = "personal",
        access_lives_s: float = 300.0,
        access_lives_requests: float = float("inf"),
        files_root: Path | None = None,
        prefix: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.faults = list(faults)
        for fault in self.faults:
            fault.seen = 0
        self.records = Records(files_root)
        self.requests: list[Request] = []
        self.revoked = False
        self.legacy_on = tokens == "legacy"
        self.token = "0123456789abcdef" * 2 + "01234567"
        self._prefix, self._clock = prefix, clock
        self._lives = (access_lives_s, access_lives_requests)
        self._access: dict[str, list[float]] = {}
        self._late: list[tuple[int, Call]] = []
        self._lock = threading.RLock()
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        if tokens == "personal":
            self.token = self._jwt("refresh", 6.3e9)

    def __enter__(self) -> FakeStudio:
        self.revive()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{self._prefix}"

    def down(self) -> None:
        """Refuse connections, and drop those that are open; what was committed stays."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        for connection in list(self._open):
            _drop(connection)

    def revive(self) -> None:
        """Listen again, at the address it had before."""
        studio = self

        class Handler(_Handler):
            pass

        Handler.studio = studio
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def count(self, method: str, pattern: str) -> int:
        """Return how many requests came whose path, query included, holds the pattern."""
        return sum(request.method == method and bool(re.search(pattern, request.path)) for request in self.requests)

    # What people do, without HTTP ----------------------------------------------------------------------------------

    def add_project(self, label_config: str = LABEL_CONFIG, **fields: Any) -> int:
        with self._lock:
            return int(self.records.add_project({"title": "a project", "label_config": label_config, **fields})["id"])

    def add_user(self, email: str) -> int:
        with self._lock:
            self.records.users[number := max(self.records.users) + 1] = email
            return number

    def tasks(self, project_id: int | None = None) -> list[Row]:
        """Return all tasks with annotations, drafts and predictions, by ascending id."""
        with self._lock:
            rows = [self.records.task_row(task, full=True) for task in self.records.tasks.values()]
            return [row for row in rows if project_id in (None, row["project"])]

    def annotate(
        self,
        task_id: int,
        result: Sequence[Mapping[str, Any]],
        *,
        user: int = 1,
        skipped: bool = False,
        draft: bool = False,
        annotation: int | None = None,
        lead_time: float | None = 10.0,
        parent_prediction: int | None = None,
    ) -> Row:
        """Submit an annotation; skip; or leave a draft of a new one, or of the submitted one that is named."""
        fields = {"result": list(result), "lead_time": lead_time, "parent_prediction": parent_prediction}
        with self._lock:
            if draft:
                return self.records.add_draft(task_id, fields, user, annotation)
            return self.records.add_annotation(task_id, {**fields, "was_cancelled": skipped}, user)

    def change_annotation(self, annotation_id: int, result: Sequence[Mapping[str, Any]]) -> Row:
        with self._lock:
            return self.records.change_annotation(annotation_id, {"result": list(result)})

    def delete_annotation(self, annotation_id: int) -> None:
        with self._lock:
            self.records.delete_annotation(annotation_id)

    def delete_tasks(self, *task_ids: int) -> None:
        with self._lock:
            self.records.delete_tasks(task_ids)

    # One request ---------------------------------------------------------------------------------------------------

    def serve(self, call: Call, target: str) -> tuple[Reply | None, Fault | None]:
        """Return the answer, None where there is none, and the fault that hit."""
        with self._lock:
            fault = self._hit(call.method, target)
            if fault and fault.act:
                fault.act(self)
            self._commit_late()
            reply: Reply | None = None
            if fault is None or fault.commits:
                reply = self._answer(call)
            elif fault.commits_after:
                self._late.append((len(self.requests) + 1 + fault.commits_after, call))
            if fault and fault.status is not None:
                reply = Reply(fault.status, fault.body, fault.headers)
            if fault and fault.cut in ("before", "down"):
                reply = None
            authorization = call.headers.get("authorization", "")
            self.requests.append(Request(call.method, target, reply.status if reply else 0, authorization))
            return reply, fault

    def _hit(self, method: str, target: str) -> Fault | None:
        hits = [fault for fault in self.faults if fault.hits(method, target)]
        return hits[0] if hits else None

    def _commit_late(self) -> None:
        due = [call for at, call in self._late if at <= len(self.requests)]
        self._late = [(at, call) for at, call in self._late if at > len(self.requests)]
        for call in due:
            answer(self.records, call, 1)

    def _answer(self, call: Call) -> Reply:
        if not call.path.startswith(self._prefix + "/"):
            return Reply(404, "<!doctype html><title>404 Not Found</title>")
        path = call.path.removeprefix(self._prefix)
        call = Call(call.method, path, call.query, call.headers, call.content)
        try:
            if re.fullmatch(r"/api/token/refresh/?", path) and call.method == "POST":
                return self._exchange(call)
            if not _OPEN_TO_ALL.fullmatch(path):
                self._check(call.headers.get("authorization", ""))
        except Refusal as refusal:
            return refusal.reply
        return answer(self.records, call, 1)

    def _exchange(self, call: Call) -> Reply:
        given = call.json().get("refresh")
        if given in self._access:
            refuse(401, "Token has wrong type")
        if given != self.token:
            refuse(401, "Token is invalid")
        if self.revoked:
            refuse(401, "Token is blacklisted")
        access = self._jwt("access", self._lives[0])
        self._access[access] = [self._clock() + self._lives[0], self._lives[1]]
        return Reply(200, {"access": access})

    def _check(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme == "Token" and len(self.token) == 40:
            if token != self.token:
                refuse(401, "Invalid token.")
            if not self.legacy_on:
                refuse(
                    401,
                    "Authentication token no longer valid: legacy token authentication has been disabled "
                    "for this organization",
                )
            return
        if scheme == "Token":
            refuse(401, "Invalid token.")
        ends, left = self._access.get(token, (0.0, 0.0))
        if scheme != "Bearer" or ends <= self._clock() or left <= 0:
            refuse(401, "Authentication credentials were not provided.")
        self._access[token][1] -= 1

    def _jwt(self, kind: str, lives_s: float) -> str:
        now = int(self._clock())
        claims = {"token_type": kind, "exp": now + lives_s, "iat": now, "jti": len(self._access), "user_id": "1"}
        parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
        return ".".join(
            base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, b"signed by the fake")
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    studio: FakeStudio

    def setup(self) -> None:
        super().setup()
        self.studio._open.add(self.connection)

    def finish(self) -> None:
        self.studio._open.discard(self.connection)
        super().finish()

    def _serve(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(self.command, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, content)
        reply, fault = self.studio.serve(call, self.path)
        if reply is None:
            self.close_connection = True
            self.studio.down() if fault and fault.cut == "down" else _drop(self.connection)
            return
        body, kind = _encoded(reply.body)
        self.send_response(reply.status)
        for name, value in {"Content-Type": kind, **reply.headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        if fault and fault.stall:
            fault.stall()
        if fault and fault.cut == "inside":
            self.close_connection = True
            _drop(self.connection)
            return
        self.wfile.write(body[half:])

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: pytest would show it."""


def _encoded(body: Any) -> tuple[bytes, str]:
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    if isinstance(body, str):
        return body.encode(), "application/json" if body.startswith("{") else "text/html; charset=utf-8"
    return (b"" if body is None else json.dumps(body).encode()), "application/json"


def _drop(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
