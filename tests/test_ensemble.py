"""Ensembles: scores on one scale, one box per object, and who saw it, from members down to labels.db."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.cli import main
from labeling.core.errors import BackendError, InputError, MissingExtraError
from labeling.core.ontology import Ontology, parse_classes
from labeling.core.store import Store
from labeling.teachers import filters
from labeling.teachers.backends import TeacherSpec, detector_backend
from labeling.teachers.catalogue import Backend
from labeling.teachers.detectors.ensemble import EnsembleDetector, Member
from labeling.teachers.filter_settings import FilterSettings
from labeling.teachers.interfaces import Detected, RgbImage
from labeling.teachers.members import with_members
from tests.fakes import draw

ONTOLOGY = parse_classes("box: box | red box, cone")
PROMPTS = {"box": 0, "red box": 0, "cone": 1}
WIDTH, HEIGHT = 200, 100
IMAGE: RgbImage = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
Row = tuple[tuple[float, float, float, float], float, str]


class Fixed:
    """Answers the same boxes for every image, those that reach the floor, and remembers what it was asked."""

    def __init__(self, rows: Sequence[Row], *, dropped: int = 0, features: bool = False) -> None:
        self.rows, self.dropped, self.features = rows, dropped, features
        self.floors: list[float] = []

    def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
        self.floors.append(floor)
        rows = [row for row in self.rows if row[1] >= floor]
        data: dict[str, Any] = {"prompt": np.array([prompt for _, _, prompt in rows], dtype=object)}
        if self.features:
            data["feature"] = np.array([[box[0], 0] for box, _, _ in rows], dtype=np.float16).reshape(-1, 2)
        detections = sv.Detections(
            xyxy=np.array([box for box, _, _ in rows], dtype=np.float32).reshape(-1, 4),
            confidence=np.array([score for _, score, _ in rows], dtype=np.float32),
            class_id=np.array([PROMPTS[prompt] for _, _, prompt in rows], dtype=int),
            data=data,
        )
        feature = np.ones(2, dtype=np.float16) if self.features else None
        return [Detected(detections, feature, Counter(odd=self.dropped)) for _ in images]


def member(name: str, rows: Sequence[Row], default: float = 0.5, **options: Any) -> Member:
    return Member(name, Fixed(rows, **options), Backend("", "", None, "", default_score=default))


def fused(*members: Member, floor: float = 0.0) -> sv.Detections:
    (detected,) = EnsembleDetector(members).detect([IMAGE], ONTOLOGY, floor)
    return detected.detections


def listed(found: sv.Detections) -> list[tuple[Any, ...]]:
    columns = (found.xyxy.tolist(), found.confidence.tolist(), found.class_id.tolist(), *found.data.values())
    return sorted(zip(*columns, strict=True))


def test_two_that_see_one_object_give_one_box_between_theirs() -> None:
    """By hand: 0.3 of a default of 0.2 is bent to 0.5 + 0.5 * 0.1 / 0.8 = 0.5625, 0.25 of 0.5 to 0.25."""
    found = fused(
        member("a", [((10, 10, 50, 50), 0.25, "box")]), member("b", [((12, 10, 50, 54), 0.3, "red box")], default=0.2)
    )
    share = 0.25 / (0.25 + 0.5625)
    np.testing.assert_allclose(found.xyxy, [[12 - 2 * share, 10, 50, 54 - 4 * share]], atol=1e-4)
    np.testing.assert_allclose(found.confidence, [0.5625], atol=1e-6)
    assert found.xyxy.dtype == found.confidence.dtype == np.float32
    assert found.class_id.tolist() == [0]
    assert found.data["prompt"].tolist() == ["red box"]
    assert found.data["sources"].tolist() == [(("b", pytest.approx(0.3)), ("a", 0.25))]


def test_a_box_of_one_member_alone_keeps_its_place_and_score() -> None:
    found = fused(member("a", [((10.3, 10.7, 50, 50), 0.8, "box")]), member("b", [((100, 10, 140, 50), 0.6, "cone")]))
    assert listed(found) == [
        (pytest.approx([10.3, 10.7, 50, 50]), pytest.approx(0.8), 0, "box", (("a", pytest.approx(0.8)),)),
        (pytest.approx([100, 10, 140, 50]), pytest.approx(0.6), 1, "cone", (("b", pytest.approx(0.6)),)),
    ]


def test_boxes_of_different_classes_are_different_objects() -> None:
    box = (10.0, 10.0, 50.0, 50.0)
    assert len(fused(member("a", [(box, 0.8, "box")]), member("b", [(box, 0.6, "cone")]))) == 2


def test_a_member_that_says_an_object_twice_is_one_source() -> None:
    found = fused(
        member("a", [((10, 10, 50, 50), 0.8, "box"), ((10, 10, 50, 51), 0.7, "red box")]),
        member("b", [((10, 10, 50, 50), 0.6, "box")]),
    )
    assert found.data["sources"].tolist() == [(("a", pytest.approx(0.8)), ("b", pytest.approx(0.6)))]


def test_each_member_is_asked_for_the_floor_on_its_own_scale() -> None:
    members = [member("a", [], default=0.2), member("b", [], default=0.5), member("c", [], default=0.8)]
    for floor, expected in [(0.25, (0.1, 0.25, 0.4)), (0.75, (0.6, 0.75, 0.9)), (0.0, (0, 0, 0)), (1.0, (1, 1, 1))]:
        EnsembleDetector(members).detect([], ONTOLOGY, floor)
        assert [one.detector.floors[-1] for one in members] == pytest.approx(expected)  # type: ignore[attr-defined]


def test_scores_do_not_depend_on_how_far_down_was_asked() -> None:
    members = [
        member("a", [((10, 10, 50, 50), 0.8, "box"), ((100, 10, 140, 50), 0.1, "box")]),
        member("b", [((11, 10, 50, 50), 0.2, "box")]),
    ]
    (high,), low = fused(*members, floor=0.5).confidence, fused(*members, floor=0.05).confidence
    assert high == max(low)
    assert len(low) == 2


def test_what_cannot_be_used_is_counted_for_all_members() -> None:
    members = [
        member("a", [((50, 10, 10, 50), 0.9, "box")], dropped=2),
        member("b", [((500, 10, 600, 50), 0.9, "cone")], dropped=3),
    ]
    (detected,) = EnsembleDetector(members).detect([IMAGE], ONTOLOGY, 0.0)
    assert len(detected.detections) == 0
    assert detected.detections.data["prompt"].shape == detected.detections.data["sources"].shape == (0,)
    assert detected.dropped == {"odd": 5, "inverted": 1, "outside": 1}


def test_features_are_those_of_the_first_where_it_saw_every_object() -> None:
    shared, alone = ((10.0, 10.0, 50.0, 50.0), 0.8, "box"), ((100.0, 10.0, 140.0, 50.0), 0.6, "cone")
    with_all = fused(member("a", [shared, alone], features=True), member("b", [shared]))
    assert sorted(with_all.data["feature"][:, 0].tolist()) == [10, 100]
    assert "feature" not in fused(member("a", [shared], features=True), member("b", [shared, alone])).data
    assert "feature" not in fused(member("b", [shared]), member("a", [shared, alone], features=True)).data
    (detected,) = EnsembleDetector([member("a", [], features=True)]).detect([IMAGE], ONTOLOGY, 0.0)
    assert detected.image_feature is not None
    assert detected.detections.data["feature"].shape == (0, 2)


def test_a_member_that_fails_or_leaves_images_out_is_an_error() -> None:
    class Failing(Fixed):
        def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
            raise BackendError("out of order")

    class Short(Fixed):
        def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
            return super().detect(images[1:], ontology, floor)

    class Ignorant(Fixed):
        def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
            raise InputError("prompt 'a' is not known")

    class Full(Fixed):
        def detect(self, images: Sequence[RgbImage], ontology: Ontology, floor: float) -> list[Detected]:
            raise MemoryError

    good = member("good", [])
    for broken, error, message in [
        (Failing([]), BackendError, "^bad: out of order"),
        (Short([]), BackendError, "bad answered 1 results for 2 images"),
        (Ignorant([]), InputError, "^bad: prompt 'a' is not known"),
        (Full([]), MemoryError, None),  # the caller asks again for fewer images
    ]:
        ensemble = EnsembleDetector([good, replace(good, model="bad", detector=broken)])
        with pytest.raises(error, match=message):
            ensemble.detect([IMAGE, IMAGE], ONTOLOGY, 0.5)


_AXIS = st.integers(0, 9)
_BOXES = st.tuples(_AXIS, _AXIS, st.integers(1, 6), st.integers(1, 6)).map(
    lambda b: (10.0 * b[0], 8.0 * b[1], min(10.0 * b[0] + 15 * b[2], WIDTH), min(8.0 * b[1] + 12 * b[3], HEIGHT))
)
_SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
_ROWS = st.lists(st.tuples(_BOXES, _SCORES, st.sampled_from(sorted(PROMPTS))), max_size=6)
_MEMBERS = st.lists(st.tuples(_ROWS, st.sampled_from([0.2, 0.5, 0.8])), min_size=1, max_size=3).map(
    lambda given: [member(name, rows, default) for name, (rows, default) in zip("abc", given, strict=False)]
)


@settings(max_examples=100, deadline=None)
@given(_MEMBERS, st.randoms(use_true_random=False))
def test_the_order_of_the_members_changes_nothing(members: list[Member], random: Any) -> None:
    shuffled = list(members)
    random.shuffle(shuffled)
    assert listed(fused(*shuffled)) == listed(fused(*members))


@settings(max_examples=100, deadline=None)
@given(_MEMBERS)
def test_every_member_is_named_where_it_saw_something_and_nowhere_else(members: list[Member]) -> None:
    found = fused(*members)
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()
    bent = {one.model: one.backend.default_score for one in members}
    seen = {one.model: set() for one in members}  # type: ignore[var-annotated]
    for box, score, class_id, prompt, sources in listed(found):
        names = [name for name, _ in sources]
        assert len(names) == len(set(names)) > 0
        scores = [float(np.interp(own, (0, bent[name], 1), (0, 0.5, 1))) for name, own in sources]
        assert scores == sorted(scores, reverse=True)
        assert score == pytest.approx(scores[0], abs=1e-6)
        assert PROMPTS[prompt] == class_id
        for name, own in sources:
            seen[name].add((class_id, round(own, 4)))
        assert 0 <= box[0] < box[2] <= WIDTH
        assert 0 <= box[1] < box[3] <= HEIGHT
    for one in members:
        rows = one.detector.rows  # type: ignore[attr-defined]
        assert seen[one.model] <= {(PROMPTS[prompt], round(score, 4)) for _, score, prompt in rows}
        for class_id in {PROMPTS[prompt] for _, _, prompt in rows}:  # its best box of a class is never lost
            best = max(score for _, score, prompt in rows if PROMPTS[prompt] == class_id)
            assert (class_id, round(best, 4)) in seen[one.model]


@settings(max_examples=100, deadline=None)
@given(_ROWS)
def test_one_member_alone_gives_its_own_boxes_after_suppression(rows: list[Row]) -> None:
    once = FilterSettings(nms_iou=0.55, min_area_px=0)
    (alone,) = Fixed(rows).detect([IMAGE], ONTOLOGY, 0.0)
    kept, _ = filters.apply(alone.detections, (WIDTH, HEIGHT), ONTOLOGY.names, [0.0, 0.0], once)
    found = fused(member("a", rows))
    assert sorted(found.confidence.tolist()) == sorted(kept.confidence.tolist())
    np.testing.assert_allclose(sorted(found.xyxy.tolist()), sorted(kept.xyxy.tolist()), atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(_SCORES, st.sampled_from("ab")), max_size=8))
def test_boxes_apart_from_each_other_are_all_kept(placed: list[tuple[float, str]]) -> None:
    rows = {"a": [], "b": []}  # type: ignore[var-annotated]
    for column, (score, name) in enumerate(placed):
        rows[name].append(((24.0 * column, 10.0, 24.0 * column + 20, 60.0), score, "box"))
    found = fused(member("a", rows["a"]), member("b", rows["b"]))
    assert sorted(found.xyxy[:, 0].tolist()) == [24.0 * column for column in range(len(placed))]


def test_clusters_apart_from_each_other_are_fused_as_by_the_library_alone() -> None:
    """Second implementation: the library over all members at once, which groups by itself."""
    from ensemble_boxes import weighted_boxes_fusion

    random = np.random.default_rng(0)
    rows: list[list[Row]] = [[], [], []]
    for column in range(4):
        for one in rows:
            x0, y0, x1, y1 = np.array([50 * column, 20, 50 * column + 30, 60]) + random.uniform(0, 3, 4)
            one.append(((x0, y0, x1, y1), float(random.uniform(0.3, 0.9)), "box"))
    found = fused(*(member(name, one) for name, one in zip("abc", rows, strict=True)))
    scale = np.array([WIDTH, HEIGHT] * 2)
    shares, scores, _ = weighted_boxes_fusion(
        [[np.array(box) / scale for box, _, _ in one] for one in rows],
        [[score for _, score, _ in one] for one in rows],
        [[0] * len(one) for one in rows],
        iou_thr=0.55,
        conf_type="max",
    )
    assert len(found) == 4
    np.testing.assert_allclose(sorted(found.xyxy.tolist()), sorted((shares * scale).tolist()), atol=1e-3)
    np.testing.assert_allclose(sorted(found.confidence), sorted(scores), atol=1e-5)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensemble_boxes", None)
    monkeypatch.delitem(sys.modules, "labeling.teachers.detectors.ensemble")
    with pytest.raises(MissingExtraError, match=r"ensemble_boxes is not installed; .* extra 'ensemble'"):
        importlib.import_module("labeling.teachers.detectors.ensemble")


def test_members_take_their_weights_and_the_settings_that_are_theirs(tmp_path: Path) -> None:
    spec = with_members(
        TeacherSpec(
            "bundled, yoloe",
            "yoloe=some/where=else.pt",
            segmenter="sam2",
            score=0.7,
            device="cpu",
            embeddings=tmp_path,
            prompts_per_pass=3,
        )
    )
    first, second = spec.members
    assert (spec.detector, spec.segmenter, spec.score) == ("bundled,yoloe", "sam2", 0.7)
    assert (first.detector, first.weights, first.embeddings, first.prompts_per_pass) == ("bundled", None, None, 3)
    assert (second.detector, second.weights) == ("yoloe", "some/where=else.pt")
    assert (second.embeddings, second.prompts_per_pass) == (tmp_path, None)
    assert all((one.segmenter, one.score, one.device) == ("none", None, "cpu") for one in spec.members)
    assert detector_backend(spec).default_score == 0.5
    alone = TeacherSpec("bundled")
    assert with_members(alone) is alone


@pytest.mark.parametrize(
    ("detector", "options", "message"),
    [
        ("bundled,bundled", {}, "expected different detectors"),
        ("bundled,", {}, "expected different detectors"),
        ("bundled,student", {}, "a student labels alone"),
        ("bundled,yolo", {}, "unknown detector 'yolo'"),
        ("bundled,owlv2", {"weights": "file.pt"}, r"--weights 'file.pt': .* NAME one of bundled, owlv2"),
        ("bundled,owlv2", {"weights": "sam=x"}, "NAME one of bundled, owlv2"),
        ("bundled,owlv2", {"weights": "owlv2="}, "expected NAME=WEIGHTS"),
        ("bundled,owlv2", {"weights": "owlv2=a,owlv2=b"}, "names owlv2 twice: a and b"),
        ("bundled,owlv2", {"exemplars": Path("crops")}, "--exemplar is for .* none of bundled, owlv2 takes it"),
    ],
)
def test_an_ensemble_that_cannot_be_is_refused(detector: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_members(TeacherSpec(detector, **options))


@pytest.mark.torch
def test_labels_of_an_ensemble_say_who_saw_them(tmp_path: Path) -> None:
    from labeling.cli import main
    from tests.fakes import draw_photos
    from tests.zoo_yolo import PROMPTS as WORDS
    from tests.zoo_yolo import save_closed, save_embeddings, save_prompted

    draw_photos(tmp_path / "photos", 2)
    closed = save_closed(tmp_path / "closed.safetensors", WORDS)
    prompted = save_prompted(tmp_path / "prompted.safetensors", "yoloe-v8n")
    arguments = [
        "label", str(tmp_path / "photos"), "--project", str(tmp_path / "project"),
        "--classes", "box: box | red box, cone, ladder", "--segmenter", "none", "--device", "cpu",
        "--detector", "yoloe,ultralytics", "--weights", f"ultralytics={closed},yoloe={prompted}",
        "--embeddings", str(save_embeddings(tmp_path / "prompts.safetensors")),
    ]  # fmt: skip
    assert main(arguments) == 0
    with Store.open(tmp_path / "project" / "labels.db") as store:
        labels = [label for image in store.iter_images() for label in store.annotations_of(image.sha256 or "")]
    assert len(labels) > 3
    names = {"yoloe/prompted.safetensors", "ultralytics/closed.safetensors"}
    assert {name for label in labels for name, _ in label.provenance.sources} == names
    for label in labels:
        assert label.provenance.model == "yoloe/prompted.safetensors & ultralytics/closed.safetensors"
        assert 1 <= len(label.provenance.sources) <= 2


def test_weights_of_members_can_be_given_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "photos/a.png", [("red", (4, 4, 24, 24))])
    asked = ["label", str(tmp_path / "photos"), "--project", str(tmp_path / "p"), "--classes", "red"]
    flags = ["--detector", "ultralytics,owlv2", "--weights", "ultralytics=gone.pt", "--weights", "owlv2=nowhere"]
    assert main([*asked, *flags]) == 1
    assert "weights gone.pt do not exist" in capsys.readouterr().err
