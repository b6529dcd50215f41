"""The project in Label Studio: made once, known again wherever it answers, never mistaken for another, kept fitting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from labeling.core.errors import InputError, ServerError, StateError
from labeling.core.ontology import Ontology, OntologyClass, parse_classes
from labeling.core.store import Store
from labeling.core.store_studio import StudioLedger, Task
from labeling.formats.labelstudio_config import class_names
from labeling.project import Project
from labeling.studio.client import StudioClient
from labeling.studio.copies import images_path
from labeling.studio.folder import files_path
from labeling.studio.target import find_target, look_up, open_target
from tests import fake_studio_faults as faults
from tests.fake_studio import LABEL_CONFIG, FakeStudio
from tests.studio_servers import StudioServer

pytestmark = pytest.mark.http


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project", parse_classes("box, pallet"))


@pytest.fixture
def store(project: Project) -> Iterator[Store]:
    with project.open_store(create=True) as store:
        yield store


@pytest.fixture
def fake(project: Project) -> Iterator[FakeStudio]:
    with FakeStudio(files_root=files_path(project)) as studio:
        yield studio


@pytest.fixture
def client(fake: FakeStudio) -> Iterator[StudioClient]:
    with StudioClient(fake.url, fake.token) as client:
        yield client


def labels(fake: FakeStudio, project_id: int) -> tuple[str, ...]:
    return class_names(fake.records.projects[project_id]["label_config"], "the server's")


def edited(fake: FakeStudio, project_id: int, before: str, after: str) -> None:
    """Change the configuration as people do on its settings page."""
    row = fake.records.projects[project_id]
    assert before in row["label_config"]
    row["label_config"] = row["label_config"].replace(before, after)


# Made once


def test_the_first_push_makes_a_project_that_shows_predictions_in_our_order(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio
) -> None:
    target = open_target(project, store, client, local=True)
    row = fake.records.projects[target.project_id]
    assert row["title"] == "project"
    assert labels(fake, target.project_id) == ("box", "pallet")
    assert (target.url, target.media, target.pulled_until) == (client.url, "local", None)
    assert target.config == row["label_config"]
    assert row["show_collab_predictions"] is True
    assert row["reveal_preannotations_interactively"] is False
    assert row["enable_empty_annotation"] is True
    assert row["show_skip_button"] is True
    assert row["sampling"] == "Sequential sampling"
    assert [storage["path"] for storage in fake.records.storages.values()] == [str(images_path(project))]


def test_the_second_push_writes_nothing(project: Project, store: Store, client: StudioClient, fake: FakeStudio) -> None:
    first = open_target(project, store, client, local=True)
    fake.requests.clear()
    assert open_target(project, store, client, local=True) == first
    assert {request.method for request in fake.requests if "/token/" not in request.path} == {"GET"}
    assert len(fake.records.storages) == 1


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("x", "x labels"),
        ("ab", "ab labels"),
        ("abc", "abc"),
        ("häfen 港", "häfen 港"),
        ("n" * 60, "n" * 50),
        ("a\tb\x1b[31m\u202e c\n", "a b [31m c"),
        ("\x00", "labels"),
    ],
)
def test_every_name_makes_a_title_that_label_studio_takes(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio, name: str, title: str
) -> None:
    renamed = replace(project, config=project.config.model_copy(update={"name": name}))
    target = open_target(renamed, store, client, local=True)
    assert fake.records.projects[target.project_id]["title"] == title


def test_without_classes_nothing_is_made(tmp_path: Path, store: Store, client: StudioClient, fake: FakeStudio) -> None:
    with pytest.raises(InputError, match="has no classes yet"):
        open_target(Project.create(tmp_path / "empty"), store, client, local=True)
    assert not fake.records.projects


@pytest.mark.parametrize("lost", ["answer", "ledger"])
def test_a_project_that_was_made_and_not_noted_is_adopted(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio, lost: str
) -> None:
    fake.add_project(description="somebody else's")
    if lost == "answer":
        fake.faults.append(faults.cut_after("POST", r"/api/projects/?$"))
        with pytest.raises(ServerError):
            open_target(project, store, client, local=True)
    else:
        open_target(project, store, client, local=True)
        with store.transaction() as db:
            db.execute("DELETE FROM studio_targets")
    assert len(fake.records.projects) == 2
    target = open_target(project, store, client, local=True)
    assert target.project_id == 2
    assert len(fake.records.projects) == 2


def test_another_project_folder_gets_a_project_of_its_own(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio, tmp_path: Path
) -> None:
    first = open_target(project, store, client, local=True)
    with Store.open(tmp_path / "other.db", create=True) as other:
        assert open_target(project, other, client, local=True).project_id != first.project_id


# Known again


def test_a_project_that_is_gone_is_not_made_again_unasked(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio
) -> None:
    target = open_target(project, store, client, local=True)
    del fake.records.projects[target.project_id]
    fake.records.storages.clear()
    for attempt in (
        lambda: open_target(project, store, client, local=True),
        lambda: find_target(store, client, local=True),
    ):
        with pytest.raises(StateError, match=f"project {target.project_id} on {fake.url}: is gone.*--new-project"):
            attempt()
    assert not fake.records.projects
    anew = open_target(project, store, client, local=True, new_project=True)
    assert anew.project_id != target.project_id
    assert open_target(project, store, client, local=True) == anew
    assert find_target(store, client, local=True) == anew


def test_a_project_of_somebody_else_under_the_same_number_is_left_alone(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio
) -> None:
    target = open_target(project, store, client, local=True)
    fake.records.projects[target.project_id]["description"] = "a new server, a new project"
    with pytest.raises(StateError, match=r"expected the line 'labelstill [0-9a-f]{32}' in its description"):
        open_target(project, store, client, local=True)


def test_a_changed_title_and_description_do_not_matter(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio
) -> None:
    target = open_target(project, store, client, local=True)
    row = fake.records.projects[target.project_id]
    row["title"] = "Monday"
    row["description"] = f"for the team\r\n{row['description']}\r\nask Ann"
    assert open_target(project, store, client, local=True) == target
    assert row["title"] == "Monday"


def test_the_own_server_is_known_again_at_another_port(project: Project, store: Store, fake: FakeStudio) -> None:
    with StudioClient(fake.url, fake.token) as client:
        first = open_target(project, store, client, local=True)
        second = open_target(project, store, client, local=True, new_project=True)
    fake.down()
    fake._port = 0
    fake.revive()
    assert fake.url != second.url
    with StudioClient(fake.url, fake.token) as client:
        assert look_up(store, client, local=True).target == second
        assert find_target(store, client, local=True).id == second.id
        target = open_target(project, store, client, local=True)
    assert (target.id, target.url) == (second.id, fake.url)
    assert [(one.id, one.url) for one in StudioLedger(store).targets()] == [(first.id, fake.url), (second.id, fake.url)]
    assert len(fake.records.projects) == 2


def test_another_server_is_another_target(project: Project, store: Store, fake: FakeStudio) -> None:
    with StudioClient(fake.url, fake.token) as client:
        mine = open_target(project, store, client, local=True)
    with FakeStudio(files_root=files_path(project)) as other, StudioClient(other.url, other.token) as client:
        with pytest.raises(StateError, match=r"nothing was pushed to http://127.0.0.1:\d+ yet: labelstill push"):
            find_target(store, client, local=False)
        other.add_project()
        theirs = open_target(project, store, client, local=False)
    assert theirs.id != mine.id
    with StudioClient(fake.url, fake.token) as client:
        assert open_target(project, store, client, local=True) == mine


def test_looking_makes_nothing(store: Store, client: StudioClient, fake: FakeStudio) -> None:
    with pytest.raises(StateError, match="nothing was pushed"):
        find_target(store, client, local=True)
    assert look_up(store, client, local=True) is None
    assert store.recall("studio identity") is None
    assert not fake.records.projects


# The configuration


def grown(project: Project, store: Store, name: str) -> Project:
    classes = (*project.ontology.classes, OntologyClass(name, (name,), guide=f"every {name}, whole"))
    return project.with_ontology(Ontology(classes), store)


def test_a_new_class_is_added_and_what_people_are_told_too(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio
) -> None:
    target = open_target(project, store, client, local=True)
    after = open_target(grown(project, store, "forklift"), store, client, local=True)
    row = fake.records.projects[target.project_id]
    assert labels(fake, target.project_id) == ("box", "pallet", "forklift")
    assert after.config == row["label_config"]
    assert "every forklift, whole" in row["expert_instruction"]
    assert after.id == target.id


def test_a_class_that_was_removed_from_the_settings_is_refused_before_anything_is_written(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio
) -> None:
    target = open_target(project, store, client, local=True)
    assert store.class_names() == ("box", "pallet")
    before = dict(fake.records.projects[target.project_id])
    project.config_path.write_text(project.config_path.read_text().replace("  - pallet\n", ""))
    with pytest.raises(StateError, match="expected class 'pallet' at place 2"):
        open_target(Project.open(project.root), store, client, local=True, update_config=True)
    assert fake.records.projects[target.project_id] == before


def test_instructions_that_people_wrote_stay(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio
) -> None:
    target = open_target(project, store, client, local=True)
    row = fake.records.projects[target.project_id]
    row["expert_instruction"] = "ask Ann"
    open_target(grown(project, store, "forklift"), store, client, local=True)
    assert row["expert_instruction"] == "ask Ann"


def test_labels_that_people_added_stay(project: Project, store: Store, client: StudioClient, fake: FakeStudio) -> None:
    target = open_target(project, store, client, local=True)
    edited(fake, target.project_id, "</RectangleLabels>", '<Label value="unsure"/></RectangleLabels>')
    open_target(project, store, client, local=True)
    assert "unsure" in labels(fake, target.project_id)


def test_a_label_that_was_removed_by_hand_is_named_and_put_back_on_request(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio
) -> None:
    target = open_target(project, store, client, local=True)
    fake.records.projects[target.project_id]["label_config"] = LABEL_CONFIG
    with pytest.raises(StateError, match=r"--update-config") as error:
        open_target(project, store, client, local=True)
    assert "pallet" in str(error.value)
    assert fake.records.projects[target.project_id]["label_config"] == LABEL_CONFIG
    after = open_target(project, store, client, local=True, update_config=True)
    assert {"box", "pallet"} <= set(labels(fake, target.project_id))
    assert after.config == fake.records.projects[target.project_id]["label_config"]
    assert open_target(project, store, client, local=True) == after


# The pictures


def test_a_server_elsewhere_that_cannot_serve_the_folder_is_told_of_uploads(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio, tmp_path: Path
) -> None:
    fake.records.files_root = tmp_path / "root of another server"
    with pytest.raises(StateError, match=r"cannot serve pictures from .*--upload") as error:
        open_target(project, store, client, local=False)
    assert str(images_path(project)) in str(error.value)
    assert fake.token not in str(error.value)
    target = open_target(project, store, client, local=False, upload=True)
    assert target.media == "upload"
    assert open_target(project, store, client, local=False) == target
    assert len(fake.records.projects) == 1
    assert not fake.records.storages


def test_a_storage_that_people_set_up_on_their_server_is_taken(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio, tmp_path: Path
) -> None:
    fake.records.files_root = tmp_path / "mounted"
    with pytest.raises(StateError):
        open_target(project, store, client, local=False)
    (tmp_path / "mounted" / "images").mkdir(parents=True)
    client.create_local_storage(1, str(tmp_path / "mounted" / "images"), "by hand")
    assert open_target(project, store, client, local=False).media == "local"
    assert len(fake.records.storages) == 1


@pytest.mark.server
def test_a_real_label_studio_keeps_all_of_it(studio_server: StudioServer, tmp_path: Path) -> None:
    project = Project.open(studio_server.project_root)
    with (
        Store.open(tmp_path / "labels.db", create=True) as store,
        StudioClient(studio_server.url, studio_server.token) as client,
    ):
        assert look_up(store, client, local=True) is None
        first = open_target(project, store, client, local=True)
        there = client.project(first.project_id)
        assert there is not None
        assert class_names(there["label_config"], "the server's") == project.ontology.names
        assert there["show_collab_predictions"] is True
        assert there["sampling"] == "Sequential sampling"
        assert open_target(project, store, client, local=True) == first
        assert len(client.local_storages(first.project_id)) == 1
        with store.transaction() as db:
            db.execute("DELETE FROM studio_targets")
        assert open_target(project, store, client, local=True).project_id == first.project_id

        edited_by_hand = LABEL_CONFIG.replace("cat", project.ontology.names[0])
        client.update_project(first.project_id, label_config=edited_by_hand)
        with pytest.raises(StateError, match="--update-config"):
            open_target(project, store, client, local=True)
        open_target(project, store, client, local=True, update_config=True)
        there = client.project(first.project_id)
        assert there is not None
        assert set(class_names(there["label_config"], "the server's")) == set(project.ontology.names)


def test_a_labels_db_that_was_made_anew_finds_the_project_of_the_lost_one(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio
) -> None:
    first = open_target(project, store, client, local=True)
    with Store.open(project.root / "anew.db", create=True) as anew:
        assert open_target(project, anew, client, local=True).project_id == first.project_id
        assert len(fake.records.projects) == 1


def test_a_server_that_answers_under_another_name_is_known_by_its_newest_task(
    project: Project, store: Store, client: StudioClient, fake: FakeStudio
) -> None:
    first = open_target(project, store, client, local=False, upload=True)
    ledger, sha256 = StudioLedger(store), "a" * 64
    with store.transaction() as db:
        db.execute("INSERT INTO images VALUES (?, 6, 4, 'prelabelled', NULL, '[]')", (sha256,))
    (number,) = client.import_tasks(first.project_id, [{"data": {"image": "/a.jpg", "labelstill_id": sha256}}])
    ledger.intend(first, [(Task(sha256, number, "sent", 0, "", ""), [])])
    ledger.note_pulled(first, "2026-01-01T00:00:00.000000Z")
    with StudioClient(fake.url.replace("127.0.0.1", "localhost"), fake.token) as renamed:
        again = open_target(project, store, renamed, local=False)
        assert again == replace(first, url=renamed.url, pulled_until="2026-01-01T00:00:00.000000Z")
        assert again.media == "upload"
    assert len(ledger.targets()) == 1
