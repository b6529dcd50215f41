"""D-FINE as a student: it learns, goes on after a kill, weighs labels, ignores the ring, and exports the same boxes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill.dataset import Dataset
from distill.students import WEIGHTS_FILE, TrainSettings, kind_of, student
from labeling.core.errors import BackendError, InputError, StateError

pytestmark = pytest.mark.torch

NAMES = ("red box", "blue box")
COLOURS = ((220, 40, 30), (40, 60, 220))
TINY: dict[str, Any] = {
    "backbone_config": {
        "stem_channels": [3, 8, 8],
        "stage_in_channels": [8, 16, 32, 64],
        "stage_mid_channels": [8, 8, 16, 16],
        "stage_out_channels": [16, 32, 64, 64],
        "hidden_sizes": [16, 32, 64, 64],
        "stage_num_blocks": [1, 1, 1, 1],
        "stage_numb_of_layers": [2, 2, 2, 2],
    },
    "encoder_in_channels": [64, 64],
    "decoder_in_channels": [64, 64],
    "d_model": 64,
    "encoder_hidden_dim": 64,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "decoder_n_points": [4, 4],
    "decoder_layers": 2,
    "num_denoising": 20,
    "num_queries": 30,
}

Row = tuple[int, tuple[int, int, int, int]]


def tell(_: str) -> None:
    """Hear nothing."""


def drawn(folder: Path, count: int, *, val: bool = True, size: int = 96) -> Dataset:
    """Write a dataset of pictures with one or two boxes each; train and val are the same pictures."""
    random = np.random.default_rng(3)
    objects = 0
    for number in range(count):
        rows: list[Row] = []
        for column in range(1 + number % 2):
            x0, y0 = 2 + 48 * column + int(random.integers(0, 6)), int(random.integers(2, 34))
            x1, y1 = x0 + int(random.integers(24, 40)), y0 + int(random.integers(28, 60))
            rows.append((int(random.integers(0, 2)), (x0, y0, x1, y1)))
        objects += len(rows)
        for part in ("train", "val") if val else ("train",):
            picture(folder, part, f"{number:03d}", rows, size)
    parts = ("train", "val") if val else ("train",)
    return Dataset(
        folder,
        "0123456789abcdef",
        NAMES,
        "detect",
        dict.fromkeys(parts, count),
        dict.fromkeys(parts, 0),
        dict.fromkeys(parts, objects),
    )


def picture(folder: Path, part: str, name: str, rows: Sequence[Row], size: int = 96) -> None:
    for kind in ("images", "labels"):
        (folder / kind / part).mkdir(parents=True, exist_ok=True)
    pixels = np.full((size, size, 3), 235, dtype=np.uint8)
    lines = []
    for class_id, (x0, y0, x1, y1) in rows:
        pixels[y0:y1, x0:x1] = COLOURS[class_id]
        lines.append(
            f"{class_id} {(x0 + x1) / 2 / size} {(y0 + y1) / 2 / size} {(x1 - x0) / size} {(y1 - y0) / size}\n"
        )
    Image.fromarray(pixels).save(folder / "images" / part / f"{name}.png")
    (folder / "labels" / part / f"{name}.txt").write_text("".join(lines))


def settings(**changes: Any) -> TrainSettings:
    extra = {**TINY, "flip": 0.0, "scale": 0.0, "colour": 0.0, **changes.pop("extra", {})}
    return replace(TrainSettings("dfine-n", epochs=2, imgsz=96, batch=8, device="cpu", extra=extra), **changes)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return drawn(tmp_path_factory.mktemp("drawn"), 8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of a student that has seen eight pictures a hundred times each."""
    folder = tmp_path_factory.mktemp("overfit")
    pictures = drawn(folder / "dataset", 8)
    lines = [f"./images/train/{number:03d}.png\n" for number in range(8)] * 10
    (pictures.path / "train.txt").write_text("".join(lines))
    (folder / "run").mkdir()
    chosen = settings(epochs=10, extra={"lr": 3e-3, "average": 0.8, "num_denoising": 0})
    student("dfine").train(pictures, folder / "run", chosen, tell)
    return folder / "run" / WEIGHTS_FILE


def pixels_of(dataset: Dataset) -> list[Any]:
    return [np.asarray(Image.open(file)) for file in sorted((dataset.path / "images/val").iterdir())]


def test_a_name_of_dfine_leads_to_the_apache_student() -> None:
    assert kind_of("dfine-n") == "dfine"
    assert student("dfine").licence == "Apache-2.0"


@pytest.mark.parametrize(("model", "millions"), [("dfine-n", 4), ("dfine-s", 10)])
def test_a_size_has_as_many_weights_as_published(model: str, millions: int) -> None:
    from distill.dfine.model import configured, fresh

    network = fresh(configured(model, [str(row) for row in range(80)], 640, {}), 0)
    assert sum(one.numel() for one in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.08)


def test_a_student_learns_eight_pictures_by_heart(trained: Path, dataset: Dataset) -> None:
    assert average_precision_50(trained, dataset) >= 0.9
    history = (trained.parent / "results.csv").read_text().splitlines()
    assert history[0].startswith("epoch,train_loss")
    assert len(history) == 11
    assert not (trained.parent / "checkpoint.pt").exists()


def average_precision_50(weights: Path, dataset: Dataset) -> float:
    """Return AP50 as pycocotools has it: not the implementation that chose the best epoch."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    said = student("dfine").load(weights, "cpu").predict(pixels_of(dataset))
    labels, found = [], []
    for image, (one, file) in enumerate(zip(said, sorted((dataset.path / "labels/val").iterdir()), strict=True), 1):
        for line in file.read_text().splitlines():
            class_id, cx, cy, w, h = map(float, line.split())
            box = [96 * (cx - w / 2), 96 * (cy - h / 2), 96 * w, 96 * h]
            labels.append(
                {"id": len(labels) + 1, "image_id": image, "category_id": class_id, "bbox": box, "iscrowd": 0}
                | {"area": box[2] * box[3]}
            )
        for (x0, y0, x1, y1), class_id, score in zip(one.boxes_xyxy, one.class_ids, one.scores, strict=True):
            found.append({"image_id": image, "category_id": int(class_id), "bbox": [x0, y0, x1 - x0, y1 - y0]})
            found[-1]["score"] = float(score)
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": image} for image in range(1, len(said) + 1)],
        "categories": [{"id": row} for row in range(len(NAMES))],
        "annotations": labels,
    }
    truth.createIndex()
    result = COCOeval(truth, truth.loadRes(found), "bbox")
    result.evaluate()
    result.accumulate()
    result.summarize()
    return float(result.stats[1])


def test_boxes_come_in_pixels_of_the_photo_best_first_and_above_the_floor(trained: Path, dataset: Dataset) -> None:
    predictor = student("dfine").load(trained, "cpu")
    assert (predictor.names, predictor.imgsz) == (NAMES, 96)
    square = pixels_of(dataset)[0]
    wide = np.repeat(square, 3, axis=1)
    small, large = predictor.predict([square, wide], floor=0.05)
    assert (small.sha256, small.size_wh, large.size_wh) == ("", (96, 96), (288, 96))
    assert 0 < len(small) <= 300
    assert np.all(np.diff(small.scores) <= 0)
    assert small.scores.min() >= 0.05
    assert large.boxes_xyxy[0] == pytest.approx(small.boxes_xyxy[0] * [3, 1, 3, 1], abs=0.5)
    assert predictor.predict([]) == []


def test_the_export_says_the_same_boxes(trained: Path, dataset: Dataset, tmp_path: Path) -> None:
    import onnxruntime
    import torch

    from distill.dfine.model import read
    from distill.student_dfine import to_onnx

    to_onnx(trained, tmp_path / "student.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "student.onnx", providers=["CPUExecutionProvider"])
    network = read(trained).network()
    for pixels in pixels_of(dataset):
        images = pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255
        scores, boxes = session.run(["scores", "boxes"], {"images": images})
        with torch.no_grad():
            said = network(pixel_values=torch.from_numpy(images))
        ours = np.concatenate([said.logits.sigmoid()[0].numpy(), said.pred_boxes[0].numpy()], axis=1)
        theirs = np.concatenate([scores[0], boxes[0]], axis=1)
        # Queries that score the same may change places.
        apart = np.abs(ours[:, None] - theirs[None]).max(axis=2)
        sure = ours[:, :2].max(axis=1) > 0.05
        assert sure.any()
        assert apart.min(axis=1)[sure].max() < 1e-3
        assert apart.min(axis=0)[scores[0].max(axis=1) > 0.05].max() < 1e-3


@pytest.mark.usefixtures("one_thread")
def test_a_killed_training_ends_as_one_that_was_not(dataset: Dataset, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    chosen = settings(epochs=3, batch=4, extra={"flip": 0.5, "scale": 0.3, "colour": 0.3})
    child = f"""
        import os, signal, torch
        from pathlib import Path
        from distill.students import TrainSettings, student
        from distill.dataset import Dataset

        torch.set_num_threads(1)

        def tell(line):
            if line.startswith("epoch 2"):
                os.kill(os.getpid(), signal.SIGKILL)

        dataset = Dataset(Path({str(dataset.path)!r}), {dataset.hash!r}, {NAMES!r}, "detect", {dict(dataset.images)!r},
                          {dict(dataset.backgrounds)!r}, {dict(dataset.objects)!r})
        student("dfine").train(dataset, Path({str(cut)!r}), TrainSettings(
            "dfine-n", epochs=3, imgsz=96, batch=4, device="cpu", extra={dict(chosen.extra)!r}), tell)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(child)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert (cut / "checkpoint.pt").exists()
    assert not (cut / WEIGHTS_FILE).exists()
    lines: list[str] = []
    student("dfine").train(dataset, cut, chosen, lines.append)
    assert "going on after epoch 2 of 3" in lines
    student("dfine").train(dataset, whole, chosen, tell)
    first, second = load_file(whole / WEIGHTS_FILE), load_file(cut / WEIGHTS_FILE)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key].numpy(), second[key].numpy()) for key in first)
    assert (whole / "results.csv").read_text() == (cut / "results.csv").read_text()


class Stopped(Exception):
    """What cuts a training off."""


def stop_after(epoch: int) -> Any:
    def tell(line: str) -> None:
        if line.startswith(f"epoch {epoch} "):
            raise Stopped

    return tell


def test_a_run_goes_on_only_with_what_it_began_with(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        student("dfine").train(dataset, tmp_path, settings(), stop_after(1))
    with pytest.raises(StateError, match=r"another dataset \(0123456789abcdef, now feed\)"):
        student("dfine").train(replace(dataset, hash="feed"), tmp_path, settings(), tell)
    with pytest.raises(StateError, match="another batch"):
        student("dfine").train(dataset, tmp_path, settings(batch=4), tell)
    checkpoint = tmp_path / "checkpoint.pt"
    whole = checkpoint.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no checkpoint"):
        checkpoint.write_bytes(damaged)
        with pytest.raises(StateError, match="is damaged"):
            student("dfine").train(dataset, tmp_path, settings(), tell)
    checkpoint.write_bytes(whole)
    (tmp_path / "run.json").write_text('{"dataset": "feed"}')
    with pytest.raises(StateError, match="this training has the dataset feed"):
        student("dfine").train(dataset, tmp_path, settings(), tell)


def test_a_full_disk_stops_the_training_and_loses_nothing(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        student("dfine").train(dataset, tmp_path, settings(), stop_after(1))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StateError, match="free some space"):
            student("dfine").train(dataset, tmp_path, settings(), tell)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.pt", "results.csv"]
    student("dfine").train(dataset, tmp_path, settings(), tell)
    lines: list[str] = []
    student("dfine").train(dataset, tmp_path, settings(), lines.append)
    assert "is trained already" in lines[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": {"lrr": 1}}, "no such setting, did you mean 'lr'"),
        ({"extra": {"lr": "fast"}}, "expected a number"),
        ({"extra": {"decoder_attention_heads": 7}}, "make no"),
        ({"model": "dfine-q"}, "expected dfine-n or dfine-s"),
        ({"imgsz": 32}, "from 64 on"),
        ({"device": "0,1"}, "one device"),
        ({"loggers": ("wandb",)}, "has no loggers"),
        ({"distill_model": Path("large.pt")}, "cannot be taught features"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    dataset: Dataset, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        student("dfine").train(dataset, tmp_path, settings(**changes), tell)


def test_masks_are_for_another_student(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no masks"):
        student("dfine").train(replace(dataset, task="segment"), tmp_path, settings(), tell)


def test_a_folder_that_is_not_what_was_written_is_not_trained_on(tmp_path: Path) -> None:
    from distill.dfine.data import samples

    made = drawn(tmp_path, 2)
    with pytest.raises(StateError, match="expected 3 images, found 2"):
        samples(replace(made, images={"train": 3}), "train")
    with pytest.raises(StateError, match="expected 9 labels, found 3"):
        samples(replace(made, objects={"train": 9}), "train")
    label = tmp_path / "labels/train/000.txt"
    label.write_text("2 0.5 0.5 0.1 0.1\n")
    with pytest.raises(StateError, match="expected lines as in"):
        samples(made, "train")
    label.unlink()
    with pytest.raises(StateError, match="is missing"):
        samples(made, "train")


def test_weights_repeats_and_the_ring_are_read_from_the_folder(tmp_path: Path) -> None:
    from distill.dfine.data import samples

    made = drawn(tmp_path, 2)
    (tmp_path / "train.txt").write_text("./images/train/001.png\n./images/train/000.png\n./images/train/001.png\n")
    for kind, text in (("weights", "0.5\n1\n"), ("ignore", "1 0.5 0.5 0.2 0.2\n")):
        (tmp_path / kind / "train").mkdir(parents=True)
        (tmp_path / kind / "train/001.txt").write_text(text)
    found = samples(made, "train")
    assert [one.image.stem for one in found] == ["001", "000", "001"]
    assert [one.weights.tolist() for one in found] == [[0.5, 1.0], [1.0], [0.5, 1.0]]
    assert [one.ignored.class_ids.tolist() for one in found] == [[1], [], [1]]
    (tmp_path / "weights/train/001.txt").write_text("0.5\n")
    with pytest.raises(StateError, match="expected 2 weights"):
        samples(made, "train")


def test_boxes_follow_their_pixels_through_every_change(tmp_path: Path) -> None:
    from distill.dfine.data import samples
    from distill.dfine.pictures import Changes, changed

    picture(tmp_path, "train", "one", [(0, (20, 30, 60, 80))])
    made = Dataset(tmp_path, "0", NAMES, "detect", {"train": 1}, {}, {"train": 1})
    sample = samples(made, "train")[0]
    pixels = np.asarray(Image.open(sample.image))
    seen = 0
    for seed in range(60):
        shown, moved = changed(pixels, sample, Changes(colour=0.0, scale=0.8), np.random.default_rng(seed))
        rows, columns = np.nonzero((shown[..., 0] > 150) & (shown[..., 1] < 100))
        if not len(moved.labels.class_ids):
            continue
        cx, cy, w, h = moved.labels.cxcywh[0] * 96
        ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert ends == pytest.approx([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], abs=1.0)
        seen += 1
    assert seen > 30


def test_what_is_left_of_a_box_that_is_nearly_cut_off_is_ignored(tmp_path: Path) -> None:
    from distill.dfine.data import samples
    from distill.dfine.pictures import Changes, changed

    picture(tmp_path, "train", "one", [(0, (0, 0, 24, 24))])
    made = Dataset(tmp_path, "0", NAMES, "detect", {"train": 1}, {}, {"train": 1})
    sample = samples(made, "train")[0]
    pixels = np.asarray(Image.open(sample.image))
    ends = []
    for seed in range(200):
        _, moved = changed(pixels, sample, Changes(scale=2.0), np.random.default_rng(seed))
        assert len(moved.labels.class_ids) == len(moved.weights)
        ends.append((len(moved.labels.class_ids), len(moved.ignored.class_ids)))
    assert set(ends) == {(1, 0), (0, 1), (0, 0)}


def outputs_and_targets() -> tuple[Any, dict[str, Any], list[dict[str, Any]], list[Any]]:
    """Return a loss, outputs of two images of five queries, targets, and which query answers which label."""
    import torch

    from distill.dfine.loss import SoftDFineLoss
    from distill.dfine.model import configured

    torch.manual_seed(0)
    boxes = torch.rand(2, 5, 4) * 0.3 + 0.2
    outputs = {"logits": torch.randn(2, 5, 2, requires_grad=True), "pred_boxes": boxes.requires_grad_()}
    empty = {"ignored_labels": torch.zeros(0, dtype=torch.int64), "ignored": torch.zeros(0, 4)}
    labels = [torch.tensor([0, 1]), torch.tensor([1])]
    targets = [
        {"class_labels": one, "boxes": torch.rand(len(one), 4) * 0.3 + 0.2, "weights": torch.ones(len(one)), **empty}
        for one in labels
    ]
    indices = [(torch.tensor([3, 1]), torch.tensor([0, 1])), (torch.tensor([2]), torch.tensor([0]))]
    return SoftDFineLoss(configured("dfine-n", NAMES, 96, TINY)), outputs, targets, indices


def test_labels_of_full_weight_are_taught_as_the_library_teaches_them() -> None:
    from transformers.loss.loss_d_fine import DFineLoss

    loss, outputs, targets, indices = outputs_and_targets()
    for name in ("loss_labels_vfl", "loss_boxes"):
        ours = getattr(loss, name)(outputs, targets, indices, 3.0)
        theirs = getattr(DFineLoss, name)(loss, outputs, targets, indices, 3.0)
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert ours[key].item() == pytest.approx(theirs[key].item(), rel=1e-5)


def test_a_label_pulls_as_hard_as_its_weight_says() -> None:
    import torch

    def pull(weight: float) -> tuple[Any, Any]:
        loss, outputs, targets, indices = outputs_and_targets()
        targets[0]["weights"] = torch.tensor([weight, 1.0])
        terms = loss.loss_labels_vfl(outputs, targets, indices, 3.0) | loss.loss_boxes(outputs, targets, indices, 3.0)
        sum(terms.values()).backward()
        return outputs["logits"].grad, outputs["pred_boxes"].grad

    for whole, quarter in zip(pull(1.0), pull(0.25), strict=True):
        assert torch.allclose(quarter[0, 3], whole[0, 3] * 0.25, atol=1e-7)
        quarter[0, 3] = whole[0, 3]
        assert torch.allclose(quarter, whole, atol=1e-7)


def test_what_lies_on_an_ignored_box_is_not_background_for_that_class_alone() -> None:
    import torch

    loss, outputs, targets, indices = outputs_and_targets()
    targets[0]["ignored_labels"] = torch.tensor([1, 1])
    targets[0]["ignored"] = outputs["pred_boxes"][0, [4, 1]].detach()
    loss.loss_labels_vfl(outputs, targets, indices, 3.0)["loss_vfl"].backward()
    pull = outputs["logits"].grad
    assert pull[0, 4, 1] == 0
    assert pull[0, 4, 0] > 0
    assert pull[0, 1, 1] != 0, "this query answers a label, whatever else lies there"


def test_a_batch_of_backgrounds_is_taught_too(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path, "train", f"{number}", [(0, (20, 30, 60, 80))] if number == 0 else [])
    made = Dataset(tmp_path, "0", NAMES, "detect", {"train": 3, "val": 0}, {"train": 2}, {"train": 1})
    run = tmp_path / "run"
    run.mkdir()
    student("dfine").train(made, run, settings(epochs=1, batch=1), tell)
    assert (run / WEIGHTS_FILE).exists()
    nothing = replace(made, images={"train": 0}, objects={})
    for file in [*(tmp_path / "images/train").iterdir(), *(tmp_path / "labels/train").iterdir()]:
        file.unlink()
    (run / WEIGHTS_FILE).unlink()
    with pytest.raises(StateError, match="no image of the train part holds an object"):
        student("dfine").train(nothing, run, settings(), tell)


def test_a_checkpoint_of_other_classes_gives_all_but_the_heads(trained: Path, dataset: Dataset, tmp_path: Path) -> None:
    import torch

    from distill.dfine.model import configured, fresh, started

    published = fresh(configured("dfine-n", ["a", "b", "c"], 96, TINY), 7)
    published.save_pretrained(tmp_path / "published")
    wanted = configured("dfine-n", NAMES, 96, TINY)
    network, unfilled = started(tmp_path / "published", wanted, 0)
    assert unfilled
    assert all("class_embed" in key or "enc_score_head" in key for key in unfilled)
    theirs = published.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in network.state_dict().items() if key not in unfilled)
    assert started(trained, configured("dfine-n", NAMES, 96, {**TINY, "num_denoising": 0}), 0)[1] == ()
    with pytest.raises(InputError, match="does not fit the model"):
        started(tmp_path / "published", configured("dfine-n", NAMES, 96, {}), 0)
    with pytest.raises(BackendError, match=r"config\.json"):
        started(tmp_path / "nowhere", wanted, 0)
    run = tmp_path / "run"
    run.mkdir()
    lines: list[str] = []
    chosen = settings(epochs=1, start=tmp_path / "published")
    student("dfine").train(dataset, run, chosen, lines.append)
    assert any("class heads start at random" in line for line in lines)


def test_only_a_file_of_this_kind_is_loaded(trained: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(trained)
    save_file(tensors, tmp_path / "other.safetensors", metadata={"kind": "ultralytics"})
    with pytest.raises(BackendError, match="expected a student of kind dfine"):
        student("dfine").load(tmp_path / "other.safetensors", "cpu")
    save_file(tensors, tmp_path / "bare.safetensors", metadata={"kind": "dfine"})
    with pytest.raises(BackendError, match="description of the model is damaged"):
        student("dfine").load(tmp_path / "bare.safetensors", "cpu")
