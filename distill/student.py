"""YOLO students through ultralytics (AGPL-3.0, extra "student"): trained from a dataset folder, resumable, loaded."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from labeling.core.errors import BackendError, StateError
from labeling.image_files import display
from labeling.teachers.class_names import names_of_checkpoint
from labeling.teachers.detectors.ultralytics import draws_masks, import_ultralytics, network
from labeling.teachers.device import pick_device

from .dataset import Dataset
from .objects import Objects
from .students import WEIGHTS_FILE, Tell, TrainSettings
from .yolo.margin import MARGIN, gain_of_margin, pays
from .yolo.predictor import UltralyticsPredictor
from .yolo.scan import Scan, check_scan
from .yolo.settings import arguments, device_argument, logger_environment
from .yolo.start import begins, read_start
from .yolo.trainer import TEACHER_FILE, CarefulTrainer, check_data_hash, check_same, explained, first_whole, tidy
from .yolo.weights import (
    StudentFile,
    has_soft_files,
    kept_epoch,
    metadata_of,
    model_named,
    read_ring,
    read_student,
    read_weights,
    taught_softly,
    write_student,
    write_whole,
)

import_ultralytics()

from ultralytics.data import utils as data_utils  # noqa: E402 (the library must not be imported unprepared)
from ultralytics.data.dataset import YOLODataset  # noqa: E402
from ultralytics.data.utils import check_det_dataset, get_split_fraction, img2label_paths  # noqa: E402
from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402
from ultralytics.models.yolo.segment import SegmentationTrainer  # noqa: E402
from ultralytics.nn.tasks import torch_safe_load  # noqa: E402
from ultralytics.utils import DEFAULT_CFG_DICT, ROOT, SETTINGS, YAML, plotting  # noqa: E402
from ultralytics.utils.ops import xywh2xyxy  # noqa: E402
from ultralytics.utils.torch_utils import unwrap_model  # noqa: E402

_AP = "metrics/mAP50-95(B)"
_STRIDE = 32
_LOGGERS = ("mlflow", "tensorboard", "wandb", "clearml", "comet", "dvc", "raytune", "sync")


def _own_font(_name: str = "") -> str:
    """Return a font that is on this machine."""
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


# The library looks for Arial in the internet whenever it reads a dataset; here and in DDP processes it has a font.
data_utils.check_font = plotting.check_font = _own_font


class StudentDataset(YOLODataset):  # type: ignore[misc]
    """A part of a dataset folder, scanned anew each time: no cache is read, and nothing is written into the folder.

    Where it is soft, ``cls`` has a second column: the weight of the object, 0 for a box to ignore.
    """

    def __init__(self, *args: Any, soft: bool = False, **kwargs: Any) -> None:
        self.soft = soft
        self.counts: tuple[int, ...] = ()
        super().__init__(*args, **kwargs)

    def _load_or_scan_cache(self, cache_path: Path, cache_hash: str) -> tuple[dict[str, Any], bool]:
        with TemporaryDirectory(prefix="labelstill-scan-") as folder:
            found = self.cache_labels(Path(folder) / cache_path.name)
        self.counts = found["results"]
        return found, False

    def update_labels(self, include_class: list[int] | None) -> None:
        super().update_labels(include_class)
        if not self.soft:
            return
        files = [label["im_file"] for label in self.labels]
        places = zip(self.labels, img2label_paths(files, "weights"), img2label_paths(files, "ignore"), strict=True)
        for label, weights_file, ring_file in places:
            weights = read_weights(Path(weights_file), len(label["cls"]))
            ring = read_ring(Path(ring_file), len(self.data["names"]))
            taught = np.column_stack((label["cls"][:, 0], weights))
            ignored = np.column_stack((ring[:, 0], np.zeros(len(ring))))
            label["cls"] = np.concatenate((taught, ignored)).astype(np.float32)
            label["bboxes"] = np.concatenate((label["bboxes"], ring[:, 1:]))
            label["segments"] = []

    def cache_images(self) -> None:
        with redirect_stdout(io.StringIO()):  # a progress bar that ignores how quiet the library was asked to be
            super().cache_images()

    @staticmethod
    def collate_fn(batch: list[dict[str, Any]]) -> dict[str, Any]:
        columns = max(one["cls"].shape[1] for one in batch)
        for one in batch:
            if len(one["cls"]) == 0:  # a background comes with one column whatever the others have
                one["cls"] = torch.zeros((0, columns))
        collated: dict[str, Any] = YOLODataset.collate_fn(batch)
        return collated


class _Trainer(CarefulTrainer):
    """Builds its datasets from the folder alone, which is all that DDP processes see."""

    def build_dataset(self: Any, img_path: str, mode: str = "train", batch: int | None = None) -> StudentDataset:
        taught = mode == "train"
        return StudentDataset(
            img_path=img_path, data=self.data, hyp=self.args, prefix=f"{mode}: ",
            task=self.args.task, imgsz=self.args.imgsz, cache=self.args.cache or None,
            single_cls=self.args.single_cls, classes=self.args.classes, batch_size=batch, augment=taught,
            rect=self.args.rect or not taught, pad=0.0 if taught else 0.5,
            stride=max(int(unwrap_model(self.model).stride.max()), _STRIDE),
            fraction=get_split_fraction(self.args.fraction, "train" if taught else self.args.split),
            soft=taught and taught_softly(Path(self.data["path"]), vars(self.args)),
        )  # fmt: skip


class StudentDetectionTrainer(_Trainer, DetectionTrainer):  # type: ignore[misc]
    """Trains boxes."""


class StudentSegmentationTrainer(_Trainer, SegmentationTrainer):  # type: ignore[misc]
    """Trains boxes and masks."""


class UltralyticsStudent:
    """YOLO models of ultralytics, for detection and for segmentation (names that end in -seg)."""

    licence = "AGPL-3.0"

    def train(self, dataset: Dataset, folder: Path, settings: TrainSettings, tell: Tell) -> None:
        """See the Student protocol."""
        weights = folder / WEIGHTS_FILE
        if weights.exists():
            tell(f"{display(weights)}: this training has ended")
            tidy(folder)
            return
        check_data_hash(dataset, folder)
        device = device_argument(settings.device, torch.cuda.device_count())
        wanted = arguments(settings, dataset, DEFAULT_CFG_DICT, cuda=device != "cpu")
        check_scan(dataset, partial(_scan, dataset))
        if has_soft_files(dataset.path) and not taught_softly(dataset.path, wanted):
            tell("soft labels are for detection of all classes: these labels are taught hard, no box is ignored")
        run = folder / "training"
        wanted |= {"device": device, "save_dir": str(run)}
        if settings.distill_model is not None:
            wanted["distill_model"] = str(_teacher_file(settings.distill_model, folder))
        with _quiet(settings, folder), explained(folder):
            _train(settings, wanted, run, tell)
            best = first_whole([run / "weights" / name for name in ("best.pt", "last.pt")], _read, tell)
            if best is None:
                raise StateError(f"{display(run)}: the training left no weights: start a new run")
            model = getattr(best[1]["ema"], "student_model", best[1]["ema"])
            about = metadata_of("ultralytics", self.licence, settings, dataset, folder)
            measured = (best[1].get("train_metrics") or {}).get(_AP)
            about |= kept_epoch(int(best[1]["epoch"]) + 1, measured)
            if wanted.get("val", True) and (margin := _margin(model, dataset, settings, device, tell)):
                about["margin"] = str(margin)
            write_student(weights, model.state_dict(), about)
        tidy(folder)

    def load(self, weights: Path, device: str = "auto") -> UltralyticsPredictor:
        """See the Student protocol."""
        file = read_student(weights)
        return UltralyticsPredictor(_model_of(file, weights), file, pick_device(device))


def _train(settings: TrainSettings, wanted: Mapping[str, Any], run: Path, tell: Tell) -> None:
    """Begin a training, or go on from the last whole checkpoint; nothing where it has ended."""
    trainer_class = StudentSegmentationTrainer if wanted["task"] == "segment" else StudentDetectionTrainer
    found = first_whole([run / "weights" / name for name in ("last.pt", "best.pt")], _read, tell)
    overrides = dict(wanted)
    if found is not None:
        last, checkpoint = found
        check_same(checkpoint["train_args"], wanted)
        done = int(checkpoint["epoch"]) + 1
        if done >= wanted["epochs"]:
            return
        tell(f"goes on after epoch {done} of {wanted['epochs']}")
        overrides |= {"model": str(last), "resume": str(last)}
    start = None if found is not None or settings.start is None else _start_model(settings, settings.start)
    trainer = trainer_class(cfg={**DEFAULT_CFG_DICT, "save_dir": ""}, overrides=overrides)
    trainer.tell = tell
    if found is None:
        trainer.model = trainer.get_model(cfg=wanted["model"], weights=start, verbose=False)
        tell(begins(trainer.model, start, settings))
    trainer.train()


def _margin(model: Any, dataset: Dataset, settings: TrainSettings, device: str, tell: Tell) -> int:
    """Return the margin that the student wants around photos of val, see ``gain_of_margin``."""
    if int(model.model[-1].nc) != len(dataset.names):  # taught as one class, by a setting of the library
        return 0
    file = StudentFile({}, settings.model, dataset.task, dataset.names, settings.imgsz)
    where = torch.device("cpu" if device == "cpu" else f"cuda:{device.partition(',')[0]}")
    asked = {margin: UltralyticsPredictor(model, replace(file, margin=margin), where) for margin in (0, MARGIN)}
    data = _data(dataset)
    part = StudentDataset(img_path=data["val"], data=data, task=dataset.task, augment=False)
    gain = gain_of_margin(
        lambda photos, margin: asked[margin].predict(photos),
        [Path(image) for image in part.im_files],
        [_truth(label) for label in part.labels],
        dataset.names,
    )
    if not pays(gain):
        return 0
    tell(
        f"{MARGIN} grey pixels around photos add {gain.difference:.3f} to AP50-95 on val ({gain.low:.3f} to "
        f"{gain.high:.3f}): the student keeps them"
    )
    return MARGIN


def _truth(label: Mapping[str, Any]) -> Objects:
    high, wide = label["shape"]
    boxes = xywh2xyxy(label["bboxes"].astype(np.float64)) * (wide, high, wide, high)
    return Objects("", (wide, high), boxes, label["cls"][:, 0].astype(np.int64), np.ones(len(boxes)))


def _data(dataset: Dataset) -> dict[str, Any]:
    data: dict[str, Any] = check_det_dataset(str(dataset.path / "data.yaml"), autodownload=False)
    return data


def _read(path: Path) -> dict[str, Any]:
    """Read a checkpoint by the library's loader for known classes only, which runs no code from it."""
    checkpoint: dict[str, Any] = torch_safe_load(path, safe_only=True)[0]
    checkpoint["ema"].state_dict(), checkpoint["train_args"]["epochs"]
    return checkpoint


def _scan(dataset: Dataset, part: str) -> Scan:
    data = _data(dataset)
    found = StudentDataset(img_path=data[part], data=data, task=dataset.task, augment=False)
    _found, missing, _empty, corrupt, _total = found.counts
    objects = {Path(label["im_file"]).name: len(label["cls"]) for label in found.labels}
    return Scan(tuple(data["names"].values()), tuple(found.im_files), objects, missing, corrupt)


@contextmanager
def _quiet(settings: TrainSettings, folder: Path) -> Iterator[None]:
    """Switch on the loggers that are asked for and no other, and leave the process as it was."""
    variables = logger_environment(settings.loggers, folder)
    if "MPLCONFIGDIR" not in os.environ:
        variables["MPLCONFIGDIR"] = os.environ["YOLO_CONFIG_DIR"]  # plots of the library leave no cache at home
    kept, threads = {name: SETTINGS[name] for name in _LOGGERS}, torch.get_num_threads()
    SETTINGS.update({name: name in settings.loggers for name in _LOGGERS})
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        SETTINGS.update(kept)
        torch.set_num_threads(threads)


def _built(name: str, tensors: Mapping[str, torch.Tensor], weights: Path) -> Any:
    """Return the model of that name whose parameters are these, without masks where they have none."""
    name = name if draws_masks(tensors) else name.removesuffix("-seg")
    model = network(name, tensors, weights)
    if model is None:
        raise BackendError(f"weights {display(weights)} have {len(tensors)} tensors that do not fit {name}")
    return model


def _model_of(file: StudentFile, weights: Path) -> Any:
    model = _built(file.model, file.tensors, weights)
    if model.model[-1].nc != len(file.names):
        raise BackendError(f"weights {display(weights)} carry {len(file.names)} names for {model.model[-1].nc} classes")
    return model


def _start_model(settings: TrainSettings, start: Path) -> Any:
    """Return the model to start from, with its names: the library takes over the rows of classes of the same name."""
    checkpoint = read_start(start)
    model = _built(model_named(checkpoint.metadata, start) or settings.model, checkpoint.tensors, start)
    count = int(model.model[-1].nc)
    if "names" in checkpoint.metadata or count == len(_coco_names()):
        names = names_of_checkpoint(checkpoint.metadata.get("names"), count, None, start, coco=_coco_names)
        model.names = dict(enumerate(names))
    return model


def _coco_names() -> tuple[str, ...]:
    return tuple(YAML.load(ROOT / "cfg" / "datasets" / "coco.yaml")["names"].values())


def _teacher_file(weights: Path, folder: Path) -> Path:
    """Write the model whose features are taught in the form that the library wants, and return where."""
    file = read_student(weights)
    model = _model_of(file, weights)
    model.names = dict(enumerate(file.names))
    buffer = io.BytesIO()
    torch.save({"model": model, "train_args": {"task": file.task}}, buffer)
    write_whole(folder / TEACHER_FILE, buffer.getvalue())
    return folder / TEACHER_FILE
