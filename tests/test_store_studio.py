"""The ledger: intents, tasks and answers in labels.db, and what they do to the state of an image."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from labeling.core.errors import StateError
from labeling.core.records import Annotation, Rle
from labeling.core.store import Store
from labeling.core.store_schema import MIGRATIONS, migrate
from labeling.core.store_studio import Answer, StudioLedger, Target, Task, Verdict, content_hash
from tests.made_stores import Thing, human, outcome, photo, write

THINGS = [Thing("car", (10, 10, 60, 50)), Thing("dog", (70, 60, 120, 110), masked=True)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "labels.db", create=True) as opened:
        write(
            opened, ["car", "dog"], [outcome([photo(tmp_path / f"{i}.png", THINGS, seed=i)], THINGS) for i in range(3)]
        )
        yield opened


@pytest.fixture
def ledger(store: Store) -> StudioLedger:
    return StudioLedger(store)


def pushed(store: Store, ledger: StudioLedger) -> tuple[Target, list[str]]:
    """Hand all images over as tasks 11, 12, 13; return the project and the images in that order."""
    target = ledger.save_target("http://127.0.0.1:1", 5, config="<View/>", media="local")
    images = sorted(store.states())
    chunk = []
    for sha256 in images:
        labels = store.annotations_of(sha256, "machine")
        chunk.append((Task(sha256, None, "intended", 10, content_hash(labels), "m"), labels))
    ledger.intend(target, chunk)
    ledger.confirm(target, {sha256: 11 + i for i, sha256 in enumerate(images)})
    return target, images


def said(sha256: str, number: int = 1, **changes: object) -> Answer:
    answer = Answer(
        "submitted", number, 11, sha256, "ann@x", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", 2.5, True, []
    )
    return replace(answer, **changes)  # type: ignore[arg-type]


def dump(store: Store) -> list[str]:
    with sqlite3.connect(store.path) as db:
        return list(db.iterdump())


def test_a_database_of_version_1_gets_the_ledger_and_keeps_everything(tmp_path: Path) -> None:
    path = tmp_path / "labels.db"
    old = sqlite3.connect(path, isolation_level=None)
    migrate(old, "labels.db", MIGRATIONS[:1])
    assert old.execute("PRAGMA user_version").fetchone() == (1,)
    assert not old.execute("SELECT name FROM sqlite_master WHERE name LIKE 'studio%'").fetchall()
    old.execute("INSERT INTO images VALUES ('ab', 4, 3, 'prelabelled', NULL, '[]')")
    old.execute("INSERT INTO classes VALUES (0, 'car', '[\"car\"]', NULL, '')")
    old.execute(
        "INSERT INTO annotations VALUES "
        "('i', 'ab', 'car', 0, 0, 2, 2, NULL, 0.5, NULL, 'teacher', 'car', 'm', NULL, NULL, '[]')"
    )
    old.close()
    with Store.open(path) as store:
        assert store.states() == {"ab": "prelabelled"}
        (label,) = store.annotations_of("ab")
        assert (label.id, label.class_name, label.box_xyxy) == ("i", "car", (0.0, 0.0, 2.0, 2.0))
        assert StudioLedger(store).targets() == []
        assert store.rows("PRAGMA user_version") == [(len(MIGRATIONS),)]
        ledger = StudioLedger(store)
        target = ledger.save_target("http://x", 1, config="", media="local")
        ledger.intend(target, [(Task("ab", None, "intended", 0, "c", "m"), [label])])
        assert ledger.pushed(target, "ab") == [label]


def test_a_target_is_known_by_server_and_project_and_can_move(ledger: StudioLedger) -> None:
    first = ledger.save_target("http://a", 1, config="one", media="local")
    again = ledger.save_target("http://a", 1, config="two", media="upload")
    other = ledger.save_target("http://a", 2, config="one", media="local")
    assert again == replace(first, config="two", media="upload")
    assert ledger.move_target(other, "http://b") == replace(other, url="http://b")
    assert ledger.targets() == [again, replace(other, url="http://b")]


def test_an_intent_comes_back_as_it_was_written(store: Store, ledger: StudioLedger) -> None:
    target = ledger.save_target("http://a", 1, config="", media="local")
    (sha256, *_) = sorted(store.states())
    labels = [*store.annotations_of(sha256), replace(human(sha256, "car", (1, 2, 3, 4)), flags=("odd", "x"))]
    assert any(label.rle is not None for label in labels)
    task = Task(sha256, None, "intended", 7, content_hash(labels), "model é", blind=True, drawn=True)
    ledger.intend(target, [(task, labels)])
    assert list(ledger.tasks(target)) == [task]
    assert ledger.pushed(target, sha256) == labels
    assert store.states()[sha256] == "prelabelled"
    assert ledger.counts(target) == {"intended": 1, "sent": 0, "withdrawn": 0}
    assert ledger.highest_task_id(target) == 0


def test_what_was_pushed_is_not_what_the_teacher_says_later(store: Store, ledger: StudioLedger, tmp_path: Path) -> None:
    target, (sha256, *_) = pushed(store, ledger)
    before = ledger.pushed(target, sha256)
    (path,) = store.files_of(sha256)
    store.commit_batch([replace(outcome([path], THINGS[:1]), done_key="newer")], store.start_run("label", {}))
    assert len(store.annotations_of(sha256, "machine")) == 1
    assert ledger.pushed(target, sha256) == before
    assert store.states()[sha256] == "pushed"


def test_confirming_makes_images_wait_for_people(store: Store, ledger: StudioLedger) -> None:
    target, images = pushed(store, ledger)
    assert {task.sha256: task.task_id for task in ledger.tasks(target, "sent")} == dict(
        zip(images, (11, 12, 13), strict=True)
    )
    assert set(store.states().values()) == {"pushed"}
    assert ledger.highest_task_id(target) == 13
    assert list(ledger.tasks(target, "intended")) == []


def test_only_intents_are_forgotten(store: Store, ledger: StudioLedger) -> None:
    target, images = pushed(store, ledger)
    ledger.intend(target, [(Task(images[0], None, "intended", 13, "c", "m"), [])])
    ledger.forget(target, images)
    assert [task.sha256 for task in ledger.tasks(target)] == images[1:]


def test_a_task_number_given_a_second_time_belongs_to_the_newer_image(store: Store, ledger: StudioLedger) -> None:
    target, (first, second, third) = pushed(store, ledger)
    ledger.confirm(target, {first: 12})
    numbers = {task.sha256: task.task_id for task in ledger.tasks(target)}
    assert (numbers[first], numbers[third]) == (12, 13)
    assert numbers[second] is not None
    assert numbers[second] < 0


def test_a_withdrawn_image_is_a_prelabel_again_unless_people_had_spoken(store: Store, ledger: StudioLedger) -> None:
    target, (first, second, third) = pushed(store, ledger)
    ledger.commit_verdicts(target, [Verdict(first, (said(first),), "reviewed-empty")])
    ledger.withdraw(target, [first, second])
    assert store.states() == {first: "reviewed-empty", second: "prelabelled", third: "pushed"}
    assert ledger.counts(target) == {"intended": 0, "sent": 1, "withdrawn": 2}


@pytest.mark.parametrize("state", ["reviewed", "reviewed-empty", "skipped"])
def test_a_verdict_writes_the_review_and_keeps_what_the_machine_said(
    store: Store, ledger: StudioLedger, state: str
) -> None:
    target, (sha256, *_) = pushed(store, ledger)
    machine = store.annotations_of(sha256, "machine")
    labels = (human(sha256, "car", (1, 2, 30, 40)),) if state == "reviewed" else ()
    answer = said(
        sha256, kind="skipped" if state == "skipped" else "submitted", result=[{"id": "é", "value": {"x": 0.1}}]
    )
    ledger.commit_verdicts(target, [Verdict(sha256, (answer,), state, labels)])  # type: ignore[arg-type]
    assert store.states()[sha256] == state
    assert store.annotations_of(sha256, "human") == list(labels)
    assert store.annotations_of(sha256, "machine") == machine
    assert list(ledger.answers(target)) == [answer]
    again = dump(store)
    ledger.commit_verdicts(target, [Verdict(sha256, (answer,), state, labels)])  # type: ignore[arg-type]
    assert dump(store) == again


def test_a_newer_verdict_replaces_the_answers_and_the_labels(store: Store, ledger: StudioLedger) -> None:
    target, (sha256, other, _) = pushed(store, ledger)
    ledger.commit_verdicts(
        target, [Verdict(sha256, (said(sha256), said(sha256, 2)), "reviewed", (human(sha256, "car", (1, 2, 3, 4)),))]
    )
    ledger.commit_verdicts(target, [Verdict(other, (said(other, 3),), "reviewed-empty")])
    newer = said(sha256, 2, updated_at="2026-02-01T00:00:00Z")
    ledger.commit_verdicts(target, [Verdict(sha256, (newer,), "reviewed", (human(sha256, "dog", (5, 6, 7, 8)),))])
    assert list(ledger.answers(target, sha256)) == [newer]
    assert [label.class_name for label in store.annotations_of(sha256)] == ["dog"]
    assert {answer.sha256 for answer in ledger.answers()} == {sha256, other}


def test_a_review_is_taken_back_where_the_answer_is_gone(store: Store, ledger: StudioLedger) -> None:
    target, (sha256, *_) = pushed(store, ledger)
    ledger.commit_verdicts(
        target, [Verdict(sha256, (said(sha256),), "reviewed", (human(sha256, "car", (1, 2, 3, 4)),))]
    )
    ledger.commit_verdicts(target, [Verdict(sha256, (), "pushed")])
    assert store.states()[sha256] == "pushed"
    assert store.annotations_of(sha256, "human") == []
    assert not store.rows("SELECT id FROM annotations WHERE source = 'human'")
    assert list(ledger.answers(target)) == []


def test_a_review_from_elsewhere_stands_while_nobody_answers(store: Store, ledger: StudioLedger) -> None:
    target, (sha256, *_) = pushed(store, ledger)
    store.set_reviewed(sha256, [human(sha256, "car", (1, 2, 3, 4))], "reviewed")
    draft = said(sha256, kind="draft")
    unreadable = Verdict(sha256, (said(sha256),), "pushed", attention="an ellipse")
    for verdict in (Verdict(sha256, (draft,), "pushed"), unreadable, unreadable, Verdict(sha256, (), "pushed")):
        ledger.commit_verdicts(target, [verdict])
    assert store.states()[sha256] == "reviewed"
    assert len(store.annotations_of(sha256, "human")) == 1


def test_attention_is_kept_until_the_next_verdict(store: Store, ledger: StudioLedger) -> None:
    target, (sha256, *_) = pushed(store, ledger)
    ledger.commit_verdicts(target, [Verdict(sha256, (said(sha256),), "pushed", attention="an ellipse")])
    assert [task.attention for task in ledger.tasks(target)] == ["an ellipse", None, None]
    ledger.commit_verdicts(target, [Verdict(sha256, (said(sha256),), "reviewed-empty")])
    assert [task.attention for task in ledger.tasks(target)] == [None, None, None]


@pytest.mark.parametrize(
    "bad",
    [
        lambda sha256: Verdict("0" * 64, (), "pushed"),
        lambda sha256: Verdict(sha256, (), "reviewed"),
        lambda sha256: Verdict(sha256, (), "reviewed-empty", (human(sha256, "car", (1, 2, 3, 4)),)),
        lambda sha256: Verdict(sha256, (), "reviewed", (human(sha256, "lorry", (1, 2, 3, 4)),)),
        lambda sha256: Verdict(sha256, (), "reviewed", (human("1" * 64, "car", (1, 2, 3, 4)),)),
    ],
)
def test_a_batch_with_one_bad_verdict_writes_nothing(store: Store, ledger: StudioLedger, bad: object) -> None:
    target, (first, second, _) = pushed(store, ledger)
    before = dump(store)
    with pytest.raises(StateError):
        ledger.commit_verdicts(target, [Verdict(first, (said(first),), "reviewed-empty"), bad(second)])  # type: ignore[operator]
    assert dump(store) == before


def test_the_content_hash_follows_the_labels_and_their_order() -> None:
    one, two = human("a", "car", (1, 2, 3, 4)), human("a", "dog", (1, 2, 3, 4))
    assert len(content_hash([])) == 16
    assert len({content_hash(labels) for labels in ([], [one], [two], [one, two], [two, one])}) == 5
    assert content_hash([one, two]) == content_hash([one, two])


def test_two_projects_do_not_share_tasks_or_answers(store: Store, ledger: StudioLedger) -> None:
    target, (sha256, *_) = pushed(store, ledger)
    ledger.commit_verdicts(target, [Verdict(sha256, (said(sha256),), "reviewed-empty")])
    ledger.note_pulled(target, "2026-01-01T00:00:01Z")
    other = ledger.save_target("http://elsewhere", 5, config="", media="local")
    assert (list(ledger.tasks(other)), list(ledger.answers(other)), ledger.pushed(other, sha256)) == ([], [], [])
    assert other.pulled_until is None
    assert [one.pulled_until for one in ledger.targets()] == ["2026-01-01T00:00:01Z", None]


def test_labels_survive_the_ledger_to_the_last_bit(store: Store, ledger: StudioLedger) -> None:
    target, (sha256, *_) = pushed(store, ledger)
    exact = replace(human(sha256, "car", (0.1, 1 / 3, 99.99999999999999, 2**0.5)), rle=Rle(size=[120, 160], counts="0"))
    ledger.intend(target, [(Task(sha256, None, "intended", 0, "c", "m"), [exact])])
    (back,) = ledger.pushed(target, sha256)
    assert back == exact
    assert isinstance(back, Annotation)
    assert isinstance(back.box_xyxy, tuple)


def test_labels_of_people_that_were_pushed_stand_again_once_the_answer_about_them_is_gone(
    store: Store, ledger: StudioLedger
) -> None:
    target, (sha256, *_) = pushed(store, ledger)
    own = human(sha256, "car", (1, 2, 3, 4))
    store.set_reviewed(sha256, [own], "reviewed")
    (task,) = (task for task in ledger.tasks(target) if task.sha256 == sha256)
    ledger.intend(target, [(task, [own])])
    ledger.commit_verdicts(target, [Verdict(sha256, (said(sha256),), "reviewed-empty")])
    assert store.annotations_of(sha256, "human") == []
    ledger.commit_verdicts(target, [Verdict(sha256, (), "pushed")])
    assert store.states()[sha256] == "reviewed"
    assert store.annotations_of(sha256, "human") == [own]
