"""How much work a labelling run does, counted at the functions that do it: decodes, forward passes, files written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np
import pytest

from labeling import images
from labeling.core.ontology import Ontology, OntologyClass
from labeling.demo.objects import COLOURS, NOUNS
from labeling.demo.scenes import all_pairs, render_scene
from labeling.job import LabelJob, LabelRequest
from labeling.label_run import Summary

PHOTOS, BATCH = 6, 4
BATCHES = [4, 2]
#: 112 phrases do not fit into one caption of 256 tokens.
CLASSES = ", ".join(f"{colour} {noun}" for colour, noun in product(COLOURS, NOUNS))

pytestmark = pytest.mark.torch


class Counts:
    """Counts calls of functions that run as they are; safe in several threads."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.sizes: dict[str, list[int]] = {}
        self._lock = Lock()

    def note(self, name: str, size: int = 1) -> None:
        with self._lock:
            self.calls[name] += 1
            self.sizes.setdefault(name, []).append(size)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **named: Any) -> Any:
            self.note(name)
            return function(*args, **named)

        return counted


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PHOTOS):
        scene = render_scene(500 + number, size_wh=(320, 240), pairs=all_pairs(unseen=True))
        (folder / f"{number}.jpg").write_bytes(scene.jpeg)
    return folder


@pytest.fixture(scope="module")
def labelled(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Counts, Summary, Path, Any]:
    """One real run of the bundled teacher; the score is low, so that every photo has boxes."""
    project = tmp_path_factory.mktemp("run") / "project"
    counts = Counts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "_decode", counts.around("decode", images._decode))
        patch.setattr(images, "read", counts.around("read", images.read))
        request = LabelRequest((photos,), project, CLASSES, detector="bundled", score=0.05, batch=str(BATCH))
        job = LabelJob(request)
        teacher: Any = job.teacher
        detector, sam = teacher.detector, teacher.segmenter._model
        detector._model.register_forward_hook(
            lambda _module, _args, named, _out: counts.note("detector", len(named["pixel_values"])), with_kwargs=True
        )
        sam.vision_encoder.register_forward_hook(
            lambda _module, args, named, _out: counts.note("encoder", len(named.get("pixel_values", *args[:1])))
            , with_kwargs=True,
        )  # fmt: skip
        sam.mask_decoder.register_forward_hook(lambda *_: counts.note("decoder"))
        with job.open_project() as (opened, store):
            summary = job.run(job.plan(store), opened, store, Event(), lambda _: None)
            boxes = [len(store.annotations_of(image.sha256 or "")) for image in store.iter_images()]
    return counts, summary, project, (len(detector.chunks(job.ontology)), boxes)


def test_each_file_is_read_once_and_decoded_once(labelled: Any) -> None:
    counts, summary, _, _ = labelled
    assert summary.labelled == PHOTOS
    assert counts.calls["read"] == PHOTOS
    assert counts.calls["decode"] == PHOTOS


def test_the_detector_runs_once_per_caption_and_batch(labelled: Any) -> None:
    counts, _, _, (chunks, _) = labelled
    assert chunks == 2
    assert counts.sizes["detector"] == [size for size in BATCHES for _ in range(chunks)]


def test_sam_encodes_each_image_once_in_batches_and_decodes_all_boxes_of_an_image_in_one_call(labelled: Any) -> None:
    counts, _, _, (_, boxes) = labelled
    assert len(boxes) == PHOTOS
    assert all(0 < count <= 64 for count in boxes)
    assert counts.sizes["encoder"] == BATCHES
    assert counts.calls["decoder"] == PHOTOS


def test_a_run_writes_these_files_and_no_other(labelled: Any) -> None:
    _, _, project, _ = labelled
    written = sorted(path.relative_to(project).as_posix() for path in project.rglob("*"))
    assert written == [".labelstill.lock", "labels.db", "project.schema.json", "project.yaml"]


def test_the_photos_folder_is_left_as_it_was(labelled: Any, photos: Path) -> None:
    assert sorted(path.name for path in photos.iterdir()) == [f"{number}.jpg" for number in range(PHOTOS)]


def test_a_second_run_reads_no_file_and_asks_for_no_model(
    labelled: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = labelled[2]
    counts = Counts()
    monkeypatch.setattr(images, "read", counts.around("read", images.read))
    request = LabelRequest((photos,), project, CLASSES, detector="bundled", score=0.05, batch=str(BATCH))
    job = LabelJob(request)
    with job.open_project() as (opened, store):
        plan = job.plan(store)
        summary = job.run(plan, opened, store, Event(), lambda _: None)
    assert (plan.unchanged, summary.files) == (PHOTOS, 0)
    assert "teacher" not in job.__dict__
    assert not counts.calls


@pytest.mark.parametrize(("boxes", "calls"), [(0, 0), (1, 1), (64, 1), (65, 2), (130, 3)])
def test_the_decoder_gets_64_boxes_a_call(tmp_path: Path, boxes: int, calls: int) -> None:
    from labeling.teachers.segmenters.sam2 import Sam2Segmenter
    from tests.tiny_models import save_sam2

    segmenter: Any = Sam2Segmenter(save_sam2(tmp_path / "sam2"), "cpu")
    counts = Counts()
    segmenter._model.mask_decoder.register_forward_hook(lambda *_: counts.note("decoder"))
    segmenter._model.vision_encoder.register_forward_hook(lambda *_: counts.note("encoder"))
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    corners = np.tile(np.array([8, 8, 40, 40], dtype=np.float32), (boxes, 1))
    (segmented,) = segmenter.segment([picture], [corners])
    assert len(segmented.rles) == boxes
    assert counts.calls["decoder"] == calls == -(-boxes // 64)
    assert counts.calls["encoder"] == (boxes > 0)


def test_300_classes_take_4_captions_and_none_is_left_out() -> None:
    from labeling.teachers.backends import TeacherSpec, build_detector

    words = [word for noun, entry in NOUNS.items() for word in (noun, *entry.synonyms)]
    names = [f"{colour} {word}" for colour, word in product(COLOURS, words)] + words
    names += [
        f"{one} {other} {noun}" for one, other, noun in product(COLOURS, COLOURS, ("box", "cone")) if one != other
    ]
    names = names[:300]
    assert len(set(names)) == 300
    detector: Any = build_detector(TeacherSpec(detector="bundled"))
    chunks = detector.chunks(Ontology(tuple(OntologyClass(name, (name,)) for name in names)))
    assert len(chunks) == 4
    assert all(len(chunk.token_ids) <= 256 for chunk in chunks)
    assert sorted(span.prompt for chunk in chunks for span in chunk.spans) == sorted(names)
