"""The worker process of another environment: its frames, its death, its limits."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.core.errors import BackendError
from labeling.core.ontology import parse_classes
from labeling.teachers.worker import protocol
from labeling.teachers.worker.client import Worker, WorkerEndedError
from labeling.teachers.worker.protocol import ProtocolError, encode, receive
from tests.fake_worker import GREETING, program

if TYPE_CHECKING:
    pass

ONTOLOGY = parse_classes("box: box | red box, cone, ladder")
PHOTO = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)


def frame(header: dict[str, object], *arrays: np.ndarray) -> bytes:
    return b"".join(bytes(piece) for piece in encode(header, arrays))


@given(
    shape=st.lists(st.integers(0, 4), max_size=4),
    dtype=st.sampled_from(["uint8", "float32"]),
    text=st.text(max_size=20),
)
def test_a_frame_comes_back_as_it_was_sent(shape: list[int], dtype: str, text: str) -> None:
    array = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    stream = io.BytesIO(frame({"text": text}, array, array[..., :1] if shape else array) + frame({"next": 1}))
    first = receive(stream.read)
    assert first is not None
    assert first[0] == {"text": text}
    np.testing.assert_array_equal(first[1][0], array)
    assert first[1][0].dtype == dtype
    assert receive(stream.read) == ({"next": 1}, [])
    assert receive(stream.read) is None


def prefix(header: int, body: int) -> bytes:
    return header.to_bytes(4, "big") + body.to_bytes(8, "big")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (prefix(protocol.MAX_HEADER + 1, 0), "beyond the limits"),
        (prefix(2, protocol.MAX_BODY + 1), "beyond the limits"),
        (b"final text_encoder_type: x", "beyond the limits"),
        (prefix(2, 0)[:7], "ended inside"),
        (prefix(9, 0) + b"{}", "ended inside"),
        (prefix(2, 0) + b"no", "no JSON"),
        (prefix(2, 0) + b"[]", "no object"),
        (prefix(2, 5) + b"{}", "length of its arrays"),
        (prefix(33, 8) + b'{"arrays": [["float64", [1]]]}   ', "one of uint8, float32"),
        (prefix(33, 1) + b'{"arrays": [["uint8", [-1]]]}    ', "one of uint8, float32"),
        (prefix(44, 4) + b'{"arrays": [["uint8", [1073741824, 1024]]]}'.ljust(44), "the limit is"),
        (prefix(30, 4) + b'{"arrays": [["uint8", [4]]]}  ' + b"abc", "ended inside"),
    ],
)
def test_what_is_no_frame_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        receive(io.BytesIO(data).read)


def test_a_worker_that_dies_says_why(tmp_path: Path) -> None:
    file = program(tmp_path, GREETING + 'receive(read)\nprint("out of paper", file=sys.stderr)\nsys.exit(3)')
    worker = Worker(Path(sys.executable), program=file)
    with pytest.raises(WorkerEndedError, match=r"ended with exit status 3; its last words: out of paper"):
        list(worker.ask({"op": "x"}, within_s=20))


def test_a_worker_that_is_killed_is_told_by_its_signal(tmp_path: Path) -> None:
    worker = Worker(Path(sys.executable), program=program(tmp_path, GREETING + "time.sleep(60)"))
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerEndedError, match="by signal 9"):
        list(worker.ask({"op": "x"}, within_s=20))


def test_a_worker_that_does_not_answer_is_ended(tmp_path: Path) -> None:
    worker = Worker(Path(sys.executable), program=program(tmp_path, GREETING + "time.sleep(60)"))
    started = time.monotonic()
    with pytest.raises(WorkerEndedError, match="did not answer within 1 s"):
        # More than a pipe holds, so that writing has to give up as well.
        list(worker.ask({"op": "x"}, [np.zeros(1 << 22, dtype=np.uint8)], within_s=1))
    assert time.monotonic() - started < 10
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_a_worker_of_another_protocol_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="protocol 7, expected 1"):
        Worker(Path(sys.executable), program=program(tmp_path, 'write({"protocol": 7})\ntime.sleep(60)'))


def test_noise_among_the_frames_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(WorkerEndedError, match="sent what is no answer"):
        Worker(Path(sys.executable), program=program(tmp_path, 'print("loading weights, please wait ...")'))


def test_much_noise_on_stderr_neither_blocks_nor_grows(tmp_path: Path) -> None:
    file = program(tmp_path, 'for _ in range(20): sys.stderr.write("x" * 100_000)\n' + GREETING + "receive(read)\n")
    with pytest.raises(WorkerEndedError) as caught:
        list(Worker(Path(sys.executable), program=file).ask({"op": "x"}, within_s=20))
    assert len(str(caught.value)) < 1000


def test_a_closed_worker_ends(tmp_path: Path) -> None:
    worker = Worker(Path(sys.executable), program=program(tmp_path, GREETING + "receive(read)"))
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)
