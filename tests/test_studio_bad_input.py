"""Wrong servers, tokens, projects and files met on the command line: one sentence each, nothing sent twice, no loss."""

from __future__ import annotations

import json
import os
import resource
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labeling.core.store_schema import _TABLES_1
from labeling.formats.labelstudio import KEY
from tests import made_stores
from tests.broken_studios import GET, IMPORTS, METADATA, POST, PROJECTS, SERVERS, Terminal
from tests.fake_studio import FakeStudio
from tests.fake_studio_faults import Fault
from tests.privileges import bound_by_file_modes
from tests.pull_scene import region
from tests.pushing import World

pytestmark = pytest.mark.http


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    with FakeStudio() as running:
        yield running


@pytest.fixture
def terminal(
    tmp_path: Path, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    return Terminal(World(tmp_path, studio), monkeypatch, capsys)


# One cause at a time: it is told, it is removed, the same command works


def imports(studio: FakeStudio) -> int:
    return studio.count("POST", "/import")


@pytest.mark.parametrize("cause", SERVERS)
def test_a_wrong_server_or_token_is_one_sentence_and_the_second_try_works(terminal: Terminal, cause: str) -> None:
    broken = SERVERS[cause]
    for verb in ("push", "pull"):
        broken.makes(terminal)
        assert broken.says in terminal.refused(verb)
        assert imports(terminal.studio) == (verb == "pull")
        broken.mends(terminal)
        terminal.done(verb, "--blind-share", "0") if verb == "push" else terminal.done(verb)
    terminal.assert_once()


@pytest.mark.parametrize("cause", PROJECTS)
def test_a_project_that_was_changed_there_is_one_sentence_and_the_advice_works(terminal: Terminal, cause: str) -> None:
    broken = PROJECTS[cause]
    terminal.done("push", "--limit", "2")
    broken.makes(terminal)
    tasks = terminal.studio.tasks()
    assert broken.says in terminal.refused("push")
    assert terminal.studio.tasks() == tasks
    broken.mends(terminal)
    terminal.done("push", *broken.flags)
    newest = max(terminal.studio.records.projects)
    keys = sorted(task["data"][KEY] for task in terminal.studio.tasks(newest))
    assert keys == sorted(terminal.world.sha256(number) for number in range(3))
    assert terminal.done("push").startswith("0 new, 0 changed\n")


@pytest.mark.parametrize("cause", IMPORTS)
def test_tasks_that_are_not_taken_are_sent_once_when_the_cause_is_gone(terminal: Terminal, cause: str) -> None:
    broken = IMPORTS[cause]
    broken.makes(terminal)
    assert broken.says in terminal.refused("push")
    assert imports(terminal.studio) == broken.posts
    assert terminal.studio.tasks() == []
    assert set(terminal.world.states().values()) == {"prelabelled"}
    broken.mends(terminal)
    assert terminal.done("push").startswith("3 new")
    terminal.assert_once()


def test_a_legacy_token_where_they_are_off_says_which_kind_to_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeStudio(tokens="legacy-off") as studio:
        terminal = Terminal(World(tmp_path, studio), monkeypatch, capsys)
        for verb in ("push", "pull"):
            assert "has legacy tokens off: create a personal access token" in terminal.refused(verb)
        studio.legacy_on = True
        terminal.done("push")
        terminal.assert_once()


def test_a_sub_path_is_needed_and_a_slash_at_the_end_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeStudio(prefix="/label/studio") as studio:
        terminal = Terminal(World(tmp_path, studio), monkeypatch, capsys)
        terminal.name_server(studio.url.removesuffix("/studio"))
        assert "may lack a sub-path" in terminal.refused("push")
        terminal.name_server(f"{studio.url}/")
        assert terminal.done("push").startswith("3 new")
        terminal.name_server()
        assert terminal.done("push").startswith("0 new"), "with and without the slash it is one server"
        terminal.assert_once()


def test_labels_that_people_added_do_no_harm_until_they_are_used(terminal: Terminal) -> None:
    terminal.done("push", "--limit", "2", "--blind-share", "0")
    (row,) = terminal.studio.records.projects.values()
    row["label_config"] = row["label_config"].replace("<Label ", '<Label value="extra"/><Label ', 1)
    assert terminal.done("push").startswith("1 new")
    assert '"extra"' in row["label_config"]
    task = terminal.world.task(0)["id"]
    terminal.studio.annotate(task, [region("extra", (1, 2, 30, 40))])
    said = terminal.refused("pull")
    assert f"people used 'extra' in 1 answers such as {terminal.studio.url}/projects/1/data?task={task}" in said
    assert set(terminal.world.states().values()) == {"pushed"}
    path = terminal.world.root / "project.yaml"
    path.write_text(path.read_text().replace("- pallet\n", "- pallet\n  - extra\n"))
    assert terminal.done("pull").startswith("1 reviewed")


def test_a_class_in_use_that_was_taken_out_stops_a_pull_and_not_what_only_counts(terminal: Terminal) -> None:
    terminal.done("push", "--blind-share", "0")
    for user in (1, terminal.studio.add_user("ann@x.org")):
        for task in terminal.studio.tasks():
            terminal.studio.annotate(task["id"], task["predictions"][0]["result"], user=user)
    path = terminal.world.root / "project.yaml"
    whole = path.read_text()
    path.write_text(whole.replace("- pallet\n", ""))
    assert "expected class 'pallet' at place 2" in terminal.refused("pull")
    path.write_text(whole)
    terminal.done("pull")
    before = [terminal.done(verb) for verb in ("audit", "agreement")]
    path.write_text(whole.replace("- pallet\n", ""))
    assert [terminal.done(verb) for verb in ("audit", "agreement")] == before


def test_a_host_that_nobody_knows_is_named(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object, **_more: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    terminal.name_server("http://labelstudio.invalid:8080")
    for verb in ("push", "pull"):
        assert "there is no host labelstudio.invalid: correct LABEL_STUDIO_URL" in terminal.refused(verb)


# Too early


def test_a_project_without_classes_or_labels_says_what_comes_first(terminal: Terminal) -> None:
    root = terminal.world.root
    text = (root / "project.yaml").read_text()
    (root / "project.yaml").write_text("name: x\n")
    for verb in ("push", "pull"):
        assert "has no classes yet" in terminal.refused(verb)
    (root / "project.yaml").write_text(text)
    (root / "labels.db").rename(root / "away.db")
    for verb in ("push", "pull", "agreement"):
        assert "label some photos first (labelstill label" in terminal.refused(verb)
    assert "labelstill push" in terminal.done("audit")
    assert terminal.studio.requests == []
    (root / "away.db").rename(root / "labels.db")
    assert terminal.done("push").startswith("3 new")


def test_before_the_first_push_and_the_first_answer_each_verb_says_which_one_comes_next(terminal: Terminal) -> None:
    assert "labelstill push --project" in terminal.refused("pull")
    assert "labelstill push --project" in terminal.done("audit")
    assert "labelstill push --overlap 10%" in terminal.refused("agreement")
    assert terminal.studio.records.projects == {}
    terminal.done("push")
    assert terminal.done("pull").startswith("0 new answers")
    assert "labelstill pull --project" in terminal.done("audit")
    assert "no image has an answer yet" in terminal.refused("agreement")


def test_photos_that_nobody_labelled_are_no_tasks(
    tmp_path: Path, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal(World(tmp_path, studio, photos=0), monkeypatch, capsys)
    assert terminal.done("push").startswith("0 new")
    assert imports(studio) == 0
    terminal.world.label(0)
    assert terminal.done("push").startswith("1 new")


def test_labels_of_the_first_format_are_pushed_and_pulled(terminal: Terminal) -> None:
    path = terminal.world.root / "labels.db"
    with sqlite3.connect(":memory:") as made:
        for statement in _TABLES_1:
            made.execute(statement)
        first = {name for (name,) in made.execute("SELECT name FROM sqlite_master")}
    with sqlite3.connect(path) as db:
        for kind, name in db.execute("SELECT type, name FROM sqlite_master").fetchall():
            if name not in first:
                db.execute(f"DROP {kind} IF EXISTS {name}")
        db.execute("ALTER TABLE annotations DROP COLUMN sources")
        db.execute("PRAGMA user_version = 1")
    assert terminal.done("push", "--blind-share", "0").startswith("3 new")
    terminal.studio.annotate(terminal.world.task(0)["id"], [])
    assert terminal.done("pull").startswith("0 reviewed, 1 reviewed-empty")
    terminal.assert_once()


@pytest.mark.parametrize("version", ["2.0.0", "1.12.1", "\x1b[2Jnightly"])
def test_a_server_of_another_version_is_a_warning_and_no_obstacle(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr("tests.fake_studio_routes.VERSION", version)
    said = terminal.done("push")
    assert said.startswith("3 new")
    assert "was never tried with labelstill" in said
    assert said.replace("\n", "").isprintable()


# Flags


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--only", "pallet"), "expected class:NAME, state:STATE, sure:SHARE, or a decision such as relabel"),
        (("--only", "class:"), "expected class:NAME"),
        (("--only", "colour:red"), "expected class:NAME"),
        (("--only", "class:palet"), "did you mean 'pallet'"),
        (("--only", "state:done"), "known: new, prelabelled"),
        (("--only", "decision:relabel"), "there is no decision yet"),
        (("--limit", "0"), "1 or more"),
        (("--limit", "-3"), "1 or more"),
        (("--limit", "many"), "labelstill push --help"),
        (("--overlap", "120%"), "from 1 to 100, such as 10%"),
        (("--overlap", "0"), "from 1 to 100, such as 10%"),
        (("--overlap", "inf"), "percentage such as 10%"),
        (("--audit-share", "10"), "from 0 to 1"),
        (("--audit-share", "nan"), "from 0 to 1"),
        (("--blind-share", "-0.1"), "from 0 to 1"),
    ],
)
def test_a_flag_out_of_range_is_refused_before_the_server_hears_of_it(
    terminal: Terminal, flags: tuple[str, str], says: str
) -> None:
    assert says in terminal.refused("push", *flags)
    assert terminal.studio.requests == []


# Files


def test_photos_that_changed_since_are_named_and_the_rest_goes_on(terminal: Terminal) -> None:
    photos = terminal.world.photos
    first = {number: terminal.world.sha256(number) for number in range(3)}
    made_stores.photo(photos / "1.png", seed=100)
    (photos / "2.png").rename(photos / "away.png")
    code, out, _ = terminal.type("push", "--blind-share", "0")
    assert code == 2
    assert out.startswith("1 new, 0 changed\n")
    assert f"{photos / '1.png'}: holds another picture than the one that was labelled" in out
    assert f"{photos / '2.png'}: the photo is gone: put it back" in out
    assert list(terminal.world.per_photo()) == [first[0]]
    made_stores.photo(photos / "1.png", seed=1)
    (photos / "away.png").rename(photos / "2.png")
    assert terminal.done("push").startswith("2 new")
    assert terminal.world.per_photo() == dict.fromkeys(first.values(), 1)


def test_a_photo_replaced_after_the_push_gets_a_task_of_its_own_and_its_old_answer_is_kept_apart(
    terminal: Terminal,
) -> None:
    terminal.done("push", "--blind-share", "0")
    before, task = terminal.world.sha256(1), terminal.world.task(1)["id"]
    made_stores.photo(terminal.world.photos / "1.png", seed=100)
    assert terminal.done("push").startswith("0 new"), "the copy that people see is of the photo that was labelled"
    terminal.studio.annotate(task, [region("box", (1, 2, 30, 40))])
    assert terminal.done("pull").startswith("1 reviewed")
    terminal.world.label(1)
    after = terminal.world.sha256(1)
    assert after != before
    assert terminal.done("push", "--blind-share", "0").startswith("1 new")
    assert set(terminal.world.per_photo().values()) == {1}
    assert {before, after} <= terminal.world.per_photo().keys()
    said = json.loads(terminal.done("pull", "--json"))
    assert said["set_aside"] == 1
    assert terminal.world.states()[before] == "reviewed"
    assert terminal.world.states()[after] == "pushed"


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_a_project_folder_that_cannot_be_written_is_one_sentence(terminal: Terminal, verb: str) -> None:
    if verb == "pull":
        terminal.done("push", "--blind-share", "0")
        terminal.studio.annotate(terminal.world.task(0)["id"], [])
    posts = imports(terminal.studio)
    folders = [terminal.world.root, *(path for path in terminal.world.root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    with bound_by_file_modes():
        assert str(terminal.world.root) in terminal.refused(verb)
    for folder in folders:
        folder.chmod(0o700)
    assert imports(terminal.studio) == posts
    assert terminal.done(verb).startswith("3 new" if verb == "push" else "0 reviewed, 1 reviewed-empty")
    terminal.assert_once()


@pytest.mark.parametrize("room", [20_000, 200_000])
def test_a_full_disk_ends_a_pull_in_one_sentence_and_the_next_one_brings_everything(
    terminal: Terminal, room: int
) -> None:
    terminal.done("push", "--blind-share", "0")
    many = [region("box", (1, 2, 30, 40), f"r{number}") for number in range(2000)]
    for number in range(3):
        terminal.studio.annotate(terminal.world.task(number)["id"], many)
    before = terminal.world.states()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        said = terminal.refused("pull")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(terminal.world.root) in said
    assert terminal.world.states() == before
    assert terminal.done("pull").startswith("3 reviewed")


# Addresses that lead elsewhere


@pytest.mark.parametrize("address", ["file:///etc/passwd", METADATA, "http://elsewhere.invalid/a.png", "javascript:0"])
def test_a_task_whose_picture_was_pointed_elsewhere_is_never_followed(terminal: Terminal, address: str) -> None:
    terminal.done("push", "--blind-share", "0")
    with FakeStudio() as other:
        for number, target in ((0, address), (1, f"{other.url}/a.png")):
            task = terminal.world.task(number)
            terminal.studio.records.tasks[task["id"]]["data"]["image"] = target
            terminal.studio.annotate(task["id"], [region("box", (1, 2, 30, 40))])
        assert terminal.done("pull").startswith("2 reviewed")
        assert terminal.done("push").startswith("0 new")
        for verb in ("audit", "report"):
            terminal.done(verb)
        assert other.requests == []
    terminal.assert_once()


def test_a_redirect_never_carries_the_token_to_another_server(terminal: Terminal) -> None:
    with FakeStudio() as other:
        away = {"Location": f"{other.url}/data/local-files/?d=x"}
        terminal.studio.faults[:] = [Fault(GET, "/data/local-files", 0, 302, "", away)]
        assert "not of another server" in terminal.refused("push")
        terminal.studio.faults[:] = [Fault(method, "/api/", 0, 307, "", away) for method in (GET, POST)]
        assert f"sends on to {other.url}" in terminal.refused("push")
        assert other.requests == []
    assert terminal.studio.tasks() == []


def test_files_that_the_server_says_it_stored_elsewhere_are_not_fetched_there(terminal: Terminal) -> None:
    with FakeStudio() as other:
        stored = json.dumps([{"id": number, "file": f"{other.url}/a.png"} for number in range(1, 4)])
        terminal.studio.faults[:] = [Fault(GET, "/file-uploads", 0, 200, f'{{"list": {stored}}}')]
        terminal.refused("push", "--upload")
        assert other.requests == []
    terminal.studio.faults.clear()
    assert terminal.done("push", "--upload").startswith("3 new")
    terminal.assert_once()


# Hostile words

MARKUP = "<img src=x onerror=alert(1)>"
WORDS = {
    "markup": f"{MARKUP}\"&amp;'",
    "a formula": "=cmd|'/c calc'!A1",
    "an at sign": "@SUM(1+1)",
    "right to left": "\u05d0\u05d1 gnp.exe",
    "long": "x" * 120,
    "script": "</script><script>alert(1)</script>",
    "XML": "]]><!--",
    "a path": "../../etc/passwd",
}


def labels_of(xml: str) -> set[str]:
    from xml.etree import ElementTree

    return {label.attrib["value"] for label in ElementTree.fromstring(xml).iter("Label")}


@pytest.mark.parametrize("kind", WORDS)
def test_a_hostile_word_travels_as_a_class_a_person_and_a_file_and_commands_nobody(
    tmp_path: Path,
    studio: FakeStudio,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    word = WORDS[kind]
    monkeypatch.setattr("tests.pushing.CLASSES", ("box", "pallet", word))
    world = World(tmp_path, studio, photos=0)
    for number in range(3):
        odd = world.photos / f"{word.replace('/', '_')} {number}\n\x1b[31m.png".encode().decode()
        made_stores.photo(odd, seed=number)
        with world.store() as store:
            made = made_stores.outcome([odd], [made_stores.Thing(word, (20, 30, 60, 90), masked=number == 0)])
            made_stores.write(store, ("box", "pallet", word), [made])
    terminal = Terminal(world, monkeypatch, capsys)
    people = [studio.add_user(f"{word}@one"), studio.add_user(f"{word}@two")]
    assert terminal.done("push", "--blind-share", "0").startswith("3 new")
    assert labels_of(studio.records.projects[1]["label_config"]) == {"box", "pallet", word}
    for task in studio.tasks():
        for user in people:
            studio.annotate(task["id"], task["predictions"][0]["result"], user=user)
    spoken = [
        terminal.done("pull"),
        terminal.done("audit", "--csv", str(tmp_path / "a.csv")),
        terminal.done("agreement"),
    ]
    spoken.append(terminal.type("pull", "--policy", f"annotator:{word}@three")[2])
    for text in spoken:
        assert text.replace("\n", "").isprintable()
    for verb in ("pull", "audit", "agreement"):
        json.loads(terminal.done(verb, "--json"))
    with world.store() as store:
        assert {one.class_name for sha256 in store.states() for one in store.annotations_of(sha256, "human")} == {word}
    cells = [cell for line in (tmp_path / "a.csv").read_text().splitlines() for cell in line.split(",")]
    assert not any(cell.lstrip('"').startswith(("=", "@", "+", "-", "\t")) for cell in cells)
    terminal.done("report", "--out", str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert MARKUP not in page
    assert "<script>alert" not in page
    assert ("&lt;img src=x onerror" in page) == (kind == "markup")


def test_a_file_name_that_is_no_text_is_pushed_and_comes_back(
    tmp_path: Path, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path, studio, photos=0)
    path = Path(os.fsdecode(os.fsencode(world.photos) + b"/\xff\xfe\x1b[31m.png"))
    made_stores.photo(path, seed=1)
    with world.store() as store:
        made_stores.write(
            store, ("box", "pallet"), [made_stores.outcome([path], [made_stores.Thing("box", (1, 1, 9, 9))])]
        )
    terminal = Terminal(world, monkeypatch, capsys)
    for media in ((), ("--upload", "--new-project")):
        assert terminal.done("push", "--blind-share", "0", *media).startswith("1 new")
    path.unlink()
    code, out, _ = terminal.type("push", "--new-project", "--upload")
    assert code == 2
    assert out.replace("\n", "").isprintable()
    ((name, _reason),) = (entry.values() for entry in json.loads(terminal.type("push", "--json")[1])["refused"])
    assert name.endswith("/\\xff\\xfe\x1b[31m.png"), "JSON has its own escapes for what commands a terminal"


def test_half_a_character_from_somebodys_keyboard_stops_nobody(terminal: Terminal) -> None:
    terminal.done("push", "--blind-share", "0")
    half, whole = "\ud83d", "\U0001f600"
    user = terminal.studio.add_user(f"{half}{whole}@x.org")
    for number, more in enumerate(({"meta": {"text": [half]}}, {"id": half}, {"parentID": f"{whole}{half}"})):
        drawn = {**region("box", (1, 2, 30, 40)), **more}
        terminal.studio.annotate(terminal.world.task(number)["id"], [drawn], user=user)
    assert terminal.done("pull").startswith("3 reviewed")
    with terminal.world.store() as store:
        (label,) = store.annotations_of(terminal.world.sha256(0), "human")
    assert label.provenance.annotator == f"?{whole}@x.org"


def answer_with(terminal: Terminal, result: list[Any]) -> tuple[int, str, str]:
    terminal.done("push", "--blind-share", "0")
    terminal.studio.annotate(terminal.world.task(0)["id"], result)
    return terminal.type("pull")


@pytest.mark.parametrize(
    "result",
    [
        ["text"],
        [{"id": "\x1b[2J", "type": "rectanglelabels", "value": None}],
        [{"id": "\x00\ud83d", "type": "rectanglelabels", "value": {}}],
        [{**region("box", (1, 2, 30, 40)), "original_width": 10**9}],
        [
            {
                **region("box", (1, 2, 30, 40)),
                "value": {"x": "1", "y": 0, "width": 5, "height": 5, "rectanglelabels": ["box"]},
            }
        ],
        [{**region("box", (1, 2, 30, 40)), "value": {**region("box", (1, 2, 30, 40))["value"], "rectanglelabels": []}}],
        [
            {
                **region("box", (1, 2, 30, 40)),
                "type": "brushlabels",
                "value": {"rle": [255] * 40, "brushlabels": ["box"]},
            }
        ],
    ],
)
def test_an_answer_that_cannot_be_read_waits_for_a_person(terminal: Terminal, result: list[Any]) -> None:
    code, out, err = answer_with(terminal, result)
    assert (code, err) == (2, "")
    assert "1 need attention" in out.splitlines()[0]
    assert out.replace("\n", "").isprintable()
    assert terminal.world.states()[terminal.world.sha256(0)] == "pushed"
