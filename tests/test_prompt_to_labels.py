"""scripts/prompt_to_labels.py: the flags and the labels of `labelstill label`."""

from __future__ import annotations

import runpy
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from labeling.cli import main
from labeling.core.store import Store
from tests.fakes import draw_photos
from tests.test_label_command import command

pytestmark = pytest.mark.usefixtures("drawn_backend")

ROOT = Path(__file__).resolve().parents[1]


def test_the_script_does_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_photos(tmp_path / "photos", 9)
    arguments = command(tmp_path)[1:]
    monkeypatch.setattr(sys, "argv", ["prompt_to_labels.py", *arguments])
    with pytest.raises(SystemExit) as leaving:
        runpy.run_path(str(ROOT / "scripts" / "prompt_to_labels.py"), run_name="__main__")
    assert leaving.value.code == 0
    by_script = Counter(capsys.readouterr().out.replace("project", "").split())
    with Store.open(tmp_path / "project" / "labels.db") as store:
        labels = [store.annotations_of(image.sha256 or "") for image in store.iter_images()]
    shutil.rmtree(tmp_path / "project")
    main(command(tmp_path))
    assert by_script == Counter(capsys.readouterr().out.replace("project", "").split())
    with Store.open(tmp_path / "project" / "labels.db") as store:
        assert labels == [store.annotations_of(image.sha256 or "") for image in store.iter_images()]


def test_the_script_has_the_flags_of_the_verb(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["label", "--help"])
    verb = capsys.readouterr().out.partition("Options:")[2]
    monkeypatch.setattr(sys, "argv", ["prompt_to_labels.py", "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / "scripts" / "prompt_to_labels.py"), run_name="__main__")
    script = capsys.readouterr().out.partition("Options:")[2]
    flags = [word for word in verb.split() if word.startswith("--")]
    assert [word for word in script.split() if word.startswith("--")] == flags
    assert len(flags) == 27
