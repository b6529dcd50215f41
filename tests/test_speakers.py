"""Who says what: people's truth, the teacher beside it, second answers, and a student on photos that may be gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.objects import Objects
from distill.speakers import second_people, student, teacher, truth, with_truth
from labeling.core.errors import BackendError, StateError
from labeling.core.ontology import Ontology, OntologyClass
from labeling.core.records import Annotation, Provenance
from labeling.core.store import FileStamp, ImageOutcome, Review, Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.images import LoadedImage
from labeling.studio.policy import parse
from labeling.studio.verdicts import Judge
from labeling.teachers.interfaces import RgbImage
from tests import made_stores as made
from tests.made_reviews import SIZE, Desk, claim, drawn, left, sha

NAMES = ("box", "pallet")
FIRST, SECOND, THIRD = (10.0, 10.0, 40.0, 40.0), (50.0, 50.0, 90.0, 90.0), (5.0, 60.0, 25.0, 95.0)
Seen = list[tuple[int, tuple[float, ...], float]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "labels.db", create=True) as opened:
        yield opened


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store, NAMES)


def shown(objects: Objects) -> Seen:
    """Return class, box and score of each object, boxes to a millionth of a pixel."""
    boxes = np.round(objects.boxes_xyxy, 6).tolist()
    return [(int(k), tuple(b), float(s)) for k, b, s in zip(objects.class_ids, boxes, objects.scores, strict=True)]


def test_the_truth_is_what_people_left_and_the_teacher_is_what_it_said_before(store: Store, desk: Desk) -> None:
    claims = [claim("a", 0, "box", FIRST, 0.9), claim("a", 1, "box", SECOND, 0.4)]
    desk.push("a", claims)
    desk.answer("a", [left(claims[0], class_name="pallet")])
    desk.push("b", [claim("b", 0, "box", FIRST, 0.7)])
    desk.answer("b")
    images = [sha("b"), sha("a")]
    people = truth(store, images, NAMES)
    assert [one.sha256 for one in people] == images
    assert [one.size_wh for one in people] == [SIZE, SIZE]
    assert [shown(one) for one in people] == [[], [(1, FIRST, 1.0)]]
    assert [shown(one) for one in teacher(store, images, NAMES)] == [
        [(0, FIRST, 0.7)],
        [(0, FIRST, 0.9), (0, SECOND, 0.4)],
    ]


def test_labels_that_were_decided_to_be_dropped_are_not_true(store: Store, desk: Desk) -> None:
    claims = [claim("a", 0, "box", FIRST), claim("a", 1, "box", SECOND)]
    desk.push("a", claims)
    desk.answer("a", claims)
    gone = store.annotations_of(sha("a"), "human")[0]
    DecisionLedger(store).change([Decided(sha("a"), "drop", "", gone.id)])
    assert [shown(one) for one in truth(store, [sha("a")], NAMES)] == [[(0, SECOND, 1.0)]]
    assert len(teacher(store, [sha("a")], NAMES)[0]) == 2


def test_images_without_a_truth_are_counted_by_reason_and_refused(store: Store, desk: Desk) -> None:
    for name in ("reviewed", "waiting", "empty", "skipped", "dropped"):
        desk.push(name, [] if name == "empty" else [claim(name, 0, "box", FIRST, 0.6)])
    desk.answer("reviewed", [drawn("reviewed", "pallet", SECOND)])
    desk.answer("skipped", kind="skipped")
    desk.answer("dropped", [drawn("dropped", "box", FIRST)])
    DecisionLedger(store).change([Decided(sha("dropped"), "drop")])
    images = [sha(name) for name in ("reviewed", "waiting", "empty", "skipped", "dropped", "never seen")]
    kept, left_out = with_truth(store, images)
    assert kept == [sha("reviewed")]
    assert left_out == {
        "nobody has reviewed the image": 2,
        "the image is skipped": 1,
        "it was decided to drop the image": 1,
        "the image is unknown": 1,
    }
    kept, left_out = with_truth(store, images, unreviewed=True)
    assert kept == [sha("reviewed"), sha("waiting")]
    assert left_out["nobody has reviewed the image and it has no label"] == 1
    assert [shown(one) for one in truth(store, kept, NAMES, unreviewed=True)] == [
        [(1, SECOND, 1.0)],
        [(0, FIRST, 0.6)],
    ]
    with pytest.raises(StateError, match="/photos/waiting is none of them"):
        truth(store, kept, NAMES)


def test_a_students_labels_are_no_truth_and_no_word_of_the_teacher(store: Store) -> None:
    images = [sha("a"), sha("b"), sha("c")]
    file = FileStamp(b"/photos/a", 1, 1)
    said = {
        "a": [claim("a", 0, "box", FIRST, 0.6)],
        "b": [],
    }
    for name, labels in said.items():
        made.write(store, NAMES, [ImageOutcome((file,), sha(name), *SIZE, annotations=tuple(labels), done_key="t")])
    for name in "abc":
        own = Annotation(sha(name)[:32], sha(name), "pallet", SECOND, Provenance("student", model="s", score=0.8))
        outcome = ImageOutcome((file,), sha(name), *SIZE, annotations=(own,), done_key="s", machine="student")
        made.write(store, NAMES, [outcome])
    kept, left_out = with_truth(store, images, unreviewed=True)
    assert (kept, left_out.total()) == ([sha("a")], 2)
    assert [shown(one) for one in truth(store, kept, NAMES, unreviewed=True)] == [[(0, FIRST, 0.6)]]
    found = teacher(store, images, NAMES)
    assert [(one.sha256, shown(one)) for one in found] == [(sha("a"), [(0, FIRST, 0.6)]), (sha("b"), [])]


def test_the_teacher_says_nothing_about_an_image_that_it_never_saw(store: Store, desk: Desk) -> None:
    desk.push("a", [])
    file = FileStamp(b"/photos/b", 1, 1)
    imported = Review(ImageOutcome((file,), sha("b"), *SIZE), (made.human(sha("b"), "box", FIRST),), "reviewed")
    store.commit_reviews([imported], store.start_run("import", {}))
    found = teacher(store, [sha("a"), sha("b")], NAMES)
    assert [(one.sha256, len(one)) for one in found] == [(sha("a"), 0)]


def test_masks_come_only_where_they_are_asked_for(store: Store, tmp_path: Path) -> None:
    thing = made.Thing("box", (20, 20, 80, 80), masked=True)
    photo = made.photo(tmp_path / "a.png", [thing])
    outcome = made.outcome([photo], [thing])
    made.write(store, NAMES, [outcome])
    image = [outcome.sha256 or ""]
    (rle,) = truth(store, image, NAMES, unreviewed=True)[0].rles or ()
    assert rle == outcome.annotations[0].rle
    assert teacher(store, image, NAMES)[0].rles == (rle,)
    assert truth(store, image, NAMES, unreviewed=True, masks=False)[0].rles is None
    assert teacher(store, image, NAMES, masks=False)[0].rles is None


def test_nobody_answered_twice_so_people_are_not_measured_against_people(store: Store, desk: Desk) -> None:
    desk.push("a", [claim("a", 0, "box", FIRST)])
    desk.answer("a", [drawn("a", "box", FIRST)])
    found = second_people(store, [sha("a")], NAMES)
    assert (found.objects, found.left_out, found.helped) == ((), {}, 0)


def test_the_second_answer_is_the_one_that_did_not_become_the_truth(store: Store, desk: Desk) -> None:
    desk.push("a", [claim("a", 0, "box", FIRST)])
    desk.push("b", [], blind=True)
    desk.push("c", [])
    bob = desk.answer("a", [drawn("a", "box", SECOND)], by="bob@x.org")
    earlier = desk.answer("a", [drawn("a", "pallet", THIRD)], by="ann@x.org", others=[bob])
    desk.answer("a", [drawn("a", "pallet", FIRST)], by="ann@x.org", others=[bob, earlier])
    old = desk.answer("b", [drawn("b", "box", FIRST)], by="ann@x.org")
    cy = desk.answer("b", [drawn("b", "box", THIRD), drawn("b", "pallet", FIRST)], by="cy@x.org", others=[old])
    desk.answer("b", [drawn("b", "box", SECOND)], by="bob@x.org", others=[old, cy])
    desk.answer("c", [drawn("c", "box", FIRST)])
    images = [sha("c"), sha("b"), sha("a")]
    found = second_people(store, images, NAMES)
    assert found.images == (sha("b"), sha("a"))
    assert [shown(one) for one in truth(store, found.images, NAMES)] == [[(0, SECOND, 1.0)], [(1, FIRST, 1.0)]]
    assert [shown(one) for one in found.objects] == [
        [(0, THIRD, 1.0), (1, FIRST, 1.0)],
        [(0, SECOND, 1.0)],
    ]
    assert found.helped == 1
    assert found.left_out == {}


def test_skips_and_drafts_are_no_second_answer(store: Store, desk: Desk) -> None:
    desk.push("a", [])
    skipped = desk.answer("a", kind="skipped", by="bob@x.org")
    draft = desk.answer("a", [drawn("a", "box", SECOND)], kind="draft", by="cy@x.org", others=[skipped])
    desk.answer("a", [drawn("a", "box", FIRST)], by="ann@x.org", others=[skipped, draft])
    assert second_people(store, [sha("a")], NAMES).images == ()


def test_of_an_empty_truth_the_second_answer_is_the_one_with_objects(store: Store, desk: Desk) -> None:
    desk.push("a", [])
    bob = desk.answer("a", [drawn("a", "box", SECOND)], by="bob@x.org")
    desk.answer("a", by="ann@x.org", others=[bob])
    assert store.states()[sha("a")] == "reviewed-empty"
    (found,) = second_people(store, [sha("a")], NAMES).objects
    assert shown(found) == [(0, SECOND, 1.0)]


def test_an_answer_that_is_part_of_the_truth_is_no_second_opinion(store: Store, desk: Desk) -> None:
    desk.push("a", [])
    bob = desk.answer("a", [drawn("a", "box", FIRST)], by="bob@x.org")
    ann = desk.answer("a", [drawn("a", "box", FIRST)], by="ann@x.org", others=[bob])
    judge = Judge(parse("consensus"), Ontology(tuple(OntologyClass(name, (name,)) for name in NAMES)))
    desk.ledger.commit_verdicts(desk.target, [judge.verdict(sha("a"), [bob, ann], [], SIZE)])
    found = second_people(store, [sha("a")], NAMES)
    assert found.objects == ()
    assert found.left_out == {"several people's answers became the truth together": (sha("a"),)}


def test_a_truth_from_elsewhere_has_no_second_answer(store: Store, desk: Desk) -> None:
    desk.push("a", [])
    bob = desk.answer("a", [drawn("a", "box", FIRST)], by="bob@x.org")
    desk.answer("a", [drawn("a", "box", FIRST)], by="ann@x.org", others=[bob])
    store.set_reviewed(sha("a"), [made.human(sha("a"), "box", SECOND)], "reviewed")
    found = second_people(store, [sha("a")], NAMES)
    assert list(found.left_out.values()) == [(sha("a"),)]
    assert "from elsewhere" in next(iter(found.left_out))


def test_a_second_answer_that_cannot_be_read_whole_is_left_out_and_aliases_are_understood(
    store: Store, desk: Desk
) -> None:
    for name, label in (("a", "carton"), ("b", "dragon"), ("c", "box")):
        desk.push(name, [])
        bob = desk.answer(name, [drawn(name, "box", SECOND)], by="bob@x.org")
        regions = [{**bob.result[0], "value": {**bob.result[0]["value"], "rectanglelabels": [label]}}]
        bob = replace(bob, result=regions if name != "c" else [*regions, {"type": "rectanglelabels", "value": {}}])
        desk.answer(name, [drawn(name, "box", FIRST)], by="ann@x.org", others=[bob])
    found = second_people(
        store, [sha(name) for name in "abc"], NAMES, {"carton": "box", "box": "box", "pallet": "pallet"}.get
    )
    assert [shown(one) for one in found.objects] == [[(0, SECOND, 1.0)]]
    assert list(found.left_out.values()) == [(sha("b"), sha("c"))]


class Brightest:
    """Says one object as large as the picture, its score the brightness of the first pixel; some pictures break it."""

    names: tuple[str, ...] = ("pallet", "box")
    imgsz = 32

    def __init__(self, broken: int | None = None, most: int = 100) -> None:
        self.broken = broken
        self.most = most
        self.calls: list[int] = []
        self.threads: set[int] = set()

    def predict(self, images: Sequence[RgbImage], floor: float = 0.001) -> list[Objects]:
        self.calls.append(len(images))
        self.threads.add(threading.get_ident())
        if len(images) > self.most:
            raise MemoryError("no room for that many")
        if any(image[0, 0, 0] == self.broken for image in images):
            raise BackendError("this picture is poison")
        found = []
        for image in images:
            size = (image.shape[1], image.shape[0])
            score = float(image[0, 0, 0]) / 255
            rows = 1 if score >= floor else 0
            boxes = np.array([[0, 0, *size]] * rows, dtype=np.float64).reshape(-1, 4)
            found.append(Objects("", size, boxes, np.zeros(rows, dtype=np.int64), np.full(rows, score)))
        return found


def picture(sha256: str) -> LoadedImage | None:
    """Return a picture whose brightness is its name; there is none of the name 13."""
    if sha256 == "13":
        return None
    return LoadedImage(sha256, np.full((20, 30, 3), int(sha256), dtype=np.uint8), "PNG")


def test_a_student_is_asked_in_batches_and_its_classes_become_those_of_the_project() -> None:
    brightest, steps = Brightest(), list[tuple[int, int]]()
    images = [str(number) for number in (51, 0, 102, 255, 13)]
    found = student(brightest, images, picture, NAMES, batch=2, progress=lambda *step: steps.append(step))
    assert found.images == ("51", "0", "102", "255")
    whole = (0.0, 0.0, 30.0, 20.0)
    assert [shown(one) for one in found.objects] == [[(1, whole, 0.2)], [], [(1, whole, 0.4)], [(1, whole, 1.0)]]
    assert found.left_out == {"the photo cannot be read any more": ("13",)}
    assert brightest.calls == [2, 2]
    assert steps == [(2, 5), (4, 5), (5, 5)]


def test_photos_are_decoded_in_another_thread_than_the_student_looks_in() -> None:
    threads: set[int] = set()

    def decode(sha256: str) -> LoadedImage | None:
        threads.add(threading.get_ident())
        return picture(sha256)

    brightest = Brightest()
    student(brightest, ["1", "2", "3"], decode, NAMES, batch=1)
    assert brightest.threads == {threading.get_ident()}
    assert len(threads) == 1
    assert not threads & brightest.threads


def test_one_picture_that_breaks_the_student_does_not_end_the_run() -> None:
    found = student(Brightest(broken=7), ["5", "6", "7", "8"], picture, NAMES, batch=4)
    assert found.images == ("5", "6", "8")
    assert found.left_out == {"the student failed: this picture is poison": ("7",)}


def test_a_batch_that_does_not_fit_is_taken_in_halves() -> None:
    brightest = Brightest(most=1)
    assert len(student(brightest, ["5", "6", "7", "8"], picture, NAMES, batch=4).objects) == 4
    assert max(brightest.calls) == 4


def test_a_student_that_fails_on_everything_is_no_student_without_objects() -> None:
    with pytest.raises(BackendError, match="every image, lastly with: this picture is poison"):
        student(Brightest(broken=5), ["5"], picture, NAMES)


def test_a_student_of_other_classes_is_refused() -> None:
    with pytest.raises(StateError, match="'pallet'"):
        student(Brightest(), ["5"], picture, ("box", "dog"))
