"""The bundled teacher on demand: the labels of a run, the masks of ``segment``, one look at each image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from labeling.core.errors import BackendError, InputError, StateError
from labeling.core.ontology import parse_classes
from labeling.core.store import Store
from labeling.images import LoadedImage, load
from labeling.project import Project
from labeling.studio import assistant as module
from labeling.studio import convert
from labeling.studio.assistant import Assistant, Declined
from labeling.studio.last_teacher import last_teacher, teacher_spec
from labeling.teachers.backends import TeacherSpec
from labeling.teachers.filter_settings import FilterSettings
from labeling.teachers.interfaces import Segmented

if TYPE_CHECKING:
    from labeling.teachers.teacher import Teacher

SIZE = (640, 480)
needs_torch = pytest.mark.torch


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Three photos as `labelstill label` leaves them."""
    from labeling.commands.label import perform
    from labeling.demo.photos import CLASSES, write_photos
    from labeling.job import LabelRequest

    folder = tmp_path_factory.mktemp("assist")
    write_photos(folder / "photos", 3)
    perform(LabelRequest((folder / "photos",), folder, CLASSES, detector="bundled"), quiet=True)
    return Project.open(folder)


@pytest.fixture(scope="module")
def teacher(labelled: Project) -> Teacher:
    with labelled.open_store() as store:
        return last_teacher(labelled, store)


def photo(data: Mapping[str, Any]) -> LoadedImage:
    return load(Path(data["image"]), max_pixels=10**6)


def helped(data: Mapping[str, Any]) -> bool:
    return False


@pytest.fixture
def photos(labelled: Project) -> list[dict[str, str]]:
    return [{"image": str(path)} for path in sorted((labelled.root / "photos").iterdir())]


def drawn(box: tuple[float, float, float, float], name: str = "box", number: int = 0) -> dict[str, Any]:
    """Return a rectangle as the smart tool sends it."""
    x0, y0, x1, y1 = np.array(box) / [*SIZE, *SIZE] * 100
    value = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0, "rectanglelabels": [name]}
    size = {"original_width": SIZE[0], "original_height": SIZE[1], "image_rotation": 0}
    return {
        "id": f"r{number}",
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "image",
        **size,
        "value": value,
    }


class Looks:
    """How often the image encoder ran."""

    def __init__(self, teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        model: Any = teacher.segmenter
        real: Callable[..., Any] = model._model.get_image_embeddings

        def look(pixels: Any) -> Any:
            self.count += len(pixels)
            return real(pixels)

        monkeypatch.setattr(model._model, "get_image_embeddings", look)


@needs_torch
def test_an_image_gets_the_labels_that_a_run_gives_it(
    labelled: Project, teacher: Teacher, photos: list[dict[str, str]]
) -> None:
    assistant = Assistant(teacher, photo, helped)
    seen = 0
    with labelled.open_store() as store:
        for data in photos:
            sha256 = hashlib.sha256(Path(data["image"]).read_bytes()).hexdigest()
            expected = convert.prediction(store.annotations_of(sha256), SIZE)
            answer = assistant.answer(data)
            assert [one["id"] for one in answer["result"]] == [one["id"] for one in expected["result"]]
            assert answer["model_version"] == convert.MODEL_VERSION == "labelstill"
            assert answer["score"] == pytest.approx(expected["score"], abs=1e-3)
            seen += len(answer["result"])
    assert seen >= 6


@needs_torch
def test_masks_on_demand_are_exactly_those_of_segment(teacher: Teacher, photos: list[dict[str, str]]) -> None:
    segmenter: Any = teacher.segmenter
    for data in photos:
        pixels = photo(data).pixels
        boxes = np.array([[480, 240, 600, 300], [100, 100, 300, 400], [0, 0, 640, 480]], dtype=np.float32)
        ((whole),) = segmenter.segment([pixels], [boxes])
        cached = segmenter.segment_embedded(segmenter.embed(pixels), boxes, pixels.shape[:2])
        assert cached.rles == whole.rles
        assert (cached.scores == whole.scores).all()
        none = segmenter.segment_embedded(segmenter.embed(pixels), boxes[:0], pixels.shape[:2])
        assert (none.rles, none.scores.shape) == ((), (0,))


@needs_torch
def test_a_box_comes_back_as_one_region_with_its_mask_and_its_class(
    teacher: Teacher, photos: list[dict[str, str]]
) -> None:
    box = (480.0, 240.0, 600.0, 300.0)
    answer = Assistant(teacher, photo, helped).answer(photos[0], [drawn(box, "pallet")])
    (region,) = answer["result"]
    (made,), refused = convert.read([region], SIZE)
    whole = teacher.segmenter.segment([photo(photos[0]).pixels], [np.array([box], np.float32)])[0]  # type: ignore[union-attr]
    from labeling.core import masks

    assert refused == []
    assert (made.class_name, region["score"]) == ("pallet", float(whole.scores[0]))
    assert region["id"] != "r0"
    assert answer["model_version"] == convert.MODEL_VERSION
    assert made.rle is not None
    assert whole.rles[0] is not None
    assert masks.iou(made.rle, whole.rles[0]) >= convert.MIN_POLYGON_IOU


@needs_torch
def test_two_boxes_on_one_image_cost_one_look(
    teacher: Teacher, photos: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assistant = Assistant(teacher, photo, helped)
    looks = Looks(teacher, monkeypatch)
    one = assistant.answer(photos[0], [drawn((480, 240, 600, 300))])
    two = assistant.answer(photos[0], [drawn((100, 100, 300, 400))])
    both = assistant.answer(photos[0], [drawn((480, 240, 600, 300)), drawn((100, 100, 300, 400), number=1)])
    assert looks.count == 1
    assert [region["value"] for region in both["result"]] == [one["result"][0]["value"], two["result"][0]["value"]]
    assistant.answer(photos[1], [drawn((480, 240, 600, 300))])
    assert looks.count == 2


@needs_torch
def test_tasks_of_two_pictures_under_one_id_are_told_apart(
    teacher: Teacher, photos: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assistant, looks = Assistant(teacher, photo, helped), Looks(teacher, monkeypatch)
    for data in photos[:2]:
        assistant.answer({**data, "labelstill_id": "copied"}, [drawn((480, 240, 600, 300))])
    assert looks.count == 2


@needs_torch
def test_the_images_that_were_drawn_on_last_are_kept_and_no_others(
    teacher: Teacher, photos: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.KEPT_IMAGES == 16
    monkeypatch.setattr(module, "KEPT_IMAGES", 2)
    assistant, looks = Assistant(teacher, photo, helped), Looks(teacher, monkeypatch)
    counts = []
    for place in (0, 1, 0, 2, 0, 1):
        assistant.answer(photos[place], [drawn((480, 240, 600, 300))])
        counts.append(looks.count)
    assert counts == [1, 2, 2, 3, 3, 4]


@needs_torch
def test_what_is_no_box_gets_no_mask_and_a_reason(teacher: Teacher, photos: list[dict[str, str]]) -> None:
    assistant = Assistant(teacher, photo, helped)
    polygon = {**drawn((0, 0, 9, 9)), "type": "polygonlabels"}
    polygon["value"] = {"points": [[1, 1], [50, 1], [50, 50]], "polygonlabels": ["box"]}
    assert len(assistant.answer(photos[0], [polygon, drawn((480, 240, 600, 300))])["result"]) == 1
    elsewhere = {**drawn((0, 0, 9, 9)), "original_width": 10}
    for region, reason in ((polygon, "there is none"), (elsewhere, "drawn on a picture of 10"), (3, "as a mapping")):
        with pytest.raises(InputError, match=f"expected a box to draw a mask in: .*{reason}"):
            assistant.answer(photos[0], [region])


@needs_torch
def test_a_box_without_a_mask_comes_back_as_the_box(
    teacher: Teacher, photos: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Segmented((None,), np.array([0.25], np.float32))
    monkeypatch.setattr(teacher.segmenter, "segment_embedded", lambda *arguments: nothing)
    (region,) = Assistant(teacher, photo, helped).answer(photos[0], [drawn((480, 240, 600, 300))])["result"]
    (made,), _ = convert.read([region], SIZE)
    assert (made.kind, made.box_xyxy) == ("rectangle", pytest.approx((480, 240, 600, 300)))


@needs_torch
def test_a_blind_task_gets_neither_labels_nor_masks(teacher: Teacher, photos: list[dict[str, str]]) -> None:
    def unread(data: Mapping[str, Any]) -> LoadedImage:
        raise AssertionError("the photo was read")

    assistant = Assistant(teacher, unread, lambda data: data is photos[0])
    for boxes in ((), [drawn((480, 240, 600, 300))]):
        with pytest.raises(Declined, match="without help, to measure the teacher"):
            assistant.answer(photos[0], boxes)


@needs_torch
def test_a_teacher_without_masks_says_so(labelled: Project, teacher: Teacher, photos: list[dict[str, str]]) -> None:
    from labeling.teachers.teacher import Teacher

    bare = Teacher(teacher.detector, None, teacher.ontology, teacher.scores, teacher.settings, "bare")
    with pytest.raises(InputError, match="draws no masks: labelstill label with --segmenter"):
        Assistant(bare, photo, helped).answer(photos[0], [drawn((480, 240, 600, 300))])


# The teacher of the last run


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project", parse_classes("box"))


@pytest.fixture
def store(project: Project) -> Any:
    with project.open_store(create=True) as store:
        yield store


def note(store: Store, verb: str = "label", **teacher: Any) -> None:
    store.start_run(verb, {"teacher": teacher, "filters": asdict(FilterSettings())})


def test_the_settings_of_the_last_labelling_run_count(store: Store) -> None:
    note(store, detector="grounding-dino")
    note(store, detector="ultralytics", weights="best.pt", class_names="names.txt", segmenter="none", score=0.3)
    note(store, "pull", detector="bundled")
    store.start_run("label", {"detector": "of another kind"})
    assert teacher_spec(store, trust_weights=False) == TeacherSpec(
        detector="ultralytics", weights="best.pt", class_names=Path("names.txt"), segmenter="none", score=0.3
    )


def test_neither_consent_nor_the_device_is_inherited(store: Store) -> None:
    note(store, detector="ultralytics", weights="best.pt", trust_weights=True, device="cuda:3", of_tomorrow=1)
    spec = teacher_spec(store, trust_weights=False)
    assert (spec.trust_weights, spec.device) == (False, "auto")
    assert teacher_spec(store, trust_weights=True).trust_weights


def test_without_a_run_there_is_no_teacher(store: Store) -> None:
    with pytest.raises(StateError, match="no teacher has labelled here yet: labelstill label PHOTOS"):
        teacher_spec(store, trust_weights=False)


@needs_torch
def test_weights_that_have_moved_are_named(project: Project, store: Store, tmp_path: Path) -> None:
    note(store, detector="bundled", weights=str(tmp_path / "gone"))
    with pytest.raises(BackendError, match=r"that labelled last cannot be loaded \(.*gone do not exist.*\): put it"):
        last_teacher(project, store)


@needs_torch
def test_the_filters_of_the_run_are_used(project: Project, store: Store) -> None:
    settings = FilterSettings(nms_iou=0.3, min_area_px=9.0)
    store.start_run("label", {"teacher": {"detector": "bundled", "score": 0.2}, "filters": asdict(settings)})
    teacher = last_teacher(project, store)
    assert (teacher.settings, teacher.scores, teacher.ontology.names) == (settings, (0.2,), ("box",))
