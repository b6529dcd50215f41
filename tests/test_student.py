"""YOLO students: trained for an epoch or two on drawn 64 px images, killed, resumed, damaged, and refused."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.dataset import Dataset
from distill.evaluation.paired import Difference
from distill.students import WEIGHTS_FILE, TrainSettings, student
from distill.yolo.settings import arguments, device_argument, logger_environment, start_rate
from labeling.core import masks
from labeling.core.errors import BackendError, InputError, StateError
from tests.made_datasets import NAMES, Photo, scattered, unlocked, written

torch = pytest.importorskip("torch")
pytest.importorskip("distill.student")  # prepares the library: it must not be imported before

pytestmark = pytest.mark.torch

_SIDE = 64
_ROOT = Path(__file__).resolve().parents[1]


def _settings(**changes: Any) -> TrainSettings:
    return TrainSettings(**{"model": "yolov8n", "epochs": 2, "imgsz": _SIDE, "batch": 4, "device": "cpu"} | changes)


def _train(dataset: Dataset, folder: Path, **changes: Any) -> list[str]:
    said: list[str] = []
    folder.mkdir(exist_ok=True)
    student("ultralytics").train(dataset, folder, _settings(**changes), said.append)
    return said


def _tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = load_file(folder / WEIGHTS_FILE)
    return found


def _metadata(folder: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
        return dict(file.metadata())


def _contents(folder: Path) -> dict[str, bytes | None]:
    return {str(one): one.read_bytes() if one.is_file() else None for one in sorted(folder.rglob("*"))}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("plain")
    return written(folder, scattered(7, backgrounds=1), scattered(3, seed=5), repeats={"002.png": 3})


@pytest.fixture(scope="module")
def trained(
    plain: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str], dict[str, bytes | None]]:
    """A run of two epochs that nobody disturbed, what it said, and the dataset folder as it was before."""
    folder, before = tmp_path_factory.mktemp("trained"), _contents(plain.path)
    facts = {"dataset": plain.hash, "ontology": "feedc0de"}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder, _train(plain, folder), before


def test_a_training_leaves_weights_that_say_what_they_are(plain: Dataset, trained: Any) -> None:
    folder, said, _ = trained

    assert _metadata(folder) == {
        "kind": "ultralytics",
        "yaml": "yolov8n",
        "task": "detect",
        "names": json.dumps(list(NAMES)),
        "imgsz": "64",
        "licence": "AGPL-3.0",
        "dataset": plain.hash,
        "ontology": "feedc0de",
        **best_of(folder),
    }
    assert [line.split(":")[0] for line in said] == ["starts from random weights", "epoch 1 of 2", "epoch 2 of 2"]
    assert re.search(r", \d+ s, about \d+ s left$", said[1])
    assert re.search(r", \d+ s$", said[2])
    rows = (folder / "training" / "results.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2"]
    assert {one.name for one in folder.iterdir()} == {WEIGHTS_FILE, "run.json", "training"}
    assert not (folder / "training" / "weights").exists(), "what only a continuation needs is gone"


@pytest.mark.parametrize(("low", "kept", "canvas"), [(0.01, "8", (64, 64)), (-0.01, None, (32, 64))])
def test_a_margin_that_pays_on_val_is_kept_with_the_weights_and_obeyed(
    low: float, kept: str | None, canvas: tuple[int, int], plain: Dataset, tmp_path: Path, monkeypatch: Any
) -> None:
    asked: list[tuple[int, int]] = []

    def gain(look: Any, photos: Any, truth: Any, names: Any) -> Difference:
        asked.append((len(photos), sum(map(len, truth))))
        assert len(look([np.zeros((32, 64, 3), dtype=np.uint8)], 8)) == 1
        return Difference(0.02, low, 0.03, 0.99, len(photos))

    monkeypatch.setattr("distill.student.gain_of_margin", gain)
    said = _train(plain, tmp_path / "run", epochs=1)
    predictor = student("ultralytics").load(tmp_path / "run" / WEIGHTS_FILE, "cpu")
    shapes: list[tuple[int, ...]] = []
    predictor._model.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape[2:])))
    predictor.predict([np.zeros((32, 64, 3), dtype=np.uint8)])

    assert asked == [(plain.images["val"], plain.objects["val"])]
    assert _metadata(tmp_path / "run").get("margin") == kept
    assert shapes == [canvas]
    assert ("8 grey pixels" in said[-1]) == (kept is not None)


def test_a_training_that_does_not_look_at_val_tries_no_margin(plain: Dataset, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("distill.student.gain_of_margin", None)

    _train(plain, tmp_path / "run", epochs=1, extra={"val": False})

    assert "margin" not in _metadata(tmp_path / "run")


def best_of(folder: Path) -> dict[str, str]:
    """Return which epoch results.csv says was the best, the last of equals, and its AP50-95."""
    with (folder / "training" / "results.csv").open() as file:
        rows = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(file)]
    scores = [float(row["metrics/mAP50-95(B)"]) for row in rows]
    last_of_best = max(range(len(rows)), key=lambda place: (scores[place], place))
    return {"kept_epoch": rows[last_of_best]["epoch"].strip(), "kept_ap": f"{scores[last_of_best]:.4f}"}


def test_no_name_is_looked_up_while_a_dataset_is_read_and_taught(
    plain: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def blocked(*arguments: Any, **_: Any) -> Any:
        asked.append(arguments)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", blocked)
    monkeypatch.setattr(socket.socket, "connect", blocked)
    _train(plain, tmp_path / "run", epochs=1)
    assert asked == []


def test_nothing_is_written_into_the_dataset(plain: Dataset, trained: Any) -> None:
    assert _contents(plain.path) == trained[2]


def test_a_finished_training_is_not_repeated(plain: Dataset, trained: Any) -> None:
    folder = trained[0]
    before = (folder / WEIGHTS_FILE).stat()

    assert "has ended" in _train(plain, folder)[0]
    assert (folder / WEIGHTS_FILE).stat() == before


def test_the_weights_load_and_see_photos_of_any_size(trained: Any) -> None:
    predictor = student("ultralytics").load(trained[0] / WEIGHTS_FILE, "cpu")
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 255, size=(h, w, 3), dtype=np.uint8) for h, w in ((64, 64), (150, 40), (33, 97)) * 6]

    found = predictor.predict(photos, floor=0.0001)
    alone = predictor.predict(photos[1:2], floor=0.0001)[0]

    assert (predictor.names, predictor.imgsz) == (NAMES, 64)
    assert len(found) == 18
    assert any(len(one) for one in found)
    for photo, one in zip(photos, found, strict=True):
        height, width = photo.shape[:2]
        assert one.size_wh == (width, height)
        assert one.rles is None
        assert len(one) <= 300
        assert (one.boxes_xyxy >= 0).all()
        assert (one.boxes_xyxy[:, 2:] <= (width, height)).all()
        assert (np.diff(one.scores) <= 0).all()
        assert (one.scores >= 0.0001).all()
        assert set(one.class_ids) <= {0, 1}
    np.testing.assert_allclose(found[1].boxes_xyxy, alone.boxes_xyxy, atol=0.01)


def test_the_next_labelling_round_can_use_it_as_its_detector(trained: Any) -> None:
    from labeling.teachers.detectors.ultralytics import UltralyticsDetector

    assert UltralyticsDetector(trained[0] / WEIGHTS_FILE, "cpu")._names == NAMES


def test_boxes_are_in_the_pixels_of_the_photo_whatever_the_letterbox_did(trained: Any) -> None:
    """The same canvas reaches the model three ways: as it is, enlarged, and padded by hand."""
    predictor = student("ultralytics").load(trained[0] / WEIGHTS_FILE, "cpu")
    square = np.full((_SIDE, _SIDE, 3), 114, dtype=np.uint8)
    square[12:52] = np.random.default_rng(0).integers(0, 255, size=(40, _SIDE, 3), dtype=np.uint8)
    twice = square.repeat(2, axis=0).repeat(2, axis=1)
    low = square[12:52]

    plain, enlarged, padded = predictor.predict([square, twice, low], floor=0.00001)

    assert len(plain) > 5
    np.testing.assert_allclose(enlarged.boxes_xyxy, plain.boxes_xyxy * 2, atol=0.01)
    moved = (plain.boxes_xyxy - [0, 12, 0, 12]).clip(0, [_SIDE, 40, _SIDE, 40])
    np.testing.assert_allclose(padded.boxes_xyxy, moved, atol=0.01)
    np.testing.assert_allclose(padded.scores, plain.scores, atol=1e-5)


def test_a_class_id_that_was_exchanged_is_seen_although_nothing_else_of_the_file_changed(tmp_path: Path) -> None:
    from distill.student import StudentDataset

    dataset = written(tmp_path, [Photo(((0, 0.5, 0.5, 0.4, 0.4),))] * 2, [Photo(((0, 0.5, 0.5, 0.4, 0.4),))])
    data = {"names": dict(enumerate(NAMES)), "path": dataset.path}

    def ids() -> list[float]:
        part = StudentDataset(img_path=str(dataset.path / "images" / "train"), data=data, augment=False)
        return [float(one) for label in part.labels for one in label["cls"].flatten()]

    assert ids() == [0, 0]
    file = unlocked(dataset.path / "labels" / "train" / "001.txt")
    before = file.stat()
    file.write_text(file.read_text().replace("0 0.5", "1 0.5", 1))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert ids() == [0, 1]
    assert file.stat().st_size == before.st_size
    assert file.stat().st_mtime_ns == before.st_mtime_ns


def _remove(path: Path) -> None:
    unlocked(path).unlink()


def _write(path: Path, text: str) -> None:
    unlocked(path).write_text(text)


_CHANGES = {
    "label file removed": (
        lambda at: _remove(at / "labels/train/001.txt"),
        "without a label file: expected 0, found 1",
    ),
    "image removed": (lambda at: _remove(at / "images/val/000.png"), "val: images: expected 3, found 2"),
    "image damaged": (
        lambda at: _write(at / "images/train/001.png", "no picture"),
        "cannot be read: expected 0, found 1",
    ),
    "label added": (lambda at: _write(at / "labels/train/007.txt", "0 0.5 0.5 0.1 0.1\n"), "backgrounds: expected 1"),
    "label repeated": (lambda at: _write(at / "labels/val/000.txt", "0 .5 .5 .1 .1\n" * 2), "objects"),
    "unknown class": (lambda at: _write(at / "labels/val/000.txt", "2 .5 .5 .1 .1\n"), "cannot be read: expected 0"),
    "classes exchanged": (
        lambda at: _write(at / "data.yaml", "train: train.txt\nval: images/val\nnames:\n  0: blue\n  1: red\n"),
        "class names",
    ),
    "list shortened": (lambda at: _write(at / "train.txt", "./images/train/002.png\n"), "images: expected 8, found 1"),
    "data.yaml removed": (lambda at: _remove(at / "data.yaml"), "make the dataset anew"),
}


@pytest.mark.parametrize("change", list(_CHANGES))
def test_a_dataset_that_is_not_what_was_written_is_refused_before_the_first_step(tmp_path: Path, change: str) -> None:
    damage, told = _CHANGES[change]
    dataset = written(tmp_path, scattered(7, backgrounds=1), scattered(3, seed=5), repeats={"002.png": 3})
    damage(dataset.path)

    with pytest.raises(StateError, match=told):
        _train(dataset, tmp_path / "run")

    assert list((tmp_path / "run").iterdir()) == []


def test_there_must_be_something_to_learn_from_and_to_measure_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="part val has no image"):
        _train(written(tmp_path, scattered(2), [], hash="a"), tmp_path / "run")
    with pytest.raises(InputError, match="no object to learn from"):
        _train(written(tmp_path, [Photo()], scattered(1), hash="b"), tmp_path / "run")


def test_one_image_and_a_class_without_any_can_be_trained(tmp_path: Path) -> None:
    only = Photo(((0, 0.5, 0.5, 0.4, 0.4),))

    said = _train(written(tmp_path, [only], [only]), tmp_path / "run", epochs=1)

    assert said
    assert (tmp_path / "run" / WEIGHTS_FILE).exists()


def test_a_kill_in_mid_training_and_a_resume_end_with_the_weights_of_an_undisturbed_run(
    plain: Dataset, trained: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    program = (
        "import sys, pathlib\n"
        "from distill.dataset import Dataset\n"
        "from distill.students import TrainSettings, student\n"
        f"dataset = Dataset(pathlib.Path({str(plain.path)!r}), {plain.hash!r}, {plain.names!r}, 'detect', "
        f"{dict(plain.images)!r}, {dict(plain.backgrounds)!r}, {dict(plain.objects)!r}, {{}}, "
        f"{dict(plain.repeats)!r})\n"
        f"student('ultralytics').train(dataset, pathlib.Path({str(folder)!r}), {_settings()!r}, "
        "lambda line: print(line, flush=True))\n"
    )
    env = os.environ | {"PYTHONPATH": str(_ROOT)}
    process = subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1 of 2"):
            time.sleep(0.05)
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / WEIGHTS_FILE).exists()

    said = _train(plain, folder)

    assert said[0] == "goes on after epoch 1 of 2"
    assert [_timeless(line) for line in said[1:]] == [_timeless(line) for line in trained[1][2:]]
    resumed, undisturbed = _tensors(folder), _tensors(trained[0])
    assert all(torch.equal(resumed[key], undisturbed[key]) for key in undisturbed)
    rows = (folder / "training" / "results.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2"]


def _timeless(line: str) -> str:
    return re.sub(r", \d+ s.*", "", line)


@pytest.fixture
def interrupted(plain: Dataset, tmp_path: Path) -> Path:
    """A run that was cut off after its first epoch, as by Ctrl-C."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"dataset": plain.hash}))

    def stop(line: str) -> None:
        if line.startswith("epoch"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        student("ultralytics").train(plain, folder, _settings(), stop)
    left = sorted(one.name for one in (folder / "training" / "weights").iterdir())
    assert left == ["best.pt", "exact-0.pt", "last.pt"]
    return folder


def test_a_damaged_last_pt_is_told_and_best_pt_taken_and_two_damaged_ones_are_an_error(
    plain: Dataset, interrupted: Path
) -> None:
    weights = interrupted / "training" / "weights"
    whole = (weights / "last.pt").read_bytes()
    (weights / "last.pt").write_bytes(whole[: len(whole) // 2])

    said = _train(plain, interrupted)

    assert "last.pt: is damaged" in said[0]
    assert said[1] == "goes on after epoch 1 of 2"
    assert (interrupted / WEIGHTS_FILE).exists()


def test_a_damaged_exact_state_is_told_and_the_training_goes_on_from_the_averages(
    plain: Dataset, interrupted: Path
) -> None:
    exact = interrupted / "training" / "weights" / "exact-0.pt"
    exact.write_bytes(exact.read_bytes()[:1000])

    said = _train(plain, interrupted)

    assert said[0] == "goes on after epoch 1 of 2"
    assert "exact-0.pt: cannot be read" in said[1]
    assert "goes on from averaged weights" in said[1]
    assert said[-1].startswith("epoch 2 of 2")
    assert (interrupted / WEIGHTS_FILE).exists()


def test_where_no_checkpoint_can_be_read_a_new_run_is_asked_for(plain: Dataset, interrupted: Path) -> None:
    for name in ("last.pt", "best.pt"):
        (interrupted / "training" / "weights" / name).write_bytes(b"damaged")

    with pytest.raises(StateError, match="no checkpoint can be read: start a new run"):
        _train(plain, interrupted)


def test_a_checkpoint_that_would_run_code_is_not_loaded(plain: Dataset, interrupted: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    for name in ("last.pt", "best.pt"):
        torch.save({"ema": Trap(), "model": Trap()}, interrupted / "training" / "weights" / name)

    with pytest.raises(StateError, match="no checkpoint can be read"):
        _train(plain, interrupted)
    assert not (tmp_path / "sprung").exists()


def test_other_data_or_other_settings_than_the_run_was_begun_with_are_refused(
    plain: Dataset, interrupted: Path, tmp_path: Path
) -> None:
    other = written(tmp_path / "other", scattered(7), scattered(3), hash="fedcba9876543210")

    with pytest.raises(StateError, match="begun with dataset 0123456789abcdef, this is fedcba9876543210"):
        _train(other, interrupted)
    with pytest.raises(InputError, match="epochs 5: the run was begun with 2"):
        _train(plain, interrupted, epochs=5)


def test_a_full_disk_is_said_and_leaves_the_earlier_checkpoint_whole(
    plain: Dataset, interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = interrupted / "training" / "weights"
    before = _contents(weights)
    fsync = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="the disk is full"):
        _train(plain, interrupted)
    assert not (interrupted / "training" / "weights.part").exists()
    monkeypatch.setattr(os, "fsync", fsync)

    assert _contents(weights) == before
    assert not (interrupted / WEIGHTS_FILE).exists()
    _train(plain, interrupted)
    assert (interrupted / WEIGHTS_FILE).exists()


@pytest.mark.parametrize("written", [1, 2])
def test_a_disk_that_fills_between_two_files_of_a_checkpoint_changes_no_weight(
    written: int, plain: Dataset, interrupted: Path, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, left = os.fsync, iter(range(written))

    def filling(descriptor: int) -> None:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", filling)
    with pytest.raises(StateError, match="the disk is full"):
        _train(plain, interrupted)
    monkeypatch.setattr(os, "fsync", fsync)
    said = _train(plain, interrupted)

    assert not any("cannot be read" in line for line in said)
    resumed, undisturbed = _tensors(interrupted), _tensors(trained[0])
    assert all(torch.equal(resumed[key], undisturbed[key]) for key in undisturbed)


def test_a_seed_decides(plain: Dataset, trained: Any, tmp_path: Path) -> None:
    _train(plain, tmp_path / "other", seed=1)

    other, first = _tensors(tmp_path / "other"), _tensors(trained[0])
    assert not all(torch.equal(other[key], first[key]) for key in first)


def test_masks_are_trained_and_found_in_the_pixels_of_the_photo(tmp_path: Path) -> None:
    dataset = written(tmp_path, scattered(4, backgrounds=1), scattered(2, seed=5), task="segment")
    _train(dataset, tmp_path / "run", model="yolov8n-seg", epochs=1)
    predictor = student("ultralytics").load(tmp_path / "run" / WEIGHTS_FILE, "cpu")
    photo = np.zeros((50, 90, 3), dtype=np.uint8)

    found = predictor.predict([photo], floor=0.00001)[0]

    assert len(found)
    assert found.rles is not None
    assert len(found.rles) == len(found)
    for box, rle in zip(found.boxes_xyxy, found.rles, strict=True):
        assert rle is not None
        mask = masks.decode(rle)
        assert mask.shape == (50, 90)
        rows, columns = np.nonzero(mask)
        if len(rows):
            assert columns.min() >= np.floor(box[0])
            assert columns.max() <= np.ceil(box[2])
            assert rows.min() >= np.floor(box[1])
            assert rows.max() <= np.ceil(box[3])


def test_a_model_without_masks_is_refused_for_a_dataset_of_masks(tmp_path: Path) -> None:
    dataset = written(tmp_path, scattered(2), scattered(1), task="segment")

    with pytest.raises(InputError, match="-seg"):
        _train(dataset, tmp_path / "run")


def test_soft_labels_reach_the_batch_from_the_folder_alone(tmp_path: Path) -> None:
    from distill.student import StudentDataset

    first, second, ring = (0, 0.25, 0.25, 0.25, 0.25), (1, 0.75, 0.75, 0.25, 0.25), (1, 0.75, 0.25, 0.125, 0.125)
    photos = [Photo((first, second), (0.4, 1.0), (ring,)), Photo(), Photo((second,), (0.5,))]
    dataset = written(tmp_path, photos, [Photo()])
    data = {"names": dict(enumerate(NAMES)), "path": dataset.path}
    part = StudentDataset(
        img_path=str(dataset.path / "images" / "train"), data=data, augment=False, imgsz=_SIDE, soft=True
    )

    batch = part.collate_fn([part[0], part[1], part[2]])
    backgrounds = part.collate_fn([part[1]])

    expected = torch.tensor([[0, 0.4], [1, 1.0], [1, 0.0], [1, 0.5]])
    assert torch.equal(batch["cls"], expected)
    assert batch["batch_idx"].tolist() == [0, 0, 0, 2]
    torch.testing.assert_close(batch["bboxes"], torch.tensor([first[1:], second[1:], ring[1:], second[1:]]))
    assert backgrounds["cls"].shape[0] == 0


@pytest.fixture(scope="module")
def hardly(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one epoch on hard labels leaves."""
    folder = tmp_path_factory.mktemp("hard")
    _train(written(folder, scattered(4, backgrounds=1), scattered(2, seed=5)), folder / "run", epochs=1)
    return _tensors(folder / "run")


@pytest.mark.parametrize(("weight", "same"), [(0.4, False), (1.0, True)])
def test_soft_labels_change_what_is_learned_unless_all_weigh_1(
    hardly: dict[str, Any], tmp_path: Path, weight: float, same: bool
) -> None:
    photos = [Photo(one.shapes, (weight,) * len(one.shapes)) for one in scattered(4, backgrounds=1)]
    _train(written(tmp_path, photos, scattered(2, seed=5)), tmp_path / "run", epochs=1)

    softly = _tensors(tmp_path / "run")
    assert all(torch.equal(softly[key], hardly[key]) for key in hardly) is same


@pytest.mark.slow
def test_soft_labels_can_be_trained_with_plots(tmp_path: Path) -> None:
    photos = [Photo(one.shapes, (0.4,) * len(one.shapes)) for one in scattered(4)]

    _train(written(tmp_path, photos, scattered(2, seed=5)), tmp_path / "run", epochs=1, extra={"plots": True})

    assert (tmp_path / "run" / "training" / "train_batch0.jpg").exists()


@pytest.mark.parametrize("lines", ["0.5\n0.5\n", "1.5\n", "0\n", "high\n"])
def test_weights_that_do_not_fit_the_labels_are_refused(tmp_path: Path, lines: str) -> None:
    photo = Photo(((0, 0.5, 0.5, 0.4, 0.4),), (0.5,))
    dataset = written(tmp_path, [photo], [photo])
    _write(dataset.path / "weights" / "train" / "000.txt", lines)

    with pytest.raises(StateError, match=r"weights/train/000\.txt"):
        _train(dataset, tmp_path / "run")


def test_soft_labels_of_masks_are_taught_hard_and_that_is_said(tmp_path: Path) -> None:
    photos = [Photo(one.shapes, (0.4,) * len(one.shapes)) for one in scattered(2)]
    dataset = written(tmp_path, photos, scattered(1), task="segment")

    assert "taught hard" in _train(dataset, tmp_path / "run", model="yolov8n-seg", epochs=1)[0]


def test_a_finished_student_teaches_its_features_to_the_next_together_with_soft_labels(
    trained: Any, tmp_path: Path
) -> None:
    ring = ((1, 0.5, 0.5, 0.2, 0.2),)
    photos = [Photo(one.shapes, (0.4,) * len(one.shapes), ring) for one in scattered(4)]
    dataset = written(tmp_path, photos, scattered(1, seed=5))
    teacher = trained[0] / WEIGHTS_FILE

    _train(dataset, tmp_path / "taught", epochs=1, distill_model=teacher, extra={"dis": 3.0, "cls_pw": 0.5})
    _train(dataset, tmp_path / "untaught", epochs=1)

    assert "train/dis_loss" in (tmp_path / "taught" / "training" / "results.csv").read_text()
    taught, untaught = _tensors(tmp_path / "taught"), _tensors(tmp_path / "untaught")
    assert taught.keys() == untaught.keys()
    assert not all(torch.equal(taught[key], untaught[key]) for key in taught)
    assert not (tmp_path / "taught" / "teacher.pt").exists()


def test_a_start_gives_its_weights_and_keeps_the_width_of_its_head(
    trained: Any, plain: Dataset, tmp_path: Path
) -> None:
    """A head for 80 classes is wider than one for 2: what is trained from it is as wide, and loads."""
    from ultralytics.nn.tasks import DetectionModel

    from distill.yolo.weights import write_student

    torch.manual_seed(0)
    write_student(tmp_path / "coco.safetensors", DetectionModel("yolov8n.yaml", verbose=False).state_dict(), {})

    said = _train(
        plain, tmp_path / "run", epochs=1, start=tmp_path / "coco.safetensors", extra={"lr0": 1e-9, "optimizer": "SGD"}
    )
    assert said[0].endswith("coco.safetensors: 349 of its 355 tensors fit")  # not the last layers of three class heads

    begun, ended = _safetensors(tmp_path / "coco.safetensors"), _tensors(tmp_path / "run")
    assert ended["model.22.cv3.0.0.conv.weight"].shape[0] == 80
    assert ended["model.22.cv3.0.2.weight"].shape[0] == 2
    torch.testing.assert_close(ended["model.3.conv.weight"], begun["model.3.conv.weight"])
    assert student("ultralytics").load(tmp_path / "run" / WEIGHTS_FILE, "cpu").names == NAMES


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = load_file(path)
    return found


def test_a_start_of_another_architecture_or_of_another_kind_is_refused(
    plain: Dataset, trained: Any, tmp_path: Path
) -> None:
    torch.save({"model.0.conv.weight": torch.zeros(3)}, tmp_path / "other.pt")

    with pytest.raises(BackendError, match="no YOLO detector"):
        _train(plain, tmp_path / "a", start=tmp_path / "other.pt")
    with pytest.raises(BackendError, match="not a file"):
        _train(plain, tmp_path / "b", start=tmp_path / "none.safetensors")


def test_a_start_that_could_run_code_is_refused_with_what_to_do(plain: Dataset, tmp_path: Path) -> None:
    torch.save({"model": torch.nn.Conv2d(1, 1, 1)}, tmp_path / "best.pt")

    with pytest.raises(InputError, match=r"--start .*best\.pt: holds a pickled Python module.*save_file"):
        _train(plain, tmp_path / "run", start=tmp_path / "best.pt")


def test_several_gpus_find_the_trainer_and_its_dataset_by_name(plain: Dataset, tmp_path: Path) -> None:
    from ultralytics.utils import DEFAULT_CFG_DICT
    from ultralytics.utils.dist import ddp_cleanup, generate_ddp_command

    from distill.student import StudentDetectionTrainer

    wanted = arguments(_settings(), plain, DEFAULT_CFG_DICT, cuda=False)
    (tmp_path / "training").mkdir()
    overrides = wanted | {"save_dir": str(tmp_path / "training"), "device": "cpu"}
    trainer = StudentDetectionTrainer(cfg={**DEFAULT_CFG_DICT, "save_dir": ""}, overrides=overrides)
    trainer.tell = lambda line: None
    trainer.world_size = 2
    trainer.model = trainer.get_model(cfg="yolov8n.yaml", verbose=False)
    _command, file = generate_ddp_command(trainer)
    try:
        # What the file does, up to the training itself.
        program = (
            Path(file).read_text().replace("trainer.train()", "print(type(trainer).__name__, trainer.data['path'])")
        )
        script = tmp_path / "ddp.py"
        script.write_text(program)
        env = os.environ | {"PYTHONPATH": str(_ROOT)}
        done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, check=False)
    finally:
        ddp_cleanup(trainer, file)

    assert done.stdout.split() == ["StudentDetectionTrainer", str(plain.path)], done.stderr


# ---- settings, without a training -----------------------------------------------------------------------------------

_KNOWN = {
    "mosaic": 1.0,
    "close_mosaic": 10,
    "lr0": 0.01,
    "cache": False,
    "warmup_epochs": 3.0,
    "patience": 100,
    "epochs": 100,
    "data": None,
}
_DATASET = Dataset(Path("d"), "h", NAMES, "detect", {"train": 100, "val": 20}, {}, {"train": 9, "val": 9})


def test_what_the_user_sets_stands_over_our_defaults() -> None:
    ours = arguments(_settings(epochs=20), _DATASET, _KNOWN, cuda=False)
    theirs = arguments(
        _settings(extra={"mosaic": 0.3, "warmup_epochs": 5.0, "patience": 7}), _DATASET, _KNOWN, cuda=False
    )

    assert (ours["warmup_epochs"], ours["close_mosaic"], ours["patience"], ours["nbs"]) == (2.0, 5, 0, 4)
    assert (theirs["mosaic"], theirs["warmup_epochs"], theirs["patience"]) == (0.3, 5.0, 7)


@pytest.mark.parametrize(
    ("epochs", "warm"),
    [(1, 1 / 3), (3, 1.0), (5, 1.0), (20, 2.0), (100, 3.0)],  # max(min(3, epochs / 10), min(1, epochs / 3))
)
def test_from_given_weights_the_rate_is_small_unless_the_user_sets_one(epochs: int, warm: float) -> None:
    def asked(**extra: Any) -> dict[str, Any]:
        settings = _settings(epochs=epochs, batch=16, start=Path("w.safetensors"), extra=extra)
        return arguments(settings, _DATASET, {**_KNOWN, "optimizer": "auto", "lr0": 0.01}, cuda=False)

    gently = asked()
    assert (gently["optimizer"], gently["momentum"], gently["warmup_bias_lr"]) == ("AdamW", 0.9, 0.0)
    steps = epochs * -(-_DATASET.images["train"] // 16)
    objects = 16 * 9 / 100  # in a step
    assert gently["lr0"] == pytest.approx(0.002 * 5 / 6 * min(steps / 100, (objects / 200) ** 0.5))  # two classes
    assert gently["warmup_epochs"] == pytest.approx(warm)
    assert gently["close_mosaic"] == min(10, epochs // 2)  # from random weights a quarter
    assert asked(close_mosaic=3)["close_mosaic"] == 3
    assert asked(warmup_epochs=0)["warmup_epochs"] == 0
    for given in ({"lr0": 0.01}, {"optimizer": "SGD"}):
        assert "warmup_bias_lr" not in asked(**given)
    assert "optimizer" not in arguments(_settings(epochs=epochs), _DATASET, _KNOWN, cuda=False)


@pytest.mark.parametrize(
    ("steps", "objects", "share"),
    [(100, 200, 1.0), (1000, 9000, 1.0), (10, 200, 0.1), (1000, 50, 0.5), (10, 50, 0.1), (1000, 0, 200**-0.5)],
)
def test_few_steps_or_few_objects_in_a_step_lower_the_rate(steps: int, objects: float, share: float) -> None:
    assert start_rate(6, steps, objects) == pytest.approx(0.001 * share)


def test_images_are_decoded_once_where_memory_allows() -> None:
    many = Dataset(Path("d"), "h", NAMES, "detect", {"train": 10_000, "val": 20}, {}, {})

    assert arguments(_settings(), _DATASET, _KNOWN, cuda=False)["cache"] == "ram"
    assert arguments(_settings(imgsz=640), many, _KNOWN, cuda=False)["cache"] is False
    assert arguments(_settings(), _DATASET, _KNOWN, cuda=True)["amp"] == "bf16"


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"mosiac": 1}, "did you mean 'mosaic'"),
        ({"epochs": 3}, "give it with --epochs"),
        ({"data": "x"}, "cannot be set"),
        ({"cache": "disk"}, "read-only"),
    ],
)
def test_settings_that_do_not_fit_are_refused(extra: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        arguments(_settings(extra=extra), _DATASET, _KNOWN, cuda=False)


def test_a_size_that_is_no_multiple_of_32_is_refused() -> None:
    with pytest.raises(InputError, match="multiple of 32"):
        arguments(_settings(imgsz=100), _DATASET, _KNOWN, cuda=False)


def test_a_value_that_the_library_refuses_is_told(plain: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ultralytics refuses this training: .*mosaic"):
        _train(plain, tmp_path / "run", extra={"mosaic": 7.0})
    with pytest.raises(InputError, match="yolov8q"):
        _train(plain, tmp_path / "run", model="yolov8q")


@pytest.mark.parametrize(
    ("name", "gpus", "found"),
    [("auto", 0, "cpu"), ("auto", 2, "0"), ("cuda", 1, "0"), ("cuda:1", 2, "1"), ("0,1", 2, "0,1"), ("cpu", 2, "cpu")],
)
def test_devices_are_written_as_the_library_reads_them(name: str, gpus: int, found: str) -> None:
    assert device_argument(name, gpus) == found


@pytest.mark.parametrize("name", ["cuda", "1", "0,0", "gpu", "cuda:x"])
def test_devices_that_are_not_there_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="--device"):
        device_argument(name, 1 if name == "1" else 0)


def test_loggers_keep_what_they_write_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("WANDB_DIR", raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")

    assert logger_environment(("mlflow", "wandb", "tensorboard"), tmp_path) == {
        "MLFLOW_TRACKING_URI": (tmp_path / "mlflow").as_uri(),
        "WANDB_DIR": str(tmp_path),
    }
    assert logger_environment((), tmp_path) == {}


def test_a_logger_that_is_not_installed_is_named(
    plain: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(InputError, match="--log wandb: the package wandb is not installed"):
        logger_environment(("wandb",), tmp_path)
