#!/usr/bin/env python
"""Draw docs/labelled.jpg, the picture of README.md: a demo photo beside what the bundled teacher found in it.

Usage: python scripts/draw_readme_picture.py [--out FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import supervision as sv
from PIL import Image

import labeling
from labeling.demo.photos import CLASSES, write_photos
from labeling.images import Pixels
from labeling.pictures import class_colour

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "labelled.jpg"
#: The picture shows the one of these on which the teacher is surest of three classes.
PHOTOS = 24
_GAP_PX = 12
_QUALITY = 88


def draw(folder: Path) -> Image.Image:
    """Return one of the demo's photos, as it is on the left and with its labels on the right."""
    write_photos(folder, PHOTOS)
    surest = max(labeling.label(folder, CLASSES, detector="bundled"), key=_three_sure_classes)
    photo = surest.read()
    gap = np.full((photo.shape[0], _GAP_PX, 3), 255, dtype=np.uint8)
    return Image.fromarray(np.hstack([photo, gap, labelled(photo, surest)]))


def _three_sure_classes(result: labeling.LabelResult) -> tuple[int, float]:
    rows = result.detections
    return min(len(set(rows.class_id)), 3), float(min(rows.confidence, default=0.0))


def labelled(photo: Pixels, result: labeling.LabelResult) -> Pixels:
    """Return the photo with masks, boxes, names and scores, in the colours of the report."""
    rows = result.masked()
    scores = result.detections.confidence
    texts = [f"{name} {score:.2f}" for name, score in zip(rows.data["class_name"], scores, strict=True)]
    colours = sv.ColorPalette.from_hex([class_colour(number) for number in range(12)])
    scene = photo[:, :, ::-1].copy()  # supervision's colours are those of OpenCV's BGR
    scene = sv.MaskAnnotator(colours, opacity=0.5).annotate(scene, rows)
    scene = sv.BoxAnnotator(colours, thickness=2).annotate(scene, rows)
    words = sv.LabelAnnotator(colours, text_color=sv.Color.BLACK, text_scale=0.45, text_padding=4, smart_position=True)
    drawn: Pixels = words.annotate(scene, rows, labels=texts)[:, :, ::-1]
    return drawn


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PICTURE, metavar="FILE")
    out: Path = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder) / "photos").save(out, quality=_QUALITY, optimize=True)
    print(out)


if __name__ == "__main__":
    main()
