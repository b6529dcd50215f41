"""scripts/bench/edge.py: boxes are compared box by box, its video moves, and it runs without shared material."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from tests.paths import ROOT


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "bench"))
    return importlib.import_module("edge")


@pytest.mark.torch
def test_two_ways_of_finding_boxes_are_compared_box_by_box(script: ModuleType) -> None:
    box, moved, far = [0.0, 0, 10, 10], [0.0, 0, 10, 9.5], [20.0, 20, 30, 30]

    def seen(*rows: tuple[int, list[float]]) -> Any:
        return np.array([[class_id, *edges] for class_id, edges in rows], dtype=np.float32).reshape(-1, 5)

    assert script._same({"a": seen((1, box))}, {"a": seen((1, moved))}) == 100
    assert script._same({"a": seen((1, box))}, {"a": seen((2, box))}) == 0
    assert script._same({"a": seen((1, box), (1, far))}, {"a": seen((1, box))}) == pytest.approx(200 / 3)
    assert script._same({"a": seen()}, {"a": seen()}) is None
    with pytest.raises(SystemExit, match="different files"):
        script._same({"a": seen()}, {"b": seen()})


@pytest.mark.torch
def test_the_video_of_the_bench_moves_and_holds_every_frame(script: ModuleType, tmp_path: Path) -> None:
    grain = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), cv2.resize(grain, (640, 480)))
    capture = cv2.VideoCapture(str(script._video(tmp_path / "v.mp4", [tmp_path / "a.jpg"] * 2)))
    frames = [frame for there, frame in iter(capture.read, (False, None)) if there]
    assert len(frames) == 2 * script.FRAMES_PER_PHOTO
    assert frames[0].shape == (480, 640, 3)
    assert cv2.absdiff(frames[0], frames[1]).mean() > 2


@pytest.mark.torch
def test_without_shared_material_the_bench_takes_random_weights_and_drawn_scenes(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = importlib.import_module("photos")
    monkeypatch.setattr(drawn, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(script, "SHARED", tmp_path / "nowhere")
    weights, said = script.student(tmp_path)
    assert weights.stat().st_size > 1e6
    assert said.startswith("random")
    photos_, said = script._photos(tmp_path / "photos", 1)
    assert said == "drawn scenes"
    assert cv2.imread(str(photos_[0])).shape == (480, 640, 3)
