"""The pipeline against drawn shapes: exact labels, one decode per image, fixed batches, failures that end nothing."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labeling.core import masks
from labeling.core.errors import BackendError, InputError
from labeling.core.ontology import Ontology, parse_classes
from labeling.core.store import Store
from labeling.image_files import scan
from labeling.images import LoadedImage, load
from labeling.label_run import Summary, batch_size, label_files, record_rejected
from labeling.pipeline import Pipeline
from labeling.planning import Plan, make_plan
from labeling.teachers.filters import FilterSettings
from labeling.teachers.interfaces import Detected, RgbImage
from labeling.teachers.memory import is_out_of_memory
from labeling.teachers.teacher import Teacher
from tests.fakes import DrawnDetector, DrawnSegmenter, draw, draw_photos, poison

ONTOLOGY = parse_classes("crimson: red box, leaf: green box, sea: blue box, sun: yellow box")
CLASS_OF = {"red": "crimson", "green": "leaf", "blue": "sea", "yellow": "sun"}
KEY = "key"


class Decoder:
    """The real gate, with a count per file."""

    def __init__(self) -> None:
        self.decodes: Counter[Path] = Counter()

    def __call__(self, path: Path) -> LoadedImage:
        image = load(path, max_pixels=10**6)
        self.decodes[path] += 1
        return image


def teacher(detector: DrawnDetector, segmenter: DrawnSegmenter | None = None, ontology: Ontology = ONTOLOGY) -> Teacher:
    return Teacher(detector, segmenter, ontology, [0.5] * len(ontology.classes), FilterSettings(), "drawn/1")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "labels.db", create=True) as opened:
        opened.write_classes(ONTOLOGY)
        yield opened


def planned(store: Store, folder: Path, key: str = KEY) -> Plan:
    return make_plan(scan([folder]), store.known_files(), store.done_keys(), store.states(), key, inputs=[folder])


def label(
    store: Store,
    folder: Path,
    detector: DrawnDetector,
    *,
    batch: int = 4,
    segmenter: DrawnSegmenter | None = None,
    decoder: Decoder | None = None,
    key: str = KEY,
) -> Summary:
    plan = planned(store, folder, key)
    run_id = store.start_run("label", {})
    record_rejected(store, plan, run_id)
    return label_files(
        store, plan, teacher(detector, segmenter), decoder or Decoder(),
        key=key, run_id=run_id, batch=batch, batch_memory="batch",
    )  # fmt: skip


def labels(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Everything about the labels, by file name."""
    return {
        Path(image.paths[0]).name: [
            (a.class_name, a.box_xyxy, a.rle, a.provenance, a.flags) for a in store.annotations_of(image.sha256 or "")
        ]
        for image in store.iter_images()
    }


def test_labels_are_exactly_what_was_drawn(tmp_path: Path, store: Store) -> None:
    photos = draw_photos(tmp_path / "photos", 10)
    summary = label(store, tmp_path / "photos", DrawnDetector(), segmenter=DrawnSegmenter())
    assert summary.labelled == 10
    assert summary.objects == Counter(CLASS_OF[colour] for photo in photos for colour, _ in photo.shapes)
    images = {Path(image.paths[0]): image for image in store.iter_images()}
    for photo in photos:
        image = images[photo.path]
        assert (image.state, image.width, image.height) == ("prelabelled", 96, 64)
        found = {a.class_name: a for a in store.annotations_of(image.sha256 or "")}
        assert {name: a.box_xyxy for name, a in found.items()} == {CLASS_OF[c]: box for c, box in photo.shapes}
        for colour, (x0, y0, x1, y1) in photo.shapes:
            annotation = found[CLASS_OF[colour]]
            mask = np.zeros((64, 96), dtype=bool)
            mask[y0:y1, x0:x1] = True
            assert annotation.rle is not None
            assert (masks.decode(annotation.rle) == mask).all()
            made = annotation.provenance
            assert (made.source, made.model, made.prompt) == ("teacher", "drawn/1", f"{colour} box")
            assert made.score == pytest.approx(0.9)
            assert made.mask_score == pytest.approx(0.8)
        assert store.rows("SELECT annotation_id FROM features WHERE sha256 = ?", image.sha256) == [(None,)]


def test_each_image_is_decoded_once_and_each_batch_is_one_detector_call(tmp_path: Path, store: Store) -> None:
    photos = draw_photos(tmp_path / "photos", 11)
    detector, decoder = DrawnDetector(), Decoder()
    label(store, tmp_path / "photos", detector, batch=4, decoder=decoder)
    assert detector.calls == [4, 4, 3]
    assert decoder.decodes == Counter(photo.path for photo in photos)


def test_a_second_run_does_nothing_and_another_key_replaces_the_labels(tmp_path: Path, store: Store) -> None:
    draw_photos(tmp_path / "photos", 6)
    label(store, tmp_path / "photos", DrawnDetector())
    before = labels(store)
    assert planned(store, tmp_path / "photos").files == ()
    again = label(store, tmp_path / "photos", DrawnDetector(), key="other")
    assert again.labelled == 6
    assert labels(store) == before


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 8, 64])
def test_the_labels_do_not_depend_on_the_batch_size(tmp_path: Path, store: Store, batch: int) -> None:
    draw_photos(tmp_path / "photos", 8)
    label(store, tmp_path / "photos", DrawnDetector(), segmenter=DrawnSegmenter(), batch=batch)
    with Store.open(tmp_path / "reference.db", create=True) as reference:
        reference.write_classes(ONTOLOGY)
        label(reference, tmp_path / "photos", DrawnDetector(), segmenter=DrawnSegmenter(), batch=4)
        assert labels(store) == labels(reference)


def test_the_same_bytes_twice_are_one_image_with_two_paths(tmp_path: Path, store: Store) -> None:
    first = draw(tmp_path / "photos" / "a.png", [("red", (5, 5, 20, 20))])
    for name in ("b.png", "sub/c.png", "z.png"):
        copy = tmp_path / "photos" / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(first.path.read_bytes())
    detector = DrawnDetector()
    summary = label(store, tmp_path / "photos", detector, batch=2)
    assert (summary.labelled, summary.copies, detector.calls) == (1, 3, [1])
    (image,) = store.iter_images()
    assert len(image.paths) == 4
    assert len(store.annotations_of(image.sha256 or "")) == 1


def test_a_changed_file_is_a_new_image_and_the_old_one_keeps_its_labels(tmp_path: Path, store: Store) -> None:
    path = draw(tmp_path / "photos" / "a.png", [("red", (5, 5, 20, 20))]).path
    label(store, tmp_path / "photos", DrawnDetector())
    (old,) = store.iter_images()
    draw(path, [("blue", (30, 30, 50, 50)), ("red", (5, 5, 20, 20))])
    assert label(store, tmp_path / "photos", DrawnDetector()).labelled == 1
    (new,) = store.iter_images()
    assert new.sha256 != old.sha256
    assert store.files_of(old.sha256 or "") == ()
    assert len(store.annotations_of(old.sha256 or "")) == 1
    assert len(store.annotations_of(new.sha256 or "")) == 2


def test_reviewed_labels_stay(tmp_path: Path, store: Store) -> None:
    draw_photos(tmp_path / "photos", 4)
    label(store, tmp_path / "photos", DrawnDetector())
    image = next(iter(store.iter_images()))
    store.set_reviewed(image.sha256 or "", [], "reviewed-empty")
    summary = label(store, tmp_path / "photos", DrawnDetector(), key="other")
    assert summary.labelled == 3
    assert store.states()[image.sha256 or ""] == "reviewed-empty"
    assert store.annotations_of(image.sha256 or "") == []


def test_a_file_that_does_not_decode_is_quarantined_and_the_rest_is_labelled(tmp_path: Path, store: Store) -> None:
    draw_photos(tmp_path / "photos", 5)
    (tmp_path / "photos" / "photo-001.png").write_bytes(b"<html>")
    summary = label(store, tmp_path / "photos", DrawnDetector(), batch=2)
    assert summary.labelled == 4
    ((path, reason),) = summary.quarantined
    assert Path(path).name == "photo-001.png"
    assert reason.startswith("unreadable: ")


def test_an_image_that_the_teacher_fails_on_is_named_and_the_rest_is_labelled(tmp_path: Path, store: Store) -> None:
    draw_photos(tmp_path / "photos", 7)
    poison(tmp_path / "photos" / "photo-002-poison.png")
    (tmp_path / "photos" / "same.png").write_bytes((tmp_path / "photos" / "photo-002-poison.png").read_bytes())
    summary = label(store, tmp_path / "photos", DrawnDetector(), batch=4)
    assert summary.labelled == 7
    assert sorted(Path(path).name for path, _ in summary.quarantined) == ["photo-002-poison.png", "same.png"]
    assert {reason for _, reason in summary.quarantined} == {"teacher_failed: this picture is poison"}
    again = [file.path.name for file in planned(store, tmp_path / "photos").files]
    assert again == ["photo-002-poison.png", "same.png"]


def test_a_teacher_that_always_fails_ends_the_run(tmp_path: Path, store: Store) -> None:
    for number in range(8):
        path = poison(tmp_path / "photos" / f"{number}.png")
        path.write_bytes(path.read_bytes() + bytes([number]))
    with pytest.raises(BackendError, match="failed on the first 4 images, lastly with: teacher_failed: this picture"):
        label(store, tmp_path / "photos", DrawnDetector(), batch=4)
    assert store.states() == {}


@pytest.mark.parametrize("error", [BackendError, InputError, ValueError, KeyboardInterrupt])
def test_an_error_of_the_detector_ends_the_run_without_a_hang(
    tmp_path: Path, store: Store, error: type[BaseException]
) -> None:
    class Broken(DrawnDetector):
        def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
            if len(self.calls) == 2:
                raise error("broken")
            return super().detect(images, ontology, floor)

    draw_photos(tmp_path / "photos", 20)
    if error is BackendError:  # the first two batches prove that the teacher works: images are to blame
        assert len(label(store, tmp_path / "photos", Broken()).quarantined) == 12
    else:
        with pytest.raises(error, match="broken"):
            label(store, tmp_path / "photos", Broken())
        assert list(store.states().values()) == ["prelabelled"] * 8
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("detect", "decode"))]


def test_an_error_of_the_decoder_that_is_no_rejection_ends_the_run(tmp_path: Path, store: Store) -> None:
    class Broken(Decoder):
        def __call__(self, path: Path) -> LoadedImage:
            raise InputError("images.background: expected a colour")

    draw_photos(tmp_path / "photos", 5)
    with pytest.raises(InputError, match="background"):
        label(store, tmp_path / "photos", DrawnDetector(), decoder=Broken())


@pytest.mark.parametrize("fits", [1, 2, 3, 5])
def test_running_out_of_memory_makes_the_calls_smaller_and_changes_no_label(
    tmp_path: Path, store: Store, fits: int
) -> None:
    draw_photos(tmp_path / "photos", 20)
    detector = DrawnDetector(fits=fits)
    assert label(store, tmp_path / "photos", detector, batch=8).labelled == 20
    assert max(detector.calls) <= fits
    remembered = batch_size(store, "batch", "cuda")
    assert remembered == {1: 1, 2: 2, 3: 2, 5: 4}[fits]
    assert batch_size(store, "batch of another teacher", "cpu") == 4
    assert len(detector.calls) == -(-8 // remembered) * 2 + -(-4 // remembered)
    with Store.open(tmp_path / "reference.db", create=True) as reference:
        reference.write_classes(ONTOLOGY)
        label(reference, tmp_path / "photos", DrawnDetector(), batch=8)
        assert labels(store) == labels(reference)


def test_an_image_that_does_not_even_fit_alone_is_named(tmp_path: Path, store: Store) -> None:
    class Cramped(DrawnDetector):
        def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
            if any((image == 77).any() for image in images):
                raise MemoryError
            return super().detect(images, ontology, floor)

    draw_photos(tmp_path / "photos", 6)
    Image.new("RGB", (40, 40), (77, 77, 77)).save(tmp_path / "photos" / "photo-003-big.png")
    summary = label(store, tmp_path / "photos", Cramped(), batch=4)
    assert summary.labelled == 6
    assert [reason for _, reason in summary.quarantined] == ["out_of_memory: not even one image fits"]


@pytest.mark.torch
def test_out_of_memory_is_recognised_without_importing_torch_for_it() -> None:
    import torch

    wrapped = BackendError("the detector failed")
    wrapped.__cause__ = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ...")
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(wrapped)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def test_memory_errors_are_recognised_without_torch() -> None:
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(BackendError("broken"))


def test_pixels_do_not_pile_up(tmp_path: Path, store: Store) -> None:
    alive: list[weakref.ref[np.ndarray]] = []  # type: ignore[type-arg]
    most = 0

    class Watching(Decoder):
        def __call__(self, path: Path) -> LoadedImage:
            nonlocal most
            image = super().__call__(path)
            alive.append(weakref.ref(image.pixels))
            most = max(most, sum(reference() is not None for reference in list(alive)))
            return image

    draw_photos(tmp_path / "photos", 60)
    label(store, tmp_path / "photos", DrawnDetector(), batch=2, decoder=Watching())
    gc.collect()
    # Two batches under way and the decoder's window of one batch and its threads.
    assert most <= 2 * 2 + 2 + min(16, len(os.sched_getaffinity(0))) * 2
    assert sum(reference() is not None for reference in alive) == 0


def test_a_stop_ends_the_run_after_the_batch_at_hand(tmp_path: Path, store: Store) -> None:
    draw_photos(tmp_path / "photos", 20)
    stop = threading.Event()
    seen: list[int] = []

    def on_batch(summary: Summary) -> None:
        seen.append(summary.files)
        if len(seen) == 2:
            stop.set()

    summary = label_files(
        store, planned(store, tmp_path / "photos"), teacher(DrawnDetector()), Decoder(),
        key=KEY, run_id=store.start_run("label", {}), batch=4, batch_memory="batch", stop=stop, on_batch=on_batch,
    )  # fmt: skip
    assert (summary.stopped, summary.labelled, seen) == (True, 8, [4, 8])
    assert len(planned(store, tmp_path / "photos").files) == 12


def test_files_that_vanish_between_search_and_decoding_are_quarantined(tmp_path: Path, store: Store) -> None:
    photos = draw_photos(tmp_path / "photos", 3)
    plan = planned(store, tmp_path / "photos")
    photos[1].path.unlink()
    outcomes = [
        outcome
        for batch in Pipeline(teacher(DrawnDetector()), Decoder(), done_key=KEY, batch=2).run(plan.files)
        for outcome in batch
    ]
    assert [outcome.status for outcome in outcomes] == ["ok", "quarantined", "ok"]
    assert (outcomes[1].reason or "").startswith("missing: ")
