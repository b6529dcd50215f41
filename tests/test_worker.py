"""The worker process of another environment: its frames, its death, its limits."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.core.errors import BackendError, InputError
from labeling.core.ontology import parse_classes
from labeling.teachers import worker_environment
from labeling.teachers.worker import protocol
from labeling.teachers.worker.client import Worker, WorkerEndedError
from labeling.teachers.worker.protocol import ProtocolError, encode, receive
from tests import tiny_models

if TYPE_CHECKING:
    from labeling.teachers.detectors.worker import WorkerDetector

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


def program(folder: Path, body: str) -> Path:
    """Return a worker that greets and then runs ``body`` with read, write and receive at hand."""
    file = folder / "program.py"
    file.write_text(
        f"import os, sys, time\nsys.path.append({str(Path(protocol.__file__).parent)!r})\n"
        "from protocol import encode, receive\n"
        "def write(header):\n    sys.stdout.buffer.writelines(encode(header)); sys.stdout.buffer.flush()\n"
        "read = sys.stdin.buffer.read\n" + textwrap.dedent(body)
    )
    return file


GREETING = 'write({"protocol": 1, "versions": {}})\n'


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


def test_an_environment_that_was_not_finished_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELSTILL_GROUNDINGDINO", str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    assert worker_environment.find("groundingdino-py") is None
    assert worker_environment.facts("groundingdino-py") == {}


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="is no environment"):
        worker_environment.install("groundingdino-py", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.torch
def test_without_the_environment_the_error_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from labeling.teachers.detectors.worker import WorkerDetector

    weights = tiny_models.save_original_grounding_dino(tmp_path)
    monkeypatch.setenv("LABELSTILL_GROUNDINGDINO", str(tmp_path / "nowhere"))
    with pytest.raises(BackendError, match="run 'labelstill teachers install groundingdino-py'"):
        WorkerDetector(weights, "cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_original_grounding_dino(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def detector(weights: Path) -> Iterator[WorkerDetector]:
    if worker_environment.find("groundingdino-py") is None:
        pytest.skip("the environment groundingdino-py is not there: make groundingdino-env")
    from labeling.teachers.detectors.worker import WorkerDetector

    made = WorkerDetector(weights, "cpu")
    yield made
    made.close()


@pytest.mark.torch
def test_both_routes_give_the_same_boxes_in_the_same_order(detector: WorkerDetector, weights: Path) -> None:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    images = [PHOTO, PHOTO[:80, :60], PHOTO[:64, :64]]
    for own, theirs in zip(
        GroundingDinoDetector(weights, "cpu").detect(images, ONTOLOGY, 0.0),
        detector.detect(images, ONTOLOGY, 0.0),
        strict=True,
    ):
        np.testing.assert_allclose(own.detections.xyxy, theirs.detections.xyxy, atol=1e-2)
        np.testing.assert_allclose(own.detections.confidence, theirs.detections.confidence, atol=1e-4)
        np.testing.assert_array_equal(own.detections.class_id, theirs.detections.class_id)
        assert list(own.detections.data["prompt"]) == list(theirs.detections.data["prompt"])
        # Both keep 16 bits of what they pool.
        np.testing.assert_allclose(own.detections.data["feature"], theirs.detections.data["feature"], atol=4e-3)


@pytest.mark.torch
def test_after_a_kill_the_next_call_starts_a_new_worker(detector: WorkerDetector) -> None:
    before = detector.detect([PHOTO], ONTOLOGY, 0.0)[0].detections
    assert detector._worker is not None
    os.kill(detector._worker.pid, signal.SIGKILL)
    with pytest.raises(BackendError, match=r"by signal 9.*the next call starts a new one, 3 time\(s\) left"):
        detector.detect([PHOTO], ONTOLOGY, 0.0)
    after = detector.detect([PHOTO], ONTOLOGY, 0.0)[0].detections
    np.testing.assert_array_equal(before.xyxy, after.xyxy)


@pytest.mark.torch
@pytest.mark.slow
def test_the_worker_ends_with_its_parent(detector: WorkerDetector, weights: Path) -> None:
    script = (
        "import os, sys, pathlib\nfrom labeling.teachers.detectors.worker import WorkerDetector\n"
        "w = WorkerDetector(pathlib.Path(sys.argv[1]), 'cpu')\nprint(w._worker.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, weights], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.2)
    assert not Path(f"/proc/{pid}").exists()
