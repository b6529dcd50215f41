"""`labelstill curate` from outside: what it prints and writes, two at once, and what happens if a part is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distill.commands import curate_words as words
from distill.curate import Applied
from distill.curation.tags import Problem
from labeling.cli import main
from labeling.core.store_decisions import Decided
from labeling.project import Project
from tests.curated import twice_boxed
from tests.made_stores import ontology
from tests.paths import ROOT

LABELSTILL = (sys.executable, "-c", "import sys; from labeling.cli import main; sys.exit(main())")
WITHOUT_FIFTYONE = "import sys; sys.modules['fiftyone'] = None; from labeling.cli import main; sys.exit(main())"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("FIFTYONE_DATABASE_URI", raising=False)
    return twice_boxed(tmp_path)


def curate(project: Project, *arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    program = LABELSTILL if code is None else (sys.executable, "-c", code)
    command = [*program, "curate", "--project", str(project.root), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def opened(project: Project, *arguments: str) -> subprocess.Popen[str]:
    command = [*LABELSTILL, "curate", "--json", "--project", str(project.root), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def facts_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the app; return what was said about it."""
    assert process.stdout is not None
    facts: dict[str, Any] = json.loads(process.stdout.readline())
    return facts


def test_without_fiftyone_a_report_is_written_that_says_what_it_leaves_out(project: Project) -> None:
    done = curate(project, "--no-app", code=WITHOUT_FIFTYONE)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "8 images with 17 boxes"
    worst = lines[lines.index("most doubtful") + 1]
    assert "duplicate box disc: " in worst
    assert "5.png: shares " in worst
    assert any(line.startswith("plan: collect ") and "disc" in line for line in lines)
    assert any(line.startswith("left out: FiftyOne was not asked (--no-app)") for line in lines)
    assert lines[-1].endswith(f"labelstill curate --project {project.root}")
    page = (project.root / "reports" / "curation.html").read_text()
    assert "duplicate box" in page
    assert "FiftyOne was not asked" in page
    assert not (project.root / "curation" / "db").exists()


def test_the_report_for_programs_has_the_same_worst_label(project: Project) -> None:
    done = curate(project, "--no-app", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["images"], said["boxes"]) == (8, 17)
    assert said["suspects"][0]["kind"] == "duplicate box"
    assert said["suspects"][0]["image"].endswith("5.png")
    assert said["classes"]["disc"] == {"images": 8, "boxes": 9, "verdict": "too few"}
    assert said["bytes"] == Path(said["file"]).stat().st_size


@pytest.mark.parametrize("arguments", [(), ("--apply",)])
def test_without_fiftyone_the_app_is_refused_before_anything_is_looked_at(
    project: Project, arguments: tuple[str, ...]
) -> None:
    done = curate(project, *arguments, code=WITHOUT_FIFTYONE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "starting FiftyOne",
        "error: fiftyone is not installed; it comes with the extra 'curate': "
        'pip install -c constraints.txt -e ".[curate]"',
    ]
    assert not (project.root / "curation").exists()


def test_flags_that_do_not_go_together_and_a_project_without_labels(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["curate", "--apply", "--no-app", "--project", str(project.root)]) == 1
    assert "--apply only brings tags back" in capsys.readouterr().err
    assert main(["curate", "--yes", "--project", str(project.root)]) == 1
    assert "--yes belongs to --apply" in capsys.readouterr().err
    empty = Project.create(tmp_path / "empty", ontology(["disc"]))
    assert main(["curate", "--no-app", "--project", str(empty.root)]) == 1
    assert "nothing is labelled yet: labelstill label" in capsys.readouterr().err


def test_what_became_of_tags_is_counted_by_decision_with_the_next_step() -> None:
    added = (Decided("a", "relabel"), Decided("b", "relabel"), Decided("b", "note", "dark"))
    problems = [Problem("5.png", "a label"), *(Problem(f"{one}.png", "tag 'relable': mend it") for one in range(60))]
    done = Applied(added, (Decided("c", "drop"),), 4, tuple(problems), to_relabel=2)
    assert words.applied(done, "yard") == [
        "3 decisions new, 1 taken back, 4 as before",
        "  relabel       2 new",
        "  drop          0 new, 1 taken back",
        "  note          1 new",
        "attention    5.png: a label",
        "attention    60 x tag 'relable': mend it (on 0.png, 1.png, 2.png and 57 more)",
        "these tags stay as they are: mend them in the app, then --apply again",
        "next: labelstill push --only relabel --project yard",
    ]
    assert words.applied(Applied((), (), 0, ()), "yard")[-1] == "next: labelstill curate --project yard"
    again = words.applied(Applied((), (), 2, (), to_relabel=2), "yard")
    assert again[-1] == "next: labelstill push --only relabel --project yard"


def test_the_last_thing_said_is_where_the_app_is_and_how_it_ends() -> None:
    said = words.of_app("http://127.0.0.1:5151/datasets/yard", ["Probably wrong"], "yard")
    assert said[-2:] == [
        "open http://127.0.0.1:5151/datasets/yard",
        "Ctrl-C closes the app; then, or meanwhile elsewhere: labelstill curate --apply --project yard",
    ]
    (box,) = [line for line in said if line.startswith("tag one box")]
    assert "open the photo, click the box" in box
    assert any("with nothing selected the whole view is tagged" in line for line in said)


@pytest.mark.server
def test_a_job_in_the_background_that_is_terminated_says_that_the_app_is_closed(project: Project) -> None:
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); " + LABELSTILL[2]
    command = [sys.executable, "-c", ignoring, "curate", "--project", str(project.root)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Ctrl-C"):
            lines.append(process.stdout.readline())
            assert lines[-1], "it has ended"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "")
    assert lines[-2].startswith("open http://127.0.0.1:")
    assert lines[-2].endswith("?view=probably-wrong\n")
    assert errors.splitlines()[-1].startswith("the app is closed; next: labelstill curate --apply")
    assert "same command" not in errors


@pytest.mark.server
def test_a_tag_that_needs_a_look_is_exit_code_two(project: Project) -> None:
    code = (
        "import sys, pathlib; from distill.curate import build; from distill.fiftyone_server import database\n"
        "from labeling.project import Project; from tests.curated import findings\n"
        f"project = Project.open(pathlib.Path({str(project.root)!r}))\n"
        "with database(project) as fo, project.open_store() as store:\n"
        "    fo.load_dataset(build(project, store, findings()).name).tag_samples('relable')\n"
    )
    tagged = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert tagged.returncode == 0, tagged.stderr
    done = curate(project, "--apply")
    assert done.returncode == 2, done.stderr
    (problem,) = [line for line in done.stdout.splitlines() if line.startswith("attention")]
    assert "8 x tag 'relable': did you mean 'relabel'?" in problem


@pytest.mark.server
def test_two_who_curate_at_once_both_get_their_app_and_a_mongod_that_dies_is_told(project: Project) -> None:
    import psutil

    first, second = opened(project), opened(project)
    try:
        said = [facts_of(first), facts_of(second)]
        assert said[0]["dataset"] == said[1]["dataset"]
        assert said[0]["url"] != said[1]["url"]
        assert "Probably wrong" in said[0]["views"]
        second.send_signal(signal.SIGINT)
        assert second.wait(60) == 0
        (mongod,) = [
            one.pid
            for one in psutil.process_iter(["name", "cmdline"])
            if one.info["name"] == "mongod" and str(project.root / "curation" / "db") in (one.info["cmdline"] or ())
        ]
        os.kill(mongod, signal.SIGKILL)
        answer, errors = first.communicate(timeout=60)
        assert first.returncode == 1
        expected = "FiftyOne's database, mongod, has ended while it was used: run the same command again"
        assert expected in json.loads(answer)["error"]
        assert errors.startswith(f"error: {expected}")
        assert len(errors.splitlines()) == 1
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
    again = curate(project, "--apply", "--json")
    assert (again.returncode, json.loads(again.stdout)["added"]) == (0, [])
