"""From audits in labels.db to what may skip review: what counts, what does not, and when a permission falls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from labeling.core.errors import InputError, StateError
from labeling.core.store import Store
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.project import Project
from labeling.studio.selection import conditions, select
from labeling.trust.accept import acceptance, check
from labeling.trust.audits import read_audits
from labeling.trust.parts import note_parts
from labeling.trust.permission import Terms, grant, read_permission
from labeling.trust.sureness import NEVER, labeller, surest
from tests import audited, made_stores
from tests.made_reviews import Desk, claim, drawn, left, sha

ONTOLOGY = made_stores.ontology(audited.CLASSES)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return audited.project(tmp_path / "project")


@pytest.fixture
def store(project: Project) -> Iterator[Store]:
    with project.open_store(create=True) as store:
        yield store


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store, audited.CLASSES)


def test_kept_and_slightly_moved_labels_are_right_all_others_wrong(store: Store, desk: Desk) -> None:
    box = (10.0, 10.0, 50.0, 50.0)
    claims = [claim("a", n, "box", (10.0, 10.0, 50.0, 50.0 + n), 0.9 - n / 10) for n in range(5)]
    desk.push("a", claims, by_lot=True)
    far = left(claims[2], box=(60.0, 60.0, 90.0, 90.0))
    said = [left(claims[0]), left(claims[1], box=(12.0, 12.0, 50.0, 50.0)), far, left(claims[3], class_name="pallet")]
    desk.answer("a", [*said, drawn("a", "box", (1.0, 1.0, 9.0, 9.0))])
    (one,) = read_audits(store, ONTOLOGY, labeller(store)).images
    assert sorted(right for _, right in one.right) == [False, False, False, True, True]
    assert (one.key, one.missed) == (pytest.approx(0.5), 1)
    assert box == claims[0].box_xyxy


def test_blind_audits_count_by_overlap(store: Store, desk: Desk) -> None:
    desk.push("a", [claim("a", 0, "box", (10.0, 10.0, 50.0, 50.0)), claim("a", 1, "box", (60.0, 60.0, 90.0, 90.0))],
              by_lot=True, blind=True)  # fmt: skip
    desk.answer("a", [drawn("a", "box", (11.0, 10.0, 51.0, 50.0))])
    (one,) = read_audits(store, ONTOLOGY, labeller(store)).images
    assert sorted(right for _, right in one.right) == [False, True]


def test_what_the_lot_did_not_draw_or_nobody_answered_is_no_audit(store: Store, desk: Desk) -> None:
    audited.audit(desk, "needed", [0.9], by_lot=False)
    audited.audit(desk, "drawn", [0.9])
    desk.push("waits", [claim("waits", 0, "box", (10.0, 10.0, 50.0, 50.0))], by_lot=True)
    desk.push("skipped", [claim("skipped", 0, "box", (10.0, 10.0, 50.0, 50.0))], by_lot=True)
    desk.answer("skipped", kind="skipped")
    audited.audit(desk, "empty", [])
    found = read_audits(store, ONTOLOGY, labeller(store))
    assert [one.sha256 for one in found.images] == [sha("drawn")]
    assert (found.unreviewed, found.skipped, found.empty) == (1, 1, 1)


def test_audits_of_other_prompts_or_thresholds_do_not_count(store: Store, desk: Desk) -> None:
    audited.audits(desk, 70, 0.9)
    audited.label(store, ["new"], [0.9], key="other thresholds")
    found = acceptance(store, ONTOLOGY, Terms())
    assert (len(found.audits.images), found.audits.other) == (0, 70)
    assert found.region is None


def test_audits_among_photos_of_a_class_do_not_count(store: Store, desk: Desk) -> None:
    audited.audits(desk, 3, 0.9)
    note_parts(store, {sha("audit 0"): NEVER, sha("audit 1"): 0.8})
    found = read_audits(store, ONTOLOGY, labeller(store))
    assert found.parts == 1
    assert sorted(one.since for one in found.images) == [0.0, 0.8]


def test_right_audits_let_the_sure_images_skip_and_no_others(store: Store, desk: Desk) -> None:
    # 11 of the 200 would have to be wrong, and none among the 70 that were seen: (200/270)(199/269)... = 0.03
    audited.audits(desk, 70, 0.9)
    for number in range(100):
        audited.audit(desk, f"doubtful audit {number}", [0.9, 0.4], wrong=number % 2)
    audited.label(store, [f"sure {n}" for n in range(200)], [0.9])
    audited.label(store, [f"doubtful {n}" for n in range(300)], [0.9, 0.4])
    found = acceptance(store, ONTOLOGY, Terms())
    assert found.region is not None
    assert (found.region.level, found.region.images, found.waiting) == (0.9, 200, 500)
    assert found.region.bound >= 0.95
    assert found.region.classes == {"box": (70, 0)}


def test_sure_audits_do_not_speak_for_doubtful_photos_that_came_later(store: Store, desk: Desk) -> None:
    granted(store, desk, level=0.4)
    audited.label(store, [f"later {n}" for n in range(300)], [0.9, 0.4])
    checked = check(store, ONTOLOGY)
    assert not checked.holds
    assert "less sure than those that were audited" in checked.sentence


def test_50_do_not_and_more_audits_are_foretold(store: Store, desk: Desk) -> None:
    audited.audits(desk, 50, 0.9)
    audited.label(store, [f"sure {n}" for n in range(3000)], [0.9])
    found = acceptance(store, ONTOLOGY, Terms())
    assert found.region is None
    assert found.fewest == 59
    assert found.more is not None
    assert (found.more.audits, found.more.share) == (20, 1.0)


def test_images_without_labels_never_skip(store: Store, desk: Desk) -> None:
    audited.audits(desk, 80, 0.9)
    audited.label(store, ["nothing"], [])
    audited.label(store, ["sure"], [0.9])
    permission = acceptance(store, ONTOLOGY, Terms()).permission
    assert permission is not None
    grant(store, permission)
    assert check(store, ONTOLOGY).images == {sha("sure")}


def test_the_miss_rate_stands_beside_the_guarantee(store: Store, desk: Desk) -> None:
    audited.audits(desk, 70, 0.9)
    desk.push("missed", [claim("missed", 0, "box", (5.0, 10.0, 12.0, 40.0))], by_lot=True)
    desk.answer("missed", [left(desk.pushed["missed"][0]), drawn("missed", "pallet", (50.0, 50.0, 90.0, 90.0))])
    audited.label(store, [f"sure {n}" for n in range(200)], [0.9])
    region = acceptance(store, ONTOLOGY, Terms()).region
    assert region is not None
    assert (region.missed, region.objects) == (1, 72)
    assert region.miss_interval is not None
    assert region.miss_interval[0] < 1 / 72 < region.miss_interval[1]


# The permission


def granted(store: Store, desk: Desk, level: float | None = None) -> None:
    audited.audits(desk, 70, 0.9)
    audited.label(store, [f"sure {n}" for n in range(200)], [0.9])
    permission = acceptance(store, ONTOLOGY, Terms()).permission
    assert permission is not None
    grant(store, permission if level is None else replace(permission, level=level))


def test_a_permission_holds_while_the_audits_do_and_is_withdrawn_once_they_fail(store: Store, desk: Desk) -> None:
    granted(store, desk)
    assert len(check(store, ONTOLOGY).images) == 200
    audited.audits(desk, 5, 0.95, wrong=5, prefix="later")
    rehearsed = check(store, ONTOLOGY, dry_run=True)
    assert not rehearsed.holds
    assert read_permission(store) is not None
    checked = check(store, ONTOLOGY)
    assert (checked.holds, checked.images) == (False, frozenset())
    assert "of 75 audited labels" in checked.sentence
    assert "5 are wrong" in checked.sentence
    assert read_permission(store) is None


def test_wrong_labels_below_the_level_do_not_touch_it(store: Store, desk: Desk) -> None:
    granted(store, desk)
    audited.audits(desk, 20, 0.3, wrong=20, prefix="doubtful")
    assert check(store, ONTOLOGY).holds


def test_a_permission_of_other_labels_does_not_apply(store: Store, desk: Desk) -> None:
    granted(store, desk)
    audited.label(store, ["new"], [0.9], key="other thresholds")
    with pytest.raises(StateError, match="another teacher, or other prompts"):
        check(store, ONTOLOGY)


def test_without_a_permission_nothing_skips(store: Store) -> None:
    with pytest.raises(StateError, match="accept --apply"):
        check(store, ONTOLOGY)


@pytest.mark.parametrize("wrong", [{"precision": 1.0}, {"precision": 0.2}, {"confidence": 1.5}, {"min_iou": 0.0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected a number"):
        Terms(**wrong)  # type: ignore[arg-type]


# The surest share


def test_the_surest_share_is_taken_by_the_lowest_score_of_each_image(store: Store) -> None:
    for number in range(10):
        audited.label(store, [f"photo {number}"], [0.95, number / 10 + 0.05])
    level, chosen = surest(store, 0.3)
    assert level == pytest.approx(0.75)
    assert chosen == {sha(f"photo {n}") for n in (7, 8, 9)}
    found = select(store, None, conditions(["sure:0.3"], store))
    assert found.new == sorted(chosen)
    assert found.since == pytest.approx(0.75)


@pytest.mark.parametrize("text", ["sure:0", "sure:1.5", "sure:many"])
def test_a_share_that_is_none_is_refused(store: Store, text: str) -> None:
    with pytest.raises(InputError, match="expected a share"):
        conditions([text], store)


# Gold


def as_gold(store: Store, *names: str) -> None:
    DecisionLedger(store).change([Decided(sha(name), "gold") for name in names])


def test_reviewed_gold_counts_for_all_images_and_once_however_it_was_handed_over(store: Store, desk: Desk) -> None:
    audited.audit(desk, "by need", [0.9], by_lot=False, wrong=1)
    audited.audit(desk, "by lot", [0.9])
    audited.audit(desk, "pushed as gold", [0.9])
    audited.audit(desk, "no gold", [0.9], by_lot=False)
    note_parts(store, {sha("pushed as gold"): NEVER})
    as_gold(store, "by need", "by lot", "pushed as gold")
    found = read_audits(store, ONTOLOGY, labeller(store))
    assert {one.sha256 for one in found.images} == {sha("by need"), sha("by lot"), sha("pushed as gold")}
    assert len(found.images) == 3
    assert all((one.gold, one.since, one.anew) == (True, 0.0, False) for one in found.images)
    assert found.table().wrong.sum() == 1
    assert found.parts == 0


def test_gold_counts_up_to_the_first_that_nobody_has_answered(store: Store, desk: Desk) -> None:
    for name in ("first", "third"):
        audited.audit(desk, name, [0.9], by_lot=False)
    audited.label(store, ["second"], [0.9])
    as_gold(store, "first", "second", "third")
    found = read_audits(store, ONTOLOGY, labeller(store))
    assert [one.sha256 for one in found.images] == [sha("first")]
    assert (found.held, found.unsent) == (1, 1)
    audited.audit(desk, "second", [0.9], by_lot=False)
    found = read_audits(store, ONTOLOGY, labeller(store))
    assert (len(found.images), found.held, found.unsent) == (3, 0, 0)


def test_gold_that_was_dropped_or_skipped_holds_nothing_back(store: Store, desk: Desk) -> None:
    audited.label(store, ["dropped"], [0.9])
    desk.push("skipped", [claim("skipped", 0, "box", (10.0, 10.0, 50.0, 50.0))])
    desk.answer("skipped", kind="skipped")
    audited.audit(desk, "reviewed", [0.9], by_lot=False)
    as_gold(store, "dropped", "skipped", "reviewed")
    DecisionLedger(store).change([Decided(sha("dropped"), "drop")])
    found = read_audits(store, ONTOLOGY, labeller(store))
    assert [one.sha256 for one in found.images] == [sha("reviewed")]
    assert (found.skipped, found.held) == (1, 0)


def test_gold_that_was_labelled_anew_is_judged_by_overlap_and_the_lot_does_not_count(store: Store, desk: Desk) -> None:
    box = (5.0, 10.0, 12.0, 40.0)
    for name in ("gold", "lot"):
        desk.push(name, [claim(name, 5, "box", box)], by_lot=name == "lot")
        audited.label(store, [name], [0.8, 0.7], key="other thresholds")
        desk.answer(name, [drawn(name, "box", box)])
    audited.label(store, ["new"], [0.9], key="other thresholds")
    as_gold(store, "gold")
    found = read_audits(store, ONTOLOGY, labeller(store))
    (one,) = found.images
    assert sorted(right for _, right in one.right) == [False, True]
    assert (one.sha256, one.key, one.anew, found.other) == (sha("gold"), 0.7, True, 1)


# What more audits could bring


def test_no_number_of_right_audits_reaches_a_guarantee_in_a_small_set(store: Store, desk: Desk) -> None:
    audited.audits(desk, 40, 0.9)
    audited.label(store, [f"sure {n}" for n in range(9)], [0.9])
    found = acceptance(store, ONTOLOGY, Terms())
    assert (found.region, found.reach, found.more) == (None, None, None)


def test_the_advised_number_of_right_audits_lets_something_skip(store: Store, desk: Desk) -> None:
    audited.audits(desk, 10, 0.9)
    audited.label(store, [f"photo {n}" for n in range(100)], [0.9])
    advice = acceptance(store, ONTOLOGY, Terms()).reach
    assert advice is not None
    assert (advice.share, advice.audits, advice.skip) == (0.25, 80, 20)
    audited.audits(desk, 80, 0.9, prefix="photo")
    found = acceptance(store, ONTOLOGY, Terms())
    assert found.region is not None
    assert found.region.images == 20
