"""Pull: what people submitted is in labels.db, nothing else is, and doing it twice changes nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from labeling.core.errors import InputError, ServerError
from labeling.core.ontology import Ontology, OntologyClass
from labeling.core.store import Store
from labeling.core.store_studio import StudioLedger, Verdict
from labeling.studio.pulled import Totals
from tests.fake_studio import FakeStudio
from tests.made_stores import Box
from tests.pull_scene import SIZE_WH, Region, Scene, region

pytestmark = pytest.mark.http

CAR, DOG = ("car", (10.0, 10.0, 60.0, 50.0)), ("dog", (70.0, 60.0, 120.0, 110.0))
NEW = region("dog", (20, 20, 40, 44))


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    with FakeStudio() as fake:
        yield fake


@pytest.fixture
def scene(tmp_path: Path, studio: FakeStudio) -> Iterator[Scene]:
    made = Scene(tmp_path, studio)
    yield made
    made.store.close()


def age(studio: FakeStudio) -> None:
    """Let everything that was done so far lie years back, before what the next pull looks at."""
    for task in studio.records.tasks.values():
        task["updated_at"] = "2020-01-01T00:00:00.000000Z"


# Each kind of answer


def test_untouched_objects_come_back_exactly_as_they_were_pushed(scene: Scene) -> None:
    scene.answer(0, scene.shown(0))
    pulled = scene.pull()
    pushed = scene.ledger.pushed(scene.target, scene.images[0])
    left = scene.labels(0)
    assert scene.state(0) == "reviewed"
    assert [(one.class_name, one.box_xyxy, one.rle) for one in left] == [
        (one.class_name, one.box_xyxy, one.rle) for one in pushed
    ]
    assert [one.provenance.parent_id for one in left] == [one.id for one in pushed]
    assert {(one.provenance.source, one.provenance.annotator) for one in left} == {("human", "me@localhost")}
    assert (pulled.reviewed, pulled.reviewed_empty, pulled.skipped, pulled.changed) == (1, 0, 0, 1)
    assert pulled.teacher == {"car": (1, 1), "dog": (1, 1)}
    assert scene.store.annotations_of(scene.images[0], "machine") == pushed


def test_moved_relabelled_added_and_deleted_objects_come_back(scene: Scene) -> None:
    car, dog = scene.shown(0)
    car["value"] |= {"x": car["value"]["x"] + 100 * 4 / SIZE_WH[0]}
    scene.answer(0, [{**car, "origin": "prediction-changed"}, NEW])
    (car, dog) = scene.shown(1)
    car["value"]["rectanglelabels"] = ["dog"]
    scene.answer(1, [car, dog])
    pulled = scene.pull()
    assert scene.said(0) == [("car", (14.0, 10.0, 64.0, 50.0)), ("dog", (20.0, 20.0, 40.0, 44.0))]
    parents = {one.class_name: one.provenance.parent_id for one in scene.labels(0)}
    assert parents == {"car": scene.ledger.pushed(scene.target, scene.images[0])[0].id, "dog": None}
    assert [name for name, _ in scene.said(1)] == ["dog", "dog"]
    assert pulled.teacher == {"car": (1, 2), "dog": (1, 2)}


def test_submitted_without_regions_is_a_reviewed_empty_image(scene: Scene) -> None:
    scene.answer(0, [])
    pulled = scene.pull()
    assert (scene.state(0), scene.labels(0)) == ("reviewed-empty", [])
    assert (pulled.reviewed, pulled.reviewed_empty) == (0, 1)
    assert pulled.teacher == {"car": (0, 1), "dog": (0, 1)}


def test_a_statement_about_the_image_is_no_object(scene: Scene) -> None:
    scene.answer(0, [{"id": "c", "type": "choices", "from_name": "q", "to_name": "image", "value": {"choices": ["x"]}}])
    scene.pull()
    assert scene.state(0) == "reviewed-empty"


def test_a_skip_is_no_label_and_no_empty_image(scene: Scene) -> None:
    scene.answer(0, scene.shown(0), skipped=True)
    pulled = scene.pull()
    assert (scene.state(0), scene.labels(0)) == ("skipped", [])
    assert (pulled.skipped, pulled.reviewed, pulled.teacher) == (1, 0, {})


def test_a_draft_reviews_nothing_and_is_counted(scene: Scene, studio: FakeStudio) -> None:
    scene.pull()
    age(studio)
    scene.answer(0, scene.shown(0), draft=True)
    pulled = scene.pull()
    assert scene.state(0) == "pushed"
    assert (pulled.changed, pulled.totals.drafts, pulled.totals.unanswered) == (0, 1, 4)
    assert [answer.kind for answer in scene.ledger.answers(scene.target)] == ["draft"]


def test_a_draft_on_top_of_an_answer_leaves_the_answer(scene: Scene) -> None:
    number = scene.answer(0, [NEW])
    scene.answer(0, [], draft=True, annotation=number)
    pulled = scene.pull()
    assert scene.said(0) == [("dog", (20, 20, 40, 44))]
    assert (pulled.totals.drafts, pulled.totals.reviewed) == (1, 1)


def test_a_draft_that_is_thrown_away_is_forgotten(scene: Scene, studio: FakeStudio) -> None:
    scene.answer(0, [], draft=True)
    assert scene.pull().totals.drafts == 1
    age(studio)
    for number in list(studio.records.drafts):
        del studio.records.drafts[number]
    assert scene.pull().totals.drafts == 0
    assert list(scene.ledger.answers(scene.target)) == []


def test_a_blind_image_takes_its_labels_and_says_nothing_of_the_teacher(tmp_path: Path, studio: FakeStudio) -> None:
    scene = Scene(tmp_path, studio, 2, blind=[0])
    scene.answer(0, [NEW])
    assert scene.pull().teacher == {}
    assert scene.said(0) == [("dog", (20, 20, 40, 44))]
    scene.store.close()


def test_whoever_drew_anew_is_compared_by_overlap(scene: Scene) -> None:
    scene.answer(0, [region("car", (11, 10, 60, 50)), region("car", (70, 60, 120, 110), "b")])
    assert scene.pull().teacher == {"car": (1, 1), "dog": (0, 1)}


def test_raw_answers_are_kept_with_time_and_author(scene: Scene, studio: FakeStudio) -> None:
    ann = studio.add_user("ann@localhost")
    scene.answer(0, [NEW], user=ann, lead_time=12.5, parent_prediction=1)
    scene.pull()
    (answer,) = scene.ledger.answers(scene.target)
    assert (answer.annotator, answer.seconds, answer.from_prediction) == ("ann@localhost", 12.5, True)
    assert answer.result == [NEW]


# Several people


def three_answers(scene: Scene, studio: FakeStudio) -> list[int]:
    ann, bob = studio.add_user("ann@localhost"), studio.add_user("bob@localhost")
    car = region("car", (10, 10, 60, 50))
    return [
        scene.answer(0, [car, NEW], user=ann),
        scene.answer(0, [region("car", (12, 10, 62, 50)), NEW], user=bob),
        scene.answer(0, [region("dog", (14, 10, 64, 50))]),
    ]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (None, [("dog", (14, 10, 64, 50))]),
        ("latest", [("dog", (14, 10, 64, 50))]),
        ("consensus", [("car", (12, 10, 62, 50)), ("dog", (20, 20, 40, 44))]),
        ("annotator:ANN@localhost", [("car", (10, 10, 60, 50)), ("dog", (20, 20, 40, 44))]),
    ],
)
def test_the_policy_says_whose_answer_counts(
    scene: Scene, studio: FakeStudio, policy: str | None, said: list[tuple[str, Box]]
) -> None:
    three_answers(scene, studio)
    pulled = scene.pull(policy)
    assert scene.said(0) == said
    assert len(list(scene.ledger.answers(scene.target))) == 3
    assert pulled.policy == (policy or "latest")
    assert scene.pull().policy == pulled.policy
    assert scene.said(0) == said


def test_another_policy_makes_all_answers_count_anew(scene: Scene, studio: FakeStudio) -> None:
    three_answers(scene, studio)
    scene.pull("latest")
    scene.answer(1, [NEW])
    assert scene.pull("annotator:ann@localhost").changed == 1
    assert (scene.said(0)[0][0], scene.state(1)) == ("car", "pushed")
    scene.pull("latest")
    assert (scene.said(0)[0][0], scene.state(1)) == ("dog", "reviewed")


def test_two_people_who_disagree_leave_the_image_to_a_third(scene: Scene, studio: FakeStudio) -> None:
    scene.answer(0, [NEW])
    scene.answer(0, [], user=studio.add_user("ann@localhost"))
    pulled = scene.pull("consensus")
    assert scene.state(0) == "pushed"
    assert [one.reason for one in pulled.attention] == ["1 of 2 people drew 'dog' near (20, 20)"]


def test_a_policy_that_names_nobody_is_refused(scene: Scene) -> None:
    before = scene.dump()
    with pytest.raises(InputError, match="nobody is called 'eve@x' there; known: 'me@localhost'"):
        scene.pull("annotator:eve@x")
    assert scene.dump() == before


# Again and again


def answer_all(scene: Scene) -> None:
    scene.answer(0, [*scene.shown(0), NEW])
    scene.answer(1, [])
    scene.answer(2, [], skipped=True)
    scene.answer(3, [NEW], draft=True)


def test_the_second_pull_finds_nothing_and_writes_nothing(scene: Scene) -> None:
    answer_all(scene)
    first = scene.pull()
    before = scene.dump()
    second = scene.pull()
    assert scene.dump() == before
    assert (first.changed, second.changed) == (3, 0)
    assert (second.reviewed, second.reviewed_empty, second.skipped) == (0, 0, 0)
    assert second.totals == first.totals == Totals(1, 1, 1, 0, 1, 0, 1)
    assert second.teacher == first.teacher


def test_only_what_changed_is_read_again(scene: Scene, studio: FakeStudio) -> None:
    answer_all(scene)
    scene.pull()
    age(studio)
    scene.answer(1, [NEW])
    pulled = scene.pull()
    assert (pulled.changed, pulled.unchanged) == (1, 1)  # and the one with the draft


def test_an_edit_after_the_pull_comes_with_the_next(scene: Scene, studio: FakeStudio) -> None:
    number = scene.answer(0, [NEW])
    scene.pull()
    studio.change_annotation(number, [])
    assert scene.pull().reviewed_empty == 1
    studio.change_annotation(number, [region("car", (1, 2, 30, 40))])
    assert scene.pull().reviewed == 1
    assert scene.said(0) == [("car", (1, 2, 30, 40))]
    assert len(list(scene.ledger.answers(scene.target))) == 1


def test_a_deleted_answer_takes_the_review_back(scene: Scene, studio: FakeStudio) -> None:
    number = scene.answer(0, [NEW])
    scene.pull()
    studio.delete_annotation(number)
    pulled = scene.pull()
    assert (scene.state(0), scene.labels(0), pulled.taken_back) == ("pushed", [], 1)
    assert pulled.totals.unanswered == 4


def test_the_older_answer_counts_again_when_the_newer_is_deleted(scene: Scene, studio: FakeStudio) -> None:
    scene.answer(0, [NEW])
    newer = scene.answer(0, [])
    scene.pull()
    studio.delete_annotation(newer)
    scene.pull()
    assert scene.said(0) == [("dog", (20, 20, 40, 44))]


def test_a_deleted_task_keeps_its_review_and_a_waiting_one_is_a_prelabel_again(
    scene: Scene, studio: FakeStudio
) -> None:
    scene.answer(0, [NEW])
    scene.pull()
    studio.delete_tasks(scene.tasks[0], scene.tasks[1])
    pulled = scene.pull()
    assert [scene.state(number) for number in range(4)] == ["reviewed", "prelabelled", "pushed", "pushed"]
    assert scene.said(0) == [("dog", (20, 20, 40, 44))]
    assert (pulled.withdrawn, pulled.totals) == (2, Totals(1, 0, 0, 0, 2, 1, 0))
    assert scene.pull().withdrawn == 0


def test_as_many_tasks_of_others_do_not_hide_a_deleted_one(scene: Scene, studio: FakeStudio) -> None:
    scene.pull()
    studio.delete_tasks(scene.tasks[1])
    studio.records.add_tasks(scene.project, [{"data": {"image": "x"}}])
    pulled = scene.pull()
    assert (pulled.withdrawn, len(pulled.foreign)) == (1, 1)
    studio.delete_tasks(scene.tasks[2])
    pulled = scene.pull()
    assert (pulled.withdrawn, len(pulled.foreign)) == (1, 1)


def test_tasks_that_nobody_deleted_need_no_listing(scene: Scene, studio: FakeStudio) -> None:
    scene.pull()
    studio.requests.clear()
    scene.pull()
    asked = [request.path for request in studio.requests if request.path.startswith("/api/tasks")]
    assert len([path for path in asked if "fields=all" not in path]) == 1, asked  # the count


def test_an_adopted_task_is_read_whatever_its_age(scene: Scene, studio: FakeStudio) -> None:
    """A push that finds a task of ours confirms it; the answers there may be older than the last pull."""
    (task,) = studio.records.add_tasks(
        scene.project, [{"data": {"image": "x", "labelstill_id": scene.images[0]}, "predictions": []}]
    )
    studio.annotate(task, [NEW])
    scene.pull()
    age(studio)
    assert scene.state(0) == "pushed"
    studio.delete_tasks(scene.tasks[0])
    scene.ledger.confirm(scene.target, {scene.images[0]: task})
    assert scene.pull().reviewed == 1
    assert scene.said(0) == [("dog", (20, 20, 40, 44))]


# What is not ours


def test_tasks_of_others_are_counted_and_never_guessed(scene: Scene, studio: FakeStudio) -> None:
    data: list[Any] = [
        {"image": "x"},
        {"image": "x", "labelstill_id": "f" * 64},
        {"image": "x", "labelstill_id": None},
        {"image": "x", "labelstill_id": [scene.images[0]]},
        {"image": "x", "labelstill_name": "photo0.png"},
    ]
    others = studio.records.add_tasks(scene.project, [{"data": one} for one in data])
    for number in others:
        studio.annotate(number, [NEW])
    pulled = scene.pull()
    assert [number for number, _ in pulled.foreign] == others
    assert all(str(number) in link for number, link in pulled.foreign)
    assert pulled.attention == ()
    assert {scene.state(number) for number in range(4)} == {"pushed"}
    assert scene.pull().foreign == pulled.foreign
    studio.delete_tasks(*others)
    assert scene.pull().foreign == ()


def test_a_second_task_with_our_key_needs_attention_and_is_not_read(scene: Scene, studio: FakeStudio) -> None:
    (copy,) = studio.records.add_tasks(scene.project, [{"data": {"image": "x", "labelstill_id": scene.images[0]}}])
    studio.annotate(copy, [NEW])
    scene.answer(0, [])
    pulled = scene.pull()
    assert scene.state(0) == "reviewed-empty"
    assert [(one.name, one.reason) for one in pulled.attention] == [
        (f"task {copy}", f"has the labelstill_id of task {scene.tasks[0]}: labelstill push keeps the right one")
    ]


def test_a_task_whose_key_was_changed_needs_attention(scene: Scene, studio: FakeStudio) -> None:
    scene.answer(0, [NEW])
    studio.records.tasks[scene.tasks[0]]["data"]["labelstill_id"] = "0" * 64
    pulled = scene.pull()
    assert scene.state(0) == "pushed"
    assert [one.reason for one in pulled.attention] == [f"its labelstill_id was changed: put back {scene.images[0]}"]
    assert pulled.withdrawn == 0
    studio.records.tasks[scene.tasks[0]]["data"]["labelstill_id"] = scene.images[0]
    studio.records.touch(scene.tasks[0])
    assert scene.pull().attention == ()
    assert scene.state(0) == "reviewed"


def test_the_address_of_a_picture_is_never_opened(scene: Scene, studio: FakeStudio) -> None:
    for address in ("http://169.254.169.254/latest", "file:///etc/passwd", "/api/current-user/whoami?leak"):
        studio.records.tasks[scene.tasks[0]]["data"]["image"] = address
        scene.answer(0, [NEW])
        scene.pull()
    asked = {request.path.split("?")[0] for request in studio.requests}
    assert not [path for path in asked if "leak" in path or "passwd" in path or "latest" in path]


# What cannot be taken


ODD: dict[str, Callable[[Region], Region]] = {
    "a rotated picture": lambda one: {**one, "image_rotation": 45},
    "another size": lambda one: {**one, "original_width": 640, "original_height": 480},
    "an ellipse": lambda one: {
        **one,
        "type": "ellipselabels",
        "value": {"x": 50, "y": 50, "radiusX": 5, "radiusY": 5, "rotation": 0, "ellipselabels": ["car"]},
    },
    "no label": lambda one: {**one, "value": {**one["value"], "rectanglelabels": []}},
    "no width": lambda one: {**one, "value": {**one["value"], "width": 0}},
}


@pytest.mark.parametrize("odd", ODD)
def test_one_region_that_cannot_be_read_leaves_the_whole_image_to_a_person(scene: Scene, odd: str) -> None:
    scene.answer(0, [region("car", (1, 2, 30, 40), "good"), ODD[odd](NEW)])
    scene.answer(1, [NEW])
    pulled = scene.pull()
    assert (scene.state(0), scene.labels(0), scene.state(1)) == ("pushed", [], "reviewed")
    (one,) = pulled.attention
    assert one.name.endswith("photo0.png")
    assert one.reason.startswith("region new: ")
    assert str(scene.tasks[0]) in one.link
    assert pulled.totals.attention == 1
    assert scene.pull().attention == pulled.attention
    assert pulled.teacher == {"car": (0, 1), "dog": (0, 1)}


def test_attention_ends_when_the_answer_is_put_right(scene: Scene, studio: FakeStudio) -> None:
    number = scene.answer(0, [ODD["an ellipse"](NEW)])
    assert len(scene.pull().attention) == 1
    studio.change_annotation(number, [NEW])
    assert scene.pull().attention == ()
    assert scene.state(0) == "reviewed"


def test_an_odd_region_of_an_answer_that_does_not_count_does_not_matter(scene: Scene) -> None:
    scene.answer(0, [ODD["an ellipse"](NEW)])
    scene.answer(0, [NEW])
    assert scene.pull().attention == ()


def test_regions_that_share_an_id_or_a_place_are_objects_of_their_own(scene: Scene) -> None:
    scene.answer(0, [region("car", (1, 2, 30, 40), "a"), region("car", (1, 2, 30, 40), "b")])
    scene.answer(1, [region("car", (1, 2, 30, 40), "a"), region("car", (51, 2, 80, 40), "a")])
    scene.pull()
    assert scene.said(0) == [("car", (1, 2, 30, 40)), ("car", (1, 2, 30, 40))]
    assert scene.said(1) == [("car", (1, 2, 30, 40)), ("car", (51, 2, 80, 40))]


# Labels


def test_an_unknown_label_stops_the_pull_before_anything_is_written(scene: Scene) -> None:
    before = scene.dump()
    scene.answer(0, [NEW])
    scene.answer(1, [region("lorry", (1, 2, 30, 40)), region("lorry", (1, 2, 33, 40), "b")])
    scene.answer(2, [region("lorry", (1, 2, 30, 40)), region("\x1b[2J<b>", (1, 2, 30, 40), "b")])
    with pytest.raises(InputError) as caught:
        scene.pull(batch=1)
    said = str(caught.value)
    assert "'lorry' in 2 answers such as " in said
    assert f"{scene.tasks[1]}" in said
    assert "alias" in said
    assert "project.yaml" in said
    assert "'\\x1b[2J<b>' in 1 answers" in said
    assert "\n" not in said
    assert scene.dump() == before


def test_an_alias_is_the_class(scene: Scene) -> None:
    car, dog = scene.shown(0)
    car["value"]["rectanglelabels"] = ["Lorry"]
    scene.answer(0, [car, dog])
    with pytest.raises(InputError, match="'Lorry'"):
        scene.pull()
    scene.ontology = Ontology((OntologyClass("car", ("car",), aliases=("Lorry",)), OntologyClass("dog", ("dog",))))
    pulled = scene.pull()
    assert [one.class_name for one in scene.labels(0)] == ["car", "dog"]
    assert pulled.teacher == {"car": (1, 1), "dog": (1, 1)}


def test_a_class_that_was_added_since_is_taken(scene: Scene) -> None:
    scene.answer(0, [region("bus", (1, 2, 30, 40))])
    scene.ontology = Ontology((*scene.ontology.classes, OntologyClass("bus", ("bus",))))
    scene.pull()
    assert scene.said(0) == [("bus", (1, 2, 30, 40))]


def test_unknown_labels_of_drafts_and_skips_do_not_matter(scene: Scene) -> None:
    lorry = region("lorry", (1, 2, 30, 40))
    scene.answer(0, [lorry], draft=True)
    scene.answer(1, [lorry], skipped=True)
    assert scene.pull().skipped == 1


# Trouble on the way


def test_a_pull_that_is_cut_off_between_batches_is_finished_by_the_next(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_all(scene)
    write = StudioLedger.commit_verdicts
    done: list[int] = []

    def cut_off_after_one(self: StudioLedger, target: Any, verdicts: Sequence[Verdict]) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(1)
        write(self, target, verdicts)

    for expected in (1, 2, 3):
        done.clear()
        with monkeypatch.context() as patched:
            patched.setattr(StudioLedger, "commit_verdicts", cut_off_after_one)
            with pytest.raises(KeyboardInterrupt):
                scene.pull(batch=1)
        assert scene.target.pulled_until is None
        assert sum(scene.state(number) != "pushed" for number in range(4)) == expected
    scene.pull(batch=1)
    assert [scene.state(number) for number in range(4)] == ["reviewed", "reviewed-empty", "skipped", "pushed"]
    assert len(scene.said(0)) == 3
    assert scene.pull().changed == 0
    assert scene.pull().totals == Totals(1, 1, 1, 0, 1, 0, 1)


def test_batches_of_any_size_give_the_same_rows(scene: Scene, tmp_path: Path) -> None:
    answer_all(scene)
    dumps = []
    scene.store.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    original = scene.store.path.read_bytes()
    for batch in (1, 3, 200):
        folder = tmp_path / str(batch)
        folder.mkdir()
        (folder / "labels.db").write_bytes(original)
        scene.store = Store.open(folder / "labels.db")
        scene.ledger = StudioLedger(scene.store)
        scene.pull(batch=batch)
        dumps.append(scene.dump())
        scene.store.close()
    assert dumps[0] == dumps[1] == dumps[2]


def test_a_task_deleted_between_pages_is_not_missed(scene: Scene, studio: FakeStudio) -> None:
    answer_all(scene)
    serve, state = studio.serve, {"calls": 0}

    def deleting(call: Any, target: str) -> Any:
        answered = serve(call, target)
        if call.path == "/api/tasks" and "fields=all" in target and not state["calls"]:
            state["calls"] += 1
            studio.delete_tasks(scene.tasks[1])
        return answered

    studio.serve = deleting  # type: ignore[method-assign]
    pulled = scene.pull()
    assert state["calls"] == 1
    assert pulled.withdrawn == 1
    assert [scene.state(number) for number in range(4)] == ["reviewed", "reviewed-empty", "skipped", "pushed"]
    assert scene.ledger.counts(scene.target) == {"intended": 0, "sent": 3, "withdrawn": 1}


def test_a_server_that_goes_away_leaves_everything_as_it_was(scene: Scene, studio: FakeStudio) -> None:
    answer_all(scene)
    before = scene.dump()
    studio.down()
    with pytest.raises(ServerError):
        scene.pull()
    assert scene.dump() == before
    studio.revive()
    assert scene.pull().changed == 3


def test_a_photo_that_was_replaced_keeps_the_review_of_its_old_bytes(scene: Scene) -> None:
    scene.answer(0, [NEW])
    scene.store.rows("UPDATE files SET sha256 = ? WHERE sha256 = ?", scene.images[1], scene.images[0])
    pulled = scene.pull()
    assert pulled.set_aside == 1
    assert scene.said(0) == [("dog", (20, 20, 40, 44))]


# Anything people do, in any order

PLACES = ((5, 5, 25, 25), (30, 40, 70, 80), (90, 10, 150, 100))
OBJECTS = st.lists(st.tuples(st.sampled_from(["car", "dog"]), st.integers(0, 2)), max_size=3, unique_by=lambda o: o[1])
IMAGES, PEOPLE = st.integers(0, 2), st.integers(1, 2)


@dataclass
class Told:
    """One answer as the model knows it; ``at`` grows with every change."""

    at: int
    who: int
    skipped: bool
    objects: list[tuple[str, int]]


@dataclass
class Known:
    """One image as the model knows it."""

    alive: bool = True
    answers: dict[int, Told] = field(default_factory=dict)
    state: str = "pushed"
    said: list[tuple[str, Box]] = field(default_factory=list)


class People(RuleBasedStateMachine):
    """People at work and pulls between; the model says what labels.db must hold after each pull."""

    studio: FakeStudio

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.scene = Scene(self.folder, self.studio, 3)
        self.known = [Known() for _ in range(3)]
        self.clock = 0

    def teardown(self) -> None:
        self.scene.store.close()
        shutil.rmtree(self.folder)

    def _tick(self) -> int:
        self.clock += 1
        return self.clock

    @rule(image=IMAGES, who=PEOPLE, objects=OBJECTS)
    def submit(self, image: int, who: int, objects: list[tuple[str, int]]) -> None:
        self._answer(image, who, objects, skipped=False)

    @rule(image=IMAGES, who=PEOPLE)
    def submit_empty(self, image: int, who: int) -> None:
        self._answer(image, who, [], skipped=False)

    @rule(image=IMAGES, who=PEOPLE, objects=OBJECTS)
    def skip(self, image: int, who: int, objects: list[tuple[str, int]]) -> None:
        self._answer(image, who, objects, skipped=True)

    @rule(image=IMAGES, who=PEOPLE, objects=OBJECTS)
    def draft(self, image: int, who: int, objects: list[tuple[str, int]]) -> None:
        if self.known[image].alive:
            self.scene.answer(image, _regions(objects), user=who, draft=True)

    @rule(image=IMAGES, pick=st.integers(0, 9), objects=OBJECTS)
    def edit(self, image: int, pick: int, objects: list[tuple[str, int]]) -> None:
        known = self.known[image]
        if known.alive and known.answers:
            number = sorted(known.answers)[pick % len(known.answers)]
            self.studio.change_annotation(number, _regions(objects))
            known.answers[number].at = self._tick()
            known.answers[number].objects = objects

    @rule(image=IMAGES, pick=st.integers(0, 9))
    def delete_answer(self, image: int, pick: int) -> None:
        known = self.known[image]
        if known.alive and known.answers:
            number = sorted(known.answers)[pick % len(known.answers)]
            self.studio.delete_annotation(number)
            del known.answers[number]

    @rule(image=IMAGES)
    @precondition(lambda self: self.clock > 5)
    def delete_task(self, image: int) -> None:
        if self.known[image].alive:
            self.studio.delete_tasks(self.scene.tasks[image])
            self.known[image].alive = False

    @rule(batch=st.sampled_from([1, 2, 200]))
    def pull(self, batch: int) -> None:
        self.scene.pull(batch=batch)
        for known in self.known:
            self._expect(known)

    @rule()
    def pull_twice(self) -> None:
        self.pull(200)
        before = self.scene.dump()
        assert self.scene.pull().changed == 0
        assert self.scene.dump() == before

    @invariant()
    def labels_are_those_of_the_newest_submitted_answer_of_the_last_pull(self) -> None:
        for number, known in enumerate(self.known):
            assert self.scene.state(number) == known.state
            assert self.scene.said(number) == known.said

    def _answer(self, image: int, who: int, objects: list[tuple[str, int]], *, skipped: bool) -> None:
        if self.known[image].alive:
            number = self.scene.answer(image, _regions(objects), user=who, skipped=skipped)
            self.known[image].answers[number] = Told(self._tick(), who, skipped, objects)

    def _expect(self, known: Known) -> None:
        if not known.alive:
            known.state = "prelabelled" if known.state == "pushed" else known.state
            return
        submitted = [told for told in known.answers.values() if not told.skipped]
        known.said = []
        if submitted:
            objects = max(submitted, key=lambda told: told.at).objects
            known.said = sorted((name, tuple(map(float, PLACES[place]))) for name, place in objects)  # type: ignore[misc]
            known.state = "reviewed" if objects else "reviewed-empty"
        else:
            known.state = "skipped" if known.answers else "pushed"


def _regions(objects: Sequence[tuple[str, int]]) -> list[Region]:
    return [region(name, PLACES[place], f"r{place}") for name, place in objects]


def test_whatever_people_do_a_pull_brings_their_newest_answers(studio: FakeStudio) -> None:
    studio.add_user("ann@localhost")
    People.studio = studio
    run_state_machine_as_test(
        People,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


def test_it_is_told_how_many_images_have_answers_of_several_people(scene: Scene, studio: FakeStudio) -> None:
    scene.answer(0, [], user=studio.add_user("ann@localhost"))
    scene.answer(1, [])
    assert scene.pull().several == 0
    scene.answer(0, [], user=studio.add_user("bob@localhost"))
    assert scene.pull().several == 1
    assert scene.pull("consensus").several == 1


def test_a_change_from_the_future_hides_no_later_answer(scene: Scene, studio: FakeStudio) -> None:
    """The clock of a server was ahead once, and was put right."""
    scene.answer(0, [])
    studio.records.tasks[scene.tasks[0]]["updated_at"] = "2999-01-01T00:00:00.000000Z"
    assert scene.pull().reviewed_empty == 1
    scene.answer(1, [])
    assert scene.pull().reviewed_empty == 1
    assert scene.state(1) == "reviewed-empty"
