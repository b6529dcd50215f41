"""`labelstill demo` as a newcomer types it: photos, labels, exports and report appear where it says."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from labeling.commands.demo import PHOTOS
from labeling.core.ontology import parse_classes
from labeling.demo.photos import CLASSES

pytestmark = pytest.mark.torch


def labelstill(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", "import sys; from labeling.cli import main; sys.exit(main())", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("newcomer")
    result = labelstill(folder, "demo")
    assert result.returncode == 0, result.stderr
    return folder / "demo-1", result.stdout


def test_it_says_what_was_found_where_it_lies_and_what_to_run_next(shown: tuple[Path, str]) -> None:
    root, text = shown
    names = parse_classes(CLASSES).names
    found = dict(re.findall(r"^  (\S.*?) +(\d+)$", text, re.MULTILINE))
    assert list(found) == list(names)
    assert sum(map(int, found.values())) > PHOTOS
    for place in ("labels.db", "exports/coco/annotations.json", "exports/yolo/data.yaml", "reports/report.html"):
        assert str(root / place) in text
        assert (root / place).is_file()
    assert "next" in text


def test_labels_db_and_exports_agree(shown: tuple[Path, str]) -> None:
    root, _ = shown
    with sqlite3.connect(root / "labels.db") as db:
        assert db.execute("SELECT count(*) FROM v_images WHERE state = 'prelabelled'").fetchone() == (PHOTOS,)
        (total,) = db.execute("SELECT count(*) FROM v_annotations").fetchone()
        (masked,) = db.execute("SELECT count(*) FROM v_annotations WHERE rle IS NOT NULL").fetchone()
        (features,) = db.execute("SELECT count(*) FROM features").fetchone()
    assert masked > 0.9 * total
    assert features == PHOTOS + total  # one of each image and one of each box
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(root / "exports/coco/annotations.json"))
    assert len(coco.imgs) == PHOTOS
    assert len(coco.anns) == total
    lines = [line for path in (root / "exports/yolo").rglob("*.txt") for line in path.read_text().splitlines()]
    assert len(lines) == total


def test_again_it_labels_nothing_and_without_a_name_it_takes_a_fresh_folder(shown: tuple[Path, str]) -> None:
    root, _ = shown
    again = labelstill(root.parent, "demo", "--project", "demo-1", "--json")
    assert again.returncode == 0, again.stderr
    answer = json.loads(again.stdout)
    assert answer["photos"] == PHOTOS
    assert answer["labelled"] == 0
    fresh = labelstill(root.parent, "demo", "--json")
    assert json.loads(fresh.stdout)["project"] == str(root.parent / "demo-2")
    assert json.loads(fresh.stdout)["annotations"] == answer["annotations"]


def test_colour_and_noun_asked_later_is_appended(shown: tuple[Path, str]) -> None:
    root, _ = shown
    later = labelstill(
        root, "label", "photos", "--project", ".", "--classes", "red box", "--detector", "bundled", "--json"
    )
    assert later.returncode == 0, later.stderr
    assert list(json.loads(later.stdout)["objects"]) == [*parse_classes(CLASSES).names, "red box"]
