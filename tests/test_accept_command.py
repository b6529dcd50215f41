"""`labelstill accept` and `push --skip-accepted`: what people read, what is written, and every exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labeling.cli import main
from labeling.core.store_decisions import Decided, DecisionLedger
from labeling.core.store_studio import StudioLedger
from labeling.project import Project
from labeling.queue import lot
from labeling.trust.parts import note_parts, parts_of
from labeling.trust.permission import read_permission
from labeling.trust.sureness import NEVER
from tests import audited
from tests.fake_studio import FakeStudio
from tests.made_reviews import Desk, claim, sha
from tests.made_stores import Thing
from tests.pushing import World

Verb = Callable[..., tuple[int, str]]
SURE = Thing("box", (20.0, 30.0, 60.0, 90.0), score=0.9)
PHOTOS = 40


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = audited.project(tmp_path / "project")
    with made.open_store(create=True) as store:
        audited.audits(Desk(store, audited.CLASSES), 70, 0.9)
        audited.label(store, [f"sure {n}" for n in range(200)], [0.9])
    return made


@pytest.fixture
def accept(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(project: Project, *flags: str) -> tuple[int, str]:
        code = main(["accept", "--project", str(project.root), *flags])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_it_says_what_may_skip_on_what_grounds_and_writes_nothing(accept: Verb, project: Project) -> None:
    code, said = accept(project)
    assert code == 0
    assert "70 reviewed photos that came by lot, 70 labels" in said
    assert "score of 0.900 or more: 200 of 200 that wait (100%)" in said
    assert "at least 0.95 of their labels are right, with confidence 0.95: 0 of 70 wrong" in said
    assert "not covered  objects that the teacher missed" in said
    assert "accept --project" in said.splitlines()[-1]
    assert "--apply --precision 0.95 --confidence 0.95" in said.splitlines()[-1]
    with project.open_store() as store:
        assert read_permission(store) is None


def test_apply_grants_and_withdraw_takes_it_away(accept: Verb, project: Project) -> None:
    code, said = accept(project, "--apply", "--no-faint")
    assert code == 0
    assert said.splitlines()[-1].endswith("--skip-accepted")
    with project.open_store() as store:
        permission = read_permission(store)
        assert permission is not None
        assert (permission.level, permission.terms.no_faint, permission.done_key) == (0.9, True, "done")
    assert accept(project, "--withdraw")[0] == 0
    with project.open_store() as store:
        assert read_permission(store) is None


def test_json_has_region_bound_and_what_is_not_covered(accept: Verb, project: Project) -> None:
    code, said = accept(project, "--json")
    answer = json.loads(said)
    region = answer["region"]
    assert code == 0
    assert (region["images"], region["image_share"], region["score"]) == (200, 1.0, 0.9)
    assert region["bound"] > 0.95
    assert region["missed"]["objects"] == 0
    assert region["missed"]["interval"][1] > 0
    assert (answer["applied"], answer["audits"]["labels"]) == (False, 70)


def test_too_few_audits_are_said_with_how_to_get_more_and_apply_ends_with_3(accept: Verb, tmp_path: Path) -> None:
    made = audited.project(tmp_path / "few")
    with made.open_store(create=True) as store:
        audited.audits(Desk(store, audited.CLASSES), 10, 0.9)
        audited.label(store, [f"sure {n}" for n in range(300)], [0.9])
    code, said = accept(made)
    assert code == 0
    assert "too few audits: at least 59 labels" in said
    assert "more audited photos among the surest, probably 100%" in said
    assert "push --project" in said.splitlines()[-1]
    assert "--only sure:0.25 --audit-share 1 --limit 80" in said.splitlines()[-1]
    assert accept(made, "--apply")[0] == 3


def test_wrong_audits_are_said_with_the_score_that_they_are_about(accept: Verb, tmp_path: Path) -> None:
    made = audited.project(tmp_path / "wrong")
    with made.open_store(create=True) as store:
        audited.audits(Desk(store, audited.CLASSES), 70, 0.9, wrong=20)
        audited.label(store, ["sure"], [0.9])
    code, said = accept(made)
    assert code == 0
    assert "may skip     none: of 70 audited labels in photos whose labels all reach 0.900, 20 are wrong" in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--precision", "1"], "--precision is 1.0: expected a number from 0.5 to below 1"),
        (["--apply", "--withdraw"], "expected one of them"),
        (["--iou", "0"], "--iou is 0.0"),
    ],
)
def test_flags_that_make_no_sense_are_refused(accept: Verb, project: Project, flags: list[str], said: str) -> None:
    code, told = accept(project, *flags)
    assert code == 1
    assert said in told


def test_a_project_without_labels_is_refused(accept: Verb, tmp_path: Path) -> None:
    made = audited.project(tmp_path / "empty")
    with made.open_store(create=True):
        pass
    code, said = accept(made)
    assert code == 1
    assert "labelstill label PHOTOS" in said


# The way out


def test_gold_that_people_reviewed_is_named_among_the_audits(accept: Verb, tmp_path: Path) -> None:
    made = audited.project(tmp_path / "gold")
    with made.open_store(create=True) as store:
        desk = Desk(store, audited.CLASSES)
        for number in range(100):
            audited.audit(desk, f"gold {number}", [0.9], by_lot=number < 10)
        note_parts(store, {sha(f"gold {n}"): NEVER for n in range(10)})
        DecisionLedger(store).change([Decided(sha(f"gold {n}"), "gold") for n in range(100)])
        audited.label(store, [f"sure {n}" for n in range(50)], [0.9])
    said = accept(made)[1]
    assert "100 reviewed photos that came by lot or as gold (100 gold), 100 labels" in said
    assert "do not count" not in said
    assert "50 of 50 that wait" in said
    assert json.loads(accept(made, "--json")[1])["audits"]["gold"] == 100


@pytest.mark.parametrize(("left", "words"), [(9, "only 9 photos with 9 labels are left"), (0, "no photo with labels")])
def test_a_set_too_small_for_a_guarantee_is_told_so_and_no_push_is_advised(
    accept: Verb, tmp_path: Path, left: int, words: str
) -> None:
    made = audited.project(tmp_path / "small")
    with made.open_store(create=True) as store:
        audited.audits(Desk(store, audited.CLASSES), 40, 0.9)
        audited.label(store, [f"sure {n}" for n in range(left)], [0.9])
    code, said = accept(made)
    assert code == 0
    assert words in said
    assert "beside 40 audited labels; 59 is the least" in said
    assert "cannot show 0.95 with confidence 0.95" in said
    assert "lower --precision, or label more photos" in said
    assert "push" not in said
    assert json.loads(accept(made, "--json")[1])["reach"] is None


def test_photos_that_people_still_have_are_awaited_first(accept: Verb, tmp_path: Path) -> None:
    made = audited.project(tmp_path / "handed over")
    with made.open_store(create=True) as store:
        Desk(store, audited.CLASSES).push("waits", [claim("waits", 0, "box", (5.0, 5.0, 9.0, 9.0))], by_lot=True)
    said = accept(made)[1]
    assert "1 came by lot or as gold and are not reviewed yet" in said
    assert said.splitlines()[-1].startswith("next         labelstill pull --project")


def test_gold_that_nobody_was_handed_is_sent_first(accept: Verb, tmp_path: Path) -> None:
    made = audited.project(tmp_path / "gold waits")
    with made.open_store(create=True) as store:
        audited.label(store, [f"sure {n}" for n in range(300)], [0.9])
        DecisionLedger(store).change([Decided(sha("sure 0"), "gold")])
    assert accept(made)[1].splitlines()[-1].endswith("--only gold")


# Push


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    with FakeStudio() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, studio: FakeStudio) -> World:
    """Return a project with photos of one sure box each, after 120 audits without a wrong label."""
    world = World(tmp_path, studio, photos=0)
    with world.store() as store:
        audited.audits(Desk(store, audited.CLASSES), 120, 0.9)
    for number in range(PHOTOS):
        world.label(number, SURE)
    assert main(["accept", "--project", str(world.root), "--precision", "0.9", "--apply"]) == 0
    return world


@pytest.fixture
def push(world: World, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verb:
    monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio.token)
    capsys.readouterr()

    def run(*flags: str) -> tuple[int, str]:
        code = main(["push", "--project", str(world.root), *flags])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def chosen(world: World, share: float) -> set[str]:
    return {world.sha256(n) for n in range(PHOTOS) if lot(world.sha256(n), "audit 0") < share}


@pytest.mark.http
def test_accepted_photos_stay_here_but_for_those_of_the_lot(push: Verb, world: World) -> None:
    foretold = json.loads(push("--skip-accepted", "--audit-share", "0.3", "--dry-run", "--json")[1])
    code, said = push("--skip-accepted", "--audit-share", "0.3", "--json")
    answer = json.loads(said)
    audits = chosen(world, 0.3)
    assert code == 0
    assert 0 < len(audits) < PHOTOS
    for told in (foretold, answer):
        assert (told["new"], told["audits"], told["drawn"]) == (len(audits),) * 3
        assert told["accepted"] == PHOTOS - len(audits)
    assert set(world.per_photo()) == audits
    assert sum(state == "prelabelled" for state in world.states().values()) == PHOTOS - len(audits)
    again = json.loads(push("--skip-accepted", "--audit-share", "0.3", "--json")[1])
    assert (again["new"], again["accepted"]) == (0, PHOTOS - len(audits))


@pytest.mark.http
def test_doubtful_photos_are_sent_as_ever(push: Verb, world: World) -> None:
    world.label(100, Thing("box", (20.0, 30.0, 60.0, 90.0), score=0.4))
    code, said = push("--skip-accepted", "--audit-share", "0")
    assert code == 0
    assert said.splitlines()[0] == "1 new, 0 changed"
    assert f"accepted     {PHOTOS} photos skip review" in said
    assert list(world.per_photo()) == [world.sha256(100)]


@pytest.mark.http
def test_a_permission_that_fails_is_withdrawn_and_nothing_is_sent(push: Verb, world: World) -> None:
    with world.store() as store:
        desk = Desk(store, audited.CLASSES, _answers=500)
        desk.pushed = {str(n): [] for n in range(500)}
        audited.audits(desk, 30, 0.9, wrong=30, prefix="later")
    code, said = push("--skip-accepted", "--dry-run")
    assert code == 3
    assert "the permission still stands" in said
    code, said = push("--skip-accepted")
    assert code == 3
    assert "is withdrawn: of 150 audited labels" in said
    assert "which sends all" in said
    assert not world.per_photo()
    code, said = push("--skip-accepted")
    assert code == 1
    assert "accept --apply" in said
    assert push("--audit-share", "0")[0] == 0
    assert len(world.per_photo()) == PHOTOS


@pytest.mark.http
def test_the_lot_among_a_part_of_all_photos_speaks_for_that_part_alone(push: Verb, world: World) -> None:
    assert push("--only", "sure:0.25", "--audit-share", "1", "--limit", "3")[0] == 0
    with world.store() as store:
        assert set(parts_of(store).values()) == {0.9}
        drawn = {task.sha256 for task in StudioLedger(store).tasks(world.target(store)) if task.drawn}
        assert parts_of(store).keys() == drawn
    assert push("--only", "class:box", "--audit-share", "1", "--limit", "2")[0] == 0
    with world.store() as store:
        assert sorted(parts_of(store).values()) == [0.9, 0.9, 0.9, NEVER, NEVER]
