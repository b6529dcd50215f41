"""`labelstill push`: what people read at its end, its exit code, and what a dry run leaves alone."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from labeling.cli import main
from labeling.core.store_studio import StudioLedger
from labeling.project import Project
from labeling.studio import chunks
from tests import fake_studio_faults as faults
from tests.fake_studio import FakeStudio
from tests.pushing import PALLET, World

pytestmark = pytest.mark.http

Push = Callable[..., tuple[int, str, str]]


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    with FakeStudio() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, studio: FakeStudio) -> World:
    return World(tmp_path, studio)


@pytest.fixture
def push(world: World, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Push:
    monkeypatch.setenv("LABEL_STUDIO_URL", studio.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", studio.token)

    def run(*flags: str) -> tuple[int, str, str]:
        code = main(["push", "--project", str(world.root), *flags])
        said = capsys.readouterr()
        assert studio.token not in said.out + said.err
        return code, said.out, said.err

    return run


def test_a_push_says_what_is_new_where_to_look_and_what_to_run_next(push: Push, studio: FakeStudio) -> None:
    code, said, _ = push()
    first = studio.tasks()[0]
    lines = said.splitlines()
    assert code == 0
    assert lines[0] == "3 new, 0 changed"
    assert f"{studio.url}/projects/{first['project']}/data?task={first['id']}" in said
    assert lines[-1].startswith("next         labelstill pull --project ")
    code, said, _ = push()
    assert (code, said.splitlines()[0]) == (0, "0 new, 0 changed")
    assert "3 tasks" in said


def test_json_says_the_same(push: Push, world: World) -> None:
    code, said, _ = push("--json", "--blind-share", "0")
    answer = json.loads(said)
    assert code == 0
    assert (answer["new"], answer["changed"], answer["blind"], answer["refused"]) == (3, 0, 0, [])
    assert answer["first_link"].startswith("http://127.0.0.1")


def test_photos_that_cannot_be_sent_are_named_and_give_exit_code_2(push: Push, world: World) -> None:
    (world.photos / "1.png").unlink()
    code, said, _ = push()
    assert code == 2
    assert said.splitlines()[0] == "2 new, 0 changed"
    assert str(world.photos / "1.png") in said
    code, said, _ = push("--json")
    assert code == 2
    assert json.loads(said)["refused"][0]["name"] == str(world.photos / "1.png")


def test_a_name_cannot_command_the_terminal(push: Push, world: World) -> None:
    odd = world.photos / "red\x1b[31m.png"
    (world.photos / "1.png").rename(odd)
    with world.store() as store, store.transaction() as db:
        db.execute("UPDATE files SET path = ? WHERE path LIKE '%1.png'", (str(odd),))
    code, said, _ = push()
    assert code == 2
    assert "\x1b" not in said
    assert "red\\x1b" in said


# Dry runs


def untouched(world: World) -> list[Any]:
    with world.store() as store:
        return [store.states(), *(list(StudioLedger(store).tasks(one)) for one in StudioLedger(store).targets())]


def test_a_dry_run_before_the_first_push_makes_nothing(push: Push, world: World, studio: FakeStudio) -> None:
    before = untouched(world)
    code, said, _ = push("--dry-run")
    assert code == 0
    assert said.splitlines()[0] == "would be 3 new, 0 changed"
    assert studio.records.projects == {}
    assert untouched(world) == before


def test_a_dry_run_foretells_the_push_and_writes_nothing(push: Push, world: World, studio: FakeStudio) -> None:
    push("--limit", "2", "--audit-share", "0", "--blind-share", "0")
    sent = list(world.per_photo())
    number = next(n for n in range(3) if world.sha256(n) == sent[0])
    world.label(number, PALLET)
    world.label(8)
    before, since = untouched(world), len(studio.requests)
    foretold = json.loads(push("--dry-run", "--json")[1])
    writes = [one for one in studio.requests[since:] if one.method != "GET" and "/token/" not in one.path]
    assert writes == []
    assert untouched(world) == before
    assert foretold["dry_run"] is True
    done = json.loads(push("--json", "--blind-share", "0")[1])
    keys = ("new", "changed", "unchanged", "adopted", "withdrawn", "drawn")
    assert [foretold[key] for key in keys] == [done[key] for key in keys]
    assert (done["new"], done["changed"]) == (2, 1)


def test_a_dry_run_finds_what_a_lost_ledger_would_adopt(push: Push, world: World) -> None:
    push()
    world.forget_ledger()
    foretold = json.loads(push("--dry-run", "--json")[1])
    assert (foretold["new"], foretold["adopted"]) == (0, 3)
    done = json.loads(push("--json")[1])
    assert (done["new"], done["adopted"]) == (0, 3)


def test_a_dry_run_without_a_server_says_that_it_could_not_compare(
    push: Push, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    moments = iter(range(0, 10**9, 30))
    monkeypatch.setattr("time.monotonic", lambda: next(moments))
    studio.down()
    code, said, _ = push("--dry-run")
    assert code == 0
    assert "would be 3 new" in said
    assert "not compared with the server" in said


# Flags


def test_only_and_limit_choose(push: Push, world: World) -> None:
    assert push("--only", "class:pallet", "--only", "state:prelabelled", "--limit", "2")[1].startswith("2 new")
    code, _, said = push("--only", "class:palet")
    assert code == 1
    assert "did you mean 'pallet'" in said


@pytest.mark.parametrize("text", ["ten", "nan%", "0", "101%", ""])
def test_an_overlap_that_is_no_percentage_is_refused_before_anything_is_sent(
    push: Push, studio: FakeStudio, text: str
) -> None:
    code, _, said = push("--overlap", text)
    assert code == 1
    assert "--overlap is" in said
    assert studio.requests == []


def test_overlap_lets_two_people_see_the_share(push: Push, studio: FakeStudio) -> None:
    push("--overlap", "34%")
    assert sorted(task["overlap"] for task in studio.tasks()) == [1, 1, 2]


def test_uploads_need_no_common_disk(push: Push, world: World, studio: FakeStudio) -> None:
    assert push("--upload")[1].startswith("3 new")
    assert all(task["data"]["image"].startswith("/data/upload/") for task in studio.tasks())
    assert push("--upload")[1].startswith("0 new")
    assert len(studio.records.uploads) == 3


def test_again_brings_back_what_people_deleted(push: Push, world: World, studio: FakeStudio) -> None:
    push()
    studio.delete_tasks(studio.tasks()[0]["id"])
    said = push()[1]
    assert said.startswith("0 new")
    assert "--again" in said
    assert push("--again")[1].startswith("1 new")


def test_another_project_gets_everything(push: Push, world: World, studio: FakeStudio) -> None:
    push()
    assert push("--new-project")[1].startswith("3 new")
    assert len(studio.records.projects) == 2
    assert push()[1].startswith("0 new")


# Ends


def test_a_second_push_in_the_same_project_is_turned_away(push: Push, world: World, studio: FakeStudio) -> None:
    with Project.open(world.root).lock():
        code, _, said = push()
    assert code == 1
    assert "is writing here" in said
    assert studio.requests == []


def test_a_refusal_of_the_server_is_one_sentence(push: Push, studio: FakeStudio) -> None:
    studio.faults.append(faults.refused("POST", "/import", 400))
    code, said, problem = push()
    assert (code, said) == (1, "")
    assert "refused by the script" in problem
    assert len(problem.strip().splitlines()) == 1


def test_ctrl_c_ends_after_the_chunk_at_hand(
    push: Push, world: World, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "MAX_TASKS", 1)
    studio.faults.append(faults.meanwhile("POST", "/import", lambda fake: signal.raise_signal(signal.SIGINT)))
    code, said, problem = push("--blind-share", "0")
    assert code == 130
    assert said.startswith("1 new")
    assert "the same command continues" in problem
    assert "next " not in said
    assert push("--blind-share", "0")[1].startswith("2 new")
    assert set(world.per_photo().values()) == {1}
