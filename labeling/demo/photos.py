"""The demo's photos and what it looks for in them."""

from __future__ import annotations

from pathlib import Path

from .scenes import all_pairs, render_scene

#: What the demo asks for: nouns, a class with two prompts, and a colour with a noun.
CLASSES = "forklift, pallet, box: box | carton, barrel, cone, ladder, person: person | worker, green tire"

SIZE_WH = (640, 480)
_FIRST_SEED = 7_000_000


def write_photos(folder: Path, count: int) -> None:
    """Render ``count`` warehouse photos into a folder, leaving alone those that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"warehouse-{number + 1:03d}.jpg"
        if not path.exists():
            scene = render_scene(_FIRST_SEED + number, size_wh=SIZE_WH, pairs=all_pairs(unseen=True))
            path.write_bytes(scene.jpeg)
