"""`labelstill teachers`: the table of both kinds, what each lacks here, and the two things it can do about it."""

from __future__ import annotations

import importlib.util
import io
import json
import resource
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from labeling.cli import main
from labeling.teachers.catalogue import DETECTORS, SEGMENTERS
from tests.fake_worker import environment

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)


def listed(capsys: Capture, *arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
    assert main(["teachers", "--json", *arguments]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ready"] == sum(row["ready"] for row in answer["teachers"])
    return {(row["role"], row["name"]): row for row in answer["teachers"]}


def commands(row: dict[str, Any]) -> list[str]:
    return [missing["command"] for missing in row["missing"]]


def cached(hub: Path, hub_id: str) -> None:
    """Put weights of a hub id where its cache would have them."""
    repository = hub / "hub" / f"models--{hub_id.replace('/', '--')}"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc" / "model.safetensors").touch()
    (repository / "snapshots" / "abc" / "config.json").write_text("{}")


def test_every_row_of_both_tables_is_listed_with_licence_and_needs(capsys: Capture) -> None:
    rows = listed(capsys)
    assert list(rows) == [*(("detector", name) for name in DETECTORS), *(("segmenter", name) for name in SEGMENTERS)]
    for (role, name), row in rows.items():
        backend = {"detector": DETECTORS, "segmenter": SEGMENTERS}[role][name]
        assert (row["licence"], row["needs"]) == (backend.licence, backend.needs)
        assert row["ready"] == (row["missing"] == [])
    assert main(["teachers"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for _, name in rows)
    assert all(row["licence"] in said for row in rows.values())


def test_on_a_bare_machine_what_came_along_is_ready_and_the_rest_says_what_to_type(capsys: Capture) -> None:
    rows = listed(capsys)
    assert {key for key, row in rows.items() if row["ready"]} == {("detector", "bundled"), ("segmenter", "bundled")}
    assert commands(rows["detector", "grounding-dino"]) == ["hf download IDEA-Research/grounding-dino-tiny"]
    assert commands(rows["detector", "sam3"]) == ["labelstill teachers accept sam3", "hf download facebook/sam3"]
    assert commands(rows["detector", "yoloe"]) == [
        'labelstill label PHOTOS --classes "WORDS" --detector yoloe --weights FILE'
    ]
    assert commands(rows["segmenter", "sam2-native"]) == [
        'labelstill label PHOTOS --classes "WORDS" --segmenter sam2-native --segmenter-weights FILE'
    ]


def test_weights_in_the_cache_make_a_teacher_ready(tmp_path: Path, capsys: Capture) -> None:
    cached(tmp_path / "hub", "google/owlv2-base-patch16-ensemble")
    cached(tmp_path / "hub", "facebook/sam3")
    rows = listed(capsys)
    assert rows["detector", "owlv2"]["ready"]
    assert commands(rows["detector", "sam3"]) == ["labelstill teachers accept sam3"]
    assert main(["teachers", "accept", "sam3", "--yes"]) == 0
    capsys.readouterr()
    assert listed(capsys)["detector", "sam3"]["ready"]


def test_a_library_that_is_absent_names_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ultralytics" else found(name))
    rows = listed(capsys)
    lacking = {key for key, row in rows.items() if 'pip install -c constraints.txt -e ".[student]"' in commands(row)}
    tables = (("detector", DETECTORS), ("segmenter", SEGMENTERS))
    assert lacking == {(role, key) for role, table in tables for key, row in table.items() if row.extra == "student"}
    assert rows["detector", "yoloe"]["missing"][0]["what"] == "ultralytics not installed (extra student)"


def test_a_student_is_ready_once_a_training_of_the_project_has_ended(tmp_path: Path, capsys: Capture) -> None:
    assert commands(listed(capsys, "--project", str(tmp_path))["detector", "student"]) == ["labelstill train"]
    run = tmp_path / "runs" / "train" / "1"
    run.mkdir(parents=True)
    (run / "student.safetensors").touch()
    (run / "run.json").write_text('{"finished_at": "2026-01-01T00:00:00"}')
    assert listed(capsys, "--project", str(tmp_path))["detector", "student"]["ready"]


def test_an_environment_that_is_absent_names_the_command_that_makes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from labeling.teachers import readiness

    for found in (None, Path("/somewhere")):
        monkeypatch.setattr(readiness, "find", lambda name, found=found: found)
        asked = commands(listed(capsys)["detector", "groundingdino-py"])
        assert ("labelstill teachers install groundingdino-py" in asked) == (found is None)


def test_an_environment_in_another_folder_is_found_by_what_install_says_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = tmp_path / "with space"
    with pytest.MonkeyPatch.context() as patch:
        environment(folder, patch, "")
    install = ["teachers", "install", "groundingdino-py", "--into", str(folder)]
    assert main(install) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.endswith(f"is installed in {folder}")
    assert second.endswith(f": export LABELSTILL_GROUNDINGDINO='{folder}'")
    assert main([*install, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["folder"] == str(folder)
    name, value = shlex.split(answer["export"])[0].split("=")
    monkeypatch.setenv(name, value)
    assert main(install) == 0
    assert "export" not in capsys.readouterr().out
    asked = commands(listed(capsys)["detector", "groundingdino-py"])
    assert "labelstill teachers install groundingdino-py" not in asked


def test_listing_takes_less_than_a_second_and_imports_no_model_library() -> None:
    code = (
        "import sys, labeling.cli as cli; cli.main(['teachers']); "
        "print(sorted({'torch', 'transformers', 'supervision', 'numpy', 'ultralytics'} & set(sys.modules)))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert out.stdout.splitlines()[-1] == "[]"
    # Seconds of CPU: what passes on the clock depends on who else works here.
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 1


def test_accepting_shows_the_licence_and_says_where_it_is_noted(tmp_path: Path, capsys: Capture) -> None:
    assert main(["teachers", "accept", "sam3", "--yes"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("sam3 is under the SAM License; its text: ")
    assert str(tmp_path / "config" / "labelstill" / "licences.json") in said
    assert main(["teachers", "accept", "sam3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["licence"] == "SAM License"


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_on_a_terminal_a_person_is_asked(
    answer: str, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert main(["teachers", "accept", "sam3"]) == code
    assert (tmp_path / "config" / "labelstill" / "licences.json").exists() == (code == 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["accept", "sam3"], "read it, then labelstill teachers accept sam3 --yes"),
        (["accept", "sam3", "--json"], "read it, then labelstill teachers accept sam3 --yes"),
        (["accept"], "needs a NAME"),
        (["accept", "owlv2"], "'owlv2' needs no licence to be accepted; expected one of: sam3"),
        (["install", "sam3"], "'sam3' has no environment of its own"),
        (["install", "groundingdino"], "did you mean 'groundingdino-py'?"),
        (["remove", "sam3"], "labelstill teachers --help"),
        (["accept", "sam3", "--yes", "--into", "x"], "--into says where labelstill teachers install puts"),
        (["--into", "x"], "--into says where labelstill teachers install puts"),
    ],
)
def test_what_cannot_be_done_says_why_and_changes_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["teachers", *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert not (tmp_path / "config").exists()
