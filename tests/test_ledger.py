"""The ledger of the test part: one opening per student, a second one only with a reason or after a crash."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill import ledger
from distill.ledger import CUT_OFF, TestLedger
from distill.objects import Objects
from labeling.core.errors import InputError, StateError
from labeling.core.store import Store

STUDENT, OTHER, THIRD = "a" * 64, "b" * 64, "c" * 64
TEST, LATER_TEST = "1" * 64, "2" * 64

OPENS = """
import sys
from pathlib import Path
from distill.ledger import TestLedger
from labeling.core.errors import StateError
from labeling.core.store import Store
store = Store.open(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    TestLedger(store).open("a" * 64, "1" * 64)
    print("opened", flush=True)
except StateError as error:
    print("refused", error, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path, create=True) as opened:
        yield opened


@pytest.fixture
def opened(store: Store) -> TestLedger:
    return TestLedger(store)


def process(path: Path) -> subprocess.Popen[str]:
    """Start a process that opens the test part when it gets a line, and ends when it gets another."""
    return subprocess.Popen(
        [sys.executable, "-c", OPENS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def tell(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def hear(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def objects(image: str, boxes: Sequence[Sequence[float]], names: Sequence[int]) -> Objects:
    rows = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return Objects(image, (100, 100), rows, np.array(names, dtype=np.int64), np.ones(len(names)))


def test_the_first_opening_is_written_at_once_and_closed_with_what_was_found(opened: TestLedger, path: Path) -> None:
    opening = opened.open(STUDENT, TEST)
    assert (opening.student, opening.test, opening.reuse, opening.summary) == (STUDENT, TEST, None, None)
    assert opening.students_before == 0
    assert opening.remarks == ()
    with Store.open(path) as elsewhere:
        assert TestLedger(elsewhere).openings() == [opening]
    opened.close(opening, {"ap50": 0.75})
    (closed,) = opened.openings(STUDENT)
    assert closed.summary == {"ap50": 0.75}


def test_the_same_student_is_refused_a_second_look_and_told_when_the_first_was(opened: TestLedger) -> None:
    opening = opened.open(STUDENT, TEST)
    opened.close(opening, {})
    with pytest.raises(StateError, match=re.escape(f"on {opening.opened_at}")) as refused:
        opened.open(STUDENT, TEST)
    assert 'labelstill evaluate --again "why"' in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(opened.openings()) == 1


def test_a_reason_opens_again_and_stays_beside_the_first(opened: TestLedger) -> None:
    opened.close(opened.open(STUDENT, TEST), {"ap50": 0.5})
    again = opened.open(STUDENT, TEST, reuse=" a label was wrong ")
    assert again.reuse == "a label was wrong"
    assert "a label was wrong" in again.remarks[0]
    opened.close(again, {"ap50": 0.6})
    assert [(one.reuse, one.summary) for one in opened.openings(STUDENT)] == [
        (None, {"ap50": 0.5}),
        ("a label was wrong", {"ap50": 0.6}),
    ]
    with pytest.raises(StateError):
        opened.open(STUDENT, TEST)


def test_a_blank_reason_is_none(opened: TestLedger) -> None:
    opened.close(opened.open(STUDENT, TEST), {})
    with pytest.raises(InputError, match="blank"):
        opened.open(STUDENT, TEST, reuse="  ")


def test_a_reason_for_a_part_that_was_never_opened_makes_no_reuse_of_it(opened: TestLedger) -> None:
    assert opened.open(STUDENT, TEST, reuse="whatever").reuse is None


def test_other_students_and_other_test_parts_are_free_and_the_others_are_counted(opened: TestLedger) -> None:
    for student in (OTHER, THIRD):
        opened.close(opened.open(student, TEST), {})
    opened.close(opened.open(OTHER, TEST, reuse="again"), {})
    opened.close(opened.open(OTHER, LATER_TEST), {})
    late = opened.open(STUDENT, TEST)
    assert late.students_before == 2
    assert "2 others were" in late.remarks[0]
    assert opened.open(STUDENT, LATER_TEST).students_before == 1
    assert [one.students_before for one in opened.openings(OTHER)] == [0, 1, 0]


def test_an_opening_that_was_cut_off_is_taken_up_once_and_both_stay(path: Path, store: Store) -> None:
    for _ in range(2):
        child = process(path)
        hear(child)
        tell(child)
        assert hear(child) == "opened"
        child.kill()
        child.wait()
    found = TestLedger(store).openings(STUDENT)
    assert [(one.reuse, one.summary) for one in found] == [(None, None), (CUT_OFF, None)]
    assert CUT_OFF in found[1].remarks[0]
    with pytest.raises(StateError, match=re.escape(found[0].opened_at)):
        TestLedger(store).open(STUDENT, TEST)
    assert TestLedger(store).open(STUDENT, TEST, reuse="the power fails here").reuse == "the power fails here"


def test_a_cut_off_opening_can_be_taken_up_in_the_same_process(opened: TestLedger) -> None:
    opened.open(STUDENT, TEST)
    taken = opened.open(STUDENT, TEST)
    assert taken.reuse == CUT_OFF
    opened.close(taken, {"ap50": 0.4})
    with pytest.raises(StateError):
        opened.open(STUDENT, TEST)


def test_of_processes_at_once_one_opens_and_the_others_are_told_to_wait(path: Path, store: Store) -> None:
    children = [process(path) for _ in range(3)]
    assert [hear(child) for child in children] == ["ready"] * 3
    for child in children:
        tell(child)
    answers = [hear(child) for child in children]
    holder = children[answers.index("opened")]
    refused = [answer for answer in answers if answer.startswith("refused")]
    for child in children:
        tell(child)
        child.communicate()
    assert len(refused) == 2
    assert all(f"process {holder.pid}" in answer for answer in refused)
    assert len(TestLedger(store).openings()) == 1


def test_an_opening_is_closed_once(opened: TestLedger) -> None:
    opening = opened.open(STUDENT, TEST)
    with pytest.raises(ValueError, match="JSON"):
        opened.close(opening, {"ap50": float("nan")})
    opened.close(opening, {"ap50": 0.1})
    with pytest.raises(StateError, match="opening 1"):
        opened.close(opening, {"ap50": 0.9})
    assert opened.openings()[0].summary == {"ap50": 0.1}


@given(st.permutations(range(4)), st.permutations(range(3)))
def test_the_hash_does_not_depend_on_any_order(images: list[int], labels: list[int]) -> None:
    boxes, names = [(0.0, 0.0, 10.0, 10.0), (5.25, 5.0, 9.0, 9.5), (0.0, 0.0, 10.0, 10.0)], [1, 0, 2]
    plain = [objects(str(image), boxes, names) for image in range(4)]
    mixed = [objects(str(image), [boxes[i] for i in labels], [names[i] for i in labels]) for image in images]
    assert ledger.test_hash(mixed) == ledger.test_hash(plain)


def test_the_hash_does_not_depend_on_how_numbers_are_written() -> None:
    there = ledger.test_hash([objects("a", [(0.1, 0.2, 10.3, 20.0)], [0])])
    assert there == ledger.test_hash(
        [objects("a", [[float(np.float32(side)) for side in (0.1, 0.2, 10.3, 20.0)]], [0])]
    )
    assert there == ledger.test_hash([objects("a", [(0.1, 0.2, 10.3, 20.0 + 1e-9)], [0])])
    assert ledger.test_hash([objects("a", [(-0.0, 0.0, 1.0, 1.0)], [0])]) == ledger.test_hash(
        [objects("a", [(0.0, 0.0, 1.0, 1.0)], [0])]
    )


def test_the_hash_changes_with_an_image_a_box_a_class_and_an_empty_image() -> None:
    box = (1.0, 1.0, 9.0, 9.0)
    versions = [
        [objects("a", [box], [0])],
        [objects("b", [box], [0])],
        [objects("a", [box], [1])],
        [objects("a", [(1.0, 1.0, 9.0, 9.1)], [0])],
        [objects("a", [box, box], [0, 0])],
        [objects("a", [box], [0]), objects("b", [], [])],
        [objects("a", [], [])],
        [],
    ]
    assert len({ledger.test_hash(version) for version in versions}) == len(versions)


IMAGES = tuple(f"{number:064x}"[::-1] for number in range(20))


def test_a_test_part_changed_by_one_image_or_label_is_not_new_to_a_student(opened: TestLedger) -> None:
    opened.close(opened.open(STUDENT, TEST, images=IMAGES), {})
    for images in (IMAGES, IMAGES[1:], (*IMAGES[:3], "f" * 64)):
        with pytest.raises(StateError, match="--again"):
            opened.open(STUDENT, LATER_TEST, images=images)
    assert len(opened.openings()) == 1
    assert opened.open(STUDENT, "3" * 64, images=["e" * 64]).reuse is None


def test_a_reason_opens_a_changed_test_part_and_says_how_many_images_were_shown(opened: TestLedger) -> None:
    opened.close(opened.open(STUDENT, TEST, images=IMAGES[:15]), {})
    again = opened.open(STUDENT, LATER_TEST, images=IMAGES[5:], reuse="labels were wrong")
    assert (again.reuse, again.images, again.shown_before) == ("labels were wrong", 15, 10)
    assert "10 of 15 test images were shown to it before." in again.remarks
    assert opened.open(OTHER, "3" * 64, images=IMAGES[14:]).students_before == 1
    assert opened.openings(OTHER)[0].shown_before == 0


def test_the_images_are_kept_from_the_moment_of_opening(path: Path, opened: TestLedger) -> None:
    opened.open(STUDENT, TEST, images=IMAGES)  # and the process dies
    with Store.open(path) as elsewhere:
        assert TestLedger(elsewhere).open(STUDENT, LATER_TEST, images=IMAGES[:4]).reuse == CUT_OFF
