"""The script that plants near duplicates, and the one that judges whether they were found."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill.curation.duplicates import Curve, Duplicates, Pair
from tests import paths
from tests.test_duplicates import scenery

planting = paths.load_script("curation/plant_duplicates")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(10):
        grey = scenery(seed, 200)
        cv2.imwrite(str(folder / f"{seed}.png"), np.dstack([grey, grey // 2, 255 - grey]))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_the_same_seed_plants_the_same_bytes_and_sources_are_only_read(photos: Path, tmp_path: Path) -> None:
    before = contents(photos)
    truth = planting.plant(photos, tmp_path / "one", share=0.5, seed=7)
    assert planting.plant(photos, tmp_path / "two", share=0.5, seed=7) == truth
    planting.plant(photos, tmp_path / "three", share=0.5, seed=8)
    one, two, three = (contents(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one["truth.json"] != three["truth.json"]
    assert contents(photos) == before
    assert {name: data for name, data in one.items() if name.startswith("photos/")} == {
        f"photos/{name}": data for name, data in before.items()
    }


def test_every_kind_takes_its_turn_and_the_truth_names_both_files(photos: Path, tmp_path: Path) -> None:
    truth = planting.plant(photos, tmp_path / "set", share=1)
    assert sorted(one.kind for one in truth) == sorted(2 * list(planting.KINDS))
    assert sorted(one.of for one in truth) == sorted(file.name for file in photos.iterdir())
    written = json.loads((tmp_path / "set" / "truth.json").read_text(encoding="utf-8"))
    assert [planting.Plant(**row) for row in written] == truth
    assert {file.name for file in (tmp_path / "set" / "copies").iterdir()} == {one.copy for one in truth}


@pytest.mark.parametrize("seed", range(25))
def test_changes_stay_in_their_ranges(seed: int) -> None:
    random = np.random.default_rng(seed)
    pixels = np.full((400, 600, 3), 100, dtype=np.uint8)
    assert 50 <= planting.reencoded(pixels, random)[1] <= 90
    height, width = planting.resized(pixels, random)[0].shape[:2]
    assert 0.5 <= height / 400 <= 1.5
    assert height / 400 == pytest.approx(width / 600, abs=0.01)
    height, width = planting.cropped(pixels, random)[0].shape[:2]
    assert 0.84 * 400 - 1 <= height <= 400
    assert 0.84 * 600 - 1 <= width <= 600
    assert height <= 0.95 * 400 + 1 or width <= 0.95 * 600 + 1
    factor = planting.brightened(pixels, random)[0].mean() / 100
    assert abs(factor - 1) + 0.005 >= 0.05
    assert 0.8 <= factor <= 1.2


def test_recall_and_precision_are_those_counted_by_hand() -> None:
    measuring = paths.load_script("curation/measure_duplicates")
    # Six images; c1 and c2 are copies of a and b, a lies under two names, d and e are known to be alike.
    names = {"A": ["a.jpg", "a2.jpg"], "B": ["b.jpg"], "C1": ["c1"], "C2": ["c2"], "D": ["d.jpg"], "E": ["e.jpg"]}
    truth = [planting.Plant("c1", "a2.jpg", "cropped"), planting.Plant("c2", "b.jpg", "resized")]
    pairs = (Pair("C1", "A", 0.99), Pair("D", "E", 0.98), Pair("C2", "D", 0.95), Pair("A", "B", 0.9))
    curve = Curve(np.zeros(1), np.zeros(1, dtype=np.int64), "it was given")
    found = Duplicates(None, {}, pairs, (), 0.9, curve, (), 0)
    judged = measuring.judged(found, names, truth, [frozenset({"d.jpg", "e.jpg"})])
    assert judged["recall"] == 0.5
    assert judged["recall_by_kind"] == {"cropped": 1.0, "resized": 0.0}
    assert judged["precision"] == 0.5
    assert [wrong[:2] for wrong in judged["wrong"]] == [("c2", "d.jpg"), ("a.jpg", "b.jpg")]
