"""`labelstill split` as people type it: which part is empty, what was looked for, what to do next."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from labeling.cli import main
from labeling.project import Project
from tests.made_splits import open_test
from tests.made_stores import Thing, human, ontology, outcome, write

THINGS = (Thing("box", (10.0, 10.0, 50.0, 40.0), 0.9),)


def noise(path: Path, seed: int) -> Path:
    """Draw a picture that is like no other."""
    path.parent.mkdir(exist_ok=True)
    grey = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(grey).resize((160, 160), Image.Resampling.BICUBIC).save(path)
    return path


def project_of(root: Path, images: int, *, mirrored: bool = False) -> Path:
    """Draw photos that people have reviewed; the last may be the first in a mirror."""
    project = Project.create(root / "project", ontology(["box"]))
    photos = [noise(root / "photos" / f"{chr(97 + one)}.png", one) for one in range(images)]
    if mirrored:
        photos.append(root / "photos" / "mirrored.png")
        with Image.open(root / "photos" / "a.png") as picture:
            ImageOps.mirror(picture).save(photos[-1])
    outcomes = [outcome([path], THINGS) for path in photos]
    with project.open_store(create=True) as store:
        write(store, ["box"], outcomes)
        for made in outcomes:
            store.set_reviewed(str(made.sha256), [human(str(made.sha256), "box", THINGS[0].box)], "reviewed")
    return project.root


def said(capsys: pytest.CaptureFixture[str], code: int, *typed: str) -> list[str]:
    capsys.readouterr()
    assert main(["split", *typed]) == code
    return capsys.readouterr().out.splitlines()


def test_without_val_training_is_not_the_next_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(project_of(tmp_path, 1))
    lines = said(capsys, 0, "--project", root)
    assert any(line.startswith("EMPTY: val has no image: labelstill train refuses without") for line in lines)
    assert any(line.startswith("EMPTY: test has no image") for line in lines)
    assert any("have images of other scenes reviewed" in line for line in lines)
    assert lines[-1].startswith("next: labelstill push")
    assert json.loads("\n".join(said(capsys, 0, "--project", root, "--json")))["empty"] == ["val", "test"]


def test_without_a_share_for_val_the_next_step_is_to_give_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = said(capsys, 0, "--project", str(project_of(tmp_path, 8)), "--parts", "80/0/20", "--name", "odd")
    assert any(line.startswith("EMPTY: val") and "--parts 70/15/15 --fresh" in line for line in lines)
    assert lines[-1].startswith("next: labelstill split --parts 70/15/15 --fresh --name odd")


def test_without_test_training_is_the_next_step_and_what_is_lost_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(project_of(tmp_path, 8))
    lines = said(capsys, 0, "--project", root, "--parts", "70/30/0")
    assert [line.split(":")[1] for line in lines if line.startswith("EMPTY")] == [" test has no image"]
    assert lines[-1].startswith("next: labelstill train")


def test_folds_take_the_place_of_val(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, 0, "--project", str(project_of(tmp_path, 8)), "--folds", "2")
    assert not any(line.startswith("EMPTY") for line in lines)
    assert lines[-1].startswith("next: labelstill train --fold 0")


def test_what_was_looked_for_is_said_and_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, 0, "--project", str(project_of(tmp_path, 8)))
    (line,) = [line for line in lines if "two parts" in line]
    assert "was found in two parts" in line
    assert "strongly cropped ones were not" in line


def test_lists_that_part_a_photo_from_its_mirrored_copy_leak(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project_of(tmp_path, 3, mirrored=True)
    for part, text in {"train": "a\nb\n", "val": "c\n", "test": "mirrored\n"}.items():
        (tmp_path / f"{part}.txt").write_text(text)
    with Project.open(root).open_store() as store:
        open_test(store)
    lines = said(capsys, 3, "--project", str(root), "--lists", str(tmp_path))
    assert "LEAK: 1 pair or group of copies or neighbours found in two parts; see --json" in lines
    assert any("a test part was opened before" in line for line in lines)
    assert lines[-1].startswith("next: labelstill split --json")
