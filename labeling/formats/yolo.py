"""Lines of YOLO label files and the data.yaml beside them: pure functions, no files.

A box line is ``id cx cy w h``, a segment line ``id x y x y …``; everything is a fraction of the upright image in
[0, 1] and ids are positions in the ontology. A segment line holds one polygon, so a mask in several parts is joined
by bridges of no width; what that loses is measured, never guessed.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from ..core import geometry, masks
from ..core.masks import Polygon
from ..core.records import Rle

_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Segment:
    """One polygon for one object.

    Attributes:
        polygon: (k, 2) float pixels, k >= 3.
        parts: number of polygons that the mask had.
        iou: IoU between the mask and the polygon drawn again.
    """

    polygon: Polygon
    parts: int
    iou: float


def box_line(class_id: int, box_xyxy: Sequence[float], size_wh: tuple[int, int]) -> str | None:
    """Return ``id cx cy w h``; the box is clipped to the image, and None means that nothing of it is left then."""
    clipped = geometry.clip_boxes([box_xyxy], size_wh)
    fractions = geometry.xyxy_to_cxcywhn(clipped, size_wh)[0].round(_DIGITS)
    if not fractions[2:].min() > 0:
        return None
    return f"{class_id} " + " ".join(f"{value:.{_DIGITS}f}" for value in fractions)


def segment_line(class_id: int, polygon: Polygon, size_wh: tuple[int, int]) -> str | None:
    """Return ``id x y x y …`` of a polygon with at least three points, clipped to the image; None for a line."""
    points = np.clip(polygon / np.asarray(size_wh, dtype=np.float64), 0.0, 1.0).round(6)
    if not np.ptp(points, axis=0).min() > 0:
        return None
    return f"{class_id} " + " ".join(f"{value:.6f}" for value in points.ravel())


def box_polygon(box_xyxy: Sequence[float]) -> Polygon:
    """Return the four corners of a box, (4, 2)."""
    x0, y0, x1, y1 = box_xyxy
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)


def inner_polygon(polygon: Polygon, size_wh: tuple[int, int]) -> Polygon | None:
    """Return the part of a convex polygon inside the image, or None where there is none with an area."""
    seen = shapely.intersection(shapely.convex_hull(shapely.multipoints(polygon)), shapely.box(0, 0, *size_wh))
    return shapely.get_coordinates(seen)[:-1] if shapely.area(seen) > 0 else None


def segment(rle: Rle) -> Segment | None:
    """Return the mask as one polygon, or None where it is too small to have one."""
    polygons, iou = masks.rle_to_polygons(rle)
    if not polygons:
        return None
    if len(polygons) == 1:
        return Segment(polygons[0], 1, iou)
    polygon = bridged(polygons)
    drawn = masks.polygons_to_rle([polygon], (rle["size"][0], rle["size"][1]))
    return Segment(polygon, len(polygons), masks.iou(drawn, rle))


def bridged(parts: Sequence[Polygon]) -> Polygon:
    """Join polygons into one: the first is walked, with a way to each other one at its nearest point, around and back.

    Such a bridge runs twice along the same line, so it encloses no area.
    """
    ring = parts[0]
    tree = shapely.STRtree(shapely.points(ring))
    loops: dict[int, list[Polygon]] = {}
    for part in parts[1:]:
        (corners, anchors), gaps = tree.query_nearest(shapely.points(part), return_distance=True, all_matches=False)
        nearest = int(np.argmin(gaps))
        corner, anchor = int(corners[nearest]), int(anchors[nearest])
        loop = [part[corner:], part[: corner + 1], ring[anchor : anchor + 1]]
        loops.setdefault(anchor, []).extend(loop)
    pieces = [piece for i, point in enumerate(ring) for piece in (point[None], *loops.get(i, []))]
    return np.concatenate(pieces)


def data_yaml(root: str, class_names: Sequence[str]) -> str:
    """Return the text of data.yaml for a folder whose images are all in ``images``.

    Args:
        root: absolute path of the export; a relative one would be read from the working folder of the trainer.
        class_names: in the order of the ontology.
    """
    remark = "Every image is listed for training and validation: split before you compare figures."
    return _yaml(remark, root, class_names, "images", "images")


def split_yaml(root: str, class_names: Sequence[str], valid_share: float) -> str:
    """Return the text of data.yaml for a folder with ``train`` and ``valid``; arguments as in ``data_yaml``."""
    remark = f"About {valid_share:.0%} of the images are in valid: those whose hash is low."
    return _yaml(remark, root, class_names, "train/images", "valid/images")


def _yaml(remark: str, root: str, class_names: Sequence[str], train: str, val: str) -> str:
    # Quoted, because the trainers' parser takes a bare `yes` or `12:30` for something else.
    names = {i: DoubleQuotedScalarString(name) for i, name in enumerate(class_names)}
    yaml = YAML()
    yaml.width = 2**16
    text = io.StringIO()
    yaml.dump({"path": DoubleQuotedScalarString(root), "train": train, "val": val, "names": names}, text)
    return f"# {remark}\n# After moving this folder, correct 'path' or remove the line.\n" + text.getvalue()
