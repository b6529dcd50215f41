"""Every error that the command line can give, as a newcomer sees it, beside the command that provokes it.

The texts stand in tests/snapshots/errors.txt, to be read whenever they change; to write it anew:

    LABELSTILL_WRITE_SNAPSHOTS=1 .venv/bin/python -m pytest tests/test_error_texts.py
"""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from labeling.cli import VERBS, main
from tests.error_cases import GENERAL, HELD, Case, split
from tests.error_cases_edge import EDGE
from tests.error_cases_student import STUDENT
from tests.error_cases_studio import STUDIO
from tests.error_cases_trust import TRUST
from tests.fakes import draw
from tests.paths import ROOT
from tests.privileges import bound_by_file_modes

SNAPSHOT = ROOT / "tests" / "snapshots" / "errors.txt"
CASES = 241
#: What differs from run to run, and how it is shown.
SHIFTING = {
    r"process \d+": "process N",
    r"127\.0\.0\.1:\d+": "127.0.0.1:PORT",
    r"labelstill [0-9a-f]{32}": "labelstill ID",
}
ALL = [*GENERAL, *STUDIO, *STUDENT, *EDGE, *TRUST]


def told(case: Case, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Provoke one error and return how the snapshot shows it."""
    draw(folder / "photos" / "a.png", [("red", (5, 5, 30, 30))])
    (folder / "drawn").write_text("weights")
    with HELD:
        if case.before is not None:
            case.before(folder)
        capsys.readouterr()
        with bound_by_file_modes() if case.unprivileged else nullcontext():
            code = main(split(case.typed, folder))
        output = capsys.readouterr()
    said = [
        line
        for line in output.err.splitlines()
        if not line.startswith(("labelling ", "looking at ", "comparing ", "1/1 files"))
    ]
    assert code == 1, (case.about, output)
    assert output.out == "", case.about
    assert said, case.about
    assert all(line.startswith("error: ") for line in said), (case.about, said)
    text = "\n".join([f"# {case.about}", f"$ labelstill {case.typed}", *said])
    for place, name in ((str(folder), "%"), (str(ROOT), "<tree>"), (str(Path.home()), "~")):
        text = text.replace(place, name)
    for pattern, name in SHIFTING.items():
        text = re.sub(pattern, name, text)
    return text


@pytest.mark.torch
@pytest.mark.usefixtures("drawn_backend")
def test_every_error_reads_as_it_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    texts = []
    for number, case in enumerate(ALL):
        (folder := tmp_path / f"{number:03d}").mkdir()
        texts.append(told(case, folder, capsys))
    while_written = "\n\n".join(texts) + "\n"
    if os.environ.get("LABELSTILL_WRITE_SNAPSHOTS"):
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(while_written, encoding="utf-8")
    assert while_written == SNAPSHOT.read_text(encoding="utf-8")


def test_the_snapshot_has_every_case_and_every_verb_that_can_fail() -> None:
    text = SNAPSHOT.read_text(encoding="utf-8")
    assert re.findall(r"^# (.*)$", text, re.MULTILINE) == [case.about for case in ALL]
    assert len(ALL) == len({case.about for case in ALL}) == CASES
    typed = set(re.findall(r"^\$ labelstill (\w+)", text, re.MULTILINE))
    assert set(VERBS) - typed == {"demo", "doctor"}, "these two have nothing to get wrong but the folder"


def test_no_error_is_a_riddle() -> None:
    errors = re.findall(r"^error: (.*)$", SNAPSHOT.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(errors) >= CASES
    assert [line for line in errors if "defect" in line or "Traceback" in line or "Errno" in line] == []
    # Two settings and a folder have to be typed, letter by letter, where the pictures are not shown.
    assert [line for line in errors if len(line) > 300 and "see the pictures" not in line] == []


def test_a_snapshot_names_no_place_of_this_machine() -> None:
    text = SNAPSHOT.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert "/tmp" not in text
