"""The detector of the package groundingdino-py: failures with workers of a few lines, boxes with the real one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from labeling.core.errors import BackendError
from labeling.core.ontology import parse_classes
from labeling.teachers import worker_environment
from tests import tiny_models
from tests.fake_worker import GREETING, environment

if TYPE_CHECKING:
    from labeling.teachers.detectors.worker import WorkerDetector

pytestmark = pytest.mark.torch

ONTOLOGY = parse_classes("box: box | red box, cone, ladder")
PHOTO = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)


LOADED = GREETING + 'receive(read); write({"ok": True})\n'
#: Every query sees every prompt with a score of a half.
DETECTING = (
    LOADED
    + """
import numpy
while frame := receive(read):
    request, (pixels,) = frame
    for number, ids in enumerate(request["captions"]):
        arrays = [numpy.full(shape, 0.5, "float32") for shape in ((1, 20, len(ids)), (1, 20, 4), (1, 8, 2, 2))]
        write({"caption": number}, arrays[: 2 if number else 3])
"""
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_original_grounding_dino(tmp_path_factory.mktemp("original"))


def made(weights: Path, **options: int) -> WorkerDetector:
    from labeling.teachers.detectors.worker import WorkerDetector

    return WorkerDetector(weights, "cpu", **options)


def test_without_the_environment_the_error_names_the_command(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELSTILL_GROUNDINGDINO", str(tmp_path / "nowhere"))
    with pytest.raises(BackendError, match="run 'labelstill teachers install groundingdino-py'"):
        made(weights)


def test_after_three_new_workers_there_is_no_other(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(tmp_path, monkeypatch, LOADED + "receive(read); sys.exit(1)")
    detector = made(weights)
    for left in (3, 2, 1, 0):
        with pytest.raises(BackendError, match=rf"exit status 1; the next call starts a new one, {left} time"):
            detector.detect([PHOTO], ONTOLOGY, 0.0)
    with pytest.raises(BackendError, match="has ended 4 times and is not started again: see why it ended, memory"):
        detector.detect([PHOTO], ONTOLOGY, 0.0)


def test_an_environment_with_another_version_is_refused_with_the_command(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(tmp_path, monkeypatch, GREETING.replace("{}", '{"transformers": "4.0.0", "torch": "9"}') + "read(1)")
    tested = worker_environment.pins("groundingdino-py")["transformers"]
    with pytest.raises(BackendError, match=rf"transformers 4\.0\.0, expected {tested}: run 'labelstill teachers inst"):
        made(weights)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("weights", r"weights do not fit the model of groundingdino-py: no tensor"), ("failed", "-py failed: no tensor")],
)
def test_what_fails_over_there_is_said_here(
    kind: str, said: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = GREETING + f'receive(read); write({{"error": "no tensor", "kind": "{kind}"}}); read(1)'
    environment(tmp_path, monkeypatch, body)
    with pytest.raises(BackendError, match=said):
        made(weights)


def test_memory_that_ran_out_over_there_ran_out_here_and_the_worker_goes_on(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    body = LOADED + 'while receive(read): write({"error": "tried to allocate", "kind": "memory"})'
    environment(tmp_path, monkeypatch, body)
    detector = made(weights)
    assert detector._worker is not None
    first = detector._worker.pid
    for _ in range(5):  # more often than there are new workers
        with pytest.raises(torch.OutOfMemoryError, match="tried to allocate"):
            detector.detect([PHOTO], ONTOLOGY, 0.0)
    assert detector._worker.pid == first


def test_a_worker_that_could_not_load_is_not_asked(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    once = f"""
import pathlib
first = not pathlib.Path({str(tmp_path / "second")!r}).exists()
pathlib.Path({str(tmp_path / "second")!r}).touch()
receive(read)
write({{"ok": True}} if first else {{"error": "tried to allocate", "kind": "memory"}})
receive(read)
"""
    environment(tmp_path / "env", monkeypatch, GREETING + once)
    detector = made(weights)
    with pytest.raises(BackendError, match="the next call starts a new one"):
        detector.detect([PHOTO], ONTOLOGY, 0.0)
    with pytest.raises(torch.OutOfMemoryError):
        detector.detect([PHOTO], ONTOLOGY, 0.0)
    assert detector._worker is None


def test_answers_of_a_call_that_was_broken_off_are_not_taken_for_those_of_the_next(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(tmp_path, monkeypatch, DETECTING)
    detector = made(weights, prompts_per_pass=1)
    worker = detector._worker
    assert worker is not None
    request = {"op": "detect", "captions": [[101, 102], [101, 102]]}
    broken_off = worker.ask(request, [PHOTO[None]], answers=2, within_s=20)
    assert next(broken_off)[0] == {"caption": 0}
    found = detector.detect([PHOTO], ONTOLOGY, 0.0)[0].detections
    assert len(found) == 4 * 20
    assert detector._worker is not None
    assert detector._worker.pid != worker.pid
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


@pytest.mark.parametrize(("per_pass", "captions"), [(None, 1), (3, 2), (1, 4)])
def test_the_worker_is_asked_as_many_captions_as_prompts_per_pass_say(
    per_pass: int | None, captions: int, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(tmp_path, monkeypatch, DETECTING)
    detector = made(weights, prompts_per_pass=per_pass)
    # Each caption answers with each query once.
    assert len(detector.detect([PHOTO], ONTOLOGY, 0.0)[0].detections) == captions * 20


def test_weights_that_the_worker_cannot_read_are_refused_before_it_starts(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from safetensors.torch import save_file

    environment(tmp_path / "env", monkeypatch, "sys.exit(1)")
    save_file(torch.load(weights, weights_only=True)["model"], tmp_path / "weights.safetensors")
    with pytest.raises(BackendError, match=r"checkpoint \(\.pth\); other kinds are for --detector grounding-dino"):
        made(tmp_path / "weights.safetensors")


@pytest.fixture(scope="module")
def detector(weights: Path) -> Iterator[WorkerDetector]:
    if worker_environment.find("groundingdino-py") is None:
        pytest.skip("the environment groundingdino-py is not there: make groundingdino-env")
    from labeling.teachers.detectors.worker import WorkerDetector

    made = WorkerDetector(weights, "cpu")
    yield made
    made.close()


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


def test_after_a_kill_the_next_call_starts_a_new_worker(detector: WorkerDetector) -> None:
    before = detector.detect([PHOTO], ONTOLOGY, 0.0)[0].detections
    assert detector._worker is not None
    os.kill(detector._worker.pid, signal.SIGKILL)
    with pytest.raises(BackendError, match=r"by signal 9.*the next call starts a new one, 3 time\(s\) left"):
        detector.detect([PHOTO], ONTOLOGY, 0.0)
    after = detector.detect([PHOTO], ONTOLOGY, 0.0)[0].detections
    np.testing.assert_array_equal(before.xyxy, after.xyxy)


@pytest.mark.slow
def test_captions_of_one_prompt_give_both_routes_the_same_boxes(detector: WorkerDetector, weights: Path) -> None:
    from labeling.teachers.detectors.grounding_dino import GroundingDinoDetector

    there = made(weights, prompts_per_pass=1)
    own = GroundingDinoDetector(weights, "cpu", prompts_per_pass=1).detect([PHOTO], ONTOLOGY, 0.0)[0].detections
    theirs = there.detect([PHOTO], ONTOLOGY, 0.0)[0].detections
    there.close()
    assert len(own) == len(theirs) == 4 * 20
    np.testing.assert_allclose(own.xyxy, theirs.xyxy, atol=1e-2)
    np.testing.assert_allclose(own.confidence, theirs.confidence, atol=1e-4)
    assert list(own.data["prompt"]) == list(theirs.data["prompt"])


@pytest.mark.slow
@pytest.mark.parametrize("wrap", ["ema", "state_dict", ""])
def test_the_worker_reads_a_checkpoint_however_it_is_wrapped(
    wrap: str, detector: WorkerDetector, weights: Path, tmp_path: Path
) -> None:
    import torch

    shutil.copytree(weights.parent, tmp_path, dirs_exist_ok=True)
    tensors = torch.load(weights, weights_only=True)["model"]
    torch.save({wrap: tensors, "epoch": 3} if wrap else tensors, tmp_path / weights.name)
    there = made(tmp_path / weights.name)
    before, after = (one.detect([PHOTO], ONTOLOGY, 0.0)[0].detections for one in (detector, there))
    there.close()
    np.testing.assert_array_equal(before.xyxy, after.xyxy)


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
