"""The audit: every number as worked out by hand on a small desk, and known error rates found again on a large one."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from labeling.core.ontology import Ontology
from labeling.core.records import Annotation
from labeling.core.store import FileStamp, ImageOutcome, Store
from labeling.studio.audit import Audit, audit
from labeling.studio.audit_people import People, chance_of_no_change
from labeling.studio.audit_read import audit_of, cases
from labeling.studio.audit_spread import difference_of_means, difference_of_medians, spread
from labeling.studio.audit_teacher import Share
from labeling.studio.audit_worst import Worst
from labeling.studio.compare import Change
from tests import made_stores as made
from tests.made_reviews import Desk, claim, drawn, left, sha

CLASSES = ("box", "pallet")
ONTOLOGY = made.ontology(CLASSES)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Store.open(tmp_path / "labels.db", create=True) as store:
        yield Desk(store, CLASSES)


def small(desk: Desk) -> None:
    """Hand over eight images: three pre-labelled, one blind, one each skipped, only begun, unclear and waiting."""
    a1, a2, a3 = (
        claim("a", 1, "box", (0, 0, 40, 40)),
        claim("a", 2, "box", (50, 50, 90, 90)),
        claim("a", 3, "pallet", (0, 60, 30, 90), 0.7),
    )
    b1, b2 = claim("b", 1, "box", (10, 10, 50, 50), 0.95), claim("b", 2, "pallet", (60, 60, 90, 90))
    d1, d2 = claim("d", 1, "box", (0, 0, 40, 40)), claim("d", 2, "pallet", (50, 0, 90, 40), 0.6)
    desk.push("a", [a1, a2, a3])
    desk.push("b", [b1, b2])
    desk.push("c", [], by_lot=True)
    desk.push("d", [d1, d2], blind=True, by_lot=True)
    for name in "efgh":
        desk.push(name, [claim(name, 1, "box", (0, 0, 10, 10))])
    moved, relabelled = left(a2, box=(50, 50, 90, 80)), left(a3, class_name="box")
    desk.answer("a", [a1, moved, relabelled, drawn("a", "pallet", (60, 0, 80, 20))], seconds=40)
    desk.answer("b", [left(b2, box=(60, 60, 90, 69))], seconds=20)
    desk.answer("c", [], seconds=10, by="bob@x.org")
    seen = [("box", (0, 0, 40, 38)), ("box", (50, 0, 90, 40)), ("pallet", (0, 60, 40, 100))]
    desk.answer("d", [drawn("d", name, box) for name, box in seen], seconds=60)
    desk.answer("e", kind="skipped", seconds=3)
    desk.answer("f", [drawn("f", "box", (0, 0, 10, 10))], kind="draft", seconds=500)
    desk.answer("g", [drawn("g", "box", (0, 0, 10, 10))], attention="an ellipse")


def share(part: int, whole: int) -> Share:
    """Return a share with the interval of Wilson (1927), written out."""
    z, p = 1.959963984540054, part / whole
    middle, reach = p + z**2 / (2 * whole), z * sqrt(p * (1 - p) / whole + z**2 / (4 * whole**2))
    low, high = ((middle + side * reach) / (1 + z**2 / whole) for side in (-1, 1))
    return Share(part, whole, p, pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


def test_images_stand_where_people_left_them(desk: Desk) -> None:
    small(desk)
    found = audit_of(desk.store, ONTOLOGY)
    assert found.images == {"reviewed": 4, "skipped": 1, "draft": 1, "attention": 1, "waiting": 1}
    assert (found.prelabelled.images, found.by_lot.images, found.blind.images) == (3, 1, 1)


def test_teacher_on_prelabelled_images_as_counted_by_hand(desk: Desk) -> None:
    small(desk)
    seen = audit_of(desk.store, ONTOLOGY).prelabelled
    box, pallet, overall = seen.classes["box"], seen.classes["pallet"], seen.overall
    assert list(seen.classes) == ["box", "pallet"]
    assert (box.precision, box.recall) == (share(2, 3), share(2, 3))
    # One became a box; the other one was moved so far that it was in the wrong place.
    assert (pallet.precision, pallet.recall) == (share(0, 2), share(0, 2))
    assert (overall.precision, overall.recall) == (share(2, 5), share(2, 5))
    counts = [(row.kept, row.moved, row.relabelled, row.deleted, row.added) for row in (box, pallet, overall)]
    assert counts == [(1, 1, 0, 1, 0), (0, 1, 1, 0, 1), (1, 2, 1, 1, 1)]
    assert box.moved_iou == pytest.approx(0.75, abs=1e-6)
    assert overall.moved_iou == pytest.approx((0.75 + 0.3) / 2, abs=1e-6)
    assert seen.confusion == (("pallet", "box", 1),)


def test_teacher_on_blind_images_is_matched_by_overlap(desk: Desk) -> None:
    small(desk)
    blind = audit_of(desk.store, ONTOLOGY).blind
    assert (blind.classes["box"].precision, blind.classes["box"].recall) == (share(1, 1), share(1, 2))
    assert (blind.classes["pallet"].precision, blind.classes["pallet"].recall) == (share(0, 1), share(0, 1))


def test_seconds_and_objects_of_the_two_kinds_of_images(desk: Desk) -> None:
    small(desk)
    found = audit_of(desk.store, ONTOLOGY)
    seconds = found.work.image_seconds
    assert (seconds.n, seconds.median, seconds.q1, seconds.q3) == (3, 20, 15, 30)
    assert (found.work.region_seconds.n, found.work.region_seconds.median) == (2, 15)  # 40 / 4 and 20 / 1
    assert (found.work_blind.image_seconds.median, found.work_blind.region_seconds.median) == (60, 20)
    assert (found.image_seconds.value, found.image_seconds.low) == (-40, None)
    assert found.objects.value == pytest.approx(5 / 3 - 3)


def test_people_are_counted_with_what_they_skipped_and_left_alone(desk: Desk) -> None:
    small(desk)
    ann, bob = audit_of(desk.store, ONTOLOGY).people
    assert (ann.annotator, ann.submitted, ann.skipped, ann.judged, ann.accepted) == ("ann@x.org", 3, 1, 2, 0)
    assert (ann.share_skipped, ann.share_accepted, ann.seconds.median) == (0.25, 0, 40)
    assert (bob.submitted, bob.judged, bob.accepted, bob.share_accepted) == (1, 1, 1, 1)
    assert not ann.accepts_everything
    assert not bob.accepts_everything


def test_worst_disagreements_come_by_kind_in_turn(desk: Desk) -> None:
    small(desk)
    found = audit_of(desk.store, ONTOLOGY).worst
    assert [(one.kind, one.class_name, one.sha256 == sha("d")) for one in found] == [
        ("deleted", "box", False),
        ("added", "pallet", True),
        ("relabelled", "pallet", False),
        ("moved", "pallet", False),
        ("added", "pallet", False),
        ("relabelled", "pallet", True),
        ("moved", "box", False),
    ]
    assert [one.weight for one in found[:4]] == pytest.approx([0.95, 0.16, 0.7, 0.7], abs=1e-6)
    assert found[2].became == "box"
    assert audit_of(desk.store, ONTOLOGY, worst=2).worst == found[:2]


def test_nothing_handed_over_and_nothing_answered_are_zeros_without_shares(desk: Desk) -> None:
    for images in (0, 1):
        found = audit_of(desk.store, ONTOLOGY)
        assert sum(found.images.values()) == images
        assert found.prelabelled.overall.precision == Share(0, 0, None, None, None)
        assert found.work.image_seconds.median is None
        assert found.people == found.worst == ()
        desk.push("a", [claim("a", 1, "box", (0, 0, 10, 10))])


def test_somebody_who_began_anew_is_paired_by_overlap(desk: Desk) -> None:
    desk.push("a", [claim("a", 1, "box", (0, 0, 40, 40)), claim("a", 2, "box", (60, 60, 90, 90))])
    desk.answer("a", [drawn("a", "box", (0, 0, 40, 38))])
    row = audit_of(desk.store, ONTOLOGY).prelabelled.classes["box"]
    assert (row.moved, row.deleted, row.added, row.precision.part) == (1, 1, 0, 1)


def test_alias_that_people_used_is_its_class(desk: Desk) -> None:
    from dataclasses import replace

    pushed = claim("a", 1, "box", (0, 0, 40, 40))
    desk.push("a", [pushed])
    answer = desk.answer("a", [pushed])
    answer.result[0]["value"]["rectanglelabels"] = ["Karton"]
    desk.answer("a", [pushed], others=[replace(answer, annotator="eve@x.org", answer_id=99)])
    known = Ontology((replace(ONTOLOGY.classes[0], aliases=("Karton",)), ONTOLOGY.classes[1]))
    assert [person.accepted for person in audit_of(desk.store, known).people] == [1, 1]
    assert [person.accepted for person in audit_of(desk.store, ONTOLOGY).people] == [1, 0]


def test_image_of_two_people_counts_once_for_the_teacher_and_once_for_each_of_them(desk: Desk) -> None:
    pushed = claim("a", 1, "box", (0, 0, 40, 40))
    desk.push("a", [pushed])
    first = desk.answer("a", [], by="bob@x.org", seconds=4)
    desk.answer("a", [pushed], seconds=6, others=[first])
    found = audit_of(desk.store, ONTOLOGY)
    assert (found.images["reviewed"], found.prelabelled.overall.precision.part) == (1, 1)
    assert [(person.annotator, person.accepted) for person in found.people] == [("ann@x.org", 1), ("bob@x.org", 0)]
    assert found.work.image_seconds.n == 2


def test_image_in_two_projects_counts_once_by_the_newest_answer(desk: Desk) -> None:
    pushed = claim("a", 1, "box", (0, 0, 40, 40))
    desk.push("a", [pushed])
    desk.answer("a", [])
    desk.target = desk.ledger.save_target("http://127.0.0.1:9090", 1, config="<View/>", media="local")
    desk.push("a", [pushed])
    assert audit_of(desk.store, ONTOLOGY).prelabelled.overall.deleted == 1
    desk.answer("a", [pushed])
    row = audit_of(desk.store, ONTOLOGY).prelabelled.overall
    assert (row.kept, row.deleted) == (1, 0)


def test_image_that_no_teacher_has_labelled_is_work_and_no_claim(desk: Desk) -> None:
    outcome = ImageOutcome((FileStamp(b"/photos/a", 1, 1),), sha("a"), 100, 100)
    desk.push("a", [], outcome=outcome)
    desk.answer("a", [drawn("a", "box", (0, 0, 10, 10))], seconds=5)
    found = audit_of(desk.store, ONTOLOGY)
    assert (found.not_the_teachers, found.prelabelled.images, found.work.image_seconds.n) == (1, 0, 1)
    assert found.people[0].judged == 0


def test_known_error_rates_of_three_hundred_images_lie_in_the_intervals(desk: Desk) -> None:
    truth = simulate(desk, np.random.default_rng(7))
    found = audit_of(desk.store, ONTOLOGY)
    assert found.prelabelled.images + found.blind.images == 300
    assert found.blind.images == 60
    for group in (found.prelabelled, found.blind):
        row = group.overall
        assert row.precision.low is not None and row.precision.high is not None  # noqa: PT018
        assert row.recall.low is not None and row.recall.high is not None  # noqa: PT018
        assert row.precision.low < 0.9 < row.precision.high
        assert row.recall.low < 0.8 < row.recall.high
        assert row.precision.high - row.precision.low < 0.08
        assert row.kept + row.moved + row.relabelled + row.deleted == row.precision.whole
        assert row.kept + row.moved + row.relabelled + row.added == row.recall.whole
    rows = [found.prelabelled.overall, found.blind.overall]
    assert sum(row.precision.part for row in rows) == truth["right"]
    assert sum(row.recall.whole for row in rows) == truth["objects"]
    gap = found.image_seconds
    assert gap.low is not None and gap.high is not None  # noqa: PT018
    assert gap.low < -20 < gap.high < 0
    assert audit_of(desk.store, ONTOLOGY) == found


def simulate(desk: Desk, random: np.random.Generator) -> dict[str, int]:
    """Hand over 300 images, every fifth blind: of 5 objects 80 % are found, 90 % of the claims are right."""
    cells = [(x, y, x + 15.0, y + 15.0) for x in (0.0, 20.0, 40.0, 60.0, 80.0) for y in (0.0, 40.0)]
    truth = {"right": 0, "objects": 0}
    for number in range(300):
        name, blind = f"{number}.png", number % 5 == 0
        found, false = random.random(5) < 0.8, random.random(5) < 0.8 * 0.1 / 0.9
        claims = [claim(name, k, "box", cells[k], 0.5) for k in range(10) if (found if k < 5 else false)[k % 5]]
        desk.push(name, claims, blind=blind)
        by_id = {annotation.box_xyxy: annotation for annotation in claims}
        regions = [by_id[cell] if cell in by_id and not blind else drawn(name, "box", cell) for cell in cells[:5]]
        seconds = float(random.lognormal(np.log(40 if blind else 20), 0.3)) + 86_400 * (number % 50 == 1)
        desk.answer(name, regions, seconds=seconds)
        truth["right"] += int(found.sum())
        truth["objects"] += 5
    return truth


def test_somebody_who_accepts_everything_is_flagged_only_when_others_do_not() -> None:
    assert flagged(mine=20, others=20, others_accepted=10)
    assert not flagged(mine=19, others=200, others_accepted=10)
    assert not flagged(mine=20, others=19, others_accepted=0)
    assert not flagged(mine=20, others=40, others_accepted=36)
    assert not flagged(mine=200, others=0, others_accepted=0)
    assert not flagged(mine=200, others=200, others_accepted=200)
    assert not flagged(mine=20, others=20, others_accepted=10, mine_changed=1)


def flagged(*, mine: int, others: int, others_accepted: int, mine_changed: int = 0) -> bool:
    people = People()
    for k in range(mine):
        people.add("eve", None, skipped=False, judged=True, accepted=k >= mine_changed)
    for k in range(others):
        people.add(f"other {k % 3}", None, skipped=False, judged=True, accepted=k < others_accepted)
    return next(person for person in people.rows() if person.annotator == "eve").accepts_everything


def test_chance_of_no_change_is_that_of_fishers_exact_test() -> None:
    assert chance_of_no_change(20, 20, 10) == comb(30, 20) / comb(40, 20)
    for mine, others, accepted in ((20, 20, 10), (45, 100, 93), (5000, 9000, 8000)):
        table = [[mine, 0], [accepted, others - accepted]]
        assert chance_of_no_change(mine, others, accepted) == pytest.approx(
            fisher_exact(table, alternative="greater").pvalue, rel=1e-6
        )


def test_median_does_not_move_for_a_tab_that_was_left_open() -> None:
    calm = spread([10, 11, 12, 13, 14])
    assert spread([10, 11, 12, 13, 86_400]) == calm
    assert (calm.median, calm.q1, calm.q3) == (12, 11, 13)


@given(st.lists(st.floats(1, 1e4), min_size=5, max_size=30), st.floats(0, 1e3))
def test_difference_of_shifted_measures_is_the_shift_and_lies_in_its_interval(values: list[float], by: float) -> None:
    shifted = [value + by for value in values]
    for difference in (difference_of_medians(shifted, values), difference_of_means(shifted, values)):
        assert difference.value == pytest.approx(by, abs=1e-6)
        assert difference.low is not None and difference.high is not None  # noqa: PT018
        assert difference.low - 1e-6 <= by <= difference.high + 1e-6
    assert difference_of_medians(shifted, values) == difference_of_medians(shifted, values)


def test_worst_keeps_the_worst_of_many_whatever_their_order() -> None:
    scores = np.random.default_rng(0).permutation(1000) / 1000
    worst = Worst(5)
    for number, score in enumerate(scores):
        pushed = claim(str(number), 1, "box", (0, 0, 10, 10), float(score))
        worst.add(sha(str(number)), (100, 100), False, [Change("deleted", pushed, None, 0.0)])
    assert [one.score for one in worst.ordered()] == [0.999, 0.998, 0.997, 0.996, 0.995]


def test_images_are_read_one_at_a_time(desk: Desk) -> None:
    small(desk)
    stream = cases(desk.store, ONTOLOGY)
    assert iter(stream) is stream
    assert isinstance(audit(stream, CLASSES), Audit)


def test_claim_without_a_score_can_be_deleted() -> None:
    pushed: Annotation = claim("a", 1, "box", (0, 0, 10, 10), None)
    worst = Worst(3)
    worst.add(sha("a"), (100, 100), False, [Change("deleted", pushed, None, 0.0)])
    assert (worst.ordered()[0].score, worst.ordered()[0].weight) == (None, 0.0)
