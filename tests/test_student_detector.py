"""A trained student as the next round's detector: which one is taken, what it reads, and where its labels stand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.curation.scenes import scenes
from labeling.cli import main
from labeling.core.errors import BackendError, InputError, StateError
from labeling.core.ontology import parse_classes
from labeling.core.records import Annotation, Provenance
from labeling.core.standing import second_opinions
from labeling.core.store import Feature, ImageOutcome, Store
from labeling.core.store_rows import Faint, Machine
from labeling.core.store_studio import StudioLedger, Task, content_hash
from labeling.project import Project
from labeling.queue import doubt
from labeling.studio.selection import conditions, labels_to_push, select
from labeling.teachers.student_choice import choose_student
from labeling.teachers.student_runs import find_student, finished_runs
from labeling.teachers.student_weights import input_size, margin, read_student, taught
from tests.fakes import draw_photos
from tests.outcomes import digest, human, machine, outcome, refused

# Which student

FIRST = "2026-11-20T10:00:00+00:00"


def training(root: Path, name: str, finished: str | None, *, weights: bool = True, **facts: Any) -> Path:
    folder = root / "runs" / "train" / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"dataset": "d", "finished_at": finished, **facts}))
    if weights:
        (folder / "student.safetensors").write_bytes(b"weights")
    return folder / "student.safetensors"


def test_the_newest_training_that_has_ended_is_taken(tmp_path: Path) -> None:
    training(tmp_path, "10", "2026-11-20T10:00:00+00:00")
    newest = training(tmp_path, "9", "2026-11-21T10:00:00+00:00")
    training(tmp_path, "running", None)
    training(tmp_path, "lost", "2026-11-22T10:00:00+00:00", weights=False)
    damaged = training(tmp_path, "damaged", "2026-11-23T10:00:00+00:00")
    damaged.with_name("run.json").write_text('{"finished_at": "2026-11-2')
    training(tmp_path, "9-50", "2026-11-24T10:00:00+00:00", curve_of="9")  # a share of the images, for a curve
    assert find_student(tmp_path, None) == newest
    assert [run.name for run in finished_runs(tmp_path)] == ["10", "9"]


def test_a_student_is_named_by_its_run_folder_or_file_from_here_or_from_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = training(tmp_path, "first-try", FIRST)
    for name in (
        "first-try", str(named), str(named.parent), "runs/train/first-try", "runs/train/first-try/student.safetensors",
    ):  # fmt: skip
        assert find_student(tmp_path, name) == named
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("first-try").write_text("a file of the same name")
    assert find_student(tmp_path, "first-try") == named
    with pytest.raises(BackendError, match=r"runs/train/2 are no student: expected a run folder.*\(first-try\)"):
        find_student(tmp_path, "runs/train/2")
    with pytest.raises(StateError, match="no training has ended here: labelstill train makes a student"):
        find_student(tmp_path / "runs", None)


def test_a_training_that_has_not_ended_is_told_apart(tmp_path: Path) -> None:
    cut = training(tmp_path, "cut", None, weights=False)
    for name in ("cut", "runs/train/cut", str(cut.parent)):
        with pytest.raises(BackendError, match=r"has not ended: go on with labelstill train --resume cut$"):
            find_student(tmp_path, name)


@pytest.mark.parametrize(
    ("facts", "score", "of_project", "expected"),
    [
        ({"evaluation": {"threshold": 0.9351}}, None, None, (0.9351, "evaluate")),
        ({"evaluation_val": {"threshold": 0.9351}}, None, None, (0.9351, "evaluate")),
        ({"evaluation": {"threshold": 0.4}, "evaluation_val": {"threshold": 0.5}}, None, None, (0.4, "evaluate")),
        ({"evaluation": {"threshold": 1.0}}, None, None, (1.0, "evaluate")),
        ({"evaluation": {"threshold": 1.0000001}}, None, None, (0.99, "nothing pays")),
        ({"evaluation": {"threshold": None}}, None, None, (0.25, "not evaluated")),
        ({"evaluation": {"threshold": "0.9"}}, None, None, (0.25, "not evaluated")),
        ({"evaluation": 3}, None, None, (0.25, "not evaluated")),
        ({}, None, None, (0.25, "not evaluated")),
        ({"evaluation": {"threshold": 0.9}}, None, 0.6, (0.6, "project.yaml")),
        ({"evaluation": {"threshold": 0.9}}, 0.3, 0.6, (0.3, "--score")),
    ],
)
def test_the_threshold_of_a_student_is_the_one_that_was_chosen_unless_somebody_says_otherwise(
    tmp_path: Path, facts: dict[str, Any], score: float | None, of_project: float | None, expected: tuple[float, str]
) -> None:
    header(training(tmp_path, "e15", FIRST, **facts), {"kind": "ultralytics", "names": '["box"]'})
    found = choose_student(tmp_path, None, score, of_project)
    assert (found.threshold, found.origin) == expected
    assert (found.name, found.classes) == ("e15", ("box",))
    assert found.in_words().startswith("e15, ")
    assert f"threshold {expected[0]:.2f}" in found.in_words()


def header(path: Path, metadata: dict[str, str] | None) -> Path:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(1, dtype=np.float32)}, path, metadata)
    return path


def test_what_cannot_label_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    with pytest.raises(BackendError, match="D-FINE student, which cannot label yet"):
        read_student(header(path, {"kind": "dfine", "names": '["box"]'}))
    with pytest.raises(BackendError, match="no student of labelstill train"):
        read_student(header(path, None))
    path.write_bytes(b"\x10")
    with pytest.raises(BackendError, match="no readable safetensors file"):
        read_student(path)
    told = read_student(header(path, {"kind": "ultralytics", "names": '["box", "cone"]', "imgsz": "320"}))
    assert taught(told, path) == ("box", "cone")
    with pytest.raises(BackendError, match="'names' in the metadata is no JSON list"):
        taught({"names": "box"}, path)
    assert (input_size(told, path), input_size({}, path)) == (320, 640)
    for wrong in ("0", "wide", "-1", ""):
        with pytest.raises(BackendError, match="'imgsz' in the metadata is"):
            input_size({"imgsz": wrong}, path)
    assert (margin({"margin": "8"}, path), margin({}, path)) == (8, 0)
    for wrong in ("wide", "-1", "", "320"):
        with pytest.raises(BackendError, match="'margin' in the metadata is"):
            margin({"margin": wrong}, path)


# What it reads


NAMES = ["crimson", "leaf", "old"]


def save_student(path: Path, model: str = "yolov8n", classes: int = 3, *, seed: int = 0, **metadata: str) -> Path:
    """Write a random student that is unsure (0.5) about every box instead of silent."""
    import torch
    from safetensors.torch import save_file

    from labeling.teachers.detectors.ultralytics import import_ultralytics

    import_ultralytics()
    from ultralytics.nn.tasks import DetectionModel, SegmentationModel

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model_class = SegmentationModel if model.endswith("-seg") else DetectionModel
    network = model_class(f"{model}.yaml", nc=classes, verbose=False)
    with torch.no_grad():
        for branch in network.model[-1].cv3:
            branch[-1].bias.zero_()
    facts = {"kind": "ultralytics", "yaml": model, "names": json.dumps(NAMES[:classes]), "imgsz": "96"} | metadata
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous().clone() for k, v in network.state_dict().items()}, path, facts)
    return path


def detector_of(path: Path) -> Any:
    from labeling.teachers.detectors.ultralytics import UltralyticsDetector

    return UltralyticsDetector(path, device="cpu")


def photo(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.torch
def test_the_input_is_as_large_as_the_weights_say(tmp_path: Path) -> None:
    shapes: list[tuple[int, ...]] = []
    for size in ("96", "160"):
        detector = detector_of(save_student(tmp_path / size / "student.safetensors", imgsz=size))
        detector._model.register_forward_pre_hook(lambda _model, inputs: shapes.append(tuple(inputs[0].shape[2:])))
        (found,) = detector.detect([photo(60, 90)], parse_classes("leaf"), 0.25)
        assert len(found.detections) > 0
    assert shapes == [(64, 96), (128, 160)]


@pytest.mark.torch
def test_a_student_labels_with_its_margin_what_it_is_measured_with(tmp_path: Path) -> None:
    from distill.students import student

    path = save_student(tmp_path / "student.safetensors", margin="8", task="detect")
    image = photo(60, 90)
    (found,) = detector_of(path).detect([image], parse_classes(", ".join(NAMES)), 0.25)
    (measured,) = student("ultralytics").load(path, "cpu").predict([image], 0.25)
    (without,) = (
        student("ultralytics")
        .load(save_student(tmp_path / "without.safetensors", task="detect"), "cpu")
        .predict([image], 0.25)
    )
    boxes = found.detections.xyxy[np.lexsort(found.detections.xyxy.T)]
    assert len(boxes) == len(measured) > 0
    assert np.abs(boxes - measured.boxes_xyxy[np.lexsort(measured.boxes_xyxy.astype(np.float32).T)]).max() < 1e-3
    assert len(without) != len(measured) or np.abs(without.boxes_xyxy - measured.boxes_xyxy).max() > 1


@pytest.mark.torch
def test_a_student_is_asked_for_classes_and_not_for_prompts(tmp_path: Path) -> None:
    detector = detector_of(save_student(tmp_path / "student.safetensors"))
    ontology = parse_classes("pallet: wooden pallet, leaf: green box | bush, crimson: red box")
    (found,) = detector.detect([photo(60, 90)], ontology, 0.25)
    said = set(zip(found.detections.class_id.tolist(), found.detections.data["prompt"].tolist(), strict=True))
    assert said
    assert said <= {(1, "leaf"), (2, "crimson")}
    with pytest.raises(InputError, match=r"the student was taught crimson, leaf, old, none of the classes here"):
        detector.detect([], parse_classes("pallet: leaf"), 0.25)


@pytest.mark.torch
@pytest.mark.parametrize(
    "model", ["yolov8n-seg", "yolo11n-seg", "yolov8s", "yolov9t", "yolov10n", "yolo12n", "yolo26n"]
)
@pytest.mark.parametrize("named", [True, False])
def test_every_family_of_students_is_built_from_its_name(tmp_path: Path, model: str, named: bool) -> None:
    path = save_student(tmp_path / "student.safetensors", model, yaml=model if named else "")
    if not named and model not in ("yolov8n-seg", "yolo11n-seg", "yolov8s"):
        with pytest.raises(BackendError, match=r"fit none of yolov8n, .*yolo11x"):
            detector_of(path)
        return
    (found,) = detector_of(path).detect([photo(60, 90)], parse_classes("leaf, old, crimson"), 0.01)
    assert found.detections.xyxy.shape == (len(found.detections), 4)
    assert (found.detections.xyxy <= [90, 60, 90, 60]).all()


@pytest.mark.torch
def test_boxes_of_a_student_that_draws_masks_are_those_of_the_library(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    path = save_student(tmp_path / "student.safetensors", "yolov8n-seg")
    from ultralytics import YOLO

    image = photo(60, 90)
    library = YOLO("yolov8n-seg.yaml", task="segment")
    library.model = type(library.model)("yolov8n-seg.yaml", nc=3, verbose=False)
    library.model.load_state_dict(load_file(path))
    # Without any training what random layers answer is nearly constant, and equal scores have no order.
    for module in library.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    library.model.train()(torch.from_numpy(np.stack([photo(64, 96)] * 2)).permute(0, 3, 1, 2).float() / 255)
    save_file(library.model.eval().state_dict(), path, read_student(path))
    (expected,) = library.predict(
        np.ascontiguousarray(image[..., ::-1]),
        imgsz=96, conf=0.25, iou=0.7, max_det=300, verbose=False, device="cpu", project=str(tmp_path),
    )  # fmt: skip
    (found,) = detector_of(path).detect([image], parse_classes("crimson, leaf, old"), 0.25)
    boxes, scores = expected.boxes.xyxy.numpy(), expected.boxes.conf.numpy()
    assert scores.std() > 0.01
    assert 0 < len(boxes) <= len(found.detections)  # it leaves out boxes whose mask is empty
    for box, score in zip(boxes, scores, strict=True):
        same = np.abs(found.detections.xyxy - box).max(axis=1) < 0.5
        assert np.abs(found.detections.confidence[same] - score).min() < 1e-3


@pytest.mark.torch
def test_a_model_is_never_built_from_what_stands_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "yolov8n.yaml").write_text("activation: 1/0")
    for name in (str(tmp_path / "yolov8n"), "https://example.org/yolov8n", '{"activation": "1/0"}', "../yolov8n"):
        assert detector_of(save_student(tmp_path / "student.safetensors", yaml=name))


# Where its labels stand


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "labels.db", create=True) as opened:
        opened.write_classes(parse_classes("box: a box, pallet"))
        opened.start_run("label", {"classes": ["box", "pallet"], "scores": [0.3, 0.3]})
        yield opened


def said(image: str, number: int, source: Machine, score: float = 0.9) -> Annotation:
    return machine(
        image,
        number + 100 * (source == "student"),
        provenance=Provenance(source, model=f"{source}/1", prompt="box", score=score),
    )


def looked(image: str, source: Machine, *scores: float, key: str = "k") -> ImageOutcome:
    """Return what a machine that knows everything about an image leaves of it."""
    labels = [said(image, number, source, score) for number, score in enumerate(scores)]
    features = [Feature(None, f"{source}/1", np.ones(2, dtype=np.float16))]
    features += [Feature(label.id, f"{source}/1", np.ones(2, dtype=np.float16)) for label in labels]
    return replace(
        outcome(image, *labels, key=key),
        machine=source,
        features=tuple(features),
        drops=Counter({("score", "box"): 1 if source == "teacher" else 5}),
        faint=(Faint("box", (0.0, 0.0, 1.0, 1.0), 0.1 if source == "teacher" else 0.2),),
    )


def standing(store: Store, image: str, labels: Any = "best") -> list[str]:
    return [one.provenance.source for one in store.annotations_of(digest(image), labels)]


def besides(store: Store, image: str) -> tuple[set[str], int, list[float]]:
    """Return whose features an image has, its drops, and the scores of its faint boxes."""
    features = store.rows("SELECT DISTINCT model FROM features WHERE sha256 = ?", digest(image))
    drops = store.rows("SELECT ifnull(sum(n), 0) FROM drops WHERE sha256 = ?", digest(image))
    low = store.rows("SELECT score FROM faint WHERE sha256 = ?", digest(image))
    return {model for (model,) in features}, drops[0][0], [score for (score,) in low]


TEACHERS = ({"teacher/1"}, 1, [0.1])
STUDENTS = ({"student/1"}, 5, [0.2])


@pytest.mark.parametrize("order", [("teacher", "student"), ("student", "teacher")])
def test_the_teachers_labels_stand_and_the_students_are_claims_whoever_came_first(
    store: Store, order: tuple[Machine, Machine]
) -> None:
    for source in order:
        store.commit_batch([looked("a", source, 0.9, 0.8)], 1)
    assert standing(store, "a") == standing(store, "a", "machine") == ["teacher"] * 2
    assert standing(store, "a", "claims") == ["student"] * 2
    assert store.counts()["annotations"] == {"box": 2, "pallet": 0}
    assert besides(store, "a") == TEACHERS
    assert (store.done_keys(), store.done_keys("student")) == ({digest("a"): "k"}, {digest("a"): "k"})
    assert second_opinions(store) == 1


def test_where_only_a_student_has_labels_they_stand(store: Store) -> None:
    store.commit_batch([looked("a", "student", 0.9), looked("b", "teacher"), looked("c", "student")], 1)
    store.commit_batch([looked("b", "student", 0.9, 0.8)], 1)
    assert (standing(store, "a"), standing(store, "b"), standing(store, "c")) == (["student"], ["student"] * 2, [])
    assert standing(store, "a", "claims") == standing(store, "b", "claims") == []
    assert store.states() == {digest(name): "prelabelled" for name in "abc"}
    assert (besides(store, "a"), besides(store, "b")) == (STUDENTS, TEACHERS)
    assert store.done_keys() == {digest("a"): "", digest("b"): "k", digest("c"): ""}
    assert [Path(image.paths[0]).stem for image in store.iter_images("machine")] == ["a", "b", "c"]
    assert second_opinions(store) == 0


def test_a_machine_that_labels_again_replaces_its_own_labels_only(store: Store) -> None:
    store.commit_batch([looked("a", "teacher", 0.9)], 1)
    for key in ("k1", "k2", "k3"):
        store.commit_batch([looked("a", "student", 0.9, 0.8, key=key)], 1)
    assert (standing(store, "a"), standing(store, "a", "claims")) == (["teacher"], ["student"] * 2)
    store.commit_batch([looked("a", "teacher", key="k4")], 1)
    assert (standing(store, "a"), standing(store, "a", "claims")) == (["student"] * 2, [])
    assert (store.done_keys(), store.done_keys("student")) == ({digest("a"): "k4"}, {digest("a"): "k3"})
    store.commit_batch([refused("a")], 1)
    assert store.rows("SELECT count(*) FROM annotations") == [(0,)]
    assert store.done_keys() == {}
    assert besides(store, "a") == (set(), 0, [])


def test_what_people_said_stands_before_both(store: Store) -> None:
    store.commit_batch([looked(name, "teacher", 0.9) for name in "abc"], 1)
    store.commit_batch([looked(name, "student", 0.9) for name in "abc"], 1)
    store.set_reviewed(digest("a"), [human("a")], "reviewed")
    store.set_reviewed(digest("b"), [], "reviewed-empty")
    store.set_reviewed(digest("c"), [], "skipped")
    store.commit_batch([looked("a", "student", key="k2")], 1)
    assert (standing(store, "a"), standing(store, "b"), standing(store, "c")) == (["human"], [], [])
    assert standing(store, "a", "claims") == standing(store, "b", "claims") == ["teacher", "student"]
    assert standing(store, "a", "machine") == ["teacher"]


def test_curation_sees_the_same_labels_and_claims(store: Store) -> None:
    store.commit_batch([looked(name, "teacher", 0.9) for name in "ab"] + [looked("c", "student", 0.7)], 1)
    store.commit_batch([looked(name, "student", 0.9) for name in "ab"], 1)
    store.set_reviewed(digest("b"), [human("b")], "reviewed")
    seen = {
        Path(one.name).stem: tuple([label.provenance.source for label in some] for some in (one.labels, one.claims))
        for one in scenes(store)
    }
    assert seen == {
        "a": (["teacher"], ["student"]),
        "b": (["human"], ["teacher", "student"]),
        "c": (["student"], []),
    }


def test_doubt_is_about_the_labels_that_stand(store: Store) -> None:
    store.commit_batch([looked("a", "teacher", 0.65), looked("b", "student", 0.65)], 1)
    before = doubt(store, [digest("a"), digest("b")])
    store.commit_batch([looked("a", "student", 0.4, 0.4, 0.4)], 1)
    assert doubt(store, [digest("a"), digest("b")]) == before
    assert before[digest("b")] > 0


def test_people_are_handed_one_set_of_labels_and_not_again_for_a_second_opinion(store: Store) -> None:
    store.commit_batch([looked("a", "teacher", 0.9), looked("b", "student", 0.9)], 1)
    ledger = StudioLedger(store)
    target = ledger.save_target("http://127.0.0.1:1", 1, config="<View/>", media="local")
    pushed = {name: labels_to_push(store, digest(name), "prelabelled") for name in "ab"}
    assert [len(labels) for labels in pushed.values()] == [1, 1]
    rows = [
        (Task(digest(name), None, "intended", 0, content_hash(labels), "labelstill", False, False), labels)
        for name, labels in pushed.items()
    ]
    ledger.intend(target, rows)
    ledger.confirm(target, {digest("a"): 1, digest("b"): 2})
    store.commit_batch([looked("a", "student", 0.9, 0.8)], 1)
    assert ledger.outdated(target) == []
    assert select(store, target).changed == []
    assert labels_to_push(store, digest("a"), "pushed") == pushed["a"]
    changed = replace(said("b", 7, "student"), class_name="pallet")
    store.commit_batch([replace(outcome("b", changed, key="k2"), machine="student")], 1)
    assert ledger.outdated(target) == [digest("b")]
    store.commit_batch([replace(outcome("a", replace(changed, sha256=digest("a"), id="0" * 32)), machine="student")], 1)
    assert select(store, target, conditions(["class:pallet"], store)).changed == [digest("b")]


# The command


@pytest.mark.torch
@pytest.mark.usefixtures("drawn_backend")
def test_label_with_the_student_of_the_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_photos(tmp_path / "photos", 4)
    (tmp_path / "photos" / "later").mkdir()
    (tmp_path / "weights").write_text("drawn")
    folder = tmp_path / "project"
    classes = ("--classes", "crimson: red box, leaf: green box, sea: blue box")

    def label(*flags: str, photos: str = "photos") -> dict[str, Any]:
        command = ["label", str(tmp_path / photos), "--project", str(folder), "--device", "cpu", "--json", *flags]
        assert main(command) == 0, capsys.readouterr()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    def by_source() -> dict[tuple[str, str], int]:
        with Project.open(folder).open_store() as store:
            rows = store.rows("SELECT source, model, count(*) FROM annotations GROUP BY 1, 2 ORDER BY 1, 2")
            return {(source, model): count for source, model, count in rows}

    drawn = (*classes, "--detector", "drawn", "--weights", str(tmp_path / "weights"), "--segmenter", "none")
    taught = label(*drawn)["objects"]
    teachers = {("teacher", "drawn/weights"): sum(taught.values())}
    assert by_source() == teachers

    assert main(["label", str(tmp_path / "photos"), "--project", str(folder), "--detector", "student"]) == 1
    assert "no training has ended here: labelstill train makes a student" in capsys.readouterr().err

    save_student(training(folder, "1", "2026-11-20T10:00:00+00:00"))
    first = label("--detector", "student")
    assert (first["labelled"], first["not_taught"]) == (4, ["sea"])
    assert first["objects"]["sea"] == 0
    assert first["beside"] == len([1 for one in (tmp_path / "photos").glob("*.png") if _has_labels(folder, one)])
    assert by_source() == {**teachers, ("student", "student/1"): sum(first["objects"].values())}
    assert label("--detector", "student")["unchanged"] == 4
    assert label(*drawn)["unchanged"] == 4

    save_student(training(folder, "2", "2026-11-21T10:00:00+00:00"), seed=1)
    second = label("--detector", "student", "--score", "0.3")
    assert by_source() == {**teachers, ("student", "student/2"): sum(second["objects"].values())}
    again = label("--detector", "student", "--weights", "runs/train/1", "--score", "0.3")
    assert by_source() == {**teachers, ("student", "student/1"): sum(again["objects"].values())}

    draw_photos(tmp_path / "photos" / "later", 2, seed=9)
    only = label("--detector", "student", "--weights", str(folder / "runs" / "train" / "1"), photos="photos/later")
    assert only["labelled"] == 2
    with Project.open(folder).open_store() as store:
        later = [image for image in store.iter_images("best") if "/later/" in image.paths[0]]
        sources = {one.provenance.source for image in later for one in store.annotations_of(image.sha256 or "")}
    assert sources == {"student"}


@pytest.mark.torch
def test_label_keeps_what_reaches_the_threshold_that_was_chosen_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_photos(tmp_path / "photos", 2)
    trained, fresh = tmp_path / "trained", tmp_path / "fresh"
    weights = save_student(training(trained, "e15", FIRST))

    def label(root: Path, *flags: str) -> str:
        command = ["label", str(tmp_path / "photos"), "--project", str(root), "--detector", "student", *flags]
        assert main([*command, "--device", "cpu"]) == 0, capsys.readouterr()
        return capsys.readouterr().out

    def answer(root: Path, *flags: str) -> tuple[int, Any]:
        said = json.loads(label(root, "--json", *flags))
        return sum(said["objects"].values()), said["student"]

    # Every box of this student has the score 0.5. Classes are its own where nobody names any.
    low, said = answer(fresh, "--weights", str(weights))
    assert said == {"run": "e15", "threshold": 0.25, "threshold_from": "not evaluated"}
    assert low > 0
    assert Project.open(fresh).ontology.names == tuple(NAMES)
    run = json.loads(weights.with_name("run.json").read_text())
    weights.with_name("run.json").write_text(json.dumps({**run, "evaluation": {"threshold": 0.94}}))
    assert answer(trained) == (0, {"run": "e15", "threshold": 0.94, "threshold_from": "evaluate"})
    assert "\nstudent      e15, threshold 0.94 chosen by labelstill evaluate\n" in label(trained, "--weights", "e15")
    assert answer(trained, "--score", "0.3")[0] == low
    settings = trained / "project.yaml"
    settings.write_text(settings.read_text() + "\nteacher:\n  detector: student\n  score: 0.35\n")
    assert answer(trained) == (low, {"run": "e15", "threshold": 0.35, "threshold_from": "project.yaml"})
    settings.write_text(settings.read_text().replace("detector: student", "detector: bundled"))
    assert answer(trained)[0] == 0  # the score of another detector says nothing about a student


@pytest.mark.torch
def test_a_class_keeps_its_own_threshold_before_the_chosen_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from labeling.studio.last_teacher import teacher_spec

    draw_photos(tmp_path / "photos", 2)
    save_student(training(tmp_path / "project", "1", FIRST, evaluation={"threshold": 0.94}))
    classes = tmp_path / "classes.yaml"
    classes.write_text("- {name: crimson, threshold: 0.4}\n- leaf\n")
    flags = ["--project", str(tmp_path / "project"), "--detector", "student", "--device", "cpu"]
    assert main(["label", str(tmp_path / "photos"), "--ontology", str(classes), *flags]) == 0
    out = capsys.readouterr().out
    assert "threshold 0.94 chosen by labelstill evaluate; 1 class keeps its own\n" in out
    with Project.open(tmp_path / "project").open_store() as store:
        found = store.counts()["annotations"]
        # Whoever asks the same teacher again asks it from the same score on.
        assert teacher_spec(store, trust_weights=False).default_score == 0.94
    assert found["crimson"] > 0
    assert found["leaf"] == 0


def _has_labels(folder: Path, path: Path) -> bool:
    import hashlib

    with Project.open(folder).open_store() as store:
        found = store.annotations_of(hashlib.sha256(path.read_bytes()).hexdigest(), "machine")
    return any(one.provenance.source == "teacher" for one in found)
