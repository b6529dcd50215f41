"""Training scenes, drawn once and kept in files of 500, at the sizes that detector and segmenter see."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from labeling.demo.scenes import all_pairs, render_scene

SCENES_PER_SHARD = 500
DETECTOR_WH = (192, 144)
SEGMENTER_SIDE = 192
SEGMENTER_SHARDS = 8  # the segmenter needs fewer scenes; the first shards carry its pictures too


def shard_path(cache: Path, index: int) -> Path:
    """Return where shard ``index`` lies."""
    return cache / f"scenes-{index:04d}.npz"


def write_shard(cache: Path, index: int) -> None:
    """Draw 500 scenes unless they are there already; the file appears whole or not at all."""
    path = shard_path(cache, index)
    if path.exists():
        return
    pictures, things, large, ids = [], [], [], []
    for seed in range(index * SCENES_PER_SHARD, (index + 1) * SCENES_PER_SHARD):
        scene = render_scene(1_000_000 + seed, pairs=all_pairs())
        height, width = scene.picture.shape[:2]
        pictures.append(shrink(scene.picture, DETECTOR_WH))
        scale = np.array([width, height, width, height], np.float32)
        things.append([(t.colour, t.noun, (np.array(t.box_xyxy) / scale).round(5).tolist()) for t in scene.things])
        if index < SEGMENTER_SHARDS:
            large.append(shrink(scene.picture, (SEGMENTER_SIDE, SEGMENTER_SIDE)))
            numbered = np.zeros((height, width), np.uint8)
            for number, thing in enumerate(scene.things, start=1):
                numbered[thing.mask] = number
            ids.append(numbered)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "pictures": np.stack(pictures),
        "things": np.array(json.dumps(things)),
    }
    if large:
        arrays |= {"large": np.stack(large), "ids": np.stack(ids)}
    half = path.with_suffix(f".{os.getpid()}.tmp")
    with half.open("wb") as file:
        np.savez(file, **arrays)
    half.replace(path)


def shrink(picture: npt.NDArray[np.uint8], size_wh: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize as the image processors do: bilinear with antialiasing."""
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize(size_wh, Image.Resampling.BILINEAR))


def write_all(cache: Path, count: int) -> None:
    """Draw ``count`` shards, in order."""
    cv2.setNumThreads(1)
    cache.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        write_shard(cache, index)
