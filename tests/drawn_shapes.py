"""Masks, labels and regions for tests of the conversion, drawn by numpy and shapely alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from labeling.core import masks
from labeling.core.records import Annotation, Provenance

Mask = npt.NDArray[np.bool_]

SIZE = (640, 480)
SHA = "ab" * 32


def star(size_wh: tuple[int, int], seed: int, *, reach: float = 0.45, points: int = 9) -> Mask:
    """Return a mask with bays and tips around the middle of a picture, drawn by angles and distances."""
    width, height = size_wh
    far = np.random.default_rng(seed).uniform(0.4, 1.0, points) * reach * min(size_wh)
    rows, columns = np.mgrid[:height, :width] + 0.5
    across, down = columns - width / 2, rows - height / 2
    angles = np.linspace(-np.pi, np.pi, points + 1)
    return np.asarray(np.hypot(across, down) <= np.interp(np.arctan2(down, across), angles, [*far, far[0]]))


def box_mask(size_wh: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Mask:
    """Return the mask of some boxes; where two lie on each other there is a hole."""
    mask = np.zeros(size_wh[::-1], dtype=np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] ^= True
    return mask


def label(
    mask: Mask | None = None,
    *,
    box: tuple[float, float, float, float] = (64.0, 48.0, 192.0, 144.0),
    number: int = 0,
    class_name: str = "box",
    score: float | None = 0.75,
) -> Annotation:
    """Return what a teacher says; with a mask its box is the one around it."""
    rle = None if mask is None else masks.encode(mask)
    around = box if rle is None else masks.box(rle) or (0.0, 0.0, 0.0, 0.0)
    made = Provenance("teacher", model="drawn/1", score=score)
    return Annotation(f"{number:032x}", SHA, class_name, around, made, rle)


def region(kind: str, value: dict[str, Any], /, *, size_wh: tuple[int, int] = SIZE, **changes: Any) -> dict[str, Any]:
    """Return a region as the editor saves it; changes replace whole keys."""
    width, height = size_wh
    controls = {"rectanglelabels": "box", "polygonlabels": "polygon", "brushlabels": "mask"}
    return {
        "id": "eemf2xwNIR",
        "type": kind,
        "from_name": controls.get(kind, kind),
        "to_name": "image",
        "origin": "manual",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {kind: ["box"], **value},
    } | changes


@st.composite
def drawn_masks(draw: st.DrawFn) -> Mask:
    """Draw masks of many kinds: stars, parts, holes, specks, lines, noise, and what touches the border."""
    width, height = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    kind = draw(st.sampled_from(["star", "boxes", "noise", "full", "cut"]))
    seed = draw(st.integers(0, 2**20))
    if kind == "star":
        mask = star((width, height), seed, reach=draw(st.floats(0.1, 0.9)))
    elif kind == "cut":  # a star of which the picture shows a corner
        mask = star((2 * width, 2 * height), seed, reach=0.6)[:height, :width]
    elif kind == "noise":
        mask = np.random.default_rng(seed).random((height, width)) < draw(st.floats(0.01, 0.99))
    elif kind == "full":
        mask = np.ones((height, width), dtype=np.bool_)
    else:
        edges = np.random.default_rng(seed).integers(0, [[width, height] * 2] * draw(st.integers(1, 4)), endpoint=True)
        mask = box_mask(
            (width, height), *[(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in edges.tolist()]
        )
    if not mask.any():
        mask = mask.copy()
        mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = True
    return mask
