"""Raw opinions: asked once, kept in files, mended where a file is broken, and filtered as a labelling run does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labeling.core.errors import BackendError, InputError
from labeling.core.ontology import parse_classes
from labeling.project import Project
from labeling.teachers import filters
from labeling.teachers.backends import TeacherSpec
from labeling.teachers.filter_settings import FilterSettings
from labeling.teachers.interfaces import Detector
from labeling.teachers.tiling import TiledDetector
from labeling.trust.opinions import Opinion, ask, kept, opinions_key
from tests import fakes
from tests import made_stores as made

pytestmark = pytest.mark.usefixtures("drawn_backend")

ONTOLOGY = parse_classes("sea: blue, fire: red")


class Room:
    """A project with drawn photos, and a detector that writes down how often it was asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = folder / "log"
        monkeypatch.setenv("LABELSTILL_TEST_LOG", str(self.log))
        weights = folder / "weights.pt"
        weights.write_text("drawn")
        self.spec = TeacherSpec("drawn", str(weights), segmenter="none")
        self.photos = fakes.draw_photos(folder / "photos", 9)
        self.project = Project.create(folder / "project", ONTOLOGY)
        self.store = self.project.open_store(create=True)
        self.outcomes = [made.outcome([photo.path], [], (96, 64)) for photo in self.photos]
        made.write(self.store, ["sea", "fire"], self.outcomes)
        self.images = [str(one.sha256) for one in self.outcomes]

    def calls(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def files(self) -> list[Path]:
        return sorted((self.project.runs_path / "opinions").rglob("*.npz"))


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    return Room(tmp_path, monkeypatch)


def test_what_the_detector_sees_comes_back_in_the_order_of_the_images(room: Room) -> None:
    turned = room.images[::-1]
    found = ask(room.project, room.store, room.spec, ONTOLOGY, turned)
    assert [one.sha256 for one in found] == turned
    number = {"blue": 0, "red": 1}
    for one, photo in zip(found, room.photos[::-1], strict=True):
        drawn = sorted((number[colour], *box) for colour, box in photo.shapes if colour in number)
        assert sorted((int(c), *map(int, box)) for c, box in zip(one.class_ids, one.boxes_xyxy, strict=True)) == drawn
        assert one.size_wh == (96, 64)
        assert one.scores == pytest.approx(0.9)
        assert set(one.prompts) == {("blue", "red")[class_id] for class_id in one.class_ids}


def test_a_second_call_asks_nothing_and_one_after_a_kill_only_for_what_is_missing(room: Room) -> None:
    first = ask(room.project, room.store, room.spec, ONTOLOGY, room.images[:5])
    calls = room.calls()
    assert calls == 2
    again = ask(room.project, room.store, room.spec, ONTOLOGY, room.images[:5])
    assert room.calls() == calls
    for one, other in zip(first, again, strict=True):
        assert (one.boxes_xyxy == other.boxes_xyxy).all()
        assert (one.scores == other.scores).all()
        assert (one.sha256, one.size_wh, one.prompts) == (other.sha256, other.size_wh, other.prompts)
    ask(room.project, room.store, room.spec, ONTOLOGY, room.images)
    assert room.calls() == calls + 1


def test_a_broken_file_is_asked_for_again(room: Room) -> None:
    ask(room.project, room.store, room.spec, ONTOLOGY, room.images)
    calls, broken = room.calls(), room.files()[3]
    broken.write_bytes(broken.read_bytes()[:100])
    assert len(ask(room.project, room.store, room.spec, ONTOLOGY, room.images)) == 9
    assert room.calls() == calls + 1


def test_other_prompts_weights_and_floors_have_a_place_of_their_own_and_thresholds_do_not(room: Room) -> None:
    key = opinions_key(room.store, room.spec, ONTOLOGY)
    assert opinions_key(room.store, room.spec, parse_classes("sea: blue | navy, fire: red")) != key
    assert opinions_key(room.store, room.spec, ONTOLOGY, 0.01) != key
    assert opinions_key(room.store, replace(room.spec, score=0.9, segmenter="drawn"), ONTOLOGY) == key
    Path(str(room.spec.weights)).write_text("others")
    assert opinions_key(room.store, room.spec, ONTOLOGY) != key


def test_large_images_are_looked_at_in_tiles_as_a_labelling_run_does(room: Room) -> None:
    whole = ask(room.project, room.store, room.spec, ONTOLOGY, room.images)
    detectors: dict[TeacherSpec, Detector] = {}
    cut = ask(room.project, room.store, replace(room.spec, tile=64), ONTOLOGY, room.images, detectors=detectors)
    assert isinstance(detectors[replace(room.spec, tile=64)], TiledDetector)
    asked = [int(line.split()[-1]) for line in room.log.read_text().splitlines() if line.startswith("detect")]
    assert sum(asked) > 2 * len(room.images)
    for one, other in zip(whole, (kept(opinion, (0.5, 0.5), 0.5) for opinion in cut), strict=True):
        assert sorted(one.boxes_xyxy.tolist()) == sorted(other.boxes_xyxy.tolist())


def test_images_that_cannot_be_decoded_or_asked_are_left_out_with_their_reason(room: Room, tmp_path: Path) -> None:
    poison = made.outcome([fakes.poison(tmp_path / "photos" / "poison.png")], [], (96, 64))
    room.store.commit_batch([poison], room.store.start_run("label", {}))
    room.photos[0].path.unlink()
    failed: dict[str, str] = {}
    found = ask(room.project, room.store, room.spec, ONTOLOGY, [*room.images, str(poison.sha256)], failed=failed)
    assert [one.sha256 for one in found] == room.images[1:]
    assert set(failed) == {room.images[0], poison.sha256}
    assert "poison" in failed[str(poison.sha256)]


def test_a_detector_that_fails_on_everything_is_an_error(room: Room, tmp_path: Path) -> None:
    bad = []
    for number in range(4):
        path = fakes.poison(tmp_path / "photos" / f"poison-{number}.png")
        path.write_bytes(path.read_bytes() + bytes([number]))
        bad.append(made.outcome([path], [], (96, 64)))
    room.store.commit_batch(bad, room.store.start_run("label", {}))
    with pytest.raises(BackendError, match="the detector cannot be asked: the detector failed: this picture is poison"):
        ask(room.project, room.store, room.spec, ONTOLOGY, [str(one.sha256) for one in bad])


def test_an_unknown_detector_is_named(room: Room) -> None:
    with pytest.raises(InputError, match="unknown detector 'dran'"):
        ask(room.project, room.store, replace(room.spec, detector="dran"), ONTOLOGY, room.images)


@pytest.mark.parametrize("agnostic", [False, True])
def test_what_is_kept_is_what_the_filters_of_a_run_keep(agnostic: bool) -> None:
    import supervision as sv

    random = np.random.default_rng(0)
    corner = random.uniform(-10, 60, (60, 2))
    boxes = np.hstack([corner, corner + random.uniform(0, 50, (60, 2))])
    ids, scores = random.integers(0, 2, 60), random.random(60)
    one = Opinion("a", (90, 70), boxes, ids, scores, tuple(f"p{number}" for number in range(60)))
    raw = sv.Detections(
        boxes.astype(np.float32), confidence=scores.astype(np.float32), class_id=ids,
        data={"prompt": np.array(one.prompts, dtype=object)},
    )  # fmt: skip
    expected, _ = filters.apply(raw, (90, 70), ["a", "b"], [0.2, 0.5], FilterSettings(0.4, agnostic))
    left = kept(one, [0.2, 0.5], 0.4, agnostic)
    assert left.boxes_xyxy == pytest.approx(expected.xyxy)
    assert left.class_ids.tolist() == expected.class_id.tolist()
    assert left.prompts == tuple(expected.data["prompt"])
    assert 0 < len(left.scores) < 60


def test_an_empty_opinion_stays_empty() -> None:
    empty = Opinion("a", (9, 9), np.zeros((0, 4)), np.zeros(0, dtype=np.int64), np.zeros(0), ())
    assert kept(empty, [0.5], 0.5, False) is empty
