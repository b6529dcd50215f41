"""What one region weighs on its way to Label Studio, as a polygon and as a brush, and masks that only a brush holds."""

from __future__ import annotations

from itertools import product

import numpy as np
from photos import COLOURS, NOUNS
from rounds import Row, measured, spread

from labeling.core import masks
from labeling.core.brush import encode_brush
from labeling.core.records import Annotation, Provenance, Rle
from labeling.demo.scenes import render_scene
from labeling.studio.convert import regions
from labeling.studio.wire import encoded

FULL_HD = (1920, 1080)
_SCENES = 8


def payload() -> list[Row]:
    """Return what the drawn objects of some scenes weigh as polygons, and the same ones as brushes."""
    rows = []
    for size_wh in ((640, 480), FULL_HD):
        polygons, brushes, objects = [], [], 0
        for seed in range(_SCENES):
            for thing in render_scene(seed, size_wh=size_wh, pairs=tuple(product(COLOURS, NOUNS))).things:
                made = regions(_label(masks.encode(thing.mask)), size_wh)
                objects += 1
                if made["type"] == "polygonlabels":
                    brush = {"format": "rle", "rle": encode_brush(thing.mask), "brushlabels": ["box"]}
                    polygons.append(len(encoded(made)))
                    brushes.append(len(encoded({**made, "type": "brushlabels", "from_name": "mask", "value": brush})))
        name = f"{size_wh[0]} x {size_wh[1]}"
        shares = [brush / polygon for brush, polygon in zip(brushes, polygons, strict=True)]
        rows += [
            Row(f"{name}: drawn objects that go as polygons, %", 100 * len(polygons) / objects),
            measured(f"{name}: bytes of a region, polygon", spread(polygons)),
            measured(f"{name}: bytes of the same region, brush", spread(brushes)),
            measured(f"{name}: brush ÷ polygon in bytes", spread(shares)),
        ]
    return rows


def speckled(seed: int) -> Rle:
    """Return a mask that no polygon holds: crumbs of 8 x 8 pixels all over an ellipse."""
    width, height = FULL_HD
    rows, columns = np.mgrid[:height, :width]
    inside = ((columns / width - 0.5) * 2.2) ** 2 + ((rows / height - 0.5) * 2.2) ** 2 <= 1
    crumbs = np.random.default_rng(seed).random((height // 8, width // 8)) < 0.3
    return masks.encode(inside & np.kron(crumbs, np.ones((8, 8), dtype=bool)))


def _label(rle: Rle) -> Annotation:
    made = Provenance("teacher", NOUNS[0], None, "a box", 0.7123456, 0.9, None)
    return Annotation("0" * 32, "0" * 64, "box", masks.box(rle) or (0, 0, 1, 1), made, rle)
