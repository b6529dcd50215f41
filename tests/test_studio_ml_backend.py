"""The protocol of Label Studio's models: hostile requests, one task after the other, an end in good order."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from labeling.core.errors import InputError
from labeling.studio.assistant import Declined
from labeling.studio.convert import MODEL_VERSION
from labeling.studio.ml_backend import MlBackend
from labeling.studio.ml_http import MOST_BYTES

pytestmark = pytest.mark.http

JSON = {"Content-Type": "application/json"}
BOX = {"type": "rectanglelabels"}


class Scripted:
    """Answers with what a function makes of the data and of what was drawn, and notes the order of the questions."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.then: Callable[[Any], Any] = lambda name: None

    def answer(self, data: Mapping[str, Any], drawn: Sequence[Any] = ()) -> dict[str, Any]:
        name = data["image"]
        self.asked.append((name, len(drawn)))
        self.then(name)
        return {"model_version": MODEL_VERSION, "result": [name]}


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def backend(scripted: Scripted, told: list[str]) -> Iterator[MlBackend]:
    with MlBackend(scripted, tell=told.append) as backend:  # type: ignore[arg-type]
        yield backend


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def send(
    backend: MlBackend, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = JSON
) -> tuple[int, str, Any]:
    """Return status, reason and JSON; whatever comes is JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", backend.server_address[1], timeout=20)
    connection.request(method, path, body, dict(headers))
    reply = connection.getresponse()
    assert reply.getheader("Content-Type") == "application/json"
    value = json.loads(reply.read())
    connection.close()
    return reply.status, reply.reason, value


def predict(backend: MlBackend, *names: str, drawn: list[Any] | None = None) -> tuple[int, Any]:
    asked: dict[str, Any] = {"tasks": [{"id": place, "data": {"image": name}} for place, name in enumerate(names, 1)]}
    asked["params"] = {"login": None, "context": None if drawn is None else {"result": drawn}}
    status, _, value = send(backend, "POST", "/predict", json.dumps(asked).encode())
    return status, value


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_it_listens_on_this_machine_only(backend: MlBackend) -> None:
    assert backend.server_address[0] == "127.0.0.1"
    assert backend.url == f"http://127.0.0.1:{backend.server_address[1]}"


def test_it_answers_as_label_studio_expects(backend: MlBackend) -> None:
    assert send(backend, "GET", "/health")[0::2] == (200, {"status": "UP", "model_class": "labelstill"})
    setup = json.dumps({"project": "1.2", "schema": "<View/>", "access_token": "secret"}).encode()
    assert send(backend, "POST", "/setup", setup)[0::2] == (200, {"model_version": MODEL_VERSION})
    assert send(backend, "POST", "/webhook", b"{}")[0] == 200
    assert send(backend, "GET", "/versions")[0] == send(backend, "POST", "/delete", b"{}")[0] == 404


def test_every_task_gets_its_prediction_in_order(backend: MlBackend, scripted: Scripted) -> None:
    status, value = predict(backend, "a", "b", "c")
    assert status == 200
    assert [one["result"] for one in value["results"]] == [["a"], ["b"], ["c"]]
    assert scripted.asked == [("a", 0), ("b", 0), ("c", 0)]


def test_what_was_drawn_reaches_the_assistant(backend: MlBackend, scripted: Scripted) -> None:
    status, value = predict(backend, "a", drawn=[BOX, BOX])
    assert (status, len(value["results"]), scripted.asked) == (200, 1, [("a", 2)])


TASK = '{"id": 1, "data": {"image": "a"}}'


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff\xfe", b"null", b"3", b"[]", b"{}", b'{"tasks": 3}', b'{"tasks": []}', b'{"tasks": [1]}',
        b'{"tasks": [{"data": "a"}]}', b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000,
        f'{{"tasks": [{TASK}], "params": {{"context": 3}}}}'.encode(),
        f'{{"tasks": [{TASK}], "params": {{"context": {{"result": 3}}}}}}'.encode(),
        f'{{"tasks": [{TASK}, {TASK}], "params": {{"context": {{"result": []}}}}}}'.encode(),
        f'{{"tasks": [{TASK}], "params": {{"context": {{"result": [{",".join(["1"] * 101)}]}}}}}}'.encode(),
    ],
)  # fmt: skip
def test_hostile_bodies_are_refused_in_one_sentence(backend: MlBackend, scripted: Scripted, body: bytes) -> None:
    status, _, value = send(backend, "POST", "/predict", body)
    assert status == 400
    assert value.keys() == {"error"}
    assert value["error"].startswith("expected ")
    assert scripted.asked == []
    assert predict(backend, "a")[0] == 200


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {**JSON, "Host": "evil.example"}),
        (403, {**JSON, "Host": "evil.example:9090"}),
        (415, {"Content-Type": "text/plain"}),
        (411, {**JSON, "Transfer-Encoding": "chunked"}),
        (411, {**JSON, "Content-Length": "-1"}),
        (411, {**JSON, "Content-Length": "1_0"}),
        (413, {**JSON, "Content-Length": str(MOST_BYTES + 1)}),
        (413, {**JSON, "Content-Length": "9" * 400}),
    ],
)
def test_requests_of_web_pages_and_without_measure_are_refused(
    backend: MlBackend, scripted: Scripted, status: int, headers: Mapping[str, str]
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", backend.server_address[1], timeout=20)
    connection.putrequest("POST", "/predict", skip_host="Host" in headers)
    for name, value in {"Content-Length": "2", **headers}.items():
        if not (name == "Content-Length" and "Transfer-Encoding" in headers):
            connection.putheader(name, value)
    connection.endheaders()
    reply = connection.getresponse()
    assert reply.status == status
    assert json.loads(reply.read()).keys() == {"error"}
    assert reply.getheader("Connection") == "close"
    connection.close()
    assert scripted.asked == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_get_json_too(backend: MlBackend, method: str) -> None:
    status, _, value = send(backend, method, "/predict", b"{}")
    assert (status, value.keys()) == (501, {"error"})


def test_a_refusal_says_why_where_label_studio_looks_for_it(
    backend: MlBackend, scripted: Scripted, told: list[str]
) -> None:
    def fail(name: str) -> None:
        raise InputError("the photo “a”\r\nX: is gone")

    scripted.then = fail
    body = b'{"tasks": [{"id": 7, "data": {"image": "a"}}]}'
    status, reason, value = send(backend, "POST", "/predict", body)
    assert (status, reason) == (500, "the photo ?a? X: is gone")
    assert value == {"error": "the photo “a” X: is gone"}
    assert told == ["task 7: the photo “a” X: is gone"]


def test_a_defect_is_one_line_and_no_traceback(
    backend: MlBackend, scripted: Scripted, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("out of memory\nTraceback: line 2")

    scripted.then = fail
    assert predict(backend, "a") == (500, {"error": "unexpected RuntimeError: out of memory Traceback: line 2"})
    scripted.then = lambda name: None
    assert predict(backend, "a")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_one_bad_picture_takes_no_prediction_from_the_others(
    backend: MlBackend, scripted: Scripted, told: list[str]
) -> None:
    def fail(name: str) -> None:
        if name == "b":
            raise InputError("gone")

    scripted.then = fail
    status, value = predict(backend, "a", "b", "c")
    assert (status, value["results"][1]) == (200, [])
    assert [bool(one) for one in value["results"]] == [True, False, True]
    assert told == ["task 2: gone"]


def test_a_blind_task_gets_no_prediction_and_whoever_draws_on_it_no_mask(
    backend: MlBackend, scripted: Scripted, told: list[str]
) -> None:
    def decline(name: str) -> None:
        raise Declined("draw it by hand")

    scripted.then = decline
    assert predict(backend, "a") == (200, {"results": [[]]})
    assert told == []
    assert predict(backend, "a", drawn=[BOX]) == (403, {"error": "draw it by hand"})
    assert told == ["task 1: draw it by hand"]


def test_questions_at_once_are_answered_one_at_a_time_by_one_thread(
    backend: MlBackend, scripted: Scripted, pool: ThreadPoolExecutor
) -> None:
    inside, most, threads = [], [], set()

    def watch(name: str) -> None:
        inside.append(name)
        threads.add(threading.get_ident())
        time.sleep(0)  # lets others run
        most.append(len(inside))
        inside.remove(name)

    scripted.then = watch
    answers = list(pool.map(lambda number: predict(backend, f"{number}a", f"{number}b"), range(8)))
    assert [[one["result"][0] for one in value["results"]] for _, value in answers] == [
        [f"{number}a", f"{number}b"] for number in range(8)
    ]
    assert (most, len(threads)) == ([1] * 16, 1)


def waiting(backend: MlBackend) -> int:
    return backend._worker._work_queue.qsize()


def test_whoever_draws_waits_for_one_picture_and_not_for_a_batch(
    backend: MlBackend, scripted: Scripted, pool: ThreadPoolExecutor
) -> None:
    go = threading.Event()
    scripted.then = lambda name: go.wait(10)
    batch = pool.submit(predict, backend, "a", "b", "c")
    until(lambda: scripted.asked == [("a", 0)])
    drawing = pool.submit(predict, backend, "d", drawn=[BOX])
    until(lambda: waiting(backend) == 1)
    go.set()
    assert drawing.result(10)[0] == batch.result(10)[0] == 200
    assert scripted.asked == [("a", 0), ("d", 1), ("b", 0), ("c", 0)]


def test_a_batch_that_takes_too_long_is_answered_in_part(scripted: Scripted, told: list[str]) -> None:
    now = [0.0]

    def work(name: str) -> None:
        now[0] += 30

    scripted.then = work
    with MlBackend(scripted, tell=told.append, clock=lambda: now[0]) as backend:  # type: ignore[arg-type]
        status, value = predict(backend, "a", "b", "c", "d", "e")
    assert (status, [bool(one) for one in value["results"]]) == (200, [True, True, True, False, False])
    assert told == ["2 of 5 tasks wait: retrieve predictions once more"]


def test_the_end_waits_for_the_task_at_hand_and_refuses_the_others(
    scripted: Scripted, pool: ThreadPoolExecutor
) -> None:
    go = threading.Event()
    scripted.then = lambda name: go.wait(10)
    backend = MlBackend(scripted)  # type: ignore[arg-type]
    with backend:
        first: Future[tuple[int, Any]] = pool.submit(predict, backend, "a")
        until(lambda: len(scripted.asked) == 1)
        second = pool.submit(predict, backend, "b")
        until(lambda: waiting(backend) == 1)
        ending = pool.submit(backend._worker.shutdown, wait=True, cancel_futures=True)
        assert second.result(10) == (503, {"error": "the teacher is no longer served"})
        assert predict(backend, "c") == (503, {"error": "the teacher is no longer served"})
        assert not ending.done()
        go.set()
        assert first.result(10)[0] == 200
    backend.wait()
    assert scripted.asked == [("a", 0)]
    with pytest.raises(ConnectionRefusedError):
        predict(backend, "d")


def test_a_taken_port_is_an_error(backend: MlBackend, scripted: Scripted) -> None:
    with pytest.raises(OSError, match="in use"):
        MlBackend(scripted, backend.server_address[1])  # type: ignore[arg-type]


def test_somebody_who_hangs_up_is_no_news(
    backend: MlBackend, scripted: Scripted, capfd: pytest.CaptureFixture[str]
) -> None:
    go = threading.Event()
    scripted.then = lambda name: go.wait(10)
    gone = socket.create_connection(("127.0.0.1", backend.server_address[1]))
    body = b'{"tasks": [{"data": {"image": "a"}}]}'
    head = (
        f"POST /predict HTTP/1.1\r\nHost: localhost:1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    gone.sendall(f"{head}\r\n\r\n".encode() + body)
    until(lambda: len(scripted.asked) == 1)
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.close()
    go.set()
    assert predict(backend, "b")[0] == 200
    assert capfd.readouterr() == ("", "")
