"""The verb pull: what it prints, how it ends, and that neither tokens nor what people typed reach the terminal raw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling.cli import main
from labeling.core.store_studio import Task
from labeling.project import Project
from labeling.studio.secrets import TOKEN_VARIABLE, URL_VARIABLE
from tests.fake_studio import FakeStudio
from tests.made_stores import ontology
from tests.pull_scene import CLASSES, Scene, region

pytestmark = pytest.mark.http

NEW = region("dog", (20, 20, 40, 44))
ELLIPSE = {
    **NEW,
    "type": "ellipselabels",
    "value": {"x": 5, "y": 5, "radiusX": 1, "radiusY": 1, "ellipselabels": ["car"]},
}


@pytest.fixture
def studio() -> Iterator[FakeStudio]:
    with FakeStudio() as fake:
        yield fake


@pytest.fixture
def scene(tmp_path: Path, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv(URL_VARIABLE, studio.url)
    monkeypatch.setenv(TOKEN_VARIABLE, studio.token)
    Project.create(tmp_path, ontology(CLASSES))
    made = Scene(tmp_path, studio)
    made.store.remember("studio identity", "abc")
    studio.records.change_project(made.project, {"description": "labelstill abc"})
    yield made
    made.store.close()


def pulled(scene: Scene, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str, str]:
    """Run the verb; return its exit code, stdout and stderr. The token is in neither."""
    code = main(["pull", "--project", str(scene.store.path.parent), *flags])
    said = capsys.readouterr()
    assert scene.studio.token not in said.out + said.err
    return code, said.out, said.err


def test_it_says_what_came_back_and_how_right_the_teacher_was(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.answer(0, [*scene.shown(0), NEW])
    scene.answer(1, [])
    scene.answer(2, [], skipped=True)
    code, out, err = pulled(scene, capsys)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "1 reviewed, 1 reviewed-empty, 1 skipped, 0 need attention"
    assert lines[1] == "  in all: 1 reviewed, 1 reviewed-empty, 1 skipped, 1 unanswered"
    assert lines[2:5] == ["how often the teacher was right:", "   50.0%  of 2       car", "   50.0%  of 2       dog"]
    assert lines[5] == f"next: labelstill audit --project {scene.store.path.parent}"
    assert len(lines) == 6


def test_the_second_time_there_are_no_new_answers(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.answer(0, [NEW])
    pulled(scene, capsys)
    code, out, _ = pulled(scene, capsys)
    assert code == 0
    assert out.startswith("0 new answers; 1 reviewed, 0 reviewed-empty, 0 skipped, 0 need attention\n")


def test_what_needs_attention_is_listed_and_ends_with_2(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        scene.answer(number, [ELLIPSE])
    code, out, _ = pulled(scene, capsys)
    assert code == 2
    assert "4 need attention" in out.splitlines()[0]
    listed = out.partition("needs attention:\n")[2].splitlines()
    assert len(listed) == 5
    for number, line in enumerate(listed[:4]):
        assert f"photo{number}.png: region new: " in line
        assert line.endswith(f"{scene.studio.url}/projects/{scene.project}/data?task={scene.tasks[number]}")
    assert pulled(scene, capsys)[0] == 2


def test_json_holds_everything(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.answer(0, scene.shown(0))
    scene.answer(1, [ELLIPSE])
    scene.studio.records.add_tasks(scene.project, [{"data": {"image": "x"}}])
    code, out, err = pulled(scene, capsys, "--json", "--policy", "latest")
    told = json.loads(out)
    assert (code, err) == (2, "")
    assert (told["reviewed"], told["changed"], told["policy"]) == (1, 2, "latest")
    assert told["totals"]["unanswered"] == 2
    assert told["teacher"] == {name: {"right": 1, "pushed": 1, "precision": 1.0} for name in CLASSES}
    assert [one["name"].endswith("photo1.png") for one in told["attention"]] == [True]
    assert len(told["foreign"]) == 1


def test_an_unknown_label_is_an_error_that_says_what_to_do(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.answer(0, [region("lorry", (1, 2, 30, 40))])
    code, out, err = pulled(scene, capsys)
    assert (code, out) == (1, "")
    assert "'lorry' in 1 answers" in err
    config = scene.store.path.parent / "project.yaml"
    config.write_text(config.read_text().replace("- car\n", "- name: car\n    aliases: [lorry]\n"))
    assert pulled(scene, capsys)[0] == 0
    assert scene.said(0) == [("car", (1, 2, 30, 40))]


def test_a_label_that_becomes_a_class_is_taken(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.answer(0, [region("bus", (1, 2, 30, 40))])
    config = scene.store.path.parent / "project.yaml"
    config.write_text(config.read_text().replace("- dog\n", "- dog\n  - bus\n"))
    assert pulled(scene, capsys)[0] == 0
    assert scene.store.class_names() == ("car", "dog", "bus")


@pytest.mark.parametrize("policy", ["newest", "annotator:", "annotator:eve@x"])
def test_a_policy_that_is_none_is_an_error(scene: Scene, capsys: pytest.CaptureFixture[str], policy: str) -> None:
    code, _, err = pulled(scene, capsys, "--policy", policy)
    assert code == 1
    assert err.startswith("error: --policy: ")
    assert err.count("\n") == 1


HOSTILE = "\x1b[2J=cmd|'/c calc'!A1<img src=x onerror=alert(1)>\u202e"


def test_what_people_typed_reaches_the_terminal_escaped(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    mail = scene.studio.add_user(HOSTILE)
    scene.store.rows("UPDATE files SET path = ?", f"{HOSTILE}.png")
    scene.answer(0, [{**ELLIPSE, "id": HOSTILE, "image_rotation": 90}], user=mail)
    scene.answer(1, [NEW], user=mail)
    outs = [pulled(scene, capsys, "--policy", policy) for policy in ("latest", f"annotator:{HOSTILE}", "annotator:eve")]
    scene.answer(2, [region(HOSTILE, (1, 2, 30, 40))])
    outs += [pulled(scene, capsys), pulled(scene, capsys, "--json")]
    assert [code for code, _, _ in outs] == [2, 2, 1, 1, 1]
    for _, out, err in outs:
        assert (out + err).replace("\n", "").isprintable()
    assert "\\x1b[2J" in outs[0][1]
    assert scene.labels(1)[0].provenance.annotator == HOSTILE


def test_a_pull_after_a_push_that_was_killed_settles_first(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    sha256, number = scene.images[3], scene.tasks[3]
    labels = scene.ledger.pushed(scene.target, sha256)
    scene.ledger.intend(scene.target, [(Task(sha256, None, "intended", scene.tasks[2], "c", "m"), labels)])
    scene.answer(3, [NEW])
    code, out, _ = pulled(scene, capsys)
    assert code == 0
    assert out.startswith("1 reviewed")
    assert scene.ledger.counts(scene.target) == {"intended": 0, "sent": 4, "withdrawn": 0}
    assert {task.sha256: task.task_id for task in scene.ledger.tasks(scene.target)}[sha256] == number


def test_nothing_pushed_is_one_sentence(
    tmp_path: Path, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(URL_VARIABLE, studio.url)
    monkeypatch.setenv(TOKEN_VARIABLE, studio.token)
    Project.create(tmp_path, ontology(CLASSES)).open_store(create=True).close()
    assert main(["pull", "--project", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "labelstill push" in err
    assert err.count("\n") == 1


def test_a_server_that_is_down_is_one_sentence(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.answer(0, [NEW])
    before = scene.dump()
    scene.studio.down()
    code, _, err = pulled(scene, capsys)
    assert code == 1
    assert scene.studio.url.removeprefix("http://") in err
    assert err.count("\n") == 1
    assert scene.dump() == before


def test_two_writers_do_not_meet(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    with Project.open(scene.store.path.parent).lock():
        code, _, err = pulled(scene, capsys)
    assert code == 1
    assert "is writing here" in err
